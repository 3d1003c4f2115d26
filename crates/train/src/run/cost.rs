//! What a run takes.

use kernels::machine;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What a run has taken so far, with all times that it was cut off and went on from a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// Seconds in which steps were computed.
    pub seconds: f64,
    /// Seconds that processors have worked for them.
    pub processor_seconds: f64,
    /// Tokens that were computed.
    pub tokens: u64,
    /// Tokens that were learned.
    pub learned_tokens: u64,
    /// The most memory that a process of the run has held; 0 where the system does not say.
    pub peak_memory_bytes: u64,
}

/// Adds up what this process takes to what the run took before.
pub struct Meter {
    before: Cost,
    started: Instant,
    processor: Duration,
    tokens: u64,
    learned_tokens: u64,
}

impl Meter {
    /// Begins to count.
    pub fn start(before: Cost) -> Meter {
        let processor = machine::processor_time().unwrap_or_default();
        Meter { before, started: Instant::now(), processor, tokens: 0, learned_tokens: 0 }
    }

    /// Counts a step.
    pub fn add(&mut self, tokens: usize, learned_tokens: usize) {
        self.tokens += tokens as u64;
        self.learned_tokens += learned_tokens as u64;
    }

    /// Seconds since the beginning.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// All until now.
    pub fn cost(&self) -> Cost {
        let processor = machine::processor_time().unwrap_or_default().saturating_sub(self.processor);
        Cost {
            seconds: self.before.seconds + self.seconds(),
            processor_seconds: self.before.processor_seconds + processor.as_secs_f64(),
            tokens: self.before.tokens + self.tokens,
            learned_tokens: self.before.learned_tokens + self.learned_tokens,
            peak_memory_bytes: machine::peak_memory().unwrap_or(0).max(self.before.peak_memory_bytes),
        }
    }
}
