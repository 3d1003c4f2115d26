//! Names that cannot be wrong: once parsed, any of them may become part of a path.

use crate::GitDigest;
use crate::limits::{MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_PATH_DEPTH, MAX_PATH_PART_BYTES, MAX_REF_BYTES};
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepoKind {
    /// Weights, adapters, tokenizers.
    Model,
    /// Examples.
    Dataset,
}

impl RepoKind {
    /// Both.
    pub const ALL: [RepoKind; 2] = [RepoKind::Model, RepoKind::Dataset];

    /// `models` or `datasets`: its folder in the store, and its part of URLs.
    pub fn plural(self) -> &'static str {
        match self {
            RepoKind::Model => "models",
            RepoKind::Dataset => "datasets",
        }
    }

    /// The kind that `plural` is the name of.
    pub fn of_plural(plural: &str) -> Option<RepoKind> {
        RepoKind::ALL.into_iter().find(|kind| kind.plural() == plural)
    }
}

impl fmt::Display for RepoKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RepoKind::Model => "model",
            RepoKind::Dataset => "dataset",
        })
    }
}

/// `owner/name`, by Hugging Face's rules.
///
/// Each part has ASCII letters, digits, `-`, `_` and `.`, begins and ends with a letter, a digit or `_`, has no `--`
/// or `..`, and at most 96 bytes; the name does not end in `.git`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RepoId {
    text: String,
    slash: usize,
}

/// A repository: its kind and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repo {
    /// What it holds.
    pub kind: RepoKind,
    /// What it is called.
    pub id: RepoId,
}

/// The name of a branch or a tag, by git's rules: parts between `/`, without `..`, `@{`, spaces, control characters or
/// any of `~^:?*[\`; it does not look like a commit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RefName(String);

/// A commit: the digest of what it holds, or the id that it has in the hub it came from. 40 lowercase hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommitId(pub GitDigest);

/// A branch, a tag or a commit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// By name.
    Ref(RefName),
    /// By id.
    Commit(CommitId),
}

/// A file's path inside a repository: parts between `/`, none of which can climb out or be mistaken for another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FilePath(String);

/// Text that is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be the {what}: {why}", .text.escape_debug())]
pub struct NameError {
    /// What it should be.
    pub what: &'static str,
    /// What was given, cut when it is long.
    pub text: String,
    /// Which rule it breaks.
    pub why: &'static str,
}

/// Characters of a refused name that a message quotes.
const QUOTED_CHARS: usize = 120;

impl NameError {
    fn new(what: &'static str, text: &str, why: &'static str) -> NameError {
        NameError { what, text: text.chars().take(QUOTED_CHARS).collect(), why }
    }
}

impl RepoId {
    /// The repository of `owner` called `name`.
    ///
    /// # Errors
    /// When either breaks a rule.
    pub fn new(owner: &str, name: &str) -> Result<RepoId, NameError> {
        check_owner_or_name("owner of a repository", owner)?;
        check_owner_or_name("name of a repository", name)?;
        if name.to_ascii_lowercase().ends_with(".git") {
            return Err(NameError::new("name of a repository", name, "it ends in .git"));
        }
        Ok(RepoId { text: format!("{owner}/{name}"), slash: owner.len() })
    }

    /// Who it belongs to.
    pub fn owner(&self) -> &str {
        &self.text[..self.slash]
    }

    /// What it is called there.
    pub fn name(&self) -> &str {
        &self.text[self.slash + 1..]
    }

    /// `owner/name`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn check_owner_or_name(what: &'static str, text: &str) -> Result<(), NameError> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = text.as_bytes();
    let why = match (bytes.first(), bytes.last()) {
        (None, _) | (_, None) => "it is empty",
        _ if bytes.len() > MAX_NAME_BYTES => "it has more than 96 bytes",
        _ if !bytes.iter().all(|&b| is_word(b) || b == b'-' || b == b'.') => {
            "only ASCII letters, digits, `-`, `_` and `.` are allowed"
        }
        (Some(&first), Some(&last)) if !is_word(first) || !is_word(last) => {
            "it must begin and end with a letter, a digit or `_`"
        }
        _ if text.contains("--") || text.contains("..") => "`--` and `..` are not allowed",
        _ => return Ok(()),
    };
    Err(NameError::new(what, text, why))
}

impl FromStr for RepoId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<RepoId, NameError> {
        match text.split_once('/') {
            Some((owner, name)) => RepoId::new(owner, name),
            None => Err(NameError::new("name of a repository", text, "write owner/name")),
        }
    }
}

impl Repo {
    /// The model `id`.
    pub fn model(id: RepoId) -> Repo {
        Repo { kind: RepoKind::Model, id }
    }

    /// The dataset `id`.
    pub fn dataset(id: RepoId) -> Repo {
        Repo { kind: RepoKind::Dataset, id }
    }
}

impl fmt::Display for Repo {
    /// `owner/name`, or `datasets/owner/name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RepoKind::Model => write!(f, "{}", self.id),
            RepoKind::Dataset => write!(f, "datasets/{}", self.id),
        }
    }
}

impl RefName {
    /// `main`: where a repository begins.
    pub fn main() -> RefName {
        RefName("main".to_owned())
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RefName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<RefName, NameError> {
        let bad_part = |part: &str| {
            part.is_empty() || part.starts_with(['.', '-']) || part.ends_with('.') || part.ends_with(".lock")
        };
        let bad_char = |c: char| !c.is_ascii_graphic() || "~^:?*[\\".contains(c);
        let why = if text.is_empty() {
            "it is empty"
        } else if text.len() > MAX_REF_BYTES {
            "it has more than 200 bytes"
        } else if text.chars().any(bad_char) {
            "only printable ASCII is allowed, without spaces and ~^:?*[\\"
        } else if text.split('/').any(bad_part) {
            "its parts must not be empty, begin with `.` or `-`, or end in `.` or `.lock`"
        } else if text.contains("..") || text.contains("@{") || text == "@" {
            "`..`, `@{` and `@` are not allowed"
        } else if text.parse::<GitDigest>().is_ok() {
            "it looks like a commit"
        } else {
            return Ok(RefName(text.to_owned()));
        };
        Err(NameError::new("name of a branch or tag", text, why))
    }
}

impl FromStr for CommitId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<CommitId, NameError> {
        let error = |_| NameError::new("id of a commit", text, "it has 40 hexadecimal digits");
        text.parse().map(CommitId).map_err(error)
    }
}

impl Revision {
    /// The branch `main`.
    pub fn main() -> Revision {
        Revision::Ref(RefName::main())
    }
}

impl FromStr for Revision {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Revision, NameError> {
        match text.parse() {
            Ok(id) => Ok(Revision::Commit(id)),
            Err(_) => text.parse().map(Revision::Ref),
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Revision::Ref(name) => name.fmt(f),
            Revision::Commit(id) => id.fmt(f),
        }
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FilePath {
    /// As written, with `/` between its parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts: folders, then the file.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The folders that it lies in, the outermost first.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }

    /// Whether it lies in `folder` or in a folder inside it.
    pub fn is_inside(&self, folder: &FilePath) -> bool {
        self.0.strip_prefix(&folder.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl Borrow<str> for FilePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for FilePath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<FilePath, NameError> {
        let error = |why| Err(NameError::new("path of a file", text, why));
        if text.is_empty() {
            return error("it is empty");
        }
        if text.len() > MAX_PATH_BYTES {
            return error("it has more than 1,024 bytes");
        }
        if text.chars().any(is_deceptive) {
            return error("it has `\\`, `:`, or a character that is invisible or looks like a separator");
        }
        if text.split('/').count() > MAX_PATH_DEPTH + 1 {
            return error("more than 32 folders lie one inside the other");
        }
        match text.split('/').find_map(bad_part) {
            Some(why) => error(why),
            None => Ok(FilePath(text.to_owned())),
        }
    }
}

fn bad_part(part: &str) -> Option<&'static str> {
    if part.is_empty() {
        return Some("a part between two `/` is empty");
    }
    if part == "." || part == ".." {
        return Some("`.` and `..` are not allowed");
    }
    if part.len() > MAX_PATH_PART_BYTES {
        return Some("a part has more than 255 bytes");
    }
    if part.eq_ignore_ascii_case(".git") {
        return Some("`.git` is not allowed");
    }
    // file systems of Windows drop them, so that `..` could be made of `.. `
    if part.starts_with(' ') || part.ends_with([' ', '.']) {
        return Some("a part begins with a space, or ends with a space or a dot");
    }
    None
}

/// Whether a character can hide, or be taken for `/`, `\`, `:` or `.`.
fn is_deceptive(c: char) -> bool {
    match c {
        '\\' | ':' => true,
        // what compatibility normalisation or a reader takes for a dot, a slash, a backslash or a colon
        '\u{2024}'..='\u{2026}'
        | '\u{2044}'
        | '\u{2215}'
        | '\u{2216}'
        | '\u{29f5}'
        | '\u{29f8}'
        | '\u{29f9}' => true,
        '\u{ff0e}' | '\u{ff0f}' | '\u{ff3c}' | '\u{fe68}' | '\u{fe52}' | '\u{ff1a}' | '\u{fe55}' => true,
        '\u{2236}' | '\u{a789}' | '\u{1735}' | '\u{2571}' | '\u{2572}' | '\u{27cb}' | '\u{27cd}' => true,
        // no width: soft hyphen, joiners, marks and overrides of direction, variation selectors, tags, fillers
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => true,
        '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' => true,
        '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' => true,
        '\u{e0000}'..='\u{e0fff}' => true,
        // spaces other than the one that everybody sees
        c => c.is_control() || (c.is_whitespace() && c != ' '),
    }
}

macro_rules! as_text {
    ($name:ident, $text:tt) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.$text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.$text, f)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<$name, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.$text
            }
        }
    };
}

as_text!(RepoId, text);
as_text!(FilePath, 0);
as_text!(RefName, 0);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    #[test]
    fn repository_names_are_those_of_hugging_face() {
        let long = "x".repeat(96);
        for name in
            ["Qwen/Qwen3-0.6B", "a/b", "_a/b_", "0-1.2_3/x", &format!("{long}/{long}"), "a.git/b", "con/nul"]
        {
            let id: RepoId = name.parse().unwrap();
            assert_eq!((id.as_str(), format!("{}/{}", id.owner(), id.name())), (name, name.to_owned()));
        }
        let longer = format!("a/{}", "x".repeat(97));
        for name in [
            "",
            "a",
            "/",
            "a/",
            "/a",
            "a//b",
            "a/b/c",
            "../b",
            "a/..",
            "./b",
            "a/.",
            "a/.hidden",
            "-a/b",
            "a/b-",
            "a/b.",
            "a/b--c",
            "a/b..c",
            "a/b.git",
            "a/B.GIT",
            "a/b c",
            "a/b\n",
            "a/b\0",
            "a\\b/c",
            "a/b\\c",
            "a:b/c",
            "é/b",
            "a/名",
            "a/b\u{200b}",
            "a\u{2215}b/c",
            "a\u{ff0f}b",
            "a/b%2f",
            "~/b",
            "a/b@c",
            "*/b",
            &longer,
            "/etc/passwd",
        ] {
            assert!(name.parse::<RepoId>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn branches_and_tags_have_names_that_git_would_take() {
        for name in
            ["main", "v1.0", "refs/pr/1", "feature/a-b_c", "0123456789abcdef", "a@b", &"x".repeat(200)]
        {
            assert_eq!(name.parse::<RefName>().unwrap().as_str(), name);
        }
        let commit = "0123456789ABCDEF0123456789abcdef01234567";
        for name in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            ".",
            "..",
            "a..b",
            "../a",
            ".a",
            "a/.b",
            "a.",
            "a.lock",
            "a.lock/b",
            "-a",
            "a b",
            "a~b",
            "a^",
            "a:b",
            "a?",
            "a*",
            "[a",
            "a\\b",
            "@",
            "a@{1}",
            "a\n",
            "a\0",
            "a\u{7f}",
            "名",
            commit,
            &"x".repeat(201),
        ] {
            assert!(name.parse::<RefName>().is_err(), "{name:?}");
        }
        assert_eq!(commit.parse::<Revision>().unwrap().to_string(), commit.to_lowercase());
    }

    #[test]
    fn paths_that_climb_out_hide_or_deceive_are_refused() {
        let (deep, part) = ("x/".repeat(32), "x".repeat(255));
        for name in [
            "config.json",
            "sub dir/file.txt",
            "a/b/c.safetensors",
            ".gitattributes",
            "...x",
            "a..b",
            "名字/模型。txt",
            "ノート.txt",
            "é.txt",
            "emoji 🤖.txt",
            "a~b",
            "%2e%2e/x",
            &format!("{deep}x"),
            &part,
        ] {
            assert_eq!(name.parse::<FilePath>().unwrap().as_str(), name);
        }
        let longer = [format!("{deep}x/x"), format!("{part}x"), "x/".repeat(600)];
        for name in [
            "",
            "/",
            "/x",
            "x/",
            "a//b",
            ".",
            "..",
            "../x",
            "a/../b",
            "a/..",
            "./x",
            "a/./b",
            "..\\x",
            "a\\b",
            "C:x",
            "C:/x",
            "a:b",
            "x\0",
            "x\n",
            "\r",
            "\t",
            "x\u{7f}",
            "x\u{85}",
            ".git",
            ".git/config",
            "a/.GIT/hooks/x",
            " x",
            "x ",
            "a/ /b",
            ".. /x",
            "x.",
            "a/.../b",
            "a\u{2044}b",
            "a\u{2215}b",
            "\u{ff0e}\u{ff0e}/x",
            "a\u{ff0f}b",
            "a\u{ff3c}b",
            "a\u{2216}b",
            "a\u{29f8}b",
            "\u{2024}\u{2024}/x",
            "\u{2025}/x",
            "a\u{200b}b",
            "a\u{202e}txt.exe",
            "\u{feff}x",
            "a\u{ad}b",
            "a\u{a0}b",
            "a\u{3000}b",
            "a\u{2028}b",
            "x\u{fe0f}",
            "a\u{e0041}",
            "a\u{3164}b",
            "a\u{ff1a}b",
            &longer[0],
            &longer[1],
            &longer[2],
        ] {
            let error = name.parse::<FilePath>().map(|_| ()).expect_err(name).to_string();
            assert!(error.chars().all(|c| c == ' ' || !(c.is_whitespace() || c.is_control())), "{error:?}");
        }
    }

    #[test]
    fn a_path_knows_its_folders() {
        let path: FilePath = "a/b/c.txt".parse().unwrap();
        assert_eq!(path.folders().collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!((path.file_name(), path.parts().count()), ("c.txt", 3));
        let inside = |folder: &str| path.is_inside(&folder.parse().unwrap());
        assert!(inside("a") && inside("a/b") && !inside("a/b/c.txt") && !inside("a/b/c") && !inside("b"));
    }

    /// Whether a path stays below the directory that it is joined to.
    fn stays_inside(path: &str) -> bool {
        !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
    }

    proptest! {
        #[test]
        fn whatever_is_a_name_stays_inside(text in r"[a.\-_/\\: @\x00~\PC]{0,12}") {
            if let Ok(path) = text.parse::<FilePath>() {
                prop_assert!(stays_inside(path.as_str()));
                let json = serde_json::to_string(&path).unwrap();
                prop_assert_eq!(serde_json::from_str::<FilePath>(&json).unwrap(), path);
            }
            if let Ok(id) = text.parse::<RepoId>() {
                prop_assert!(stays_inside(id.as_str()));
                prop_assert_eq!(Path::new(id.as_str()).components().count(), 2);
            }
            if let Ok(name) = text.parse::<RefName>() {
                prop_assert!(stays_inside(name.as_str()));
            }
        }
    }
}
