//! `wen convert`: a model in the other file format, quantized, with adapters merged.

mod card;

use crate::exit::Usage;
use crate::output::{self, Facts};
use crate::progress::Progress;
use crate::signals::stop_on_signal;
use crate::{loading, machine};
use anyhow::Context;
use card::Card;
use clap::ValueEnum;
use hub::lineage::Parent;
use models::checkpoint::writer::{directory_of, write_dir, write_file};
use models::export::directory::SHARD_BYTES;
use models::export::{ExportError, Options, Origin, Storage, Written, directory, gguf};
use models::model::{open_weights, repository_name};
use models::{Adapter, CausalLm, Checkpoint};
use nn::DType;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Bytes written between two times that the pages which were read are given back: what of the model is in memory at once.
const FORGET_BYTES: u64 = 256 << 20;
/// Matrices that a note names.
const NAMED: usize = 3;

/// What to convert into what.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Write a model in the other file format, quantized, or with adapters merged.\n\n\
        --out FILE.gguf makes one file with tokenizer, chat template and sampling values inside, for llama.cpp and all that \
        reads GGUF; --out DIRECTORY makes safetensors with config.json, tokenizer.json and what else transformers reads. \
        Either is made of either. README.md in a directory, and the metadata of a file, say what it was made from, with what is \
        known of that. What is written appears complete or not at all, and memory holds a few tensors of the \
        model, not all.\n\n\
        Without --type each matrix keeps its type; what a format can't hold becomes bf16. In GGUF files norms, biases and \
        the routers of experts are float32 always, and the vocabulary's matrices are q8_0 where the others have fewer bits. \
        A matrix whose rows are no whole blocks of the type is q8_0, f16 or stays bf16, and is named.",
    after_help = "Examples:
  wen convert models/Qwen3-0.6B --out qwen3-0.6b-q8_0.gguf --type q8_0
  wen convert models/Qwen3-0.6B --adapter runs/sql/adapter --out models/qwen3-sql
  wen convert Qwen3-8B-Q4_K_M.gguf --out models/qwen3-8b --type bf16"
)]
pub struct Args {
    /// The model: a checkpoint directory or a GGUF file
    model: PathBuf,
    /// What to write: a file that ends in .gguf, or a directory
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// What to write, where the path's ending does not say it
    #[arg(long, value_name = "FORMAT")]
    to: Option<Format>,
    /// How matrices are stored [default: as they are]
    #[arg(long = "type", value_name = "TYPE")]
    matrices: Option<Matrices>,
    /// An adapter (a PEFT directory: LoRA, rsLoRA or DoRA) to merge into the weights; several are merged one after the other
    #[arg(long = "adapter", value_name = "DIR")]
    adapters: Vec<PathBuf>,
    /// Most bytes of weights in one safetensors file, as in 5GB or 500MB [default: 5GB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    shard_size: Option<u64>,
    /// Replace what is there: a file, or a directory that holds a model
    #[arg(long)]
    force: bool,
    /// Processor threads [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One GGUF file
    Gguf,
    /// A directory with safetensors
    Safetensors,
}

/// How matrices are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Matrices {
    /// Float32
    F32,
    /// 16 bits with the range of float32
    Bf16,
    /// 16 bits with a small range
    F16,
    /// 8 bits with a scale for each 32 values; GGUF only
    #[value(name = "q8_0")]
    Q8_0,
    /// 4 bits with a scale for each 32 values; GGUF only
    #[value(name = "q4_0")]
    Q4_0,
    /// 4 bits with a scale and a least value for each 32 of 256 values, fitted; GGUF only
    #[value(name = "q4_k")]
    Q4K,
}

impl Matrices {
    fn dtype(self) -> DType {
        match self {
            Matrices::F32 => DType::F32,
            Matrices::Bf16 => DType::BF16,
            Matrices::F16 => DType::F16,
            Matrices::Q8_0 => DType::Q8_0,
            Matrices::Q4_0 => DType::Q4_0,
            Matrices::Q4K => DType::Q4_K,
        }
    }
}

/// Converts.
pub fn run(args: Args) -> anyhow::Result<()> {
    let format = format(&args)?;
    check_out(&args, format)?;
    let path = loading::locate(&args.model)?;
    check_apart(&path, &args.out)?;
    let (checkpoint, mut lm) = open_weights(&path).with_context(|| loading::cannot_load(&path))?;
    let (adapters, parents): (Vec<_>, Vec<_>) = read_adapters(&args, &checkpoint)?.into_iter().unzip();
    let stored = args.matrices.map(|matrices| matrices.dtype().name());
    let card = Card::new(&args.out, parent(&path), &parents, stored);
    let written = convert(&args, format, &checkpoint, &mut lm, &adapters, &card)
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    describe(&written);
    Ok(output::line(&args.out.display().to_string())?)
}

/// The format that was asked for, or that the path's ending says.
fn format(args: &Args) -> Result<Format, Usage> {
    let is_gguf = args.out.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"));
    let is_part = args.out.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("safetensors"));
    let format = args.to.unwrap_or(if is_gguf { Format::Gguf } else { Format::Safetensors });
    if format == Format::Safetensors {
        if is_part && args.to.is_none() {
            let out = args.out.display();
            return Err(Usage(format!(
                "--out {out}: safetensors come in a directory, so give the name of one"
            )));
        }
        if let Some(matrices) = args.matrices.filter(|matrices| matrices.dtype().block_len() > 1) {
            let name = matrices.dtype().name().to_lowercase();
            return Err(Usage(format!(
                "--type {name} is for GGUF files; safetensors take f32, bf16 and f16"
            )));
        }
    } else if args.shard_size.is_some() {
        return Err(Usage("--shard-size is for safetensors; a GGUF file is one".to_owned()));
    }
    Ok(format)
}

/// Refuses to write over what is there, unless it may be replaced and is of the same kind.
fn check_out(args: &Args, format: Format) -> Result<(), Usage> {
    let out = &args.out;
    let shown = out.display();
    if !directory_of(out).is_dir() {
        return Err(Usage(format!("--out {shown}: there is no directory {}", directory_of(out).display())));
    }
    let Ok(found) = out.symlink_metadata() else { return Ok(()) };
    let is_empty = || std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    let refused = match format {
        Format::Gguf if !found.is_file() => "is there, and is no file",
        Format::Safetensors if !found.is_dir() => "is there, and is no directory",
        Format::Safetensors if is_empty() => return Ok(()),
        _ if !args.force => "is there; --force replaces it",
        // whatever else lies in such a directory would go with it
        Format::Safetensors if !out.join("config.json").is_file() => {
            "holds no model, so --force does not replace it; write elsewhere"
        }
        _ => return Ok(()),
    };
    Err(Usage(format!("--out {shown} {refused}")))
}

/// Refuses to replace the model by itself, or by something inside of it.
fn check_apart(model: &Path, out: &Path) -> Result<(), Usage> {
    let Ok(model) = model.canonicalize() else { return Ok(()) };
    let above = directory_of(out).canonicalize();
    let Some(out) = above.ok().zip(out.file_name()).map(|(above, name)| above.join(name)) else {
        return Err(Usage(format!("--out {} names neither a file nor a directory", out.display())));
    };
    if out.starts_with(&model) || model.starts_with(&out) {
        return Err(Usage(format!("--out {} is where the model is; write elsewhere", out.display())));
    }
    Ok(())
}

fn parent(path: &Path) -> Parent {
    Parent::read(path, repository_name(path))
}

/// The adapters, which have to be made for this model where they say for which.
fn read_adapters(args: &Args, checkpoint: &Checkpoint) -> anyhow::Result<Vec<(Adapter, Parent)>> {
    let mut sha256 = None;
    let read = |name: &PathBuf| {
        let dir = loading::locate(name)?;
        let adapter = Adapter::read(&dir).and_then(|adapter| {
            adapter.check_base(|| sha256.get_or_insert_with(|| checkpoint.sha256()).clone())?;
            Ok((adapter, parent(&dir)))
        });
        adapter.with_context(|| format!("cannot merge the adapter {}", dir.display()))
    };
    args.adapters.iter().map(read).collect()
}

fn convert(
    args: &Args,
    format: Format,
    checkpoint: &Checkpoint,
    lm: &mut CausalLm,
    adapters: &[Adapter],
    card: &Card,
) -> anyhow::Result<Written> {
    let stop = stop_on_signal("stopping; nothing is left behind")?;
    let pool = kernels::Pool::new(args.threads.map_or_else(machine::threads, usize::from));
    let mut bar = None;
    let mut forgotten = 0;
    let mut progress = |done: u64, total| {
        bar.get_or_insert_with(|| Progress::bytes("converting", total)).set(done);
        if done - forgotten > FORGET_BYTES {
            forgotten = done;
            checkpoint.forget_pages();
        }
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let storage = args.matrices.map_or(Storage::Same, |matrices| Storage::In(matrices.dtype()));
    let provenance = Some(card.provenance());
    let options = Options { storage, adapters, provenance, pool: &pool, progress: &mut progress };
    let origin = Origin::of(checkpoint);
    let written = match format {
        Format::Gguf => gguf::write(lm, origin, &args.out, options),
        Format::Safetensors => write_dir(&args.out, |dir| -> Result<Written, ExportError> {
            write_file(&dir.join("README.md"), |out| out.write_all(card.text.as_bytes()))?;
            directory::write(lm, origin, dir, args.shard_size.unwrap_or(SHARD_BYTES), options)
        }),
    };
    Ok(written?)
}

/// Says what was written, and what is not as it was wanted.
fn describe(written: &Written) {
    let mut facts = Facts::default();
    facts.add("weights", format!("{} in {} file(s)", output::bytes(written.bytes), written.files));
    let types = written.matrices.iter().map(|(dtype, count)| format!("{count} in {}", dtype.name()));
    facts.add("matrices", types.collect::<Vec<_>>().join(", "));
    facts.note();
    let Some(first) = written.fallbacks.first() else { return };
    let names: Vec<&str> = written.fallbacks.iter().take(NAMED).map(|f| f.name.as_str()).collect();
    let more = match written.fallbacks.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    output::note(&format!(
        "stored as {}, since rows of {} values are no whole blocks of {}: {}{more}",
        first.stored.name(),
        first.cols,
        first.wanted.name(),
        names.join(", "),
    ));
}

/// Bytes as people write them: `5GB`, `500MB`, `1000000`.
fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        other => return Err(format!("{other} is no unit; known are B, KB, MB and GB")),
    };
    let number = digits.trim().parse::<u64>().ok().filter(|n| *n > 0);
    let bytes = number.and_then(|number| number.checked_mul(unit));
    bytes.ok_or_else(|| format!("`{text}` is no size; give one as in 5GB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, expected) in
            [("5GB", Some(5_000_000_000)), ("500 mb", Some(500_000_000)), ("7", Some(7)), ("1b", Some(1))]
        {
            assert_eq!(parse_size(text).ok(), expected, "{text}");
        }
        for text in ["", "GB", "0", "-1", "1.5GB", "5GiB", "99999999999999999999", "18446744073709551615KB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
