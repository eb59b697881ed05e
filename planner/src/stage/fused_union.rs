//! Unions that have a native form: of all branches in one stage, read one after the other on each rank.
//!
//! The lanes of the branch that has most are those of the stage. A branch that has fewer, or whose data are elsewhere, becomes
//! a stage of its own and sends its rows: to the same ranks as far as that goes, or by the hash that all branches have.

use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_engine::stage::{Feed, Pin, Route};
use bireme_operators::hash_partition::HashPartitioner;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::aligned::conflicts;
use super::{Builder, Part};
use crate::fuse::{Fused, RowLayout};

type Node = Arc<dyn ExecutionPlan>;

impl Builder {
    /// The rows of all children; an island if they all are.
    pub(super) fn fused_union(&mut self, node: &Node) -> Result<Part> {
        let children = node.children().into_iter().cloned().collect::<Vec<_>>();
        let parts = children.iter().map(|child| self.visit(child)).collect::<Result<Vec<_>>>()?;
        if parts.iter().all(|part| matches!(part, Part::Island(_))) {
            let mut fragments = Vec::new();
            for (part, child) in parts.into_iter().zip(&children) {
                fragments.push(self.as_island(part, child)?);
            }
            let whole =
                if node.is::<UnionExec>() { self.union(node, fragments) } else { self.aligned(node, fragments) };
            return whole.map(Part::Island);
        }
        let mut parts = parts.into_iter().map(|part| self.as_fused(part)).collect::<Result<Vec<_>>>()?;
        parts.iter_mut().zip(&children).for_each(|(part, child)| part.stands_for(child));
        let lanes = lanes_of(&parts);
        let mut branches = Vec::new();
        for (part, child) in parts.into_iter().zip(&children) {
            // What an interleaving promises of its lanes must hold in each branch.
            let keys = match child.output_partitioning() {
                Partitioning::Hash(keys, _) if !node.is::<UnionExec>() => Some(HashPartitioner::new(keys.clone())),
                _ => None,
            };
            branches.push(self.in_lanes(part, &lanes, keys)?);
        }
        Ok(Fused::union(branches, node.schema(), lanes).into())
    }

    /// A branch in the lanes of its union.
    fn in_lanes(&mut self, mut branch: Fused, lanes: &[Pin], keys: Option<HashPartitioner>) -> Result<Fused> {
        let (has, wants) = (branch.lanes.len(), lanes.len());
        if has != wants {
            // A hash tells another lane where there are more of them.
            branch.layout = RowLayout::default();
        }
        let fits = branch.lanes.iter().zip(lanes).all(|(have, want)| *have == Pin::Free || have == want);
        match keys {
            // Lanes that have no part of a source read nothing.
            _ if fits && (has == wants || (branch.only_reads() && keys.is_none())) => Ok(branch),
            Some(keys) if has != wants => {
                let feed = Feed::Lanes((0..wants).collect());
                self.exchanged(branch, Route::Hash(Arc::new(keys)), lanes.to_vec(), feed)
            }
            _ => {
                let feed = Feed::Lanes((0..has).map(|lane| lane * wants / has).collect());
                self.exchanged(branch, Route::Keep, lanes.to_vec(), feed)
            }
        }
    }
}

/// The lanes of the branch that has most of them, each where one of the branches with as many needs it.
fn lanes_of(branches: &[Fused]) -> Vec<Pin> {
    let most = branches.iter().map(|branch| branch.lanes.len()).max().unwrap_or(1);
    let mut lanes = vec![Pin::Free; most];
    for branch in branches.iter().filter(|branch| branch.lanes.len() == most) {
        if lanes.iter().zip(&branch.lanes).any(|(have, want)| conflicts(*have, *want)) {
            continue;
        }
        for (lane, pin) in lanes.iter_mut().zip(&branch.lanes) {
            if *lane == Pin::Free {
                *lane = *pin;
            }
        }
    }
    lanes
}
