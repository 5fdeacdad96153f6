//! Which bytes of a file are here.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Disjoint ranges of bytes, in order; neighbours that touch are one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RangeSet(Vec<(u64, u64)>);

impl RangeSet {
    /// Adds bytes.
    pub(super) fn add(&mut self, range: Range<u64>) {
        if range.start >= range.end {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        let first = self.0.partition_point(|&(_, its_end)| its_end < start);
        let last = self.0.partition_point(|&(its_start, _)| its_start <= end);
        if let Some(&[(its_start, _), ..]) = self.0.get(first..last) {
            start = start.min(its_start);
        }
        if let Some(&[.., (_, its_end)]) = self.0.get(first..last) {
            end = end.max(its_end);
        }
        self.0.splice(first..last, [(start, end)]);
    }

    /// Bytes from the beginning that are here without a gap.
    pub(super) fn frontier(&self) -> u64 {
        match self.0.first() {
            Some(&(0, end)) => end,
            _ => 0,
        }
    }

    /// Number of bytes.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// What is missing of the first `size` bytes, in pieces of at most `most`.
    pub(super) fn gaps(&self, size: u64, most: u64) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = 0;
        for &(start, end) in self.0.iter().chain([&(size, size)]) {
            let stop = start.min(size);
            while at < stop {
                let next = stop.min(at.saturating_add(most.max(1)));
                gaps.push(at..next);
                at = next;
            }
            at = at.max(end);
        }
        gaps
    }

    /// Whether the set is well formed and stays within `size` bytes, as after reading it from a disk.
    pub(super) fn is_sound(&self, size: u64) -> bool {
        let in_order = self.0.windows(2).all(|pair| matches!(pair, [(_, end), (start, _)] if end < start));
        in_order && self.0.iter().all(|&(start, end)| start < end && end <= size)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gaps_are_cut_to_size() {
        let mut here = RangeSet::default();
        here.add(10..20);
        assert_eq!(here.gaps(35, 10), [0..10, 20..30, 30..35]);
        assert_eq!(RangeSet::default().gaps(0, 10), []);
        assert_eq!(here.gaps(15, 100), vec![0..10; 1]);
    }

    proptest! {
        #[test]
        fn a_set_says_what_was_added(adds in proptest::collection::vec((0u64..64, 0u64..64), 0..12), most in 1u64..20) {
            let (mut set, mut model) = (RangeSet::default(), [false; 64]);
            for (a, b) in adds {
                let (start, end) = (a.min(b), a.max(b));
                set.add(start..end);
                model[start as usize..end as usize].fill(true);
                prop_assert!(set.is_sound(64), "{:?}", set);
            }
            prop_assert_eq!(set.len(), model.iter().filter(|&&here| here).count() as u64);
            prop_assert_eq!(set.frontier(), model.iter().take_while(|&&here| here).count() as u64);
            let mut missing = [false; 64];
            for gap in set.gaps(64, most) {
                prop_assert!(gap.end - gap.start <= most);
                missing[gap.start as usize..gap.end as usize].fill(true);
            }
            prop_assert!(missing.iter().zip(&model).all(|(missing, here)| missing != here));
        }
    }
}
