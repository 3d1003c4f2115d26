//! How sure a score is.
//!
//! A share of right answers has Wilson's interval: unlike the normal approximation it holds for few cases and near 0 and 1,
//! where a good model is. Any other mean has the bootstrap's (percentiles of the means of resampled cases), which assumes
//! nothing about how scores are spread. The difference of two models on the same cases has the bootstrap's over the cases'
//! differences: what is hard for both moves it no longer, so it is much narrower than that of two separate runs. Where each
//! case is right or wrong, McNemar's exact test says how likely such a difference is by chance.

use crate::limits::BOOTSTRAP_SAMPLES;
use serde::Serialize;

/// The quantile of the normal distribution for 95%, both sides.
const Z: f64 = 1.959_963_984_540_054;

/// Where a mean lies with 95% confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Where the mean of scores from 0 to 1 lies: Wilson's interval where each is 0 or 1, else the bootstrap's.
pub fn score_interval(values: &[f64], seed: u64) -> Interval {
    if values.iter().all(|value| *value == 0.0 || *value == 1.0) {
        return wilson(values.iter().filter(|value| **value == 1.0).count(), values.len());
    }
    bootstrap(values, seed)
}

/// Wilson's score interval (J. Am. Stat. Assoc. 22, 1927) of `right` out of `count`.
pub fn wilson(right: usize, count: usize) -> Interval {
    if count == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let n = count as f64;
    let share = right as f64 / n;
    let scale = 1.0 + Z * Z / n;
    let center = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Interval { low: (center - half).max(0.0), high: (center + half).min(1.0) }
}

/// The bootstrap's percentile interval (Efron, Ann. Stat. 7, 1979) of the mean.
pub fn bootstrap(values: &[f64], seed: u64) -> Interval {
    if values.is_empty() {
        return Interval { low: 0.0, high: 0.0 };
    }
    let mut random = Random(seed);
    let mut means: Vec<f64> = (0..BOOTSTRAP_SAMPLES)
        .map(|_| {
            let sum: f64 = (0..values.len()).map(|_| values[random.below(values.len())]).sum();
            sum / values.len() as f64
        })
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    let tail = BOOTSTRAP_SAMPLES / 40;
    Interval { low: means[tail], high: means[BOOTSTRAP_SAMPLES - 1 - tail] }
}

/// McNemar's exact test (Psychometrika 12, 1947): how likely it is by chance that of the cases which one model alone gets
/// right, they are split as unevenly as `only_a` to `only_b`.
pub fn mcnemar(only_a: usize, only_b: usize) -> f64 {
    let (n, fewer) = (only_a + only_b, only_a.min(only_b));
    // ln of C(n, k) / 2^n, from one k to the next
    let mut term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=fewer {
        tail += term.exp();
        term += ((n - k) as f64 / (k + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

/// SplitMix64 (Steele and others, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Lemire, arXiv:1805.10941; its bias at this width is below 2^-32
        ((u128::from(z ^ z >> 31) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
    }

    #[test]
    fn wilsons_interval_is_its_formulas() {
        // computed apart
        for (right, count, low, high) in [
            (5, 10, 0.236_593, 0.763_407),
            (0, 10, 0.0, 0.277_533),
            (10, 10, 0.722_467, 1.0),
            (198, 200, 0.964_278, 0.997_253),
        ] {
            let found = wilson(right, count);
            close(found.low, low, 2e-6);
            close(found.high, high, 2e-6);
        }
        assert_eq!(wilson(0, 0), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn mcnemars_test_is_the_binomials() {
        // 2 * P(X <= 1), X of 7 fair coins: 2 * (1 + 7) / 128
        close(mcnemar(1, 6), 0.125, 1e-12);
        close(mcnemar(6, 1), 0.125, 1e-12);
        // 2 / 2^10
        close(mcnemar(0, 10), 2.0 / 1024.0, 1e-12);
        assert_eq!((mcnemar(0, 0), mcnemar(5, 5)), (1.0, 1.0));
        // where 2^n is no number any more
        let far = mcnemar(49_000, 51_000);
        assert!(far > 1e-11 && far < 1e-9, "{far}");
    }

    #[test]
    fn the_bootstrap_is_seeded_and_about_as_wide_as_it_should_be() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 4) / 3.0).collect();
        let interval = bootstrap(&values, 7);
        assert_eq!(interval, bootstrap(&values, 7));
        assert_ne!(interval, bootstrap(&values, 8));
        // the mean's deviation: sqrt(5 / 36 / 400) times 1.96
        let half = Z * (5.0f64 / 36.0 / 400.0).sqrt();
        close(interval.low, 0.5 - half, 0.006);
        close(interval.high, 0.5 + half, 0.006);
        // what never varies is sure
        assert_eq!(bootstrap(&[0.25; 50], 1), Interval { low: 0.25, high: 0.25 });
        assert_eq!(bootstrap(&[], 0), Interval { low: 0.0, high: 0.0 });
    }

    proptest! {
        #[test]
        fn intervals_hold_the_mean(values in prop::collection::vec(prop_oneof![Just(0.0), Just(1.0), 0.0..1.0f64], 1..40)) {
            let interval = score_interval(&values, 3);
            prop_assert!(interval.low <= interval.high);
            prop_assert!(interval.low >= -1e-12 && interval.high <= 1.0 + 1e-12);
            prop_assert!(interval.low <= mean(&values) + 1e-9 && mean(&values) <= interval.high + 1e-9);
        }
    }
}
