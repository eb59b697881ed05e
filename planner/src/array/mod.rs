//! Arrays: from what a program wrote to steps that ranks run.
//!
//! ```text
//!   nodes (facade) ──► Sketch: operations in order, without numbers ──► lower: levels ──► loops ──► slots, steps, moves
//!                          │ the same shape of work was planned before: its plan is used again
//! ```
//!
//! A sketch is all that a plan depends on; numbers (constants, seeds) are no part of it, so one iteration of a solver has the plan of the
//! one before. Arrays do not go through DataFusion's logical plans: those know rows, not axes, and planning one takes
//! milliseconds, where an iteration may take microseconds. A relation over an array is a table like any other.

mod affine;
mod lower;
mod op;
mod place;
mod rounds;
mod schedule;
mod shape;
mod sketch;
#[cfg(test)]
mod tests;
mod text;
mod tiling;

pub use affine::Affine;
pub use lower::{ArrayPlan, lower};
pub use op::Op;
pub use place::Places;
pub use rounds::{Part, Rounds, parts};
pub use schedule::{Nest, Primitive, Product, Schedule, least_received};
pub use shape::{broadcast, broadcast_all, elements, normal_axis};
pub use sketch::{Entry, Keep, Sketch};
pub use tiling::Tiling;
