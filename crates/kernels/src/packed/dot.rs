//! Integer dot products of packed codes with quantized activations, for each instruction set.

#[cfg(target_arch = "aarch64")]
pub(crate) mod arm;

use super::TILE;
use crate::simd::{Portable, Simd};

/// Sums of products of one row's activations with 16 outputs' codes over one group of inputs or more.
///
/// # Safety
/// Every function requires that the processor has the instruction set. `codes` points at the codes of a group
/// ([`super::PackedType::group_code_bytes`]), `x` at four bytes of activations.
pub(crate) trait Dot: Copy {
    /// The float32 vectors of the same instruction set.
    type Float: Simd;
    /// Steps of a group: each takes four bytes of activations, which are 8-bit codes or 16-bit ones.
    const STEPS: usize;
    /// Whether activations are the 16-bit codes.
    const PAIRS: bool;
    /// Rows whose sums fit into the registers beside what is multiplied, at most [`MAX_ROWS`].
    const ROWS: usize = MAX_ROWS;
    /// The codes of a step for 16 outputs.
    type Codes: Copy;
    /// The sums for 16 outputs.
    type Sums: Copy;

    unsafe fn load(codes: *const u8, step: usize) -> Self::Codes;
    /// Sums that begin at `correction`, unless [`Self::finish`] adds it.
    unsafe fn start(correction: i32) -> Self::Sums;
    unsafe fn add(sums: Self::Sums, codes: Self::Codes, x: *const u8) -> Self::Sums;
    /// Vector `part` of the sums as float32.
    unsafe fn finish(sums: Self::Sums, correction: i32, part: usize) -> <Self::Float as Simd>::V;

    /// Bytes of a group's activations.
    #[inline(always)]
    fn group_bytes() -> usize {
        Self::STEPS * 4
    }

    /// Adds the products of a group for `M` rows and `T` tiles, where an instruction covers more than one row. Elsewhere it
    /// does nothing and returns false: then [`Self::add`] is for each row.
    #[inline(always)]
    unsafe fn add_rows<const M: usize, const T: usize>(
        _sums: &mut [[Self::Sums; T]; M],
        _codes: &[*const u8; T],
        _xs: &[*const u8; M],
    ) -> bool {
        false
    }
}

/// Rows that a tile of sums covers at most.
pub(crate) const MAX_ROWS: usize = 6;

/// Where the bytes of 4-bit step `step` begin, and how far its bits are shifted.
#[inline(always)]
fn halves(step: usize) -> (usize, usize) {
    (step / 2 * TILE * 4, step % 2 * 4)
}

#[derive(Clone, Copy)]
pub(crate) struct PortableDot<const WIDE: bool>;

// SAFETY (all functions below): reads of 64 code bytes and 4 activation bytes, which the trait demands of the caller.
impl<const WIDE: bool> Dot for PortableDot<WIDE> {
    type Float = Portable;
    const STEPS: usize = 8;
    const PAIRS: bool = false;
    type Codes = [u8; TILE * 4];
    type Sums = [i32; TILE];

    #[inline(always)]
    unsafe fn load(codes: *const u8, step: usize) -> Self::Codes {
        if WIDE {
            return unsafe { codes.add(step * TILE * 4).cast::<Self::Codes>().read_unaligned() };
        }
        let (at, shift) = halves(step);
        let bytes = unsafe { codes.add(at).cast::<Self::Codes>().read_unaligned() };
        bytes.map(|b| b >> shift & 15)
    }
    #[inline(always)]
    unsafe fn start(correction: i32) -> Self::Sums {
        [correction; TILE]
    }
    #[inline(always)]
    unsafe fn add(mut sums: Self::Sums, codes: Self::Codes, x: *const u8) -> Self::Sums {
        let x = unsafe { x.cast::<[i8; 4]>().read_unaligned() };
        for (sum, codes) in sums.iter_mut().zip(codes.chunks_exact(4)) {
            for (code, x) in codes.iter().zip(x) {
                *sum += i32::from(*code) * i32::from(x);
            }
        }
        sums
    }
    #[inline(always)]
    unsafe fn finish(sums: Self::Sums, _correction: i32, part: usize) -> [f32; 8] {
        std::array::from_fn(|i| sums[part * 8 + i] as f32)
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    //! AVX2, AVX-VNNI and AVX-512 VNNI.
    use super::{Dot, halves};
    use crate::simd::x86::{Avx2, Avx512};
    use std::arch::x86_64::*;

    /// Of 16 registers ten hold sums, two codes, one a mask, one activations and one a product. With 12 sums the compiler
    /// keeps three of them in memory, and each addition waits for it: products took 1.2 times as long.
    const AVX2_ROWS: usize = 5;

    /// A sum that the compiler may not reorder: it would gather a row's products first, and keep all activations in memory
    /// for that.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn in_turn(mut sum: __m256i) -> __m256i {
        // SAFETY: there is no instruction in it.
        unsafe {
            std::arch::asm!("/* {} */", inout(ymm_reg) sum, options(nomem, nostack, preserves_flags));
        }
        sum
    }

    /// 8-bit codes without VNNI: exact in 16-bit products, which `vpmaddubsw` would not be.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2Wide;

    // SAFETY (all functions of this module): the trait demands the instruction set and valid pointers of the caller; all
    // loads are unaligned ones.
    impl Dot for Avx2Wide {
        type Float = Avx2;
        const STEPS: usize = 16;
        const PAIRS: bool = true;
        const ROWS: usize = AVX2_ROWS;
        type Codes = [__m256i; 2];
        type Sums = [__m256i; 2];

        /// Even steps are inputs 0 and 2 of four, odd ones 1 and 3: read a byte further, these lie where those do, so
        /// that one mask of memory does for both. The byte behind a group's last is the tile's, whose segments end with scales.
        #[inline(always)]
        unsafe fn load(codes: *const u8, step: usize) -> Self::Codes {
            unsafe {
                let at = codes.add(step / 2 * 64 + step % 2).cast::<__m256i>();
                let low = _mm256_set1_epi16(0xff);
                [
                    _mm256_and_si256(_mm256_loadu_si256(at), low),
                    _mm256_and_si256(_mm256_loadu_si256(at.add(1)), low),
                ]
            }
        }
        #[inline(always)]
        unsafe fn start(correction: i32) -> Self::Sums {
            unsafe { [_mm256_set1_epi32(correction); 2] }
        }
        #[inline(always)]
        unsafe fn add(sums: Self::Sums, codes: Self::Codes, x: *const u8) -> Self::Sums {
            unsafe {
                let x = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
                [
                    in_turn(_mm256_add_epi32(sums[0], _mm256_madd_epi16(codes[0], x))),
                    in_turn(_mm256_add_epi32(sums[1], _mm256_madd_epi16(codes[1], x))),
                ]
            }
        }
        #[inline(always)]
        unsafe fn finish(sums: Self::Sums, _correction: i32, part: usize) -> __m256 {
            unsafe { _mm256_cvtepi32_ps(sums[part]) }
        }
    }

    /// 4-bit codes without VNNI. One group's sums fit 16 bits: 8 steps of two products of at most 15 · 127.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2Half;

    impl Dot for Avx2Half {
        type Float = Avx2;
        const STEPS: usize = 8;
        const PAIRS: bool = false;
        const ROWS: usize = AVX2_ROWS;
        type Codes = [__m256i; 2];
        type Sums = [__m256i; 2];

        #[inline(always)]
        unsafe fn load(codes: *const u8, step: usize) -> Self::Codes {
            unsafe { load_half(codes, step) }
        }
        #[inline(always)]
        unsafe fn start(_correction: i32) -> Self::Sums {
            unsafe { [_mm256_setzero_si256(); 2] }
        }
        #[inline(always)]
        unsafe fn add(sums: Self::Sums, codes: Self::Codes, x: *const u8) -> Self::Sums {
            unsafe {
                let x = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
                [
                    in_turn(_mm256_add_epi16(sums[0], _mm256_maddubs_epi16(codes[0], x))),
                    in_turn(_mm256_add_epi16(sums[1], _mm256_maddubs_epi16(codes[1], x))),
                ]
            }
        }
        #[inline(always)]
        unsafe fn finish(sums: Self::Sums, correction: i32, part: usize) -> __m256 {
            unsafe {
                let sums = _mm256_madd_epi16(sums[part], _mm256_set1_epi16(1));
                _mm256_cvtepi32_ps(_mm256_add_epi32(sums, _mm256_set1_epi32(correction)))
            }
        }
    }

    #[inline(always)]
    unsafe fn load_half(codes: *const u8, step: usize) -> [__m256i; 2] {
        unsafe {
            let (at, shift) = halves(step);
            let at = codes.add(at).cast::<__m256i>();
            let low = _mm256_set1_epi8(15);
            let two = [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))];
            if shift == 0 {
                [_mm256_and_si256(two[0], low), _mm256_and_si256(two[1], low)]
            } else {
                [
                    _mm256_and_si256(_mm256_srli_epi16::<4>(two[0]), low),
                    _mm256_and_si256(_mm256_srli_epi16::<4>(two[1]), low),
                ]
            }
        }
    }

    /// AVX-VNNI: `vpdpbusd` of 256 bits.
    #[derive(Clone, Copy)]
    pub(crate) struct AvxVnni<const WIDE: bool>;

    impl<const WIDE: bool> Dot for AvxVnni<WIDE> {
        type Float = Avx2;
        const STEPS: usize = 8;
        const PAIRS: bool = false;
        type Codes = [__m256i; 2];
        type Sums = [__m256i; 2];

        #[inline(always)]
        unsafe fn load(codes: *const u8, step: usize) -> Self::Codes {
            unsafe {
                if WIDE {
                    let at = codes.add(step * 64).cast::<__m256i>();
                    [_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1))]
                } else {
                    load_half(codes, step)
                }
            }
        }
        #[inline(always)]
        unsafe fn start(correction: i32) -> Self::Sums {
            unsafe { [_mm256_set1_epi32(correction); 2] }
        }
        #[inline(always)]
        unsafe fn add(sums: Self::Sums, codes: Self::Codes, x: *const u8) -> Self::Sums {
            unsafe {
                let x = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
                [_mm256_dpbusd_avx_epi32(sums[0], codes[0], x), _mm256_dpbusd_avx_epi32(sums[1], codes[1], x)]
            }
        }
        #[inline(always)]
        unsafe fn finish(sums: Self::Sums, _correction: i32, part: usize) -> __m256 {
            unsafe { _mm256_cvtepi32_ps(sums[part]) }
        }
    }

    /// [`in_turn`] of 512 bits.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn in_turn_512(mut sum: __m512i) -> __m512i {
        // SAFETY: there is no instruction in it.
        unsafe {
            std::arch::asm!("/* {} */", inout(zmm_reg) sum, options(nomem, nostack, preserves_flags));
        }
        sum
    }

    /// AVX-512 VNNI: `vpdpbusd` of 512 bits.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512Vnni<const WIDE: bool>;

    impl<const WIDE: bool> Dot for Avx512Vnni<WIDE> {
        type Float = Avx512;
        const STEPS: usize = 8;
        const PAIRS: bool = false;
        type Codes = __m512i;
        type Sums = __m512i;

        #[inline(always)]
        unsafe fn load(codes: *const u8, step: usize) -> __m512i {
            unsafe {
                if WIDE {
                    return _mm512_loadu_si512(codes.add(step * 64).cast());
                }
                let (at, shift) = halves(step);
                let two = _mm512_loadu_si512(codes.add(at).cast());
                let low = _mm512_set1_epi8(15);
                let shifted = if shift == 0 { two } else { _mm512_srli_epi16::<4>(two) };
                _mm512_and_si512(shifted, low)
            }
        }
        #[inline(always)]
        unsafe fn start(correction: i32) -> __m512i {
            unsafe { _mm512_set1_epi32(correction) }
        }
        #[inline(always)]
        unsafe fn add(sums: __m512i, codes: __m512i, x: *const u8) -> __m512i {
            unsafe {
                in_turn_512(_mm512_dpbusd_epi32(
                    sums,
                    codes,
                    _mm512_set1_epi32(x.cast::<i32>().read_unaligned()),
                ))
            }
        }
        #[inline(always)]
        unsafe fn finish(sums: __m512i, _correction: i32, _part: usize) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(sums) }
        }
    }
}
