//! Where the store has a model.

use super::PullError;
use super::choose::{matching, models};
use crate::name::Revision;
use crate::source::HubSource;
use crate::store::Commit;
use crate::{FilePath, Repo, Store, StoreError};
use std::path::PathBuf;

/// A model that the store has.
#[derive(Clone, Debug)]
pub struct Found {
    /// The commit.
    pub commit: Commit,
    /// What loaders open: a directory, or a GGUF file in it.
    pub path: PathBuf,
}

/// The model in the store, if it is there. Its repository counts as used.
///
/// # Errors
/// When the store cannot be read, and when one of several models has to be chosen.
pub fn find(store: &Store, source: &HubSource) -> Result<Option<Found>, PullError> {
    let repo = Repo { kind: source.kind, id: source.repo.clone() };
    let revision = source.revision.clone().unwrap_or_else(Revision::main);
    let commit = match store.resolve(&repo, &revision) {
        Ok(commit) => commit,
        Err(StoreError::NoRepo(_) | StoreError::NoRevision { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if source.hub_was_named && commit.upstream.as_ref().is_none_or(|up| up.hub != source.hub.to_string()) {
        // the same name at another hub, or of a model that was made here, is another model; pulling it says so
        return Ok(None);
    }
    let Some(file) = loadable(&commit, source.file.as_deref())? else { return Ok(None) };
    let snapshot = match store.snapshot(&repo, &commit) {
        // content that was lost is pulled again
        Err(StoreError::NoBlob(_)) if commit.upstream.is_some() => return Ok(None),
        snapshot => snapshot?,
    };
    let path = file.map_or_else(|| snapshot.clone(), |file| snapshot.join(file.as_str()));
    Ok(Some(Found { commit, path }))
}

/// What of a commit is loaded: a GGUF file, or all of it. `None` when it isn't there.
fn loadable(commit: &Commit, asked: Option<&str>) -> Result<Option<Option<FilePath>>, PullError> {
    let is = |path: &FilePath, ending| path.as_str().to_ascii_lowercase().ends_with(ending);
    let models = models(commit.files.keys().filter(|path| is(path, ".gguf")));
    let first = |model: &Vec<FilePath>| model.first().cloned();
    // a file that is loaded together with what stands beside it
    let beside = |asked: &str| commit.files.keys().any(|path| path.as_str() == asked && !is(path, ".gguf"));
    if let Some(asked) = asked.filter(|asked| !beside(asked)) {
        return match matching(&models, asked)[..] {
            [one] => Ok(Some(first(one))),
            [] => Ok(None),
            _ => Err(PullError::Ambiguous(super::choose::names(&models))),
        };
    }
    if commit.files.keys().any(|path| is(path, ".safetensors")) {
        return Ok(Some(None));
    }
    match &models[..] {
        [] => Ok(Some(None)),
        [one] => Ok(Some(first(one))),
        many => match matching(many, super::choose::USUAL_QUANTIZATION)[..] {
            [usual] => Ok(Some(first(usual))),
            _ => Err(PullError::Ambiguous(super::choose::names(many))),
        },
    }
}
