//! Queries with the documents that answer them: sentence-transformers' `anchor`, `positive` and `negative`, and
//! FlagEmbedding's `query`, `pos` and `neg`.

use super::forms::{Fields, Form, parse};
use super::{Language, LineFault};
use crate::limits::MAX_NEGATIVES;
use crate::objective::{Contrast, Example};
use models::Tokenizer;
use serde::Deserialize;

pub(super) const FORM: Form<Contrast> = Form {
    keys: &[&["query", "anchor"], &["positive", "pos", "positives"]],
    others: &["negatives", "negative", "neg", "instruction"],
    shape: "{\"query\": \"...\", \"positive\": \"...\", \"negatives\": [\"...\"]}",
    read,
};

#[derive(Deserialize)]
struct Line {
    query: String,
    positive: Texts,
    negatives: Option<Texts>,
    negative: Option<Texts>,
    neg: Option<Texts>,
    /// What kind of document is looked for, which Qwen3-Embedding reads before the query.
    instruction: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "it must be a text or a list of texts")]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    fn all(self) -> Vec<String> {
        match self {
            Texts::One(text) => vec![text],
            Texts::Many(texts) => texts,
        }
    }
}

fn read(fields: Fields, language: &Language<'_>) -> Result<Vec<Contrast>, LineFault> {
    let line: Line = parse(fields)?;
    let positives = line.positive.all();
    if positives.is_empty() {
        return Err(LineFault::Empty("positive"));
    }
    let negatives = line.negatives.or(line.negative).or(line.neg).map_or_else(Vec::new, Texts::all);
    if negatives.len() > MAX_NEGATIVES {
        let what = format!("there are {} of them; at most {MAX_NEGATIVES} are taken", negatives.len());
        return Err(LineFault::value("negatives", what));
    }
    if let Some(both) = negatives.iter().find(|text| positives.contains(text)) {
        let begin: String = both.chars().take(30).collect();
        return Err(LineFault::value(
            "negatives",
            format!("{begin:?} is a positive as well; remove it from one"),
        ));
    }
    if line.query.trim().is_empty() {
        return Err(LineFault::Empty("query"));
    }
    let query = match line.instruction.filter(|text| !text.trim().is_empty()) {
        Some(task) => format!("Instruct: {task}\nQuery:{}", line.query),
        None => line.query,
    };
    let query = text(&query, "query", language)?;
    let negatives: Vec<Example> =
        negatives.iter().map(|t| text(t, "negatives", language)).collect::<Result<_, _>>()?;
    let contrast = |positive: &String| {
        let positive = text(positive, "positive", language)?;
        Ok(Contrast { query: query.clone(), positive, negatives: negatives.clone() })
    };
    positives.iter().map(contrast).collect()
}

/// The tokens of a text as an embedding model reads it: its tokenizer puts the end token behind it, and where it does not,
/// it is put there.
fn text(text: &str, key: &'static str, language: &Language<'_>) -> Result<Example, LineFault> {
    if text.trim().is_empty() {
        return Err(LineFault::Empty(key));
    }
    let mut tokens = language.tokenizer.encode_wrapped(text);
    if !ends_texts(language.tokenizer) {
        tokens.extend(language.end);
    }
    Ok(Example::read(tokens))
}

/// Whether a tokenizer puts a token behind every text.
pub fn ends_texts(tokenizer: &Tokenizer) -> bool {
    tokenizer.encode_wrapped("a").last() != tokenizer.encode_text("a").last()
}
