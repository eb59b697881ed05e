//! Where the parts of a collection lie: one language for rows, tensors and graphs.
//!
//! A *layout* says which dimensions of a collection are cut along which dimensions of a [`Grid`] of ranks, in the notation of
//! DISTAL (Yadav, Aiken & Kjolstad, PLDI 2022). A *placement* is a layout with sizes: a shape and a grid.
//!
//! ```text
//!   A(i,j) -> M(i,j)    tiles                 A(i,j) -> M(i,*)    rows, each on a line of ranks
//!   ┌────┬────┬────┐                          ┌──────────────┐
//!   │ 00 │ 01 │ 02 │                          │ 00   01   02 │
//!   ├────┼────┼────┤    M is a grid of 2 × 3  ├──────────────┤
//!   │ 10 │ 11 │ 12 │                          │ 10   11   12 │
//!   └────┴────┴────┘                          └──────────────┘
//!   A(i,j) -> M(i,0)    rows, on the first rank of each line
//!   A(i,j) -> M(i,+)    rows, of which each rank of a line has a summand
//! ```
//!
//! [`Placement::satisfies`] says whether everything that one placement wants is where another one has it, and
//! [`Placement::exchange`] what must move otherwise: nothing, ghost cells, or a collective along each dimension of the grid.
//!
//! What lies irregularly is a [`Partition`]: for each part the set of indices that it has. Partitions are made by count, by
//! weight or by key, and derived from others through relations between collections: images, preimages, unions,
//! intersections, differences (Treichler, Bauer, Sharma, Slaughter & Aiken, OOPSLA 2016). A graph's edges that go with a
//! partition of its vertices are a preimage; the ghost vertices of a part are an image less the part.

mod exchange;
mod grid;
mod index_set;
mod notation;
mod partition;
mod placement;

pub use exchange::{Collective, Exchange};
pub use grid::Grid;
pub use index_set::IndexSet;
pub use notation::{Axis, Dimension, Layout, Spread};
pub use partition::{Partition, Promise};
pub use placement::Placement;
