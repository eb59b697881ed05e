//! `bireme demo`: the main job with nothing to prepare.
//!
//! It generates a small TPC-H into a temporary folder, runs five of its queries, and explains one.

use std::time::Instant;

use bireme::prelude::{Error, Result, Session};
use clap::{Args, ValueEnum as _};

use super::generate;
use crate::format::Format;
use crate::options::{self, EngineOptions};
use crate::output::Output;
use crate::tpch::{Generation, Table};
use crate::{interrupt, progress};

const EXAMPLES: &str = "\
Examples:
  bireme demo
  bireme demo --scale 1 --ranks 3 --memory-limit 1GiB
  cargo run --release -p bireme-cli -- demo          # from a clone";

/// A query: its number, what it asks, and its text.
type Query = (&'static str, &'static str, &'static str);

/// Five queries that differ: an aggregate, joins with a top ten, a six-way join, a selective scan, a conditional sum.
const QUERIES: [Query; 5] = [
    ("Q1", "what was shipped and billed, by flag and status", include_str!("../../../bench/queries/tpch/q1.sql")),
    ("Q3", "the ten unshipped orders worth most", include_str!("../../../bench/queries/tpch/q3.sql")),
    ("Q5", "revenue of local suppliers, by nation", include_str!("../../../bench/queries/tpch/q5.sql")),
    ("Q6", "revenue that smaller discounts would bring", include_str!("../../../bench/queries/tpch/q6.sql")),
    ("Q12", "late orders by shipping mode and priority", include_str!("../../../bench/queries/tpch/q12.sql")),
];

/// The query that is explained.
const EXPLAINED: usize = 1;

/// What was typed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The size of the data: 1 is about a gigabyte of text
    #[arg(long, value_name = "F", default_value_t = 0.01)]
    scale: f64,
    #[command(flatten)]
    engine: EngineOptions,
}

/// Runs it.
pub(super) fn run(arguments: Arguments) -> Result<()> {
    let session = arguments.engine.open(false)?;
    let done = tour(&session, &arguments);
    options::close_after(&session, done)
}

fn tour(session: &Session, arguments: &Arguments) -> Result<()> {
    options::refuse_processes(
        &arguments.engine,
        session,
        "run it in one process (--ranks N gives it ranks inside), or `bireme generate` data once and run `bireme sql`",
    )?;
    let mut output = Output::stdout();
    output.line(session.machine().describe().trim_end())?;

    let folder = temporary_folder(&arguments.engine)?;
    interrupt::takes_away(folder.path().into());
    let started = Instant::now();
    let files = Generation {
        scale: arguments.scale,
        tables: Table::value_variants().to_vec(),
        out: folder.path().into(),
        overwrite: false,
        threads: arguments.engine.threads.unwrap_or_else(generate::cores),
    };
    let rows: u64 = files.run()?.iter().map(|file| file.rows).sum();
    let seconds = started.elapsed().as_secs_f64();
    output
        .line(&format!("\nGenerated TPC-H at scale {}: 8 tables, {rows} rows, in {seconds:.1} s.", arguments.scale))?;
    session.register_directory(&folder.path().to_string_lossy())?;

    let times = run_queries(session, &mut output)?;
    let (name, _, text) = QUERIES[EXPLAINED];
    output.line(&format!("\nHow {name} runs (`bireme explain`):\n"))?;
    output.line(session.sql(text)?.explain()?.trim_end())?;
    output.line(&format!("\n{}", summary(&times)))?;
    output.line(
        "\nNext: `bireme generate tpch --scale 1 --out tpch`, then `bireme sql --tables tpch`; or `bireme --help`.",
    )
}

/// Runs the queries one after the other and gives the milliseconds of each.
fn run_queries(session: &Session, output: &mut Output) -> Result<Vec<f64>> {
    let bar = progress::steps(QUERIES.len() as u64, "queries");
    let mut times = Vec::new();
    for (name, asks, text) in QUERIES {
        interrupt::check()?;
        bar.set_message(format!("{name}: {asks}"));
        let started = Instant::now();
        let frame = session.sql(text)?;
        let batches = frame.collect_root()?.unwrap_or_default();
        let elapsed = started.elapsed().as_secs_f64() * 1e3;
        bar.suspend(|| {
            output.line(&format!("\n{name}, {asks}: {elapsed:.1} ms"))?;
            output.rows(Format::Table, &frame.schema(), &batches)
        })?;
        times.push(elapsed);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(times)
}

fn summary(times: &[f64]) -> String {
    let each = QUERIES.iter().zip(times).map(|((name, ..), time)| format!("{name} {time:.1} ms"));
    format!("Times: {}; {:.1} ms in all.", each.collect::<Vec<_>>().join(", "), times.iter().sum::<f64>())
}

fn temporary_folder(options: &EngineOptions) -> Result<tempfile::TempDir> {
    let parent = options.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
    let made = tempfile::Builder::new().prefix("bireme-demo-").tempdir_in(&parent);
    made.map_err(|error| Error::from(error).context(format!("making a temporary folder in {}", parent.display())))
}
