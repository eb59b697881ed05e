//! Planning that leaves out what only islands need.
//!
//! Half of DataFusion's physical rules decide how its own operators divide rows among lanes: where to repartition, sort and
//! coalesce, which side of a join to collect, what of a filter a source can prune by. On one rank a fused stage has a single
//! shared partition and makes those choices itself. So a query on one rank is first planned for one lane and without these
//! rules; only if an island is left in it is it planned again, with all of them, for all lanes. With a logical pass less this
//! halved the instructions of planning TPC-H's query 2 (24.3 to 12.5 million), and it leaves physical plans readable.
//!
//! A node that asks for an order of its input (a window function, an ordered aggregate) needs the rules in any case.

use std::sync::Arc;

use datafusion::common::config::{ConfigExtension, ConfigOptions};
use datafusion::common::{Result, extensions_options};
use datafusion::execution::SessionState;
use datafusion::physical_optimizer::{PhysicalOptimizerContext, PhysicalOptimizerRule};
use datafusion::physical_plan::ExecutionPlan;

extensions_options! {
    /// How the plan at hand is made; set anew for every plan.
    pub struct PlanningOptions {
        /// Whether rules that only islands need are left out; the planner decides it for each plan.
        pub native: bool, default = false
    }
}

impl ConfigExtension for PlanningOptions {
    const PREFIX: &'static str = "bireme";
}

/// Makes a state plan for fused stages on one rank alone.
pub fn plan_natively(state: &mut SessionState) {
    let options = state.config_mut().options_mut();
    options.execution.target_partitions = 1;
    options.extensions.insert(PlanningOptions { native: true });
}

/// Whether a node asks for its input in an order.
pub fn wants_order(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.required_input_ordering().iter().any(Option::is_some) || node.children().into_iter().any(wants_order)
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
