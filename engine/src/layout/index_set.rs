//! Sets of indices as sorted runs.

use std::fmt;
use std::ops::Range;

/// A set of indices: runs in ascending order that neither overlap nor touch, so that equal sets are equal.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct IndexSet {
    runs: Vec<Range<usize>>,
}

impl IndexSet {
    /// No index.
    pub fn empty() -> Self {
        Self::default()
    }

    /// One run.
    pub fn run(run: Range<usize>) -> Self {
        Self { runs: if run.is_empty() { Vec::new() } else { vec![run] } }
    }

    /// Any runs, in any order.
    pub fn of_runs(runs: impl IntoIterator<Item = Range<usize>>) -> Self {
        let mut runs = runs.into_iter().filter(|run| !run.is_empty()).collect::<Vec<_>>();
        runs.sort_unstable_by_key(|run| run.start);
        let mut set = Self::default();
        runs.into_iter().for_each(|run| set.push(run));
        set
    }

    /// Any indices, in any order.
    pub fn of(indices: impl IntoIterator<Item = usize>) -> Self {
        Self::of_runs(indices.into_iter().map(|index| index..index + 1))
    }

    /// The runs, ascending.
    pub fn runs(&self) -> &[Range<usize>] {
        &self.runs
    }

    /// The indices, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.runs.iter().cloned().flatten()
    }

    /// How many indices there are.
    pub fn len(&self) -> usize {
        self.runs.iter().map(Range::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether an index is in it.
    pub fn contains(&self, index: usize) -> bool {
        let after = self.runs.partition_point(|run| run.end <= index);
        self.runs.get(after).is_some_and(|run| run.contains(&index))
    }

    /// The indices of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::of_runs(self.runs.iter().chain(&other.runs).cloned())
    }

    /// The indices of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut set, mut left, mut right) =
            (Self::default(), self.runs.iter().peekable(), other.runs.iter().peekable());
        while let (Some(one), Some(another)) = (left.peek(), right.peek()) {
            set.push(one.start.max(another.start)..one.end.min(another.end));
            if one.end < another.end {
                left.next()
            } else {
                right.next()
            };
        }
        set
    }

    /// The indices that are not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut set = Self::default();
        let mut holes = other.runs.iter().peekable();
        for run in &self.runs {
            let mut start = run.start;
            while let Some(hole) = holes.peek().filter(|hole| hole.start < run.end) {
                set.push(start..hole.start.max(start));
                start = start.max(hole.end);
                if hole.end > run.end {
                    break;
                }
                holes.next();
            }
            set.push(start..run.end);
        }
        set
    }

    /// Whether all of it is in the other.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.runs.iter().all(|run| {
            let after = other.runs.partition_point(|whole| whole.end < run.end);
            other.runs.get(after).is_some_and(|whole| whole.start <= run.start)
        })
    }

    /// Appends a run that begins nowhere before the last one.
    fn push(&mut self, run: Range<usize>) {
        if run.start >= run.end {
            return;
        }
        match self.runs.last_mut() {
            Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
            _ => self.runs.push(run),
        }
    }
}

impl fmt::Debug for IndexSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.runs).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// All sets of indices below eight against sets that are sets.
    #[test]
    fn is_a_set() {
        let small = |bits: u32| (0..8_usize).filter(move |index| bits & (1 << index) != 0);
        for one in 0..256 {
            let (left, slow_left) = (IndexSet::of(small(one)), small(one).collect::<BTreeSet<_>>());
            assert!(left.iter().eq(slow_left.iter().copied()));
            assert_eq!((left.len(), left.is_empty()), (slow_left.len(), slow_left.is_empty()));
            assert!((0..9).all(|index| left.contains(index) == slow_left.contains(&index)));
            for other in 0..256 {
                let (right, slow_right) = (IndexSet::of(small(other)), small(other).collect::<BTreeSet<_>>());
                let same = |set: IndexSet, slow: BTreeSet<usize>| {
                    assert_eq!(set, IndexSet::of(slow), "{left:?} and {right:?}");
                };
                same(left.union(&right), &slow_left | &slow_right);
                same(left.intersection(&right), &slow_left & &slow_right);
                same(left.difference(&right), &slow_left - &slow_right);
                assert_eq!(left.is_subset(&right), slow_left.is_subset(&slow_right), "{left:?} in {right:?}");
            }
        }
    }
}
