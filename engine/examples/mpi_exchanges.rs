//! Runs the conformance suite of exchanges with processes as ranks:
//!
//! ```sh
//! mpirun -n 3 target/release/examples/mpi_exchanges              # all cases
//! mpirun -n 3 target/release/examples/mpi_exchanges diamond      # those whose name contains it
//! ```

#[path = "../tests/suite/mod.rs"]
mod suite;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bireme_engine::comm::Communicator;
use bireme_engine::comm::mpi::MpiCommunicator;

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
fn main() -> ExitCode {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let communicator = match MpiCommunicator::init() {
        Ok(communicator) => communicator,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let suite = suite::run_some(Arc::clone(&communicator) as Arc<dyn Communicator>, &filter);
    if let Err(error) = suite.and_then(|()| communicator.close(Duration::from_secs(60))) {
        eprintln!("{error}");
        communicator.abort(2)
    }
    println!("rank {} of {}: exchanges conform", communicator.rank(), communicator.size());
    ExitCode::SUCCESS
}
