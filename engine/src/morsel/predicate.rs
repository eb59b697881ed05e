//! Tests that a source can make before it has decoded whole rows.

use std::fmt::Debug;

use arrow::array::{ArrayRef, BooleanArray};

use crate::error::Result;

/// What is known of one column in a part of a table (a file, a row group, a page), from its statistics.
#[derive(Clone, Debug, Default)]
pub struct ColumnRange {
    /// A lower bound, as an array of one value in carried form; `None` if not known.
    pub min: Option<ArrayRef>,
    /// An upper bound, likewise. Of strings, both may be cut short (a smaller minimum, a larger maximum).
    pub max: Option<ArrayRef>,
    /// How many rows are NULL, if known.
    pub nulls: Option<usize>,
    /// Of how many rows.
    pub rows: usize,
}

/// What statistics tell of a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No row can pass.
    None,
    /// Rows must be tested.
    Some,
    /// Every row passes.
    All,
}

/// A test on rows that needs only some columns. It may let rows pass that a later step drops anyway (a Bloom filter),
/// but never drops a row that is wanted.
///
/// Law: a row's answer depends on its values of [`Predicate::columns`] only, never on its neighbours. So a source may
/// test each value of a dictionary once instead of each row. Two calls may differ in one way: a filter that learns
/// (from a join's build side) may let fewer rows pass later.
pub trait Predicate: Debug + Send + Sync {
    /// Canonical text for EXPLAIN.
    fn describe(&self) -> String;

    /// The columns it reads, as places in the source's schema, each once.
    fn columns(&self) -> &[usize];

    /// What can be said from the ranges of its columns, in the order of [`Predicate::columns`].
    fn judge(&self, ranges: &[ColumnRange]) -> Verdict;

    /// The only values of its one column with which a row can pass, in carried form, if they are few; NULL never passes
    /// then. Bloom filters of a file may know that none of them is there.
    fn values(&self) -> Option<ArrayRef> {
        None
    }

    /// Tests rows: its columns, in the order of [`Predicate::columns`], in carried form. The answer has no NULLs:
    /// a row passes or not.
    ///
    /// # Errors
    /// An expression fails on a row.
    fn test(&self, columns: &[ArrayRef], rows: usize) -> Result<BooleanArray>;

    /// Whether testing it is worth its time now: false for a filter that learns, while it knows nothing or drops too
    /// little. A source may leave it out then.
    fn is_active(&self) -> bool {
        true
    }
}
