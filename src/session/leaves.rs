//! How the session's own sources are cut into lanes.

use std::sync::Arc;

use bireme_connectors::memory_table::MemoryScanExec;
use bireme_connectors::pins_of;
use bireme_engine::stage::Pin;
use bireme_operators::island::{LeafSlicer, PlainLeaves, file_scan};
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;

/// Knows memory tables and files that lie on one rank's disk; the rest is DataFusion's.
#[derive(Debug, Default)]
pub(super) struct SessionLeaves {
    plain: PlainLeaves,
}

impl LeafSlicer for SessionLeaves {
    fn pins(&self, leaf: &Arc<dyn ExecutionPlan>) -> Vec<Pin> {
        if let Some(scan) = leaf.downcast_ref::<MemoryScanExec>() {
            return scan.pins();
        }
        if let Some(scan) = file_scan(leaf) {
            return pins_of(&scan.file_groups);
        }
        self.plain.pins(leaf)
    }

    fn slice(&self, leaf: &Arc<dyn ExecutionPlan>, lanes: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
        match leaf.downcast_ref::<MemoryScanExec>() {
            Some(scan) => Ok(scan.slice(lanes)),
            None => self.plain.slice(leaf, lanes),
        }
    }
}
