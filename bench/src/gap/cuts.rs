//! What ranks send each other in a round, with the edges of a graph cut in one dimension and in two.
//!
//! Ranks are threads of this process, so that bytes are counted and times say nothing. PageRank's are those of an iteration: the
//! difference between 20 and 10 of them. A search's are those of all its rounds: less what a search sends that ends at once, from
//! a vertex whose only edge leads to it.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use bireme::graph::kernels::generate;
use bireme::prelude::{Result, Session};
use serde::Serialize;

use super::{Gap, GraphKind};

/// How edges can be cut.
const CUTS: [&str; 3] = ["1d", "2d", "auto"];

/// What an algorithm sends.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sent {
    pub(super) graph: &'static str,
    pub(super) scale: u32,
    pub(super) ranks: u32,
    pub(super) algorithm: &'static str,
    /// Bytes of all ranks together, by how edges are cut: in an iteration, or in a search.
    pub(super) bytes_1d: u64,
    pub(super) bytes_2d: u64,
    /// As the planner chooses.
    pub(super) bytes_auto: u64,
}

pub(super) fn measure(kind: GraphKind, scale: u32, ranks: u32, arguments: &Gap) -> Result<Vec<Sent>> {
    let session = Session::builder().threads(ranks as usize).local_ranks(ranks as usize).build()?;
    let count = generate::edge_count(kind.kind(), scale, arguments.degree)?;
    let (from, to) = generate::edges(kind.kind(), scale, arguments.degree, arguments.seed, 0..count)?;
    let weights = generate::weights(arguments.seed, 0..count)?;
    let source = i64::from(from.first().copied().unwrap_or_default());
    // One edge more, to a vertex that has no other.
    let last = generate::vertices(scale)? as i64;
    let ends =
        |ends: &[u32], more: i64| Int64Array::from_iter_values(ends.iter().map(|end| i64::from(*end)).chain([more]));
    let weights = Int64Array::from_iter_values(weights.iter().map(|weight| i64::from(*weight)).chain([1]));
    let schema = ["src", "dst", "weight"].map(|name| Field::new(name, DataType::Int64, false));
    let schema = Arc::new(Schema::new(schema.to_vec()));
    let edges = vec![Arc::new(ends(&from, last)) as _, Arc::new(ends(&to, last + 1)) as _, Arc::new(weights) as _];
    session.register_table("edges", vec![RecordBatch::try_new(schema, edges)?])?;
    let bytes = |call: &str| -> Result<u64> {
        let before = session.progress().bytes_sent;
        session.sql(&format!("SELECT COUNT(*) FROM {call}"))?.collect()?;
        Ok(session.progress().bytes_sent - before)
    };
    let pagerank = |iterations: u32| format!("pagerank('edges', tolerance => 0, max_iterations => {iterations})");
    let bfs = |source: i64| format!("bfs('edges', source => {source})");
    let sssp = |source: i64| format!("sssp('edges', source => {source}, weight => 'weight')");
    let mut sent = ["pagerank", "bfs", "sssp"].map(|algorithm| (algorithm, [0; CUTS.len()]));
    for (place, cut) in CUTS.iter().enumerate() {
        session.sql(&format!("SET bireme.graph_cut = '{cut}'"))?;
        let [ranks, levels, paths] = &mut sent;
        ranks.1[place] = bytes(&pagerank(20))?.saturating_sub(bytes(&pagerank(10))?) / 10;
        levels.1[place] = bytes(&bfs(source))?.saturating_sub(bytes(&bfs(last + 1))?);
        paths.1[place] = bytes(&sssp(source))?.saturating_sub(bytes(&sssp(last + 1))?);
    }
    let row = |(algorithm, [bytes_1d, bytes_2d, bytes_auto]): (&'static str, [u64; 3])| Sent {
        graph: kind.name(),
        scale,
        ranks,
        algorithm,
        bytes_1d,
        bytes_2d,
        bytes_auto,
    };
    Ok(sent.into_iter().map(row).collect())
}
