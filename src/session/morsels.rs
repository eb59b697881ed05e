//! How native pipelines read the session's sources.

use std::sync::Arc;

use bireme_connectors::morsel_leaf::{PartedLeaf, columns_within};
use bireme_connectors::parquet_scan::FooterCache;
use bireme_connectors::store::ReadCounters;
use bireme_engine::error::Result;
use bireme_engine::morsel::Source;
use bireme_operators::pipeline::run::LeafSource;
use bireme_planner::MorselLeaf;
use bireme_planner::stage::MorselLeaves;
use datafusion::physical_plan::ExecutionPlan;

/// Knows tables in memory and files on this machine's file systems. Between runs it keeps the files' footers.
#[derive(Debug)]
pub(super) struct SessionMorsels {
    footers: Arc<FooterCache>,
    reads: Arc<ReadCounters>,
}

impl SessionMorsels {
    /// Counts in `reads` what is read of files.
    pub fn new(reads: Arc<ReadCounters>) -> Self {
        Self { footers: Arc::default(), reads }
    }
}

impl MorselLeaves for SessionMorsels {
    fn find(&self, leaf: &Arc<dyn ExecutionPlan>) -> Option<MorselLeaf> {
        let leaf = PartedLeaf::of(leaf, &self.footers, &self.reads)?;
        Some(MorselLeaf {
            schema: Arc::clone(&leaf.schema),
            projection: leaf.projection.clone(),
            name: leaf.name.clone(),
            pins: leaf.pins.clone(),
            hashed_by: leaf.hashed_by.clone(),
            limit: leaf.limit,
            source: Arc::new(Parts(leaf)),
        })
    }

    fn columns_within(&self, whole: &Arc<dyn ExecutionPlan>, part: &Arc<dyn ExecutionPlan>) -> Option<Vec<usize>> {
        columns_within(whole, part)
    }
}

#[derive(Debug)]
struct Parts(PartedLeaf);

impl LeafSource for Parts {
    fn source(&self, parts: &[usize]) -> Result<Arc<dyn Source>> {
        self.0.source(parts)
    }
}
