//! Parameters in their storage type.

use crate::tape::ParameterId;
use kernels::DType;
use kernels::dtype::f32_bytes;
use kernels::matmul::{Matrix, decode_row};
use kernels::packed::{GROUP, PackedMatrix, PackedType, TILE};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Bytes that weights point into: a mapped checkpoint file or memory of our own.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A parameter matrix `[rows, cols]` (out, in), or a vector as one row. Cheap to clone: it points into its file.
#[derive(Clone)]
pub struct Weight {
    storage: Storage,
    format: WeightFormat,
    rows: usize,
    cols: usize,
    source: Option<Arc<dyn MatrixSource>>,
    parameter: Option<ParameterId>,
    transpose: Option<Arc<Weight>>,
}

/// Where the values of a weight are.
#[derive(Clone)]
enum Storage {
    /// In a file, or memory laid out as in one.
    Bytes(Bytes, Range<usize>),
    /// In float32 memory of their own, which training may change.
    Values(Arc<Vec<f32>>),
}

/// A float32 parameter vector: the weight of a norm, or a bias. Cheap to clone.
#[derive(Clone)]
pub struct Vector {
    values: Arc<Vec<f32>>,
    parameter: Option<ParameterId>,
}

impl Vector {
    /// A vector of these values, which training leaves as they are.
    pub fn new(values: Vec<f32>) -> Vector {
        Vector { values: Arc::new(values), parameter: None }
    }

    /// The vector as parameter `id` of a training run.
    pub fn trainable(self, id: ParameterId) -> Vector {
        Vector { parameter: Some(id), ..self }
    }

    /// Which parameter it is, if it is trained.
    pub fn parameter(&self) -> Option<ParameterId> {
        self.parameter
    }

    /// The values, writable; copied first when another vector shares them.
    pub fn values_mut(&mut self) -> &mut [f32] {
        Arc::<Vec<f32>>::make_mut(&mut self.values)
    }
}

impl std::ops::Deref for Vector {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
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
        Ok(Weight {
            storage: Storage::Bytes(bytes, range),
            format,
            rows,
            cols,
            source: None,
            parameter: None,
            transpose: None,
        })
    }

    /// The matrix `[rows, cols]` of `source`, as float32 rows that are decoded when they are first used.
    pub fn from_source(source: Arc<dyn MatrixSource>, rows: usize, cols: usize) -> Weight {
        let range = 0..rows * cols * size_of::<f32>();
        let bytes = Arc::new(Decoded { source: source.clone(), rows, cols, bytes: OnceLock::new() });
        let (storage, format) = (Storage::Bytes(bytes, range), WeightFormat::Rows(DType::F32));
        Weight { storage, format, rows, cols, source: Some(source), parameter: None, transpose: None }
    }

    /// A float32 matrix that owns its values.
    ///
    /// # Panics
    /// When they are not `rows * cols`.
    pub fn from_f32(values: impl Into<Vec<f32>>, rows: usize, cols: usize) -> Weight {
        let values = values.into();
        assert_eq!(values.len(), rows * cols);
        let (storage, format) = (Storage::Values(Arc::new(values)), WeightFormat::Rows(DType::F32));
        Weight { storage, format, rows, cols, source: None, parameter: None, transpose: None }
    }

    /// The matrix in float32 as parameter `id` of a training run.
    pub fn trainable(&self, id: ParameterId) -> Weight {
        let weight = match &self.storage {
            Storage::Values(_) => self.clone(),
            Storage::Bytes(..) => Weight::from_f32(self.to_f32(), self.rows, self.cols),
        };
        Weight { parameter: Some(id), transpose: None, ..weight }
    }

    /// Which parameter it is, if it is trained.
    pub fn parameter(&self) -> Option<ParameterId> {
        self.parameter
    }

    /// The weight with its transpose `[cols, rows]` beside it, for the products with gradients: they go along the rows, which
    /// no packed weight has together.
    ///
    /// # Panics
    /// When its shape is another.
    pub fn with_transpose(self, transpose: Weight) -> Weight {
        assert_eq!(
            (transpose.rows, transpose.cols),
            (self.cols, self.rows),
            "rows and columns are exchanged"
        );
        Weight { transpose: Some(Arc::new(transpose)), ..self }
    }

    /// The transpose, where there is one.
    pub fn transpose(&self) -> Option<&Weight> {
        self.transpose.as_deref()
    }

    /// The values, writable, of a matrix that owns them ([`Self::from_f32`], [`Self::trainable`]); copied first when
    /// another weight shares them.
    pub fn values_mut(&mut self) -> Option<&mut [f32]> {
        match &mut self.storage {
            Storage::Values(values) => Some(Arc::<Vec<f32>>::make_mut(values)),
            Storage::Bytes(..) => None,
        }
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
        match (&self.storage, &other.storage) {
            (Storage::Bytes(a, from), Storage::Bytes(b, to)) => Arc::ptr_eq(a, b) && from == to,
            (Storage::Values(a), Storage::Values(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Where its values come from, when that is not [`Self::bytes`].
    pub fn source(&self) -> Option<&dyn MatrixSource> {
        self.source.as_deref()
    }

    /// Stored size in bytes: in the file, where it has a form of its own there.
    pub fn byte_len(&self) -> usize {
        match (&self.source, &self.storage) {
            (Some(source), _) => source.byte_len(),
            (None, Storage::Bytes(_, range)) => range.len(),
            (None, Storage::Values(values)) => size_of_val(values.as_slice()),
        }
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.storage {
            Storage::Bytes(bytes, range) => &(**bytes).as_ref()[range.clone()],
            Storage::Values(values) => f32_bytes(values),
        }
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

    /// Decodes column `from` and those after it of row `row`, as many as `out` has, of a packed matrix.
    ///
    /// # Panics
    /// When it is not packed, has no such values, or `from` is not where a group of [`GROUP`] begins.
    pub fn decode_packed(&self, row: usize, from: usize, out: &mut [f32]) {
        let Stored::Packed(matrix) = self.stored() else { panic!("{} is not packed", self.format.name()) };
        assert!(from.is_multiple_of(GROUP), "column {from} begins no group");
        matrix.decode_groups(row, from / GROUP, out);
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
