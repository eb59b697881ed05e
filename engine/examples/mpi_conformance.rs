//! Runs the conformance suite of the communicators under MPI:
//!
//! ```sh
//! mpirun -n 3 target/release/examples/mpi_conformance            # as usual
//! mpirun -n 3 target/release/examples/mpi_conformance 1000 4096  # messages of 1000 bytes; frames to 4096 bytes at
//! once
//! ```

use std::process::ExitCode;
use std::sync::Arc;

use bireme_engine::comm::mpi::{MpiCommunicator, MpiOptions};
use bireme_engine::comm::{Communicator, conformance};

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
fn main() -> ExitCode {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    let options = match sizes[..] {
        [chunk, inline] => MpiOptions { chunk, inline, ..MpiOptions::default() },
        _ => MpiOptions::default(),
    };
    let comm = match MpiCommunicator::init_with(options) {
        Ok(comm) => comm,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match conformance::suite(Arc::clone(&comm) as Arc<dyn Communicator>) {
        Ok(()) => {
            println!("rank {} of {}: conforms", comm.rank(), comm.size());
            ExitCode::SUCCESS
        }
        Err(story) => {
            eprintln!("{story}");
            comm.abort(2)
        }
    }
}
