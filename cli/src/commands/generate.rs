//! `bireme generate`: makes test data.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use bireme::prelude::Result;
use clap::{Args, Subcommand, ValueEnum as _};

use crate::format::Format;
use crate::launcher;
use crate::output::Output;
use crate::tpch::{Generation, Table, Written};

const EXAMPLES: &str = "\
Example:
  bireme generate tpch --scale 1 --out tpch";

const TPCH_EXAMPLES: &str = "\
One Parquet file a table. The same scale gives the same bytes, whatever the number of threads.

Examples:
  bireme generate tpch --scale 0.1 --out tpch
  bireme generate tpch --scale 10 --out tpch10 --tables lineitem,orders --overwrite";

/// What was typed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

/// Which data.
#[derive(Debug, Subcommand)]
enum What {
    /// The eight tables of the TPC-H benchmark, as Parquet files
    Tpch(Tpch),
}

#[derive(Debug, Args)]
#[command(after_help = TPCH_EXAMPLES)]
struct Tpch {
    /// 1 is about a gigabyte of text: six million rows in lineitem
    #[arg(long, value_name = "F")]
    scale: f64,
    /// The folder that gets the files
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Only these tables, separated by commas [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', hide_possible_values = true)]
    tables: Vec<Table>,
    /// Replaces files that exist
    #[arg(long)]
    overwrite: bool,
    /// Threads that make rows [default: the cores this process may use]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Runs it.
pub(super) fn run(arguments: Arguments) -> Result<()> {
    let What::Tpch(tpch) = arguments.what;
    // Under a launcher one process writes: the others would write the same files.
    if launcher::rank() != 0 {
        return Ok(());
    }
    let mut tables = if tpch.tables.is_empty() { Table::value_variants().to_vec() } else { tpch.tables };
    tables.sort_unstable();
    tables.dedup();
    let threads = tpch.threads.unwrap_or_else(cores);
    let generation = Generation { scale: tpch.scale, tables, out: tpch.out, overwrite: tpch.overwrite, threads };
    let summary = summarize(&generation.run()?)?;
    Output::stdout().rows(Format::Table, &summary.schema(), std::slice::from_ref(&summary))
}

/// The cores this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// One row a file.
fn summarize(files: &[Written]) -> Result<RecordBatch> {
    let columns: [(&str, ArrayRef); 4] = [
        ("table", Arc::new(StringArray::from_iter_values(files.iter().map(|file| file.table.name())))),
        ("rows", Arc::new(UInt64Array::from_iter_values(files.iter().map(|file| file.rows)))),
        ("bytes", Arc::new(UInt64Array::from_iter_values(files.iter().map(|file| file.bytes)))),
        ("file", Arc::new(StringArray::from_iter_values(files.iter().map(|file| file.path.display().to_string())))),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}
