//! Adapters that are served: each row of a batch goes through the base and one of them, or none.

use super::CausalLm;
use super::tensors::{ATTENTION, MLP};
use crate::adapter::{Adapter, AdapterError};
use nn::DType;
use nn::ops::{LowRank, RopeLayout};
use std::ops::Range;

/// An adapter in the form that a forward pass of its model takes. It never changes, so engines may share it.
pub struct ServedAdapter {
    /// By the model's layers.
    layers: Vec<AdaptedLayer>,
    rank: usize,
    bytes: usize,
}

/// Rows of a batch, and the adapter that they go through.
#[derive(Clone)]
pub struct AdaptedRows<'a> {
    /// The rows.
    pub rows: Range<usize>,
    /// Their adapter.
    pub adapter: &'a ServedAdapter,
}

/// What an adapter has beside the linear layers of a layer. Those that take the same input go together.
pub(super) struct AdaptedLayer {
    pub(super) qkv: Option<LowRank>,
    pub(super) o: Option<LowRank>,
    /// Of the feed-forward layer, or of each expert.
    pub(super) mlps: Vec<AdaptedMlp>,
}

/// The same for a feed-forward layer.
pub(super) struct AdaptedMlp {
    pub(super) gate_up: Option<LowRank>,
    pub(super) down: Option<LowRank>,
}

/// Runs of rows, in their order, with what they have beside some layers.
pub(super) type Beside<'a, T> = Vec<(Range<usize>, &'a T)>;

impl ServedAdapter {
    /// Rows of its first matrices.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that it takes when its values are kept as `dtype`, of an adapter that is not in this form yet.
    pub fn bytes_of(adapter: &Adapter, dtype: DType) -> usize {
        let values = adapter.layers.values().map(|l| (l.a.cols() + l.b.rows()) * l.a.rows());
        values.sum::<usize>().saturating_mul(dtype.block_bytes())
    }
}

impl AdaptedLayer {
    fn parts(&self) -> impl Iterator<Item = &LowRank> {
        let mlps = self.mlps.iter().flat_map(|mlp| [&mlp.gate_up, &mlp.down]);
        [&self.qkv, &self.o].into_iter().chain(mlps).flatten()
    }
}

/// The runs of those adapters that have something beside `part`.
pub(super) fn beside<'a, T>(
    adapted: &[(Range<usize>, &'a T)],
    part: impl Fn(&'a T) -> Option<&'a LowRank>,
) -> Beside<'a, LowRank> {
    adapted.iter().filter_map(|(rows, of)| Some((rows.clone(), part(of)?))).collect()
}

/// Of runs of all rows, those within `rows`, which rise: what is left of a batch for one expert.
pub(super) fn within<'a, T>(adapted: &[(Range<usize>, &'a T)], rows: &[usize]) -> Beside<'a, T> {
    let place = |row: usize| rows.partition_point(|&r| r < row);
    let runs = adapted.iter().map(|(all, of)| (place(all.start)..place(all.end), *of));
    runs.filter(|(rows, _)| !rows.is_empty()).collect()
}

impl CausalLm {
    /// How values of adapters are kept: as float32 beside a float32 checkpoint, where they count, and else in 16 bits, since
    /// a step with many adapters reads all of them from memory.
    pub fn adapter_dtype(&self) -> DType {
        if self.config.dtype == DType::F32 { DType::F32 } else { DType::BF16 }
    }

    /// Makes an adapter ready for serving beside this model.
    ///
    /// # Errors
    /// When it is for another model, or has values that are no numbers.
    pub fn adapted_by(&self, adapter: &Adapter) -> Result<ServedAdapter, AdapterError> {
        adapter.check(self)?;
        if adapter.config.use_dora {
            return Err(AdapterError::Dora);
        }
        let of = |layer: usize, name: &str| adapter.layers.get(&format!("model.layers.{layer}.{name}"));
        let permuted = self.config.rope.layout == RopeLayout::Interleaved;
        let dtype = self.adapter_dtype();
        let layers = self.layers.iter().enumerate().map(|(index, layer)| {
            let [q, k, v, o] = ATTENTION.map(|name| of(index, &format!("self_attn.{name}")));
            if permuted && q.or(k).is_some() {
                return Err(AdapterError::Permuted);
            }
            let mlps = layer.mlp.mlps().into_iter().map(|(prefix, _)| {
                let [gate, up, down] = MLP.map(|name| of(index, &format!("{prefix}.{name}")));
                AdaptedMlp {
                    gate_up: LowRank::stack(&[gate, up], dtype),
                    down: LowRank::stack(&[down], dtype),
                }
            });
            Ok(AdaptedLayer {
                qkv: LowRank::stack(&[q, k, v], dtype),
                o: LowRank::stack(&[o], dtype),
                mlps: mlps.collect(),
            })
        });
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let bytes = layers.iter().flat_map(AdaptedLayer::parts).map(LowRank::byte_len).sum();
        Ok(ServedAdapter { layers, rank: adapter.config.r, bytes })
    }
}

impl AdaptedRows<'_> {
    /// Of runs of rows, what their adapters have for a layer.
    pub(super) fn of_layer<'a>(adapted: &[AdaptedRows<'a>], layer: usize) -> Beside<'a, AdaptedLayer> {
        adapted.iter().map(|run| (run.rows.clone(), &run.adapter.layers[layer])).collect()
    }
}
