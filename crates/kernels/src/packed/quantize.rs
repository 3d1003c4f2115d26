//! From float32 weights to packed ones.

use super::format::SPAN_GROUPS;
use super::{GROUP, GroupScale, PackedType, TILE, TileMut};
use half::f16;

/// Candidates for the scale of a 4-bit group, as magnitudes of the code that the largest weight gets.
const INT4_RANGES: [f32; 7] = [8.0, 7.7, 7.4, 8.3, 8.6, 7.0, 6.6];

/// Quantizes up to 16 outputs `[outputs, cols]` into a tile. Returns the sum of squared errors and the sum of squared
/// weights.
///
/// # Panics
/// When `packed` has no quantizer ([`PackedType::Int4Zero`] and [`PackedType::Int4Super`] have none), or sizes do not fit.
pub fn quantize_outputs(packed: PackedType, weights: &[f32], cols: usize, tile: &mut [u8]) -> (f64, f64) {
    assert!(cols > 0 && weights.len().is_multiple_of(cols) && weights.len() <= TILE * cols);
    let mut tile = TileMut::new(tile, packed, cols);
    let (mut error, mut power) = (0.0f64, 0.0f64);
    for (output, row) in weights.chunks_exact(cols).enumerate() {
        let mut span_largest = 0.0;
        for (group, values) in row.chunks(GROUP).enumerate() {
            let mut padded = [0.0f32; GROUP];
            padded[..values.len()].copy_from_slice(values);
            if packed == PackedType::Int8 && group % SPAN_GROUPS == 0 {
                span_largest = largest(&row[group * GROUP..row.len().min((group + SPAN_GROUPS) * GROUP)]);
            }
            let (codes, scale) = match packed {
                PackedType::Int8 => int8(&padded, span_largest),
                PackedType::Int8Fine => int8(&padded, largest(values)),
                PackedType::Int4 => int4(&padded),
                other => panic!("{} is only read from files", other.name()),
            };
            let (zero, factor) = (packed.zero(), scale.to_f32());
            let (mut e, mut p) = (0.0f32, 0.0f32);
            for (v, code) in padded.iter().zip(codes) {
                let d = v - factor * (i32::from(code) - zero) as f32;
                e += d * d;
                p += v * v;
            }
            error += f64::from(e);
            power += f64::from(p);
            tile.put(output, group, &codes, GroupScale::Half(scale.to_bits()));
        }
    }
    (error, power)
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |a, v| if v.abs() > a { v.abs() } else { a })
}

/// The magnitude `largest` becomes 127.
fn int8(values: &[f32; GROUP], largest: f32) -> ([u8; GROUP], f16) {
    let scale = f16::from_f32(largest / 127.0);
    let factor = reciprocal(scale);
    let code = |v: f32| ((v * factor).round_ties_even().clamp(-127.0, 127.0) as i32 + 128) as u8;
    (values.map(code), scale)
}

/// Codes -8..=7. The side with the largest magnitude gets the longer half; among a few ranges the one with the least
/// squared error counts, each with the scale that suits its codes best (least squares, as ggml's quantizers have it).
fn int4(values: &[f32; GROUP]) -> ([u8; GROUP], f16) {
    let largest = largest(values);
    let negative = values.iter().any(|v| *v == -largest);
    let extreme = if negative { -largest } else { largest };
    let mut best = ([8u8; GROUP], f16::ZERO, f32::NEG_INFINITY);
    if largest == 0.0 {
        return (best.0, best.1);
    }
    for range in INT4_RANGES {
        let factor = -range / extreme;
        let rounded = values.map(|v| (v * factor).round_ties_even().clamp(-8.0, 7.0));
        let (mut cross, mut square) = (0.0f32, 0.0f32);
        for (v, q) in values.iter().zip(rounded) {
            cross += v * q;
            square += q * q;
        }
        // squared error = Σv² - cross² / square, at the scale cross / square
        let gain = if square > 0.0 { cross * cross / square } else { 0.0 };
        if gain > best.2 {
            best = (rounded.map(|q| (q as i32 + 8) as u8), f16::from_f32(cross / square), gain);
        }
    }
    (best.0, best.1)
}

fn reciprocal(scale: f16) -> f32 {
    if scale == f16::ZERO { 0.0 } else { 1.0 / scale.to_f32() }
}
