//! Window functions that have a native form.

use bireme_engine::error::Result;
use datafusion::physical_plan::ExecutionPlanProperties;

use super::Builder;
use super::fused::listed;
use crate::fuse::{Fused, Window};

impl Builder {
    /// The windows of a node over rows that are sorted for them, on each rank by itself if there are partitions.
    pub(super) fn fused_window(&mut self, window: &Window<'_>) -> Result<Fused> {
        let mut fused = self.visit_fused(window.input)?;
        let about = format!("windows over {}", listed(window.partition()));
        fused = self.together(fused, window.partition(), self.most_expected(window.input), &about)?;
        if !(fused.sorted && window.in_order) {
            let (order, is_promised) = window.order_to_make();
            let slot = self.slot();
            fused = fused.sort_by(&order, None, slot)?;
            fused.sorted = is_promised;
            fused.stands_for(window.input);
        }
        // Where DataFusion plans for one lane, whoever is above may count on its order without a word.
        fused.keeps_order |= fused.sorted && window.input.output_partitioning().partition_count() == 1;
        fused.window(window)
    }
}
