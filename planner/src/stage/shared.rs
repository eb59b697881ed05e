//! Equal subtrees become one stage with several consumers.
//!
//! ```text
//!   HashJoinExec                                    s0: aggregate …  -> x0 spooled to s1; x1 spooled to s3
//!     A: AggregateExec over lineitem                s1: max of x0
//!   (scalar subquery)                      ──►      s2: value
//!     AggregateExec max                             s3: probe … x1
//!       A: the same
//! ```
//!
//! Only subtrees that join or group are worth it: their result is smaller than what they read. Consumers never wait for each
//! other, so what one of them has not read yet is kept, or spilled.
//!
//! A subtree may also be a part of another: the same rows with fewer columns ([`super::within`]). The stage is made of the one
//! with all of the columns, and each consumer takes its own.

use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_engine::stage::{ExchangeId, Feed, Pin, Route, StageId, StageInput};
use bireme_operators::pipeline::ir::Source;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::joins::HashJoinExec;

use super::within::{Places, columns_within};
use super::{Builder, Part};
use crate::fuse::{Fused, RowLayout};

type Node = Arc<dyn ExecutionPlan>;

/// A subtree that occurs more than once, with the columns of all its occurrences.
pub(super) struct Shared {
    node: Node,
    /// Once it has been built: its stage and its lanes.
    built: Option<Built>,
}

/// The stage of a shared subtree, and how its rows lie.
#[derive(Clone)]
struct Built {
    stage: StageId,
    lanes: Vec<Pin>,
    layout: RowLayout,
    loose: Vec<usize>,
}

impl Builder {
    /// Looks for subtrees that occur more than once.
    pub(super) fn find_shared(&mut self, plan: &Node) {
        let mut seen: Vec<Candidate> = Vec::new();
        self.note_candidates(plan, &mut seen);
        let shared = seen.into_iter().filter(|candidate| candidate.times > 1);
        self.shared = shared.map(|candidate| Shared { node: candidate.node, built: None }).collect();
    }

    /// The nodes of a subtree, those above before those below; what is below an equal one is equal anyway.
    fn note_candidates(&self, node: &Node, seen: &mut Vec<Candidate>) {
        if is_worth_it(node) {
            for known in seen.iter_mut() {
                if self.places_within(&known.node, node).is_some() {
                    known.times += 1;
                    return;
                }
                if self.places_within(node, &known.node).is_some() {
                    *known = Candidate { node: Arc::clone(node), times: known.times + 1 };
                    return;
                }
            }
            if is_repeatable(node) {
                seen.push(Candidate { node: Arc::clone(node), times: 1 });
            }
        }
        for child in node.children() {
            self.note_candidates(child, seen);
        }
    }

    /// The rows of a shared subtree, for one more reader; `None` if the node is not shared.
    pub(super) fn visit_shared(&mut self, node: &Node) -> Result<Option<Part>> {
        if self.shared.is_empty() || !is_worth_it(node) {
            return Ok(None);
        }
        let mut known = self.shared.iter().enumerate();
        let found = known.find_map(|(place, shared)| Some((place, self.places_within(&shared.node, node)?)));
        let Some((place, columns)) = found else { return Ok(None) };
        let whole = Arc::clone(&self.shared[place].node);
        if self.shared[place].built.is_none() {
            let part = self.visit_unshared(&whole)?;
            let mut fused = self.as_fused(part)?;
            fused.stands_for(&whole);
            let (lanes, layout, loose) = (fused.lanes.clone(), fused.layout.clone(), fused.loose.clone());
            let stage = self.close(fused.into(), Vec::new())?;
            self.shared[place].built = Some(Built { stage, lanes, layout, loose });
        }
        let Some(Built { stage, lanes, layout, loose }) = self.shared[place].built.clone() else { return Ok(None) };
        let exchange = self.exchange(stage, Route::Keep, whole.schema(), None);
        self.graph.exchanges[exchange.0 as usize].spooled = true;
        let mut fused = reading(exchange, &whole, lanes);
        (fused.layout, fused.loose) = (layout, loose);
        let all = fused.columns();
        fused.project(columns.iter().map(|&column| all[column].clone()).collect(), node.schema());
        Ok(Some(fused.into()))
    }

    fn places_within(&self, whole: &Node, part: &Node) -> Option<Places> {
        let native = self.world.native.as_ref()?;
        columns_within(native.leaves.as_ref(), whole, part)
    }
}

struct Candidate {
    node: Node,
    times: usize,
}

fn reading(exchange: ExchangeId, node: &Node, lanes: Vec<Pin>) -> Fused {
    let feed = Feed::Lanes((0..lanes.len()).collect());
    let mut fused = Fused::reading(Source::Exchange(exchange), node.schema(), lanes);
    fused.inputs = vec![StageInput { exchange, feed }];
    fused
}

/// Joins, and groups that are complete.
fn is_worth_it(node: &Node) -> bool {
    match node.downcast_ref::<AggregateExec>() {
        Some(aggregate) => *aggregate.mode() != AggregateMode::Partial,
        None => node.is::<HashJoinExec>(),
    }
}

/// Whether two runs of a subtree give the same rows.
pub(super) fn is_repeatable(node: &Node) -> bool {
    let mut repeatable = true;
    let _ = node.apply_expressions(&mut |expr| {
        repeatable &= !is_volatile(expr);
        Ok(TreeNodeRecursion::Continue)
    });
    repeatable && node.children().into_iter().all(is_repeatable)
}
