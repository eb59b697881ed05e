//! `bireme generate`: makes test data.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array};
use bireme::graph::kernels::generate::{self, Kind};
use bireme::prelude::{DataType, Field, Schema, Session};
use bireme::prelude::{Error, Result};
use clap::{Args, Subcommand, ValueEnum as _};

use crate::format::Format;
use crate::launcher;
use crate::output::Output;
use crate::tpch::{Generation, Table, Written};

const EXAMPLES: &str = "\
Examples:
  bireme generate tpch --scale 1 --out tpch
  bireme generate graph --kind kron --scale 20 --out kron.parquet";

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
    /// The edges of a graph, as a table
    Graph(GraphArguments),
}

const GRAPH_EXAMPLES: &str = "\
Columns src and dst, and weight (1 to 255) where that is asked for. The same seed gives the same edges, whatever the number of
threads. kron: a few vertices have many edges (Graph500's parameters); uniform: all have about as many; grid: neighbours in a plane.

Examples:
  bireme generate graph --kind kron --scale 20 --degree 16 --out kron.parquet
  bireme generate graph --kind grid --scale 16 --weights --out roads.csv";

#[derive(Debug, Args)]
#[command(after_help = GRAPH_EXAMPLES)]
struct GraphArguments {
    /// kron, uniform or grid
    #[arg(long, value_enum)]
    kind: GraphKind,
    /// The graph has 2^S vertices
    #[arg(long, value_name = "S")]
    scale: u32,
    /// Edges for each vertex; a grid has about two
    #[arg(long, value_name = "D", default_value_t = 16)]
    degree: u64,
    /// Of the random numbers
    #[arg(long, value_name = "N", default_value_t = 27)]
    seed: u64,
    /// With a column of weights
    #[arg(long)]
    weights: bool,
    /// The file, whose name ends with .parquet or .csv
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replaces a file that exists
    #[arg(long)]
    overwrite: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum GraphKind {
    Kron,
    Uniform,
    Grid,
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
    let tpch = match arguments.what {
        What::Tpch(tpch) => tpch,
        What::Graph(graph) => return run_graph(&graph),
    };
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

/// Edges that are made at a time.
const EDGES: u64 = 1 << 22;

fn run_graph(arguments: &GraphArguments) -> Result<()> {
    if launcher::rank() != 0 {
        return Ok(());
    }
    if launcher::launched() {
        return Err(Error::user("one process generates a graph: start it without a launcher"));
    }
    let GraphArguments { scale, degree, seed, weights, .. } = *arguments;
    let path = arguments.out.to_string_lossy();
    let is_csv = match arguments.out.extension().and_then(|extension| extension.to_str()) {
        Some("parquet") => false,
        Some("csv") => true,
        _ => return Err(Error::user(format!("{path}: the file's name ends with .parquet or .csv"))),
    };
    if arguments.out.exists() && !arguments.overwrite {
        return Err(Error::user(format!("{path} exists; replace it with --overwrite")));
    }
    let kind = match arguments.kind {
        GraphKind::Kron => Kind::Kron,
        GraphKind::Uniform => Kind::Uniform,
        GraphKind::Grid => Kind::Grid,
    };
    let mut fields = vec![Field::new("src", DataType::Int64, false), Field::new("dst", DataType::Int64, false)];
    if weights {
        fields.push(Field::new("weight", DataType::Int64, false));
    }
    let schema = Arc::new(Schema::new(fields));
    let count = generate::edge_count(kind, scale, degree)?;
    let mut batches = Vec::new();
    for first in (0..count).step_by(EDGES as usize) {
        let range = first..count.min(first + EDGES);
        let (from, to) = generate::edges(kind, scale, degree, seed, range.clone())?;
        let vertices = |of: Vec<u32>| Arc::new(Int64Array::from_iter_values(of.into_iter().map(i64::from))) as ArrayRef;
        let mut columns = vec![vertices(from), vertices(to)];
        if weights {
            let weights = generate::weights(seed, range)?;
            columns.push(Arc::new(Int64Array::from_iter_values(weights.into_iter().map(i64::from))));
        }
        batches.push(RecordBatch::try_new(Arc::clone(&schema), columns)?);
    }
    let session = Session::builder().overwrite(arguments.overwrite).build()?;
    session.register_table("edges", batches)?;
    let edges = session.sql("SELECT * FROM edges")?;
    if is_csv {
        edges.write_csv(&path)?
    } else {
        edges.write_parquet(&path)?
    };
    let columns: [(&str, ArrayRef); 3] = [
        ("vertices", Arc::new(UInt64Array::from(vec![generate::vertices(scale)? as u64]))),
        ("edges", Arc::new(UInt64Array::from(vec![count]))),
        ("file", Arc::new(StringArray::from(vec![path.as_ref()]))),
    ];
    let summary = RecordBatch::try_from_iter(columns)?;
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
