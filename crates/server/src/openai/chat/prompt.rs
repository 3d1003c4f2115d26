//! From a checked request to what the engine computes: template, tokens, constraint.

use super::plan::{Form, Plan, Thinking};
use crate::error::ApiError;
use crate::openai::prompt::room;
use crate::state::Served;
use engine::{Constraint, Generate, Origin, Request, Scope, Task};
use models::Tokenizer;
use models::chat::{RenderInput, opens_thinking};
use serde_json::{Map, Value};

/// The tags around reasoning; both are single tokens of models that think.
pub const THINK_START: &str = "<think>";
/// See [`THINK_START`].
pub const THINK_END: &str = "</think>";

/// Renders and tokenizes the conversation and compiles the constraint. It takes its time: not for async threads.
pub fn request(plan: &mut Plan, workspace: Scope, served: &Served) -> Result<Request, ApiError> {
    let constraint = match plan.form.take() {
        Some(form) => Some(compile(form, served)?),
        None => None,
    };
    let prompt = tokens(plan, served)?;
    let room = room(prompt.len(), plan.n, "messages", served)?;
    let thinking = match plan.thinking {
        Thinking::On(budget) => Some(thinking(served.tokenizer(), budget)?),
        Thinking::Off | Thinking::ModelDecides => None,
    };
    let generate = Generate {
        n: plan.n,
        max_tokens: plan.max_tokens.map_or(room.by_default, |tokens| tokens.min(room.at_most)),
        sampling: plan.sampling.clone(),
        stop: std::mem::take(&mut plan.stop),
        stop_token_ids: std::mem::take(&mut plan.stop_token_ids),
        ignore_eos: plan.ignore_eos,
        logprobs: plan.logprobs,
        prompt_logprobs: None,
        constraint,
        thinking,
    };
    let origin = Origin { workspace, priority: plan.priority };
    let adapter = served.adapter.clone();
    Ok(Request { prompt, task: Task::Generate(Box::new(generate)), origin, adapter })
}

fn compile(form: Form, served: &Served) -> Result<Constraint, ApiError> {
    let grammars = served.grammars.as_ref().ok_or_else(|| {
        ApiError::unsupported(
            form.param,
            "this model has no end token, so a constrained answer could not end",
        )
    })?;
    match (grammars.compile(&form.spec), form.lenient) {
        (Ok(constraint), _) => Ok(constraint),
        (Err(_), Some(lenient)) => {
            grammars.compile(&lenient).map_err(|error| ApiError::invalid(form.param, error.to_string()))
        }
        (Err(error), None) => Err(ApiError::invalid(form.param, error.to_string())),
    }
}

/// The conversation as tokens, with `<think>` opened where the model is to think.
fn tokens(plan: &mut Plan, served: &Served) -> Result<Vec<u32>, ApiError> {
    let template = served.model().chat_template.as_ref().ok_or_else(|| {
        ApiError::invalid("model", format!("`{}` has no chat template; use /v1/completions", served.id))
    })?;
    let mut variables = Map::new();
    match plan.thinking {
        Thinking::On(_) => drop(variables.insert("enable_thinking".to_owned(), Value::Bool(true))),
        Thinking::Off => drop(variables.insert("enable_thinking".to_owned(), Value::Bool(false))),
        Thinking::ModelDecides => {}
    }
    let input = RenderInput {
        messages: std::mem::take(&mut plan.messages),
        tools: std::mem::take(&mut plan.tools),
        add_generation_prompt: true,
        variables,
    };
    let tokenizer = served.tokenizer();
    let mut prompt = template
        .encode(tokenizer, &input)
        .map_err(|error| ApiError::invalid("messages", error.to_string()))?;
    if matches!(plan.thinking, Thinking::On(_)) && !opens_thinking(tokenizer, &prompt) {
        // hybrid models open it themselves, always; opened for them, the switch is a promise and the budget exact
        prompt.extend(tokenizer.encode_with_added("<think>\n"));
    }
    Ok(prompt)
}

/// How reasoning ends, by itself or when the budget is spent.
fn thinking(tokenizer: &Tokenizer, budget: Option<usize>) -> Result<engine::Thinking, ApiError> {
    let end_token = tokenizer
        .token_id(THINK_END)
        .ok_or_else(|| ApiError::internal("a thinking model without </think>"))?;
    let mut end_sequence = tokenizer.encode_with_added("\n");
    end_sequence.push(end_token);
    Ok(engine::Thinking { end_token, end_sequence, budget })
}
