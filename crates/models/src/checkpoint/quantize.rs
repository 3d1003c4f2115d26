//! Float values as stored rows: rounded to a shorter float, or in blocks with a scale.
//!
//! Layouts are those of ggml's `block_q*`. Scales are chosen as ggml's reference does (`quantize_row_q8_0_ref`,
//! `quantize_row_q4_0_ref`, `quantize_row_q4_K_ref`), so that the same values give the same bytes.

use half::{bf16, f16};
use nn::DType;

/// Values of a block of Q8_0 and Q4_0, and of those within a block of Q4_K.
const BLOCK: usize = 32;
/// Values of a block of Q4_K, and the blocks within it.
const SUPER_BLOCK: usize = 256;
const BLOCKS: usize = SUPER_BLOCK / BLOCK;
/// The largest code of 4 bits, and the largest scale of 6.
const LARGEST_CODE: f32 = 15.0;
const LARGEST_SCALE: f32 = 63.0;

/// A value that a type has no number for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutOfRange(pub f32);

/// Whether [`encode_row`] makes rows of this type.
pub fn is_encoded(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16 | DType::Q8_0 | DType::Q4_0 | DType::Q4_K)
}

/// Appends a row of `values` as `dtype` stores it. Shorter floats are rounded to nearest; what is no number stays so in floats.
///
/// # Errors
/// With a value beyond the largest of the type, and with one that is no number where blocks are wanted.
///
/// # Panics
/// With a type that is not [`is_encoded`], and where the row has no whole blocks.
pub fn encode_row(dtype: DType, values: &[f32], out: &mut Vec<u8>) -> Result<(), OutOfRange> {
    assert!(values.len().is_multiple_of(dtype.block_len()), "{} values as {}", values.len(), dtype.name());
    match dtype {
        DType::F32 => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
        DType::BF16 => {
            for value in values {
                let rounded = bf16::from_f32(*value);
                check(*value, value.is_finite() && !rounded.is_finite())?;
                out.extend(rounded.to_le_bytes());
            }
        }
        DType::F16 => {
            for value in values {
                let rounded = f16::from_f32(*value);
                check(*value, value.is_finite() && !rounded.is_finite())?;
                out.extend(rounded.to_le_bytes());
            }
        }
        DType::Q8_0 => values.chunks_exact(BLOCK).try_for_each(|block| q8_0(block, out))?,
        DType::Q4_0 => values.chunks_exact(BLOCK).try_for_each(|block| q4_0(block, out))?,
        DType::Q4_K => values.chunks_exact(SUPER_BLOCK).try_for_each(|block| q4_k(block, out))?,
        other => panic!("no rows of {} are made", other.name()),
    }
    Ok(())
}

/// Refuses `value` where it is `wrong`.
fn check(value: f32, wrong: bool) -> Result<(), OutOfRange> {
    if wrong { Err(OutOfRange(value)) } else { Ok(()) }
}

/// The value farthest from zero, with its sign. All of them are numbers.
fn farthest(block: &[f32]) -> Result<f32, OutOfRange> {
    block.iter().try_fold(0f32, |farthest, v| {
        check(*v, !v.is_finite())?;
        Ok(if v.abs() > farthest.abs() { *v } else { farthest })
    })
}

/// Appends `scale` and gives its inverse; 0 has none and needs none.
fn put_scale(scale: f32, farthest: f32, out: &mut Vec<u8>) -> Result<f32, OutOfRange> {
    let stored = f16::from_f32(scale);
    check(farthest, !stored.is_finite())?;
    out.extend(stored.to_le_bytes());
    Ok(if scale == 0.0 { 0.0 } else { 1.0 / scale })
}

/// A scale, and 32 codes from -127 to 127.
fn q8_0(block: &[f32], out: &mut Vec<u8>) -> Result<(), OutOfRange> {
    let farthest = farthest(block)?;
    let inverse = put_scale(farthest.abs() / 127.0, farthest, out)?;
    out.extend(block.iter().map(|v| (v * inverse).round() as i8 as u8));
    Ok(())
}

/// A scale by which the farthest value is -8, and 32 codes from -8 to 7, stored 8 higher: byte `j` has that of value `j` below
/// that of value `j + 16`.
fn q4_0(block: &[f32], out: &mut Vec<u8>) -> Result<(), OutOfRange> {
    let farthest = farthest(block)?;
    let inverse = put_scale(farthest / -8.0, farthest, out)?;
    // the conversion cuts off at both ends
    let code = |v: f32| ((v * inverse + 8.5) as u8).min(15);
    let (low, high) = block.split_at(BLOCK / 2);
    out.extend(low.iter().zip(high).map(|(low, high)| code(*low) | code(*high) << 4));
    Ok(())
}

/// What 32 values are near to: `scale · code - min`.
#[derive(Clone, Copy, Default)]
struct Affine {
    scale: f32,
    min: f32,
}

/// Scale and minimum of each block of 32 in 6 bits, each a share of one of 16 bits, and codes from 0 to 15: byte `j` of a pair
/// of blocks has that of value `j` of the first below that of the second.
fn q4_k(values: &[f32], out: &mut Vec<u8>) -> Result<(), OutOfRange> {
    let farthest = farthest(values)?;
    let mut fits = [Affine::default(); BLOCKS];
    fits.iter_mut().zip(values.chunks_exact(BLOCK)).for_each(|(fit, block)| *fit = Affine::of(block));
    let scale = fits.iter().fold(0f32, |max, fit| max.max(fit.scale));
    let min = fits.iter().fold(0f32, |max, fit| max.max(fit.min));
    let [d, d_min] = [scale, min].map(|largest| f16::from_f32(largest / LARGEST_SCALE));
    check(farthest, !(d.is_finite() && d_min.is_finite()))?;
    let share = |of: f32, largest: f32| match largest > 0.0 {
        true => (LARGEST_SCALE / largest * of).round_ties_even().clamp(0.0, LARGEST_SCALE) as u8,
        false => 0,
    };
    let shares = fits.map(|fit| (share(fit.scale, scale), share(fit.min, min)));
    out.extend([d, d_min].iter().flat_map(|v| v.to_le_bytes()));
    out.extend(packed_shares(&shares));
    let mut codes = [0u8; SUPER_BLOCK];
    for ((codes, block), (scale, min)) in
        codes.chunks_exact_mut(BLOCK).zip(values.chunks_exact(BLOCK)).zip(shares)
    {
        let (scale, min) = (d.to_f32() * f32::from(scale), d_min.to_f32() * f32::from(min));
        if scale != 0.0 {
            for (code, value) in codes.iter_mut().zip(block) {
                *code = ((value + min) / scale).round_ties_even().clamp(0.0, LARGEST_CODE) as u8;
            }
        }
    }
    for pair in codes.chunks_exact(2 * BLOCK) {
        let (low, high) = pair.split_at(BLOCK);
        out.extend(low.iter().zip(high).map(|(low, high)| low | high << 4));
    }
    Ok(())
}

/// The eight pairs in 12 bytes, as [`kernels::dtype::q4_k_scale_min`] takes them apart.
fn packed_shares(shares: &[(u8, u8); BLOCKS]) -> [u8; 12] {
    let mut packed = [0; 12];
    for (at, (scale, min)) in shares.iter().enumerate() {
        if at < 4 {
            packed[at] |= scale;
            packed[at + 4] |= min;
        } else {
            packed[at + 4] = (scale & 15) | (min & 15) << 4;
            packed[at - 4] |= scale >> 4 << 6;
            packed[at] |= min >> 4 << 6;
        }
    }
    packed
}

impl Affine {
    /// The scale and minimum of least weighted squares among those to which 21 steps around the plain one lead, each from the
    /// best minimum so far; large values weigh more. No minimum is above zero.
    fn of(values: &[f32]) -> Affine {
        let mean_square = values.iter().map(|v| v * v).fold(0.0, |sum: f32, v| sum + v) / BLOCK as f32;
        let weight = |v: f32| mean_square.sqrt() + v.abs();
        let (mut low, mut high, mut weights, mut weighted) = (0f32, values[0], 0f32, 0f32);
        for v in values {
            (low, high) = (low.min(*v), high.max(*v));
            weights += weight(*v);
            weighted += weight(*v) * v;
        }
        if high == low {
            return Affine { scale: 0.0, min: -low };
        }
        let plain = LARGEST_CODE / (high - low);
        let code =
            |inverse: f32, low: f32, v: f32| (inverse * (v - low)).round_ties_even().clamp(0.0, LARGEST_CODE);
        let error = |inverse: f32, low: f32, scale: f32, min: f32| {
            let squares = values.iter().map(|v| {
                let off = scale * code(inverse, low, *v) + min - v;
                weight(*v) * (off * off)
            });
            squares.fold(0.0, |sum: f32, v| sum + v)
        };
        let mut best = (error(plain, low, 1.0 / plain, low), 1.0 / plain, low);
        for step in 0..=20 {
            let low = best.2;
            let inverse = (-1.0 + 0.1 * step as f32 + LARGEST_CODE) / (high - low);
            let (mut codes, mut squares, mut products) = (0f32, 0f32, 0f32);
            for v in values {
                let (w, code) = (weight(*v), code(inverse, low, *v));
                codes += w * code;
                squares += w * code * code;
                products += w * code * v;
            }
            let determinant = weights * squares - codes * codes;
            if determinant <= 0.0 {
                continue;
            }
            let mut scale = (weights * products - weighted * codes) / determinant;
            let mut min = (squares * weighted - codes * products) / determinant;
            if min > 0.0 {
                (scale, min) = (products / squares, 0.0);
            }
            let error = error(inverse, low, scale, min);
            if error < best.0 {
                best = (error, scale, min);
            }
        }
        Affine { scale: best.1, min: -best.2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::matmul::decode_row;
    use proptest::prelude::*;

    fn encoded(dtype: DType, values: &[f32]) -> Result<Vec<u8>, OutOfRange> {
        let mut bytes = Vec::new();
        encode_row(dtype, values, &mut bytes).map(|()| bytes)
    }

    #[test]
    fn what_a_type_cannot_hold_is_named() {
        let row = |value: f32| [[0.0; 31].as_slice(), &[value]].concat();
        for (dtype, value, fits) in [
            (DType::F16, 65504.0, true),
            (DType::F16, -65520.0, false),
            (DType::BF16, 3.0e38, true),
            (DType::BF16, f32::MAX, false),
            (DType::Q8_0, 8.0e6, true),
            (DType::Q8_0, 9.0e6, false),
            (DType::Q4_0, -6.0e5, false),
            (DType::Q4_0, f32::INFINITY, false),
        ] {
            let found = encoded(dtype, &row(value));
            assert_eq!(found.err(), (!fits).then_some(OutOfRange(value)), "{} {value}", dtype.name());
        }
        assert!(encoded(DType::Q8_0, &row(f32::NAN)).is_err());
        assert!(encoded(DType::F16, &row(f32::NAN)).is_ok());
    }

    proptest! {
        /// A block is off by half a step at most, where a step of 4 bits may be a whole one at the end without a code.
        #[test]
        fn blocks_are_near_their_values(values in prop::collection::vec(-100f32..100.0, 64)) {
            for (dtype, steps, allowed) in [(DType::Q8_0, 127.0, 0.51), (DType::Q4_0, 8.0, 1.01)] {
                let bytes = encoded(dtype, &values).unwrap();
                prop_assert_eq!(Some(bytes.len()), dtype.row_bytes(values.len()));
                let mut decoded = vec![0.0; values.len()];
                decode_row(dtype, &bytes, &mut decoded);
                for (block, decoded) in values.chunks(32).zip(decoded.chunks(32)) {
                    let step = block.iter().fold(0f32, |max, v| max.max(v.abs())) / steps;
                    for (a, b) in block.iter().zip(decoded) {
                        // the scale is rounded to 11 bits as well
                        prop_assert!((a - b).abs() <= step * allowed + a.abs() / 1024.0, "{a} {b} {step}");
                    }
                }
            }
        }

        /// With 256 values to a scale 4 bits are no worse than with 32 where all blocks are alike, and shares are taken
        /// apart as they were put together.
        #[test]
        fn blocks_of_blocks_are_near_their_values(
            values in prop::collection::vec(-1f32..1.0, SUPER_BLOCK),
            shift in -0.5f32..0.5,
        ) {
            let values: Vec<f32> = values.iter().map(|v| v + shift).collect();
            let off = |dtype: DType| {
                let bytes = encoded(dtype, &values).unwrap();
                assert_eq!(Some(bytes.len()), dtype.row_bytes(values.len()));
                let mut decoded = vec![0.0; values.len()];
                decode_row(dtype, &bytes, &mut decoded);
                values.iter().zip(&decoded).map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
            };
            prop_assert!(off(DType::Q4_K) <= off(DType::Q4_0) * 1.05);
        }

        #[test]
        fn shares_are_taken_apart_as_they_were_put_together(shares in prop::array::uniform8((0u8..64, 0u8..64))) {
            let packed = packed_shares(&shares);
            for (at, share) in shares.into_iter().enumerate() {
                prop_assert_eq!(kernels::dtype::q4_k_scale_min(&packed, at), share);
            }
        }

        /// Encoding what was decoded changes nothing.
        #[test]
        fn four_bits_stay_as_they_are(values in prop::collection::vec(-1f32..1.0, 32)) {
            let once = encoded(DType::Q4_0, &values).unwrap();
            let mut decoded = vec![0.0; values.len()];
            decode_row(DType::Q4_0, &once, &mut decoded);
            prop_assert_eq!(encoded(DType::Q4_0, &decoded).unwrap(), once);
        }
    }
}
