//! Constrained decoding with llguidance.

use crate::limits::{MAX_PATTERN_BYTES, MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, MAX_SCHEMA_NODES};
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use models::Tokenizer;
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::{Arc, OnceLock};

/// What an answer must look like.
#[derive(Clone, Debug, PartialEq)]
pub enum ConstraintSpec {
    /// Any JSON object.
    JsonObject,
    /// JSON that a schema accepts.
    JsonSchema(Value),
    /// Calls in Qwen's format, `<tool_call>\n{"name": ..., "arguments": ...}\n</tool_call>`.
    ToolCalls {
        /// The functions that may be called, with the schema of their arguments (`None`: any object).
        functions: Vec<(String, Option<Value>)>,
        /// At least one call and nothing else; otherwise free text, and calls where it opens one.
        required: bool,
        /// More than one call allowed.
        parallel: bool,
    },
}

/// A compiled constraint, ready for one answer. A clone starts at the same place and goes its own way.
pub struct Constraint {
    matcher: Matcher,
}

impl Clone for Constraint {
    fn clone(&self) -> Self {
        // a shallow clone would share the lexer's lock with other requests
        Constraint { matcher: self.matcher.deep_clone() }
    }
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Constraint")
    }
}

/// Why a constraint cannot be compiled or followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// A schema is larger than is accepted.
    #[error("the schema has {found} {what}, at most {limit} are accepted")]
    TooLarge {
        /// Bytes, levels or values.
        what: &'static str,
        /// How many it has.
        found: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The grammar compiler does not accept it.
    #[error("the schema is not supported: {0}")]
    Unsupported(String),
    /// Following it would take too long, or it was left.
    #[error("the answer could not be kept to the schema: {0}")]
    Failed(String),
}

impl Constraint {
    /// Takes from `logits` what may not come next.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<(), ConstraintError> {
        let allowed = self.matcher.compute_mask_or_eos().map_err(failed)?;
        apply(&allowed, logits);
        Ok(())
    }

    /// Moves on by a chosen token.
    pub(crate) fn accept(&mut self, token: u32) -> Result<(), ConstraintError> {
        self.matcher.consume_token(token).map_err(failed)
    }

    /// Whether nothing can follow.
    pub(crate) fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }
}

fn apply(allowed: &SimpleVob, logits: &mut [f32]) {
    for (word, logits) in allowed.as_slice().iter().zip(logits.chunks_mut(32)) {
        match *word {
            u32::MAX => {}
            0 => logits.fill(f32::NEG_INFINITY),
            word => {
                let refused = logits.iter_mut().enumerate().filter(|(i, _)| word >> i & 1 == 0);
                refused.for_each(|(_, l)| *l = f32::NEG_INFINITY);
            }
        }
    }
    // the vocabulary's padding has no meaning
    let known = allowed.len().min(logits.len());
    logits[known..].fill(f32::NEG_INFINITY);
}

fn failed(error: impl std::fmt::Display) -> ConstraintError {
    ConstraintError::Failed(first_line(&error))
}

/// Compilers explain at length; a client wants the reason.
fn first_line(error: &dyn std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(500).collect()
}

/// Compiles constraints for one tokenizer. Thread-safe; made once a model.
pub struct Grammars {
    tokenizer: Arc<Tokenizer>,
    vocab_size: usize,
    eos: u32,
    factory: OnceLock<Result<ParserFactory, ConstraintError>>,
}

impl Grammars {
    /// Prepares the vocabulary; its memory is taken at the first [`Self::compile`].
    pub fn new(tokenizer: Arc<Tokenizer>, vocab_size: usize, eos: u32) -> Grammars {
        Grammars { tokenizer, vocab_size, eos, factory: OnceLock::new() }
    }

    /// Compiles `spec` within its limits on size, depth and time.
    pub fn compile(&self, spec: &ConstraintSpec) -> Result<Constraint, ConstraintError> {
        let grammar = match spec {
            ConstraintSpec::JsonObject => TopLevelGrammar::from_json_schema(answer_layout(any_object())),
            ConstraintSpec::JsonSchema(schema) => {
                check_schema(schema)?;
                TopLevelGrammar::from_json_schema(answer_layout(schema.clone()))
            }
            ConstraintSpec::ToolCalls { functions, required, parallel } => {
                functions.iter().filter_map(|(_, schema)| schema.as_ref()).try_for_each(check_schema)?;
                TopLevelGrammar::from_lark(self.tool_calls(functions, *required, *parallel))
            }
        };
        let factory = self.factory.get_or_init(|| self.build()).as_ref().map_err(Clone::clone)?;
        let matcher = Matcher::new(factory.create_parser(grammar));
        match matcher.get_error() {
            Some(error) => Err(ConstraintError::Unsupported(first_line(&error))),
            None => Ok(Constraint { matcher }),
        }
    }

    fn build(&self) -> Result<ParserFactory, ConstraintError> {
        let words: Vec<Vec<u8>> = (0..self.vocab_size as u32)
            .map(|id| {
                let bytes = self.tokenizer.token_bytes(id).unwrap_or_default();
                if self.tokenizer.is_added(id) {
                    // a token of its own, never a way to write its text
                    [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat()
                } else {
                    bytes.to_vec()
                }
            })
            .collect();
        let trie = TokTrie::from(&TokRxInfo::new(self.vocab_size as u32, self.eos), &words);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&env).map_err(failed)?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(factory)
    }

    /// Qwen's call format as a Lark grammar.
    fn tool_calls(&self, functions: &[(String, Option<Value>)], required: bool, parallel: bool) -> String {
        let tag = |text: &str| match self.tokenizer.token_id(text) {
            Some(id) => format!("<[{id}]>"),
            None => Value::from(text).to_string(),
        };
        let calls = if parallel { r#"call ("\n" call)*"# } else { "call" };
        let start = if required { calls.to_owned() } else { format!("TEXT? | TEXT? {calls} TEXT?") };
        let names = (0..functions.len()).map(|i| format!("call_{i}")).collect::<Vec<_>>().join(" | ");
        let mut lark = format!(
            "start: {start}\nTEXT: /(?s:.+)/\ncall: {} \"\\n\" ({names}) \"\\n\" {}\n",
            tag("<tool_call>"),
            tag("</tool_call>"),
        );
        for (i, (name, schema)) in functions.iter().enumerate() {
            let head = format!(r#"{{"name": {}, "arguments": "#, Value::from(name.as_str()));
            let schema = call_layout(schema.clone().unwrap_or_else(any_object));
            // writing to a String cannot fail
            let _ = writeln!(lark, "call_{i}: {} args_{i} \"}}\"", Value::from(head));
            let _ = writeln!(lark, "args_{i}: %json {schema}");
        }
        lark
    }
}

fn any_object() -> Value {
    json!({ "type": "object" })
}

/// White space as people and models write JSON, compact or indented, but never without end: a model that has lost its
/// way would fill its answer with it.
fn answer_layout(schema: Value) -> Value {
    with_layout(schema, json!({ "whitespace_pattern": r"\x20|\n\x20{0,16}" }))
}

/// White space as Python's `json.dumps` puts it, which is how chat templates show calls to models.
fn call_layout(schema: Value) -> Value {
    with_layout(
        schema,
        json!({ "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": " }),
    )
}

/// `schema` with llguidance's own options, in place of any that it brings itself.
fn with_layout(schema: Value, layout: Value) -> Value {
    match schema {
        Value::Object(mut fields) => {
            fields.insert("x-guidance".to_owned(), layout);
            Value::Object(fields)
        }
        // `true` and `{}` both accept anything
        Value::Bool(true) => with_layout(json!({}), layout),
        other => other,
    }
}

/// Refuses a schema that would cost more to compile than an answer is worth.
fn check_schema(schema: &Value) -> Result<(), ConstraintError> {
    fn walk(value: &Value, depth: usize, nodes: &mut usize) -> Result<(), ConstraintError> {
        *nodes += 1;
        let limits = [
            ("levels", depth, MAX_SCHEMA_DEPTH),
            ("values", *nodes, MAX_SCHEMA_NODES),
            ("bytes in a pattern", pattern(value), MAX_PATTERN_BYTES),
        ];
        for (what, found, limit) in limits {
            if found > limit {
                return Err(ConstraintError::TooLarge { what, found, limit });
            }
        }
        match value {
            Value::Array(items) => items.iter().try_for_each(|v| walk(v, depth + 1, nodes)),
            Value::Object(fields) => fields.values().try_for_each(|v| walk(v, depth + 1, nodes)),
            _ => Ok(()),
        }
    }
    fn pattern(value: &Value) -> usize {
        value.get("pattern").and_then(Value::as_str).map_or(0, str::len)
    }
    walk(schema, 0, &mut 0)?;
    let found = schema.to_string().len();
    if found > MAX_SCHEMA_BYTES {
        return Err(ConstraintError::TooLarge { what: "bytes", found, limit: MAX_SCHEMA_BYTES });
    }
    Ok(())
}
