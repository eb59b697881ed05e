//! Joins that several ranks can run together.
//!
//! ```text
//! HashJoin(CollectLeft, Left)      →  HashJoin(Partitioned, Left)
//! NestedLoopJoin(Left)             →  Projection(NestedLoopJoin(Right), sides swapped)
//! ```
//!
//! A collected build side may be replicated on every rank only where no rank has to emit build rows by itself: Inner,
//! Right, RightSemi, RightAnti and RightMark. For the other kinds each rank would emit the unmatched build rows once, or
//! would have to know the matches of all the others. With keys they are partitioned instead; without keys the sides are
//! swapped. What is left (full nested-loop joins, null-aware anti joins) runs on one rank; the stage builder sees to it.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, PartitionMode};

use crate::stage::replicates_collected_side;

/// The rule.
#[derive(Debug)]
pub(super) struct JoinModes;

impl PhysicalOptimizerRule for JoinModes {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(fit_for_ranks).data()
    }

    fn name(&self) -> &str {
        "join_modes"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn fit_for_ranks(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        let collected = *join.partition_mode() == PartitionMode::CollectLeft;
        if collected && !join.null_aware && !replicates_collected_side(*join.join_type()) {
            let partitioned = join.builder().with_partition_mode(PartitionMode::Partitioned);
            return Ok(Transformed::yes(partitioned.recompute_properties().build_exec()?));
        }
    }
    if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
        let kind = *join.join_type();
        if !replicates_collected_side(kind) && kind != JoinType::Full {
            return Ok(Transformed::yes(join.swap_inputs()?));
        }
    }
    Ok(Transformed::no(node))
}
