//! Our rules over logical plans, one a file. They run after DataFusion's own, whose order `passes` says.
//!
//! [`statistics`] is the one source of numbers: every rule that weighs alternatives asks it, and so may EXPLAIN.

mod contraction;
pub mod join_order;
mod passes;
pub mod statistics;

pub use contraction::find_contractions;
pub use join_order::reorder_joins;
pub use passes::logical_rules;
pub use statistics::{ColumnEstimate, Estimate, ProviderStatistics, TableStatistics, estimate};
