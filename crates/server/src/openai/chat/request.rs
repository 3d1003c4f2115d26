//! What `POST /v1/chat/completions` takes: OpenAI's fields, and those that Qwen's service and vLLM added.

use crate::limits::{MAX_CONTENT_PARTS, MAX_MESSAGES, MAX_METADATA, MAX_TOOL_CALLS, MAX_TOOLS};
use crate::openai::fields::{
    Entries, Items, Json, Refused, StreamOptions, logit_bias, metadata, only_false, refused, stop_strings,
};
use crate::openai::sampling::{LogitBias, Stop, StopTokens};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use utoipa::ToSchema;

/// A chat request.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ChatRequest {
    /// The model's id or an alias.
    pub model: String,
    /// The conversation so far, oldest first.
    #[schema(value_type = Vec<Message>, min_items = 1, max_items = 4096)]
    pub messages: Items<Message, MAX_MESSAGES>,

    /// Longest answer in tokens, reasoning included; by default to the end of the context. Deprecated by OpenAI in
    /// favour of `max_completion_tokens`.
    #[schema(minimum = 1)]
    pub max_tokens: Option<u32>,
    /// Longest answer in tokens, reasoning included.
    #[schema(minimum = 1)]
    pub max_completion_tokens: Option<u32>,
    /// Number of answers.
    #[schema(minimum = 1, maximum = 8, default = 1)]
    pub n: Option<u32>,
    /// 0 takes the most likely token. By default as the model's author recommends, else 1.
    #[schema(minimum = 0, maximum = 2)]
    pub temperature: Option<f64>,
    /// Keeps the most likely tokens up to this probability. By default as the model's author recommends, else 1.
    #[schema(minimum = 0, maximum = 1)]
    pub top_p: Option<f64>,
    /// Keeps this many tokens; -1 or 0 keeps all. By default as the model's author recommends.
    #[schema(minimum = -1, maximum = 4294967295i64)]
    pub top_k: Option<i64>,
    /// Drops tokens less likely than this share of the most likely one.
    #[schema(minimum = 0, maximum = 1)]
    pub min_p: Option<f64>,
    /// Above 1 makes tokens less likely that the prompt or the answer has already.
    #[schema(minimum = 0.01, maximum = 10)]
    pub repetition_penalty: Option<f64>,
    /// Subtracted from the logits of tokens that the answer has already.
    #[schema(minimum = -2, maximum = 2, default = 0)]
    pub presence_penalty: Option<f64>,
    /// Subtracted from a token's logit for each time that the answer has it.
    #[schema(minimum = -2, maximum = 2, default = 0)]
    pub frequency_penalty: Option<f64>,
    /// Token ids and what is added to their logits, -100 to 100.
    #[schema(schema_with = logit_bias)]
    pub logit_bias: Option<LogitBias>,
    /// The same seed and request give the same answer.
    pub seed: Option<i64>,
    /// Texts that end the answer.
    #[schema(schema_with = stop_strings)]
    pub stop: Option<Stop>,
    /// Tokens that end the answer, beside the model's own.
    #[schema(value_type = Option<Vec<u32>>, max_items = 64)]
    pub stop_token_ids: Option<StopTokens>,
    /// Goes on past the model's end tokens.
    #[schema(default = false)]
    pub ignore_eos: Option<bool>,
    /// Among waiting requests of the same key, larger numbers come first.
    #[schema(default = 0)]
    pub priority: Option<i32>,
    /// Not offered: only 0.
    #[schema(minimum = 0, maximum = 0)]
    pub min_tokens: Option<u32>,
    /// Whether the answer tells its tokens' log-probabilities.
    #[schema(default = false)]
    pub logprobs: Option<bool>,
    /// Alternatives for each token; needs `logprobs`.
    #[schema(minimum = 0, maximum = 20)]
    pub top_logprobs: Option<u32>,

    /// Whether the answer comes piece by piece, as server-sent events.
    #[schema(default = false)]
    pub stream: Option<bool>,
    /// Only with `stream`.
    pub stream_options: Option<StreamOptions>,

    /// Functions that the model may call.
    #[schema(value_type = Option<Vec<Tool>>, max_items = 128)]
    pub tools: Option<Items<Tool, MAX_TOOLS>>,
    /// `none`, `auto` (the default with tools), `required`, a function, or a choice of functions.
    pub tool_choice: Option<ToolChoice>,
    /// Whether an answer may have several calls. By default it may where the model decides itself (`auto`), and not
    /// where a call is forced.
    pub parallel_tool_calls: Option<bool>,
    /// What the answer's text must look like.
    pub response_format: Option<ResponseFormat>,

    /// Whether the model reasons before it answers. By default as its template has it, and not where the answer's
    /// form is forced (`response_format`, `tool_choice`).
    pub enable_thinking: Option<bool>,
    /// Longest reasoning in tokens; implies `enable_thinking`.
    #[schema(minimum = 1)]
    pub thinking_budget: Option<u32>,
    /// How much to reason: `none` not at all, `minimal` to `high` within 512, 2048, 8192, 32768 tokens, `xhigh` and
    /// `max` without bound. Only for models that reason.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// Variables of the chat template; only `enable_thinking` is offered.
    pub chat_template_kwargs: Option<TemplateVariables>,

    /// Metadata for the caller's own use.
    #[schema(schema_with = metadata)]
    pub metadata: Option<Entries<String, MAX_METADATA>>,
    /// Metadata for the caller's own use.
    pub user: Option<String>,
    /// Metadata for the caller's own use.
    pub safety_identifier: Option<String>,
    /// A hint that has no effect here.
    pub prompt_cache_key: Option<String>,
    /// A hint that has no effect here.
    pub prompt_cache_retention: Option<CacheRetention>,
    /// Only `auto` and `default`: there is one tier.
    pub service_tier: Option<ServiceTier>,
    /// Only `medium`: the model's own.
    pub verbosity: Option<Verbosity>,
    /// Only `["text"]`.
    #[schema(value_type = Option<Vec<Modality>>, max_items = 8)]
    pub modalities: Option<Items<Modality, 8>>,
    /// Answers are not stored.
    #[schema(schema_with = only_false)]
    pub store: Option<bool>,
    /// Not offered.
    #[schema(schema_with = refused)]
    pub audio: Option<Refused>,
    /// Not offered.
    #[schema(schema_with = refused)]
    pub prediction: Option<Refused>,
    /// Not offered.
    #[schema(schema_with = refused)]
    pub web_search_options: Option<Refused>,
    /// Not offered.
    #[schema(schema_with = refused)]
    pub moderation: Option<Refused>,
    /// Not offered.
    #[schema(schema_with = refused)]
    pub prompt_cache_options: Option<Refused>,
    /// Not offered: `tools` took its place.
    #[schema(schema_with = refused)]
    pub functions: Option<Refused>,
    /// Not offered: `tool_choice` took its place.
    #[schema(schema_with = refused)]
    pub function_call: Option<Refused>,
}

/// A message.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text. Only an assistant's message with tool calls may have none.
    pub content: Option<Content>,
    /// The speaker's name, for chat templates that read it; Qwen's don't.
    pub name: Option<String>,
    /// Calls that the assistant made.
    #[schema(value_type = Option<Vec<ToolCall>>, max_items = 128)]
    pub tool_calls: Option<Items<ToolCall, MAX_TOOL_CALLS>>,
    /// Which call a tool's message answers.
    pub tool_call_id: Option<String>,
    /// What the assistant thought. Most templates leave it out of earlier turns.
    pub reasoning_content: Option<String>,
    /// Not offered.
    #[schema(schema_with = refused)]
    pub refusal: Option<Refused>,
    /// Citations that came with an assistant's message; they don't reach the model.
    #[schema(value_type = Option<Vec<serde_json::Value>>)]
    pub annotations: Option<serde::de::IgnoredAny>,
    /// Not offered.
    #[schema(schema_with = refused)]
    pub audio: Option<Refused>,
    /// Not offered: `tool_calls` took its place.
    #[schema(schema_with = refused)]
    pub function_call: Option<Refused>,
}

/// Who speaks. `developer` is another word for `system`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

/// A message's text, whole or in parts.
#[derive(Clone, Debug, ToSchema)]
#[serde(untagged)]
pub enum Content {
    /// A string.
    Text(String),
    /// Parts, which belong together without anything between them.
    Parts(Vec<ContentPart>),
}

/// A part of a message.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ContentPart {
    /// Only `text`: pictures, sounds and files are refused.
    #[serde(rename = "type")]
    pub kind: PartKind,
    /// The text.
    pub text: String,
    /// A hint of Qwen's service that has no effect here.
    #[schema(value_type = Option<serde_json::Value>)]
    pub cache_control: Option<serde::de::IgnoredAny>,
}

/// A call in the history.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ToolCall {
    /// Its id, to which the tool's message refers.
    pub id: String,
    /// Only `function`.
    #[serde(rename = "type")]
    pub kind: Option<FunctionKind>,
    /// The call.
    pub function: FunctionCall,
    /// Its place among the calls, as streams have it.
    pub index: Option<u32>,
}

/// A function with arguments.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct FunctionCall {
    /// The function.
    pub name: String,
    /// JSON text.
    pub arguments: String,
}

/// Something that the model may call.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct Tool {
    /// Only `function`.
    #[serde(rename = "type")]
    pub kind: FunctionKind,
    /// The function.
    pub function: FunctionDefinition,
}

/// A function that the model may call.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct FunctionDefinition {
    /// Its name.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// A JSON schema of its arguments.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Json>,
    /// Whether arguments must follow the schema also where the model decides to call. Forced calls always do.
    pub strict: Option<bool>,
}

/// Which tools are called.
#[derive(Clone, Debug, ToSchema)]
#[serde(untagged)]
pub enum ToolChoice {
    /// In general.
    Mode(ToolMode),
    /// A function, or a choice of them.
    Named(Box<NamedChoice>),
}

/// Whether tools are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolMode {
    /// Never.
    None,
    /// As the model decides.
    Auto,
    /// At least once.
    Required,
}

/// A function, or a choice of them.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct NamedChoice {
    /// `function` or `allowed_tools`.
    #[serde(rename = "type")]
    pub kind: ChoiceKind,
    /// The function, with `function`.
    pub function: Option<NamedFunction>,
    /// The choice, with `allowed_tools`.
    pub allowed_tools: Option<AllowedTools>,
}

/// What a choice names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceKind {
    /// One function, which is called.
    Function,
    /// Some of the functions.
    AllowedTools,
}

/// The one kind of tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FunctionKind {
    /// A function of the caller's.
    Function,
}

/// The one kind of content: pictures, sounds and files are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartKind {
    /// Text.
    Text,
}

/// A function's name.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct NamedFunction {
    /// The name.
    pub name: String,
}

/// A choice of functions.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct AllowedTools {
    /// Whether one of them must be called.
    pub mode: AllowedMode,
    /// The functions.
    #[schema(value_type = Vec<AllowedTool>, max_items = 128)]
    pub tools: Items<AllowedTool, MAX_TOOLS>,
}

/// A function of a choice.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct AllowedTool {
    /// Only `function`.
    #[serde(rename = "type")]
    pub kind: FunctionKind,
    /// The function.
    pub function: NamedFunction,
}

/// Whether an allowed tool must be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AllowedMode {
    /// As the model decides.
    Auto,
    /// At least once.
    Required,
}

/// What an answer's text must look like.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct ResponseFormat {
    /// The form.
    #[serde(rename = "type")]
    pub kind: FormatKind,
    /// The schema, with `json_schema`.
    pub json_schema: Option<JsonSchemaFormat>,
}

/// Forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum FormatKind {
    Text,
    JsonObject,
    JsonSchema,
}

/// A schema that the answer follows.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct JsonSchemaFormat {
    /// Its name.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The JSON schema.
    #[schema(value_type = Object, required)]
    pub schema: Option<Json>,
    /// The schema is enforced in either case.
    pub strict: Option<bool>,
}

/// Variables of the chat template.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateVariables {
    /// As the field of the same name in the request.
    pub enable_thinking: Option<bool>,
}

/// How much to reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum ReasoningEffort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

/// The one tier, under its two names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum ServiceTier {
    Auto,
    Default,
}

/// The one length of answers: the model's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Verbosity {
    Medium,
}

/// The one form of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Modality {
    Text,
}

/// How long a prompt may stay in the cache.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[allow(missing_docs)]
pub enum CacheRetention {
    #[serde(rename = "in_memory", alias = "in-memory")]
    InMemory,
    #[serde(rename = "24h")]
    Day,
}

impl Content {
    /// The text alone.
    pub fn into_text(self) -> String {
        match self {
            Content::Text(text) => text,
            Content::Parts(parts) => parts.into_iter().map(|part| part.text).collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Content;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string or a list of content parts")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }
            fn visit_string<E: Error>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Content, A::Error> {
                let parts = serde::de::value::SeqAccessDeserializer::new(seq);
                Items::<ContentPart, MAX_CONTENT_PARTS>::deserialize(parts)
                    .map(|parts| Content::Parts(parts.0))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for ToolChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = ToolChoice;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string or an object with `type`")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<ToolChoice, E> {
                ToolMode::deserialize(serde::de::value::StrDeserializer::new(text)).map(ToolChoice::Mode)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ToolChoice, A::Error> {
                let named = NamedChoice::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ToolChoice::Named(Box::new(named)))
            }
        }
        deserializer.deserialize_any(Read)
    }
}
