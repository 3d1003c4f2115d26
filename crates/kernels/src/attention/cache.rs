//! The block-paged cache of keys and values: its layout, and how a batch's rows are stored in it.

use super::CHUNK;
use crate::pool::Parts;
use crate::simd::{MAX_LANES, ONES, Simd, simd_kernel};
use crate::{DType, Pool};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use std::ops::Range;

/// One layer's keys or values in `dtype`: blocks of `[kv_heads, head_dim, block_tokens]` for keys, and
/// `[kv_heads, block_tokens, head_dim]` for values. In Q8_0 a head has scales `[head_dim / 32, block_tokens]` before its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// F32, F16, BF16, or Q8_0: 8 bits with a scale for each 32 values of a head, which must be a multiple of 32.
    pub dtype: DType,
    /// Tokens in a block.
    pub block_tokens: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
}

impl KvLayout {
    /// Bytes of one block of keys (or of values) of one layer.
    pub fn block_bytes(&self) -> usize {
        self.block_tokens * self.kv_heads * self.vector_bytes()
    }

    /// Where the vectors of `head` lie in `block`.
    pub(super) fn head_bytes(&self, block: u32, head: usize) -> Range<usize> {
        let bytes = self.block_tokens * self.vector_bytes();
        let start = block as usize * self.block_bytes() + head * bytes;
        start..start + bytes
    }

    /// Bytes of a head's scales in a block.
    pub(super) fn scale_bytes(&self) -> usize {
        match self.dtype {
            DType::Q8_0 => self.head_dim / CHUNK * self.block_tokens * size_of::<f16>(),
            _ => 0,
        }
    }

    /// Bytes of a head's vector.
    pub(super) fn vector_bytes(&self) -> usize {
        self.head_dim / self.dtype.block_len() * self.dtype.block_bytes()
    }
}

/// The rows of one sequence in a batch, and where its past lies in the cache.
#[derive(Clone, Copy, Debug)]
pub struct SequenceRows<'a> {
    /// First row of the sequence in the batch.
    pub start: usize,
    /// Its number of rows.
    pub len: usize,
    /// Tokens of the sequence that are in the cache already: row `i` stands at position `past + i`.
    pub past: usize,
    /// Its cache blocks in order; they cover `past + len` tokens.
    pub blocks: &'a [u32],
}

/// Stores keys `k` and values `v [tokens, kv_heads, head_dim]` of the batch in the layer's blocks, rounded to nearest even
/// where the cache is narrower than float32.
///
/// # Panics
/// When a sequence has too few blocks, a block lies outside the cache, or rows would go to one block twice over.
pub fn store_rows(
    pool: &Pool,
    k: &[f32],
    v: &[f32],
    keys: &mut [u8],
    values: &mut [u8],
    layout: KvLayout,
    seqs: &[SequenceRows<'_>],
) {
    let KvLayout { block_tokens: tokens, kv_heads, head_dim, .. } = layout;
    let (keys, values) = (Parts::new(keys), Parts::new(values));
    let touched = |s: &SequenceRows<'_>| s.past / tokens..(s.past + s.len).div_ceil(tokens);
    let with_rows = seqs.iter().filter(|s| s.len > 0);
    let tasks: Vec<_> = with_rows.flat_map(|s| touched(s).map(move |block| (s, block))).collect();
    let mut written: Vec<u32> = tasks.iter().map(|&(s, block)| s.blocks[block]).collect();
    written.sort_unstable();
    assert!(written.is_sorted_by(|a, b| a < b), "rows are stored in blocks that are one sequence's");
    pool.run(tasks.len(), &|task| {
        let (s, block) = tasks[task];
        let positions = (block * tokens).max(s.past)..((block + 1) * tokens).min(s.past + s.len);
        for head in 0..kv_heads {
            let at = layout.head_bytes(s.blocks[block], head);
            // SAFETY: each block is one task's, as was checked.
            let (keys, values) = unsafe { (keys.part(at.start, at.len()), values.part(at.start, at.len())) };
            for position in positions.clone() {
                let (row, place) = (s.start + position - s.past, position % tokens);
                let first = (row * kv_heads + head) * head_dim;
                store_key(&k[first..][..head_dim], place, layout, keys);
                store_value(&v[first..][..head_dim], place, layout, values);
            }
        }
    });
}

/// Writes a key as column `place` of a head's block.
fn store_key(key: &[f32], place: usize, layout: KvLayout, block: &mut [u8]) {
    let tokens = layout.block_tokens;
    let (scales, rows) = block.split_at_mut(layout.scale_bytes());
    match layout.dtype {
        DType::Q8_0 => narrow_to_codes(key, place, tokens, scales, |i, codes| {
            rows[i * tokens + place..]
                .iter_mut()
                .step_by(tokens)
                .zip(codes)
                .for_each(|(row, code)| *row = code);
        }),
        plain => {
            let size = plain.block_bytes();
            narrow(plain, key, tokens * size, &mut rows[place * size..]);
        }
    }
}

/// Writes a value as row `place` of a head's block.
fn store_value(value: &[f32], place: usize, layout: KvLayout, block: &mut [u8]) {
    let (scales, rows) = block.split_at_mut(layout.scale_bytes());
    match layout.dtype {
        DType::Q8_0 => {
            let row = &mut rows[place * value.len()..][..value.len()];
            narrow_to_codes(value, place, layout.block_tokens, scales, |i, codes| {
                row[i..][..CHUNK].copy_from_slice(&codes);
            });
        }
        plain => narrow(plain, value, plain.block_bytes(), &mut rows[place * layout.vector_bytes()..]),
    }
}

/// Values that are rounded together.
const ROUNDED: usize = 128;

/// Writes values `step` bytes from each other.
fn narrow(dtype: DType, values: &[f32], step: usize, out: &mut [u8]) {
    if dtype == DType::F32 {
        return put(values, step, out, f32::to_le_bytes);
    }
    let mut rounded = [0; ROUNDED];
    for (values, out) in values.chunks(ROUNDED).zip(out.chunks_mut(ROUNDED * step)) {
        let rounded = &mut rounded[..values.len()];
        match dtype {
            DType::F16 => rounded.reinterpret_cast_mut::<f16>().convert_from_f32_slice(values),
            DType::BF16 => round_to_bf16(values, rounded),
            other => panic!("a cache is F32, F16, BF16 or Q8_0, not {}", other.name()),
        }
        put(rounded, step, out, u16::to_le_bytes);
    }
}

fn put<T: Copy, const N: usize>(values: &[T], step: usize, out: &mut [u8], bytes: impl Fn(T) -> [u8; N]) {
    // one copy, which compilers see only if they know the step
    if step == N {
        out.chunks_exact_mut(N).zip(values).for_each(|(out, &value)| out.copy_from_slice(&bytes(value)));
        return;
    }
    out.chunks_mut(step).zip(values).for_each(|(out, &value)| out[..N].copy_from_slice(&bytes(value)));
}

simd_kernel! {
    /// Rounds to nearest, halves to even.
    fn round_to_bf16(values: &[f32], out: &mut [u16]) = round_to_bf16_body;
}

/// Plain arithmetic, which compilers turn into vectors of the instruction set. `half` asks of each value by itself whether it is
/// a number, and took a fiftieth of a prompt's time.
#[inline(always)]
unsafe fn round_to_bf16_body<S: Simd>(values: &[f32], out: &mut [u16]) {
    for (out, value) in out.iter_mut().zip(values) {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        // rounding could make an infinity of what is no number
        let kept = bits >> 16 | 0x40;
        *out = if value.is_nan() { kept } else { rounded } as u16;
    }
}

/// Rounds a head's vector to 8 bits: writes its scales as column `place` of `[.., tokens]`, and puts its codes from value `i` on.
fn narrow_to_codes(
    vector: &[f32],
    place: usize,
    tokens: usize,
    scales: &mut [u8],
    mut put: impl FnMut(usize, [u8; CHUNK]),
) {
    let scales = scales.as_chunks_mut().0.iter_mut().skip(place).step_by(tokens);
    for ((i, values), to_scale) in vector.as_chunks().0.iter().enumerate().zip(scales) {
        let (scale, codes) = eight_bits(values);
        *to_scale = scale.to_le_bytes();
        put(i * CHUNK, codes);
    }
}

/// The half-precision scale and the codes of 32 values, at most 127. The scale is rounded up to 8 significant bits, so that
/// it is a BF16 value too, and a weight of one times it exact (but for those below the normal numbers, 6e-5). Where a value is no number, neither is the scale.
fn eight_bits(values: &[f32; CHUNK]) -> (f16, [u8; CHUNK]) {
    let mut codes = [0; CHUNK];
    let scale = f16::from_f32(largest_magnitude(values) / 127.0);
    let scale = if scale.is_normal() {
        f16::from_bits(((scale.to_bits() + 7) & !7).min(LARGEST_SCALE))
    } else {
        scale
    };
    let factor = if scale == f16::ZERO { 0.0 } else { 1.0 / scale.to_f32() };
    to_codes(values, factor, &mut codes);
    (scale, codes)
}

/// The largest half-precision number of 8 significant bits.
const LARGEST_SCALE: u16 = 0x7bf8;

simd_kernel! {
    /// The largest magnitude; no number if one of them is none.
    fn largest_magnitude(values: &[f32; CHUNK]) -> f32 = largest_magnitude_body;
}

simd_kernel! {
    /// `values · factor` rounded to integers, halves to even, in -127..=127; of what is no number, anything.
    fn to_codes(values: &[f32; CHUNK], factor: f32, codes: &mut [u8; CHUNK]) = to_codes_body;
}

/// Plain arithmetic, as in [`round_to_bf16_body`].
#[inline(always)]
unsafe fn largest_magnitude_body<S: Simd>(values: &[f32; CHUNK]) -> f32 {
    let (mut largest, mut broken) = ([0.0f32; MAX_LANES], [0.0f32; MAX_LANES]);
    for values in values.as_chunks::<MAX_LANES>().0 {
        for i in 0..MAX_LANES {
            let size = values[i].abs();
            largest[i] = if size > largest[i] { size } else { largest[i] };
            broken[i] += size * 0.0;
        }
    }
    let broken: f32 = broken.iter().sum();
    largest.iter().fold(0.0, |a, &b| if b > a { b } else { a }) + broken
}

/// Plain arithmetic, as in [`round_to_bf16_body`]: rounding is a function's call where a processor need not have it.
#[inline(always)]
unsafe fn to_codes_body<S: Simd>(values: &[f32; CHUNK], factor: f32, codes: &mut [u8; CHUNK]) {
    for (code, value) in codes.iter_mut().zip(values) {
        *code = ((value * factor).clamp(-127.0, 127.0) + ONES).to_bits() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    #[test]
    fn values_in_8_bits_are_those_of_the_plain_formula() {
        let mut values = [0.0f32; CHUNK];
        for seed in 0..2000u32 {
            for (i, value) in values.iter_mut().enumerate() {
                let bits = (seed * 32 + i as u32).wrapping_mul(0x9e37_79b9);
                // all sizes, the smallest of which have no scale, and what is no number
                *value = match seed % 4 {
                    0 => f32::from_bits(bits),
                    1 => (bits >> 16) as f32 * 1e-10,
                    2 => f32::from(bits as i16) / 2.0,
                    _ => f32::from(bits as i16) * 1e-3,
                };
            }
            let found = eight_bits(&values);
            if !values.iter().all(|v| v.is_finite()) {
                assert!(found.0.is_nan(), "{values:?}");
                continue;
            }
            let largest = values.iter().fold(0.0f32, |a, v| a.max(v.abs()));
            let mut scale = f16::from_f32(largest / 127.0);
            while scale.is_normal()
                && scale.to_bits() < LARGEST_SCALE
                && bf16::from_f32(scale.to_f32()).to_f32() != scale.to_f32()
            {
                scale = f16::from_bits(scale.to_bits() + 1);
            }
            let factor = if scale == f16::ZERO { 0.0 } else { 1.0 / scale.to_f32() };
            let codes = values.map(|v| (v * factor).round_ties_even().clamp(-127.0, 127.0) as i8 as u8);
            assert_eq!(found, (scale, codes), "{values:?}");
        }
    }

    #[test]
    fn the_largest_scale_is_a_number() {
        for largest in [8.28e6f32, 8.3e6, 8.319e6] {
            let (scale, codes) = eight_bits(&[largest; CHUNK]);
            let found = scale.to_f32() * f32::from(codes[0] as i8);
            assert!((found / largest - 1.0).abs() < 0.01, "{found} for {largest}");
        }
    }

    #[test]
    fn a_value_that_is_no_number_is_not_lost_in_8_bits() {
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in 0..CHUNK {
                let mut values = [0.5; CHUNK];
                values[place] = broken;
                assert!(eight_bits(&values).0.is_nan(), "{broken} at {place}");
            }
        }
    }

    #[test]
    fn bf16_is_rounded_as_by_its_library() {
        let ends =
            [0x0000_0000u32, 0x0000_7fff, 0x0000_8000, 0x0001_8000, 0x3f80_8000, 0x3f81_8000, 0x7f7f_ffff];
        let odd = [0x7f80_0000, 0x7f80_0001, 0x7fff_ffff, 0xff80_0000, 0xffff_ffff, 0x8000_0001];
        let many = (0..4096u32).map(|i| i.wrapping_mul(0x9e37_79b9));
        let values: Vec<f32> = ends.into_iter().chain(odd).chain(many).map(f32::from_bits).collect();
        let mut out = vec![0; values.len()];
        round_to_bf16(&values, &mut out);
        for (value, found) in values.iter().zip(out) {
            assert_eq!(found, bf16::from_f32(*value).to_bits(), "{value:e} {:#x}", value.to_bits());
        }
    }
}
