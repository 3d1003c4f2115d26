//! A decoder's tensors by the names that checkpoints give them, for those that change or write them.

use super::{Attention, CausalLm, FeedForward, Layer, Linear, Mlp, SparseMlp};
use nn::{ParameterId, Vector, Weight};

/// Linear layers with their names.
type NamedLinears<'a> = Vec<(String, &'a mut Linear)>;

/// Names of an attention's linear layers, in the order of the computation.
pub(super) const ATTENTION: [&str; 4] = ["q_proj", "k_proj", "v_proj", "o_proj"];
/// The same of a feed-forward layer, or of an expert.
pub(super) const MLP: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];

/// A tensor of a model, writable.
pub enum TensorMut<'a> {
    /// A matrix `[rows, cols]`.
    Matrix(&'a mut Weight),
    /// A norm's weight, or a bias.
    Vector(&'a mut Vector),
}

impl TensorMut<'_> {
    /// Outermost dimension first.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            TensorMut::Matrix(weight) => vec![weight.rows(), weight.cols()],
            TensorMut::Vector(vector) => vec![vector.len()],
        }
    }

    /// Makes it parameter `id` of a training run, in float32.
    pub fn train(&mut self, id: ParameterId) {
        match self {
            TensorMut::Matrix(weight) => **weight = weight.trainable(id),
            TensorMut::Vector(vector) => **vector = vector.clone().trainable(id),
        }
    }

    /// Which parameter it is, and its values; `None` when it is not trained.
    pub fn parameter(&mut self) -> Option<(ParameterId, &mut [f32])> {
        match self {
            TensorMut::Matrix(weight) => weight.parameter().zip(weight.values_mut()),
            TensorMut::Vector(vector) => vector.parameter().map(|id| (id, vector.values_mut())),
        }
    }

    /// Its values decoded to float32.
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            TensorMut::Matrix(weight) => weight.to_f32(),
            TensorMut::Vector(vector) => vector.to_vec(),
        }
    }
}

impl CausalLm {
    /// Gives `f` all tensors with their names, in the order of the computation. A head that shares the embedding table is
    /// not among them, and shares it again afterwards.
    pub fn with_tensors<T>(&mut self, f: impl FnOnce(Vec<(String, TensorMut<'_>)>) -> T) -> T {
        let tied = self.lm_head.is_same(&self.embed_tokens);
        if tied {
            // a second owner would make every change a copy
            self.lm_head = Weight::from_f32(Vec::new(), 0, 0);
        }
        let mut tensors = Vec::new();
        tensors.push(("model.embed_tokens.weight".to_owned(), TensorMut::Matrix(&mut self.embed_tokens)));
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let mut push =
                |name: &str, tensor| tensors.push((format!("model.layers.{index}.{name}"), tensor));
            push("input_layernorm.weight", TensorMut::Vector(&mut layer.input_layernorm));
            let (mut linears, qk_norm) = layer.self_attn.parts_mut();
            if let Some((q_norm, k_norm)) = qk_norm {
                push("self_attn.q_norm.weight", TensorMut::Vector(q_norm));
                push("self_attn.k_norm.weight", TensorMut::Vector(k_norm));
            }
            push("post_attention_layernorm.weight", TensorMut::Vector(&mut layer.post_attention_layernorm));
            let (experts, router) = layer.mlp.parts_mut();
            if let Some(router) = router {
                push("mlp.gate.weight", TensorMut::Matrix(router));
            }
            linears.extend(experts);
            for (name, linear) in linears {
                push(&format!("{name}.weight"), TensorMut::Matrix(&mut linear.weight));
                if let Some(bias) = &mut linear.bias {
                    push(&format!("{name}.bias"), TensorMut::Vector(bias));
                }
            }
        }
        tensors.push(("model.norm.weight".to_owned(), TensorMut::Vector(&mut self.norm)));
        if !tied {
            tensors.push(("lm_head.weight".to_owned(), TensorMut::Matrix(&mut self.lm_head)));
        }
        let result = f(tensors);
        if tied {
            self.lm_head = self.embed_tokens.clone();
        }
        result
    }

    /// The linear layers that can have adapters, with their names (`model.layers.0.self_attn.q_proj`).
    pub fn linears(&self) -> Vec<(String, &Linear)> {
        let mut all = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let Attention { q_proj, k_proj, v_proj, o_proj, .. } = &layer.self_attn;
            let attention = ATTENTION.into_iter().zip([q_proj, k_proj, v_proj, o_proj]);
            let attention = attention.map(|(name, linear)| (format!("self_attn.{name}"), linear));
            let mlps = layer.mlp.mlps().into_iter().flat_map(|(prefix, mlp)| {
                let linears = MLP.into_iter().zip([&mlp.gate_proj, &mlp.up_proj, &mlp.down_proj]);
                linears.map(move |(name, linear)| (format!("{prefix}.{name}"), linear))
            });
            let named = |(name, linear)| (format!("model.layers.{index}.{name}"), linear);
            all.extend(attention.chain(mlps).map(named));
        }
        all
    }

    /// [`Self::linears`], writable.
    pub fn linears_mut(&mut self) -> Vec<(String, &mut Linear)> {
        linears(&mut self.layers)
    }
}

/// The linear layers of `layers`, with their names.
pub(super) fn linears(layers: &mut [Layer]) -> NamedLinears<'_> {
    let mut all = Vec::new();
    for (index, layer) in layers.iter_mut().enumerate() {
        let linears = layer.self_attn.parts_mut().0.into_iter().chain(layer.mlp.parts_mut().0);
        all.extend(linears.map(|(name, linear)| (format!("model.layers.{index}.{name}"), linear)));
    }
    all
}

impl Attention {
    /// The linear layers by their names within a layer, and the norms of queries and keys.
    fn parts_mut(&mut self) -> (NamedLinears<'_>, Option<&mut (Vector, Vector)>) {
        let linears = [&mut self.q_proj, &mut self.k_proj, &mut self.v_proj, &mut self.o_proj];
        let linears = ATTENTION.into_iter().zip(linears);
        let linears = linears.map(|(name, linear)| (format!("self_attn.{name}"), linear));
        (linears.collect(), self.qk_norm.as_mut())
    }
}

impl FeedForward {
    /// The layer itself or its experts, with their names within a layer.
    pub(super) fn mlps(&self) -> Vec<(String, &Mlp)> {
        match self {
            FeedForward::Dense(mlp) => vec![("mlp".to_owned(), mlp)],
            FeedForward::Experts(SparseMlp { experts, .. }) => {
                experts.iter().enumerate().map(|(e, mlp)| (format!("mlp.experts.{e}"), mlp)).collect()
            }
        }
    }

    /// The linear layers by their names within a layer, and the router.
    fn parts_mut(&mut self) -> (NamedLinears<'_>, Option<&mut Weight>) {
        match self {
            FeedForward::Dense(mlp) => (mlp.linears_mut("mlp"), None),
            FeedForward::Experts(SparseMlp { gate, experts, .. }) => {
                let experts = experts.iter_mut().enumerate();
                let linears = experts.flat_map(|(e, mlp)| mlp.linears_mut(&format!("mlp.experts.{e}")));
                (linears.collect(), Some(gate))
            }
        }
    }
}

impl Mlp {
    fn linears_mut(&mut self, prefix: &str) -> NamedLinears<'_> {
        let linears = MLP.into_iter().zip([&mut self.gate_proj, &mut self.up_proj, &mut self.down_proj]);
        linears.map(|(name, linear)| (format!("{prefix}.{name}"), linear)).collect()
    }
}
