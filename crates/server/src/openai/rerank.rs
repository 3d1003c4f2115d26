//! `POST /v1/rerank` and `/v1/reranks`: how well documents answer a query, as Qwen3-Reranker was trained.

use super::fields::Items;
use super::prompt::room;
use super::usage::ReadUsage;
use crate::error::{ApiError, ErrorBody};
use crate::generation::{Events, run_all};
use crate::json::Json;
use crate::limits::MAX_DOCUMENTS;
use crate::state::{App, Served};
use axum::Extension;
use axum::extract::State;
use engine::{Event, Origin, Request, Scope, Task};
use models::ModelKind;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::sync::Arc;
use utoipa::ToSchema;

/// The prompt of Qwen3-Reranker, whose answer is `yes` or `no`.
const PREFIX: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the \
Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n";
const SUFFIX: &str = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
/// What to judge by when the request doesn't say.
const INSTRUCT: &str = "Given a web search query, retrieve relevant passages that answer the query";

/// A query and documents.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct RerankRequest {
    /// The model's id or an alias.
    pub model: String,
    /// What is looked for.
    #[schema(min_length = 1)]
    pub query: String,
    /// Where it may be.
    #[schema(value_type = Vec<Document>, min_items = 1, max_items = 1024)]
    pub documents: Items<Document, MAX_DOCUMENTS>,
    /// How many of the best documents to tell; by default all.
    #[schema(minimum = 1)]
    pub top_n: Option<u32>,
    /// Whether the documents' texts are told.
    #[schema(default = false)]
    pub return_documents: Option<bool>,
    /// What makes a document relevant, in English.
    pub instruct: Option<String>,
    /// Metadata for the caller's own use.
    pub user: Option<String>,
}

/// A document: its text, or an object with it.
#[derive(Clone, Debug, ToSchema)]
#[serde(untagged)]
pub enum Document {
    /// The text.
    Text(String),
    /// An object with the text.
    Object(DocumentText),
}

/// An object with a document's text.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DocumentText {
    /// The text.
    pub text: String,
}

/// The documents, most relevant first.
#[derive(Debug, Serialize, ToSchema)]
pub struct RerankResponse {
    /// The answer's id.
    pub id: String,
    /// `list`.
    pub object: &'static str,
    /// The model's id.
    pub model: String,
    /// The documents.
    pub results: Vec<RankedDocument>,
    /// What they took.
    pub usage: ReadUsage,
}

/// A document's relevance.
#[derive(Debug, Serialize, ToSchema)]
pub struct RankedDocument {
    /// Its number in the request, from 0.
    pub index: usize,
    /// The probability that the answer is `yes`.
    pub relevance_score: f64,
    /// Its text, when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentText>,
}

/// Ranks documents.
#[utoipa::path(
    post,
    path = "/v1/rerank",
    tag = "rerank",
    security(("api_key" = [])),
    request_body = RerankRequest,
    responses(
        (status = 200, description = "The documents, most relevant first", body = RerankResponse),
        (status = "default", description = "An error", body = ErrorBody),
    )
)]
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(workspace): Extension<Scope>,
    Json(request): Json<RerankRequest>,
) -> Result<axum::Json<RerankResponse>, ApiError> {
    let served = app.model(&request.model)?;
    served.must_be(&[ModelKind::Rerank], "rank documents")?;
    if request.query.is_empty() {
        return Err(ApiError::invalid("query", "the text is empty"));
    }
    if request.documents.0.is_empty() {
        return Err(ApiError::invalid("documents", "the list is empty"));
    }
    let top_n = match request.top_n {
        Some(0) => return Err(ApiError::invalid("top_n", "0 is not a number of documents")),
        top_n => top_n.map_or(usize::MAX, |top_n| top_n as usize),
    };
    let documents: Vec<String> = request.documents.0.into_iter().map(Document::into_text).collect();
    let instruct = request.instruct.unwrap_or_else(|| INSTRUCT.to_owned());
    let (prompts, documents) = {
        let served = served.clone();
        app.prepare(move || Ok((prompts(&instruct, &request.query, &documents, &served)?, documents))).await?
    };
    let answers = answers(&served)?;
    let tokens = prompts.iter().map(Vec::len).sum();
    let origin = Origin { workspace, priority: 0 };
    let request_of = |index: usize| Request {
        prompt: prompts[index].clone(),
        task: Task::Score(answers.to_vec()),
        origin,
        adapter: served.adapter.clone(),
    };
    let scores = run_all(&app, &served, "documents", prompts.len(), request_of, score).await?;
    Ok(axum::Json(RerankResponse {
        id: format!("rerank-{}", uuid::Uuid::new_v4().simple()),
        object: "list",
        model: served.id.clone(),
        results: ranked(scores, documents, top_n, request.return_documents.unwrap_or(false)),
        usage: ReadUsage::new(tokens),
    }))
}

/// The tokens `no` and `yes`.
fn answers(served: &Served) -> Result<[u32; 2], ApiError> {
    let token = |text| served.tokenizer().token_id(text);
    match (token("no"), token("yes")) {
        (Some(no), Some(yes)) => Ok([no, yes]),
        _ => Err(ApiError::internal("a reranker without the tokens `no` and `yes`")),
    }
}

fn prompts(
    instruct: &str,
    query: &str,
    documents: &[String],
    served: &Served,
) -> Result<Vec<Vec<u32>>, ApiError> {
    let tokenizer = served.tokenizer();
    let (prefix, suffix) = (tokenizer.encode_with_added(PREFIX), tokenizer.encode_with_added(SUFFIX));
    let prompt = |(index, document): (usize, &String)| {
        // what looks like a control token in a document is text
        let body = format!("<Instruct>: {instruct}\n<Query>: {query}\n<Document>: {document}");
        let prompt = [prefix.as_slice(), &tokenizer.encode_text(&body), &suffix].concat();
        room(prompt.len(), 1, &format!("documents[{index}]"), served)?;
        Ok(prompt)
    };
    documents.iter().enumerate().map(prompt).collect()
}

/// P(yes) against P(no).
async fn score(_index: usize, mut events: Events) -> Result<f64, ApiError> {
    loop {
        if let Event::Scores(logits) = events.next().await? {
            return match logits.as_slice() {
                [no, yes] => Ok(yes_probability(*no, *yes)),
                _ => Err(ApiError::internal("the engine scored other tokens than asked for")),
            };
        }
    }
}

fn yes_probability(no: f32, yes: f32) -> f64 {
    1.0 / (1.0 + (f64::from(no) - f64::from(yes)).exp())
}

fn ranked(scores: Vec<f64>, documents: Vec<String>, top_n: usize, texts: bool) -> Vec<RankedDocument> {
    let mut ranked: Vec<RankedDocument> = scores
        .into_iter()
        .zip(documents)
        .enumerate()
        .map(|(index, (relevance_score, text))| RankedDocument {
            index,
            relevance_score,
            document: texts.then_some(DocumentText { text }),
        })
        .collect();
    // the sort is stable: equals stay in the request's order
    ranked.sort_by(|a, b| b.relevance_score.total_cmp(&a.relevance_score));
    ranked.truncate(top_n);
    ranked
}

impl Document {
    fn into_text(self) -> String {
        match self {
            Document::Text(text) | Document::Object(DocumentText { text }) => text,
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Document;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string or an object with `text`")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Document, E> {
                Ok(Document::Text(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Document, A::Error> {
                DocumentText::deserialize(MapAccessDeserializer::new(map)).map(Document::Object)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_the_softmax_of_two_logits() {
        for (no, yes, expected) in
            [(0.0, 0.0, 0.5), (1.0, 0.0, 0.268_941_42), (-1000.0, 1000.0, 1.0), (1000.0, -1000.0, 0.0)]
        {
            assert!((yes_probability(no, yes) - expected).abs() < 1e-8);
        }
    }

    #[test]
    fn documents_come_best_first_and_equals_in_order() {
        let documents = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let ranked = ranked(vec![0.1, 0.9, 0.1, 0.0], documents, 3, true);
        let indices: Vec<usize> = ranked.iter().map(|document| document.index).collect();
        assert_eq!(indices, [1, 0, 2]);
        assert_eq!(ranked[0].document.as_ref().map(|document| document.text.as_str()), Some("b"));
    }
}
