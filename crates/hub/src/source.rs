//! What a person writes for a model, and what it means.

use crate::name::{NameError, RepoId, Revision};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory or a file on this machine.
    Path(PathBuf),
    /// A repository of a hub.
    Hub(HubSource),
}

/// A repository of a hub, as somebody asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubSource {
    /// Where to pull it from when the store doesn't have it.
    pub hub: Hub,
    /// Whether the person named the hub, rather than the settings.
    pub hub_was_named: bool,
    /// Which.
    pub repo: RepoId,
    /// The branch, tag or commit after `@`; `main` (ModelScope: `master`) when absent.
    pub revision: Option<Revision>,
    /// What stands behind `:`, a file of the repository or a part of a file's name such as `Q4_K_M`.
    pub file: Option<String>,
}

/// A hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hub {
    /// Hugging Face: `https://huggingface.co`, or where `HF_ENDPOINT` points.
    HuggingFace,
    /// ModelScope: `https://www.modelscope.cn`, or where `MODELSCOPE_ENDPOINT` points.
    ModelScope,
    /// Another one that speaks Hugging Face's protocol, such as another Wen: the URL without a slash at its end.
    Url(String),
}

/// What the person set up: `settings.toml` in the store's root, and the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Which hub short names (`Qwen/Qwen3-0.6B`) are pulled from: `hub` in the file (`hf`, `ms` or a URL), over which
    /// `WEN_DEFAULT_HUB` counts.
    pub hub: Hub,
    /// Names of the person's own, and what they stand for: `[aliases]` in the file.
    pub aliases: BTreeMap<String, String>,
    /// Whether nothing may be asked of the network: `offline` in the file, `WEN_OFFLINE` or `HF_HUB_OFFLINE`.
    pub offline: bool,
}

/// What was written means nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A repository's name that breaks a rule.
    #[error("`{text}` is neither a path that exists nor a model's name: {source}")]
    Name {
        /// What was written.
        text: String,
        /// Which rule it breaks.
        source: NameError,
    },
    /// A path that isn't there.
    #[error("there is no {}", .0.display())]
    NoPath(PathBuf),
    /// A URL that isn't that of a repository.
    #[error("`{text}` is not the address of a model: {why}")]
    Url {
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An alias that leads to itself.
    #[error("the alias `{0}` leads to itself; see settings.toml in the hub's directory")]
    AliasLoop(String),
    /// Longer than any name.
    #[error("a model's name of {0} bytes is too long")]
    TooLong(usize),
    /// Settings that cannot be read.
    #[error("{}: {reason}", .path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Source {
    /// What `text` means, in this order: a path that exists or is written as one (`./x`, `/x`, `../x`, `~/x`); an alias;
    /// `hf:owner/name`, `ms:owner/name`, `https://host/owner/name`; `owner/name` at the hub of the settings. A revision may
    /// follow after `@`, and after `:` a file.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn parse(text: &str, settings: &Settings) -> Result<Source, SourceError> {
        let _ = (text, settings);
        todo!()
    }
}

impl Settings {
    /// Reads `settings.toml` in `root` if it is there, and the environment.
    ///
    /// # Errors
    /// When the file is broken, or a value is none that can be.
    pub fn read(root: &Path) -> Result<Settings, SourceError> {
        let _ = root;
        todo!()
    }
}

impl Default for Hub {
    fn default() -> Hub {
        Hub::HuggingFace
    }
}

impl fmt::Display for Hub {
    /// `hf`, `ms` or the URL: what is stored as a repository's upstream, and can be written in settings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hub::HuggingFace => f.write_str("hf"),
            Hub::ModelScope => f.write_str("ms"),
            Hub::Url(url) => f.write_str(url),
        }
    }
}

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsFile {
    #[serde(default)]
    hub: Option<String>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    #[serde(default)]
    offline: bool,
}
