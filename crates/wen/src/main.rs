//! The `wen` command: chat with, serve, inspect and measure Qwen-family models.
//!
//! One file per command in [`commands`]; what several commands need lies beside it. Results go to standard output,
//! everything else to standard error.

mod builtin;
mod cli;
mod commands;
mod exit;
mod loading;
mod machine;
mod obtaining;
mod output;
mod progress;
mod signals;
mod sizes;
mod tensor_file;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // the reader of help or of an error may be gone
            let _ = message.print();
            let exit = if message.use_stderr() { exit::Exit::Usage } else { exit::Exit::Success };
            return exit.into();
        }
    };
    match select_isa().and_then(|()| cli.command.run()) {
        Ok(()) => exit::Exit::Success.into(),
        Err(error) => exit::report(&error).into(),
    }
}

/// Computes with the instruction set that `WEN_ISA` names, if it does: to measure, or to rule a processor out.
fn select_isa() -> anyhow::Result<()> {
    let Some(name) = std::env::var_os("WEN_ISA") else { return Ok(()) };
    kernels::isa::select(&name.to_string_lossy()).map_err(|error| exit::Usage(error.to_string()))?;
    Ok(())
}
