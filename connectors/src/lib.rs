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
//! - [`memory_source`], [`morsel_leaf`]: how native pipelines read tables.
//! - [`parquet_scan`]: Parquet files as morsel sources for native pipelines, without DataFusion.
//! - [`array_file`]: arrays in NPY, NPZ and Matrix Market files.
//! - [`mod@write`]: files, published together.
//! - [`error`]: DataFusion's errors with kinds.
//!
//! It knows DataFusion's tables and the engine's sinks, and neither the planner nor operators.

pub mod array_file;
#[cfg(feature = "datafusion")]
mod csv_nulls;
mod csv_problem;
#[cfg(feature = "datafusion")]
mod discover;
#[cfg(feature = "datafusion")]
pub mod error;
#[cfg(feature = "datafusion")]
mod file_error;
#[cfg(feature = "datafusion")]
mod file_groups;
pub mod file_part;
#[cfg(feature = "datafusion")]
pub mod file_scan;
#[cfg(feature = "datafusion")]
pub mod file_table;
#[cfg(feature = "datafusion")]
mod format;
#[cfg(feature = "datafusion")]
mod glob;
pub mod graph_file;
#[cfg(feature = "datafusion")]
mod hive;
mod ipc;
pub mod ipc_scan;
#[cfg(feature = "datafusion")]
pub mod location;
pub mod memory_source;
#[cfg(feature = "datafusion")]
pub mod memory_table;
#[cfg(feature = "datafusion")]
mod merge_schemas;
#[cfg(feature = "datafusion")]
pub mod morsel_leaf;
#[cfg(feature = "datafusion")]
pub mod named_source;
pub mod options;
mod passing;
#[cfg(feature = "datafusion")]
pub mod snapshot;
#[cfg(feature = "datafusion")]
pub mod store;
#[cfg(feature = "datafusion")]
mod text_file;
mod text_position;
pub mod text_scan;
pub mod tile_rows;
#[cfg(feature = "datafusion")]
pub mod write;

#[cfg(feature = "datafusion")]
pub use discover::discover;
#[cfg(feature = "datafusion")]
pub use file_groups::pins_of;
pub mod parquet_scan;
