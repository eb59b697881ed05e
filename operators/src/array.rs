//! Element-wise work on dense arrays, and what else arrays need of one rank: folds, lines, elements from elsewhere.
//!
//! ```text
//!   steps of a plan ──► Loop: load · compute · store · fold      one pass over memory, strip by strip (program, strip, run)
//!                   ──► Contract: a product (crate::contract)
//!                   ──► Lines, Take, Assemble: sorts and running sums, elements by index, arrays of pieces
//!   between them    ──► Move: tiles, folds and sums of other ranks (body)
//! ```
//!
//! Arrays have a language of loops of their own beside that of pipelines (crate::pipeline), because they are another thing: no NULLs,
//! no strings, no decimals; IEEE arithmetic in which NaN spreads and integers wrap, as in NumPy; any number of axes with any
//! strides; and leaves in one fixed order, so that a sum has the same bits on any number of threads and ranks.

mod body;
mod device;
mod dtype;
mod fold;
mod folding;
mod kernels;
mod leaf;
mod lines;
mod math;
mod memory;
mod operand;
mod ops;
mod philox;
mod program;
mod run;
mod sparse_tile;
mod step;
mod store;
mod strip;
mod sums;
mod take;
#[cfg(test)]
mod tests;
mod tile;

pub use body::{ArrayBody, ByName, message_schema};
pub use dtype::{DType, Native, Scalar};
pub use fold::{Fold, Leaves, rows_of_a_leaf};
pub use leaf::result;
pub use lines::Line;
pub use memory::keep_no_memory;
pub use operand::Operand;
pub use ops::{Binary, Compare, Unary};
pub use program::{Draw, Instr, Loop, Reduction, Value};
pub use run::{Folded, Ran, run, together};
pub use sparse_tile::{Input, SparseTile};
pub use step::{Bound, FoldTo, Move, Piece, Segment, Slot, Step};
pub use store::{Store, cut};
pub use take::compress;
pub use tile::{Region, Tile, strides};
