//! Which examples a step computes.

use crate::objective::Example;
use crate::random::Random;

/// The order of examples over a run: each epoch goes through all of them in an order of its own, which follows from the
/// seed. So any step's examples can be had without those before it.
pub struct Order {
    examples: usize,
    batch: usize,
    seed: u64,
}

impl Order {
    /// Steps of `batch` examples out of `examples`. The last step of an epoch may have fewer.
    ///
    /// # Panics
    /// When either is 0.
    pub fn new(examples: usize, batch: usize, seed: u64) -> Order {
        assert!(examples > 0 && batch > 0);
        Order { examples, batch, seed }
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.examples.div_ceil(self.batch)
    }

    /// The examples of step `step`, which counts from 0 over all epochs.
    pub fn step(&self, step: usize) -> Vec<usize> {
        let (epoch, at) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        let mut order: Vec<usize> = (0..self.examples).collect();
        Random::new(self.seed, "data", epoch as u64).shuffle(&mut order);
        order.into_iter().skip(at * self.batch).take(self.batch).collect()
    }
}

/// Cuts a step into parts of at most `max_tokens` tokens, of which each is computed at once; an example that is longer is a
/// part of its own. Packed sequences do not see each other, so the parts change nothing but the memory that a step takes.
pub fn micro_batches<'a>(examples: &[&'a Example], max_tokens: usize) -> Vec<Vec<&'a Example>> {
    let mut parts: Vec<Vec<&Example>> = Vec::new();
    let mut tokens = usize::MAX;
    for &example in examples {
        let len = example.tokens().len();
        if tokens.saturating_add(len) > max_tokens {
            parts.push(Vec::new());
            tokens = 0;
        }
        tokens += len;
        parts.last_mut().expect("begun above").push(example);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_has_every_example_once() {
        let order = Order::new(10, 4, 7);
        assert_eq!(order.steps_per_epoch(), 3);
        let epoch = |first: usize| {
            let mut all: Vec<usize> = (first..first + 3).flat_map(|step| order.step(step)).collect();
            let shuffled = all.clone();
            all.sort_unstable();
            assert_eq!(all, (0..10).collect::<Vec<_>>());
            shuffled
        };
        assert_ne!(epoch(0), epoch(3));
        assert_eq!(order.step(2).len(), 2);
    }

    #[test]
    fn parts_keep_to_their_tokens_and_to_the_order() {
        let example = |len: usize| Example::new(vec![1; len], vec![true; len]);
        let examples = [3, 3, 5, 20, 1].map(example);
        let all: Vec<&Example> = examples.iter().collect();
        let lens: Vec<Vec<usize>> = micro_batches(&all, 8)
            .iter()
            .map(|part| part.iter().map(|e| e.tokens().len()).collect())
            .collect();
        assert_eq!(lens, [vec![3, 3], vec![5], vec![20], vec![1]]);
    }
}
