//! `bireme machine`: shows what this machine is, and how fast plans take it to be.

use bireme::Rates;
use bireme::prelude::{Result, Session};
use clap::Args;

use crate::options::{self, EngineOptions};
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  bireme machine
  bireme machine --measure
  bireme machine --ranks 3
  mpirun -n 4 --bind-to none bireme machine";

/// What was typed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    engine: EngineOptions,
    /// Measures how fast this machine is, and keeps that for later sessions
    #[arg(long)]
    measure: bool,
}

/// Runs it.
pub(super) fn run(arguments: Arguments) -> Result<()> {
    let session = arguments.engine.open(false)?;
    let done = describe(&session, arguments.measure);
    options::close_after(&session, done)
}

fn describe(session: &Session, measure: bool) -> Result<()> {
    if !session.is_root() {
        return Ok(());
    }
    let mut cluster = session.cluster().clone();
    if measure {
        let Rates { on_node, between, .. } = cluster.rates;
        cluster.rates = Rates { on_node, between, ..session.measure_machine()? };
    }
    let text = format!("{}{}", session.machine().describe(), cluster.describe());
    Output::stdout().line(text.trim_end())
}
