//! Joins with a collected side: one input is needed in full by every lane of the other.
//!
//! The collected input is broadcast, once to each rank that runs lanes of the join. That is right only if no rank has to
//! emit rows of the collected side by itself (see [`replicates_collected_side`]); any other join runs on one rank.

use std::collections::BTreeMap;
use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_engine::stage::{Feed, Pin, Route, StageInput};
use bireme_operators::island::ExchangeSource;
use datafusion::common::JoinType;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::{Builder, Fragment, Part, single_lane_children, with_children};

/// Whether a join of this kind may have its collected (left) side on every rank.
pub fn replicates_collected_side(kind: JoinType) -> bool {
    use JoinType::{Inner, Right, RightAnti, RightMark, RightSemi};
    matches!(kind, Inner | Right | RightSemi | RightAnti | RightMark)
}

/// Which child is collected while the other keeps its lanes, if the node is such a join.
pub(super) fn side(node: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    match single_lane_children(node).as_slice() {
        [true, false] => Some(0),
        [false, true] => Some(1),
        _ => None,
    }
}

fn may_replicate(node: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        return !join.null_aware && replicates_collected_side(*join.join_type());
    }
    if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
        return replicates_collected_side(*join.join_type());
    }
    node.is::<CrossJoinExec>()
}

impl Builder {
    pub(super) fn collected(&mut self, node: &Arc<dyn ExecutionPlan>) -> Result<Fragment> {
        let collected = side(node).unwrap_or(0);
        let (whole, lanes) = (node.children()[collected], node.children()[1 - collected]);

        // The gather that DataFusion proposes would only be a detour: every rank can collect by itself.
        let whole = match whole.downcast_ref::<CoalescePartitionsExec>() {
            Some(gather) if gather.fetch().is_none() => gather.input(),
            _ => whole,
        };
        let source = self.broadcast(whole)?;
        let mut probe = self.visit_island(lanes)?;
        if self.ranks > 1 && probe.lanes.len() > 1 && !may_replicate(node) {
            let pins = vec![Pin::Rank(0); probe.lanes.len()];
            let note = format!("{} runs on rank 0: its collected side cannot be on several ranks", node.name());
            self.graph.notes.push(note);
            probe = self.move_lanes(probe, pins)?;
        }
        let mut children = vec![Arc::clone(&source.template), Arc::clone(&probe.template)];
        if collected == 1 {
            children.swap(0, 1);
        }
        probe.inputs.extend(source.inputs);
        Ok(Fragment { template: with_children(node, children)?, ..probe })
    }

    /// All rows of `node`, in one lane on every rank.
    fn broadcast(&mut self, node: &Arc<dyn ExecutionPlan>) -> Result<Fragment> {
        let child = self.visit(node)?;
        let rows = match &child {
            Part::Island(child) if child.lanes.len() == 1 => child.template.equivalence_properties().clone(),
            child => EquivalenceProperties::new(child.schema()),
        };
        let exchange = self.send(child, Route::Broadcast, None)?;
        let template = Arc::new(ExchangeSource::broadcast(exchange, rows));
        let inputs = vec![StageInput { exchange, feed: Feed::EveryRank }];
        Ok(Fragment { template, lanes: Vec::new(), inputs, leaves: BTreeMap::new(), replayed: Default::default() })
    }
}
