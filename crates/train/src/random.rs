//! Random numbers that are the same on every machine, and can be had again from any point of a run.

/// SplitMix64 (Steele and others, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed` for one purpose of a run: other purposes and other `index`es have sequences of their own.
    pub fn new(seed: u64, purpose: &str, index: u64) -> Random {
        let mut random = Random(seed);
        for byte in purpose.bytes() {
            random.0 = random.bits() ^ u64::from(byte);
        }
        random.0 = random.bits() ^ index;
        random
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Evenly distributed in `-limit..limit`.
    pub fn uniform(&mut self, limit: f32) -> f32 {
        let unit = (self.bits() >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
        unit * limit
    }

    /// Evenly distributed below `bound` (Lemire, arXiv:1805.10941, whose bias at this width is below 2^-32).
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0);
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_order_for_each_purpose_and_index() {
        let order = |seed, purpose, index| {
            let mut items: Vec<u32> = (0..100).collect();
            Random::new(seed, purpose, index).shuffle(&mut items);
            items
        };
        assert_eq!(order(1, "data", 0), order(1, "data", 0));
        let others = [order(2, "data", 0), order(1, "init", 0), order(1, "data", 1)];
        assert!(others.iter().all(|other| *other != order(1, "data", 0)));
        let mut sorted = order(1, "data", 0);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
