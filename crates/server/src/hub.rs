//! The server as a model hub: Hugging Face's and ModelScope's wire contracts over one store.
//!
//! `huggingface_hub`, `transformers` and `modelscope` work against it when their endpoint variable names this server.
//! What each client sends, and what it looks at in an answer, was read in `huggingface_hub` 1.33 and 2.4 and in
//! `modelscope` 1.34 and 1.40.
//!
//! A request's way: [`admit`] (who asks, in which dialect) → a handler of [`hugging_face`] or [`model_scope`] →
//! [`Hub::view`] (may the caller see the repository) → the store, on a thread where it may block. Files stream in by
//! [`body`] and [`upload`], out by [`blob`]; nothing holds one in memory. Handlers fail with a [`HubError`], which the
//! dialect words on its way out.
//!
//! The two hubs differ in one name: where Hugging Face begins with the branch `main`, ModelScope begins with `master`.
//! A repository has `main`, and ModelScope's side calls it `master`.

pub mod access;
pub mod blob;
pub mod body;
pub mod error;
pub mod hugging_face;
pub mod model_scope;
pub mod request;
pub mod tree;
pub mod upload;
pub mod xet;

pub use error::HubError;

use crate::auth::Access;
use crate::error::ApiError;
use crate::lifecycle::Phase;
use crate::limits::MAX_UPLOADS;
use crate::options::{HubOptions, Timeouts};
use crate::state::App;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::put;
use hub::store::{Commit, NewCommit, Operation};
use hub::{FilePath, RefName, Repo, Store};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who everybody with a key is, until there are users: the owner of repositories that are named without one.
pub const USER: &str = "wen";

/// Owners whose repositories would have the addresses of other routes.
const RESERVED_OWNERS: [&str; 8] = ["api", "datasets", "hub", "models", "openapi", "spaces", "v1", "metrics"];

/// What all requests to the hub share.
pub struct Hub {
    /// Where repositories are.
    pub store: Store,
    /// Whether clients without a key may read what is public.
    pub anonymous: bool,
    /// Who may ask.
    pub access: Arc<Access>,
    /// How long anything may take.
    pub timeouts: Timeouts,
    /// Bytes of a JSON body.
    pub body_bytes: usize,
    /// Slots for uploads: each takes a thread while it runs.
    uploads: Arc<Semaphore>,
    /// Makes the addresses of uploads.
    signer: upload::Signer,
    /// Uploads by Xet.
    xet: xet::Uploads,
}

impl Hub {
    /// The hub that `options` ask for.
    pub fn new(options: HubOptions, access: Arc<Access>, timeouts: Timeouts, body_bytes: usize) -> Hub {
        Hub {
            store: options.store,
            anonymous: options.anonymous,
            access,
            timeouts,
            body_bytes,
            uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
            signer: upload::Signer::random(),
            xet: xet::Uploads::default(),
        }
    }

    /// Room for an upload, for as long as it is held.
    fn upload_slot(&self) -> Result<OwnedSemaphorePermit, HubError> {
        let slot = self.uploads.clone().try_acquire_owned();
        slot.map_err(|_| HubError::Busy("as many uploads run as may at once"))
    }

    /// Runs `work` on a thread where it may wait for the disk. It goes on when the caller has left.
    pub async fn blocking<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Hub) -> Result<T, HubError> + Send + 'static,
    ) -> Result<T, HubError> {
        tokio::task::spawn_blocking(move || work(&self)).await.map_err(HubError::internal)?
    }

    /// Makes a repository that has its first commit, without files: a revision of it can be asked for from now on.
    pub fn create(&self, repo: &Repo, private: bool) -> Result<(), HubError> {
        if RESERVED_OWNERS.contains(&repo.id.owner().to_ascii_lowercase().as_str()) {
            let owner = repo.id.owner();
            return Err(HubError::Invalid(format!(
                "`{owner}` cannot own repositories here; choose another owner"
            )));
        }
        self.store.create(repo, private)?;
        self.commit(repo, &RefName::main(), "initial commit".to_owned(), None, Vec::new())?;
        tracing::info!(%repo, private, "repository created");
        Ok(())
    }

    /// Deletes a repository with all that is in it.
    pub fn remove(&self, repo: &Repo) -> Result<(), HubError> {
        self.store.remove(repo)?;
        tracing::info!(%repo, "repository deleted");
        Ok(())
    }

    /// Keeps a file that came inside a commit.
    pub fn add(&self, path: FilePath, content: Vec<u8>) -> Result<Operation, HubError> {
        Ok(Operation::Add { path, sha256: self.store.put(&mut content.as_slice())?.sha256, lfs: false })
    }

    /// Makes the next commit of a branch that exists.
    pub fn commit(
        &self,
        repo: &Repo,
        branch: &RefName,
        message: String,
        expected_parent: Option<hub::CommitId>,
        operations: Vec<Operation>,
    ) -> Result<Commit, HubError> {
        let branches = self.store.info(repo)?.branches;
        if !branches.contains_key(branch) {
            return Err(HubError::NoRevision {
                repo: repo.to_string(),
                revision: branch.as_str().to_owned(),
            });
        }
        let new = NewCommit { message, author: USER.to_owned(), expected_parent, operations };
        let commit = self.store.commit(repo, branch, new)?;
        tracing::info!(%repo, branch = branch.as_str(), commit = %commit.id, "committed");
        Ok(commit)
    }
}

/// All routes of the hub.
pub fn routes(app: &Arc<App>, hub: &Arc<Hub>) -> Router<Arc<App>> {
    let gate = |fault| from_fn_with_state(Gate { app: app.clone(), hub: hub.clone(), fault }, admit);
    let uploads = Router::new()
        .route(&format!("{}/{{sha256}}", upload::UPLOADS), put(upload::put).post(upload::complete))
        .merge(xet::routes())
        .route_layer(from_fn_with_state(
            Gate { app: app.clone(), hub: hub.clone(), fault: hugging_face::fault },
            answer,
        ));
    Router::new()
        .merge(hugging_face::routes().route_layer(gate(hugging_face::fault)))
        .merge(model_scope::routes().route_layer(gate(model_scope::fault)))
        .merge(uploads)
        .with_state(hub.clone())
}

/// What stands before the routes of a dialect.
#[derive(Clone)]
struct Gate {
    app: Arc<App>,
    hub: Arc<Hub>,
    /// Words an error.
    fault: fn(HubError) -> Response,
}

/// Finds out who asks, and words what goes wrong.
async fn admit(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    match gate.hub.caller(request.method(), request.uri(), request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            answer(State(gate), request, next).await
        }
        Err(error) => (gate.fault)(error),
    }
}

/// Lets a request on while the server takes new ones, and words what goes wrong.
async fn answer(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    if gate.app.lifecycle.phase() != Phase::Serving {
        return (gate.fault)(ApiError::Draining.into());
    }
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<HubError>() {
        Some(error) => (gate.fault)(error),
        None => response,
    }
}
