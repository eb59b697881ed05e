//! Orders that somebody counts on without a node that says so.
//!
//! DataFusion leaves out a sort where a node below keeps an order: groups of sorted rows, a join's probe side. In one lane
//! that order is what a limit counts by, and what a user sees in the end; ours do not keep it, so it is made again.

use std::sync::Arc;

use bireme_engine::error::Result;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::{Builder, Part};

impl Builder {
    /// The rows of a node in the order that it promises, if its rows are in one lane.
    pub(super) fn in_order(&mut self, part: Part, node: &Arc<dyn ExecutionPlan>) -> Result<Part> {
        let order = node.output_ordering().filter(|_| node.output_partitioning().partition_count() == 1);
        match (part, order) {
            (Part::Fused(mut fused), Some(order)) if fused.lanes.len() == 1 => {
                if !fused.sorted {
                    let slot = self.slot();
                    fused = Box::new(fused.sort(order, None, slot)?);
                    fused.stands_for(node);
                }
                fused.keeps_order = true;
                Ok(Part::Fused(fused))
            }
            (part, _) => Ok(part),
        }
    }
}
