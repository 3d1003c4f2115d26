//! Why a hub did not give what it was asked for.

use crate::limits::{MAX_QUOTED_CHARS, MAX_REDIRECTS};
use crate::name::{NameError, Revision};
use crate::{Repo, StoreError};
use reqwest::StatusCode;
use std::time::Duration;

/// Why a hub did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address of a hub, or of what it leads to.
    #[error("`{url}` is no address of a hub: {why}")]
    Address {
        /// As written.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A token that a header can't carry.
    #[error("the token has characters that a token does not have; check the environment variable")]
    Token,
    /// Nothing may be asked of the network.
    #[error(
        "{0} was to be asked, and the network must not be used: --offline, WEN_OFFLINE or the settings say so"
    )]
    Offline(String),
    /// The client could not be made: no certificates, say.
    #[error("cannot prepare requests: {}", causes(.0))]
    Client(reqwest::Error),
    /// It could not be reached, or the connection broke.
    #[error("{url} cannot be reached, or broke off: {}", causes(.source))]
    Unreachable {
        /// Its address.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// It is too slow to wait for.
    #[error("{url} sent next to nothing for {} s; a longer --timeout waits longer", .after.as_secs_f32())]
    Stalled {
        /// Its address.
        url: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// It asked to come back later, or failed.
    #[error("{url} answered {status}{}", quoted(.said))]
    Busy {
        /// Its address.
        url: String,
        /// The status.
        status: StatusCode,
        /// What it said.
        said: String,
        /// How long it asked to wait.
        wait: Option<Duration>,
    },
    /// Not without a token.
    #[error(
        "{hub} does not give {repo} to strangers, or doesn't have it: check the name, or put a token into {variable}{}",
        quoted(.said)
    )]
    NeedsToken {
        /// The hub.
        hub: String,
        /// What was asked for.
        repo: Repo,
        /// The variable that a token is read from.
        variable: String,
        /// What it said.
        said: String,
    },
    /// Not with this token.
    #[error(
        "{hub} refuses {repo} with this token: ask for access on its page there, or use a token that may read it{}",
        quoted(.said)
    )]
    Denied {
        /// The hub.
        hub: String,
        /// What was asked for.
        repo: Repo,
        /// What it said.
        said: String,
    },
    /// It doesn't have the repository.
    #[error("{hub} has no {} {}, or does not show it; check the name", .repo.kind, .repo.id)]
    NoRepo {
        /// The hub.
        hub: String,
        /// What was asked for.
        repo: Repo,
    },
    /// It doesn't have the branch, tag or commit.
    #[error("{repo} at {hub} has no revision `{revision}`; leave @{revision} out to take its newest")]
    NoRevision {
        /// The hub.
        hub: String,
        /// The repository.
        repo: Repo,
        /// What was asked for.
        revision: Revision,
    },
    /// It refused in another way.
    #[error("{url} answered {status}{}", quoted(.said))]
    Refused {
        /// Its address.
        url: String,
        /// The status.
        status: StatusCode,
        /// What it said.
        said: String,
    },
    /// A reply over the bound.
    #[error("{url} answered with more than {limit} bytes where it may send no more")]
    TooLarge {
        /// Its address.
        url: String,
        /// The bound.
        limit: usize,
    },
    /// A reply that isn't what it should be.
    #[error("{url} answered what no hub should: {why}")]
    Malformed {
        /// Its address.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// More files than a listing may have.
    #[error(
        "{0} lists more files than can be listed at once; --include cannot help, pull a smaller repository"
    )]
    TooManyFiles(Repo),
    /// A name in a reply that no name can be.
    #[error("{url} answered with a name that cannot be: {source}")]
    Name {
        /// Its address.
        url: String,
        /// Which rule it breaks.
        source: NameError,
    },
    /// A file whose length isn't what was listed or asked for.
    #[error("{url} announces {found} bytes where {expected} were asked for; nothing of it was kept")]
    Length {
        /// Where.
        url: String,
        /// What was asked for, in bytes.
        expected: u64,
        /// What it announces.
        found: String,
    },
    /// A file that went on after its end.
    #[error("{url} sends more than the {expected} bytes that it announced; nothing of it was kept")]
    TooLong {
        /// Where.
        url: String,
        /// What was announced.
        expected: u64,
    },
    /// A file that ended before its end.
    #[error("{url} broke off {left} bytes before the end")]
    Truncated {
        /// Where.
        url: String,
        /// Bytes that are missing.
        left: u64,
    },
    /// It sends only whole files.
    #[error("{0} does not send parts of files")]
    NoRanges(String),
    /// A file that is no longer the one that was listed.
    #[error(
        "{url} has another file than was listed ({what}): it changed while it was downloaded; pull it again"
    )]
    Changed {
        /// Where.
        url: String,
        /// What differs.
        what: String,
    },
    /// A redirect to where none may lead.
    #[error("{from} leads to {to}, and {why}; it is not followed")]
    Redirect {
        /// Where it was met.
        from: String,
        /// Where it leads.
        to: String,
        /// Why not.
        why: &'static str,
    },
    /// Redirects without end.
    #[error("{0} leads on and on: more than {MAX_REDIRECTS} redirects")]
    Redirects(String),
    /// A hub that cannot do what is asked of it.
    #[error("{hub} cannot {what}")]
    Unsupported {
        /// The hub.
        hub: String,
        /// What.
        what: &'static str,
    },
    /// The store failed, or the disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RemoteError {
    /// Whether another try may do better, and how long to wait for it if the hub said so.
    pub(crate) fn again(&self) -> Option<Option<Duration>> {
        match self {
            RemoteError::Unreachable { source, .. } if is_guarded(source) => None,
            RemoteError::Unreachable { .. } | RemoteError::Stalled { .. } | RemoteError::Truncated { .. } => {
                Some(None)
            }
            RemoteError::Busy { wait, .. } => Some(*wait),
            _ => None,
        }
    }
}

/// Whether a request failed because the address must not be asked: another try would find the same.
fn is_guarded(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<super::reach::Forbidden>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error and its causes, since reqwest says only the first. Its address stands elsewhere already.
fn causes(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    causes.dedup();
    match causes.is_empty() {
        true => error.to_string(),
        false => causes.join(": "),
    }
}

/// What a hub said, as the end of a message: nothing that it did not say, no control characters, and not much.
fn quoted(said: &str) -> String {
    let shown: String = said.trim().chars().filter(|c| !c.is_control()).take(MAX_QUOTED_CHARS).collect();
    if shown.is_empty() { shown } else { format!(": {shown}") }
}
