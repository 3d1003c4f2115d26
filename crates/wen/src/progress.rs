//! Progress of what takes its time: on standard error, and only if it is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// Something that is going on; it disappears from the screen when dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// Work of unknown length.
    pub fn spinner(what: impl Into<String>) -> Progress {
        let bar = ProgressBar::new_spinner().with_message(what.into());
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress(bar)
    }

    /// Work on `total` bytes.
    pub fn bytes(what: impl Into<String>, total: u64) -> Progress {
        Progress::bar(what.into(), total, "{msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {eta}")
    }

    /// A transfer of `total` bytes, of which `done` are there: with its speed.
    pub fn transfer(what: impl Into<String>, total: u64, done: u64) -> Progress {
        let template = "{msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
        let progress = Progress::bar(what.into(), total, template);
        progress.0.set_position(done);
        // what was there says nothing of the speed
        progress.0.reset_eta();
        progress
    }

    /// Work in `total` steps.
    pub fn steps(what: impl Into<String>, total: u64) -> Progress {
        Progress::bar(what.into(), total, "{msg} [{bar:30}] {pos}/{len} {eta}")
    }

    fn bar(what: String, total: u64, template: &str) -> Progress {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Progress(ProgressBar::new(total).with_style(style.progress_chars("=> ")).with_message(what))
    }

    /// Changes what stands beside the bar.
    pub fn say(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }

    /// Whether anybody sees it.
    pub fn is_shown(&self) -> bool {
        !self.0.is_hidden()
    }

    /// Says how much is done.
    pub fn set(&self, done: u64) {
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
