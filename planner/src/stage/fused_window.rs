//! Window functions that have a native form.

use std::sync::Arc;

use bireme_engine::error::Result;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::{Builder, Part};
use crate::fuse::{Fused, Window};

impl Builder {
    /// The windows of a node over rows that are sorted for them, on each rank by itself if there are partitions.
    pub(super) fn fused_window(&mut self, window: &Window<'_>) -> Result<Fused> {
        let part = self.visit(window.input)?;
        let mut fused = self.as_fused(part)?;
        if window.partition().is_empty() {
            fused = self.gathered(fused)?;
        }
        if !fused.sorted {
            let (order, is_promised) = window.order_to_make();
            let slot = self.slot();
            fused = fused.sort_by(&order, None, slot)?;
            fused.sorted = is_promised;
        }
        // Where DataFusion plans for one lane, whoever is above may count on its order without a word.
        fused.keeps_order |= fused.sorted && window.input.output_partitioning().partition_count() == 1;
        fused.window(window)
    }

    /// The rows of a whole plan in the order that it promises, which is seen if it is one lane.
    pub(super) fn in_order(&mut self, part: Part, plan: &Arc<dyn ExecutionPlan>) -> Result<Part> {
        let order = plan.output_ordering().filter(|_| plan.output_partitioning().partition_count() == 1);
        match (part, order) {
            (Part::Fused(mut fused), Some(order)) if fused.lanes.len() == 1 => {
                if !fused.sorted {
                    let slot = self.slot();
                    fused = Box::new(fused.sort(order, None, slot)?);
                }
                fused.keeps_order = true;
                Ok(Part::Fused(fused))
            }
            (part, _) => Ok(part),
        }
    }
}
