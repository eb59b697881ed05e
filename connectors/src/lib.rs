//! Reads and writes tables: files of several formats, and tables in memory.
//!
//! ```text
//!  text ──location──► files ──discover──► TableSnapshot ──bincode──► every rank
//!                                                │
//!                     FileTable (plans without I/O) ──► DataSourceExec: a file group a lane ──► batches
//!
//!  batches ──► FileSink / MemorySink, a part a lane ──► publish (rank 0) / append, after all ranks agreed
//! ```
//!
//! - [`location`]: what a user's path text means; [`options`]: how to read each format.
//! - [`discover()`]: rank 0 looks at the files; [`snapshot`]: what it tells the others.
//! - [`file_table`]: the table DataFusion plans with; [`file_scan`]: its scan, sliced and checked on each rank;
//!   [`named_source`]: errors that name file and line; [`store`]: counts the bytes that are read.
//! - [`memory_table`]: tables that are held in memory, replicated or on the ranks.
//! - [`mod@write`]: files, published together.
//! - [`error`]: DataFusion's errors with kinds.
//!
//! It knows DataFusion's tables and the engine's sinks, and neither the planner nor operators.

mod csv_nulls;
mod discover;
pub mod error;
mod file_error;
mod file_groups;
pub mod file_scan;
pub mod file_table;
mod format;
mod glob;
mod hive;
mod ipc;
pub mod location;
pub mod memory_table;
mod merge_schemas;
pub mod named_source;
pub mod options;
pub mod snapshot;
pub mod store;
mod text_position;
pub mod write;

pub use discover::discover;
pub use file_groups::pins_of;
