//! From a conversation to its answer, piece by piece.

use super::Speaker;
use super::settings::Settings;
use crate::output;
use anyhow::{Context, bail};
use engine::{Event, FinishReason, Generate, Origin, Request, SubmitError, Task};
use models::Model;
use models::chat::{OutputDelta, OutputParser, RenderInput, opens_thinking};
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

/// A whole answer.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// What the model says.
    pub text: String,
    /// What it thought before.
    pub reasoning: Option<String>,
    /// Why it ended.
    pub finish_reason: Finish,
    usage: Usage,
    timings: Timings,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// It was complete.
    Stop,
    /// It reached its longest length.
    Length,
    /// Ctrl-C.
    Interrupted,
}

#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    cached_tokens: usize,
}

#[derive(Debug, Serialize)]
struct Timings {
    first_token_seconds: Option<f64>,
    total_seconds: f64,
    prompt_tokens_per_second: Option<f64>,
    tokens_per_second: Option<f64>,
}

/// What of an answer goes to standard output while it is made.
pub struct Printer {
    shown: bool,
    reasoning: bool,
    dim: bool,
    state: Printed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Printed {
    Nothing,
    Reasoning,
    Content,
}

/// An answer that is being made.
struct Progress {
    text: String,
    reasoning: String,
    printer: Printer,
    prompt_tokens: usize,
    cached_tokens: usize,
    completion_tokens: usize,
    started: Instant,
    first_token: Option<Instant>,
}

/// Asks the model; `printer` shows the answer as it comes.
///
/// # Errors
/// When the prompt does not fit, the template does not take the messages, the engine fails or the output is closed.
pub async fn answer(
    speaker: &Speaker,
    messages: Vec<Value>,
    settings: &Settings,
    printer: Printer,
) -> anyhow::Result<Answer> {
    let engine = &speaker.engine;
    let model = engine.model();
    let prompt = prompt(model, messages, settings)?;
    let in_thinking = opens_thinking(&model.tokenizer, &prompt);
    let mut parser = OutputParser::new(in_thinking, false);
    let mut progress = Progress::new(printer, prompt.len());
    let mut events = engine.submit(request(speaker, prompt, settings)?)?;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let finish = loop {
        let event = tokio::select! {
            biased;
            _ = &mut interrupted => break Finish::Interrupted,
            event = events.recv() => event.context("the engine ended before the answer did")?,
        };
        match event {
            Event::Prompt { cached_tokens, .. } => progress.cached_tokens = cached_tokens,
            Event::Tokens { text, ids, .. } => {
                progress.count(ids.len());
                progress.add(parser.push(&text))?;
            }
            Event::Finished { reason, .. } => {
                break match reason {
                    FinishReason::Stop => Finish::Stop,
                    FinishReason::Length => Finish::Length,
                };
            }
            Event::Failed(reason) => bail!("the engine failed: {reason}"),
            Event::Embedding(_) | Event::Scores(_) => {}
        }
    };
    progress.add(parser.finish())?;
    Ok(progress.finish(finish)?)
}

fn prompt(model: &Model, messages: Vec<Value>, settings: &Settings) -> anyhow::Result<Vec<u32>> {
    let template = model.chat_template.as_ref().context("a model for chat without a template")?;
    let mut variables = Map::new();
    if let Some(thinking) = settings.thinking() {
        variables.insert("enable_thinking".to_owned(), Value::Bool(thinking));
    }
    let input = RenderInput { messages, tools: Vec::new(), add_generation_prompt: true, variables };
    Ok(template.encode(&model.tokenizer, &input)?)
}

fn request(speaker: &Speaker, prompt: Vec<u32>, settings: &Settings) -> Result<Request, SubmitError> {
    let Speaker { engine, adapter } = speaker;
    let context = engine.options().context_length;
    let room = context.saturating_sub(prompt.len());
    if room == 0 {
        return Err(SubmitError::TooLong { prompt: prompt.len(), answer: 1, context });
    }
    let generate = Generate {
        max_tokens: settings.max_tokens().map_or(room, |tokens| tokens.min(room)),
        sampling: settings.sampling(&engine.model().generation),
        ..Generate::default()
    };
    let (task, origin) = (Task::Generate(Box::new(generate)), Origin::default());
    Ok(Request { prompt, task, origin, adapter: adapter.clone() })
}

impl Progress {
    fn new(printer: Printer, prompt_tokens: usize) -> Progress {
        Progress {
            text: String::new(),
            reasoning: String::new(),
            printer,
            prompt_tokens,
            cached_tokens: 0,
            completion_tokens: 0,
            started: Instant::now(),
            first_token: None,
        }
    }

    fn count(&mut self, tokens: usize) {
        self.completion_tokens += tokens;
        if tokens > 0 {
            self.first_token.get_or_insert_with(Instant::now);
        }
    }

    fn add(&mut self, deltas: Vec<OutputDelta>) -> io::Result<()> {
        for delta in deltas {
            match delta {
                OutputDelta::Reasoning(text) => {
                    self.printer.reasoning(&text)?;
                    self.reasoning.push_str(&text);
                }
                OutputDelta::Content(text) => {
                    // models put empty lines between reasoning and answer
                    let text = if self.text.is_empty() { text.trim_start() } else { &text };
                    self.printer.content(text)?;
                    self.text.push_str(text);
                }
                OutputDelta::ToolCall { .. } | OutputDelta::Arguments { .. } => {}
            }
        }
        Ok(())
    }

    fn finish(mut self, finish_reason: Finish) -> io::Result<Answer> {
        self.printer.end()?;
        let per_second = |tokens: usize, seconds: f64| (seconds > 0.0).then(|| tokens as f64 / seconds);
        let first = self.first_token.map(|first| (first - self.started).as_secs_f64());
        let total = self.started.elapsed().as_secs_f64();
        let computed = self.prompt_tokens.saturating_sub(self.cached_tokens);
        let later = self.completion_tokens.saturating_sub(1);
        Ok(Answer {
            text: self.text,
            reasoning: Some(self.reasoning.trim().to_owned()).filter(|reasoning| !reasoning.is_empty()),
            finish_reason,
            usage: Usage {
                prompt_tokens: self.prompt_tokens,
                completion_tokens: self.completion_tokens,
                total_tokens: self.prompt_tokens + self.completion_tokens,
                cached_tokens: self.cached_tokens,
            },
            timings: Timings {
                first_token_seconds: first,
                total_seconds: total,
                prompt_tokens_per_second: first.and_then(|first| per_second(computed, first)),
                tokens_per_second: first
                    .filter(|_| later > 0)
                    .and_then(|first| per_second(later, total - first)),
            },
        })
    }
}

impl Printer {
    /// Shows nothing.
    pub fn silent() -> Printer {
        Printer { shown: false, reasoning: false, dim: false, state: Printed::Nothing }
    }

    /// Shows the answer, and on a terminal the reasoning.
    pub fn to_stdout() -> Printer {
        let reasoning = io::stdout().is_terminal();
        Printer { shown: true, reasoning, dim: output::colours(), state: Printed::Nothing }
    }

    fn reasoning(&mut self, text: &str) -> io::Result<()> {
        if !self.reasoning || text.is_empty() {
            return Ok(());
        }
        let begin = match self.state {
            Printed::Reasoning => "",
            Printed::Nothing | Printed::Content if self.dim => "\x1b[2m",
            Printed::Nothing | Printed::Content => "<think>",
        };
        self.state = Printed::Reasoning;
        write(&[begin, text])
    }

    fn content(&mut self, text: &str) -> io::Result<()> {
        if !self.shown || text.is_empty() {
            return Ok(());
        }
        self.end_reasoning()?;
        self.state = Printed::Content;
        write(&[text])
    }

    fn end(&mut self) -> io::Result<()> {
        if !self.shown {
            return Ok(());
        }
        self.end_reasoning()?;
        write(&["\n"])
    }

    fn end_reasoning(&mut self) -> io::Result<()> {
        match self.state {
            Printed::Reasoning if self.dim => write(&["\x1b[0m\n\n"]),
            Printed::Reasoning => write(&["</think>\n\n"]),
            Printed::Nothing | Printed::Content => Ok(()),
        }
    }
}

/// Writes to standard output at once.
fn write(parts: &[&str]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    parts.iter().try_for_each(|part| out.write_all(part.as_bytes()))?;
    out.flush()
}
