//! The CPU back end: runs a program morsel by morsel on the rank's workers.
//!
//! ```text
//!   supply (scan, slot, exchange) ─► worker 0: reader ─► steps ─► local sink ─┐
//!                                 └► worker 1: reader ─► steps ─► local sink ─┴► finish: merged into the slot
//! ```
//!
//! Pipelines run one after the other, each on all workers. A worker takes a morsel, reads it chunk by chunk, and drives each
//! chunk through all steps into its own part of the sink; a chunk and what becomes of it stay in the cache. A probe may turn
//! one chunk into many: it leaves a cursor, and the deepest open cursor is always the next to be read, so no more than one
//! chunk a step is under way however many rows match. A window keeps what its next results depend on, in a cursor likewise. The
//! branches of a union are read one after the other, into the same steps and the same sink ([`layout`]). Workers return to the driver ([`crew`]) when they have made enough
//! output, and wait for nobody: exchanges are waited for by the driver, which is a future.

mod advice;
mod body;
mod counts;
mod crew;
mod kept;
mod layout;
mod line;
mod partner;
mod recursion;
mod worker;

pub use advice::advice_schema;
pub use body::{Leaf, LeafSource, NativeBody};
pub use recursion::{Recursion, RecursionBody};
