//! Parameters in their storage type.

use kernels::DType;
use kernels::matmul::{Matrix, decode_row};
use kernels::packed::{PackedMatrix, PackedType, TILE};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Bytes that weights point into: a mapped checkpoint file or memory of our own.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A parameter matrix `[rows, cols]` (out, in), or a vector as one row. Cheap to clone: it points into its file.
#[derive(Clone)]
pub struct Weight {
    bytes: Bytes,
    range: Range<usize>,
    format: WeightFormat,
    rows: usize,
    cols: usize,
    source: Option<Arc<dyn MatrixSource>>,
}

/// A matrix that a file holds in a form of its own. Products are made with what it is turned into: packed weights, or
/// float32 rows.
pub trait MatrixSource: Send + Sync {
    /// Bytes in the file.
    fn byte_len(&self) -> usize;

    /// The packed type that holds the values without loss, if there is one.
    fn packed_type(&self) -> Option<PackedType>;

    /// Decodes these rows into float32, exactly.
    ///
    /// # Panics
    /// When there are no such rows, or `out` is not as long as they are.
    fn decode_rows(&self, rows: Range<usize>, out: &mut [f32]);

    /// Writes these rows, at most [`TILE`], into a tile of [`Self::packed_type`].
    ///
    /// # Panics
    /// When there are no such rows or no packed type, or `tile` has another size.
    fn pack_rows(&self, rows: Range<usize>, tile: &mut [u8]);
}

/// The values of a source in float32, decoded when they are first read: most are packed before that.
struct Decoded {
    source: Arc<dyn MatrixSource>,
    rows: usize,
    cols: usize,
    bytes: OnceLock<Vec<u8>>,
}

impl AsRef<[u8]> for Decoded {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get_or_init(|| {
            let mut bytes = Vec::with_capacity(self.rows * self.cols * size_of::<f32>());
            let mut values = vec![0.0f32; TILE * self.cols];
            for from in (0..self.rows).step_by(TILE) {
                let rows = from..(from + TILE).min(self.rows);
                let values = &mut values[..rows.len() * self.cols];
                self.source.decode_rows(rows, values);
                bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            }
            bytes
        })
    }
}

/// How a weight lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    /// Row after row, as checkpoints have it. Products with it are made in float32.
    Rows(DType),
    /// In the order of the integer products. Products with it round activations to 8 bits.
    Packed(PackedType),
}

impl WeightFormat {
    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            WeightFormat::Rows(dtype) => dtype.name(),
            WeightFormat::Packed(packed) => packed.name(),
        }
    }
}

/// A weight as the kernels take it.
pub(crate) enum Stored<'a> {
    Rows(Matrix<'a>),
    Packed(PackedMatrix<'a>),
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
    #[error("a [{rows}, {cols}] {} matrix needs {needed:?} bytes, but {found} are there", .format.name())]
    Size {
        /// Declared rows.
        rows: usize,
        /// Declared columns.
        cols: usize,
        /// How it is stored.
        format: WeightFormat,
        /// Bytes that the shape needs; `None` on overflow.
        needed: Option<usize>,
        /// Bytes that are there.
        found: usize,
    },
}

impl Weight {
    /// The matrix stored row after row in `bytes[range]`.
    pub fn new(
        bytes: Bytes,
        range: Range<usize>,
        dtype: DType,
        rows: usize,
        cols: usize,
    ) -> Result<Weight, WeightError> {
        let row = dtype.row_bytes(cols).ok_or(WeightError::RowLength { cols, dtype })?;
        Weight::checked(bytes, range, WeightFormat::Rows(dtype), rows, cols, row.checked_mul(rows))
    }

    /// The packed matrix in `bytes[range]`.
    pub fn packed(
        bytes: Bytes,
        range: Range<usize>,
        packed: PackedType,
        rows: usize,
        cols: usize,
    ) -> Result<Weight, WeightError> {
        let needed = packed.matrix_bytes(rows, cols);
        Weight::checked(bytes, range, WeightFormat::Packed(packed), rows, cols, needed)
    }

    fn checked(
        bytes: Bytes,
        range: Range<usize>,
        format: WeightFormat,
        rows: usize,
        cols: usize,
        needed: Option<usize>,
    ) -> Result<Weight, WeightError> {
        let found = (*bytes).as_ref().get(range.clone()).map_or(0, <[u8]>::len);
        if needed != Some(found) {
            return Err(WeightError::Size { rows, cols, format, needed, found });
        }
        Ok(Weight { bytes, range, format, rows, cols, source: None })
    }

    /// The matrix `[rows, cols]` of `source`, as float32 rows that are decoded when they are first used.
    pub fn from_source(source: Arc<dyn MatrixSource>, rows: usize, cols: usize) -> Weight {
        let range = 0..rows * cols * size_of::<f32>();
        let bytes = Arc::new(Decoded { source: source.clone(), rows, cols, bytes: OnceLock::new() });
        Weight { bytes, range, format: WeightFormat::Rows(DType::F32), rows, cols, source: Some(source) }
    }

    /// A float32 matrix that owns its values.
    pub fn from_f32(values: &[f32], rows: usize, cols: usize) -> Weight {
        assert_eq!(values.len(), rows * cols);
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let range = 0..bytes.len();
        let format = WeightFormat::Rows(DType::F32);
        Weight { bytes: Arc::new(bytes), range, format, rows, cols, source: None }
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How it is stored.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Whether this and `other` are the same stored matrix.
    pub fn is_same(&self, other: &Weight) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes) && self.range == other.range
    }

    /// Where its values come from, when that is not [`Self::bytes`].
    pub fn source(&self) -> Option<&dyn MatrixSource> {
        self.source.as_deref()
    }

    /// Stored size in bytes: in the file, where it has a form of its own there.
    pub fn byte_len(&self) -> usize {
        self.source.as_ref().map_or(self.range.len(), |source| source.byte_len())
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &[u8] {
        &(*self.bytes).as_ref()[self.range.clone()]
    }

    /// The stored values as the kernels take them.
    pub(crate) fn stored(&self) -> Stored<'_> {
        match self.format {
            WeightFormat::Rows(dtype) => Stored::Rows(Matrix::new(self.bytes(), dtype, self.rows, self.cols)),
            WeightFormat::Packed(packed) => {
                Stored::Packed(PackedMatrix::new(self.bytes(), packed, self.rows, self.cols))
            }
        }
    }

    /// Decodes row `row` into float32, exactly.
    ///
    /// # Panics
    /// When there is no such row or `out` is not as long as a row.
    pub fn decode_row(&self, row: usize, out: &mut [f32]) {
        match self.stored() {
            Stored::Rows(matrix) => decode_row(matrix.dtype(), matrix.row(row), out),
            Stored::Packed(matrix) => matrix.decode_row(row, out),
        }
    }

    /// Decodes these rows into float32, exactly. Those of a source are not kept.
    ///
    /// # Panics
    /// When there are no such rows or `out` is not as long as they are.
    pub fn decode_rows(&self, rows: Range<usize>, out: &mut [f32]) {
        if let Some(source) = &self.source {
            return source.decode_rows(rows, out);
        }
        assert_eq!(out.len(), rows.len() * self.cols);
        for (row, out) in rows.zip(out.chunks_exact_mut(self.cols.max(1))) {
            self.decode_row(row, out);
        }
    }

    /// All values decoded to float32.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.cols];
        self.decode_rows(0..self.rows, &mut out);
        out
    }
}
