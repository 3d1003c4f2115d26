//! `POST /v1/embeddings`.

use super::inputs::{Inputs, tokenize};
use super::prompt::room;
use super::usage::ReadUsage;
use crate::error::{ApiError, ErrorBody};
use crate::generation::{Events, run_all};
use crate::json::Json;
use crate::limits::MAX_EMBEDDING_INPUTS;
use crate::state::{App, Served};
use axum::Extension;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{Event, Origin, Request, Scope, Task};
use models::ModelKind;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Texts to embed.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct EmbeddingsRequest {
    /// The model's id or an alias.
    pub model: String,
    /// A text, texts, a text's tokens, or several texts' tokens.
    #[schema(schema_with = super::inputs::schema)]
    pub input: Inputs<MAX_EMBEDDING_INPUTS>,
    /// How vectors are written.
    pub encoding_format: Option<Encoding>,
    /// Cuts the vectors to their first values and normalises them again.
    #[schema(minimum = 1)]
    pub dimensions: Option<u32>,
    /// Metadata for the caller's own use.
    pub user: Option<String>,
}

/// How a vector is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As numbers.
    #[default]
    Float,
    /// As the Base64 text of its little-endian 32-bit floats.
    Base64,
}

/// The vectors.
#[derive(Debug, Serialize, ToSchema)]
pub struct EmbeddingsResponse {
    /// `list`.
    pub object: &'static str,
    /// One vector for each text.
    pub data: Vec<Embedding>,
    /// The model's id.
    pub model: String,
    /// What they took.
    pub usage: ReadUsage,
}

/// A text's vector, of length 1.
#[derive(Debug, Serialize, ToSchema)]
pub struct Embedding {
    /// `embedding`.
    pub object: &'static str,
    /// The text's number, from 0.
    pub index: usize,
    /// The vector.
    pub embedding: Vector,
}

/// A vector as it was asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Vector {
    /// Numbers.
    Float(Vec<f32>),
    /// Base64 text.
    Base64(String),
}

/// Embeds texts.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    tag = "embeddings",
    security(("api_key" = [])),
    request_body = EmbeddingsRequest,
    responses(
        (status = 200, description = "The vectors", body = EmbeddingsResponse),
        (status = "default", description = "An error", body = ErrorBody),
    )
)]
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(workspace): Extension<Scope>,
    Json(request): Json<EmbeddingsRequest>,
) -> Result<axum::Json<EmbeddingsResponse>, ApiError> {
    let served = app.model(&request.model)?;
    served.must_be(&[ModelKind::Embed], "make embeddings")?;
    let dimensions = dimensions(request.dimensions, &served)?;
    let encoding = request.encoding_format.unwrap_or_default();
    let prompts = {
        let served = served.clone();
        let encode = |text: &str, served: &Served| served.tokenizer().encode_wrapped(text);
        app.prepare(move || tokenize(request.input, "input", &served, encode)).await?
    };
    for prompt in &prompts {
        room(prompt.tokens.len(), 1, "input", &served)?;
    }
    let tokens = prompts.iter().map(|prompt| prompt.tokens.len()).sum();
    let origin = Origin { workspace, priority: 0 };
    let request = |index: usize| Request {
        prompt: prompts[index].tokens.clone(),
        task: Task::Embed,
        origin,
        adapter: served.adapter.clone(),
    };
    let vectors = run_all(&app, &served, "input", prompts.len(), request, vector).await?;
    let data = vectors.into_iter().enumerate().map(|(index, vector)| Embedding {
        object: "embedding",
        index,
        embedding: write(cut(vector, dimensions), encoding),
    });
    Ok(axum::Json(EmbeddingsResponse {
        object: "list",
        data: data.collect(),
        model: served.id.clone(),
        usage: ReadUsage::new(tokens),
    }))
}

fn dimensions(wanted: Option<u32>, served: &Served) -> Result<Option<usize>, ApiError> {
    let all = served.model().lm.config().hidden_size;
    match wanted.map(|wanted| wanted as usize) {
        Some(wanted) if !(1..=all).contains(&wanted) => {
            Err(ApiError::invalid("dimensions", format!("{wanted} is not between 1 and the model's {all}")))
        }
        wanted => Ok(wanted),
    }
}

async fn vector(_index: usize, mut events: Events) -> Result<Vec<f32>, ApiError> {
    loop {
        if let Event::Embedding(vector) = events.next().await? {
            return Ok(vector);
        }
    }
}

/// The first values, scaled to length 1 again (Matryoshka).
fn cut(mut vector: Vec<f32>, dimensions: Option<usize>) -> Vec<f32> {
    let Some(dimensions) = dimensions.filter(|dimensions| *dimensions < vector.len()) else { return vector };
    vector.truncate(dimensions);
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if length > 0.0 {
        for x in &mut vector {
            *x = (f64::from(*x) / length) as f32;
        }
    }
    vector
}

fn write(vector: Vec<f32>, encoding: Encoding) -> Vector {
    match encoding {
        Encoding::Float => Vector::Float(vector),
        Encoding::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            Vector::Base64(STANDARD.encode(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_vector_has_length_one() {
        assert_eq!(cut(vec![0.6, 0.0, 0.8], Some(1)), [1.0]);
        assert_eq!(cut(vec![0.6, 0.8], Some(2)), [0.6, 0.8]);
        assert_eq!(cut(vec![0.0, 0.0, 1.0], Some(2)), [0.0, 0.0]);
    }

    #[test]
    fn base64_holds_little_endian_floats() {
        let Vector::Base64(text) = write(vec![1.0, -2.0], Encoding::Base64) else { panic!("not base64") };
        assert_eq!(STANDARD.decode(text).expect("base64"), [0, 0, 128, 63, 0, 0, 0, 192]);
    }
}
