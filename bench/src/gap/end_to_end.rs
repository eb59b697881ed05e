//! PageRank of a Parquet file through SQL, beside its parts: reading the columns, building adjacency, and the kernel.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use bireme::graph::kernels::generate::{self, Kind};
use bireme::graph::kernels::{BuildOptions, Edges, PowerIteration, directed, pagerank};
use bireme::prelude::{Result, Session};
use rayon::ThreadPool;
use serde::Serialize;

use super::Gap;

/// Seconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct EndToEnd {
    pub(super) scale: u32,
    pub(super) edges: usize,
    /// The statement.
    pub(super) sql: f64,
    /// The edges' columns as batches in memory.
    pub(super) decode: f64,
    pub(super) build: f64,
    pub(super) kernel: f64,
}

impl EndToEnd {
    /// Of the statement to the sum of the parts.
    pub(super) fn ratio(&self) -> f64 {
        self.sql / (self.decode + self.build + self.kernel)
    }
}

pub(super) fn measure(scale: u32, arguments: &Gap, pool: &ThreadPool, folder: &Path) -> Result<EndToEnd> {
    let session = Session::builder().threads(arguments.threads()).build()?;
    let count = generate::edge_count(Kind::Kron, scale, arguments.degree)?;
    let (from, to) = generate::edges(Kind::Kron, scale, arguments.degree, arguments.seed, 0..count)?;
    let path = folder.join(format!("edges-{scale}.parquet"));
    let column =
        |values: &[u32]| Arc::new(Int64Array::from_iter_values(values.iter().map(|value| i64::from(*value)))) as _;
    let schema = Schema::new(["src", "dst"].map(|name| Field::new(name, DataType::Int64, false)).to_vec());
    let batch = RecordBatch::try_new(Arc::new(schema), vec![column(&from), column(&to)])?;
    session.register_table("generated", vec![batch])?;
    session.sql("SELECT * FROM generated")?.write_parquet(&path.to_string_lossy())?;
    session.sql("DROP TABLE generated")?;
    drop((from, to));
    let path = path.to_string_lossy().into_owned();
    let statement = "SELECT COUNT(*), SUM(rank), MAX(rank) FROM pagerank('edges', src => 'src', dst => 'dst', tolerance => 0, max_iterations => 20)";
    session.register_path("edges", &path)?;
    let mut best = EndToEnd {
        scale,
        edges: count as usize,
        sql: f64::INFINITY,
        decode: f64::INFINITY,
        build: f64::INFINITY,
        kernel: f64::INFINITY,
    };
    for _ in 0..if arguments.quick { 1 } else { 3 } {
        let started = Instant::now();
        session.sql(statement)?.collect()?;
        best.sql = best.sql.min(started.elapsed().as_secs_f64());
        let started = Instant::now();
        let batches = session.sql("SELECT src, dst FROM edges")?.collect_local()?;
        best.decode = best.decode.min(started.elapsed().as_secs_f64());
        let started = Instant::now();
        let built = pool.install(|| {
            let ends = [0, 1].map(|at| {
                let values = batches.iter().flat_map(|batch| batch.column(at).as_primitive::<Int64Type>().values());
                values.map(|value| *value as u32).collect::<Vec<_>>()
            });
            directed(generate::vertices(scale)?, Edges::new(&ends[0], &ends[1]), BuildOptions::default())
        })?;
        best.build = best.build.min(started.elapsed().as_secs_f64());
        let started = Instant::now();
        let options = PowerIteration { tolerance: 0.0, max_iterations: 20, ..PowerIteration::default() };
        std::hint::black_box(pool.install(|| pagerank(&built, &options)));
        best.kernel = best.kernel.min(started.elapsed().as_secs_f64());
    }
    Ok(best)
}
