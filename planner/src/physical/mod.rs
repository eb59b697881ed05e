//! From the logical to the physical plan: DataFusion's planner under our settings and our table of rules.

mod contraction;
mod extensions;
mod graph;
mod join_modes;
mod native_first;
mod settings;
mod user_layout;

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

pub use contraction::ContractionExec;
pub use extensions::PlansExtensions;
pub use graph::GraphExec;
use join_modes::JoinModes;
use native_first::ForIslands;
pub(crate) use native_first::{plan_natively, wants_order};
use settings::PlanningOptions;
pub use settings::wished_mapper;
pub(crate) use settings::{finds_contractions, wished_cut};
pub use user_layout::LayoutExec;
use user_layout::UserLayouts;

/// What the settings depend on.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Ranks of the job.
    pub ranks: usize,
    /// Lanes over all ranks.
    pub lanes: usize,
}

/// The settings without which the stages would be wrong or slow. Users may `SET` others.
pub fn configure(options: &mut ConfigOptions, shape: Shape) {
    options.extensions.insert(PlanningOptions::default());
    options.execution.target_partitions = shape.lanes;
    options.catalog.information_schema = true;
    // The table of the logical rules has each as often as it is to run.
    options.optimizer.max_passes = 1;
    // Join order is ours alone, and so are the filters that joins give to scans.
    options.optimizer.join_reordering = false;
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_dynamic_filter_pushdown = false;
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    // Ours spill, whatever the memory. DataFusion's cannot, but hardly a join stays in an island.
    options.optimizer.prefer_hash_join = true;
}

/// Rules whose results fused stages read, too: answers from statistics.
const FOR_ALL: [&str; 1] = ["aggregate_statistics"];

/// The physical rules, in order: DataFusion's, with ours in their places. Those that only islands need know when to do nothing.
pub fn rules(shape: Shape) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = Vec::new();
    if shape.ranks > 1 {
        rules.push(Arc::new(UserLayouts));
    }
    for rule in PhysicalOptimizer::new().rules {
        let joins_chosen = rule.name() == "join_selection";
        rules.push(if FOR_ALL.contains(&rule.name()) { rule } else { Arc::new(ForIslands(rule)) });
        if joins_chosen && shape.ranks > 1 {
            rules.push(Arc::new(JoinModes));
        }
    }
    rules
}
