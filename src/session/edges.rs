//! Graphs in files that are no tables, as tables of edges.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use bireme_connectors::array_file::matrix_market::{self, CoordinateMatrix, Matrix};
use bireme_connectors::graph_file::{edge_list, serialized};
use bireme_engine::error::{Error, Result};

use super::Session;
use crate::frame::DataFrame;

/// The columns of edges that a file has.
struct Columns {
    from: Vec<i64>,
    to: Vec<i64>,
    weight: edge_list::Weights,
}

impl Session {
    /// The edges in a file, `src, dst` and, where they have weights, `weight`: lists of edges, one a line (`.el`, `.wel`, and
    /// `.txt` as of the Stanford collection), or graphs as GAP serializes them (`.sg`, `.wsg`; of those that go both ways each
    /// edge is there twice), or sparse matrices of Matrix Market (`.mtx`: rows are sources and columns targets, both numbered from 0,
    /// and values weights; of symmetric ones each edge is there both ways). Every rank reads the file and keeps its part of the rows. Edges in Parquet, CSV and other tables
    /// are read as such.
    ///
    /// # Errors
    /// There is no such file, or it is not what its name says: a user's error or corrupt input that names the line or the place.
    pub fn read_edges(&self, path: impl AsRef<Path>) -> Result<DataFrame> {
        let path = path.as_ref();
        let (part, parts) = match self.inner.ranks.as_slice() {
            [rank] => (rank.number, rank.control.ranks()),
            _ => (0, 1),
        };
        let threads = self.inner.options.lanes.div_ceil(self.ranks());
        let columns = read(path, threads);
        // All ranks or none go on: those that have a file meet below.
        let outcome = columns.as_ref().map(|_| ()).map_err(Clone::clone);
        self.on_all_ranks("reading edges", &outcome)?.into_iter().collect::<Result<()>>()?;
        let Columns { from, to, weight } = columns?;
        let rows = from.len();
        let own = rows * part / parts..rows * (part + 1) / parts;
        let mut fields = ["src", "dst"].map(|name| Field::new(name, DataType::Int64, false)).to_vec();
        let vertices =
            |all: Vec<i64>| Arc::new(Int64Array::from_iter_values(all[own.clone()].iter().copied())) as ArrayRef;
        let mut arrays = vec![vertices(from), vertices(to)];
        match weight {
            edge_list::Weights::None => {}
            edge_list::Weights::Integers(weights) => {
                fields.push(Field::new("weight", DataType::Int64, false));
                arrays.push(vertices(weights));
            }
            edge_list::Weights::Floats(weights) => {
                fields.push(Field::new("weight", DataType::Float64, false));
                arrays.push(Arc::new(Float64Array::from_iter_values(weights[own].iter().copied())));
            }
        }
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
        DataFrame::from_local_batches(self, schema, vec![batch])
    }
}

fn read(path: &Path, threads: usize) -> Result<Columns> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("sg" | "wsg") => of_serialized(path),
        Some("el" | "wel" | "txt") => of_list(path, threads),
        Some("mtx") => of_matrix(path),
        _ => Err(Error::unsupported(format!(
            "reading edges of {}: a file's name ends with .el, .wel, .txt, .sg, .wsg or .mtx; tables are read as such (read_parquet, read_csv)",
            path.display()
        ))),
    }
}

fn of_serialized(path: &Path) -> Result<Columns> {
    let graph = serialized::read(path)?;
    let mut from = Vec::with_capacity(graph.out.targets.len());
    for (vertex, row) in (0_i64..).zip(graph.out.offsets.windows(2)) {
        from.extend(std::iter::repeat_n(vertex, row[1] - row[0]));
    }
    let to = graph.out.targets.iter().map(|target| i64::from(*target)).collect();
    let weight = match graph.out.weights {
        None => edge_list::Weights::None,
        Some(weights) => edge_list::Weights::Integers(weights.into_iter().map(i64::from).collect()),
    };
    Ok(Columns { from, to, weight })
}

fn of_matrix(path: &Path) -> Result<Columns> {
    match matrix_market::read(path)? {
        Matrix::Coordinate(CoordinateMatrix { row, column, values, .. }) => {
            Ok(Columns { from: row, to: column, weight: edge_list::Weights::Floats(values) })
        }
        Matrix::Dense(_) => Err(Error::unsupported(format!(
            "reading edges of {}: it holds a dense matrix; edges are those of a sparse one (coordinate)",
            path.display()
        ))),
    }
}

fn of_list(path: &Path, threads: usize) -> Result<Columns> {
    let list = edge_list::read(path, threads)?;
    let signed = |ids: Vec<u64>| {
        let ids = ids.into_iter().map(|id| {
            i64::try_from(id)
                .map_err(|_| Error::unsupported(format!("reading {}: vertex {id} is 2^63 or more", path.display())))
        });
        ids.collect::<Result<Vec<_>>>()
    };
    Ok(Columns { from: signed(list.from)?, to: signed(list.to)?, weight: list.weights })
}
