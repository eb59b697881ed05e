//! The program `bireme`: SQL over files from a shell, on one process, on local ranks and under `mpirun`.
//!
//! Each command is one file in [`commands`]. What they share: [`options`] opens a session, [`statements`] finds and runs
//! SQL, [`output`] writes rows to standard output, [`report`] writes everything else to standard error and decides exit
//! codes.

mod columns;
mod commands;
mod format;
mod interrupt;
mod launcher;
mod options;
mod output;
mod progress;
mod report;
mod shell;
mod size;
mod statements;
mod tpch;

use std::process::ExitCode;

use clap::Parser;

/// Pipelines allocate and free blocks of a hundred KiB for every chunk. glibc's allocator hands such blocks back to the system,
/// which clears them again at the next use: a fifth of the time of TPC-H.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match commands::Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return report::usage(&refusal),
    };
    interrupt::install();
    // A panic is a bug of ours, and code 2 like every failure that is not the user's; Rust's own code would be 101.
    match std::panic::catch_unwind(|| cli.command.run()) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => report::failure(&error),
        Err(_) => ExitCode::from(report::OTHER_FAILURE),
    }
}
