//! What the integration tests share: TPC-H data, the oracle, comparison of results, the runner of `.slt` files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test support: whatever goes wrong here is a failed test"
)]

pub mod compare;
pub mod oracle;
pub mod slt;
pub mod tpch;

use std::path::PathBuf;

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository").to_path_buf()
}
