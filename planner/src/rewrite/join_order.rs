//! The order of joins, by cost.
//!
//! DataFusion leaves joins in the order of the FROM clause. This rule takes every maximal *region* of a plan that inner
//! joins, semi, anti and mark joins, filters and projections of plain columns make up, forgets its shape, and builds
//! the cheapest one over the same relations:
//!
//! ```text
//!  FROM part, lineitem, supplier, orders, nation      (LEFT is the build side, throughout)
//!
//!      ⋈                                    ⋈
//!     ╱ ╲                                  ╱ ╲
//!    ⋈   nation                           ⋈   orders
//!   ╱ ╲                                  ╱ ╲
//!  ⋈   orders            ──────►        ⋈   ⋈
//!  │ ╲                                 ╱ ╲  │ ╲
//!  ⋈  supplier                   nation   ╲ part lineitem
//!  │ ╲                               supplier
//!  part lineitem
//! ```
//!
//! 1. `region` takes the region apart: relations, predicates, and which column of which relation each output is.
//! 2. `builder` makes the join graph: equated columns fall into classes, so that `a = b AND b = c` also joins `a` with
//!    `c`. `graph` knows the rows of every set of relations.
//! 3. `enumerate` finds the cheapest tree: dynamic programming over connected subgraphs (DPccp; Moerkotte & Neumann,
//!    VLDB 2006) where they are few enough, else greedily (GOO; Fegaras, DEXA 1998). `cost` is the model.
//! 4. `rebuild` makes a plan of the tree, with the same columns in the same order.
//!
//! Before that, `own_groups` looks whether one of the relations only groups rows that the region has anyway.
//!
//! *Semi, anti and mark joins* whose condition looks at some relations of the region keep or drop rows of these alone
//! (or add a column to them), so they commute with the inner joins around them. They take part as relations of a
//! special kind, *reducers*, that can only be joined to a set that holds what they look at. So a selective `IN`
//! sinks to its table and a weak one stays on top, by cost.
//!
//! *Everything else is a barrier:* outer joins, joins where NULL equals NULL, aggregates, limits, sorts, windows,
//! unions, computed projections, and whatever holds a volatile function. A barrier is a relation like any other; below
//! it the rule starts anew. Outer joins only have their sides swapped where the right one is the smaller.
//!
//! Takes 30 to 200 µs for the queries of TPC-H (eight relations at most), a few milliseconds for any number of
//! relations.

mod builder;
mod cost;
mod enumerate;
mod graph;
mod own_groups;
mod rebuild;
mod region;

use std::sync::Arc;

use bireme_engine::error::{Error, Result};
use bireme_operators::errors::from_datafusion;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType, Result as DfResult};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Projection};
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::{OptimizerContext, OptimizerRule};

use self::own_groups::OwnGroups;
use super::statistics::{Estimator, TableStatistics};

/// How many rows of a table are read and grouped in the time that a row takes to be sorted and given its window. A guess, meant to
/// be too high: where it decides, both ways take about as long.
const WINDOW_COST: f64 = 4.0;

/// Reorders all joins of an optimised plan by cost and prunes columns; the left input of each join becomes the build side.
///
/// The rows are the same, in an order of their own where the plan does not sort; the schema is the same.
///
/// # Errors
/// A plan that contradicts itself.
pub fn reorder_joins(plan: LogicalPlan, statistics: &dyn TableStatistics) -> Result<LogicalPlan> {
    let mut joins = false;
    let visit = |node: &LogicalPlan| {
        joins |= matches!(node, LogicalPlan::Join(_));
        Ok(if joins { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    };
    plan.apply_with_subqueries(visit).map_err(from_datafusion)?;
    let schema = Arc::clone(plan.schema());
    let reordered = if joins {
        let rule = JoinOrder { estimator: Estimator::new(statistics) };
        rule.rewrite(plan).map_err(from_datafusion)?
    } else {
        plan
    };
    if !same_columns(&schema, reordered.schema()) {
        let has = reordered.schema();
        return Err(Error::internal(format!("reordering joins turned the columns {schema} into {has}")));
    }
    // Columns that a join was the last to need are dropped above it, as they were before.
    Ok(OptimizeProjections::new().rewrite(reordered, &OptimizerContext::new()).map_err(from_datafusion)?.data)
}

/// Whether two schemas have the same columns: names, qualifiers, types and nullability.
fn same_columns(left: &DFSchema, right: &DFSchema) -> bool {
    let pairs = left.iter().zip(right.iter());
    left.fields().len() == right.fields().len()
        && pairs.into_iter().all(|((l_table, l), (r_table, r))| {
            l_table == r_table
                && l.name() == r.name()
                && l.data_type() == r.data_type()
                && l.is_nullable() == r.is_nullable()
        })
}

/// The rule with what it knows.
struct JoinOrder<'a> {
    estimator: Estimator<'a>,
}

impl JoinOrder<'_> {
    /// Reorders a plan from its root down.
    fn rewrite(&self, plan: LogicalPlan) -> DfResult<LogicalPlan> {
        if region::starts(&plan) {
            return self.reorder_region(plan);
        }
        self.inputs(plan)
    }

    /// Reorders below a barrier.
    fn inputs(&self, plan: LogicalPlan) -> DfResult<LogicalPlan> {
        let plan = plan.map_children(|input| self.rewrite(input).map(Transformed::yes))?.data;
        match self.subqueries(plan)? {
            LogicalPlan::Join(join) => self.smaller_left(join),
            other => Ok(other),
        }
    }

    /// Reorders the subqueries in a node's expressions.
    fn subqueries(&self, plan: LogicalPlan) -> DfResult<LogicalPlan> {
        Ok(plan.map_subqueries(|subquery| self.rewrite(subquery).map(Transformed::yes))?.data)
    }

    fn reorder_region(&self, plan: LogicalPlan) -> DfResult<LogicalPlan> {
        let schema = Arc::clone(plan.schema());
        let region = region::take_apart(self, plan)?;
        if let Some(groups) = own_groups::find(self, &region)?
            && let Some(plan) = self.windowed(groups, &schema)?
        {
            return Ok(plan);
        }
        let outputs = region.outputs.iter().cloned().map(Expr::Column).collect::<Vec<_>>();
        let graph = builder::Builder::new(&region).build(region, &self.estimator)?;
        let tree = enumerate::cheapest(&graph)?;
        rebuild::with_columns(rebuild::rows(&graph, &tree)?, &outputs, &schema)
    }

    /// A region with windows instead of groups, if that pays.
    fn windowed(&self, mut groups: OwnGroups, schema: &DFSchema) -> DfResult<Option<LogicalPlan>> {
        let region = std::mem::take(&mut groups.region);
        let graph = builder::Builder::new(&region).build(region, &self.estimator)?;
        if graph.rows(graph.all()) * WINDOW_COST > groups.spared_rows {
            return Ok(None);
        }
        let tree = enumerate::cheapest(&graph)?;
        let (plan, outputs) = groups.over(rebuild::rows(&graph, &tree)?)?;
        let plan = rebuild::with_columns(plan, &outputs, schema)?;
        Ok(same_columns(schema, plan.schema()).then_some(plan))
    }

    /// Swaps the sides of an outer join, or of one where NULL equals NULL, if the right one is smaller.
    fn smaller_left(&self, join: Join) -> DfResult<LogicalPlan> {
        let swaps = matches!(join.join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full);
        if !swaps || self.estimator.plan(&join.left).rows <= self.estimator.plan(&join.right).rows {
            return Ok(LogicalPlan::Join(join));
        }
        let columns = join.schema.columns().into_iter().map(Expr::Column).collect();
        let swapped = Join::try_new(
            join.right,
            join.left,
            join.on.into_iter().map(|(left, right)| (right, left)).collect(),
            join.filter,
            join.join_type.swap(),
            join.join_constraint,
            join.null_equality,
            join.null_aware,
        )?;
        let input = Arc::new(LogicalPlan::Join(swapped));
        Ok(LogicalPlan::Projection(Projection::try_new(columns, input)?))
    }
}
