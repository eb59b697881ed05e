//! `bireme sql`: runs statements, or opens a shell.

use bireme::prelude::Result;
use clap::Args;

use crate::format::Format;
use crate::options::{self, EngineOptions, TableOptions};
use crate::output::Output;
use crate::shell;
use crate::statements::{Runner, StatementOptions};

const EXAMPLES: &str = "\
Examples:
  bireme sql --tables tpch -c 'SELECT count(*) FROM lineitem'
  bireme sql --table sales='data/year=*/sales.csv' --format csv -f report.sql > report.csv
  bireme sql --tables tpch --ranks 3 --memory-limit 1GiB --timing -f q3.sql
  bireme sql --tables tpch                           # a shell; \\? helps
  echo 'SELECT 1; SELECT 2' | bireme sql --format ndjson
  mpirun -n 8 --bind-to none bireme sql --tables tpch -f q3.sql";

/// What `bireme sql` and `bireme explain` take.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(super) statements: StatementOptions,
    /// How rows are written
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
    /// Prints one line `time_ms <number>` for each statement on standard error
    #[arg(long)]
    pub(super) timing: bool,
    /// Lets COPY and other writes replace what exists
    #[arg(long)]
    pub(super) overwrite: bool,
    #[command(flatten)]
    pub(super) tables: TableOptions,
    #[command(flatten)]
    pub(super) engine: EngineOptions,
}

/// Runs it.
pub(super) fn run(arguments: Arguments) -> Result<()> {
    let statements = arguments.statements.statements()?;
    let session = arguments.engine.open(arguments.overwrite)?;
    if let Err(error) = arguments.tables.register(&session) {
        return options::close_after(&session, Err(error));
    }
    let mut runner = Runner {
        stop_when_closed: !arguments.engine.several_processes(&session),
        session,
        output: Output::stdout(),
        format: arguments.format,
        timing: arguments.timing,
    };
    let done = match &statements {
        Some(statements) => runner.run_all(statements),
        None => run_shell(&arguments, &mut runner),
    };
    options::close_after(&runner.session, done)
}

fn run_shell(arguments: &Arguments, runner: &mut Runner) -> Result<()> {
    options::refuse_processes(&arguments.engine, &runner.session, "give statements with -c or -f")?;
    shell::run(runner, &|| {
        let session = arguments.engine.open(arguments.overwrite)?;
        arguments.tables.register(&session)?;
        Ok(session)
    })
}
