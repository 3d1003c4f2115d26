//! Which items a step computes.

use crate::random::Random;

/// A dataset of a mixture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Source {
    /// How many items it has.
    pub items: usize,
    /// How often its items come, in proportion to those of the other sources.
    pub weight: f64,
}

/// The order of items over a run.
///
/// An epoch has as many items as all sources together. Of these each source gives its share by weight: it goes through its
/// own items in a new order each time around, and on where it was when the next epoch begins. So an item of a source
/// comes again only after all others of it. All of this follows from the seed, so that any step's items can be had without
/// those before it.
///
/// An order that is not of chance has the items of its only source as they stand, in every epoch.
pub struct Order {
    sources: Vec<Source>,
    /// Items that each source gives to an epoch.
    shares: Vec<usize>,
    batch: usize,
    /// What chance comes from; `None` leaves items as they stand.
    seed: Option<u64>,
    /// The epoch that was asked for last, and its items.
    epoch: Option<(usize, Vec<usize>)>,
}

impl Order {
    /// Steps of `batch` items, by chance that comes from `seed`, or as they stand. The last step of an epoch may have fewer.
    ///
    /// # Panics
    /// When there are no items, a source has none, or `batch` is 0.
    pub fn new(sources: Vec<Source>, batch: usize, seed: Option<u64>) -> Order {
        assert!(batch > 0 && !sources.is_empty() && sources.iter().all(|source| source.items > 0));
        let shares = shares(&sources);
        Order { sources, shares, batch, seed, epoch: None }
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.shares.iter().sum::<usize>().div_ceil(self.batch)
    }

    /// The items of step `step`, which counts from 0 over all epochs. Items are numbered over all sources.
    pub fn step(&mut self, step: usize) -> Vec<usize> {
        let (epoch, at) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        if self.epoch.as_ref().is_none_or(|(number, _)| *number != epoch) {
            self.epoch = Some((epoch, self.items_of(epoch)));
        }
        let items = self.epoch.as_ref().map_or(&[][..], |(_, items)| items);
        items.iter().skip(at * self.batch).take(self.batch).copied().collect()
    }

    fn items_of(&self, epoch: usize) -> Vec<usize> {
        let Some(seed) = self.seed else {
            return (0..self.sources.iter().map(|source| source.items).sum()).collect();
        };
        let (mut all, mut first) = (Vec::new(), 0);
        for (number, (source, share)) in self.sources.iter().zip(&self.shares).enumerate() {
            let (mut round, mut order) = (None, Vec::new());
            for place in epoch * share..(epoch + 1) * share {
                if round != Some(place / source.items) {
                    round = Some(place / source.items);
                    order = self.round(number, place / source.items, seed);
                }
                all.push(first + order[place % source.items]);
            }
            first += source.items;
        }
        Random::new(seed, "data", epoch as u64).shuffle(&mut all);
        all
    }

    /// The order in which a source goes through its items for the time `round`.
    fn round(&self, source: usize, round: usize, seed: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.sources[source].items).collect();
        Random::new(seed, &format!("source {source}"), round as u64).shuffle(&mut order);
        order
    }
}

/// Cuts the items of an epoch into those of each source: whole numbers nearest to the weights (by the largest remainder),
/// and at least one.
fn shares(sources: &[Source]) -> Vec<usize> {
    if let [only] = sources {
        return vec![only.items];
    }
    let items: usize = sources.iter().map(|source| source.items).sum();
    let weights: f64 = sources.iter().map(|source| source.weight).sum();
    let exact: Vec<f64> = sources.iter().map(|s| items as f64 * s.weight / weights).collect();
    let mut shares: Vec<usize> = exact.iter().map(|share| *share as usize).collect();
    let mut by_rest: Vec<usize> = (0..sources.len()).collect();
    by_rest.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()));
    let missing = items.saturating_sub(shares.iter().sum());
    by_rest.iter().cycle().take(missing).for_each(|&i| shares[i] += 1);
    shares.into_iter().map(|share| share.max(1)).collect()
}

/// Cuts items into parts of at most `max_tokens` tokens, of which each is computed at once; an item that is longer is a part
/// of its own. Packed sequences do not see each other, so the parts change nothing but the memory that a step takes.
pub fn micro_batches<T: Copy>(items: &[T], max_tokens: usize, tokens: impl Fn(T) -> usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut sum = usize::MAX;
    for &item in items {
        let len = tokens(item);
        if sum.saturating_add(len) > max_tokens {
            parts.push(Vec::new());
            sum = 0;
        }
        sum += len;
        parts.last_mut().expect("begun above").push(item);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(sources: &[(usize, f64)], batch: usize) -> Order {
        let sources = sources.iter().map(|&(items, weight)| Source { items, weight }).collect();
        Order::new(sources, batch, Some(7))
    }

    #[test]
    fn every_epoch_has_every_item_once() {
        let mut order = order(&[(10, 1.0)], 4);
        assert_eq!(order.steps_per_epoch(), 3);
        let mut epoch = |first: usize| {
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
    fn without_chance_items_come_as_they_stand() {
        let mut order = Order::new(vec![Source { items: 5, weight: 1.0 }], 2, None);
        let steps: Vec<Vec<usize>> = (0..4).map(|step| order.step(step)).collect();
        assert_eq!(steps, [vec![0, 1], vec![2, 3], vec![4], vec![0, 1]]);
    }

    #[test]
    fn sources_come_by_their_weights_and_none_repeats_before_it_is_through() {
        // 100 items, of which three quarters come from the 20 of the second source
        let mut order = order(&[(80, 1.0), (20, 3.0)], 10);
        assert_eq!((order.shares.clone(), order.steps_per_epoch()), (vec![25, 75], 10));
        let all: Vec<usize> = (0..40).flat_map(|step| order.step(step)).collect();
        let mut counts = vec![0; 100];
        all.iter().for_each(|&item| counts[item] += 1);
        // 4 epochs: 100 of the first source's 80, 300 of the second's 20
        assert!(counts[..80].iter().all(|count| (1..=2).contains(count)), "{counts:?}");
        assert!(counts[80..].iter().all(|count| *count == 15), "{counts:?}");
    }

    #[test]
    fn any_step_can_be_had_without_those_before_it() {
        let sources = [(7, 0.2), (30, 1.0), (4, 0.3)];
        let steps: Vec<Vec<usize>> = {
            let mut order = order(&sources, 5);
            (0..30).map(|step| order.step(step)).collect()
        };
        for step in [29, 3, 17] {
            assert_eq!(order(&sources, 5).step(step), steps[step]);
        }
    }

    #[test]
    fn a_small_weight_still_counts() {
        assert_eq!(order(&[(5, 1.0), (5, 1e-9)], 2).shares, [10, 1]);
        assert_eq!(order(&[(5, 1.0), (5, 1.0), (5, 1.0)], 2).shares, [5, 5, 5]);
    }

    #[test]
    fn parts_keep_to_their_tokens_and_to_the_order() {
        assert_eq!(micro_batches(&[3, 3, 5, 20, 1], 8, |len| len), [vec![3, 3], vec![5], vec![20], vec![1]]);
    }
}
