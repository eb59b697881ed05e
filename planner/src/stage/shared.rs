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
//! Two subtrees are equal if their nodes are: by name, text, columns and expressions, which compare by structure. Text alone
//! would not do: two scalar subqueries, or literals of two types, print alike.

use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_engine::stage::{ExchangeId, Feed, Pin, Route, StageId, StageInput};
use bireme_operators::pipeline::ir::Source;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::joins::HashJoinExec;

use super::{Builder, Part};
use crate::fuse::Fused;

type Node = Arc<dyn ExecutionPlan>;

/// A subtree that occurs more than once.
pub(super) struct Shared {
    node: Node,
    /// Once it has been built: its stage and its lanes.
    built: Option<(StageId, Vec<Pin>)>,
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
            let print = fingerprint(node);
            let known = seen.iter().position(|known| known.print == print && self.are_equal(&known.node, node));
            match known {
                Some(known) => {
                    seen[known].times += 1;
                    return;
                }
                None if is_repeatable(node) => seen.push(Candidate { node: Arc::clone(node), print, times: 1 }),
                None => {}
            }
        }
        for child in children(node) {
            self.note_candidates(&child, seen);
        }
    }

    /// The rows of a shared subtree, for one more reader; `None` if the node is not shared.
    pub(super) fn visit_shared(&mut self, node: &Node) -> Result<Option<Part>> {
        if self.shared.is_empty() || !is_worth_it(node) {
            return Ok(None);
        }
        let same = |shared: &Shared| Arc::ptr_eq(&shared.node, node) || self.are_equal(&shared.node, node);
        let Some(place) = self.shared.iter().position(same) else { return Ok(None) };
        if self.shared[place].built.is_none() {
            let part = self.visit_unshared(node)?;
            let mut fused = self.as_fused(part)?;
            fused.stands_for(node);
            let lanes = fused.lanes.clone();
            let stage = self.close(fused.into(), Vec::new())?;
            self.shared[place].built = Some((stage, lanes));
        }
        let Some((stage, lanes)) = self.shared[place].built.clone() else { return Ok(None) };
        let exchange = self.exchange(stage, Route::Keep, node.schema(), None);
        self.graph.exchanges[exchange.0 as usize].spooled = true;
        Ok(Some(reading(exchange, node, lanes).into()))
    }

    fn are_equal(&self, a: &Node, b: &Node) -> bool {
        if Arc::ptr_eq(a, b) {
            return true;
        }
        let (below_a, below_b) = (children(a), children(b));
        let alike = a.name() == b.name()
            && below_a.len() == below_b.len()
            && a.schema() == b.schema()
            && line(a) == line(b)
            && have_equal_expressions(a, b);
        if below_a.is_empty() {
            return alike && self.world.native.as_ref().is_some_and(|native| native.leaves.are_same(a, b));
        }
        alike && below_a.iter().zip(&below_b).all(|(a, b)| self.are_equal(a, b))
    }
}

struct Candidate {
    node: Node,
    print: u64,
    times: usize,
}

fn reading(exchange: ExchangeId, node: &Node, lanes: Vec<Pin>) -> Fused {
    let feed = Feed::Lanes((0..lanes.len()).collect());
    let mut fused = Fused::reading(Source::Exchange(exchange), node.schema(), lanes);
    fused.inputs = vec![StageInput { exchange, feed }];
    fused
}

fn children(node: &Node) -> Vec<Node> {
    node.children().into_iter().cloned().collect()
}

/// Joins, and groups that are complete.
fn is_worth_it(node: &Node) -> bool {
    match node.downcast_ref::<AggregateExec>() {
        Some(aggregate) => *aggregate.mode() != AggregateMode::Partial,
        None => node.is::<HashJoinExec>(),
    }
}

/// Whether two runs of a subtree give the same rows.
fn is_repeatable(node: &Node) -> bool {
    let mut repeatable = true;
    let _ = node.apply_expressions(&mut |expr| {
        repeatable &= !is_volatile(expr);
        Ok(TreeNodeRecursion::Continue)
    });
    repeatable && children(node).iter().all(is_repeatable)
}

fn line(node: &Node) -> String {
    DisplayableExecutionPlan::new(node.as_ref()).one_line().to_string()
}

fn fingerprint(node: &Node) -> u64 {
    bireme_engine::hash::hash_bytes(line(node).as_bytes())
}

fn have_equal_expressions(a: &Node, b: &Node) -> bool {
    let expressions = |node: &Node| {
        let mut all: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
        let ended = node.apply_expressions(&mut |expr| {
            all.push(Arc::clone(expr));
            Ok(TreeNodeRecursion::Continue)
        });
        ended.is_ok().then_some(all)
    };
    matches!((expressions(a), expressions(b)), (Some(a), Some(b)) if a == b)
}
