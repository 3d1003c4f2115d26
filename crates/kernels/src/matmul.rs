//! Products of activations with weight matrices.

use crate::{DType, Pool};

/// A weight matrix `[rows, cols]` (out, in), row-major, in its storage type.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [u8],
    dtype: DType,
    rows: usize,
    cols: usize,
}

impl<'a> Matrix<'a> {
    /// A view of `data` as a matrix.
    ///
    /// # Panics
    /// When `data` is not exactly `rows` rows of `cols` values: loaders check shapes before they come here.
    pub fn new(data: &'a [u8], dtype: DType, rows: usize, cols: usize) -> Self {
        let row = dtype.row_bytes(cols).expect("row length is a multiple of the block length");
        assert_eq!(Some(data.len()), row.checked_mul(rows), "matrix bytes match its shape");
        Matrix { data, dtype, rows, cols }
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The storage type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The stored bytes of row `i`.
    pub fn row(&self, i: usize) -> &'a [u8] {
        let row = self.data.len() / self.rows;
        &self.data[i * row..(i + 1) * row]
    }
}

/// `out [m, n] = x [m, k] · wᵀ (+ bias)` for `w [n, k]`, in float32. `m` is `x.len() / w.cols()`.
pub fn matmul(_pool: &Pool, x: &[f32], w: Matrix<'_>, bias: Option<&[f32]>, out: &mut [f32]) {
    let mut row = vec![0.0f32; w.cols];
    for n in 0..w.rows {
        decode_row(w.dtype, w.row(n), &mut row);
        for (i, x) in x.chunks_exact(w.cols).enumerate() {
            let dot: f32 = x.iter().zip(&row).map(|(a, b)| a * b).sum();
            out[i * w.rows + n] = dot + bias.map_or(0.0, |b| b[n]);
        }
    }
}

/// Decodes one stored row into float32, exactly.
///
/// # Panics
/// When `bytes` is not `out.len()` values of `dtype`.
pub fn decode_row(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(dtype.row_bytes(out.len()), Some(bytes.len()));
    match dtype {
        DType::F32 => {
            for (o, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *o = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        DType::BF16 => {
            for (o, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *o = half::bf16::from_le_bytes([b[0], b[1]]).to_f32();
            }
        }
        DType::F16 => {
            for (o, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *o = half::f16::from_le_bytes([b[0], b[1]]).to_f32();
            }
        }
        _ => panic!("block formats are not decoded yet"),
    }
}
