//! A checkpoint opened for use: weights, tokenizer, template and defaults.

mod generation;
mod kind;
mod summary;

pub use generation::GenerationDefaults;
pub use kind::{ModelKind, model_name, repository_name};
pub use summary::Summary;

use crate::adapter::{Adapter, AdapterError};
use crate::checkpoint::mapped_file::{read_bounded, read_limited_json, touch_pages};
use crate::checkpoint::{CheckpointError, FileError, GgufMetadata, MetadataError};
use crate::config::ConfigError;
use crate::tokenizer::{self, TokenizerError};
use crate::{CausalLm, Checkpoint, Config, Tokenizer, chat::ChatTemplate, chat::TemplateError, limits};
use crate::{Quantization, packing};
use kernels::Pool;
use nn::Bytes;
use serde::Deserialize;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Everything in a checkpoint that serving needs.
pub struct Model {
    /// The weights.
    pub lm: CausalLm,
    /// What it answers with.
    pub kind: ModelKind,
    /// Text to tokens and back.
    pub tokenizer: Arc<Tokenizer>,
    /// Messages to prompt; absent from base models.
    pub chat_template: Option<ChatTemplate>,
    /// Recommended sampling and end tokens.
    pub generation: GenerationDefaults,
    /// Bytes of all weights as they are computed with.
    pub weight_bytes: u64,
    /// Number of parameters.
    pub parameters: u64,
    checkpoint: Checkpoint,
    /// The packed weights, when there are some.
    packed: Option<Bytes>,
    /// Hashes of the files, once somebody has asked for them.
    sha256: OnceLock<Vec<String>>,
}

/// Why a model cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The weights' files.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The sizes, or a switch that is not supported.
    #[error("{}: {source}", .path.display())]
    Config {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// Another file of the directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// GGUF metadata of the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A directory without `tokenizer.json`.
    #[error("{} has no tokenizer.json, which turns text into tokens", .0.display())]
    NoTokenizer(PathBuf),
    /// A tokenizer that cannot be read.
    #[error("the tokenizer of {}: {source}", .path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenizerError,
    },
    /// A tokenizer whose ids the embedding table does not have.
    #[error(
        "the tokenizer has {tokens} tokens, but the model only {vocab_size}: they do not belong together"
    )]
    TokenizerSize {
        /// Ids of the tokenizer.
        tokens: usize,
        /// Rows of the embedding table.
        vocab_size: usize,
    },
    /// A chat template that cannot be used.
    #[error("the chat template of {}: {source}", .path.display())]
    Template {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TemplateError,
    },
    /// A model that makes its vectors or scores in another way than is known here.
    #[error(
        "{}: {found} is not supported; known are last-token pooling, normalisation, and a score of two tokens", .path.display()
    )]
    Pooling {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: String,
    },
}

impl Model {
    /// Packs the weights for integer products, or takes the copy that an earlier call has kept on disk. `progress` hears
    /// of bytes done and in all.
    ///
    /// # Errors
    /// When a file of the checkpoint can't be read.
    pub fn pack(
        &mut self,
        quantization: Quantization,
        pool: &Pool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ModelError> {
        let before = self.lm.matrix_bytes() as u64;
        let Model { lm, checkpoint, .. } = self;
        let packed = lm.pack(|matrices| packing::pack(checkpoint, matrices, quantization, pool, progress))?;
        if packed.is_some() {
            self.weight_bytes = self.weight_bytes.saturating_sub(before) + self.lm.matrix_bytes() as u64;
            self.packed = packed;
        }
        Ok(())
    }

    /// Prepares the matrices of 8 bits for integer products in backward passes, which takes their memory a second time.
    pub fn add_transposes(&mut self, pool: &Pool) {
        let added = self.lm.pack(|matrices| Ok::<u64, Infallible>(packing::add_transposes(matrices, pool)));
        self.weight_bytes += added.unwrap_or_else(|never| match never {});
    }

    /// Checks that this is the model that `adapter` was made for, where its configuration tells that model's files. The first
    /// time it reads them all.
    ///
    /// # Errors
    /// When they are others.
    pub fn check_base(&self, adapter: &Adapter) -> Result<(), AdapterError> {
        adapter.check_base(|| self.sha256.get_or_init(|| self.checkpoint.sha256()).clone())
    }

    /// The files that hold its weights.
    pub fn files(&self) -> Vec<&Path> {
        self.checkpoint.files()
    }

    /// Reads the weights into memory, so that the first request does not wait for the disk. `progress` hears of the bytes
    /// that are in memory and of those in all.
    pub fn warm_up(&self, mut progress: impl FnMut(u64, u64)) {
        let Some(packed) = &self.packed else { return self.checkpoint.warm_up(progress) };
        let bytes = (**packed).as_ref();
        let mut done = 0;
        touch_pages(bytes, |step| {
            done += step;
            progress(done, bytes.len() as u64);
        });
    }

    /// Opens a Hugging Face directory or a GGUF file.
    pub fn open(path: &Path) -> Result<Model, ModelError> {
        let (checkpoint, lm) = open_weights(path)?;
        let (tokenizer, prompt) = match checkpoint.gguf() {
            Some(metadata) => (gguf_tokenizer(path, metadata)?, PromptFiles::read_gguf(metadata)?),
            None => (json_tokenizer(path)?, PromptFiles::read_directory(path)?),
        };
        if tokenizer.len() > lm.config().vocab_size {
            let (tokens, vocab_size) = (tokenizer.len(), lm.config().vocab_size);
            return Err(ModelError::TokenizerSize { tokens, vocab_size });
        }
        let chat_template =
            prompt.template.as_deref().map(|t| ChatTemplate::new(t, &prompt.bos, &prompt.eos));
        let chat_template = chat_template
            .transpose()
            .map_err(|source| ModelError::Template { path: path.to_owned(), source })?;
        let generation = match checkpoint.gguf() {
            Some(metadata) => GenerationDefaults::read_gguf(metadata, &tokenizer)?,
            None => GenerationDefaults::read_directory(path)?,
        };
        Ok(Model {
            kind: ModelKind::of(&checkpoint)?,
            tokenizer: Arc::new(tokenizer),
            chat_template,
            generation,
            weight_bytes: checkpoint.tensors().map(|(_, tensor)| tensor.range.len() as u64).sum(),
            parameters: checkpoint.types().iter().map(|t| t.parameters).sum(),
            lm,
            checkpoint,
            packed: None,
            sha256: OnceLock::new(),
        })
    }
}

/// Opens only the weights, for directories that hold nothing else than `config.json` besides.
pub fn open_weights(path: &Path) -> Result<(Checkpoint, CausalLm), ModelError> {
    let checkpoint = Checkpoint::open(path)?;
    let config =
        Config::read(&checkpoint).map_err(|source| ModelError::Config { path: path.to_owned(), source })?;
    let lm = CausalLm::load(&checkpoint, config)?;
    Ok((checkpoint, lm))
}

fn json_tokenizer(dir: &Path) -> Result<Tokenizer, ModelError> {
    let path = dir.join("tokenizer.json");
    let json = read_bounded(&path, tokenizer::limits::MAX_FILE_BYTES as u64)?;
    let json = json.ok_or_else(|| ModelError::NoTokenizer(dir.to_owned()))?;
    Tokenizer::from_json(&json).map_err(|source| ModelError::Tokenizer { path, source })
}

fn gguf_tokenizer(path: &Path, metadata: &GgufMetadata) -> Result<Tokenizer, ModelError> {
    if !metadata.contains("tokenizer.ggml.model") {
        return Err(ModelError::NoTokenizer(path.to_owned()));
    }
    Tokenizer::from_gguf(metadata).map_err(|source| ModelError::Tokenizer { path: path.to_owned(), source })
}

/// What a prompt is made with besides the tokenizer.
#[derive(Default)]
pub(crate) struct PromptFiles {
    /// The chat template.
    pub(crate) template: Option<String>,
    /// The text of the token that begins a text; empty when there is none.
    pub(crate) bos: String,
    /// That of the one that ends it.
    pub(crate) eos: String,
    /// That of the one that fills up.
    pub(crate) pad: String,
}

/// The fields of `tokenizer_config.json` that are read.
#[derive(Default, Deserialize)]
struct TokenizerConfig {
    bos_token: Option<TokenField>,
    eos_token: Option<TokenField>,
    pad_token: Option<TokenField>,
    chat_template: Option<TemplateField>,
}

/// A token as text, or as an object with its text.
#[derive(Deserialize)]
#[serde(untagged)]
enum TokenField {
    Text(String),
    Object { content: String },
}

/// One template, or several with names.
#[derive(Deserialize)]
#[serde(untagged)]
enum TemplateField {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl TokenField {
    fn text(self) -> String {
        match self {
            TokenField::Text(text) | TokenField::Object { content: text } => text,
        }
    }
}

impl TemplateField {
    /// The template for conversations: the only one, the one called `default`, else the first.
    fn choose(self) -> Option<String> {
        match self {
            TemplateField::One(template) => Some(template),
            TemplateField::Named(mut named) => {
                let at = named.iter().position(|t| t.name == "default").unwrap_or(0);
                (!named.is_empty()).then(|| named.swap_remove(at).template)
            }
        }
    }
}

impl PromptFiles {
    /// Reads `tokenizer_config.json` and, if it is there, `chat_template.jinja`, which counts more.
    pub(crate) fn read_directory(dir: &Path) -> Result<PromptFiles, ModelError> {
        let config = dir.join("tokenizer_config.json");
        let config: TokenizerConfig =
            read_limited_json(&config, limits::MAX_TOKENIZER_CONFIG_BYTES)?.unwrap_or_default();
        let file = dir.join("chat_template.jinja");
        let template = match read_bounded(&file, limits::MAX_CHAT_TEMPLATE_BYTES)? {
            Some(bytes) => Some(String::from_utf8(bytes).map_err(|_| FileError::Utf8(file))?),
            None => config.chat_template.and_then(TemplateField::choose),
        };
        Ok(PromptFiles {
            template,
            bos: config.bos_token.map_or_else(String::new, TokenField::text),
            eos: config.eos_token.map_or_else(String::new, TokenField::text),
            pad: config.pad_token.map_or_else(String::new, TokenField::text),
        })
    }

    /// Reads what a GGUF file says.
    pub(crate) fn read_gguf(metadata: &GgufMetadata) -> Result<PromptFiles, ModelError> {
        let tokens = metadata.strings("tokenizer.ggml.tokens")?.unwrap_or_default();
        let token = |key| -> Result<String, MetadataError> {
            let id = metadata.token_id(key)?;
            Ok(id.and_then(|id| tokens.get(id as usize)).map_or_else(String::new, |t| (*t).to_owned()))
        };
        Ok(PromptFiles {
            template: metadata.str("tokenizer.chat_template")?.map(str::to_owned),
            bos: token("tokenizer.ggml.bos_token_id")?,
            eos: token("tokenizer.ggml.eos_token_id")?,
            pad: token("tokenizer.ggml.padding_token_id")?,
        })
    }
}
