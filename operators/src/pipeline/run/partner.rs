//! Rows of a scan whose key has no partner in a join that comes later.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, BooleanArray};
use arrow::buffer::BooleanBuffer;
use bireme_engine::error::Result;
use bireme_engine::metrics::StageMetrics;
use bireme_engine::morsel::{ColumnRange, Predicate, Verdict};

use super::super::values::as_integers;
use crate::hash_join::KeyFilter;

/// Rows after which it is known whether the test drops enough to be worth its time.
const TRIAL_ROWS: usize = 1 << 16;

/// A filter that may be known only later.
pub(super) type Told = Arc<OnceLock<Arc<dyn KeyFilter>>>;

/// Drops rows that a later join would drop, before their other columns are decoded.
#[derive(Debug)]
pub(super) struct PartnerPredicate {
    columns: [usize; 1],
    filter: Told,
    name: String,
    tested: AtomicUsize,
    passed: AtomicUsize,
}

impl PartnerPredicate {
    pub fn new(column: usize, filter: Told, name: String) -> Self {
        Self { columns: [column], filter, name, tested: AtomicUsize::new(0), passed: AtomicUsize::new(0) }
    }

    /// Says how many values were tested, and how many of them had no partner. A dictionary's values are tested once.
    pub fn count(&self, metrics: &StageMetrics) {
        let (tested, passed) = (self.tested.load(Ordering::Relaxed), self.passed.load(Ordering::Relaxed));
        metrics.add("partners_tested", tested as u64);
        metrics.add("partners_missing", tested.saturating_sub(passed) as u64);
    }
}

impl Predicate for PartnerPredicate {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn columns(&self) -> &[usize] {
        &self.columns
    }

    fn judge(&self, ranges: &[ColumnRange]) -> Verdict {
        let known = self.filter.get().and_then(|filter| filter.range());
        let (Some(range), Some((least, most))) = (ranges.first(), known) else { return Verdict::Some };
        let bound = |array: &Option<ArrayRef>| array.as_ref().and_then(|array| as_integers(array)?.first().copied());
        match (bound(&range.min), bound(&range.max)) {
            (Some(min), _) if min > most => Verdict::None,
            (_, Some(max)) if max < least => Verdict::None,
            _ => Verdict::Some,
        }
    }

    fn values(&self) -> Option<ArrayRef> {
        self.filter.get()?.few_values()
    }

    fn test(&self, columns: &[ArrayRef], rows: usize) -> Result<BooleanArray> {
        let passed = match self.filter.get() {
            Some(filter) => BooleanArray::new(filter.test(&columns[0])?, None),
            None => return Ok(BooleanArray::new(BooleanBuffer::new_set(rows), None)),
        };
        self.tested.fetch_add(rows, Ordering::Relaxed);
        self.passed.fetch_add(passed.true_count(), Ordering::Relaxed);
        debug_assert_eq!(passed.len(), rows);
        Ok(passed)
    }

    /// The join drops the same rows anyway: a test that most rows pass costs more than it saves.
    fn is_active(&self) -> bool {
        if self.filter.get().is_none() {
            return false;
        }
        let tested = self.tested.load(Ordering::Relaxed);
        tested < TRIAL_ROWS || self.passed.load(Ordering::Relaxed) < tested / 10 * 9
    }
}
