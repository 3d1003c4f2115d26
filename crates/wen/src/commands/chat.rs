//! `wen chat`: a conversation in the terminal, or one question and its answer.

mod answer;
mod commands;
mod session;
mod settings;

use super::read_stdin;
use crate::exit::{Interrupted, Usage};
use crate::sizes::{self, SizeArgs, Wishes};
use crate::{builtin, loading, output};
use answer::{Answer, Finish, Printer};
use engine::{Engine, LoadedAdapter};
use serde::Serialize;
use serde_json::{Value, json};
use settings::Settings;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// What the adapter is called; nobody else sees it.
const ADAPTER_NAME: &str = "chat";

/// With whom to talk, and how.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Talk to a model in the terminal, or ask it one question.\n\n\
        Without PROMPT and with a terminal this is a conversation; /help lists its commands, Ctrl-C stops an answer, \
        Ctrl-D leaves. With PROMPT, or when standard input is no terminal, it is one question: the answer goes to \
        standard output. Reasoning is shown only on a terminal, dimmed, and with --json.",
    after_help = "Examples:
  wen chat
  wen chat \"Who are you?\"
  wen chat models/Qwen3-0.6B
  wen chat models/Qwen3-0.6B \"What is the capital of France?\" --no-thinking
  wen chat models/Qwen3-0.6B --adapter out/adapter
  git diff | wen chat Qwen3-8B-Q4_K_M.gguf --system \"Write a commit message for this change.\"
  wen chat models/Qwen3-0.6B \"Hello\" --temperature 0 --max-tokens 100 --json"
)]
pub struct Args {
    /// The model: a checkpoint directory, a GGUF file or a name [default: wen-nano, the built-in one]
    model: Option<PathBuf>,
    /// The question; - reads standard input. One argument that names no model is a question to wen-nano
    prompt: Option<String>,
    /// An adapter to talk to it through: a PEFT directory, as `wen train` writes it
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// The answer, its reasoning, usage and timings as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    sizes: SizeArgs,
}

/// Who answers: a model, perhaps through an adapter.
struct Speaker {
    engine: Engine,
    adapter: Option<LoadedAdapter>,
}

/// The answer to one question with `--json`.
#[derive(Serialize)]
struct Report {
    model: String,
    #[serde(flatten)]
    answer: Answer,
    load_seconds: f64,
}

/// Talks.
pub fn run(args: Args) -> anyhow::Result<()> {
    let (model, prompt) = match (args.model, args.prompt) {
        (Some(text), None) if is_question(&text) => (None, text.into_os_string().into_string().ok()),
        both => both,
    };
    let question = match prompt.as_deref() {
        Some("-") => Some(read_stdin()?),
        Some(prompt) => Some(prompt.to_owned()),
        None if std::io::stdin().is_terminal() => None,
        None => Some(read_stdin()?),
    };
    if question.as_ref().is_some_and(|question| question.trim().is_empty()) {
        return Err(Usage("the prompt is empty".to_owned()).into());
    }
    if args.json && question.is_none() {
        return Err(Usage("--json is for one question; give a prompt".to_owned()).into());
    }
    let started = Instant::now();
    let name = model.unwrap_or_else(|| builtin::NAME.into());
    let pool = Arc::new(kernels::Pool::new(args.sizes.threads()));
    let model = loading::pack(loading::open_for_chat(&name)?, &args.sizes, &pool)?;
    let draft = loading::open_draft(&args.sizes, &pool)?;
    [Some(&model), draft.as_ref()].into_iter().flatten().for_each(|model| loading::warm_up(model));
    let wishes = Wishes {
        cache_tokens: None,
        max_sequences: 1,
        max_waiting: 1,
        max_waiting_tokens: None,
        memory: sizes::cache_memory(&[&model], draft.as_deref()),
    };
    let options = sizes::engine_options(&model, draft.as_ref(), &args.sizes, wishes)?;
    let engine = loading::start(model, pool, options)?;
    let load = |dir: &PathBuf| loading::adapter(&engine, ADAPTER_NAME.parse()?, dir);
    let speaker = Speaker { adapter: args.adapter.as_ref().map(load).transpose()?, engine };
    let load_seconds = started.elapsed().as_secs_f64();
    let Some(question) = question else {
        return session::Session::new(speaker, args.settings, args.system)?.run();
    };
    let messages = conversation(args.system.as_deref(), &[message("user", &question)]);
    let printer = if args.json { Printer::silent() } else { Printer::to_stdout() };
    let answer = ask(&speaker, messages, &args.settings, printer)?;
    let finish = answer.finish_reason;
    if args.json {
        output::json(&Report { model: models::model::model_name(&name), answer, load_seconds })?;
    }
    if finish == Finish::Interrupted { Err(Interrupted.into()) } else { Ok(()) }
}

/// Whether the only argument asks something of the built-in model: it names no model, and has white space or other letters
/// than names of models have.
fn is_question(text: &Path) -> bool {
    let reads_so = text.to_str().is_some_and(|text| text.contains(char::is_whitespace) || !text.is_ascii());
    reads_so && loading::locate(text).is_err_and(|error| error.is::<loading::NoSuchModel>())
}

/// Asks and waits for the whole answer; Ctrl-C ends it early.
fn ask(
    speaker: &Speaker,
    messages: Vec<Value>,
    settings: &Settings,
    printer: Printer,
) -> anyhow::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(answer::answer(speaker, messages, settings, printer))
}

/// A message of a conversation as templates read it.
fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// The messages with the system's before them.
fn conversation(system: Option<&str>, messages: &[Value]) -> Vec<Value> {
    system.map(|text| message("system", text)).into_iter().chain(messages.iter().cloned()).collect()
}
