//! The causal decoder of Qwen2, Qwen2.5, Qwen3, Qwen3-MoE and Llama.
//!
//! One definition for all of them: a family differs in data (which biases and norms are there, which layers have
//! experts or a window), not in code.

mod adapted;
mod load;
mod tensors;

pub use adapted::{AdaptedRows, ServedAdapter};
pub use tensors::TensorMut;

use crate::Config;
use crate::config::Frequencies;
use crate::packing::Matrix;
use adapted::{AdaptedLayer, AdaptedMlp, beside, within};
use kernels::attention::AttentionShape;
use nn::ops::{self, Input, Lora, LowRank, RopeLayout};
use nn::{Batch, Context, DType, KvCache, KvCacheShape, Tensor, Vector, Weight};
use std::ops::Range;
use std::sync::Arc;

/// A decoder-only language model.
pub struct CausalLm {
    config: Config,
    frequencies: Frequencies,
    embed_tokens: Weight,
    layers: Vec<Layer>,
    norm: Vector,
    lm_head: Weight,
}

#[derive(Clone)]
struct Layer {
    input_layernorm: Vector,
    self_attn: Attention,
    post_attention_layernorm: Vector,
    mlp: FeedForward,
}

#[derive(Clone)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    /// Norms of each head of the queries and the keys.
    qk_norm: Option<(Vector, Vector)>,
    shape: AttentionShape,
}

#[derive(Clone)]
enum FeedForward {
    Dense(Box<Mlp>),
    Experts(SparseMlp),
}

#[derive(Clone)]
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

#[derive(Clone)]
struct SparseMlp {
    /// The router `[experts, hidden]`.
    gate: Weight,
    experts: Vec<Mlp>,
    used: usize,
    norm_topk_prob: bool,
}

/// A linear layer.
#[derive(Clone)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Weight,
    /// `[out]`.
    pub bias: Option<Vector>,
    /// What is added to its result by an adapter that is being trained, or alone beside the model. Those that are served
    /// beside each other come with the batch.
    pub adapter: Option<Lora>,
}

/// What all layers of a step share.
struct Step<'a> {
    cx: &'a Context,
    batch: &'a Batch,
    /// Rows that go through adapters.
    adapted: &'a [AdaptedRows<'a>],
    /// Cosines and sines of the batch's positions `[tokens, head_dim / 2]`.
    cos: Tensor,
    sin: Tensor,
    layout: RopeLayout,
    eps: f32,
}

impl CausalLm {
    /// Its sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The cache this model needs, with `blocks` blocks of `block_tokens` tokens.
    pub fn kv_cache_shape(&self, dtype: DType, block_tokens: usize, blocks: usize) -> KvCacheShape {
        self.config.kv_cache_shape(dtype, block_tokens, blocks)
    }

    /// Hidden states `[rows, hidden]` after the final norm, for every row of the batch.
    ///
    /// # Panics
    /// When a token is outside the vocabulary, or the cache has another shape than [`Self::kv_cache_shape`] says
    /// or too few blocks.
    pub fn forward(&self, cx: &Context, batch: &Batch, cache: &mut KvCache) -> Tensor {
        self.compute(cx, batch, None, &[], cache, &mut |_, _| {})
    }

    /// Hidden states `[rows.len(), hidden]` after the final norm, for some rows of the batch, which rise. Of the others, the
    /// last layer computes nothing after attention.
    ///
    /// # Panics
    /// As for [`Self::forward`], and when the rows do not rise or are not the batch's.
    pub fn forward_rows(&self, cx: &Context, batch: &Batch, rows: &[usize], cache: &mut KvCache) -> Tensor {
        self.forward_adapted(cx, batch, rows, &[], cache)
    }

    /// [`Self::forward_rows`] where some rows of the batch go through adapters made by [`Self::adapted_by`]. Runs of rows are
    /// in their order.
    ///
    /// # Panics
    /// As for [`Self::forward_rows`], and when the context records beside adapters or an adapter is another model's.
    pub fn forward_adapted(
        &self,
        cx: &Context,
        batch: &Batch,
        rows: &[usize],
        adapted: &[AdaptedRows<'_>],
        cache: &mut KvCache,
    ) -> Tensor {
        assert!(rows.is_sorted_by(|a, b| a < b), "the rows {rows:?} rise");
        assert!(rows.last().is_none_or(|&row| row < batch.rows()), "the rows {rows:?} of {}", batch.rows());
        self.compute(cx, batch, Some(rows), adapted, cache, &mut |_, _| {})
    }

    /// [`Self::forward`], of which `observe` sees the hidden states between the layers, each with the number of layers that
    /// have made it.
    ///
    /// # Panics
    /// As for [`Self::forward`].
    pub fn forward_observed(
        &self,
        cx: &Context,
        batch: &Batch,
        cache: &mut KvCache,
        observe: &mut dyn FnMut(usize, &Tensor),
    ) -> Tensor {
        self.compute(cx, batch, None, &[], cache, observe)
    }

    fn compute(
        &self,
        cx: &Context,
        batch: &Batch,
        rows: Option<&[usize]>,
        adapted: &[AdaptedRows<'_>],
        cache: &mut KvCache,
        observe: &mut dyn FnMut(usize, &Tensor),
    ) -> Tensor {
        let (cos, sin) = self.frequencies.angles(cx, batch);
        let (layout, eps) = (self.config.rope.layout, self.config.rms_norm_eps);
        let step = Step { cx, batch, adapted, cos, sin, layout, eps };

        let rows = rows.filter(|rows| rows.len() < batch.rows());
        let kept = cx.recomputes().then(|| Arc::new(batch.clone()));
        let mut x = ops::embedding(cx, &self.embed_tokens, &batch.tokens);
        observe(0, &x);
        for (index, layer) in self.layers.iter().enumerate() {
            let rows = rows.filter(|_| index + 1 == self.layers.len());
            x = match &kept {
                None => layer.forward(&step, x, rows, cache, index),
                Some(batch) => layer.recomputed(&step, x, rows, batch.clone(), *cache.shape(), index),
            };
            observe(index + 1, &x);
        }
        ops::rms_norm(cx, &x, &self.norm, eps)
    }

    /// Replaces the matrices by what `pack` makes of them. A head that shares the embedding table goes on sharing it.
    pub(crate) fn pack<T, E>(
        &mut self,
        pack: impl FnOnce(&mut [Matrix<'_>]) -> Result<T, E>,
    ) -> Result<T, E> {
        let tied = self.lm_head.is_same(&self.embed_tokens);
        let mut matrices = self.matrices();
        if tied {
            // the table is the last but one
            matrices.remove(matrices.len() - 2);
        }
        let packed = pack(&mut matrices)?;
        if tied {
            self.embed_tokens = self.lm_head.clone();
        }
        Ok(packed)
    }

    /// Bytes of all matrices; what is shared counts once.
    pub(crate) fn matrix_bytes(&mut self) -> usize {
        let tied = self.lm_head.is_same(&self.embed_tokens);
        let shared = if tied { self.lm_head.byte_len() } else { 0 };
        self.matrices().iter().map(|m| m.weight.byte_len()).sum::<usize>() - shared
    }

    /// The matrices that can be packed, in a fixed order. The routers of experts, which are small and decide much, are
    /// not among them.
    fn matrices(&mut self) -> Vec<Matrix<'_>> {
        let linears = tensors::linears(&mut self.layers).into_iter();
        let layers = linears.map(|(_, linear)| Matrix { weight: &mut linear.weight, four_bits: true });
        let ends = [&mut self.embed_tokens, &mut self.lm_head];
        layers.chain(ends.map(|weight| Matrix { weight, four_bits: false })).collect()
    }

    /// The matrix `[vocab, hidden]` that turns hidden states into logits.
    pub fn head(&self) -> &Weight {
        &self.lm_head
    }

    /// Logits `[rows, vocab]` of hidden states `[rows, hidden]`.
    pub fn logits(&self, cx: &Context, hidden: &Tensor) -> Tensor {
        ops::linear(cx, hidden, &self.lm_head, None)
    }
}

impl Layer {
    /// Its results for all rows of `x`, or for `rows` of them.
    fn forward(
        &self,
        step: &Step<'_>,
        mut x: Tensor,
        rows: Option<&[usize]>,
        cache: &mut KvCache,
        index: usize,
    ) -> Tensor {
        let Step { cx, adapted, eps, .. } = step;
        let mut adapted = AdaptedRows::of_layer(adapted, index);
        let some = rows.map(|rows| (rows, ops::select_rows(cx, &x, rows)));
        let wanted = some.as_ref().map(|(rows, x)| (*rows, x));
        let attended =
            self.self_attn.attend(step, (&x, wanted), &self.input_layernorm, &adapted, cache, index);
        if let Some((rows, some)) = some {
            (x, adapted) = (some, within(&adapted, rows));
        }
        let attended = Input::Rows(&attended);
        x = self.self_attn.o_proj.add_forward(cx, x, attended, &beside(&adapted, |of| of.o.as_ref()));
        let norm = (&self.post_attention_layernorm, *eps);
        match &self.mlp {
            FeedForward::Dense(mlp) => {
                let adapted: Vec<_> = adapted.iter().map(|(rows, of)| (rows.clone(), &of.mlps[0])).collect();
                mlp.add_forward(cx, x, norm, &adapted)
            }
            FeedForward::Experts(sparse) => {
                let h = ops::rms_norm(cx, &x, norm.0, norm.1);
                ops::add(cx, x, &sparse.forward(cx, &h, &adapted))
            }
        }
    }

    /// [`Self::forward`], of which nothing but `x` is kept until the backward pass. Weights are shared, not copied.
    fn recomputed(
        &self,
        step: &Step<'_>,
        x: Tensor,
        rows: Option<&[usize]>,
        batch: Arc<Batch>,
        cache: KvCacheShape,
        index: usize,
    ) -> Tensor {
        let Step { cos, sin, layout, eps, .. } = step;
        let (layer, cos, sin, layout, eps) = (self.clone(), cos.clone(), sin.clone(), *layout, *eps);
        let rows = rows.map(<[usize]>::to_vec);
        ops::recompute(step.cx, x, move |cx, x| {
            let step =
                Step { cx, batch: &batch, adapted: &[], cos: cos.clone(), sin: sin.clone(), layout, eps };
            let mut cache = KvCache::passing(cache).expect("address space for one layer of a batch");
            layer.forward(&step, x, rows.as_deref(), &mut cache, index)
        })
    }
}

impl Attention {
    /// What the heads have found `[rows, heads * head_dim]`, for the norm of `x`: for all of its rows, or some of them, which are given
    /// beside it.
    fn attend(
        &self,
        step: &Step<'_>,
        (x, some): (&Tensor, Option<(&[usize], &Tensor)>),
        norm: &Vector,
        adapted: &[(Range<usize>, &AdaptedLayer)],
        cache: &mut KvCache,
        layer: usize,
    ) -> Tensor {
        let Step { cx, batch, cos, sin, layout, eps, .. } = step;
        let (q_norm, k_norm) = self.qk_norm.as_ref().map(|(q, k)| ((q, *eps), (k, *eps))).unzip();
        let normed = |x| Input::Normed(x, norm, *eps);
        let [q_proj, k_proj, v_proj] = [&self.q_proj, &self.k_proj, &self.v_proj];
        // queries of rows that are not wanted are not made; of more runs of rows each would read its whole past again
        let few = some
            .filter(|_| adapted.is_empty() && !cx.records())
            .map(|(rows, some)| (rows, some, batch.only(rows)))
            .filter(|(.., asking)| asking.sequences.len() <= batch.sequences.len());
        let (q, k, v, [q_cos, q_sin]) = match &few {
            None => {
                let qkv = &beside(adapted, |of| of.qkv.as_ref());
                let [q, k, v] = Linear::forward_all(cx, normed(x), [q_proj, k_proj, v_proj], qkv);
                (q, k, v, [cos.clone(), sin.clone()])
            }
            Some((rows, some, _)) => {
                let [k, v] = Linear::forward_all(cx, normed(x), [k_proj, v_proj], &[]);
                let [q] = Linear::forward_all(cx, normed(some), [q_proj], &[]);
                (q, k, v, [cos, sin].map(|all| ops::select_rows(cx, all, rows)))
            }
        };
        let q = ops::norm_rope(cx, q, q_norm, &q_cos, &q_sin, *layout);
        let k = ops::norm_rope(cx, k, k_norm, cos, sin, *layout);
        let asking = few.as_ref().map(|(.., asking)| asking);
        let attended = ops::attention(cx, &q, &k, &v, self.shape, batch, asking, cache, layer);
        match some {
            Some((rows, _)) if few.is_none() => ops::select_rows(cx, &attended, rows),
            _ => attended,
        }
    }
}

impl Mlp {
    fn forward(&self, cx: &Context, h: &Tensor, adapted: &[(Range<usize>, &AdaptedMlp)]) -> Tensor {
        let gated = self.gated(cx, Input::Rows(h), adapted);
        self.down_proj.forward(cx, Input::Rows(&gated), &beside(adapted, |of| of.down.as_ref()))
    }

    /// `x` with the result for its norm.
    fn add_forward(
        &self,
        cx: &Context,
        x: Tensor,
        norm: (&Vector, f32),
        adapted: &[(Range<usize>, &AdaptedMlp)],
    ) -> Tensor {
        let layers = [&self.gate_proj, &self.up_proj, &self.down_proj];
        let alone = adapted.iter().all(|(_, of)| of.gate_up.is_none() && of.down.is_none());
        if alone && layers.iter().all(|l| l.adapter.is_none() && l.bias.is_none()) {
            return ops::add_gated(cx, x, norm, layers.map(|l| &l.weight));
        }
        let gated = self.gated(cx, Input::Normed(&x, norm.0, norm.1), adapted);
        self.down_proj.add_forward(cx, x, Input::Rows(&gated), &beside(adapted, |of| of.down.as_ref()))
    }

    /// What its last layer reads.
    fn gated(&self, cx: &Context, h: Input<'_>, adapted: &[(Range<usize>, &AdaptedMlp)]) -> Tensor {
        let gate_up = beside(adapted, |of| of.gate_up.as_ref());
        let [gate, up] = Linear::forward_all(cx, h, [&self.gate_proj, &self.up_proj], &gate_up);
        ops::swiglu(cx, gate, &up)
    }
}

impl SparseMlp {
    fn forward(&self, cx: &Context, h: &Tensor, adapted: &[(Range<usize>, &AdaptedLayer)]) -> Tensor {
        let scores = ops::linear(cx, h, &self.gate, None);
        let routing = ops::route(cx, &scores, self.used, self.norm_topk_prob);
        // of each expert its tokens, and which of a token's experts it is
        let mut places: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.experts.len()];
        for (row, chosen) in routing.experts.iter().enumerate() {
            chosen.iter().enumerate().for_each(|(slot, &expert)| places[expert].push((row, slot)));
        }
        let mut out = cx.uninit(h.rows(), h.cols());
        out.values_mut().fill(0.0);
        for (e, places) in places.iter().enumerate().filter(|(_, places)| !places.is_empty()) {
            let rows: Vec<usize> = places.iter().map(|&(row, _)| row).collect();
            let adapted: Vec<_> =
                within(adapted, &rows).into_iter().map(|(r, of)| (r, &of.mlps[e])).collect();
            let y = self.experts[e].forward(cx, &ops::select_rows(cx, h, &rows), &adapted);
            out = ops::add_weighted_rows(cx, out, &y, &routing.weights, places);
        }
        out
    }
}

impl Linear {
    fn forward(&self, cx: &Context, x: Input<'_>, beside: &[(Range<usize>, &LowRank)]) -> Tensor {
        let [out] = Linear::forward_all(cx, x, [self], beside);
        out
    }

    /// `y` with the result for `x`, with what rows have `beside` it.
    fn add_forward(
        &self,
        cx: &Context,
        y: Tensor,
        x: Input<'_>,
        beside: &[(Range<usize>, &LowRank)],
    ) -> Tensor {
        if self.adapter.is_some() {
            return ops::add(cx, y, &self.forward(cx, x, beside));
        }
        if beside.is_empty() {
            return ops::add_linear(cx, y, x, &self.weight, self.bias.as_ref());
        }
        let x = x.tensor(cx);
        let y = ops::add_linear(cx, y, &x, &self.weight, self.bias.as_ref());
        let [y] = ops::low_rank(cx, [y], &x, beside);
        y
    }

    /// The results of several layers for the same `x`, with what rows have `beside` them.
    fn forward_all<const N: usize>(
        cx: &Context,
        x: Input<'_>,
        linears: [&Linear; N],
        beside: &[(Range<usize>, &LowRank)],
    ) -> [Tensor; N] {
        let weights = linears.map(|l| (&l.weight, l.bias.as_ref()));
        if beside.is_empty() && linears.iter().all(|l| l.adapter.is_none()) {
            return ops::linears(cx, x, weights);
        }
        let x = x.tensor(cx);
        let outs = ops::linears(cx, &x, weights);
        let mut layers = linears.into_iter();
        let outs = outs.map(|out| match layers.next() {
            Some(layer) => layer.adapted(cx, out, &x),
            None => out,
        });
        ops::low_rank(cx, outs, &x, beside)
    }

    /// Its result `out` for `x`, with the adapter that stands beside it.
    fn adapted(&self, cx: &Context, out: Tensor, x: &Tensor) -> Tensor {
        let Some(adapter) = &self.adapter else { return out };
        match &adapter.magnitude {
            Some(magnitude) => ops::dora(cx, out, x, &self.weight, self.bias.as_ref(), adapter, magnitude),
            None => ops::lora(cx, out, x, adapter),
        }
    }
}

impl Frequencies {
    /// Cosines and sines `[tokens, head_dim / 2]` of the batch's positions. The angles are float32 products, as
    /// in the reference.
    fn angles(&self, cx: &Context, batch: &Batch) -> (Tensor, Tensor) {
        let half = self.inv_freq.len();
        let (mut cos, mut sin) = (cx.uninit(batch.rows(), half), cx.uninit(batch.rows(), half));
        let rows = cos.values_mut().chunks_exact_mut(half).zip(sin.values_mut().chunks_exact_mut(half));
        for ((cos, sin), position) in rows.zip(batch.positions()) {
            for ((cos, sin), inv_freq) in cos.iter_mut().zip(sin).zip(&self.inv_freq) {
                let angle = position as f32 * inv_freq;
                *cos = angle.cos() * self.attention_factor;
                *sin = angle.sin() * self.attention_factor;
            }
        }
        (cos, sin)
    }
}
