//! `wen completions`: completion scripts.

use crate::cli::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;

/// Which shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wen completions bash > ~/.local/share/bash-completion/completions/wen
  wen completions zsh > ~/.zfunc/_wen
  wen completions fish > ~/.config/fish/completions/wen.fish")]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Writes the script to standard output.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "wen", &mut script);
    let mut out = std::io::stdout().lock();
    out.write_all(&script)?;
    Ok(out.flush()?)
}
