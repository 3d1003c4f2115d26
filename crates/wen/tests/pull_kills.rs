//! `wen pull` is killed at random points, and goes on as if nothing had happened. `WEN_KILLS=50` kills it as often.

#[path = "../../hub/tests/remote/test_hub.rs"]
mod test_hub;

mod common;

use common::{assert_fails, command, stdout};
use hub::Store;
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use test_hub::{Behaviour, TestHub, noise};
use train::random::Random;

/// How often it is killed, unless `WEN_KILLS` says.
const KILLS: usize = 4;
/// Bytes of the weights: three parts.
const WEIGHTS: usize = (40 << 20) + 7;
/// How long the hub waits between pieces of 64 KiB, so that there is time to be killed in.
const PAUSE: Duration = Duration::from_millis(5);

fn pull_command(hub: &TestHub, store: &Path, arguments: &[&str]) -> Command {
    let name = format!("{}/Qwen/Qwen3-0.6B", hub.url);
    let mut command = command(&["pull", &name]);
    command.args(arguments);
    command.env("WEN_HUB", store).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start(hub: &TestHub, store: &Path) -> Child {
    pull_command(hub, store, &[]).spawn().unwrap()
}

/// The ranges of the weights that are recorded as being there, as the store writes them.
fn recorded(store: &Path) -> Vec<Range<u64>> {
    let entries = std::fs::read_dir(store.join("writing")).into_iter().flatten().flatten();
    let log = entries.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "ranges"));
    let text = log.and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default();
    let range = |line: &str| -> Option<Range<u64>> {
        let (start, end) = line.strip_suffix(';')?.split_once(' ')?;
        Some(start.parse().ok()?..end.parse().ok()?)
    };
    text.lines().map_while(range).collect()
}

fn bytes(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

#[test]
fn a_pull_killed_at_any_point_goes_on_from_there() {
    let kills = std::env::var("WEN_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let weights = noise(WEIGHTS);
    let files = [("config.json", b"{}\n".to_vec()), ("model.safetensors", weights.clone())];
    let slow = TestHub::start_with(&files, |request| match request.range() {
        Some(_) => Behaviour::Slow(PAUSE),
        None => Behaviour::Good,
    });
    let mut random = Random::new(3, "kills", 0);
    let mut hit = 0;
    for kill in 0..kills {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("hub");
        // each of up to three processes dies after some more has come
        for _ in 0..=kill % 3 {
            slow.forget();
            let before = recorded(&store);
            let wanted = random.below(WEIGHTS) as u64;
            let mut child = start(&slow, &store);
            let begun = Instant::now();
            while child.try_wait().unwrap().is_none() && bytes(&recorded(&store)) < wanted {
                assert!(begun.elapsed() < Duration::from_secs(120), "it does not get on");
                std::thread::sleep(Duration::from_millis(1));
            }
            child.kill().unwrap();
            hit += usize::from(child.wait().unwrap().code().is_none());
            check_asked(&slow, &before);
        }
        let half_pulled = Store::open(&store).unwrap().list(hub::RepoKind::Model).unwrap();
        let done = half_pulled.iter().any(|repo| repo.branches.values().any(Option::is_some));
        slow.forget();
        let before = recorded(&store);
        let path = stdout(pull_command(&slow, &store, &[]).output().unwrap());
        assert!(
            std::fs::read(Path::new(path.trim()).join("model.safetensors")).unwrap() == weights,
            "kill {kill}"
        );
        if !done {
            check_asked(&slow, &before);
        }
        println!("killed with {} of {WEIGHTS} bytes recorded", bytes(&before));
    }
    assert!(hit > 0, "nothing was killed before its end");
}

/// Checks that nothing was asked for that was recorded before.
#[track_caller]
fn check_asked(hub: &TestHub, recorded: &[Range<u64>]) {
    for asked in hub.ranges("model.safetensors") {
        let again = recorded.iter().find(|there| there.start < asked.end && asked.start < there.end);
        assert!(again.is_none(), "{again:?} was recorded, and {asked:?} was asked for");
    }
}

#[test]
fn a_pull_says_what_it_does_and_fails_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("hub");
    let files = [
        ("config.json", b"{}\n".to_vec()),
        ("model.safetensors", noise(1_000)),
        ("pytorch_model.bin", noise(10)),
    ];
    let hub = TestHub::start(&files);
    let output = pull_command(&hub, &store, &["--offline"]).output().unwrap();
    assert_fails(&output, 6, &["must not be used"]);
    let output = pull_command(&hub, &store, &["--include", "*.bin"]).output().unwrap();
    assert_fails(&output, 3, &["never pulled"]);
    let output = pull_command(&hub, &store, &["--token-env", "NO_SUCH_VARIABLE"]).output().unwrap();
    assert_fails(&output, 2, &["NO_SUCH_VARIABLE"]);
    let output = pull_command(&hub, &store, &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("2 files") && said.contains("pytorch_model.bin"), "{said}");
    let path = stdout(output);
    assert!(Path::new(path.trim()).join("model.safetensors").exists());
    hub.forget();
    let offline = pull_command(&hub, &store, &["--offline"]).output().unwrap();
    assert_eq!(stdout(offline), path);
    assert!(hub.asked().is_empty(), "offline is offline");
}
