//! `bireme schema`: shows the columns of a file, a folder or a glob.

use bireme::prelude::{Result, Session};
use clap::Args;

use crate::columns;
use crate::format::Format;
use crate::options::{self, EngineOptions};
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  bireme schema tpch/lineitem.parquet
  bireme schema 'data/*.csv' --format ndjson
  bireme schema events/                              # a folder of files, with hive partitions as columns";

/// What was typed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A file, a folder or a glob
    path: String,
    /// How the columns are written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs it.
pub(super) fn run(arguments: Arguments) -> Result<()> {
    let session = EngineOptions::default().open(false)?;
    let done = show(&session, &arguments);
    options::close_after(&session, done)
}

fn show(session: &Session, arguments: &Arguments) -> Result<()> {
    let schema = session.read(&arguments.path)?.schema();
    if !session.is_root() {
        return Ok(());
    }
    let columns = columns::describe(&schema)?;
    Output::stdout().rows(arguments.format, &columns.schema(), std::slice::from_ref(&columns))
}
