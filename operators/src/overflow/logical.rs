//! Checked arithmetic in logical plans.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::context::QueryPlanner;
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, WindowFunctionDefinition};
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{AnalyzerRule, ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};

use super::function::{CheckedOperation, checked_binary, checked_negative, plain};
use crate::checked_sum::checked_sum;

/// `SimplifyExpressions` whose constant folding fails on overflow instead of wrapping.
///
/// ```text
/// before   Projection: 9223372036854775807 + 1, x + (2 + 3)
/// after    Projection: checked_add(9223372036854775807, 1), x + 5
/// ```
/// The first fails when a row is computed: not at all in a branch that is never taken.
#[derive(Debug, Default)]
pub struct CheckedSimplify {
    original: SimplifyExpressions,
}

impl CheckedSimplify {
    /// The name of the rule to put this one in place of.
    pub const REPLACES: &str = "simplify_expressions";
}

impl OptimizerRule for CheckedSimplify {
    fn name(&self) -> &str {
        Self::REPLACES
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.original.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if !has_arithmetic(&plan)? {
            return self.original.rewrite(plan, config);
        }
        let checked = check_node(plan)?.data;
        self.original.rewrite(checked, config)?.map_data(unchecked)
    }
}

/// The expressions of a node in plain form again, but for what could not be folded: there, plain arithmetic would be
/// folded by the next one who tries.
fn unchecked(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.map_expressions(|expr| {
        expr.transform_up(|expr| match &expr {
            Expr::ScalarFunction(function) if !function.args.iter().all(|arg| matches!(arg, Expr::Literal(..))) => {
                Ok(Transformed::yes(plain(expr)))
            }
            _ => Ok(Transformed::no(expr)),
        })
    })?;
    // A rule may have put a projection above an aggregate: its expressions are another node's.
    Ok(plan.data)
}

/// A plan whose integer arithmetic is checked everywhere, to be handed to physical planning. Aggregates are left to the
/// physical rule, which can do all of theirs: EXPLAIN names physical aggregates by their logical expression.
///
/// # Errors
/// An expression has no type: always a bug.
pub fn check_plan(plan: LogicalPlan) -> Result<LogicalPlan> {
    let checked = plan.transform_up_with_subqueries(|node| match &node {
        LogicalPlan::Aggregate(_) => Ok(Transformed::no(node)),
        _ if has_arithmetic(&node)? => check_node(node),
        _ => Ok(Transformed::no(node)),
    })?;
    Ok(checked.data)
}

fn has_arithmetic(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        found = found || expr.exists(|expr| Ok(is_arithmetic(expr)))?;
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

fn is_arithmetic(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr { op, .. }) => matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply),
        Expr::Negative(_) => true,
        // Left by a rewrite that split the node: to be made plain again.
        Expr::ScalarFunction(function) => function.func.inner().is::<CheckedOperation>(),
        _ => false,
    }
}

/// Checks the expressions of one node.
fn check_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = expression_schema(&plan)?;
    // Only windows show their ORDER BY in other words than `schema_name`, and need it.
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        expr.transform_up(|expr| Ok(check_expr(expr, &schema)))?.map_data(|expr| Ok(name.restore(expr)))
    })
}

/// The columns that a node's expressions see.
fn expression_schema(plan: &LogicalPlan) -> Result<DFSchema> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())
        }
        other => Ok(merge_schema(&other.inputs())),
    }
}

fn check_expr(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    // What has no type here (a placeholder, a column of MERGE's target) is none of our business.
    let is_integer = |expr: &Expr| expr.get_type(schema).is_ok_and(|data_type| data_type.is_integer());
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply)
                && is_integer(&left)
                && left.get_type(schema).ok() == right.get_type(schema).ok() =>
        {
            match checked_binary((*left).clone(), op, (*right).clone()) {
                Some(checked) => Transformed::yes(checked),
                None => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            }
        }
        Expr::Negative(operand) if is_integer(&operand) => Transformed::yes(checked_negative(*operand)),
        other => Transformed::no(other),
    }
}

/// Plans queries with checked arithmetic: [`check_plan`], then another planner.
pub struct CheckedQueryPlanner {
    inner: Option<Arc<dyn QueryPlanner + Send + Sync>>,
}

impl CheckedQueryPlanner {
    /// Hands checked plans to `inner`, or to DataFusion's own planner.
    pub fn new(inner: Option<Arc<dyn QueryPlanner + Send + Sync>>) -> Self {
        Self { inner }
    }
}

impl fmt::Debug for CheckedQueryPlanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedQueryPlanner").finish_non_exhaustive()
    }
}

#[async_trait]
impl QueryPlanner for CheckedQueryPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = check_plan(plan.clone())?;
        match &self.inner {
            Some(planner) => planner.create_physical_plan(&plan, session).await,
            None => DefaultPhysicalPlanner::default().create_physical_plan(&plan, session).await,
        }
    }
}

/// Exchanges DataFusion's SUM, which programs build with `expr_fn::sum`, for the checked one.
#[derive(Debug)]
pub struct CheckedSums;

impl AnalyzerRule for CheckedSums {
    fn name(&self) -> &str {
        "checked_sums"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|node| {
            node.map_expressions(|expr| expr.transform_up(|expr| Ok(check_sum(expr))))
        })?;
        Ok(plan.data)
    }
}

fn check_sum(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::AggregateFunction(mut call) if call.func.inner().is::<Sum>() => {
            call.func = checked_sum();
            Transformed::yes(Expr::AggregateFunction(call))
        }
        Expr::WindowFunction(mut call) => match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) if function.inner().is::<Sum>() => {
                call.fun = WindowFunctionDefinition::AggregateUDF(checked_sum());
                Transformed::yes(Expr::WindowFunction(call))
            }
            _ => Transformed::no(Expr::WindowFunction(call)),
        },
        other => Transformed::no(other),
    }
}
