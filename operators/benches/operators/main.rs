//! Operators against DataFusion's:
//!
//! ```text
//! cargo bench --workspace --features mpi --bench operators -- [part of a name, like join]
//! ```

#![allow(clippy::unwrap_used, reason = "a program for people who measure")]

#[path = "../contest/mod.rs"]
mod contest;

mod aggregate;
mod expressions;
mod filter;
mod join;
mod sort;
mod tables;

use contest::Contest;

/// That of the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let contest = Contest::from_arguments();
    filter::enter(&contest);
    expressions::enter(&contest);
    aggregate::enter(&contest);
    join::enter(&contest);
    sort::enter(&contest);
    contest.finish();
}
