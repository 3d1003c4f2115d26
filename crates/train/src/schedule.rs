//! Learning rates over a run.

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// It stays.
    Constant,
    /// In a straight line to the floor.
    Linear,
    /// Along half a cosine to the floor (arXiv:1608.03983).
    Cosine,
}

/// The learning rate of each step: rising in a straight line over the warm-up, then as [`Decay`] says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest learning rate.
    pub peak: f64,
    /// Steps until it is reached.
    pub warmup_steps: usize,
    /// Steps of the whole run.
    pub total_steps: usize,
    /// What comes after the warm-up.
    pub decay: Decay,
    /// The lowest share of the peak that decay goes down to.
    pub floor: f64,
}

impl Schedule {
    /// The same learning rate for all steps.
    pub fn constant(peak: f64) -> Schedule {
        Schedule { peak, warmup_steps: 0, total_steps: 0, decay: Decay::Constant, floor: 0.0 }
    }

    /// The learning rate of step `step`, which counts from 0.
    pub fn learning_rate(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let decaying = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let done = ((step - self.warmup_steps) as f64 / decaying as f64).min(1.0);
        let share = match self.decay {
            Decay::Constant => return self.peak,
            Decay::Linear => 1.0 - done,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        };
        self.peak * (self.floor + (1.0 - self.floor) * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_and_decays_to_the_floor() {
        let schedule =
            Schedule { peak: 2.0, warmup_steps: 4, total_steps: 14, decay: Decay::Linear, floor: 0.1 };
        let rates: Vec<f64> = [0, 3, 4, 9, 14, 99].map(|step| schedule.learning_rate(step)).into();
        assert_eq!(rates[..3], [0.5, 2.0, 2.0]);
        assert!((rates[3] - 1.1).abs() < 1e-12 && (rates[4] - 0.2).abs() < 1e-12 && rates[4] == rates[5]);
        let cosine = Schedule { decay: Decay::Cosine, floor: 0.0, ..schedule };
        assert!((cosine.learning_rate(9) - 1.0).abs() < 1e-12 && cosine.learning_rate(14).abs() < 1e-12);
        assert_eq!(Schedule::constant(0.5).learning_rate(1000), 0.5);
    }
}
