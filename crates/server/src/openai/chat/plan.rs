//! A chat request, checked: every field that OpenAI documents is honoured or refused by name here.

use super::conversation;
use super::request::{ChatRequest, FormatKind, JsonSchemaFormat, ReasoningEffort, ResponseFormat};
use super::tools::{ToolPlan, check_name};
use crate::error::ApiError;
use crate::openai::fields::{Refused, StreamOptions};
use crate::openai::sampling::{self, SamplingFields};
use crate::state::{Served, ThinkingSupport};
use engine::limits::MAX_LOGPROBS;
use engine::{ConstraintSpec, Sampling};
use serde_json::Value;

/// What to do for a chat request.
#[derive(Debug)]
pub struct Plan {
    /// The conversation as templates read it.
    pub messages: Vec<Value>,
    /// The tools as templates read them.
    pub tools: Vec<Value>,
    /// Whether calls are looked for in the answer.
    pub parse_tools: bool,
    /// Whether the model thinks first.
    pub thinking: Thinking,
    /// What the answer must look like.
    pub form: Option<Form>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Answers.
    pub n: usize,
    /// Longest answer in tokens.
    pub max_tokens: Option<usize>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Tokens that end the answer.
    pub stop_token_ids: Vec<u32>,
    /// Whether the answer goes on past end tokens.
    pub ignore_eos: bool,
    /// Among waiting requests of the same key, larger numbers come first.
    pub priority: i32,
    /// Log-probabilities with this many alternatives.
    pub logprobs: Option<usize>,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether a stream ends with the usage.
    pub include_usage: bool,
}

/// Whether a model thinks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// It does not; the template is told so if it can be.
    Off,
    /// The template's default; the model may open `<think>` itself.
    ModelDecides,
    /// It does, for at most so many tokens.
    On(Option<usize>),
}

/// What an answer must look like.
#[derive(Debug)]
pub struct Form {
    /// The constraint.
    pub spec: ConstraintSpec,
    /// What to enforce if the constraint cannot be compiled and was not asked for strictly.
    pub lenient: Option<ConstraintSpec>,
    /// The field to name if it cannot be compiled.
    pub param: &'static str,
}

impl Plan {
    /// Checks every field.
    pub fn new(request: ChatRequest, served: &Served) -> Result<Plan, ApiError> {
        refuse_unsupported(&request)?;
        check_metadata(&request)?;
        let stream = request.stream.unwrap_or(false);
        let include_usage = StreamOptions::usage(request.stream_options.as_ref(), stream)?;
        let logprobs = logprobs(request.logprobs, request.top_logprobs)?;
        let n = sampling::choices("n", request.n)?;
        let max_tokens = answer_length(&request, served)?;
        let stop_token_ids = sampling::stop_token_ids(request.stop_token_ids.clone(), served)?;
        sampling::min_tokens(request.min_tokens)?;
        let tools =
            ToolPlan::new(request.tools.as_ref(), request.tool_choice.as_ref(), request.parallel_tool_calls)?;
        let form = form(&tools, request.response_format.as_ref())?;
        let thinking = thinking(&request, served.thinking, form.is_some())?;
        let sampling = SamplingFields {
            temperature: request.temperature,
            top_p: request.top_p,
            top_k: request.top_k,
            min_p: request.min_p,
            repetition_penalty: request.repetition_penalty,
            presence_penalty: request.presence_penalty,
            frequency_penalty: request.frequency_penalty,
            logit_bias: request.logit_bias,
            seed: request.seed,
        };
        Ok(Plan {
            messages: conversation::messages(request.messages.0)?,
            tools: tools.definitions,
            parse_tools: tools.parse,
            thinking,
            form,
            sampling: sampling.check(served)?,
            n,
            max_tokens,
            stop: sampling::stop_strings(request.stop)?,
            stop_token_ids,
            ignore_eos: request.ignore_eos.unwrap_or(false),
            priority: request.priority.unwrap_or(0),
            logprobs,
            stream,
            include_usage,
        })
    }
}

/// What OpenAI documents and this server does not offer. Values that enumerations leave out are refused when the
/// request is read.
fn refuse_unsupported(request: &ChatRequest) -> Result<(), ApiError> {
    let absent = |param: &str, field: Option<Refused>, instead: &str| match field {
        Some(Refused) => Err(ApiError::unsupported(param, instead)),
        None => Ok(()),
    };
    absent("audio", request.audio, "answers are text; leave it out")?;
    absent("prediction", request.prediction, "leave it out")?;
    absent("web_search_options", request.web_search_options, "this server does not search; leave it out")?;
    absent("moderation", request.moderation, "leave it out")?;
    absent("prompt_cache_options", request.prompt_cache_options, "leave it out")?;
    absent("functions", request.functions, "use `tools`")?;
    absent("function_call", request.function_call, "use `tool_choice`")?;
    if request.store == Some(true) {
        return Err(ApiError::unsupported("store", "answers are not stored; send false or leave it out"));
    }
    Ok(())
}

/// OpenAI's bounds on `metadata`, which is accepted and, as nothing is stored, has no effect.
fn check_metadata(request: &ChatRequest) -> Result<(), ApiError> {
    const MAX_KEY_CHARS: usize = 64;
    const MAX_VALUE_CHARS: usize = 512;
    let long = |(key, value): (&String, &String)| {
        key.chars().count() > MAX_KEY_CHARS || value.chars().count() > MAX_VALUE_CHARS
    };
    match &request.metadata {
        Some(metadata) if metadata.0.iter().any(long) => Err(ApiError::invalid(
            "metadata",
            format!("keys have at most {MAX_KEY_CHARS} characters and values {MAX_VALUE_CHARS}"),
        )),
        _ => Ok(()),
    }
}

fn logprobs(wanted: Option<bool>, top: Option<u32>) -> Result<Option<usize>, ApiError> {
    match (wanted.unwrap_or(false), top.map(|top| top as usize)) {
        (_, Some(top)) if top > MAX_LOGPROBS => {
            Err(ApiError::invalid("top_logprobs", format!("{top} is not between 0 and {MAX_LOGPROBS}")))
        }
        (false, Some(top)) if top > 0 => {
            Err(ApiError::invalid("top_logprobs", "only together with `logprobs: true`"))
        }
        (false, _) => Ok(None),
        (true, top) => Ok(Some(top.unwrap_or(0))),
    }
}

fn answer_length(request: &ChatRequest, served: &Served) -> Result<Option<usize>, ApiError> {
    let old = sampling::max_tokens("max_tokens", request.max_tokens, 1, served)?;
    let new = sampling::max_tokens("max_completion_tokens", request.max_completion_tokens, 1, served)?;
    match (old, new) {
        (Some(old), Some(new)) if old != new => Err(ApiError::invalid(
            "max_tokens",
            format!("{old} contradicts max_completion_tokens, {new}; send one of them"),
        )),
        (old, new) => Ok(new.or(old)),
    }
}

/// One constraint for tools and response format. A forced call is the whole answer, so the format has nothing to
/// say there; without calls the format rules alone. What cannot be had is text in a format where the model may also
/// call instead.
fn form(tools: &ToolPlan, format: Option<&ResponseFormat>) -> Result<Option<Form>, ApiError> {
    let format = match format {
        Some(format) => response_format(format)?,
        None => None,
    };
    match (tools.form(), format) {
        (Some(form), _) if tools.required => Ok(Some(form)),
        (_, Some(_)) if tools.parse => Err(ApiError::unsupported(
            "response_format",
            "it cannot be combined with `tools` that the model may or may not call; send `tool_choice` \"none\" or \
             \"required\"",
        )),
        (form, spec) => Ok(spec.map(|spec| Form { spec, lenient: None, param: "response_format" }).or(form)),
    }
}

fn response_format(format: &ResponseFormat) -> Result<Option<ConstraintSpec>, ApiError> {
    match (format.kind, &format.json_schema) {
        (FormatKind::JsonSchema, None) => {
            Err(ApiError::invalid("response_format.json_schema", "this field is required"))
        }
        (FormatKind::JsonSchema, Some(JsonSchemaFormat { name, schema, .. })) => {
            check_name("response_format.json_schema.name", name)?;
            match schema {
                Some(schema) if schema.0.is_object() => {
                    Ok(Some(ConstraintSpec::JsonSchema(schema.0.clone())))
                }
                Some(_) => {
                    Err(ApiError::invalid("response_format.json_schema.schema", "a schema is an object"))
                }
                None => {
                    Err(ApiError::invalid("response_format.json_schema.schema", "this field is required"))
                }
            }
        }
        (_, Some(_)) => {
            Err(ApiError::invalid("response_format.json_schema", "only together with the type `json_schema`"))
        }
        (FormatKind::JsonObject, None) => Ok(Some(ConstraintSpec::JsonObject)),
        (FormatKind::Text, None) => Ok(None),
    }
}

/// Whether to think, by the four fields that say so. A model that cannot do what is asked says it, instead of doing
/// something else.
fn thinking(request: &ChatRequest, support: ThinkingSupport, form: bool) -> Result<Thinking, ApiError> {
    let wish = wish(request)?;
    let Wish { param, on, budget } = match (wish, support) {
        (Some(wish), _) => wish,
        (None, ThinkingSupport::No) => return Ok(Thinking::Off),
        (None, ThinkingSupport::Always) => return Ok(Thinking::On(None)),
        // a form is for an answer that a program reads: it comes at once unless thinking was asked for
        (None, ThinkingSupport::Switch) if form => return Ok(Thinking::Off),
        (None, ThinkingSupport::Switch) => return Ok(Thinking::ModelDecides),
    };
    match (on, support) {
        (true, ThinkingSupport::No) => {
            Err(ApiError::unsupported(param, "this model does not think; leave it out"))
        }
        (false, ThinkingSupport::Always) => {
            Err(ApiError::unsupported(param, "this model always thinks; leave it out"))
        }
        (true, _) => Ok(Thinking::On(budget)),
        (false, _) => Ok(Thinking::Off),
    }
}

/// What a request says about thinking.
struct Wish {
    /// The field that says it.
    param: &'static str,
    on: bool,
    budget: Option<usize>,
}

fn wish(request: &ChatRequest) -> Result<Option<Wish>, ApiError> {
    let in_template = request.chat_template_kwargs.as_ref().and_then(|variables| variables.enable_thinking);
    let effort = request.reasoning_effort.map(effort);
    let says = [
        request.enable_thinking.map(|on| Wish { param: "enable_thinking", on, budget: None }),
        in_template.map(|on| Wish { param: "chat_template_kwargs.enable_thinking", on, budget: None }),
        effort.map(|(on, budget)| Wish { param: "reasoning_effort", on, budget }),
        request.thinking_budget.map(|budget| Wish {
            param: "thinking_budget",
            on: true,
            budget: Some(budget as usize),
        }),
    ];
    if request.thinking_budget == Some(0) {
        return Err(ApiError::invalid("thinking_budget", "0 tokens; send `enable_thinking: false` instead"));
    }
    let mut wish: Option<Wish> = None;
    for next in says.into_iter().flatten() {
        match &mut wish {
            Some(first) if first.on != next.on => {
                return Err(ApiError::invalid(next.param, format!("it contradicts {}", first.param)));
            }
            Some(first) => first.budget = next.budget.or(first.budget),
            None => wish = Some(next),
        }
    }
    Ok(wish)
}

/// Whether to think at an effort, and for how many tokens at most.
fn effort(effort: ReasoningEffort) -> (bool, Option<usize>) {
    match effort {
        ReasoningEffort::None => (false, None),
        ReasoningEffort::Minimal => (true, Some(512)),
        ReasoningEffort::Low => (true, Some(2048)),
        ReasoningEffort::Medium => (true, Some(8192)),
        ReasoningEffort::High => (true, Some(32_768)),
        ReasoningEffort::Xhigh | ReasoningEffort::Max => (true, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(fields: Value) -> ChatRequest {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        for (key, value) in fields.as_object().expect("object") {
            body[key] = value.clone();
        }
        crate::json::parse(body.to_string().as_bytes()).expect("a readable request").0
    }

    #[test]
    fn thinking_is_what_was_asked_for_or_an_error_that_names_the_field() {
        use ThinkingSupport::{Always, No, Switch};
        let ok = |thinking| Ok::<_, &str>(thinking);
        for (fields, support, form, expected) in [
            (json!({}), No, false, ok(Thinking::Off)),
            (json!({}), Switch, false, ok(Thinking::ModelDecides)),
            (json!({}), Switch, true, ok(Thinking::Off)),
            (json!({}), Always, true, ok(Thinking::On(None))),
            (json!({"enable_thinking": true}), Switch, true, ok(Thinking::On(None))),
            (json!({"enable_thinking": false}), Switch, false, ok(Thinking::Off)),
            (json!({"enable_thinking": false}), No, false, ok(Thinking::Off)),
            (json!({"enable_thinking": true}), No, false, Err("enable_thinking")),
            (json!({"enable_thinking": false}), Always, false, Err("enable_thinking")),
            (json!({"thinking_budget": 9}), Switch, false, ok(Thinking::On(Some(9)))),
            (json!({"thinking_budget": 0}), Switch, false, Err("thinking_budget")),
            (json!({"thinking_budget": 9}), No, false, Err("thinking_budget")),
            (json!({"thinking_budget": 9, "enable_thinking": false}), Switch, false, Err("thinking_budget")),
            (json!({"reasoning_effort": "none"}), Switch, false, ok(Thinking::Off)),
            (json!({"reasoning_effort": "low"}), Switch, false, ok(Thinking::On(Some(2048)))),
            (
                json!({"reasoning_effort": "low", "thinking_budget": 9}),
                Always,
                false,
                ok(Thinking::On(Some(9))),
            ),
            (json!({"chat_template_kwargs": {"enable_thinking": false}}), Switch, false, ok(Thinking::Off)),
            (
                json!({"chat_template_kwargs": {"enable_thinking": false}, "enable_thinking": true}),
                Switch,
                false,
                Err("chat_template_kwargs.enable_thinking"),
            ),
        ] {
            let found = thinking(&request(fields.clone()), support, form);
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{fields} {support:?}"),
                (Err(error), Err(param)) => {
                    assert_eq!(error.body().error.param.as_deref(), Some(param), "{fields} {support:?}")
                }
                (found, expected) => panic!("{fields} {support:?}: {found:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn log_probabilities_need_the_switch() {
        assert_eq!(logprobs(None, None), Ok(None));
        assert_eq!(logprobs(Some(true), None), Ok(Some(0)));
        assert_eq!(logprobs(Some(true), Some(20)), Ok(Some(20)));
        assert!(logprobs(Some(true), Some(21)).is_err());
        assert!(logprobs(None, Some(1_000_000)).is_err());
        assert!(logprobs(Some(false), Some(2)).is_err());
    }

    #[test]
    fn a_format_and_tools_go_together_only_where_one_of_them_is_certain() {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let format = json!({"type": "json_object"});
        for (choice, expected) in
            [("none", Some("response_format")), ("required", Some("tools")), ("auto", None)]
        {
            let request = request(json!({"tools": tools, "tool_choice": choice, "response_format": format}));
            let tools =
                ToolPlan::new(request.tools.as_ref(), request.tool_choice.as_ref(), None).expect("tools");
            let form = form(&tools, request.response_format.as_ref());
            match (form, expected) {
                (Ok(Some(form)), Some(param)) => assert_eq!(form.param, param, "{choice}"),
                (Err(error), None) => {
                    assert_eq!(error.body().error.param.as_deref(), Some("response_format"), "{choice}")
                }
                (form, _) => panic!("{choice}: {form:?}"),
            }
        }
    }
}
