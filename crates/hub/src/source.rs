//! What a person writes for a model, and what it means.

use crate::limits::{MAX_ALIAS_STEPS, MAX_SETTINGS_BYTES, MAX_SOURCE_BYTES};
use crate::name::{FilePath, NameError, RepoId, RepoKind, Revision};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

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
    /// What it holds: a model, unless `datasets/` stands before its name.
    pub kind: RepoKind,
    /// Which.
    pub repo: RepoId,
    /// The branch, tag or commit after `@`; `main` (ModelScope: `master`) when absent.
    pub revision: Option<Revision>,
    /// What stands behind `:`, a file of the repository or a part of a file's name such as `Q4_K_M`.
    pub file: Option<String>,
}

/// A hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hub {
    /// Hugging Face: `https://huggingface.co`, or where `HF_ENDPOINT` points.
    #[default]
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
    /// The environment variables with the tokens of hubs other than the two known ones: `[tokens]` in the file, by the hub's URL.
    pub tokens: BTreeMap<String, String>,
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
    /// What `text` means, in this order: a path that exists or is written as one (`./x`, `/x`, `../x`, `~/x`, `x.gguf`);
    /// an alias; `hf:owner/name`, `ms:owner/name`, `https://host/owner/name`; `owner/name` at the hub of the settings. A
    /// revision may follow after `@`, and after `:` a file.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn parse(text: &str, settings: &Settings) -> Result<Source, SourceError> {
        check_length(text)?;
        if let Some(path) = as_path(text) {
            return path.map(Source::Path);
        }
        let meaning = settings.meaning(text)?;
        match as_path(meaning) {
            Some(path) => path.map(Source::Path),
            None => HubSource::parse(meaning, settings).map(Source::Hub),
        }
    }
}

fn check_length(text: &str) -> Result<(), SourceError> {
    if text.len() > MAX_SOURCE_BYTES { Err(SourceError::TooLong(text.len())) } else { Ok(()) }
}

/// The path that `text` is, if it is one: it is there, or nothing else is written like this.
fn as_path(text: &str) -> Option<Result<PathBuf, SourceError>> {
    let path = match text.strip_prefix("~/").and_then(|rest| Some(std::env::home_dir()?.join(rest))) {
        Some(path) => path,
        None => PathBuf::from(text),
    };
    if path.exists() {
        return Some(Ok(path));
    }
    let starts = ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start));
    let ends = [".gguf", ".safetensors"].iter().any(|end| text.ends_with(end));
    // behind `:` it is a file of a repository
    let is_path = text.is_empty() || starts || (ends && !text.contains(':')) || text == "." || text == "..";
    is_path.then_some(Err(SourceError::NoPath(path)))
}

impl HubSource {
    /// What `text` means where it cannot be a path: as [`Source::parse`] says of the rest.
    ///
    /// # Errors
    /// When it is no name of a repository.
    pub fn parse(text: &str, settings: &Settings) -> Result<HubSource, SourceError> {
        check_length(text)?;
        let text = settings.meaning(text)?;
        if let Some(rest) = text.strip_prefix("hf:") {
            return HubSource::of_name(text, rest, Hub::HuggingFace, true);
        }
        if let Some(rest) = text.strip_prefix("ms:") {
            return HubSource::of_name(text, rest, Hub::ModelScope, true);
        }
        if text.contains("://") {
            return HubSource::of_url(text);
        }
        HubSource::of_name(text, text, settings.hub.clone(), false)
    }

    /// `owner/name[@revision][:file]`, before which `datasets/` may stand.
    fn of_name(text: &str, rest: &str, hub: Hub, hub_was_named: bool) -> Result<HubSource, SourceError> {
        let refused = |source| SourceError::Name { text: text.to_owned(), source };
        let (rest, file) = match rest.split_once(':') {
            Some((rest, file)) => (rest, Some(file.parse::<FilePath>().map_err(refused)?.into())),
            None => (rest, None),
        };
        let (name, revision) = match rest.split_once('@') {
            Some((name, revision)) => (name, Some(revision.parse::<Revision>().map_err(refused)?)),
            None => (rest, None),
        };
        let (kind, name) = match name.strip_prefix("datasets/") {
            Some(name) if name.contains('/') => (RepoKind::Dataset, name),
            _ => (RepoKind::Model, name),
        };
        let repo = name.parse().map_err(refused)?;
        Ok(HubSource { hub, hub_was_named, kind, repo, revision, file })
    }

    /// `https://host/owner/name`, also as a browser shows it: with `/tree/REVISION` or `/blob/REVISION/FILE` behind it.
    fn of_url(text: &str) -> Result<HubSource, SourceError> {
        let refused = |why| SourceError::Url { text: text.to_owned(), why };
        let Some((base, path)) = split_url(text).map_err(refused)? else {
            return Err(refused("write https://host/owner/name"));
        };
        let hub: Hub = base.parse().map_err(|_| refused("the host is none"))?;
        let path = path.trim_end_matches('/');
        // ModelScope's pages
        let path = path.strip_prefix("models/").filter(|rest| rest.contains('/')).unwrap_or(path);
        for mark in ["/tree/", "/blob/", "/resolve/", "/file/view/"] {
            let Some((name, rest)) = path.split_once(mark) else { continue };
            let short = match rest.split_once('/') {
                Some((revision, file)) => format!("{name}@{revision}:{file}"),
                None => format!("{name}@{rest}"),
            };
            return HubSource::of_name(text, &short, hub, true);
        }
        HubSource::of_name(text, path, hub, true)
    }
}

/// A URL's scheme and host, and its path without the first slash; `None` without a path.
fn split_url(text: &str) -> Result<Option<(&str, &str)>, &'static str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or("it begins with neither https:// nor http://")?;
    if rest.contains(['?', '#', '\\', '%']) || !rest.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        return Err("it has characters that no model's name has");
    }
    let host_end = rest.find('/').unwrap_or(rest.len());
    let host = &rest[..host_end];
    // a host that hides behind another's name (`https://huggingface.co@evil.example`)
    let is_host_char = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if host.is_empty() || !host.chars().all(is_host_char) {
        return Err("the host is none");
    }
    let base_end = text.len() - rest.len() + host_end;
    Ok((host_end < rest.len()).then(|| (&text[..base_end], &text[base_end + 1..])))
}

impl FromStr for Hub {
    type Err = SourceError;

    /// `hf`, `ms`, or the URL of a hub.
    fn from_str(text: &str) -> Result<Hub, SourceError> {
        let refused = |why| SourceError::Url { text: text.to_owned(), why };
        match text {
            "hf" => return Ok(Hub::HuggingFace),
            "ms" => return Ok(Hub::ModelScope),
            _ => {}
        }
        let url = text.trim_end_matches('/');
        split_url(url).map_err(refused)?;
        Ok(match url.split_once("://").map(|(_, host)| host) {
            Some("huggingface.co" | "www.huggingface.co" | "hf.co") => Hub::HuggingFace,
            Some("modelscope.cn" | "www.modelscope.cn") => Hub::ModelScope,
            _ => Hub::Url(url.to_owned()),
        })
    }
}

impl Hub {
    /// The environment variable that the hub's own clients read its token from.
    pub fn token_variable(&self) -> Option<&'static str> {
        match self {
            Hub::HuggingFace => Some("HF_TOKEN"),
            Hub::ModelScope => Some("MODELSCOPE_API_TOKEN"),
            Hub::Url(_) => None,
        }
    }
}

impl Settings {
    /// Reads `settings.toml` in `root` if it is there, and the environment.
    ///
    /// # Errors
    /// When the file is broken, or a value is none that can be.
    pub fn read(root: &Path) -> Result<Settings, SourceError> {
        Settings::read_with(root, |name| std::env::var(name).ok())
    }

    /// The environment variable with the token for a hub. One that neither has its own nor stands in the file gets none: a
    /// token is for one hub.
    pub fn token_variable(&self, hub: &Hub) -> Option<&str> {
        let is_this = |of: &str| of.parse::<Hub>().is_ok_and(|of| of == *hub);
        let named = || self.tokens.iter().find(|(of, _)| is_this(of)).map(|(_, variable)| variable.as_str());
        hub.token_variable().or_else(named)
    }

    /// What an alias stands for; any other text stands for itself.
    fn meaning<'a>(&'a self, text: &'a str) -> Result<&'a str, SourceError> {
        let mut meaning = text;
        for _ in 0..=MAX_ALIAS_STEPS {
            match self.aliases.get(meaning) {
                Some(next) => meaning = next,
                None => return Ok(meaning),
            }
        }
        Err(SourceError::AliasLoop(text.to_owned()))
    }

    fn read_with(root: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Settings, SourceError> {
        let path = root.join("settings.toml");
        let refused = |reason: String| SourceError::Settings { path: path.clone(), reason };
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => {
                let read = file.take(MAX_SETTINGS_BYTES + 1).read_to_string(&mut text);
                read.map_err(|error| refused(error.to_string()))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused(error.to_string())),
        }
        if text.len() as u64 > MAX_SETTINGS_BYTES {
            return Err(refused(format!("it has more than {MAX_SETTINGS_BYTES} bytes")));
        }
        let file: SettingsFile = toml::from_str(&text).map_err(|error| refused(error.to_string()))?;
        let is_set = |name| {
            let value = variable(name).unwrap_or_default().to_ascii_lowercase();
            matches!(value.as_str(), "1" | "true" | "yes" | "on")
        };
        let hub = variable("WEN_DEFAULT_HUB").filter(|hub| !hub.is_empty()).or(file.hub);
        Ok(Settings {
            hub: hub.map_or(Ok(Hub::default()), |hub| hub.parse())?,
            aliases: file.aliases,
            tokens: file.tokens,
            offline: file.offline || is_set("WEN_OFFLINE") || is_set("HF_HUB_OFFLINE"),
        })
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
    tokens: BTreeMap<String, String>,
    #[serde(default)]
    offline: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Repo;

    fn settings(hub: Hub) -> Settings {
        let aliases = [("small", "hf:Qwen/Qwen3-0.6B@main"), ("tiny", "small"), ("a", "b"), ("b", "a")];
        let aliases = aliases.map(|(name, meaning)| (name.to_owned(), meaning.to_owned())).into();
        Settings { hub, aliases, ..Settings::default() }
    }

    /// Hub, repository, revision and file as one text.
    fn read(text: &str) -> Result<String, SourceError> {
        Source::parse(text, &settings(Hub::ModelScope)).map(|source| match source {
            Source::Path(path) => format!("path {}", path.display()),
            Source::Hub(HubSource { hub, kind, repo, revision, file, .. }) => {
                let repo = Repo { kind, id: repo };
                let revision = revision.map(|revision| format!("@{revision}")).unwrap_or_default();
                let file = file.map(|file| format!(" {file}")).unwrap_or_default();
                format!("{hub} {repo}{revision}{file}")
            }
        })
    }

    #[test]
    fn what_a_person_writes_means_one_thing() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        for (text, meaning) in [
            ("Qwen/Qwen3-0.6B", "ms Qwen/Qwen3-0.6B"),
            ("hf:Qwen/Qwen3-0.6B", "hf Qwen/Qwen3-0.6B"),
            ("ms:Qwen/Qwen3-0.6B@v1.0", "ms Qwen/Qwen3-0.6B@v1.0"),
            (&format!("hf:a/b@{commit}"), &format!("hf a/b@{commit}")),
            ("hf:a/b@refs/pr/1", "hf a/b@refs/pr/1"),
            ("hf:Qwen/Qwen3-8B-GGUF:Q4_K_M", "hf Qwen/Qwen3-8B-GGUF Q4_K_M"),
            ("hf:a/b@main:sub dir/x.gguf", "hf a/b@main sub dir/x.gguf"),
            ("hf:datasets/a/b", "hf datasets/a/b"),
            ("datasets/b", "ms datasets/b"),
            ("https://wen.example/a/b", "https://wen.example a/b"),
            ("http://127.0.0.1:8080/a/b@v1:x.gguf", "http://127.0.0.1:8080 a/b@v1 x.gguf"),
            ("https://huggingface.co/a/b/", "hf a/b"),
            ("https://huggingface.co/datasets/a/b", "hf datasets/a/b"),
            ("https://huggingface.co/a/b/tree/v2", "hf a/b@v2"),
            ("https://huggingface.co/a/b/blob/main/x/y.gguf", "hf a/b@main x/y.gguf"),
            ("https://www.modelscope.cn/models/a/b", "ms a/b"),
            ("https://modelscope.cn/models/a/b/file/view/master/c.json", "ms a/b@master c.json"),
            ("small", "hf Qwen/Qwen3-0.6B@main"),
            ("tiny", "hf Qwen/Qwen3-0.6B@main"),
            ("src", "path src"),
            ("./src", "path ./src"),
        ] {
            assert_eq!(read(text).unwrap(), meaning, "{text}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused_with_a_reason() {
        let long = "x".repeat(5_000);
        for (text, why) in [
            ("", "there is no"),
            ("./nowhere", "there is no ./nowhere"),
            ("models/x.gguf", "there is no models/x.gguf"),
            ("Qwen3-0.6B", "write owner/name"),
            ("a/b/c", "only ASCII letters"),
            ("x/../b", "only ASCII letters"),
            ("hf:a/b@", "it is empty"),
            ("hf:a/b:../x", "`.` and `..`"),
            ("hf:a/b:", "it is empty"),
            ("hf:a/b@..", "its parts must not"),
            ("a", "leads to itself"),
            ("https://host", "write https://host/owner/name"),
            ("https:///a/b", "the host is none"),
            ("https://huggingface.co@evil.example/a/b", "the host is none"),
            ("https://user:secret@host/a/b", "the host is none"),
            ("https://host/a/b?x=y", "characters"),
            ("https://host/a%2f..%2fb/c", "characters"),
            ("ftp://host/a/b", "neither https"),
            ("file:///etc/passwd", "neither https"),
            (&long, "5000 bytes is too long"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn the_environment_counts_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let nothing = |_: &str| None;
        assert_eq!(Settings::read_with(dir.path(), nothing).unwrap(), Settings::default());
        let text = "hub = 'ms'\noffline = true\n[aliases]\nq = 'Qwen/Qwen3-0.6B'\n\
            [tokens]\n'https://wen.example/' = 'WEN_TOKEN'\n";
        std::fs::write(dir.path().join("settings.toml"), text).unwrap();
        let read = Settings::read_with(dir.path(), nothing).unwrap();
        assert_eq!((&read.hub, read.offline), (&Hub::ModelScope, true));
        assert_eq!(read.aliases["q"], "Qwen/Qwen3-0.6B");
        for (hub, variable) in [
            ("hf", Some("HF_TOKEN")),
            ("https://wen.example", Some("WEN_TOKEN")),
            ("https://other.example", None),
        ] {
            assert_eq!(read.token_variable(&hub.parse().unwrap()), variable, "{hub}");
        }
        let variable = |name: &str| (name == "WEN_DEFAULT_HUB").then(|| "https://wen.example/".to_owned());
        let read = Settings::read_with(dir.path(), variable).unwrap();
        assert_eq!(read.hub, Hub::Url("https://wen.example".to_owned()));
        for (text, why) in
            [("hub = 'x'", "neither https"), ("hubs = 'ms'", "unknown field"), ("=", "settings.toml")]
        {
            std::fs::write(dir.path().join("settings.toml"), text).unwrap();
            let error = Settings::read_with(dir.path(), nothing).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
