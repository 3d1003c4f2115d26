//! Stored rows to float32, exactly. Block layouts: ggml's `block_q*` structures.

use crate::DType;
use crate::dtype::q4_k_scale_min;
use crate::simd::{Bf16, F16, MAX_LANES, Q8, Simd, Stored, simd_kernel};
use half::f16;

/// Decodes one stored row into float32, exactly.
///
/// # Panics
/// When `bytes` is not `out.len()` values of `dtype`.
pub fn decode_row(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(dtype.row_bytes(out.len()), Some(bytes.len()), "bytes of a {} row", dtype.name());
    decode(dtype, bytes, out);
}

simd_kernel! {
    fn decode(dtype: DType, bytes: &[u8], out: &mut [f32]) = decode_body;
}

/// [`decode_row`] without its check, to be inlined into kernels.
///
/// # Safety
/// As for [`Simd`]; lengths as for [`decode_row`].
#[inline(always)]
pub(crate) unsafe fn decode_body<S: Simd>(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    let f16_at = |b: &[u8], i: usize| f16::from_le_bytes([b[i], b[i + 1]]).to_f32();
    let blocks = bytes.chunks_exact(dtype.block_bytes()).zip(out.chunks_exact_mut(dtype.block_len()));
    // SAFETY: the caller's promise on the instruction set; the pointers stay within the slices.
    unsafe {
        match dtype {
            DType::F32 => std::ptr::copy_nonoverlapping(bytes.as_ptr(), out.as_mut_ptr().cast(), bytes.len()),
            DType::F16 => widen::<S, F16>(bytes, out),
            DType::BF16 => widen::<S, Bf16>(bytes, out),
            DType::Q8_0 => widen::<S, Q8>(bytes, out),
            DType::Q4_0 => {
                for (b, out) in blocks {
                    let q = nibbles(&b[2..18]);
                    scaled::<S>(as_bytes(&q.map(|q| q as i8 - 8)), f16_at(b, 0), out)
                }
            }
            DType::Q4_1 => {
                for (b, out) in blocks {
                    let q = nibbles(&b[4..20]);
                    affine::<S>(&q, f16_at(b, 0), f16_at(b, 2), out)
                }
            }
            DType::Q5_0 => {
                for (b, out) in blocks {
                    let q = fifth_bits(nibbles(&b[6..22]), &b[2..6]);
                    scaled::<S>(as_bytes(&q.map(|q| q as i8 - 16)), f16_at(b, 0), out)
                }
            }
            DType::Q5_1 => {
                for (b, out) in blocks {
                    let q = fifth_bits(nibbles(&b[8..24]), &b[4..8]);
                    affine::<S>(&q, f16_at(b, 0), f16_at(b, 2), out)
                }
            }
            DType::Q4_K => {
                for (b, out) in blocks {
                    let (d, dmin, qs) = (f16_at(b, 0), f16_at(b, 2), &b[16..144]);
                    for s in 0..8 {
                        let (scale, min) = scale_min(&b[4..16], s);
                        let q: [u8; 32] = std::array::from_fn(|l| qs[s / 2 * 32 + l] >> (4 * (s % 2)) & 15);
                        affine::<S>(&q, d * scale, -(dmin * min), &mut out[s * 32..][..32]);
                    }
                }
            }
            DType::Q5_K => {
                for (b, out) in blocks {
                    let (d, dmin, qh, qs) = (f16_at(b, 0), f16_at(b, 2), &b[16..48], &b[48..176]);
                    for s in 0..8 {
                        let (scale, min) = scale_min(&b[4..16], s);
                        let q: [u8; 32] = std::array::from_fn(|l| {
                            (qs[s / 2 * 32 + l] >> (4 * (s % 2)) & 15) | (qh[l] >> s & 1) << 4
                        });
                        affine::<S>(&q, d * scale, -(dmin * min), &mut out[s * 32..][..32]);
                    }
                }
            }
            DType::Q6_K => {
                for (b, out) in blocks {
                    let d = f16_at(b, 208);
                    // two halves of 128 values; in each, 4 runs of 32 share 64 low bytes and 32 high bytes
                    for run in 0..8 {
                        let (half, r) = (run / 4, run % 4);
                        let (low, high) = (&b[half * 64..][..64], &b[128 + half * 32..][..32]);
                        let q: [i8; 32] = std::array::from_fn(|l| {
                            let four = low[r % 2 * 32 + l] >> (4 * (r / 2)) & 15;
                            (four | (high[l] >> (2 * r) & 3) << 4) as i8 - 32
                        });
                        for part in 0..2 {
                            let scale = f32::from(b[192 + run * 2 + part] as i8);
                            let (q, out) =
                                (&as_bytes(&q)[part * 16..][..16], &mut out[run * 32 + part * 16..][..16]);
                            scaled::<S>(q, d * scale, out);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
pub(crate) unsafe fn widen<S: Simd, T: Stored>(bytes: &[u8], out: &mut [f32]) {
    let n = out.len();
    let whole = n - n % S::LANES;
    // SAFETY: reads and writes stay below `n`; the rest goes through a padded copy.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            S::store(out.as_mut_ptr().add(i), T::load::<S>(bytes.as_ptr(), i));
        }
        if whole < n {
            let mut rest = [0u8; MAX_LANES * 4];
            let from = bytes.as_ptr().add(T::bytes(whole));
            std::ptr::copy_nonoverlapping(from, rest.as_mut_ptr(), T::bytes(n - whole));
            let mut wide = [0.0f32; MAX_LANES];
            S::store(wide.as_mut_ptr(), T::load::<S>(rest.as_ptr(), 0));
            std::ptr::copy_nonoverlapping(wide.as_ptr(), out.as_mut_ptr().add(whole), n - whole);
        }
    }
}

/// `out = q · d` for signed bytes; the length is a multiple of 16.
#[inline(always)]
unsafe fn scaled<S: Simd>(q: &[u8], d: f32, out: &mut [f32]) {
    debug_assert!(q.len() == out.len() && q.len().is_multiple_of(MAX_LANES));
    // SAFETY: both slices have `q.len()` values, a multiple of every lane count.
    unsafe {
        let d = S::splat(d);
        for i in (0..q.len()).step_by(S::LANES) {
            S::store(out.as_mut_ptr().add(i), S::mul(S::load_i8(q.as_ptr().add(i).cast()), d));
        }
    }
}

/// `out = q · d + m` for codes below 128, with two roundings as the reference has.
#[inline(always)]
unsafe fn affine<S: Simd>(q: &[u8; 32], d: f32, m: f32, out: &mut [f32]) {
    debug_assert_eq!(out.len(), 32);
    // SAFETY: both sides have 32 values.
    unsafe {
        let (d, m) = (S::splat(d), S::splat(m));
        for i in (0..32).step_by(S::LANES) {
            let v = S::add(S::mul(S::load_i8(q.as_ptr().add(i).cast()), d), m);
            S::store(out.as_mut_ptr().add(i), v);
        }
    }
}

/// 16 bytes to 32 codes: low nibbles are the first half.
#[inline(always)]
fn nibbles(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 })
}

/// Adds bit `i` of a little-endian u32 to code `i` as its fifth.
#[inline(always)]
fn fifth_bits(mut q: [u8; 32], bits: &[u8]) -> [u8; 32] {
    let bits = u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]]);
    q.iter_mut().enumerate().for_each(|(i, q)| *q |= (bits >> i & 1) as u8 * 16);
    q
}

/// The scale and minimum of sub-block `s` as numbers.
#[inline(always)]
fn scale_min(packed: &[u8], s: usize) -> (f32, f32) {
    let (scale, min) = q4_k_scale_min(packed, s);
    (f32::from(scale), f32::from(min))
}

fn as_bytes(q: &[i8; 32]) -> &[u8] {
    // SAFETY: i8 and u8 have the same size and every bit pattern is valid for both.
    unsafe { &*std::ptr::from_ref(q).cast::<[u8; 32]>() }
}
