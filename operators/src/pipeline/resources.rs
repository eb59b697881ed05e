//! What every operator of a pipeline may use.

use std::path::PathBuf;
use std::sync::Arc;

use bireme_engine::budget::{Budget, Bytes};
use bireme_engine::cancel::Cancel;
use bireme_engine::error::{Error, Result};
use bireme_engine::metrics::StageMetrics;

/// Memory that an operator may count on whatever the budget says: with less nothing would ever move.
pub const LEAST_BYTES: usize = 256 << 10;

/// Memory, disk and counters of one rank.
#[derive(Clone, Debug)]
pub struct Resources {
    /// Memory of the rank; an operator that does not get what it wants spills.
    pub budget: Budget,
    /// Where to spill.
    pub temp_dir: PathBuf,
    /// Says when to give up; looked at between chunks.
    pub cancel: Cancel,
    /// What to count.
    pub metrics: Arc<StageMetrics>,
    /// How many workers feed an operator at the same time.
    pub workers: usize,
}

impl Resources {
    /// Whether so many bytes are more than the budget will ever hold: no spilling helps a row that large.
    pub fn is_too_large(&self, bytes: usize) -> bool {
        self.budget.limit().is_some_and(|limit| bytes > limit.max(LEAST_BYTES))
    }

    /// Refuses a row that is too large; `attempted` is what is done to it: `joining`.
    ///
    /// # Errors
    /// It is larger than the whole budget.
    pub fn check_row(&self, attempted: &str, bytes: usize) -> Result<()> {
        match self.budget.limit() {
            Some(limit) if self.is_too_large(bytes) => Err(Error::resources(format!(
                "{attempted} a row of {}: the memory limit is {}, and one row must fit; raise --memory-limit",
                Bytes(bytes),
                Bytes(limit)
            ))),
            _ => Ok(()),
        }
    }

    /// Without limits, for tests: one worker, the system's folder for temporary files.
    pub fn for_tests() -> Self {
        Self {
            budget: Budget::unlimited(),
            temp_dir: std::env::temp_dir(),
            cancel: Cancel::new(),
            metrics: Arc::new(StageMetrics::default()),
            workers: 1,
        }
    }
}
