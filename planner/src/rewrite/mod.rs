//! Our rules over logical plans, one a file. They run after DataFusion's own.
//!
//! [`statistics`] is the one source of numbers: every rule that weighs alternatives asks it, and so may EXPLAIN.

pub mod join_order;
pub mod statistics;

pub use join_order::reorder_joins;
pub use statistics::{ColumnEstimate, Estimate, ProviderStatistics, TableStatistics, estimate};
