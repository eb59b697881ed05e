//! `UnionExec`: the lanes of all children, one after the other.

use std::sync::Arc;

use bireme_engine::error::Result;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::{Builder, Fragment, lane_count_bug, with_children};

impl Builder {
    pub(super) fn union(&mut self, node: &Arc<dyn ExecutionPlan>, parts: Vec<Fragment>) -> Result<Fragment> {
        let templates = parts.iter().map(|part| Arc::clone(&part.template)).collect();
        let counts: Vec<usize> = parts.iter().map(|part| part.lanes.len()).collect();
        let mut whole = Fragment::nothing(with_children(node, templates)?);
        for part in parts {
            let first = whole.lanes.len();
            whole.lanes.extend(&part.lanes);
            whole.absorb(part, first);
        }
        if whole.lanes.len() != whole.template.output_partitioning().partition_count() {
            return Err(lane_count_bug(node, &counts));
        }
        Ok(whole)
    }
}
