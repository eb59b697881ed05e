//! Islands: parts of a query that DataFusion runs as the body of one stage.
//!
//! An island is a subtree of DataFusion's physical plan between two exchanges. Every run rebuilds it, on every rank, over
//! leaves that hold exactly that rank's lanes: sources are sliced, exchanges become [`ExchangeSource`]s. No DataFusion
//! node ever sees the lanes of another rank, because some nodes coordinate over all the lanes they see: file sources
//! steal work from each other, collected joins wait for every probe lane, shared dynamic filters hang.
//!
//! ```text
//!   template (planned once)                 on rank 1 of 2 (lanes 2, 3)
//!   HashJoin: lanes 0..4                    HashJoin: lanes 0..2 (of its own world)
//!     ExchangeSource x0: 1 lane               ExchangeSource x0: rank 1's copy
//!     LeafSlot: file groups 0..4              DataSource: file groups 2, 3
//! ```
//!
//! This folder also owns the only bridge to tokio: DataFusion's nodes spawn on it.

mod body;
mod exchange_source;
mod leaf_slot;
mod memory_pool;
mod runtime;
mod scalar;
mod slice;

pub use body::{IslandBody, IslandPlan};
pub use exchange_source::ExchangeSource;
pub use leaf_slot::LeafSlot;
pub use runtime::IslandRuntime;
pub use scalar::ScalarBody;
pub use slice::{LeafSlicer, PlainLeaves, file_scan};
