//! Integer arithmetic that fails on overflow, wherever it stands in a query.
//!
//! DataFusion's `+`, `-`, `*` and unary `-` wrap on integers, in three places: when the optimiser folds constants,
//! when the physical planner evaluates VALUES, and when a plan runs. `BinaryExpr` has a flag for the last, but
//! nothing sets it, and expressions inside arbitrary plan nodes cannot be exchanged (windows keep theirs to
//! themselves). So:
//!
//! ```text
//! logical plan    a + b               [CheckedSimplify]: folding sees checked_add(a, b), which fails rather than wrap;
//!                                     what fails to fold stays, and fails when, and only if, it is evaluated
//! on its way      checked_add(a, b)   [check_plan]: in all nodes alike, right before physical planning
//! physical plan   a + b, checked      [CheckedArithmetic]: back to `BinaryExpr`, now with its flag set, in the nodes
//!                                     that allow it; elsewhere the function stays and computes the same
//! ```
//!
//! The logical plan that rules and EXPLAIN see thus has plain arithmetic, and so has nearly all of the physical one,
//! which keeps orderings, statistics and pruning. Division fails on overflow by itself. Decimals do too: their
//! results are exact or an error as soon as 128 (256) bits do not suffice; intermediate results may pass the declared
//! precision, SUM's may not.

use std::sync::Arc;

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

mod function;
mod logical;
mod physical;
#[cfg(test)]
mod tests;

pub use function::{CheckedOperation, as_arithmetic};
pub use logical::{CheckedQueryPlanner, CheckedSimplify, CheckedSums, check_plan};
pub use physical::CheckedArithmetic;

/// Makes the arithmetic of a session checked: rules, the query planner and SUM. Rules that the builder has already
/// stay, and a query planner that it has already is wrapped; one that is set later must call [`check_plan`] itself.
#[must_use]
pub fn install(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    let analyzer = builder.analyzer().get_or_insert_with(Analyzer::new);
    analyzer.rules.push(Arc::new(CheckedSums));
    let optimizer = builder.optimizer().get_or_insert_with(Optimizer::new);
    for rule in &mut optimizer.rules {
        if rule.name() == CheckedSimplify::REPLACES {
            *rule = Arc::new(CheckedSimplify::default());
        }
    }
    // First: later rules move expressions to places where they cannot be exchanged.
    let physical = builder.physical_optimizers().get_or_insert_with(PhysicalOptimizer::new);
    physical.rules.insert(0, Arc::new(CheckedArithmetic));
    let planner = CheckedQueryPlanner::new(builder.query_planner().take());
    *builder.query_planner() = Some(Arc::new(planner));
    let functions = builder.aggregate_functions().get_or_insert_default();
    functions.retain(|function| function.name() != "sum");
    functions.push(crate::checked_sum::checked_sum());
    builder
}
