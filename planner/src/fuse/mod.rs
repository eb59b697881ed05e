//! Fusion: physical nodes become pipelines.
//!
//! ```text
//!   SortExec                              pipeline 0: scan orders → filter → build slot 0
//!     AggregateExec                       pipeline 1: scan lineitem → probe slot 0 → aggregate slot 1
//!       HashJoinExec              ──►     pipeline 2: slot 1 → sort slot 2
//!         FilterExec                      pipeline 3: slot 2 → output
//!           DataSourceExec (orders)
//!         DataSourceExec (lineitem)
//! ```
//!
//! A [`Fused`] fragment is a list of finished pipelines and one that is still open at its end; each rule appends to it. All
//! lanes of a rank are one shared partition there, so that an exchange between lanes vanishes, and one between ranks has one
//! lane a rank.
//!
//! | node | rule |
//! |---|---|
//! | sources | [`scan`]: what the session can read in morsels |
//! | `FilterExec` | [`filter`]: into the scan where that is safe, else a step |
//! | `ProjectionExec` | [`project`]: composed with the projection below |
//! | `AggregateExec` (with the partial one and the exchange below it) | [`aggregate`] |
//! | `HashJoinExec`, `NestedLoopJoinExec`, `CrossJoinExec` | [`join`] |
//! | `SortExec`, `SortPreservingMergeExec` | [`sort`] |
//! | `WindowAggExec`, `BoundedWindowAggExec` | [`window`] |
//! | `UnionExec`, `InterleaveExec` | [`union`]: branches of one source |
//! | `GlobalLimitExec`, `LocalLimitExec` | [`limit`] |
//! | `RepartitionExec`, `CoalescePartitionsExec` | they vanish on one rank; see `stage::fused` |
//!
//! What is cheap by itself (filters, projections, limits) follows what is below it: over an island it stays in the island.
//! What is not (aggregates, joins, sorts, windows) is always fused, and reads an island below it over an exchange. When a fragment
//! becomes a stage, [`finish`] drops the columns that nobody reads ([`prune`]) and lets joins tell scans which rows have
//! partners ([`partners`]).

mod aggregate;
mod behind_scans;
mod expr;
mod filter;
mod finish;
mod fragment;
mod join;
mod layout;
mod limit;
mod origin;
mod partners;
mod project;
mod prune;
mod scan;
mod sort;
mod union;
mod window;

pub(crate) use aggregate::{is_distinct, is_plain as groups_by, supported as groups_natively};
pub(crate) use expr::lower;
pub(crate) use finish::Finished;
pub(crate) use fragment::{Fused, types_of};
pub(crate) use join::Join;
pub(crate) use layout::RowLayout;
pub(crate) use partners::{scanned, source_at_mut, wishes_of_exchanges};
pub use scan::MorselLeaf;
pub(crate) use window::Window;
