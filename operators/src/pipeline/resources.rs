//! What every operator of a pipeline may use.

use std::path::PathBuf;
use std::sync::Arc;

use bireme_engine::budget::Budget;
use bireme_engine::cancel::Cancel;
use bireme_engine::metrics::StageMetrics;

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
