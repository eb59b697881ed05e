//! What can be asked of a graph, and the columns of each answer.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bireme_engine::error::{Error, Result};

use super::iterate::Iteration;

/// A vertex, as a user calls it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vertex {
    /// A number.
    Integer(i64),
    /// A text.
    Text(String),
}

impl fmt::Display for Vertex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Vertex::Integer(number) => write!(f, "{number}"),
            // Escaped: plans are told apart by this text.
            Vertex::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl From<i64> for Vertex {
    fn from(number: i64) -> Self {
        Vertex::Integer(number)
    }
}

impl From<&str> for Vertex {
    fn from(text: &str) -> Self {
        Vertex::Text(text.to_owned())
    }
}

impl From<String> for Vertex {
    fn from(text: String) -> Self {
        Vertex::Text(text)
    }
}

/// How PageRank is iterated: `damping` is the chance to follow an edge, `tolerance` the sum of absolute changes at which it
/// stops.
#[derive(Clone, Debug)]
pub struct PageRank {
    /// The chance to follow an edge rather than jump anywhere; at least 0 and below 1.
    pub damping: f64,
    /// The sum of the ranks' absolute changes in a round, at which they count as found.
    pub tolerance: f64,
    /// Rounds after which the ranks are taken as they are.
    pub max_iterations: usize,
    /// Where jumps end: anywhere if empty, else at these vertices alone (personalised PageRank).
    pub sources: Vec<Vertex>,
}

impl Default for PageRank {
    fn default() -> Self {
        Self { damping: 0.85, tolerance: 1e-10, max_iterations: 300, sources: Vec::new() }
    }
}

impl PageRank {
    pub(super) fn kernel(&self) -> super::pagerank::PowerIteration {
        let Self { damping, tolerance, max_iterations, .. } = *self;
        super::pagerank::PowerIteration { damping, tolerance, max_iterations }
    }

    fn parts(&self) -> (u64, u64, usize, &[Vertex]) {
        (self.damping.to_bits(), self.tolerance.to_bits(), self.max_iterations, &self.sources)
    }
}

// By the bits of the numbers: plans are compared, not ranks.
impl PartialEq for PageRank {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for PageRank {}

impl Hash for PageRank {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

/// From which vertices betweenness is summed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sources {
    /// From all: exact.
    All,
    /// From so many, drawn by the seed: their sum, scaled up to all.
    Sample {
        /// How many.
        count: usize,
        /// Of the draw.
        seed: u64,
    },
    /// From these, not scaled.
    Of(Vec<Vertex>),
}

/// An algorithm with its options.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `vertex`
    Vertices,
    /// `vertex, rank`
    PageRank(PageRank),
    /// `vertex, parent, depth` of what can be reached.
    Bfs {
        /// Where the search starts.
        source: Vertex,
    },
    /// `vertex, distance` of what can be reached.
    Sssp {
        /// Where paths start.
        source: Vertex,
    },
    /// `vertex, component`: weakly connected.
    Components,
    /// `vertex, component`: strongly connected.
    StrongComponents,
    /// `vertex, triangles`
    Triangles,
    /// `vertex, core`
    Coreness,
    /// `vertex, centrality`
    Betweenness {
        /// From which vertices.
        sources: Sources,
    },
    /// `vertex, community`
    Communities {
        /// Rounds after which labels are taken as they are.
        max_rounds: usize,
    },
    /// `vertex, value`: a user's own.
    Iterate(Iteration),
}

impl Algorithm {
    /// Its name in SQL.
    pub fn name(&self) -> &'static str {
        match self {
            Algorithm::Vertices => "vertices",
            Algorithm::PageRank(_) => "pagerank",
            Algorithm::Bfs { .. } => "bfs",
            Algorithm::Sssp { .. } => "sssp",
            Algorithm::Components => "components",
            Algorithm::StrongComponents => "strong_components",
            Algorithm::Triangles => "triangles",
            Algorithm::Coreness => "core",
            Algorithm::Betweenness { .. } => "betweenness",
            Algorithm::Communities { .. } => "communities",
            Algorithm::Iterate(_) => "iterate",
        }
    }

    /// Whether edges have lengths.
    pub fn takes_weights(&self) -> bool {
        matches!(self, Algorithm::Sssp { .. })
    }

    /// Columns of the answer; vertices are of the type `vertex`, distances of `weight`.
    pub fn schema(&self, vertex: &DataType, weight: Option<&DataType>) -> SchemaRef {
        let of = |name: &str, data_type: DataType| Field::new(name, data_type, false);
        let own = || vertex.clone();
        let mut fields = vec![of("vertex", own())];
        fields.extend(match self {
            Algorithm::Vertices => vec![],
            Algorithm::PageRank(_) => vec![of("rank", DataType::Float64)],
            Algorithm::Bfs { .. } => vec![of("parent", own()), of("depth", DataType::Int64)],
            Algorithm::Sssp { .. } => vec![of("distance", weight.cloned().unwrap_or(DataType::Int64))],
            Algorithm::Components | Algorithm::StrongComponents => vec![of("component", own())],
            Algorithm::Triangles => vec![of("triangles", DataType::Int64)],
            Algorithm::Coreness => vec![of("core", DataType::Int64)],
            Algorithm::Betweenness { .. } => vec![of("centrality", DataType::Float64)],
            Algorithm::Communities { .. } => vec![of("community", own())],
            Algorithm::Iterate(iteration) => vec![of("value", iteration.data_type())],
        });
        Arc::new(Schema::new(fields))
    }

    /// Refuses options that make no sense.
    ///
    /// # Errors
    /// A user's error that names the option.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::user(format!("{}: {what}", self.name())));
        match self {
            Algorithm::PageRank(options) if !(0.0..1.0).contains(&options.damping) => {
                wrong(format!("damping must be at least 0 and below 1, and is {}", options.damping))
            }
            Algorithm::PageRank(options) if options.tolerance.is_nan() || options.tolerance < 0.0 => {
                wrong(format!("tolerance must be at least 0, and is {}", options.tolerance))
            }
            Algorithm::Betweenness { sources: Sources::Sample { count: 0, .. } } => {
                wrong("a sample needs at least one source".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        match self {
            Algorithm::PageRank(PageRank { damping, tolerance, max_iterations, sources }) => {
                write!(f, " damping={damping} tolerance={tolerance:e} max_iterations={max_iterations}")?;
                write_vertices(f, sources)
            }
            Algorithm::Bfs { source } | Algorithm::Sssp { source } => write!(f, " from {source}"),
            Algorithm::Betweenness { sources } => match sources {
                Sources::All => write!(f, " from all vertices"),
                Sources::Sample { count, seed } => write!(f, " from {count} vertices, seed {seed}"),
                Sources::Of(vertices) => write_vertices(f, vertices),
            },
            Algorithm::Communities { max_rounds } => write!(f, " max_rounds={max_rounds}"),
            Algorithm::Iterate(iteration) => write!(f, " {iteration}"),
            _ => Ok(()),
        }
    }
}

fn write_vertices(f: &mut fmt::Formatter<'_>, vertices: &[Vertex]) -> fmt::Result {
    if vertices.is_empty() {
        return Ok(());
    }
    let vertices = vertices.iter().map(ToString::to_string).collect::<Vec<_>>();
    write!(f, " from {}", vertices.join(", "))
}
