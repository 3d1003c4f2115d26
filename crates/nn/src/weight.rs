//! Parameters in their storage type.

use kernels::{DType, matmul::Matrix};
use std::ops::Range;
use std::sync::Arc;

/// Bytes that weights point into: a mapped checkpoint file or memory of our own.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A parameter matrix `[rows, cols]` (out, in), or a vector as one row. Cheap to clone: it points into its file.
#[derive(Clone)]
pub struct Weight {
    bytes: Bytes,
    range: Range<usize>,
    dtype: DType,
    rows: usize,
    cols: usize,
}

/// Why bytes are not the weight they are declared to be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WeightError {
    /// The row length does not suit the block format.
    #[error("rows of {cols} values cannot be stored as {}, whose blocks hold {}", .dtype.name(), .dtype.block_len())]
    RowLength {
        /// Values in a row.
        cols: usize,
        /// The storage type.
        dtype: DType,
    },
    /// The byte range is not the shape's size, or lies outside the bytes.
    #[error("a [{rows}, {cols}] {} matrix needs {needed:?} bytes, but {found} are there", .dtype.name())]
    Size {
        /// Declared rows.
        rows: usize,
        /// Declared columns.
        cols: usize,
        /// The storage type.
        dtype: DType,
        /// Bytes that the shape needs; `None` on overflow.
        needed: Option<usize>,
        /// Bytes that are there.
        found: usize,
    },
}

impl Weight {
    /// The matrix stored in `bytes[range]`.
    pub fn new(
        bytes: Bytes,
        range: Range<usize>,
        dtype: DType,
        rows: usize,
        cols: usize,
    ) -> Result<Weight, WeightError> {
        let row = dtype.row_bytes(cols).ok_or(WeightError::RowLength { cols, dtype })?;
        let needed = row.checked_mul(rows);
        let found = (*bytes).as_ref().get(range.clone()).map_or(0, <[u8]>::len);
        if needed != Some(found) {
            return Err(WeightError::Size { rows, cols, dtype, needed, found });
        }
        Ok(Weight { bytes, range, dtype, rows, cols })
    }

    /// A float32 matrix that owns its values.
    pub fn from_f32(values: &[f32], rows: usize, cols: usize) -> Weight {
        assert_eq!(values.len(), rows * cols);
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let range = 0..bytes.len();
        Weight { bytes: Arc::new(bytes), range, dtype: DType::F32, rows, cols }
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

    /// Stored size in bytes.
    pub fn byte_len(&self) -> usize {
        self.range.len()
    }

    /// The stored values as the kernels take them.
    pub fn matrix(&self) -> Matrix<'_> {
        Matrix::new(&(*self.bytes).as_ref()[self.range.clone()], self.dtype, self.rows, self.cols)
    }

    /// Rows `range` as a weight of their own, for tensors that hold several matrices (experts, fused projections).
    pub fn slice_rows(&self, range: Range<usize>) -> Weight {
        assert!(range.start <= range.end && range.end <= self.rows);
        let row = self.range.len().checked_div(self.rows).unwrap_or(0);
        let start = self.range.start + range.start * row;
        Weight { range: start..start + range.len() * row, rows: range.len(), ..self.clone() }
    }

    /// All values decoded to float32.
    pub fn to_f32(&self) -> Vec<f32> {
        let matrix = self.matrix();
        let mut out = vec![0.0; self.rows * self.cols];
        for (i, row) in out.chunks_exact_mut(self.cols.max(1)).enumerate() {
            kernels::matmul::decode_row(self.dtype, matrix.row(i), row);
        }
        out
    }
}
