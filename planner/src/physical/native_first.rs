//! Planning that leaves out what only islands need.
//!
//! Half of DataFusion's physical rules decide how its own operators divide rows among lanes: where to repartition, sort and
//! coalesce, which side of a join to collect, what of a filter a source can prune by. On one rank a fused stage has a single
//! shared partition and makes those choices itself. So a query on one rank is first planned for one lane and without these
//! rules; only if an island is left in it is it planned again, with all of them, for all lanes. With a logical pass less this
//! halved the instructions of planning TPC-H's query 2 (24.3 to 12.5 million), and it leaves physical plans readable.
//!
//! A node that asks for an order of its input (an ordered aggregate) needs the rules in any case; a fused window sorts for
//! itself.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::execution::SessionState;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::{PhysicalOptimizerContext, PhysicalOptimizerRule};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

use super::settings::PlanningOptions;

/// Makes a state plan for fused stages on one rank alone.
pub fn plan_natively(state: &mut SessionState) {
    let options = state.config_mut().options_mut();
    options.execution.target_partitions = 1;
    let known = options.extensions.get::<PlanningOptions>().cloned().unwrap_or_default();
    options.extensions.insert(PlanningOptions { native: true, ..known });
}

/// Whether a node counts on the rules for the order of its input. A fused window sorts for itself; of several, or of a sort
/// and a window, one may sort for the others, and the rules know how.
pub fn wants_order(node: &Arc<dyn ExecutionPlan>) -> bool {
    wants(node, None)
}

/// The same of a node whose rows are to be sorted by a column in the end.
fn wants(node: &Arc<dyn ExecutionPlan>, sorted_by: Option<&str>) -> bool {
    let counts = match node.required_input_ordering().into_iter().flatten().next() {
        None => false,
        Some(_) if !is_window(node) => true,
        Some(order) => {
            let keys = order.first().iter().filter_map(|key| column(&key.expr));
            sorted_by.is_some_and(|name| keys.into_iter().any(|key| key == name))
                || node.children().into_iter().any(has_window)
        }
    };
    let sorted_by = match node.downcast_ref::<SortExec>() {
        Some(sort) => column(&sort.expr().first().expr),
        None => sorted_by,
    };
    counts || node.children().into_iter().any(|child| wants(child, sorted_by))
}

fn column(expr: &Arc<dyn PhysicalExpr>) -> Option<&str> {
    expr.downcast_ref::<Column>().map(Column::name)
}

fn is_window(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.is::<WindowAggExec>() || node.is::<BoundedWindowAggExec>()
}

fn has_window(node: &Arc<dyn ExecutionPlan>) -> bool {
    is_window(node) || node.children().into_iter().any(has_window)
}

/// A rule that only islands need.
#[derive(Debug)]
pub(super) struct ForIslands(pub Arc<dyn PhysicalOptimizerRule + Send + Sync>);

type Plan = Arc<dyn ExecutionPlan>;

impl PhysicalOptimizerRule for ForIslands {
    fn optimize(&self, plan: Plan, config: &ConfigOptions) -> Result<Plan> {
        if is_native(config) { Ok(plan) } else { self.0.optimize(plan, config) }
    }

    fn optimize_with_context(&self, plan: Plan, context: &dyn PhysicalOptimizerContext) -> Result<Plan> {
        if is_native(context.config_options()) { Ok(plan) } else { self.0.optimize_with_context(plan, context) }
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

fn is_native(config: &ConfigOptions) -> bool {
    config.extensions.get::<PlanningOptions>().is_some_and(|options| options.native)
}
