//! Checked arithmetic in physical plans.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Literal, NegativeExpr};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, PhysicalGroupBy};
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::sorts::sort::SortExec;

use super::function::{CheckedOperation, integer};

/// Turns checked functions, and what still wraps, into `BinaryExpr` with its overflow flag, in the nodes whose
/// expressions can be exchanged.
///
/// ```text
/// before   ProjectionExec: expr=[checked_add(a@0, b@1)]
/// after    ProjectionExec: expr=[a@0 + b@1]
/// ```
/// Must be the first rule: it knows the nodes that the planner creates, not what later rules make of them.
#[derive(Debug)]
pub struct CheckedArithmetic;

type Expr = Arc<dyn PhysicalExpr>;
type Plan = Arc<dyn ExecutionPlan>;

impl PhysicalOptimizerRule for CheckedArithmetic {
    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Plan, _config: &ConfigOptions) -> Result<Plan> {
        let plan = plan.transform_up(|node| {
            Ok(match check_node(&node)? {
                Some(checked) => Transformed::yes(checked),
                None => Transformed::no(node),
            })
        })?;
        Ok(plan.data)
    }
}

/// The node with checked operators; `None` where there is nothing to change.
fn check_node(node: &Plan) -> Result<Option<Plan>> {
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        check_projection(projection)
    } else if let Some(filter) = node.downcast_ref::<FilterExec>() {
        check_filter(filter)
    } else if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        check_aggregate(aggregate)
    } else if let Some(sort) = node.downcast_ref::<SortExec>() {
        check_sort(sort)
    } else if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        check_hash_join(join)
    } else if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
        check_nested_loop_join(join)
    } else if let Some(join) = node.downcast_ref::<SortMergeJoinExec>() {
        check_sort_merge_join(join)
    } else {
        Ok(None)
    }
}

/// Rewrites expressions over the columns of a schema and remembers whether any changed.
struct Rewriter {
    schema: SchemaRef,
    changed: bool,
}

impl Rewriter {
    fn new(schema: SchemaRef) -> Self {
        Self { schema, changed: false }
    }

    fn expr(&mut self, expr: &Expr) -> Result<Expr> {
        let rewritten = Arc::clone(expr).transform_up(|expr| operator(expr, &self.schema))?;
        self.changed |= rewritten.transformed;
        Ok(rewritten.data)
    }

    fn exprs(&mut self, exprs: &[Expr]) -> Result<Vec<Expr>> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    fn named(&mut self, exprs: &[(Expr, String)]) -> Result<Vec<(Expr, String)>> {
        exprs.iter().map(|(expr, name)| Ok((self.expr(expr)?, name.clone()))).collect()
    }

    /// The aggregate as it is where it does not allow new arguments: the function computes the same.
    fn aggregate(&mut self, aggregate: &Arc<AggregateFunctionExpr>) -> Result<Arc<AggregateFunctionExpr>> {
        let all = aggregate.all_expressions();
        let mut inner = Rewriter::new(Arc::clone(&self.schema));
        let (args, order_by) = (inner.exprs(&all.args)?, inner.exprs(&all.order_by_exprs)?);
        if !inner.changed {
            return Ok(Arc::clone(aggregate));
        }
        let Some(rewritten) = aggregate.with_new_expressions(args, order_by) else { return Ok(Arc::clone(aggregate)) };
        self.changed = true;
        Ok(Arc::new(rewritten))
    }
}

/// A checked function, or an operator that wraps, as an operator that does not.
fn operator(expr: Expr, schema: &SchemaRef) -> Result<Transformed<Expr>> {
    let (left, op, right) = if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        (Arc::clone(binary.left()), *binary.op(), Arc::clone(binary.right()))
    } else if let Some(negative) = expr.downcast_ref::<NegativeExpr>() {
        // There is no checked unary minus, but `0 - a` is the same on integers.
        (zero(negative.arg(), schema)?, Operator::Minus, Arc::clone(negative.arg()))
    } else if let Some((checked, args)) = checked_call(&expr) {
        match (checked.operator(), args) {
            (Some(op), [left, right]) => (Arc::clone(left), op, Arc::clone(right)),
            (None, [operand]) => (zero(operand, schema)?, Operator::Minus, Arc::clone(operand)),
            _ => return Ok(Transformed::no(expr)),
        }
    } else {
        return Ok(Transformed::no(expr));
    };
    if !matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply) || !left.data_type(schema)?.is_integer() {
        return Ok(Transformed::no(expr));
    }
    let checked: Expr = Arc::new(BinaryExpr::new(left, op, right).with_fail_on_overflow(true));
    Ok(if checked.as_ref() == expr.as_ref() { Transformed::no(expr) } else { Transformed::yes(checked) })
}

fn checked_call(expr: &Expr) -> Option<(&CheckedOperation, &[Expr])> {
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    Some((call.fun().inner().downcast_ref::<CheckedOperation>()?, call.args()))
}

fn zero(operand: &Expr, schema: &SchemaRef) -> Result<Expr> {
    Ok(Arc::new(Literal::new(integer(0, &operand.data_type(schema)?))))
}

/// The keys and the filter of a join.
type Conditions = (Vec<(Expr, Expr)>, Option<JoinFilter>);

/// The checked conditions of a join, if that changes them.
fn join_conditions(
    children: (&Plan, &Plan),
    on: &[(Expr, Expr)],
    filter: Option<&JoinFilter>,
) -> Result<Option<Conditions>> {
    let (mut left, mut right) = (Rewriter::new(children.0.schema()), Rewriter::new(children.1.schema()));
    let on = on.iter().map(|(left_key, right_key)| Ok((left.expr(left_key)?, right.expr(right_key)?)));
    let on = on.collect::<Result<Vec<_>>>()?;
    let mut changed = left.changed || right.changed;
    let filter = match filter {
        Some(filter) => {
            let mut rewriter = Rewriter::new(Arc::clone(filter.schema()));
            let expr = rewriter.expr(filter.expression())?;
            changed |= rewriter.changed;
            Some(JoinFilter::new(expr, filter.column_indices().to_vec(), Arc::clone(filter.schema())))
        }
        None => None,
    };
    Ok(changed.then_some((on, filter)))
}

fn check_projection(projection: &ProjectionExec) -> Result<Option<Plan>> {
    let mut rewriter = Rewriter::new(projection.input().schema());
    let exprs = projection
        .expr()
        .iter()
        .map(|projected| Ok(ProjectionExpr { expr: rewriter.expr(&projected.expr)?, alias: projected.alias.clone() }));
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    if !rewriter.changed {
        return Ok(None);
    }
    let schema = projection.schema();
    let checked = ProjectionExec::try_new_with_schema_metadata(exprs, Arc::clone(projection.input()), &schema)?;
    Ok(Some(Arc::new(checked)))
}

fn check_filter(filter: &FilterExec) -> Result<Option<Plan>> {
    let mut rewriter = Rewriter::new(filter.input().schema());
    let predicate = rewriter.expr(filter.predicate())?;
    if !rewriter.changed {
        return Ok(None);
    }
    Ok(Some(Arc::new(FilterExecBuilder::from(filter).with_predicate(predicate).build()?)))
}

fn check_aggregate(aggregate: &AggregateExec) -> Result<Option<Plan>> {
    // Of the raw rows in all modes; the keys of a final aggregate are plain columns of its input.
    let mut rewriter = Rewriter::new(aggregate.input_schema());
    let group_by = aggregate.group_expr();
    let group_by = PhysicalGroupBy::new(
        rewriter.named(group_by.expr())?,
        rewriter.named(group_by.null_expr())?,
        group_by.groups().to_vec(),
        group_by.has_grouping_set(),
    );
    let functions = aggregate.aggr_expr().iter().map(|function| rewriter.aggregate(function));
    let functions = functions.collect::<Result<Vec<_>>>()?;
    let filters = aggregate.filter_expr().iter().map(|filter| match filter {
        Some(filter) => rewriter.expr(filter).map(Some),
        None => Ok(None),
    });
    let filters = filters.collect::<Result<Vec<_>>>()?;
    if !rewriter.changed {
        return Ok(None);
    }
    let (input, input_schema) = (Arc::clone(aggregate.input()), aggregate.input_schema());
    let checked = AggregateExec::try_new(*aggregate.mode(), group_by, functions, filters, input, input_schema)?;
    Ok(Some(Arc::new(checked.with_limit_options(aggregate.limit_options()))))
}

fn check_sort(sort: &SortExec) -> Result<Option<Plan>> {
    let mut rewriter = Rewriter::new(sort.input().schema());
    let exprs = sort
        .expr()
        .iter()
        .map(|sorted| Ok(PhysicalSortExpr { expr: rewriter.expr(&sorted.expr)?, options: sorted.options }));
    let ordering = LexOrdering::new(exprs.collect::<Result<Vec<_>>>()?);
    let Some(ordering) = ordering.filter(|_| rewriter.changed) else { return Ok(None) };
    let checked = SortExec::new(ordering, Arc::clone(sort.input()));
    let checked = checked.with_preserve_partitioning(sort.preserve_partitioning()).with_fetch(sort.fetch());
    Ok(Some(Arc::new(checked)))
}

fn check_hash_join(join: &HashJoinExec) -> Result<Option<Plan>> {
    let conditions = join_conditions((join.left(), join.right()), join.on(), join.filter())?;
    let Some((on, filter)) = conditions else { return Ok(None) };
    join.builder().with_on(on).with_filter(filter).recompute_properties().build_exec().map(Some)
}

fn check_nested_loop_join(join: &NestedLoopJoinExec) -> Result<Option<Plan>> {
    let conditions = join_conditions((join.left(), join.right()), &[], join.filter())?;
    let Some((_, filter)) = conditions else { return Ok(None) };
    let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
    let projection = join.projection().as_ref().map(|columns| columns.to_vec());
    Ok(Some(Arc::new(NestedLoopJoinExec::try_new(left, right, filter, join.join_type(), projection)?)))
}

fn check_sort_merge_join(join: &SortMergeJoinExec) -> Result<Option<Plan>> {
    let conditions = join_conditions((join.left(), join.right()), join.on(), join.filter().as_ref())?;
    let Some((on, filter)) = conditions else { return Ok(None) };
    let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
    let options = join.sort_options().to_vec();
    let checked = SortMergeJoinExec::try_new(left, right, on, filter, join.join_type(), options, join.null_equality())?;
    Ok(Some(Arc::new(checked)))
}
