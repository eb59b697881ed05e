//! The device back end: parts of pipelines as kernels.
//!
//! ```text
//!   scan → filter → project → probe → aggregate            what [`plan`] finds to have kernels: a segment
//!          └──────────────────────────────────┘
//!   rows of a batch ──► one kernel ──► rows, or groups     [`run`]; written by [`body`], [`rows`], [`groups`]
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | `plan` | which steps have kernels, before there are rows |
//! | `code` | values, columns, statements |
//! | `expr`, `arithmetic`, `cast` | expressions as statements |
//! | `body` | filter, project and probe of one row |
//! | `rows`, `groups` | what becomes of it: a row somewhere, or a part of a group |
//! | `kernel` | around it: all rows of a batch |
//! | `column`, `table` | columns and build sides on the device |
//! | `batch`, `group_columns` | a batch there and back |
//! | `run` | when batches run, and what the host must do again |
//!
//! A kernel depends on what a batch's columns are: which are carried in 128 bits, which have NULLs, and what their numbers lie between,
//! for that decides the width of arithmetic. Numbers and texts of a program are parameters, so that there are few kernels.

mod arithmetic;
mod batch;
mod body;
mod cast;
mod code;
mod column;
mod expr;
mod group_columns;
mod groups;
mod kernel;
mod plan;
mod rows;
mod run;
mod table;
#[cfg(test)]
mod tests;

pub use plan::describe;
pub(crate) use plan::{Cut, Joins, joins};
pub(crate) use run::{DeviceCursor, Made, Running};
