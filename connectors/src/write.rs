//! Writes results to files: one file a lane, in a hidden folder until all ranks agree, then renamed into place.
//!
//! ```text
//! out/                            the target, a directory
//! .bireme-…-7f3a-out-new/         the job's folder beside it, until it is published or removed
//!   part-00000-7f3a.parquet
//!   year=2024/part-00001-7f3a.parquet
//! ```
//!
//! 1. [`clear_dead_jobs`] and [`check_target`] before anything runs, on rank 0, which names the [`Job`].
//! 2. A [`FileSink`] on every rank; each lane writes its part. A lane that is dropped unclosed takes its part away.
//! 3. When all ranks agree that all went well, rank 0 calls [`FileSink::publish`]; else every rank [`FileSink::abort`].

mod encode;
mod job;
mod lane;
mod options;
mod sink;
mod target;

pub use job::{Job, clear_dead_jobs};
pub use options::{
    CsvWriteOptions, IpcWriteOptions, JsonWriteOptions, Layout, ParquetCompression, ParquetWriteOptions, WriteFormat,
    WriteMode, WriteOptions,
};
pub use sink::FileSink;
pub use target::check_target;

#[cfg(test)]
mod tests;
