//! Names of tensors: every dialect to that of Hugging Face's full causal models.

use super::{Located, StoredTensor};
use std::collections::BTreeMap;

/// GGUF's names of tensors outside the layers.
const GLOBAL: [(&str, &str); 3] =
    [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];

/// GGUF's names within a layer, `blk.N.`, and Hugging Face's, `model.layers.N.`.
const LAYER: [(&str, &str); 12] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("ffn_gate_inp", "mlp.gate"),
];

/// GGUF stacks the experts of a layer in one tensor `[experts, rows, cols]`.
const EXPERTS: [(&str, &str); 3] =
    [("ffn_gate_exps", "gate_proj"), ("ffn_up_exps", "up_proj"), ("ffn_down_exps", "down_proj")];

/// Hugging Face's name for a tensor of a GGUF file; `None` for one that has no counterpart.
pub(super) fn from_gguf(name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.')?;
    match layer_of(stem) {
        Some((layer, stem)) => {
            let (_, ours) = LAYER.iter().find(|(theirs, _)| *theirs == stem)?;
            Some(format!("model.layers.{layer}.{ours}.{kind}"))
        }
        None => {
            let (_, ours) = GLOBAL.iter().find(|(theirs, _)| *theirs == stem)?;
            Some(format!("{ours}.{kind}"))
        }
    }
}

/// GGUF's name for a tensor; `None` for one that has no counterpart.
pub(super) fn to_gguf(name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.')?;
    match stem.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')) {
        Some((layer, stem)) => {
            let (theirs, _) = LAYER.iter().find(|(_, ours)| *ours == stem)?;
            Some(format!("blk.{layer}.{theirs}.{kind}"))
        }
        None => {
            let (theirs, _) = GLOBAL.iter().find(|(_, ours)| *ours == stem)?;
            Some(format!("{theirs}.{kind}"))
        }
    }
}

/// The matrices of a stacked tensor of experts under the names that single ones have; `None` for other tensors.
pub(super) fn experts_from_gguf<'a>(
    name: &'a str,
    tensor: &'a StoredTensor,
) -> Option<impl Iterator<Item = (String, StoredTensor)> + 'a> {
    let (layer, stem) = layer_of(name.strip_suffix(".weight")?)?;
    let (_, ours) = EXPERTS.iter().find(|(theirs, _)| *theirs == stem)?;
    let named = move |(e, matrix)| (format!("model.layers.{layer}.mlp.experts.{e}.{ours}.weight"), matrix);
    Some(tensor.unstack()?.enumerate().map(named))
}

/// GGUF's name for the stack that an expert's matrix is in; `None` for other tensors.
pub(crate) fn stack_of_expert(name: &str) -> Option<String> {
    let (layer, stem) = name.strip_suffix(".weight")?.strip_prefix("model.layers.")?.split_once('.')?;
    let (_, ours) = stem.strip_prefix("mlp.experts.")?.split_once('.')?;
    let (theirs, _) = EXPERTS.iter().find(|(_, known)| *known == ours)?;
    Some(format!("blk.{layer}.{theirs}.weight"))
}

/// Splits `blk.N.stem`.
fn layer_of(stem: &str) -> Option<(&str, &str)> {
    stem.strip_prefix("blk.")?.split_once('.')
}

/// Gives tensors that were saved from the bare decoder (`layers.0...`, as embedding models are) the prefix that
/// the full model has.
pub(super) fn complete(tensors: &mut BTreeMap<String, Located>) {
    let full = tensors.keys().any(|name| name.starts_with("model."));
    if full || !tensors.contains_key("embed_tokens.weight") {
        return;
    }
    let bare = std::mem::take(tensors);
    tensors.extend(bare.into_iter().map(|(name, located)| match name.as_str() {
        "lm_head.weight" => (name, located),
        _ => (format!("model.{name}"), located),
    }));
}
