//! AdamW whose moments are kept in 8 bits.
//!
//! Block-wise dynamic quantisation after Dettmers and others (arXiv:2110.02861): each block of values has its largest as a
//! scale, and codes that are dense near zero. A code whose leading one stands behind `z` zeros and before `f` bits of a
//! fraction is `10^-z · (0.1 + 0.9 · fraction / 2^f)` of the scale. Codes rise with their values and decades meet, so that
//! what is rounded past the end of a decade is the first code of the next. In the highest decade the fraction goes up to
//! one, so that the largest value of a block is exact.
//!
//! Two things differ from the paper. Of the second moment the root is kept: it spans half as many decades, and is what a step
//! divides by. And it is rounded up or down by chance, in proportion, and never to zero: a moment that decays by 0.1% a step
//! would else be rounded back to where it was for ever, and one that became zero would make its value leap. Chance follows
//! from the seed and the value's place, so that a step can be done again with the same bits.

use super::{AdamWStep, RUN, adamw_body};
use crate::Pool;
use crate::pool::Parts;
use crate::simd::{Simd, simd_kernel};

/// Values that share a scale.
pub const BLOCK: usize = 256;

/// Bits of a magnitude, where the eighth is a sign, and where there is none.
const SIGNED_BITS: usize = 7;
const UNSIGNED_BITS: usize = 8;

/// `10^z`.
const POWERS: [f32; 8] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];

/// Values in 8 bits each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EightBit {
    /// One for each value.
    pub codes: Vec<u8>,
    /// One for each [`BLOCK`], the last of which may be short.
    pub scales: Vec<f32>,
}

impl EightBit {
    /// `len` zeros.
    pub fn zeros(len: usize) -> EightBit {
        EightBit { codes: vec![0; len], scales: vec![0.0; len.div_ceil(BLOCK)] }
    }
}

/// [`super::adamw`] with moments in 8 bits: `m` the first, `root` the root of the second. `seed` decides how the second is
/// rounded; each step of each parameter has one of its own.
///
/// # Panics
/// When lengths differ.
pub fn adamw_8bit(
    pool: &Pool,
    step: AdamWStep,
    seed: u32,
    gradient: &[f32],
    values: &mut [f32],
    m: &mut EightBit,
    root: &mut EightBit,
) {
    let n = values.len();
    assert_eq!((gradient.len(), m.codes.len(), root.codes.len()), (n, n, n));
    assert_eq!((m.scales.len(), root.scales.len()), (n.div_ceil(BLOCK), n.div_ceil(BLOCK)));
    let values = Parts::new(values);
    let (m_codes, m_scales) = (Parts::new(&mut m.codes), Parts::new(&mut m.scales));
    let (root_codes, root_scales) = (Parts::new(&mut root.codes), Parts::new(&mut root.scales));
    pool.run(n.div_ceil(RUN), &|task| {
        let (from, len) = (task * RUN, RUN.min(n - task * RUN));
        let (block, blocks) = (from / BLOCK, len.div_ceil(BLOCK));
        // SAFETY: runs are whole blocks and do not overlap, and `run` returns before the slices are used again.
        let (values, m, root) = unsafe {
            (
                values.part(from, len),
                (m_codes.part(from, len), m_scales.part(block, blocks)),
                (root_codes.part(from, len), root_scales.part(block, blocks)),
            )
        };
        run(step, seed.wrapping_add(from as u32), &gradient[from..from + len], values, m, root);
    });
}

/// Codes and scales of a run.
type RunOf<'a> = (&'a mut [u8], &'a mut [f32]);

simd_kernel! {
    fn run(step: AdamWStep, seed: u32, gradient: &[f32], values: &mut [f32], m: RunOf<'_>, root: RunOf<'_>) = run_body;
}

#[inline(always)]
unsafe fn run_body<S: Simd>(
    step: AdamWStep,
    seed: u32,
    gradient: &[f32],
    values: &mut [f32],
    m: RunOf<'_>,
    root: RunOf<'_>,
) {
    let (mut first, mut second) = ([0.0f32; BLOCK], [0.0f32; BLOCK]);
    for block in 0..m.1.len() {
        let range = block * BLOCK..((block + 1) * BLOCK).min(values.len());
        let (first, second) = (&mut first[..range.len()], &mut second[..range.len()]);
        let (m_codes, root_codes) = (&mut m.0[range.clone()], &mut root.0[range.clone()]);
        for (first, code) in first.iter_mut().zip(&*m_codes) {
            *first = SIGNED[usize::from(*code)] * m.1[block];
        }
        for (second, code) in second.iter_mut().zip(&*root_codes) {
            let root = UNSIGNED[usize::from(*code)] * root.1[block];
            *second = root * root;
        }
        // SAFETY: as the caller's.
        unsafe { adamw_body::<S>(step, &gradient[range.clone()], &mut values[range.clone()], first, second) };
        m.1[block] = encode_signed(first, m_codes);
        second.iter_mut().for_each(|v| *v = v.sqrt());
        root.1[block] = encode_unsigned(second, seed.wrapping_add(range.start as u32), root_codes);
    }
}

/// To the nearest code. Returns the scale.
#[inline(always)]
fn encode_signed(values: &[f32], codes: &mut [u8]) -> f32 {
    let scale = values.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    for (code, value) in codes.iter_mut().zip(values) {
        let magnitude = encode::<SIGNED_BITS>(value.abs() * inverse, 0.5);
        *code = magnitude as u8 | u8::from(value.is_sign_negative()) << SIGNED_BITS;
    }
    scale
}

/// To the code above or below by chance; what is not zero does not become it. Returns the scale.
#[inline(always)]
fn encode_unsigned(values: &[f32], seed: u32, codes: &mut [u8]) -> f32 {
    let scale = values.iter().fold(0.0f32, |max, v| max.max(*v));
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    for (i, (code, value)) in codes.iter_mut().zip(values).enumerate() {
        let chance = (mixed(seed.wrapping_add(i as u32)) >> 8) as f32 / (1u32 << 24) as f32;
        let rounded = encode::<UNSIGNED_BITS>(value * inverse, chance) as u8;
        *code = rounded.max(u8::from(*value > 0.0));
    }
    scale
}

/// The code of a magnitude in 0..=1: the highest that is not above it, or the next if `share`, in 0..1, of the way to it is
/// left. 0.5 rounds to nearest.
#[inline(always)]
fn encode<const BITS: usize>(value: f32, share: f32) -> u32 {
    // decades below the first; the last takes all that is smaller
    let mut z = 0;
    for power in &POWERS[1..BITS] {
        z += usize::from(value * power < 1.0);
    }
    let first = 1i32 << (BITS - 1 - z);
    let scaled = value * POWERS[z];
    // below the lowest code the way from zero to it is one step as well
    let position = if scaled < 0.1 { scaled * 10.0 - 1.0 } else { (scaled - 0.1) * (steps(z, first) / 0.9) };
    (first + (position + share).floor() as i32).clamp(0, (1 << BITS) - 1) as u32
}

/// Steps of a decade, from its first code to that of the next, or to 1.
#[inline(always)]
const fn steps(z: usize, first: i32) -> f32 {
    (if z == 0 { first - 1 } else { first }) as f32
}

/// Spreads the bits of a number over all of its bits (lowbias32 of Chris Wellons' hash-prospector).
#[inline(always)]
fn mixed(mut x: u32) -> u32 {
    x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
    x = (x ^ x >> 15).wrapping_mul(0x846c_a68b);
    x ^ x >> 16
}

/// The values of codes.
static SIGNED: [f32; 256] = table(SIGNED_BITS);
static UNSIGNED: [f32; 256] = table(UNSIGNED_BITS);

const fn table(bits: usize) -> [f32; 256] {
    let mut table = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        let magnitude = code & ((1 << bits) - 1);
        let value = decode(magnitude, bits);
        table[code] = if magnitude == code { value } else { -value };
        code += 1;
    }
    table
}

const fn decode(code: usize, bits: usize) -> f32 {
    if code == 0 {
        return 0.0;
    }
    let fraction_bits = code.ilog2() as usize;
    let (z, first) = (bits - 1 - fraction_bits, 1 << fraction_bits);
    let share = (code - first) as f32 / steps(z, first as i32);
    // so that the highest is 1 exactly
    let in_decade = if share == 1.0 { 1.0 } else { 0.1 + 0.9 * share };
    in_decade / POWERS[z]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_rise_with_their_values_and_come_back_from_them() {
        for (bits, table) in [(SIGNED_BITS, &SIGNED), (UNSIGNED_BITS, &UNSIGNED)] {
            let values = &table[..1 << bits];
            assert!(values.windows(2).all(|pair| pair[0] < pair[1]));
            assert_eq!((values[0], values[values.len() - 1]), (0.0, 1.0));
            for (code, value) in values.iter().enumerate() {
                let found = if bits == SIGNED_BITS {
                    encode::<SIGNED_BITS>(*value, 0.5)
                } else {
                    encode::<UNSIGNED_BITS>(*value, 0.5)
                };
                assert_eq!(found as usize, code, "{value}");
            }
        }
        assert_eq!(SIGNED[0x80 | 100], -SIGNED[100]);
    }

    #[test]
    fn rounding_is_to_nearest_and_by_chance_right_on_average() {
        for i in 1..2000 {
            let value = (-6.0 * (i as f32 / 2000.0)).exp2().powi(3);
            let nearest = SIGNED[encode::<SIGNED_BITS>(value, 0.5) as usize];
            let best = SIGNED[..128].iter().map(|v| (v - value).abs()).fold(f32::MAX, f32::min);
            assert!((nearest - value).abs() <= best * 1.001 + 1e-9, "{value}: {nearest}");
            let by_chance = |k: u16| encode::<UNSIGNED_BITS>(value, (f32::from(k) + 0.5) / 4096.0);
            let all = (0..4096).map(|k| f64::from(UNSIGNED[by_chance(k) as usize]));
            let mean = all.sum::<f64>() / 4096.0;
            assert!((mean - f64::from(value)).abs() < 1e-3 * f64::from(value), "{value}: {mean}");
        }
    }

    #[test]
    fn what_is_not_zero_stays_so_and_what_is_exact_too() {
        let mut codes = [9u8; 4];
        assert_eq!(encode_unsigned(&[0.0, 1e-20, 3.0, 1e-3], 7, &mut codes), 3.0);
        assert_eq!((codes[0], codes[2]), (0, 255));
        assert!(codes[1] == 1 && codes[3] > 1);
        assert_eq!(encode_signed(&[0.0, -0.0, 0.0, 0.0], &mut codes), 0.0);
        assert!(codes.iter().all(|code| SIGNED[usize::from(*code)] == 0.0));
    }
}
