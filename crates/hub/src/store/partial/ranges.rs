//! Sets of bytes of a file.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges that don't touch one another: start and end of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds the bytes of a range.
    pub fn insert(&mut self, Range { mut start, mut end }: Range<u64>) {
        if start >= end {
            return;
        }
        // those that begin inside the range or right after it, and the one that reaches into it from before
        while let Some((&other_start, &other_end)) = self.0.range(..=end).next_back()
            && other_end >= start
        {
            self.0.remove(&other_start);
            start = start.min(other_start);
            end = end.max(other_end);
        }
        self.0.insert(start, end);
    }

    /// The ranges, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(&start, &end)| start..end)
    }

    /// Bytes in all of them.
    pub fn bytes(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    /// Where the bytes end that begin at 0 without a gap.
    pub fn prefix(&self) -> u64 {
        self.0.get(&0).copied().unwrap_or(0)
    }

    /// What lacks to the whole of `0..size`.
    pub fn gaps(&self, size: u64) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = 0;
        for range in self.iter().chain([size..size]) {
            if at < range.start {
                gaps.push(at..range.start);
            }
            at = range.end;
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_the_bytes_that_were_put_in(parts in prop::collection::vec((0_u64..40, 0_u64..12), 0..20)) {
            let mut ranges = Ranges::default();
            let mut bytes = [false; 52];
            for (start, length) in parts {
                ranges.insert(start..start + length);
                bytes[start as usize..(start + length) as usize].fill(true);
            }
            for (at, expected) in (0_u64..).zip(bytes) {
                prop_assert_eq!(ranges.iter().any(|range| range.contains(&at)), expected);
                prop_assert_eq!(ranges.gaps(52).iter().any(|range| range.contains(&at)), !expected);
            }
            let list: Vec<_> = ranges.iter().collect();
            prop_assert!(list.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", list);
            prop_assert_eq!(ranges.bytes(), bytes.iter().filter(|there| **there).count() as u64);
            prop_assert_eq!(ranges.prefix(), bytes.iter().take_while(|there| **there).count() as u64);
        }
    }
}
