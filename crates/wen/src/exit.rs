//! How the program ends, and how it says why.

use crate::loading::{NoSuchModel, NotForChat};
use engine::{LoadAdapterError, StartError, SubmitError};
use hub::pull::PullError;
use hub::push::PushError;
use hub::remote::RemoteError;
use hub::source::SourceError;
use hub::{NameError, StoreError};
use models::ModelError;
use models::adapter::AdapterError;
use models::checkpoint::{CheckpointError, FileError};
use models::export::ExportError;
use server::ServerError;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

/// What the exit code says. Scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// Anything that has no code of its own.
    Failure = 1,
    /// Flags or arguments that cannot be.
    Usage = 2,
    /// No model that can be used.
    Model = 3,
    /// No address to listen on.
    Address = 4,
    /// The prompt does not fit.
    TooLong = 5,
    /// A hub that does not answer, or refuses.
    Hub = 6,
    /// Ctrl-C; as shells report it.
    Interrupted = 130,
}

impl Exit {
    /// All, in the order of help.
    pub const ALL: [Exit; 8] = [
        Exit::Success,
        Exit::Failure,
        Exit::Usage,
        Exit::Model,
        Exit::Address,
        Exit::TooLong,
        Exit::Hub,
        Exit::Interrupted,
    ];

    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The line in help.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Success => "done",
            Exit::Failure => "it failed for another reason than these",
            Exit::Usage => "a flag or an argument is wrong",
            Exit::Model => "the model or the adapter cannot be loaded, or is not made for this",
            Exit::Address => "the address cannot be listened on, for example because the port is in use",
            Exit::TooLong => "the prompt does not fit into the context or the cache",
            Exit::Hub => "the hub cannot be reached, refuses, or sends what it should not",
            Exit::Interrupted => "interrupted",
        }
    }

    /// What an error means for the exit code: decided by the first of its causes that has one.
    fn of(error: &anyhow::Error) -> Exit {
        error.chain().find_map(Exit::of_cause).unwrap_or(Exit::Failure)
    }

    fn of_cause(cause: &(dyn Error + 'static)) -> Option<Exit> {
        if cause.is::<Usage>() {
            return Some(Exit::Usage);
        }
        if cause.is::<Interrupted>() {
            return Some(Exit::Interrupted);
        }
        if cause.is::<NoSuchModel>()
            || cause.is::<NotForChat>()
            || cause.is::<ModelError>()
            || cause.is::<CheckpointError>()
            || cause.is::<AdapterError>()
            || cause.is::<LoadAdapterError>()
        {
            return Some(Exit::Model);
        }
        if cause.is::<NameError>() || cause.is::<SourceError>() {
            return Some(Exit::Usage);
        }
        if let Some(error) = cause.downcast_ref::<StoreError>() {
            return Exit::of_store(error);
        }
        if let Some(error) = cause.downcast_ref::<PullError>() {
            return match error {
                PullError::Remote(error) => Exit::of_hub(error),
                PullError::Store(error) => Exit::of_store(error),
                PullError::Pattern { .. } => Some(Exit::Usage),
                PullError::NoMatch { .. } | PullError::NoModel { .. } => Some(Exit::Model),
                PullError::NoFile { .. } | PullError::Ambiguous(_) => Some(Exit::Model),
                PullError::Content { .. } => Some(Exit::Hub),
            };
        }
        if let Some(error) = cause.downcast_ref::<PushError>() {
            return match error {
                PushError::Remote(error) => Exit::of_hub(error),
                PushError::Store(error) => Exit::of_store(error),
                PushError::Nothing => Some(Exit::Usage),
                PushError::TooMuch { .. } | PushError::NotLarge { .. } => Some(Exit::Hub),
            };
        }
        if let Some(error) = cause.downcast_ref::<ExportError>() {
            return match error {
                ExportError::Stopped => Some(Exit::Interrupted),
                ExportError::Room { .. } | ExportError::File(FileError::Write { .. }) => None,
                _ => Some(Exit::Model),
            };
        }
        if let Some(error) = cause.downcast_ref::<StartError>() {
            return match error {
                StartError::DraftKind(_) | StartError::DraftVocabulary { .. } => Some(Exit::Model),
                StartError::System(_) => None,
            };
        }
        if let Some(error) = cause.downcast_ref::<ServerError>() {
            return match error {
                ServerError::AddressInUse { .. } | ServerError::Listen { .. } => Some(Exit::Address),
                _ => Some(Exit::Usage),
            };
        }
        match cause.downcast_ref::<SubmitError>()? {
            SubmitError::TooLong { .. } | SubmitError::NeverFits { .. } => Some(Exit::TooLong),
            SubmitError::Invalid { .. } => Some(Exit::Usage),
            SubmitError::QueueFull { .. } | SubmitError::ShuttingDown => None,
        }
    }
}

impl Exit {
    fn of_store(error: &StoreError) -> Option<Exit> {
        match error {
            StoreError::NoRepo(_) | StoreError::NoRevision { .. } => Some(Exit::Model),
            StoreError::RepoExists(_) | StoreError::Collision { .. } => Some(Exit::Usage),
            StoreError::RefExists { .. } | StoreError::MainBranch(_) => Some(Exit::Usage),
            _ => None,
        }
    }

    fn of_hub(error: &RemoteError) -> Option<Exit> {
        match error {
            RemoteError::Address { .. } | RemoteError::Token | RemoteError::Unsupported { .. } => {
                Some(Exit::Usage)
            }
            RemoteError::NoRepo { .. } | RemoteError::NoRevision { .. } => Some(Exit::Model),
            RemoteError::Store(error) => Exit::of_store(error),
            _ => Some(Exit::Hub),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// A flag or an argument that cannot be; the message says which and what can.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Somebody pressed Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Says on standard error what went wrong and returns the exit code for it. A closed pipe is no error: whoever
/// read the output has had enough.
pub fn report(error: &anyhow::Error) -> Exit {
    if error.chain().any(is_closed_pipe) {
        return Exit::Success;
    }
    let exit = Exit::of(error);
    if exit != Exit::Interrupted {
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_all(message(error).as_bytes());
    }
    exit
}

fn is_closed_pipe(cause: &(dyn Error + 'static)) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The error, its causes, and what to do where that isn't said yet.
pub fn message(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    let mut text = format!("error: {said}\n");
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // many messages quote their cause
        if !said.contains(&cause) {
            text.push_str(&format!("  because: {cause}\n"));
            said = cause;
        }
    }
    if let Some(hint) = error.chain().find_map(hint) {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    text
}

fn hint(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    if cause.is::<NoSuchModel>() {
        return Some(
            "give the path of a checkpoint directory or of a GGUF file, or the name of a model of a hub: owner/name; `wen-nano` is \
             built in",
        );
    }
    if let Some(StoreError::NoRepo(_)) = cause.downcast_ref() {
        return Some("`wen models` lists what is stored, `wen pull` gets a model");
    }
    if let Some(StoreError::RefExists { .. }) = cause.downcast_ref() {
        return Some("--force moves a tag");
    }
    let of_hub = match (cause.downcast_ref(), cause.downcast_ref()) {
        (Some(PullError::Remote(error)), _) | (_, Some(PushError::Remote(error))) => Some(error),
        _ => cause.downcast_ref(),
    };
    if let Some(hint) = of_hub.and_then(remote_hint) {
        return Some(hint);
    }
    if cause.is::<NotForChat>() {
        return Some("`wen serve` offers it over HTTP: /v1/completions, /v1/embeddings, /v1/rerank");
    }
    if let Some(ModelError::NoTokenizer(_)) = cause.downcast_ref() {
        return Some("`wen inspect` and `wen logits` work without a tokenizer");
    }
    if let Some(SubmitError::TooLong { .. }) = cause.downcast_ref() {
        return Some("shorten the prompt (in a chat: /clear), or raise --context if the model allows more");
    }
    None
}

/// What to do about a hub, or what lies between.
fn remote_hint(error: &RemoteError) -> Option<&'static str> {
    match error {
        RemoteError::Unreachable { .. } => {
            Some("check the address, the network, and the proxy if there is one (HTTPS_PROXY, NO_PROXY)")
        }
        RemoteError::Busy { .. } | RemoteError::Truncated { .. } => {
            Some("try again later; what has come is kept")
        }
        RemoteError::TooLarge { .. }
        | RemoteError::Malformed { .. }
        | RemoteError::Name { .. }
        | RemoteError::Length { .. }
        | RemoteError::TooLong { .. }
        | RemoteError::Redirect { .. }
        | RemoteError::Redirects(_) => Some(
            "the hub, or a proxy in between, is broken or is none: check the address, or tell who runs it",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn causes_decide_the_code_whatever_stands_around_them() {
        let too_long = SubmitError::TooLong { prompt: 9, answer: 1, context: 8 };
        let invalid = SubmitError::Invalid { field: "top_p", message: "2 is over 1".to_owned() };
        for (error, expected) in [
            (anyhow::anyhow!("x"), Exit::Failure),
            (Usage("x".to_owned()).into(), Exit::Usage),
            (Interrupted.into(), Exit::Interrupted),
            (NoSuchModel("m".into()).into(), Exit::Model),
            (CheckpointError::NoWeights("m".into()).into(), Exit::Model),
            (too_long.into(), Exit::TooLong),
            (invalid.into(), Exit::Usage),
            (SubmitError::QueueFull { waiting: 1, tokens: 9, retry_after: 1 }.into(), Exit::Failure),
            (ServerError::Options("x".to_owned()).into(), Exit::Usage),
        ] {
            assert_eq!(Exit::of(&error), expected, "{error}");
            assert_eq!(Exit::of(&Err::<(), _>(error).context("around").unwrap_err()), expected);
        }
    }

    #[test]
    fn a_quoted_cause_is_not_said_twice() {
        let inner = io::Error::other("the disk is full");
        let twice =
            anyhow::Error::from(io::Error::other("the disk is full")).context("writing: the disk is full");
        assert_eq!(message(&twice), "error: writing: the disk is full\n");
        let once = anyhow::Error::from(inner).context("writing failed");
        assert_eq!(message(&once), "error: writing failed\n  because: the disk is full\n");
    }
}
