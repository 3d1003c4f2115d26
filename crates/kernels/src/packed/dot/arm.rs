//! NEON, alone and with its products of 8-bit integers.

use super::{Dot, halves};
use crate::simd::arm::Neon;
use std::arch::aarch64::*;
use std::arch::asm;

/// Products are widened.
pub(crate) const WIDENING: u8 = 0;
/// `sdot` (Armv8.2 dot product).
pub(crate) const SDOT: u8 = 1;
/// `smmla` (Armv8.6 i8mm) for pairs of rows, and `sdot` for a row that is left.
pub(crate) const SMMLA: u8 = 2;

/// `BY`: [`WIDENING`], [`SDOT`] or [`SMMLA`].
#[derive(Clone, Copy)]
pub(crate) struct NeonDot<const WIDE: bool, const BY: u8>;

// SAFETY (all functions below): the trait demands the instruction set and valid pointers of the caller.
impl<const WIDE: bool, const BY: u8> Dot for NeonDot<WIDE, BY> {
    type Float = Neon;
    const STEPS: usize = 8;
    const PAIRS: bool = false;
    type Codes = [int8x16_t; 4];
    type Sums = [int32x4_t; 4];

    /// Codes of 8 bits become signed here, so that no correction is left.
    #[inline(always)]
    unsafe fn load(codes: *const u8, step: usize) -> Self::Codes {
        unsafe {
            if WIDE {
                let at = codes.add(step * 64);
                return [signed(at), signed(at.add(16)), signed(at.add(32)), signed(at.add(48))];
            }
            let (at, shift) = halves(step);
            let at = codes.add(at);
            [half(at, shift), half(at.add(16), shift), half(at.add(32), shift), half(at.add(48), shift)]
        }
    }
    #[inline(always)]
    unsafe fn start(correction: i32) -> Self::Sums {
        unsafe { [vdupq_n_s32(if WIDE { 0 } else { correction }); 4] }
    }
    #[inline(always)]
    unsafe fn add(sums: Self::Sums, codes: Self::Codes, x: *const u8) -> Self::Sums {
        unsafe {
            let x = vreinterpretq_s8_s32(vdupq_n_s32(x.cast::<i32>().read_unaligned()));
            [
                product::<BY>(sums[0], codes[0], x),
                product::<BY>(sums[1], codes[1], x),
                product::<BY>(sums[2], codes[2], x),
                product::<BY>(sums[3], codes[3], x),
            ]
        }
    }
    #[inline(always)]
    unsafe fn finish(sums: Self::Sums, _correction: i32, part: usize) -> float32x4_t {
        unsafe { vcvtq_f32_s32(sums[part]) }
    }

    /// Eight inputs of two outputs, as `smmla` takes them, are two steps zipped. A single row waits for memory, and
    /// zipping would not help it.
    #[inline(always)]
    unsafe fn add_rows<const M: usize, const T: usize>(
        sums: &mut [[Self::Sums; T]; M],
        codes: &[*const u8; T],
        xs: &[*const u8; M],
    ) -> bool {
        if BY != SMMLA || M == 1 {
            return false;
        }
        unsafe {
            exchange_halves(sums);
            for step in (0..Self::STEPS).step_by(2) {
                for t in 0..T {
                    let (even, odd) = (Self::load(codes[t], step), Self::load(codes[t], step + 1));
                    let zipped: [[int8x16_t; 2]; 4] = std::array::from_fn(|v| zip(even[v], odd[v]));
                    for i in (0..M - 1).step_by(2) {
                        let x = [xs[i].add(step * 4), xs[i + 1].add(step * 4)];
                        let x = vcombine_s8(vld1_s8(x[0].cast()), vld1_s8(x[1].cast()));
                        for v in 0..4 {
                            sums[i][t][v] = smmla(sums[i][t][v], x, zipped[v][0]);
                            sums[i + 1][t][v] = smmla(sums[i + 1][t][v], x, zipped[v][1]);
                        }
                    }
                    if !M.is_multiple_of(2) {
                        let (sums, x) = (&mut sums[M - 1][t], xs[M - 1].add(step * 4));
                        *sums = Self::add(Self::add(*sums, even, x), odd, x.add(4));
                    }
                }
            }
            exchange_halves(sums);
            true
        }
    }
}

/// From sums of a row each to what `smmla` adds to, and back: of each four outputs, a pair's first vectors have 0 and
/// 1 of both rows, the second ones 2 and 3.
#[inline(always)]
unsafe fn exchange_halves<const M: usize, const T: usize>(sums: &mut [[[int32x4_t; 4]; T]; M]) {
    for i in (0..M - 1).step_by(2) {
        for t in 0..T {
            for v in 0..4 {
                unsafe {
                    let a = vreinterpretq_s64_s32(sums[i][t][v]);
                    let b = vreinterpretq_s64_s32(sums[i + 1][t][v]);
                    sums[i][t][v] = vreinterpretq_s32_s64(vzip1q_s64(a, b));
                    sums[i + 1][t][v] = vreinterpretq_s32_s64(vzip2q_s64(a, b));
                }
            }
        }
    }
}

/// Codes of four outputs in two steps: outputs 0 and 1, then 2 and 3, with eight inputs each.
#[inline(always)]
unsafe fn zip(even: int8x16_t, odd: int8x16_t) -> [int8x16_t; 2] {
    unsafe {
        let (even, odd) = (vreinterpretq_s32_s8(even), vreinterpretq_s32_s8(odd));
        [vreinterpretq_s8_s32(vzip1q_s32(even, odd)), vreinterpretq_s8_s32(vzip2q_s32(even, odd))]
    }
}

/// 16 codes of 8 bits, with a sign.
#[inline(always)]
unsafe fn signed(codes: *const u8) -> int8x16_t {
    unsafe { vreinterpretq_s8_u8(veorq_u8(vld1q_u8(codes), vdupq_n_u8(0x80))) }
}

/// 16 codes of 4 bits.
#[inline(always)]
unsafe fn half(codes: *const u8, shift: usize) -> int8x16_t {
    unsafe {
        let two = vld1q_u8(codes);
        let one = if shift == 0 { vandq_u8(two, vdupq_n_u8(15)) } else { vshrq_n_u8::<4>(two) };
        vreinterpretq_s8_u8(one)
    }
}

/// Four sums of four products each.
#[inline(always)]
unsafe fn product<const BY: u8>(sums: int32x4_t, codes: int8x16_t, x: int8x16_t) -> int32x4_t {
    unsafe {
        if BY != WIDENING {
            return sdot(sums, codes, x);
        }
        let low = vmull_s8(vget_low_s8(codes), vget_low_s8(x));
        let high = vmull_high_s8(codes, x);
        vaddq_s32(sums, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)))
    }
}

/// The intrinsic is not stable.
#[inline(always)]
pub(crate) unsafe fn sdot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: pure arithmetic on registers; the caller promises the instruction.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// Two rows `a` of eight by two rows `b`: sums 0 and 1 are of the first row of `a`. The intrinsic is not stable.
#[inline(always)]
pub(crate) unsafe fn smmla(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: pure arithmetic on registers; the caller promises the instruction.
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "smmla {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}
