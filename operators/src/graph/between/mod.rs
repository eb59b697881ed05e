//! Algorithms on several ranks.
//!
//! ```text
//!   rank 0 owns 0..1024        reads in-neighbours 7, 1030, 1044   ─ asks rank 1 once for 1030, 1044 ─►  rank 1 owns 1024..2048
//!          a copy of 1030, 1044 ◄─ each round, those of them that changed, as a list or as bits, with values ─┘
//! ```
//!
//! Each rank owns a range of vertices and has the edges that end there; of other vertices it has copies of those that its edges
//! come from ([`mirrors`]). In a round it computes its own vertices out of values of the round before, and sends what changed
//! to the ranks that have copies. So cut, answers do not depend on how many ranks there are: sums are taken in the order of a
//! vertex's neighbours, and over all vertices by blocks.
//!
//! For PageRank and searches, edges can be cut in two dimensions too ([`mod@cut`]), where that sends less: then what
//! they bring to a vertex comes together in parts of several ranks ([`tile`]). Searches find the same; sums of parts
//! differ in their last bits from those in the order of the neighbours, and are the same whenever the same ranks add
//! them.

mod cut;
mod labels;
mod mirrors;
mod pagerank;
mod search;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
mod tests;
mod tile;

pub(super) use cut::Cut;
pub use cut::Cutting;
pub(super) use labels::{communities, components, coreness};
pub use mirrors::AsBytes;
pub(super) use mirrors::Mirrors;
pub(super) use pagerank::pagerank;
pub(super) use search::{bfs, sssp};
