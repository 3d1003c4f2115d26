//! Serving, draining, cutting: what phase the server is in, and how many requests run.

use std::future::Future;
use tokio::sync::watch;

/// Where a server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everything is answered.
    Serving,
    /// New requests are refused, running ones go on.
    Draining,
    /// Running requests end now, with an error.
    Cutting,
}

/// The server's phase and its running requests.
pub struct Lifecycle {
    phase: watch::Sender<Phase>,
    running: watch::Sender<usize>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Lifecycle { phase: watch::Sender::new(Phase::Serving), running: watch::Sender::new(0) }
    }
}

impl Lifecycle {
    /// The phase of this moment.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Goes on to `phase`; there is no way back.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }

    /// Resolves in [`Phase::Cutting`]; it may outlive the borrow of `self`.
    pub fn cutting(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut phase = self.phase.subscribe();
        // the sender being gone means that the server is, too
        async move { drop(phase.wait_for(|phase| *phase == Phase::Cutting).await) }
    }

    /// Counts a request as running until it says [`Self::finish`].
    pub fn start(&self) {
        self.running.send_modify(|running| *running += 1);
    }

    /// The end of a request that [`Self::start`] counted.
    pub fn finish(&self) {
        self.running.send_modify(|running| *running = running.saturating_sub(1));
    }

    /// Requests that run.
    pub fn running(&self) -> usize {
        *self.running.borrow()
    }

    /// Resolves when no request runs.
    pub fn quiet(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut running = self.running.subscribe();
        async move { drop(running.wait_for(|running| *running == 0).await) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_never_goes_back() {
        let lifecycle = Lifecycle::default();
        lifecycle.enter(Phase::Cutting);
        lifecycle.enter(Phase::Draining);
        assert_eq!(lifecycle.phase(), Phase::Cutting);
    }

    #[tokio::test]
    async fn quiet_waits_for_the_last_request() {
        let lifecycle = Lifecycle::default();
        lifecycle.start();
        lifecycle.start();
        let quiet = tokio::spawn(lifecycle.quiet());
        lifecycle.finish();
        tokio::task::yield_now().await;
        assert!(!quiet.is_finished());
        lifecycle.finish();
        quiet.await.expect("quiet");
    }
}
