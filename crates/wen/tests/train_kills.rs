//! `wen train` is killed at random points, and goes on as if nothing had happened. It takes half a minute:
//! `cargo test -p wen --test train_kills -- --ignored --nocapture`.

mod common;

use common::{command, parity, stdout, wen};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use train::random::Random;

/// Kills while steps are computed, and while a checkpoint is written.
const KILLS: [usize; 2] = [25, 25];
/// Tries for each kill that shall hit a checkpoint, which is written in a moment.
const TRIES: usize = 20;

/// A recipe of 60 steps with a checkpoint after every second one.
fn recipe(dir: &Path) -> PathBuf {
    let lines: Vec<String> =
        (0..12).map(|i| format!("{{\"text\": \"number {i} of twelve, and what follows it\"}}\n")).collect();
    std::fs::write(dir.join("data.jsonl"), lines.concat()).unwrap();
    let path = dir.join("recipe.toml");
    let text = format!(
        "model = {:?}\noutput = \"given below\"\nseed = 5\n[data]\ntrain = [{:?}]\n[method]\nkind = \"full\"\n\
         [steps]\nepochs = 15\nbatch = 3\ncheckpoint_every = 2\n[optimizer]\nlearning_rate = 1e-3\n",
        parity("qwen3-train-base"),
        dir.join("data.jsonl"),
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// A place for a run's output, and the command that makes it.
struct Run {
    output: PathBuf,
    args: [String; 4],
}

impl Run {
    fn new(dir: &Path, name: &str) -> Run {
        let output = dir.join(name);
        let recipe = dir.join("recipe.toml").display().to_string();
        let args = ["train".to_owned(), recipe, "--set".to_owned(), format!("output={}", output.display())];
        Run { output, args }
    }

    fn start(&self) -> Child {
        let mut command = command(&self.args.each_ref().map(String::as_str));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs to the end, and returns the weights and each step's loss.
    fn finish(&self) -> (Vec<u8>, Vec<String>) {
        stdout(wen(&self.args.each_ref().map(String::as_str)));
        let metrics = std::fs::read_to_string(self.output.join("metrics.jsonl")).unwrap();
        let losses = metrics.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {}", line["step"], line["loss"])
        });
        let losses = losses.collect();
        (std::fs::read(self.output.join("model/model.safetensors")).unwrap(), losses)
    }

    /// Files that are being written, or were when the process ended.
    fn unfinished(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.output.join("checkpoints")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with(".writing-")).collect()
    }

    /// Kills it as soon as so many bytes of metrics are there. Whether it was still running.
    fn kill_while_computing(&self, bytes: u64) -> bool {
        let mut child = self.start();
        while child.try_wait().unwrap().is_none() {
            let metrics = std::fs::metadata(self.output.join("metrics.jsonl"));
            if metrics.is_ok_and(|metrics| metrics.len() >= bytes) {
                return kill(child);
            }
        }
        false
    }

    /// Kills it when it writes its `count`-th checkpoint. Whether that was left unfinished.
    fn kill_while_writing(&self, count: usize) -> bool {
        let mut child = self.start();
        let mut seen = HashSet::new();
        while child.try_wait().unwrap().is_none() {
            seen.extend(self.unfinished());
            if seen.len() >= count {
                return kill(child) && !self.unfinished().is_empty();
            }
        }
        false
    }
}

/// SIGKILL. Whether there was still something to kill.
fn kill(mut child: Child) -> bool {
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

#[test]
#[ignore = "it takes half a minute, and kills processes"]
fn a_run_killed_at_any_point_ends_with_the_weights_of_one_that_was_not() {
    let dir = tempfile::tempdir().unwrap();
    recipe(dir.path());
    let expected = Run::new(dir.path(), "whole");
    let (weights, losses) = expected.finish();
    let metrics = std::fs::metadata(expected.output.join("metrics.jsonl")).unwrap().len();
    let mut random = Random::new(11, "kills", 0);
    let mut tries = 0;
    for (kind, kills) in KILLS.into_iter().enumerate() {
        for number in 0..kills {
            let run = loop {
                tries += 1;
                assert!(
                    tries <= TRIES * KILLS.iter().sum::<usize>(),
                    "checkpoints are written too fast to be hit"
                );
                let run = Run::new(dir.path(), &format!("killed-{tries}"));
                let hit = match kind {
                    0 => run.kill_while_computing(random.below(metrics as usize) as u64),
                    _ => run.kill_while_writing(1 + random.below(25)),
                };
                if hit {
                    break run;
                }
            };
            let left = run.unfinished().len();
            let (found, found_losses) = run.finish();
            assert!(found == weights, "kill {number} of kind {kind}: other weights");
            assert_eq!(found_losses, losses, "kill {number} of kind {kind}");
            assert!(run.unfinished().is_empty(), "what was left is removed");
            println!("killed {} with {left} unfinished: same weights", ["computing", "writing"][kind]);
            std::fs::remove_dir_all(&run.output).unwrap();
        }
    }
    println!("{tries} runs were killed for {} kills", KILLS.iter().sum::<usize>());
}
