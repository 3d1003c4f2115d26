//! Weights packed for integer products, and the copy of them that is kept on disk.
//!
//! [`pack`] goes through a model's matrices in their order and replaces each by a packed one: what a file has
//! quantized keeps its values, float weights are quantized. The result is one file, beside the model where that can be
//! written; the next start maps it and is done (`packed_file` says when it can be trusted).

mod packed_file;

pub use packed_file::cache_dir;

use crate::checkpoint::{Checkpoint, FileError};
use kernels::Pool;
use kernels::packed::{GROUP, GroupScale, PackedType, TILE, TileMut, quantize_outputs};
use memmap2::MmapMut;
use nn::{Bytes, DType, Weight, WeightFormat};
use packed_file::{Header, PackedFile};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};

/// Which weights are computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantization {
    /// The file's own: what it has quantized to Q8_0, Q4_0, Q4_K, GPTQ or AWQ is computed with in integers, all else as
    /// stored.
    Stored,
    /// The stored values in float32.
    None,
    /// 8 bits, or fewer where the file has fewer.
    Int8,
    /// 4 bits, and 8 for the matrices that lose most ([`INT4_ERROR`]).
    Int4,
}

/// Relative error (root of squared error over squared weights, of a matrix) up to which 4 bits are used. Normally
/// distributed weights lose 0.079; a matrix with outliers loses more and gets 8 bits.
pub const INT4_ERROR: f64 = 0.1;
/// The same for 8 bits with a scale for each 128 inputs: normally distributed weights lose 0.0066. A matrix with outliers
/// loses more and gets a scale for each 32.
pub const INT8_ERROR: f64 = 0.01;
/// The same for 8 bits with a scale for each 32: normally distributed weights lose 0.0055. Above it a matrix stays as it is.
pub const INT8_FINE_ERROR: f64 = 0.02;

/// A matrix of a model that can be packed.
pub struct Matrix<'a> {
    /// The weight; packed ones are put in its place.
    pub weight: &'a mut Weight,
    /// Whether 4 bits are allowed: the head's errors go into the logits directly, so it keeps 8, as does the embedding
    /// table, which is often the same matrix.
    pub four_bits: bool,
}

/// Packs `matrices` of `checkpoint`, or takes the copy that was made before. `progress` hears of bytes done and in all.
/// Returns the mapped bytes, or `None` when there is nothing to pack.
///
/// # Errors
/// When a file of the checkpoint can't be read. A copy that cannot be kept is no error: it is logged, and memory is used.
pub fn pack(
    checkpoint: &Checkpoint,
    matrices: &mut [Matrix<'_>],
    quantization: Quantization,
    pool: &Pool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<Bytes>, FileError> {
    if matrices.iter().all(|m| choices(m, quantization).is_empty()) {
        decode_sources(matrices, pool);
        return Ok(None);
    }
    let rounded = matrices.iter().filter(|m| m.weight.source().is_some_and(|s| s.packed_type().is_none()));
    match rounded.count() {
        0 => {}
        count => tracing::warn!(
            "{count} matrices have 4-bit groups in activation order, or scales that are no float16: they are rounded \
             again, to 8 bits or as --quantize says"
        ),
    }
    let shapes: Vec<(usize, usize)> = matrices.iter().map(|m| (m.weight.rows(), m.weight.cols())).collect();
    let mut files = checkpoint.files();
    let config = checkpoint.path().join("config.json");
    if matrices.iter().any(|m| m.weight.source().is_some()) {
        // it says what the stored codes mean
        files.push(&config);
    }
    if let Some((bytes, header)) = packed_file::open(checkpoint.path(), &files, quantization, &shapes)? {
        tracing::debug!("packed weights were there already");
        place(matrices, &bytes, &header);
        return Ok(Some(bytes));
    }
    let most: usize = matrices.iter().map(|m| most_bytes(m, quantization)).sum();
    let mut file = PackedFile::create(checkpoint.path(), quantization, most);
    // hashing reads the files a second time, beside the packing
    let (header, content) = std::thread::scope(|scope| {
        let content = scope.spawn(|| packed_file::content_hash(&files));
        let header = fill(checkpoint, matrices, quantization, pool, file.data(), progress);
        (header, content.join())
    });
    let content = content.unwrap_or_else(|_| Err(FileError::NotRegular(checkpoint.path().to_owned())))?;
    let bytes = file.finish(&header, &files, content, quantization);
    place(matrices, &bytes, &header);
    checkpoint.forget_pages();
    Ok(Some(bytes))
}

/// Puts a packed transpose beside each matrix of 8 bits, for the integer products of a backward pass. Returns their bytes.
/// Matrices of fewer bits were packed to save memory, and stay alone.
pub fn add_transposes(matrices: &mut [Matrix<'_>], pool: &Pool) -> u64 {
    let mut bytes = 0;
    for matrix in matrices {
        if let WeightFormat::Packed(packed @ (PackedType::Int8 | PackedType::Int8Fine)) =
            matrix.weight.format()
        {
            let transpose = transposed(matrix.weight, packed, pool);
            bytes += transpose.byte_len() as u64;
            *matrix.weight = matrix.weight.clone().with_transpose(transpose);
        }
    }
    bytes
}

/// The transpose of a packed matrix in `packed`, which is of 8 bits.
fn transposed(weight: &Weight, packed: PackedType, pool: &Pool) -> Weight {
    let (rows, cols) = (weight.cols(), weight.rows());
    let mut bytes = vec![0; packed.matrix_bytes(rows, cols).unwrap_or(0)];
    let tile_bytes = packed.tile_bytes(cols).unwrap_or(0).max(1);
    // those that share a group of the weight's columns
    let parts: Vec<Mutex<&mut [u8]>> = bytes.chunks_mut(GROUP / TILE * tile_bytes).map(Mutex::new).collect();
    pool.run(parts.len(), &|task| {
        let from = task * GROUP;
        let count = GROUP.min(rows - from);
        let (mut values, mut row) = (vec![0.0; count * cols], [0.0; GROUP]);
        for col in 0..cols {
            weight.decode_packed(col, from, &mut row[..count]);
            values[col..].iter_mut().step_by(cols).zip(row).for_each(|(to, value)| *to = value);
        }
        let mut tiles = parts[task].lock().unwrap_or_else(|e| e.into_inner());
        for (values, tile) in values.chunks(TILE * cols).zip(tiles.chunks_exact_mut(tile_bytes)) {
            quantize_outputs(packed, values, cols, tile);
        }
    });
    drop(parts);
    let range = 0..bytes.len();
    match Weight::packed(Arc::new(bytes), range, packed, rows, cols) {
        Ok(weight) => weight,
        Err(error) => unreachable!("the bytes are as many as the shape needs: {error}"),
    }
}

/// Points the matrices into packed bytes.
fn place(matrices: &mut [Matrix<'_>], bytes: &Bytes, header: &Header) {
    for (matrix, entry) in matrices.iter_mut().zip(&header.matrices) {
        let Some(packed) = entry.packed_type() else { continue };
        let (rows, cols) = (matrix.weight.rows(), matrix.weight.cols());
        match Weight::packed(bytes.clone(), entry.range(), packed, rows, cols) {
            Ok(weight) => *matrix.weight = weight,
            Err(error) => unreachable!("the header was checked: {error}"),
        }
    }
}

/// Decodes the matrices that have a form of their own, which would else be done by the first request.
fn decode_sources(matrices: &[Matrix<'_>], pool: &Pool) {
    let sources: Vec<&Weight> =
        matrices.iter().map(|m| &*m.weight).filter(|weight| weight.source().is_some()).collect();
    pool.run(sources.len(), &|task| {
        sources[task].bytes();
    });
}

/// The packed type that holds the values of a weight without loss, if there is one.
fn lossless(weight: &Weight) -> Option<PackedType> {
    match (weight.source(), weight.format()) {
        (Some(source), _) => source.packed_type(),
        (None, WeightFormat::Rows(dtype)) => PackedType::of(dtype),
        (None, WeightFormat::Packed(_)) => None,
    }
}

/// The packed types to try for a matrix, the smallest first; none when it stays as it is.
fn choices(matrix: &Matrix<'_>, quantization: Quantization) -> Vec<PackedType> {
    let WeightFormat::Rows(_) = matrix.weight.format() else { return Vec::new() };
    let mut int8 = vec![PackedType::Int8, PackedType::Int8Fine];
    // rows that fill their last span badly take more than they save
    int8.sort_by_key(|packed| packed.tile_bytes(matrix.weight.cols()));
    match (quantization, lossless(matrix.weight)) {
        (Quantization::None, _) => Vec::new(),
        // 4 bits are not made of 8 that a file has: it would lose twice
        (_, Some(same)) => vec![same],
        // 4-bit codes that no packed type holds would take eight times their bytes in float32
        (Quantization::Stored, None) if matrix.weight.source().is_some() => int8,
        (Quantization::Stored, None) => Vec::new(),
        (Quantization::Int8, None) => int8,
        (Quantization::Int4, None) if matrix.four_bits => [vec![PackedType::Int4], int8].concat(),
        (Quantization::Int4, None) => int8,
    }
}

fn most_bytes(matrix: &Matrix<'_>, quantization: Quantization) -> usize {
    let (rows, cols) = (matrix.weight.rows(), matrix.weight.cols());
    let bytes = |packed: PackedType| packed.matrix_bytes(rows, cols).unwrap_or(usize::MAX);
    choices(matrix, quantization).into_iter().map(bytes).max().unwrap_or(0)
}

/// Packs all matrices into `data`, one after another.
fn fill(
    checkpoint: &Checkpoint,
    matrices: &[Matrix<'_>],
    quantization: Quantization,
    pool: &Pool,
    data: &mut MmapMut,
    progress: &mut dyn FnMut(u64, u64),
) -> Header {
    let total: u64 = matrices.iter().map(|m| m.weight.byte_len() as u64).sum();
    let (mut done, mut at) = (0, 0);
    let mut header = Header::default();
    for matrix in matrices {
        let weight = &*matrix.weight;
        let entry = pack_allowed(matrix, quantization, pool, &mut data[at..]);
        header.push(weight.rows(), weight.cols(), entry, at);
        at += entry.map_or(0, |(_, bytes)| bytes);
        done += weight.byte_len() as u64;
        progress(done, total);
        checkpoint.forget_pages();
    }
    header
}

/// Packs a matrix into the beginning of `out`, in the first of its types that loses no more than is allowed. Returns that and
/// the bytes that it took, or `None` when the matrix stays as it is.
fn pack_allowed(
    matrix: &Matrix<'_>,
    quantization: Quantization,
    pool: &Pool,
    out: &mut [u8],
) -> Option<(PackedType, usize)> {
    let weight = &*matrix.weight;
    choices(matrix, quantization).into_iter().find_map(|packed| {
        let bytes = packed.matrix_bytes(weight.rows(), weight.cols()).unwrap_or(0);
        let error = pack_matrix(weight, packed, pool, &mut out[..bytes]);
        let allowed = allowed_error(packed);
        if error > allowed {
            tracing::debug!("a matrix loses {error:.4} in {}, more than {allowed}", packed.name());
        }
        (error <= allowed).then_some((packed, bytes))
    })
}

/// The relative error up to which a packed type is used.
fn allowed_error(packed: PackedType) -> f64 {
    match packed {
        PackedType::Int8 => INT8_ERROR,
        PackedType::Int8Fine => INT8_FINE_ERROR,
        _ => INT4_ERROR,
    }
}

/// Packs one matrix into `out` on all threads and returns its relative error, 0 where values are kept.
fn pack_matrix(weight: &Weight, packed: PackedType, pool: &Pool, out: &mut [u8]) -> f64 {
    let (rows, cols) = (weight.rows(), weight.cols());
    let tile_bytes = packed.tile_bytes(cols).unwrap_or(0).max(1);
    let tiles: Vec<Mutex<&mut [u8]>> = out.chunks_exact_mut(tile_bytes).map(Mutex::new).collect();
    let sums = Mutex::new(vec![(0.0f64, 0.0f64); tiles.len()]);
    let lossless = lossless(weight) == Some(packed);
    pool.run(tiles.len(), &|task| {
        let mut tile = tiles[task].lock().unwrap_or_else(|e| e.into_inner());
        let (from, to) = (task * TILE, ((task + 1) * TILE).min(rows));
        if lossless {
            return repack(weight, packed, from..to, &mut tile);
        }
        let mut values = vec![0.0; (to - from) * cols];
        weight.decode_rows(from..to, &mut values);
        let found = quantize_outputs(packed, &values, cols, &mut tile);
        sums.lock().unwrap_or_else(|e| e.into_inner())[task] = found;
    });
    // added in order, so that the choice of a type does not depend on who was faster
    let sums = sums.into_inner().unwrap_or_else(|e| e.into_inner());
    let (error, power) = sums.iter().fold((0.0, 0.0), |a, s| (a.0 + s.0, a.1 + s.1));
    if power > 0.0 { (error / power).sqrt() } else { 0.0 }
}

/// Puts rows `range` of a weight that `packed` holds without loss into a tile, codes and scales as they are.
fn repack(weight: &Weight, packed: PackedType, range: std::ops::Range<usize>, tile: &mut [u8]) {
    if let Some(source) = weight.source() {
        return source.pack_rows(range, tile);
    }
    let row_bytes = weight.byte_len() / weight.rows().max(1);
    let mut tile = TileMut::new(tile, packed, weight.cols());
    let half = |b: &[u8], at: usize| u16::from_le_bytes([b[at], b[at + 1]]);
    for (output, row) in range.enumerate() {
        let row = &weight.bytes()[row * row_bytes..][..row_bytes];
        match packed {
            PackedType::Int8Fine => {
                for (group, b) in row.chunks_exact(DType::Q8_0.block_bytes()).enumerate() {
                    let codes = std::array::from_fn(|i| b[2 + i] ^ 0x80);
                    tile.put(output, group, &codes, GroupScale::Half(half(b, 0)));
                }
            }
            PackedType::Int4 => {
                for (group, b) in row.chunks_exact(DType::Q4_0.block_bytes()).enumerate() {
                    let codes = std::array::from_fn(|i| b[2 + i % 16] >> (i / 16 * 4) & 15);
                    tile.put(output, group, &codes, GroupScale::Half(half(b, 0)));
                }
            }
            _ => {
                for (block, b) in row.chunks_exact(DType::Q4_K.block_bytes()).enumerate() {
                    for s in 0..8 {
                        let codes: [u8; GROUP] =
                            std::array::from_fn(|i| b[16 + s / 2 * 32 + i] >> (s % 2 * 4) & 15);
                        let (scale, min) = kernels::dtype::q4_k_scale_min(&b[4..16], s);
                        let scale = GroupScale::Super { d: half(b, 0), dmin: half(b, 2), scale, min };
                        tile.put(output, block * 8 + s, &codes, scale);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Rows of a quantized type with arbitrary codes and sensible scales.
    fn stored(dtype: DType, rows: usize, cols: usize) -> Weight {
        let mut state = 7u64;
        let mut bytes: Vec<u8> = (0..rows * dtype.row_bytes(cols).unwrap())
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
            // below 1 and finite
            block[1] &= 0xbb;
            if dtype == DType::Q4_K {
                block[3] &= 0xbb;
            }
        }
        let range = 0..bytes.len();
        Weight::new(Arc::new(bytes), range, dtype, rows, cols).unwrap()
    }

    #[test]
    fn what_a_file_has_quantized_is_packed_without_loss() {
        let pool = Pool::new(2);
        for dtype in [DType::Q8_0, DType::Q4_0, DType::Q4_K] {
            let weight = stored(dtype, 37, 512);
            let packed = PackedType::of(dtype).unwrap();
            let mut bytes = vec![0; packed.matrix_bytes(37, 512).unwrap()];
            assert_eq!(pack_matrix(&weight, packed, &pool, &mut bytes), 0.0);
            let range = 0..bytes.len();
            let packed = Weight::packed(Arc::new(bytes), range, packed, 37, 512).unwrap();
            assert_eq!(packed.to_f32(), weight.to_f32(), "{}", dtype.name());
        }
    }

    #[test]
    fn fewer_bits_and_scales_are_used_where_they_cost_little() {
        let normal = |i: usize| ((i * 7919 % 1009) as f32 / 1009.0 - 0.5) * 0.1;
        // the weight's columns, one weight of how many is an outlier, what is asked for, what is used
        let cases = [
            (256, None, Quantization::Int4, PackedType::Int4),
            (256, None, Quantization::Int8, PackedType::Int8),
            (256, Some(128), Quantization::Int4, PackedType::Int8Fine),
            (256, Some(128), Quantization::Int8, PackedType::Int8Fine),
            // half of its second span would be empty
            (192, None, Quantization::Int8, PackedType::Int8Fine),
        ];
        for (cols, outliers, quantization, expected) in cases {
            let mut values: Vec<f32> = (0..64 * cols).map(normal).collect();
            if let Some(step) = outliers {
                values.iter_mut().step_by(step).for_each(|v| *v *= 40.0);
            }
            let mut weight = Weight::from_f32(&values[..], 64, cols);
            let matrix = Matrix { weight: &mut weight, four_bits: true };
            let mut out = vec![0; most_bytes(&matrix, quantization)];
            let used = pack_allowed(&matrix, quantization, &Pool::new(1), &mut out);
            let bytes = expected.matrix_bytes(64, cols).unwrap();
            assert_eq!(
                used,
                Some((expected, bytes)),
                "{cols} columns, outliers {outliers:?}, {quantization:?}"
            );
        }
    }

    #[test]
    fn a_transpose_is_of_the_type_of_its_matrix() {
        let pool = Pool::new(2);
        for packed in [PackedType::Int8, PackedType::Int8Fine] {
            let values: Vec<f32> = (0..48 * 160).map(|i| (i * 7919 % 1009) as f32 - 504.0).collect();
            let plain = Weight::from_f32(&values[..], 48, 160);
            let mut bytes = vec![0; packed.matrix_bytes(48, 160).unwrap()];
            pack_matrix(&plain, packed, &pool, &mut bytes);
            let range = 0..bytes.len();
            let mut weight = Weight::packed(Arc::new(bytes), range, packed, 48, 160).unwrap();
            add_transposes(&mut [Matrix { weight: &mut weight, four_bits: true }], &pool);
            assert_eq!(weight.transpose().map(Weight::format), Some(WeightFormat::Packed(packed)));
        }
    }
}
