//! Joins that are products of tensors.
//!
//! ```text
//!  Aggregate: groupBy=[a.i, b.j], aggr=[sum(a.v * b.v)]         Contraction: einsum("ik,kj->ij")
//!    Inner Join: a.k = b.k                              ──►       Projection: a.k, a.i, a.v
//!      TableScan: a                                                 TableScan: a
//!      TableScan: b                                               Projection: b.k, b.j, b.v
//!                                                                   TableScan: b
//! ```
//!
//! An inner join on equal integers, grouped by integers of one side each, with one `SUM` of a product of doubles (or of two
//! BIGINTs), or one `COUNT(*)`. What is computed for a side cannot fail, for it is computed for rows without a partner too.
//! Projections and aliases between are seen through; what else there is, filters on one table included, belongs to an input. The
//! meaning stays that of the join: see [`bireme_operators::contract_rows`].
//!
//! Counts, and sums of one table's values, are those of most star schemas: such a join is left alone unless it is expected to have
//! more rows than its tables.
//!
//! *Three tables and more* are products of products: where an input is itself such a join, its values are summed first by the
//! indices that are still needed, for a sum of products is a product of sums, and the rule finds that sum in turn:
//!
//! ```text
//!  sum(a.v * b.v * c.v) by a.i, c.l                    Contraction: einsum("ik,kj->ij")
//!    Join: b.j = c.j                                     Contraction: einsum("ik,kj->ij")      by a.i, b.j
//!      Join: a.k = b.k                         ──►         a
//!        a                                                 b
//!        b                                               c
//!      c
//! ```
//!
//! Sums of doubles are taken in another order by this, as between ranks anyway. Integers would overflow elsewhere, and are not
//! taken apart.

use std::sync::Arc;

use arrow::datatypes::DataType;
use bireme_engine::error::Result;
use bireme_operators::checked_sum::checked_sum;
use bireme_operators::contract_rows::{Output, ROW_BYTES, TableContraction};
use bireme_operators::errors::from_datafusion;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality, Result as DfResult};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprSchemable as _, Extension, Join, LogicalPlan, LogicalPlanBuilder, Operator,
    UserDefinedLogicalNodeCore as _, lit,
};

use super::statistics::{TableStatistics, estimate};
use crate::logical::Contraction;

/// Letters of each kind, at most.
const MOST_LETTERS: usize = 4;

/// Makes contractions of all joins that are some and whose tables are expected to fit into so many bytes: they are kept in memory.
///
/// # Errors
/// None that a user could cause.
pub fn find_contractions(plan: LogicalPlan, statistics: &dyn TableStatistics, memory: f64) -> Result<LogicalPlan> {
    let row_bytes = |plan: &LogicalPlan| (8 * plan.schema().fields().len() + ROW_BYTES) as f64;
    let bytes = |plan: &LogicalPlan| estimate(plan, statistics).rows * row_bytes(plan);
    let found = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = &node else { return Ok(Transformed::no(node)) };
        match contraction(aggregate, statistics)? {
            Some(found) if found.inputs().into_iter().map(bytes).sum::<f64>() <= memory => {
                let node = LogicalPlan::Extension(Extension { node: Arc::new(found) });
                Ok(Transformed::yes(node))
            }
            _ => Ok(Transformed::no(node)),
        }
    });
    found.map(|found| found.data).map_err(from_datafusion)
}

/// What one side of the join is asked for.
#[derive(Default)]
struct Side {
    batch: Vec<Expr>,
    summed: Vec<Expr>,
    free: Vec<Expr>,
    /// Whose product its values are; none: each row counts once.
    factors: Vec<Expr>,
}

fn contraction(aggregate: &Aggregate, statistics: &dyn TableStatistics) -> DfResult<Option<Contraction>> {
    let [call] = aggregate.aggr_expr.as_slice() else { return Ok(None) };
    let Some(summand) = summand(call) else { return Ok(None) };
    let exprs = aggregate.group_expr.iter().cloned().chain(summand).collect::<Vec<_>>();
    let Some((plan, mut exprs)) = see_through(&aggregate.input, exprs)? else { return Ok(None) };
    let LogicalPlan::Join(join) = plan else { return Ok(None) };
    if !is_plain(join) || aggregate.group_expr.is_empty() {
        return Ok(None);
    }
    let product = (exprs.len() > aggregate.group_expr.len()).then(|| exprs.pop()).flatten();
    let Some((sides, mut output)) = letters(join, &exprs)? else { return Ok(None) };
    let result = aggregate.schema.field(aggregate.group_expr.len()).data_type();
    let Some(sides) = factors(join, sides, product, result)? else { return Ok(None) };
    let multiplies = sides.iter().all(|side| !side.factors.is_empty());
    if !multiplies && !multiplies_rows(plan, join, statistics) {
        return Ok(None);
    }
    output.push(Output::Sum);
    let [left, right] = sides;
    let contraction = TableContraction {
        batch: (0..left.batch.len()).map(|at| (at, at)).collect(),
        summed: (left.batch.len()..left.batch.len() + left.summed.len()).map(|at| (at, at)).collect(),
        left_free: left.free_places(),
        right_free: right.free_places(),
        left_value: left.value_place(),
        right_value: right.value_place(),
        output,
        schema: Arc::new(aggregate.schema.as_arrow().clone()),
    };
    let (left, right) = (left.input(&join.left)?, right.input(&join.right)?);
    Ok(Some(Contraction::new(left, right, contraction, Arc::clone(&aggregate.schema))))
}

/// Whether a join is expected to have more rows than its tables have together.
fn multiplies_rows(plan: &LogicalPlan, join: &Join, statistics: &dyn TableStatistics) -> bool {
    let rows = |plan: &LogicalPlan| estimate(plan, statistics).rows;
    rows(plan) > rows(&join.left) + rows(&join.right)
}

/// What is summed: an expression, or nothing for COUNT(*); `None` if it is another aggregate.
fn summand(call: &Expr) -> Option<Option<Expr>> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = unaliased(call) else { return None };
    if params.distinct || params.filter.is_some() || !params.order_by.is_empty() {
        return None;
    }
    match (func.name(), params.args.as_slice()) {
        ("sum", [argument]) => Some(Some(argument.clone())),
        ("count", [Expr::Literal(value, _)]) if !value.is_null() => Some(None),
        _ => None,
    }
}

fn is_plain(join: &Join) -> bool {
    join.join_type == JoinType::Inner
        && join.filter.is_none()
        && join.null_equality == NullEquality::NullEqualsNothing
        && !join.on.is_empty()
}

/// The first node below projections and aliases, and the expressions in its terms; `None` where one would be computed otherwise.
fn see_through(plan: &LogicalPlan, exprs: Vec<Expr>) -> DfResult<Option<(&LogicalPlan, Vec<Expr>)>> {
    let (below, from, to) = match plan {
        LogicalPlan::Projection(projection) => {
            let to = projection.expr.iter().map(|expr| unaliased(expr).clone()).collect::<Vec<_>>();
            if to.iter().any(Expr::is_volatile) {
                return Ok(None);
            }
            (&projection.input, projection.schema.columns(), to)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let to = alias.input.schema().columns().into_iter().map(Expr::Column).collect();
            (&alias.input, alias.schema.columns(), to)
        }
        _ => return Ok(Some((plan, exprs))),
    };
    let replaced = |expr: Expr| {
        expr.transform(|expr| match &expr {
            Expr::Column(column) => match from.iter().position(|known| known == column) {
                Some(place) => Ok(Transformed::yes(to[place].clone())),
                None => Ok(Transformed::no(expr)),
            },
            _ => Ok(Transformed::no(expr)),
        })
        .map(|replaced| replaced.data)
    };
    let exprs = exprs.into_iter().map(replaced).collect::<DfResult<Vec<_>>>()?;
    see_through(below, exprs)
}

/// The index expressions of both sides, and which of them each group is.
fn letters(join: &Join, groups: &[Expr]) -> DfResult<Option<([Side; 2], Vec<Output>)>> {
    let [mut left, mut right] = [Side::default(), Side::default()];
    let mut output = Vec::with_capacity(groups.len() + 1);
    let mut grouped = vec![None; join.on.len()];
    for group in groups {
        let group = unaliased(group);
        if group.is_volatile() || !is_index(group, &join.schema)? {
            return Ok(None);
        }
        if let Some(key) = join.on.iter().position(|(a, b)| a == group || b == group) {
            let number = *grouped[key].get_or_insert_with(|| {
                left.batch.push(join.on[key].0.clone());
                right.batch.push(join.on[key].1.clone());
                left.batch.len() - 1
            });
            output.push(Output::Batch(number));
        } else if is_of(group, join.left.schema()) {
            output.push(Output::LeftFree(place_of(&mut left.free, group)));
        } else if is_of(group, join.right.schema()) {
            output.push(Output::RightFree(place_of(&mut right.free, group)));
        } else {
            return Ok(None);
        }
    }
    for ((a, b), grouped) in join.on.iter().zip(&grouped) {
        if !is_index(a, join.left.schema())? || !is_index(b, join.right.schema())? {
            return Ok(None);
        }
        if grouped.is_none() {
            left.summed.push(a.clone());
            right.summed.push(b.clone());
        }
    }
    let few = |side: &Side| side.batch.len().max(side.summed.len()).max(side.free.len()) <= MOST_LETTERS;
    Ok((few(&left) && few(&right)).then_some(([left, right], output)))
}

fn place_of(known: &mut Vec<Expr>, expr: &Expr) -> usize {
    known.iter().position(|known| known == expr).unwrap_or_else(|| {
        known.push(expr.clone());
        known.len() - 1
    })
}

/// Gives each side its factors of the product; `None` if it is none, or of other types.
fn factors(
    join: &Join,
    [mut left, mut right]: [Side; 2],
    product: Option<Expr>,
    result: &DataType,
) -> DfResult<Option<[Side; 2]>> {
    let Some(product) = product else {
        // COUNT(*): each pair is a one.
        return Ok((result == &DataType::Int64).then_some([left, right]));
    };
    let mut list = Vec::new();
    multiplied(&product, &mut list);
    let data_type = product.get_type(join.schema.as_ref())?;
    if &data_type != result || product.is_volatile() {
        return Ok(None);
    }
    for factor in list {
        if factor.get_type(join.schema.as_ref())? != data_type || !never_fails(&factor, &join.schema)? {
            return Ok(None);
        }
        // Constants go anywhere.
        let side = match (is_of(&factor, join.left.schema()), is_of(&factor, join.right.schema())) {
            (true, _) => &mut left,
            (_, true) => &mut right,
            _ => return Ok(None),
        };
        side.factors.push(factor);
    }
    let fits = match data_type {
        DataType::Float64 => true,
        // A product of three would overflow elsewhere.
        DataType::Int64 => left.factors.len() <= 1 && right.factors.len() <= 1,
        _ => false,
    };
    Ok(fits.then_some([left, right]))
}

fn multiplied(expr: &Expr, list: &mut Vec<Expr>) {
    match unaliased(expr) {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Multiply, right }) => {
            multiplied(left, list);
            multiplied(right, list);
        }
        factor => list.push(factor.clone()),
    }
}

/// Whether all columns of an expression are in a schema.
fn is_of(expr: &Expr, schema: &DFSchema) -> bool {
    expr.column_refs().into_iter().all(|column: &Column| schema.has_column(column))
}

fn is_index(expr: &Expr, schema: &DFSchema) -> DfResult<bool> {
    let data_type = expr.get_type(schema)?;
    Ok(data_type.is_integer() && data_type != DataType::UInt64 && never_fails(expr, schema)?)
}

/// Whether an expression has a value for every row: a side is computed for rows that have no partner, too.
fn never_fails(expr: &Expr, schema: &DFSchema) -> DfResult<bool> {
    match expr {
        Expr::Column(_) | Expr::Literal(..) => Ok(true),
        Expr::Alias(alias) => never_fails(&alias.expr, schema),
        Expr::Negative(inner) => Ok(is_double(expr, schema)? && never_fails(inner, schema)?),
        Expr::Cast(cast) => {
            let from = cast.expr.get_type(schema)?;
            let widens = match cast.field.data_type() {
                DataType::Float64 => from.is_numeric(),
                DataType::Int64 => from.is_integer() && from != DataType::UInt64,
                to => &from == to,
            };
            Ok(widens && never_fails(&cast.expr, schema)?)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let arithmetic = matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide);
            Ok(arithmetic && is_double(expr, schema)? && never_fails(left, schema)? && never_fails(right, schema)?)
        }
        _ => Ok(false),
    }
}

fn is_double(expr: &Expr, schema: &DFSchema) -> DfResult<bool> {
    Ok(expr.get_type(schema)? == DataType::Float64)
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

impl Side {
    fn free_places(&self) -> Vec<usize> {
        let first = self.batch.len() + self.summed.len();
        (first..first + self.free.len()).collect()
    }

    fn value_place(&self) -> Option<usize> {
        (!self.factors.is_empty()).then_some(self.batch.len() + self.summed.len() + self.free.len())
    }

    /// The indices and the values of a side, by the names of their places.
    fn input(self, plan: &Arc<LogicalPlan>) -> DfResult<LogicalPlan> {
        let indices = self.batch.into_iter().chain(self.summed).chain(self.free);
        let mut indices = indices.enumerate().map(|(at, expr)| expr.alias(format!("index_{at}"))).collect::<Vec<_>>();
        let Some(product) = self.factors.into_iter().reduce(|product, factor| product * factor) else {
            if indices.is_empty() {
                indices.push(lit(0_i64).alias("index_0"));
            }
            return LogicalPlanBuilder::from(plan.as_ref().clone()).project(indices)?.build();
        };
        let is_double = product.get_type(plan.schema().as_ref())? == DataType::Float64;
        let rows = LogicalPlanBuilder::from(plan.as_ref().clone());
        if !is_double || !is_join(plan) {
            return rows.project(indices.into_iter().chain([product.alias("value")]))?.build();
        }
        // A product of its own, by the indices that are still needed.
        let names = (0..indices.len()).map(|at| Expr::Column(Column::new_unqualified(format!("index_{at}"))));
        let names = names.collect::<Vec<_>>();
        let sum = checked_sum().call(vec![Expr::Column(Column::new_unqualified("value"))]);
        rows.project(indices.into_iter().chain([product.alias("value")]))?
            .aggregate(names, vec![sum.alias("value")])?
            .build()
    }
}

/// Whether a plan is a plain join below projections and aliases.
fn is_join(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_join(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_join(&alias.input),
        LogicalPlan::Join(join) => is_plain(join),
        _ => false,
    }
}
