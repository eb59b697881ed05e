//! How many rows the nodes of a physical plan are expected to yield.
//!
//! Estimates are made of the logical plan ([`crate::rewrite::statistics`]): they are what joins were ordered by. DataFusion
//! makes a physical plan of the same shape of it, with nodes between that move rows and change none. So both plans are
//! walked down side by side:
//!
//! ```text
//!   Aggregate: g                120         AggregateExec: FinalPartitioned    120
//!     Filter: a > 1             900           RepartitionExec                  states: nothing is known
//!       TableScan: t           1000    ──►      AggregateExec: Partial         states: nothing is known
//!                                                 FilterExec                   900
//!                                                   DataSourceExec            1000
//! ```
//!
//! Where a physical rule has made something else of a subtree, nothing is said of it. Asked only when a plan is shown, for it
//! visits each node once for every node above it: some 100 µs for a query of TPC-H.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan, Subquery};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use crate::rewrite::TableStatistics;
use crate::rewrite::statistics::Estimator;

type Node = Arc<dyn ExecutionPlan>;

/// What is known of the rows of a node, over all of its lanes. The lanes of a rank count as one.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Which one.
    pub node: Node,
    /// So many are expected.
    pub rows: f64,
    /// So many if nothing is guessed of how many groups aggregations have: as many as there is room for. Infinite if nothing tells
    /// how many rows there are to group.
    pub most: f64,
}

impl Expected {
    /// What is known of a node.
    pub fn of<'a>(known: &'a [Expected], node: &Node) -> Option<&'a Expected> {
        known.iter().find(|known| Arc::ptr_eq(&known.node, node))
    }
}

/// The rows of those nodes of `physical` of which something is known.
pub(crate) fn rows(
    logical: &LogicalPlan,
    physical: &Node,
    statistics: &dyn TableStatistics,
    ranks: usize,
) -> Vec<Expected> {
    let mut walk = Walk { estimator: Estimator::new(statistics), ranks, known: Vec::new() };
    walk.node(physical, logical, None);
    walk.known
}

struct Walk<'a> {
    estimator: Estimator<'a>,
    ranks: usize,
    known: Vec<Expected>,
}

impl Walk<'_> {
    /// The rows of a node that computes `logical` or something below it, over rows that passed `filter`.
    fn node(&mut self, node: &Node, logical: &LogicalPlan, filter: Option<&Filter>) -> Option<f64> {
        let rows = self.rows_of(node, logical, filter)?;
        let rows = self.limited(node, rows);
        self.known.push(Expected { node: Arc::clone(node), rows, most: self.most(node, logical, rows) });
        Some(rows)
    }

    /// [`Expected::most`] of a node with so many rows.
    fn most(&self, node: &Node, logical: &LogicalPlan, rows: f64) -> f64 {
        if node.children().is_empty() {
            let known = match below(logical, |plan| plan.inputs().is_empty()) {
                Some(LogicalPlan::TableScan(scan)) => self.estimator.counts_rows(scan),
                other => matches!(other, Some(LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_))),
            };
            return if known { rows } else { f64::INFINITY };
        }
        let doubt = self.doubt(node);
        match below(logical, |plan| matches!(plan, LogicalPlan::Aggregate(_))) {
            Some(LogicalPlan::Aggregate(aggregate)) if node.is::<AggregateExec>() => {
                let (groups, input) = self.estimator.most_groups(aggregate);
                groups.min(input * doubt).max(rows)
            }
            _ => rows * doubt,
        }
    }

    /// By how much the rows that a node reads are more if nothing is guessed of groups.
    fn doubt(&self, node: &Node) -> f64 {
        let below = node.children().into_iter().map(|child| match Expected::of(&self.known, child) {
            Some(known) => known.most / known.rows.max(1.0),
            // How long lists are, or how many rounds there are, nobody knows.
            None if child.children().is_empty() || child.is::<UnnestExec>() || child.is::<RecursiveQueryExec>() => {
                f64::INFINITY
            }
            None => self.doubt(child),
        });
        below.product::<f64>().max(1.0)
    }

    fn rows_of(&mut self, node: &Node, logical: &LogicalPlan, filter: Option<&Filter>) -> Option<f64> {
        if let Some(subqueries) = node.downcast_ref::<ScalarSubqueryExec>() {
            return self.subqueries(subqueries, logical);
        }
        if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
            return self.aggregate(aggregate, logical);
        }
        if node.is::<FilterExec>() {
            return self.filter(node, logical);
        }
        if node.is::<UnionExec>() || node.is::<InterleaveExec>() {
            return self.union(node, logical);
        }
        match node.children().as_slice() {
            [] => self.leaf(logical, filter),
            [input] => {
                let rows = self.node(input, logical, filter);
                let moves = matches!(node.cardinality_effect(), CardinalityEffect::Equal) || node.fetch().is_some();
                rows.filter(|_| moves || node.is::<GlobalLimitExec>())
            }
            [left, right] => self.join([left, right], logical),
            _ => None,
        }
    }

    /// What a limit leaves; one of each lane leaves as much on each rank.
    fn limited(&self, node: &Node, rows: f64) -> f64 {
        let skip = node.downcast_ref::<GlobalLimitExec>().map_or(0, GlobalLimitExec::skip);
        let lanes = if node.output_partitioning().partition_count() > 1 { self.ranks } else { 1 };
        let most = node.fetch().map_or(f64::INFINITY, |fetch| (fetch * lanes) as f64);
        (rows - skip as f64).clamp(0.0, most)
    }

    /// A source; the predicates of a filter over it are not its own, even if it has been told of them.
    fn leaf(&self, logical: &LogicalPlan, filter: Option<&Filter>) -> Option<f64> {
        match below(logical, |plan| plan.inputs().is_empty())? {
            LogicalPlan::TableScan(scan) => {
                let tested = filter.map(|filter| split_conjunction(&filter.predicate)).unwrap_or_default();
                Some(self.estimator.scan(scan, &tested).rows)
            }
            other => Some(self.estimator.plan(other).rows),
        }
    }

    fn filter(&mut self, node: &Node, logical: &LogicalPlan) -> Option<f64> {
        let found = below(logical, |plan| matches!(plan, LogicalPlan::Filter(_)))?;
        let LogicalPlan::Filter(filter) = found else { return None };
        self.node(node.children()[0], &filter.input, Some(filter));
        Some(self.estimator.plan(found).rows)
    }

    fn aggregate(&mut self, node: &AggregateExec, logical: &LogicalPlan) -> Option<f64> {
        let found = below(logical, |plan| matches!(plan, LogicalPlan::Aggregate(_)))?;
        let LogicalPlan::Aggregate(aggregate) = found else { return None };
        let input = match node.mode() {
            AggregateMode::Single | AggregateMode::SinglePartitioned => Some(node.input()),
            AggregateMode::Final | AggregateMode::FinalPartitioned => partial_input(node.input()),
            _ => None,
        };
        self.node(input?, &aggregate.input, None);
        Some(self.estimator.plan(found).rows)
    }

    fn union(&mut self, node: &Node, logical: &LogicalPlan) -> Option<f64> {
        let found = below(logical, |plan| matches!(plan, LogicalPlan::Union(_)))?;
        let LogicalPlan::Union(union) = found else { return None };
        let children = node.children();
        if children.len() != union.inputs.len() {
            return None;
        }
        for (child, input) in children.into_iter().zip(&union.inputs) {
            self.node(child, input, None);
        }
        Some(self.estimator.plan(found).rows)
    }

    fn join(&mut self, inputs: [&Node; 2], logical: &LogicalPlan) -> Option<f64> {
        let found = below(logical, |plan| matches!(plan, LogicalPlan::Join(_)))?;
        let LogicalPlan::Join(join) = found else { return None };
        for (input, side) in inputs.into_iter().zip(sides(join, inputs[0])) {
            self.node(input, side, None);
        }
        Some(self.estimator.plan(found).rows)
    }

    fn subqueries(&mut self, node: &ScalarSubqueryExec, logical: &LogicalPlan) -> Option<f64> {
        let subqueries = scalar_subqueries(logical);
        if subqueries.len() == node.subqueries().len() {
            for (link, subquery) in node.subqueries().iter().zip(&subqueries) {
                self.node(&link.plan, &subquery.subquery, None);
            }
        }
        self.node(node.input(), logical, None)
    }
}

/// The first node from here down that is wanted, past nodes that keep their input's rows or limit them.
fn below(plan: &LogicalPlan, wanted: impl Fn(&LogicalPlan) -> bool) -> Option<&LogicalPlan> {
    let mut plan = plan;
    while !wanted(plan) {
        plan = match plan {
            LogicalPlan::Projection(node) => &node.input,
            LogicalPlan::SubqueryAlias(node) => &node.input,
            LogicalPlan::Sort(node) => &node.input,
            LogicalPlan::Limit(node) => &node.input,
            LogicalPlan::Repartition(node) => &node.input,
            LogicalPlan::Window(node) => &node.input,
            _ => return None,
        };
    }
    Some(plan)
}

/// What the partial aggregation below a final one reads.
fn partial_input(node: &Node) -> Option<&Node> {
    let mut node = node;
    loop {
        if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
            return (*aggregate.mode() == AggregateMode::Partial).then(|| aggregate.input());
        }
        node = match node.children().as_slice() {
            [input] => *input,
            _ => return None,
        };
    }
}

/// The inputs of a join in the order of a physical join whose left input is `left`: its sides may have been swapped.
fn sides<'a>(join: &'a Join, left: &Node) -> [&'a LogicalPlan; 2] {
    let schema = left.schema();
    let shared = |side: &LogicalPlan| {
        let has = |name: &String| side.schema().fields().iter().any(|field| field.name() == name);
        schema.fields().iter().filter(|field| has(field.name())).count()
    };
    let (straight, swapped) = (shared(&join.left), shared(&join.right));
    if straight >= swapped { [&join.left, &join.right] } else { [&join.right, &join.left] }
}

/// The scalar subqueries of a plan's own expressions, each once, in the order in which DataFusion plans them.
fn scalar_subqueries(plan: &LogicalPlan) -> Vec<Subquery> {
    let mut found = Vec::<Subquery>::new();
    // Nothing in here fails.
    let _ = plan.apply(|node| {
        for expr in node.expressions() {
            expr.apply(|expr| {
                if let Expr::ScalarSubquery(subquery) = expr
                    && subquery.outer_ref_columns.is_empty()
                    && !found.contains(subquery)
                {
                    found.push(subquery.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}
