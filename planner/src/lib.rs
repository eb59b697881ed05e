//! Decides: from a program and its statistics to a placed plan, as a pure function.
//!
//! ```text
//!  LogicalPlan ──optimise──► LogicalPlan ──physical──► ExecutionPlan ──stage──► StageGraph ──place──► PlacedPlan
//! ```
//!
//! Every rank plans the same program by itself and must come to the same text. So nothing here reads a file, a clock or a
//! device, and nothing iterates over an unordered map.

pub mod array;
pub mod expected;
pub mod explain;
pub mod front;
mod fuse;
pub mod logical;
pub mod physical;
pub mod place;
pub mod plan;
pub mod rewrite;
pub mod stage;
pub mod suggest;

pub use fuse::MorselLeaf;
pub use plan::{Delivery, Goal, Planned, Planner};
