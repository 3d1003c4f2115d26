//! Jinja chat templates, run with limits.

use super::clock::strftime_now;
use super::guard::{Guard, guard, sentinel};
use super::limits::{MAX_FUEL, MAX_PROMPT_BYTES, MAX_RECURSION, MAX_TEMPLATE_BYTES, RENDER_STACK_BYTES};
use super::python_json::{python_float, tojson};
use crate::Tokenizer;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, Value as JinjaValue};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, Scope, ScopedJoinHandle};

/// The name that error messages call the template by.
const NAME: &str = "chat_template";

/// A compiled chat template.
///
/// Templates see what transformers gives them: `messages`, `tools`, `add_generation_prompt`, `bos_token`, `eos_token`,
/// the functions `raise_exception` and `strftime_now` (in UTC), and Python's methods of texts, lists and maps.
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    variables: HashSet<String>,
    bos: String,
    eos: String,
}

/// What a template is rendered with.
#[derive(Clone, Debug, Default)]
pub struct RenderInput {
    /// Messages as JSON objects with `role`, `content` (a string) and, for the assistant, `tool_calls`.
    pub messages: Vec<Value>,
    /// Tool definitions as clients send them.
    pub tools: Vec<Value>,
    /// Whether the prompt ends where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// Other variables that the template reads, such as `enable_thinking`.
    pub variables: Map<String, Value>,
}

/// Why a template cannot be used or a conversation cannot be rendered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// The source is over the bound.
    #[error("the chat template has {bytes} bytes; at most {limit} are read")]
    SourceTooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// The source is not a template.
    #[error("the chat template cannot be compiled: {0}")]
    Syntax(String),
    /// The template itself refuses the conversation (`raise_exception`).
    #[error("the chat template refuses the conversation: {0}")]
    Raised(String),
    /// Rendering took more than it may.
    #[error("the chat template exceeds the limit of {limit} {what}; shorten the conversation")]
    Limit {
        /// What ran out.
        what: &'static str,
        /// How much there is.
        limit: u64,
    },
    /// The template fails on this conversation.
    #[error("the chat template fails on this conversation: {0}")]
    Render(String),
    /// Control tokens in the conversation's text could not be told from the template's.
    #[error(
        "the conversation's text contains control tokens, and the chat template does not pass it on unchanged; remove them"
    )]
    ControlTokens,
}

thread_local! {
    /// Whether this thread has the stack that templates may take.
    static RENDERS: Cell<bool> = const { Cell::new(false) };
}

/// A thread that renders templates where it calls them.
///
/// # Errors
/// When the system has no thread to give.
pub fn spawn_renderer<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    let thread = thread::Builder::new().name("chat template".into()).stack_size(RENDER_STACK_BYTES);
    thread.spawn_scoped(scope, || {
        RENDERS.set(true);
        work()
    })
}

impl ChatTemplate {
    /// Compiles `source`; `bos` and `eos` are the tokens that templates know as `bos_token` and `eos_token`, empty if
    /// the tokenizer has none.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<ChatTemplate, TemplateError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::SourceTooLarge { bytes: source.len(), limit: MAX_TEMPLATE_BYTES });
        }
        let syntax_error = |error: Error| TemplateError::Syntax(describe(&error));
        let mut environment = environment().map_err(syntax_error)?;
        environment.add_template_owned(NAME, without_generation_tags(source)).map_err(syntax_error)?;
        let variables = environment.get_template(NAME).map_err(syntax_error)?.undeclared_variables(false);
        Ok(ChatTemplate { environment, source: source.into(), variables, bos: bos.into(), eos: eos.into() })
    }

    /// The prompt as text, exactly as the template gives it. It is made on a thread with the stack that this may take; who
    /// renders many calls this from [one](spawn_renderer).
    pub fn render(&self, input: &RenderInput) -> Result<String, TemplateError> {
        let panicked = |_| Err(TemplateError::Render("the template engine panicked".into()));
        if RENDERS.get() {
            return catch_unwind(AssertUnwindSafe(|| self.render_here(input))).unwrap_or_else(panicked);
        }
        thread::scope(|scope| match spawn_renderer(scope, || self.render(input)) {
            Ok(thread) => thread.join().unwrap_or_else(panicked),
            Err(error) => Err(TemplateError::Render(format!("no thread to render on: {error}"))),
        })
    }

    fn render_here(&self, input: &RenderInput) -> Result<String, TemplateError> {
        let mut context: Vec<(&str, JinjaValue)> = vec![
            ("messages", Serde(&input.messages).into()),
            ("add_generation_prompt", input.add_generation_prompt.into()),
            // transformers passes `None` for no tools
            ("tools", if input.tools.is_empty() { ().into() } else { Serde(&input.tools).into() }),
        ];
        for (name, token) in [("bos_token", &self.bos), ("eos_token", &self.eos)] {
            if !token.is_empty() {
                context.push((name, token.as_str().into()));
            }
        }
        context.extend(input.variables.iter().map(|(name, value)| (name.as_str(), Serde(value).into())));

        let mut prompt = LimitedOutput(Vec::new());
        let context = JinjaValue::from_pairs(context);
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render_captured_to(context, &mut prompt).map(drop))
            .map_err(|error| render_error(&error))?;
        String::from_utf8(prompt.0).map_err(|error| TemplateError::Render(error.to_string()))
    }

    /// The prompt as ids: added tokens that the template writes are control tokens, those inside the messages'
    /// text are text. (In what the assistant said before, `<think>` and `<tool_call>` count as written by the template.)
    pub fn encode(&self, tokenizer: &Tokenizer, input: &RenderInput) -> Result<Vec<u32>, TemplateError> {
        let sentinel = sentinel(&self.source, input).ok_or(TemplateError::ControlTokens)?;
        let mut plain = None;
        for level in [Guard::Markup, Guard::Control] {
            let guarded = guard(input, tokenizer.added_tokens(), level, sentinel);
            if guarded.unbroken {
                return Err(TemplateError::ControlTokens);
            }
            let prompt = self.render(&guarded.input)?;
            if !guarded.changed {
                return Ok(tokenizer.encode_guarded(&prompt, sentinel));
            }
            let plain = match &plain {
                Some(plain) => plain,
                None => plain.insert(self.render(input)?),
            };
            // a template that looks at the text may have taken another way
            if plain.chars().eq(prompt.chars().filter(|&c| c != sentinel)) {
                return Ok(tokenizer.encode_guarded(&prompt, sentinel));
            }
        }
        Err(TemplateError::ControlTokens)
    }

    /// Whether the template reads `variable` (`enable_thinking`, `tools`).
    pub fn reads(&self, variable: &str) -> bool {
        self.variables.contains(variable)
    }
}

/// The template language as transformers sets it up.
fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(write_value);
    environment.set_fuel(Some(MAX_FUEL));
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", tojson);
    // it indents by the depth, so its output grows with the square of a nested list, and is charged afterwards
    environment.remove_filter("pprint");
    environment.add_function("raise_exception", |message: String| -> Result<JinjaValue, Error> {
        Err(Error::from(ErrorKind::InvalidOperation).with_source(Raised(message)))
    });
    environment.add_function("strftime_now", |format: String| {
        strftime_now(&format).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidOperation,
                format!("strftime_now does not know the format {format:?}"),
            )
        })
    });
    Ok(environment)
}

/// Prints constants and numbers as Python does.
fn write_value(output: &mut Output, state: &mut State, value: &JinjaValue) -> Result<(), Error> {
    let text = match value.kind() {
        ValueKind::None => "None".into(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.into(),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(number) => python_float(number),
            Err(_) => value.to_string(),
        },
        _ => return minijinja::escape_formatter(output, state, value),
    };
    output.write_str(&text).map_err(Error::from)
}

/// What a template gave to `raise_exception`.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn render_error(error: &Error) -> TemplateError {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if let Some(Raised(message)) = error.downcast_ref() {
            return TemplateError::Raised(message.clone());
        }
        source = error.source();
    }
    match error.kind() {
        ErrorKind::OutOfFuel => TemplateError::Limit { what: "steps", limit: MAX_FUEL },
        ErrorKind::WriteFailure => TemplateError::Limit { what: "bytes", limit: MAX_PROMPT_BYTES as u64 },
        _ if error.detail() == Some("recursion limit exceeded") => {
            TemplateError::Limit { what: "levels of recursion", limit: MAX_RECURSION as u64 }
        }
        _ => TemplateError::Render(describe(error)),
    }
}

/// The message with its line, on one line.
fn describe(error: &Error) -> String {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    match error.line() {
        Some(line) => format!("{what} (line {line})"),
        None => what,
    }
}

/// A prompt that may not grow over its bound.
struct LimitedOutput(Vec<u8>);

impl Write for LimitedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_PROMPT_BYTES {
            return Err(io::Error::other("the prompt is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `source` with `{% generation %}` replaced by a block that does nothing. The tag marks what training learns from;
/// the block keeps its effect on white space.
fn without_generation_tags(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        result.push_str(before);
        let inner_start = 2 + usize::from(tag[2..].starts_with(['-', '+']));
        let word_start = inner_start + (tag[inner_start..].len() - tag[inner_start..].trim_start().len());
        let word =
            tag[word_start..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or("");
        let replacement = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            other => other,
        };
        result.push_str(&tag[..word_start]);
        result.push_str(replacement);
        rest = &tag[word_start + word.len()..];
    }
    result.push_str(rest);
    result
}
