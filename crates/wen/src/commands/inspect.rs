//! `wen inspect`: what a checkpoint is.

use crate::output::{self, Facts};
use crate::{loading, progress::Progress};
use anyhow::Context;
use models::model::{GenerationDefaults, Summary};
use models::{Model, ModelKind};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Which checkpoint.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wen inspect models/Qwen3-0.6B
  wen inspect Qwen3-8B-Q4_K_M.gguf --json")]
pub struct Args {
    /// The model: a checkpoint directory or a GGUF file
    model: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What is known of a checkpoint.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    summary: Summary,
    /// What is around the weights; absent when it cannot be used.
    text: Option<TextFacts>,
    /// Why the model cannot chat or serve, if it cannot.
    problem: Option<String>,
}

/// What a checkpoint has around its weights.
#[derive(Serialize)]
struct TextFacts {
    tokens: usize,
    added_tokens: usize,
    chat_template: Option<TemplateFacts>,
    end_tokens: Vec<EndToken>,
    sampling: Sampling,
}

#[derive(Serialize)]
struct TemplateFacts {
    tools: bool,
    thinking_switch: bool,
}

#[derive(Serialize)]
struct EndToken {
    id: u32,
    text: String,
}

/// The sampling that the author recommends.
#[derive(Serialize)]
struct Sampling {
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<u32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
}

/// Writes the facts to standard output.
pub fn run(args: Args) -> anyhow::Result<()> {
    let report = inspect(&args.model)?;
    if args.json { output::json(&report) } else { Ok(facts(&report).print()?) }
}

fn inspect(name: &Path) -> anyhow::Result<Report> {
    let path = &loading::locate(name)?;
    let _progress = Progress::spinner(format!("reading {}", path.display()));
    let summary = Summary::read(path).with_context(|| loading::cannot_load(path))?;
    Ok(match Model::open(path) {
        Ok(model) => Report { summary, text: Some(text_facts(&model)), problem: None },
        Err(error) => Report { summary, text: None, problem: Some(error.to_string()) },
    })
}

fn text_facts(model: &Model) -> TextFacts {
    let tokenizer = &model.tokenizer;
    let ids = 0..u32::try_from(tokenizer.len()).unwrap_or(u32::MAX);
    let template = model.chat_template.as_ref();
    let end_token = |&id: &u32| EndToken { id, text: tokenizer.decode(&[id], false) };
    let &GenerationDefaults { temperature, top_p, top_k, min_p, repetition_penalty, .. } = &model.generation;
    TextFacts {
        tokens: tokenizer.len(),
        added_tokens: ids.filter(|&id| tokenizer.is_added(id)).count(),
        chat_template: template.map(|template| TemplateFacts {
            tools: template.reads("tools"),
            thinking_switch: template.reads("enable_thinking"),
        }),
        end_tokens: model.generation.eos_token_ids.iter().map(end_token).collect(),
        sampling: Sampling { temperature, top_p, top_k, min_p, repetition_penalty },
    }
}

fn facts(report: &Report) -> Facts {
    let Report { summary, text, problem } = report;
    let mut facts = Facts::default();
    facts.add("name", &summary.name);
    facts.add("architecture", &summary.architecture);
    facts.add("made for", kind(summary.kind));
    facts.add("parameters", output::count(summary.parameters));
    facts.add("weights", output::bytes(summary.weight_bytes));
    for stored in &summary.types {
        let share = format!("{} in {} tensors", output::bytes(stored.bytes), stored.tensors);
        facts.add(format!("  {}", stored.type_name), share);
    }
    if let Some(quantization) = &summary.quantization {
        facts.add("quantization", quantization.to_string());
    }
    facts.add("layers", summary.layers.to_string());
    facts.add("hidden size", output::thousands(summary.hidden_size as u64));
    let (heads, kv_heads, head_dim) = (summary.heads, summary.kv_heads, summary.head_dim);
    facts.add("attention", format!("{heads} query heads, {kv_heads} key-value heads of {head_dim}"));
    if let Some((count, used)) = summary.experts {
        facts.add("experts", format!("{count}, of which {used} compute a token"));
    }
    facts.add("vocabulary", output::thousands(summary.vocab_size as u64));
    facts.add("context", format!("{} tokens", output::thousands(summary.context_length as u64)));
    let cache = summary.kv_bytes_per_1000_tokens;
    let (half, full) = (output::bytes(cache), output::bytes(cache.saturating_mul(2)));
    facts.add("memory per 1,000 tokens", format!("{half} in 16 bits, {full} in float32"));
    if let Some(text) = text {
        add_text(&mut facts, text);
    }
    if let Some(problem) = problem {
        facts.add("problem", problem);
    }
    facts
}

fn add_text(facts: &mut Facts, text: &TextFacts) {
    let tokens = output::thousands(text.tokens as u64);
    facts.add("tokenizer", format!("{tokens} tokens, {} of them added ones", text.added_tokens));
    let template = match &text.chat_template {
        None => "none: a base model".to_owned(),
        Some(template) => {
            let yes = |switch, what| if switch { what } else { "" };
            let (tools, thinking) = (
                yes(template.tools, ", with tools"),
                yes(template.thinking_switch, ", thinking can be switched"),
            );
            format!("yes{tools}{thinking}")
        }
    };
    facts.add("chat template", template);
    let ends: Vec<String> = text.end_tokens.iter().map(|end| format!("{} ({})", end.text, end.id)).collect();
    facts.add("end tokens", if ends.is_empty() { "none".to_owned() } else { ends.join(", ") });
    let sampling = &text.sampling;
    let values = [
        sampling.temperature.map(|x| format!("temperature {x}")),
        sampling.top_p.map(|x| format!("top_p {x}")),
        sampling.top_k.map(|x| format!("top_k {x}")),
        sampling.min_p.map(|x| format!("min_p {x}")),
        sampling.repetition_penalty.map(|x| format!("repetition_penalty {x}")),
    ];
    let values: Vec<String> = values.into_iter().flatten().collect();
    if !values.is_empty() {
        facts.add("recommended sampling", values.join(", "));
    }
}

fn kind(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::Generate => "text generation",
        ModelKind::Embed => "embeddings",
        ModelKind::Rerank => "reranking",
    }
}
