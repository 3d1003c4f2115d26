//! Adapters that are served: rows of one batch go through different ones.

use super::Lora;
use crate::weight::Stored;
use crate::{Context, DType, Tensor, Weight};
use kernels::low_rank::{Addend, RankMatrix, add_low_rank};
use kernels::matmul::{Segment, matmul_segments};
use std::ops::Range;
use std::sync::Arc;

/// What an adapter has beside layers that take the same input: their first matrices as one, `[Σ rank, in]`, so that the
/// input is read once, and the second ones with their scale in them.
pub struct LowRank {
    down: Weight,
    ups: Vec<Up>,
}

/// The second matrix of one layer.
struct Up {
    /// Which of the layers.
    layer: usize,
    /// Where its values begin in a row of the first product.
    from: usize,
    matrix: RankMatrix,
}

impl LowRank {
    /// Of layers that take the same input, their adapters; `None` when no layer has one. Values are kept as `dtype`, F32 or
    /// BF16.
    ///
    /// # Panics
    /// When they are for inputs of different sizes.
    pub fn stack(layers: &[Option<&Lora>], dtype: DType) -> Option<LowRank> {
        let cols = layers.iter().flatten().next()?.a.cols();
        let (mut down, mut rank) = (Vec::new(), 0);
        let mut ups = Vec::new();
        for (layer, lora) in layers.iter().enumerate() {
            let Some(Lora { a, b, scale, .. }) = lora else { continue };
            assert_eq!(
                (a.cols(), a.rows()),
                (cols, b.cols()),
                "[rank, in] and [out, rank] of the same input"
            );
            down.extend(a.to_f32());
            let values = b.to_f32();
            let value = |r: usize, out: usize| values[out * b.cols() + r] * scale;
            ups.push(Up { layer, from: rank, matrix: RankMatrix::new(dtype, b.cols(), b.rows(), value) });
            rank += a.rows();
        }
        let bytes = dtype.encode(down);
        let range = 0..bytes.len();
        let down =
            Weight::new(Arc::new(bytes), range, dtype, rank, cols).expect("as many bytes as the shape says");
        Some(LowRank { down, ups })
    }

    /// Bytes of memory.
    pub fn byte_len(&self) -> usize {
        self.down.byte_len() + self.ups.iter().map(|up| up.matrix.byte_len()).sum::<usize>()
    }
}

/// Adds to `ys`, the products of `x [n, in]` with several layers, what adapters make of its rows: `x · aᵀ · bᵀ · scale` in
/// float32, for each run of rows with the adapter beside it. Runs are in the order of their rows; rows in none stay.
///
/// It is for serving only: [`super::lora`] is what has a backward.
///
/// # Panics
/// When the context records, or runs and sizes do not fit.
pub fn low_rank<const N: usize>(
    cx: &Context,
    mut ys: [Tensor; N],
    x: &Tensor,
    runs: &[(Range<usize>, &LowRank)],
) -> [Tensor; N] {
    let Some(stride) = runs.iter().map(|(_, adapter)| adapter.down.rows()).max() else { return ys };
    assert!(!cx.records(), "adapters that are trained are lora's");
    let mut h = cx.uninit(x.rows(), stride);
    let segments: Vec<Segment<'_>> = runs
        .iter()
        .map(|(rows, adapter)| {
            let Stored::Rows(weight) = adapter.down.stored() else {
                unreachable!("rows are what `stack` makes")
            };
            Segment { rows: rows.clone(), weight }
        })
        .collect();
    matmul_segments(cx.pool(), x.values(), x.cols(), &segments, stride, h.values_mut());
    let addends: Vec<Addend<'_>> = runs
        .iter()
        .flat_map(|(rows, adapter)| {
            let ups = adapter.ups.iter();
            ups.map(move |up| Addend { rows: rows.clone(), from: up.from, matrix: &up.matrix, out: up.layer })
        })
        .collect();
    let mut outs = ys.each_mut().map(Tensor::values_mut);
    add_low_rank(cx.pool(), h.values(), stride, &addends, &mut outs);
    ys
}
