//! `POST /v1/load_lora_adapter` and `POST /v1/unload_lora_adapter`, as vLLM has them: adapters that come and go while the
//! server runs.
//!
//! Both are off unless the operator has named a directory (`--adapter-dir`); nothing outside it is read.

use crate::error::{ApiError, ErrorBody, quoted};
use crate::json::Json;
use crate::state::{App, Served};
use axum::extract::State;
use engine::{AdapterName, LoadAdapterError};
use models::Adapter;
use models::adapter::{AdapterError, CONFIG_FILE, WEIGHTS_FILE};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use utoipa::ToSchema;

/// An adapter to load.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct LoadAdapterRequest {
    /// Its name: requests use it as `model:name`, or alone. Letters, digits, `-`, `_`, `.` and `/`.
    pub lora_name: String,
    /// Its PEFT directory, within the one that the operator has named; relative paths begin there.
    pub lora_path: String,
    /// Whether it takes the place of a loaded adapter of that name. Requests that run keep the old one.
    #[schema(default = false)]
    pub load_inplace: Option<bool>,
    /// The model that it is for, where several are served.
    pub model: Option<String>,
}

/// An adapter to unload.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct UnloadAdapterRequest {
    /// Its name.
    pub lora_name: String,
    /// A number that vLLM knows it by; it has no effect.
    pub lora_int_id: Option<i64>,
    /// The model that it is for, where several are served.
    pub model: Option<String>,
}

/// Loads an adapter from the operator's directory.
#[utoipa::path(
    post,
    path = "/v1/load_lora_adapter",
    tag = "models",
    security(("api_key" = [])),
    request_body = LoadAdapterRequest,
    responses(
        (status = 200, description = "It is loaded", body = String, content_type = "text/plain"),
        (status = "default", description = "An error", body = ErrorBody),
    )
)]
pub async fn load(
    State(app): State<Arc<App>>,
    Json(request): Json<LoadAdapterRequest>,
) -> Result<String, ApiError> {
    let dir = app.adapter_dir.clone().ok_or(ApiError::FixedAdapters)?;
    let name: AdapterName = request
        .lora_name
        .parse()
        .map_err(|error: engine::AdapterNameError| ApiError::invalid("lora_name", error.to_string()))?;
    let served = base(&app, request.model.as_deref())?;
    let (model, loaded) = (served.id.clone(), name.clone());
    app.prepare(move || load_from(&dir, name, &request, &served)).await?;
    tracing::info!(adapter = %loaded, model, "adapter loaded");
    Ok(format!("Success: LoRA adapter '{loaded}' added successfully."))
}

/// Unloads an adapter. Requests that go through it end as they would have.
#[utoipa::path(
    post,
    path = "/v1/unload_lora_adapter",
    tag = "models",
    security(("api_key" = [])),
    request_body = UnloadAdapterRequest,
    responses(
        (status = 200, description = "No further request finds it", body = String, content_type = "text/plain"),
        (status = "default", description = "An error", body = ErrorBody),
    )
)]
pub async fn unload(
    State(app): State<Arc<App>>,
    Json(request): Json<UnloadAdapterRequest>,
) -> Result<String, ApiError> {
    if app.adapter_dir.is_none() {
        return Err(ApiError::FixedAdapters);
    }
    let served = base(&app, request.model.as_deref())?;
    let name = request.lora_name;
    if !served.engine.unload_adapter(&name) {
        let known: Vec<String> = served.engine.adapters().iter().map(|a| a.name().to_string()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(ApiError::UnknownAdapter { name: quoted(&name), model: served.id.clone(), known });
    }
    tracing::info!(adapter = name, model = served.id, "adapter unloaded");
    Ok(format!("Success: LoRA adapter '{name}' removed successfully."))
}

/// The model that an adapter is for: the one named, or the only one.
fn base(app: &App, name: Option<&str>) -> Result<Arc<Served>, ApiError> {
    match (name, &app.listed[..]) {
        (Some(name), _) => match app.model(name)? {
            served if served.adapter.is_some() => {
                Err(ApiError::invalid("model", format!("`{}` is an adapter itself", served.id)))
            }
            served => Ok(served),
        },
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(ApiError::invalid("model", "this server has no models")),
        (None, _) => {
            Err(ApiError::invalid("model", "this server has several models; say which the adapter is for"))
        }
    }
}

fn load_from(
    dir: &Path,
    name: AdapterName,
    request: &LoadAdapterRequest,
    served: &Served,
) -> Result<(), ApiError> {
    let path = confined(dir, &request.lora_path)?;
    // the operator's own paths are nobody else's business
    let dir_name = dir.display().to_string();
    let within = |error: AdapterError| {
        error.to_string().replace(&format!("{dir_name}/"), "").replace(&dir_name, "the directory of adapters")
    };
    let adapter = Adapter::read_limited(&path, served.engine.adapter_file_bytes())
        .map_err(|error| ApiError::invalid("lora_path", within(error)))?;
    match served.engine.load_adapter(name, &adapter, request.load_inplace.unwrap_or(false)) {
        Ok(_) => Ok(()),
        Err(error @ LoadAdapterError::Exists(_)) => Err(ApiError::invalid("lora_name", error.to_string())),
        Err(error) => Err(ApiError::invalid("lora_path", error.to_string())),
    }
}

/// The directory `path` within `dir`, which has no links in it. What lies outside, also by a link, is as if it were not
/// there.
fn confined(dir: &Path, path: &str) -> Result<PathBuf, ApiError> {
    let absent = || {
        let path = quoted(path);
        ApiError::invalid(
            "lora_path",
            format!("there is no adapter `{path}` where this server loads adapters from"),
        )
    };
    let found = dir.join(path).canonicalize().map_err(|_| absent())?;
    let files = [CONFIG_FILE, WEIGHTS_FILE].map(|file| found.join(file).canonicalize());
    let inside = files.iter().flatten().chain([&found]).all(|path| path.starts_with(dir));
    if inside { Ok(found) } else { Err(absent()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_directory_is_found() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().canonicalize().expect("its path").join("adapters");
        for path in ["adapters/a", "adapters/b", "secret"] {
            std::fs::create_dir_all(root.path().join(path)).expect("a directory");
        }
        std::fs::write(root.path().join("secret").join(WEIGHTS_FILE), "x").expect("a file");
        let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, dir.join(at)).expect("a link");
        link("../secret", "link");
        link("a", "inside");
        link("../../secret/adapter_model.safetensors", "b/adapter_model.safetensors");
        let absolute = dir.join("a").display().to_string();
        for (path, found) in [
            ("a", Some("a")),
            ("a/../a/", Some("a")),
            ("inside", Some("a")),
            (&absolute, Some("a")),
            ("../secret", None),
            ("/etc", None),
            ("link", None),
            ("b", None),
            ("nothing", None),
            ("a\0", None),
        ] {
            assert_eq!(confined(&dir, path).ok(), found.map(|found| dir.join(found)), "{path:?}");
        }
    }
}
