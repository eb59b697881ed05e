//! Makes a plan of a join tree.
//!
//! Of each class one equality is enough where two sides meet: within a side its members are equal already. A predicate
//! on several relations becomes part of the first inner join that sees them all, or a filter above the first other
//! join.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::{DFSchema, JoinConstraint, JoinType, NullEquality, Result, TableReference};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan, Projection};

use super::enumerate::Tree;
use super::graph::{JoinGraph, ReducerEdge, Residual, Set, within};

/// The rows of a tree, with all columns that anybody needs.
pub(super) fn rows(graph: &JoinGraph, tree: &Tree) -> Result<LogicalPlan> {
    let (plan, _) = join(graph, tree)?;
    filtered(plan, graph.constants.clone())
}

/// Expressions over a plan as the columns of a schema.
pub(super) fn with_columns(plan: LogicalPlan, exprs: &[Expr], schema: &DFSchema) -> Result<LogicalPlan> {
    let renamed = |(expr, (table, field)): (&Expr, (Option<&TableReference>, &FieldRef))| match expr {
        Expr::Column(column) if column.relation.as_ref() == table && column.name == *field.name() => expr.clone(),
        other => other.clone().alias_qualified(table.cloned(), field.name()),
    };
    let columns: Vec<Expr> = exprs.iter().zip(schema.iter()).map(renamed).collect();
    let unchanged = plan.schema().fields().len() == columns.len()
        && plan.schema().columns().into_iter().zip(&columns).all(|(own, wanted)| Expr::Column(own) == *wanted);
    if unchanged {
        return Ok(plan);
    }
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

fn join(graph: &JoinGraph, tree: &Tree) -> Result<(LogicalPlan, Set)> {
    let (build, probe) = match tree {
        Tree::Relation(number) => return Ok((graph.relations[*number].plan.clone(), 1 << number)),
        Tree::Join(build, probe) => (build, probe),
    };
    let reducer = |tree: &Tree| match tree {
        Tree::Relation(number) => graph.relations[*number].reducer.as_ref(),
        Tree::Join(..) => None,
    };
    let (left, right) = (join(graph, build)?, join(graph, probe)?);
    let set = left.1 | right.1;
    let seen = |residual: &&Residual| {
        let on = residual.relations;
        within(on, set) && !within(on, left.1) && !within(on, right.1)
    };
    let residuals: Vec<&Residual> = graph.residuals.iter().filter(seen).collect();
    let above = || residuals.iter().map(|residual| residual.predicate.clone()).collect();
    let plan = match (reducer(build), reducer(probe)) {
        (_, Some(edge)) => filtered(reduced(edge, left.0, right.0, false)?, above())?,
        (Some(edge), None) => filtered(reduced(edge, left.0, right.0, true)?, above())?,
        (None, None) => inner(graph, left, right, &residuals)?,
    };
    Ok((plan, set))
}

fn inner(
    graph: &JoinGraph,
    (left, of_left): (LogicalPlan, Set),
    (right, of_right): (LogicalPlan, Set),
    residuals: &[&Residual],
) -> Result<LogicalPlan> {
    let pair = |(left, right): (&Expr, &Expr)| (left.clone(), right.clone());
    let equalities = graph.equalities(of_left, of_right).into_iter();
    let mut on: Vec<(Expr, Expr)> = equalities.map(|(_, left, right)| pair((&left.expr, &right.expr))).collect();
    let mut rest = Vec::new();
    for residual in residuals {
        match residual.splits(graph, of_left, of_right) {
            Some(sides) => on.push(pair(sides)),
            None => rest.push(residual.predicate.clone()),
        }
    }
    let join = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        conjunction(rest),
        JoinType::Inner,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?;
    Ok(LogicalPlan::Join(join))
}

/// A semi, anti or mark join; `swapped` where the reducer is the left side.
fn reduced(edge: &ReducerEdge, left: LogicalPlan, right: LogicalPlan, swapped: bool) -> Result<LogicalPlan> {
    let reducer = &edge.join;
    let on = reducer.on.iter().cloned().map(|(region, own)| if swapped { (own, region) } else { (region, own) });
    let join = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on.collect(),
        reducer.filter.clone(),
        if swapped { reducer.join_type.swap() } else { reducer.join_type },
        JoinConstraint::On,
        reducer.null_equality,
        reducer.null_aware,
    )?;
    Ok(LogicalPlan::Join(join))
}

/// Rows that fulfil some predicates.
pub(super) fn filtered(plan: LogicalPlan, predicates: Vec<Expr>) -> Result<LogicalPlan> {
    match conjunction(predicates) {
        Some(predicate) => Ok(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?)),
        None => Ok(plan),
    }
}
