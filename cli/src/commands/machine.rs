//! `bireme machine`: shows what this machine is.

use bireme::prelude::Result;
use clap::Args;

use crate::options::{self, EngineOptions};
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  bireme machine
  bireme machine --ranks 3
  mpirun -n 4 --bind-to none bireme machine";

/// What was typed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    engine: EngineOptions,
}

/// Runs it.
pub(super) fn run(arguments: Arguments) -> Result<()> {
    let session = arguments.engine.open(false)?;
    let description = session.machine().describe();
    let done = if session.is_root() { Output::stdout().line(description.trim_end()) } else { Ok(()) };
    options::close_after(&session, done)
}
