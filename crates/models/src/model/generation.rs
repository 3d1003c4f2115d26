//! What a checkpoint's author recommends for generating.

use super::ModelError;
use crate::checkpoint::mapped_file::read_json;
use crate::checkpoint::{FileError, GgufMetadata};
use crate::{Tokenizer, limits};
use serde::Deserialize;
use std::path::Path;

/// Sampling values and end tokens that the checkpoint's author recommends (`generation_config.json`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Any of these ends an answer.
    pub eos_token_ids: Vec<u32>,
    /// Recommended temperature.
    pub temperature: Option<f32>,
    /// Recommended nucleus.
    pub top_p: Option<f32>,
    /// Recommended number of candidates.
    pub top_k: Option<u32>,
    /// Recommended smallest probability relative to the largest.
    pub min_p: Option<f32>,
    /// Recommended repetition penalty.
    pub repetition_penalty: Option<f32>,
}

/// The fields of `generation_config.json` that are read.
#[derive(Default, Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<EosField>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<u32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
}

/// The field of `config.json` that counts where `generation_config.json` is silent.
#[derive(Default, Deserialize)]
struct ModelConfig {
    eos_token_id: Option<EosField>,
}

/// One end token, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum EosField {
    One(u32),
    Several(Vec<u32>),
}

impl EosField {
    fn ids(self) -> Vec<u32> {
        match self {
            EosField::One(id) => vec![id],
            EosField::Several(mut ids) => {
                ids.truncate(limits::MAX_EOS_TOKENS);
                ids
            }
        }
    }
}

/// Control tokens that end an answer whatever a GGUF file calls its end token: it has room for one id only, where
/// `generation_config.json` lists several.
const GGUF_END_TOKENS: [&str; 4] = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>"];

impl GenerationDefaults {
    pub(crate) fn read_directory(dir: &Path) -> Result<GenerationDefaults, FileError> {
        let config: GenerationConfig = read_json(&dir.join("generation_config.json"))?.unwrap_or_default();
        let eos = match config.eos_token_id {
            Some(eos) => Some(eos),
            None => read_json::<ModelConfig>(&dir.join("config.json"))?.unwrap_or_default().eos_token_id,
        };
        Ok(GenerationDefaults {
            eos_token_ids: eos.map_or_else(Vec::new, EosField::ids),
            temperature: config.temperature,
            top_p: config.top_p,
            top_k: config.top_k,
            min_p: config.min_p,
            repetition_penalty: config.repetition_penalty,
        })
    }

    pub(crate) fn read_gguf(
        metadata: &GgufMetadata,
        tokenizer: &Tokenizer,
    ) -> Result<GenerationDefaults, ModelError> {
        let mut eos_token_ids = Vec::new();
        for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
            eos_token_ids.extend(metadata.token_id(&format!("tokenizer.ggml.{key}"))?);
        }
        let named = GGUF_END_TOKENS.iter().filter_map(|text| tokenizer.token_id(text));
        eos_token_ids.extend(named.filter(|&id| tokenizer.is_special(id)));
        let mut seen = std::collections::HashSet::new();
        eos_token_ids.retain(|id| seen.insert(*id));
        let top_k = metadata.u64("general.sampling.top_k")?;
        Ok(GenerationDefaults {
            eos_token_ids,
            temperature: metadata.f32("general.sampling.temp")?,
            top_p: metadata.f32("general.sampling.top_p")?,
            top_k: top_k.and_then(|k| u32::try_from(k).ok()),
            min_p: metadata.f32("general.sampling.min_p")?,
            repetition_penalty: metadata.f32("general.sampling.penalty_repeat")?,
        })
    }
}
