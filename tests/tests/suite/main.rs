//! The integration tests, as one program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests stop where something is wrong"
)]

mod analyze;
mod arrays;
mod arrows;
mod contractions;
mod datasets;
mod devices;
mod effects;
mod einsum;
mod examples;
mod explain;
mod graphs;
mod layouts;
mod recursion;
mod sql_suite;
mod stages;
mod tpch;
