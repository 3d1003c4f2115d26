//! The vector operations that kernels are written in, once for each instruction set.
//!
//! A kernel body is generic over [`Simd`] and inlined into one `#[target_feature]` function for each
//! instruction set by [`simd_kernel!`]. So variants differ only in the one-line functions of this file.
//!
//! A body uses vectors in functions that are `#[inline(always)]`, and in no closure but those of `array::from_fn`: a
//! closure that stays a function of its own is compiled without the instruction set, each operation a call (measured:
//! 12 times slower).

use std::ops::IndexMut;

/// Vectors of float32. `LANES` fixes the order of every sum, so results are the same on one instruction set
/// and may differ in the last bits between two.
///
/// # Safety
/// Every function requires that the processor has the instruction set, and pointers valid for `LANES`
/// elements (of the named type); no alignment is required.
pub(crate) trait Simd: Copy {
    /// Values in a vector, at most [`MAX_LANES`].
    const LANES: usize;
    /// Whether 32 vector registers exist (a 6 x 4 tile of sums fits) or 16 (4 x 3 fits).
    const WIDE_TILE: bool;
    /// A vector.
    type V: Copy;
    /// [`MAX_LANES`] values: as many vectors as they take, no more, since what is not used of an array keeps all of it out
    /// of registers.
    type Sixteen: Copy + IndexMut<usize, Output = Self::V>;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn splat_sixteen(x: f32) -> Self::Sixteen;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `2^n` for integral `n` in -126..=127.
    unsafe fn exp2_int(n: Self::V) -> Self::V;
    /// To the nearest integer, halves to even.
    unsafe fn round(v: Self::V) -> Self::V;
    unsafe fn load_bf16(p: *const u16) -> Self::V;
    unsafe fn load_f16(p: *const u16) -> Self::V;
    unsafe fn load_i8(p: *const i8) -> Self::V;
    /// The last 8 bits of each lane.
    unsafe fn store_last_bytes(p: *mut i8, v: Self::V);

    /// Asks for a cache line, which may lie anywhere, into the second-level cache. One that is asked for into the first takes
    /// one of the few places in which loads wait for memory: on Zen 4 int8 products of 8 rows took 1.5 times as long, attention
    /// of single rows 1.4 times.
    #[inline(always)]
    unsafe fn prefetch(_p: *const u8) {}

    /// The first lane in all lanes.
    #[inline(always)]
    unsafe fn splat_first(v: Self::V) -> Self::V {
        let mut lanes = [0.0f32; MAX_LANES];
        // SAFETY: LANES <= MAX_LANES.
        unsafe {
            Self::store(lanes.as_mut_ptr(), v);
            Self::splat(lanes[0])
        }
    }

    /// The largest lane, of numbers.
    #[inline(always)]
    unsafe fn largest(v: Self::V) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { Self::fold(v, |a, b| if a > b { a } else { b }) }
    }

    /// The lanes' sum, folded in halves.
    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { Self::fold(v, |a, b| a + b) }
    }

    /// The sums of four vectors, folded in any order: for what is exact.
    #[inline(always)]
    unsafe fn sum_each(v: [Self::V; 4]) -> [f32; 4] {
        // SAFETY: the caller's promise.
        unsafe { [Self::sum(v[0]), Self::sum(v[1]), Self::sum(v[2]), Self::sum(v[3])] }
    }

    /// One value of all lanes, of which the halves are combined until one is left.
    #[inline(always)]
    unsafe fn fold(v: Self::V, combine: impl Fn(f32, f32) -> f32) -> f32 {
        let mut lanes = [0.0f32; MAX_LANES];
        // SAFETY: LANES <= MAX_LANES.
        unsafe { Self::store(lanes.as_mut_ptr(), v) };
        let mut n = Self::LANES;
        while n > 1 {
            n /= 2;
            for i in 0..n {
                lanes[i] = combine(lanes[i], lanes[i + n]);
            }
        }
        lanes[0]
    }

    /// `e^x` to about 1e-7 relative, 0 below -87.3 (polynomial of Cephes' `expf`, S. Moshier, public domain).
    #[inline(always)]
    unsafe fn exp(x: Self::V) -> Self::V {
        // SAFETY: the caller's promise covers every vector function.
        unsafe {
            let s = |v| Self::splat(v);
            let x = Self::min(Self::max(x, s(-87.336_54)), s(88.0));
            let n = Self::round(Self::mul(x, s(std::f32::consts::LOG2_E)));
            // ln 2 in two parts, so that the remainder is exact
            let r = Self::fma(n, s(-0.693_359_4), x);
            let r = Self::fma(n, s(2.121_944_4e-4), r);
            let mut p = s(1.987_569_1e-4);
            for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
                p = Self::fma(p, r, s(c));
            }
            let p = Self::add(Self::fma(p, Self::mul(r, r), r), s(1.0));
            Self::mul(p, Self::exp2_int(n))
        }
    }
}

/// Bytes that [`Simd::prefetch`] asks for.
pub(crate) const CACHE_LINE: usize = 64;

/// A float32 of this size has its ones in its last bit: added to it, a number below 2²² is rounded to an integer, halves to even,
/// which are the last bits.
pub(crate) const ONES: f32 = 12_582_912.0;

/// Lanes of the widest vector.
pub(crate) const MAX_LANES: usize = 16;

/// Arrays of 8 that compilers turn into whatever the target's baseline has.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

// SAFETY (all functions below): plain reads and writes of 8 elements, which the trait demands of the caller.
impl Simd for Portable {
    const LANES: usize = 8;
    const WIDE_TILE: bool = false;
    type V = [f32; 8];
    type Sixteen = [[f32; 8]; 2];

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn splat_sixteen(x: f32) -> Self::Sixteen {
        [[x; 8]; 2]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        unsafe { p.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        unsafe { p.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // two roundings: a fused one would be a library call on processors without the instruction
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn exp2_int(n: Self::V) -> Self::V {
        std::array::from_fn(|i| f32::from_bits(((n[i] as i32 + 127) << 23) as u32))
    }
    #[inline(always)]
    unsafe fn round(v: Self::V) -> Self::V {
        v.map(f32::round_ties_even)
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self::V {
        let v = unsafe { p.cast::<[u16; 8]>().read_unaligned() };
        v.map(|b| f32::from_bits(u32::from(b) << 16))
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self::V {
        let v = unsafe { p.cast::<[u16; 8]>().read_unaligned() };
        v.map(|b| half::f16::from_bits(b).to_f32())
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self::V {
        let v = unsafe { p.cast::<[i8; 8]>().read_unaligned() };
        v.map(f32::from)
    }
    #[inline(always)]
    unsafe fn store_last_bytes(p: *mut i8, v: Self::V) {
        unsafe { p.cast::<[i8; 8]>().write_unaligned(v.map(|v| v.to_bits() as i8)) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    //! AVX2 with FMA and F16C, and AVX-512 (F, BW, DQ, VL).
    use super::Simd;
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    // SAFETY (all functions below): the trait demands the instruction set and valid pointers of the caller;
    // the loads and stores are the unaligned ones.
    impl Simd for Avx2 {
        const LANES: usize = 8;
        const WIDE_TILE: bool = false;
        type V = __m256;
        type Sixteen = [__m256; 2];

        #[inline(always)]
        unsafe fn prefetch(p: *const u8) {
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn splat_sixteen(x: f32) -> Self::Sixteen {
            unsafe { [Self::splat(x); 2] }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m256) {
            unsafe { _mm256_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn min(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_min_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn exp2_int(n: __m256) -> __m256 {
            unsafe {
                let e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(e))
            }
        }
        #[inline(always)]
        unsafe fn round(v: __m256) -> __m256 {
            unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v) }
        }
        #[inline(always)]
        unsafe fn load_bf16(p: *const u16) -> __m256 {
            unsafe {
                let v = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(v))
            }
        }
        #[inline(always)]
        unsafe fn load_f16(p: *const u16) -> __m256 {
            unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
        }
        #[inline(always)]
        unsafe fn sum(v: __m256) -> f32 {
            unsafe {
                let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
            }
        }
        #[inline(always)]
        unsafe fn sum_each(v: [__m256; 4]) -> [f32; 4] {
            unsafe {
                let pairs = [_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3])];
                let fours = _mm256_hadd_ps(pairs[0], pairs[1]);
                let sums = _mm_add_ps(_mm256_castps256_ps128(fours), _mm256_extractf128_ps::<1>(fours));
                let mut out = [0.0; 4];
                _mm_storeu_ps(out.as_mut_ptr(), sums);
                out
            }
        }
        #[inline(always)]
        unsafe fn largest(v: __m256) -> f32 {
            unsafe {
                let four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
                let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
            }
        }
        #[inline(always)]
        unsafe fn splat_first(v: __m256) -> __m256 {
            unsafe { _mm256_broadcastss_ps(_mm256_castps256_ps128(v)) }
        }
        #[inline(always)]
        unsafe fn load_i8(p: *const i8) -> __m256 {
            unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()))) }
        }
        #[inline(always)]
        unsafe fn store_last_bytes(p: *mut i8, v: __m256) {
            unsafe {
                // signs of the bytes, so that packing does not change them
                let v = _mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(_mm256_castps_si256(v)));
                let v = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
                _mm_storel_epi64(p.cast(), _mm_packs_epi16(v, v));
            }
        }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    // SAFETY (all functions below): as for Avx2.
    impl Simd for Avx512 {
        const LANES: usize = 16;
        const WIDE_TILE: bool = true;
        type V = __m512;
        type Sixteen = [__m512; 1];

        #[inline(always)]
        unsafe fn prefetch(p: *const u8) {
            unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn splat_sixteen(x: f32) -> Self::Sixteen {
            unsafe { [Self::splat(x); 1] }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m512) {
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn min(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_min_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn exp2_int(n: __m512) -> __m512 {
            unsafe {
                let e = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
                _mm512_castsi512_ps(_mm512_slli_epi32::<23>(e))
            }
        }
        #[inline(always)]
        unsafe fn round(v: __m512) -> __m512 {
            unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v) }
        }
        #[inline(always)]
        unsafe fn load_bf16(p: *const u16) -> __m512 {
            unsafe {
                let v = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(v))
            }
        }
        #[inline(always)]
        unsafe fn load_f16(p: *const u16) -> __m512 {
            unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
        }
        #[inline(always)]
        unsafe fn sum(v: __m512) -> f32 {
            unsafe { Avx2::sum(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v))) }
        }
        #[inline(always)]
        unsafe fn sum_each(v: [__m512; 4]) -> [f32; 4] {
            unsafe {
                let mut halves = [_mm256_setzero_ps(); 4];
                for i in 0..4 {
                    let high = _mm512_extractf32x8_ps::<1>(v[i]);
                    halves[i] = _mm256_add_ps(_mm512_castps512_ps256(v[i]), high);
                }
                Avx2::sum_each(halves)
            }
        }
        #[inline(always)]
        unsafe fn largest(v: __m512) -> f32 {
            unsafe { Avx2::largest(_mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v))) }
        }
        #[inline(always)]
        unsafe fn splat_first(v: __m512) -> __m512 {
            unsafe { _mm512_broadcastss_ps(_mm512_castps512_ps128(v)) }
        }
        #[inline(always)]
        unsafe fn load_i8(p: *const i8) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
        }
        #[inline(always)]
        unsafe fn store_last_bytes(p: *mut i8, v: __m512) {
            unsafe { _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(_mm512_castps_si512(v))) }
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(crate) mod arm {
    //! NEON, which every 64-bit Arm processor has.
    use super::Simd;
    use std::arch::aarch64::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Neon;

    // SAFETY (all functions below): the trait demands valid pointers of the caller; NEON is always there.
    impl Simd for Neon {
        const LANES: usize = 4;
        const WIDE_TILE: bool = true;
        type V = float32x4_t;
        type Sixteen = [float32x4_t; 4];

        #[inline(always)]
        unsafe fn splat(x: f32) -> float32x4_t {
            unsafe { vdupq_n_f32(x) }
        }
        #[inline(always)]
        unsafe fn splat_sixteen(x: f32) -> Self::Sixteen {
            unsafe { [Self::splat(x); 4] }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> float32x4_t {
            unsafe { vld1q_f32(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: float32x4_t) {
            unsafe { vst1q_f32(p, v) }
        }
        #[inline(always)]
        unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vaddq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vmulq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vdivq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vmaxq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
            unsafe { vminq_f32(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
            unsafe { vfmaq_f32(c, a, b) }
        }
        #[inline(always)]
        unsafe fn exp2_int(n: float32x4_t) -> float32x4_t {
            unsafe {
                let e = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(e))
            }
        }
        #[inline(always)]
        unsafe fn round(v: float32x4_t) -> float32x4_t {
            unsafe { vrndnq_f32(v) }
        }
        #[inline(always)]
        unsafe fn load_bf16(p: *const u16) -> float32x4_t {
            unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(p))) }
        }
        #[inline(always)]
        unsafe fn load_f16(p: *const u16) -> float32x4_t {
            unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))) }
        }
        #[inline(always)]
        unsafe fn largest(v: float32x4_t) -> f32 {
            unsafe { vmaxvq_f32(v) }
        }
        #[inline(always)]
        unsafe fn load_i8(p: *const i8) -> float32x4_t {
            let v = unsafe { p.cast::<[i8; 4]>().read_unaligned() }.map(f32::from);
            unsafe { vld1q_f32(v.as_ptr()) }
        }
        #[inline(always)]
        unsafe fn store_last_bytes(p: *mut i8, v: float32x4_t) {
            unsafe {
                let v = vmovn_s32(vreinterpretq_s32_f32(v));
                let v = vreinterpret_s32_s8(vmovn_s16(vcombine_s16(v, v)));
                p.cast::<i32>().write_unaligned(vget_lane_s32::<0>(v));
            }
        }
    }
}

/// A storage type whose rows load straight into vectors.
pub(crate) trait Stored {
    /// Values in a block of the type.
    const BLOCK: usize = 1;
    /// Bytes of so many values of a row, which are whole blocks of the type.
    fn bytes(values: usize) -> usize;
    /// The values of the row at `row` from value `i`, a multiple of the lanes.
    ///
    /// # Safety
    /// As for [`Simd`].
    unsafe fn load<S: Simd>(row: *const u8, i: usize) -> S::V;
}

pub(crate) struct F32;
pub(crate) struct F16;
pub(crate) struct Bf16;
/// Q8_0: blocks of a half-precision scale and 32 codes.
pub(crate) struct Q8;

impl Stored for F32 {
    #[inline(always)]
    fn bytes(values: usize) -> usize {
        values * 4
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(row: *const u8, i: usize) -> S::V {
        // SAFETY: the caller's.
        unsafe { S::load(row.cast::<f32>().add(i)) }
    }
}

impl Stored for F16 {
    #[inline(always)]
    fn bytes(values: usize) -> usize {
        values * 2
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(row: *const u8, i: usize) -> S::V {
        // SAFETY: the caller's.
        unsafe { S::load_f16(row.cast::<u16>().add(i)) }
    }
}

impl Stored for Bf16 {
    #[inline(always)]
    fn bytes(values: usize) -> usize {
        values * 2
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(row: *const u8, i: usize) -> S::V {
        // SAFETY: the caller's.
        unsafe { S::load_bf16(row.cast::<u16>().add(i)) }
    }
}

/// Codes of 8 bits without their scale.
pub(crate) struct I8;
impl Stored for I8 {
    #[inline(always)]
    fn bytes(values: usize) -> usize {
        values
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(row: *const u8, i: usize) -> S::V {
        // SAFETY: the caller's.
        unsafe { S::load_i8(row.cast::<i8>().add(i)) }
    }
}
impl Stored for Q8 {
    const BLOCK: usize = 32;
    #[inline(always)]
    fn bytes(values: usize) -> usize {
        values / 32 * 34
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(row: *const u8, i: usize) -> S::V {
        // SAFETY: the caller's; a block is longer than a vector of half-precision numbers, of which the first is the
        // scale.
        unsafe {
            let block = row.add(i / 32 * 34);
            let scale = S::splat_first(S::load_f16(block.cast()));
            S::mul(S::load_i8(block.add(2 + i % 32).cast()), scale)
        }
    }
}

/// Defines a safe function that runs a body generic over [`Simd`] on this machine's instruction set:
///
/// `simd_kernel! { pub(crate) fn name(args) -> T = body; }` calls `unsafe fn body<S: Simd>(args) -> T`, which
/// must be `#[inline(always)]` and sound for any arguments apart from the instruction set.
macro_rules! simd_kernel {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident;) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: this function has the features that Avx2 needs.
                    unsafe { $body::<$crate::simd::x86::Avx2>($($arg),*) }
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                fn avx512($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: this function has the features that Avx512 needs.
                    unsafe { $body::<$crate::simd::x86::Avx512>($($arg),*) }
                }
                use $crate::Isa;
                match $crate::isa::current() {
                    // SAFETY: `current` answers only what the processor has.
                    Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Bf16 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    Isa::Avx2 | Isa::AvxVnni => return unsafe { avx2($($arg),*) },
                    _ => {}
                }
            }
            #[cfg(target_arch = "aarch64")]
            if matches!(
                $crate::isa::current(),
                $crate::Isa::Neon | $crate::Isa::NeonDot | $crate::Isa::NeonI8mm
            ) {
                // SAFETY: every 64-bit Arm processor has NEON.
                return unsafe { $body::<$crate::simd::arm::Neon>($($arg),*) };
            }
            // SAFETY: Portable needs no instruction set.
            unsafe { $body::<$crate::simd::Portable>($($arg),*) }
        }
    };
}
pub(crate) use simd_kernel;
