//! Graphs: edges in a table, and what algorithms say of their vertices, as DataFrames again.

use std::fmt;
use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_operators::graph::{Algorithm, Iteration, Kept, Steps, Value};
pub use bireme_operators::graph::{PageRank, Sources, Vertex};
use bireme_planner::logical::{EdgeNames, graph_plan};
use datafusion::common::DFSchema;
use datafusion::dataframe::DataFrame as Lazy;
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};

use crate::frame::DataFrame;

/// The kernels, on adjacency in the memory of one process: for programs that measure them or bring graphs of their own.
pub use bireme_operators::graph as kernels;

/// Files of graphs: GAP's serialized ones, and lists of edges.
pub use bireme_connectors::graph_file as files;

/// A graph: the rows of a table are its edges, from one column to another. Vertices are integers or texts, and those that are
/// in an edge. Algorithms are lazy: they give DataFrames, with a column `vertex` of the type of the first of the two columns.
///
/// On several ranks each owns a range of vertices, and answers do not depend on how many there are; floating-point answers
/// neither.
///
/// ```
/// use bireme::prelude::*;
/// let session = Session::new()?;
/// let follows = session.sql("SELECT * FROM (VALUES ('ann', 'bob'), ('cid', 'bob'), ('bob', 'ann')) AS f(follower, followee)")?;
/// let graph = Graph::from_edges(&follows, "follower", "followee")?;
/// let ranks = graph.pagerank(PageRank::default())?;
/// assert_eq!(ranks.filter(col("vertex").eq(lit("bob")).and(col("rank").gt(lit(0.4))))?.count()?, 1);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Graph {
    edges: DataFrame,
    names: EdgeNames,
    /// Where it lies: then the edges are not read again.
    kept: Option<Kept>,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EdgeNames { from, to, weight, undirected } = &self.names;
        write!(f, "Graph({from} {} {to}", if *undirected { "--" } else { "->" })?;
        weight.as_ref().map_or(Ok(()), |weight| write!(f, ", weight {weight}"))?;
        self.kept.as_ref().map_or(Ok(()), |kept| write!(f, ", {kept}"))?;
        f.write_str(")")
    }
}

impl Graph {
    /// An edge for each row, from the vertex in one column to that in the other. Rows that are there twice are two edges.
    ///
    /// # Errors
    /// A column does not exist, or is neither of integers nor of texts.
    pub fn from_edges(edges: &DataFrame, from: &str, to: &str) -> Result<Self> {
        let names = EdgeNames { from: from.into(), to: to.into(), weight: None, undirected: false };
        Self { edges: edges.clone(), names, kept: None }.checked()
    }

    /// With lengths of edges, at least 0, for [`Graph::sssp`]. Not kept, if it was before.
    ///
    /// # Errors
    /// The column does not exist, or is not of numbers.
    pub fn weighted(&self, weight: &str) -> Result<Self> {
        let mut graph = self.clone();
        (graph.names.weight, graph.kept) = (Some(weight.into()), None);
        graph.checked()
    }

    /// Each edge goes both ways. Not kept, if it was before.
    #[must_use]
    pub fn undirected(&self) -> Self {
        let mut graph = self.clone();
        (graph.names.undirected, graph.kept) = (true, None);
        graph
    }

    /// Reads the edges now and keeps the graph in memory, on all ranks: algorithms on what comes back read no table and number no
    /// vertices, and on one rank adjacency is made once.
    ///
    /// # Errors
    /// As actions of the table; a vertex is NULL, a weight is NULL, negative or NaN; or the graph does not fit the memory limit.
    pub fn persist(&self) -> Result<Self> {
        if self.kept.is_some() {
            return Ok(self.clone());
        }
        let session = self.edges.session();
        let kept = Kept::new(session.next_graph());
        let reading = self.ask_of(&self.edges, Algorithm::Vertices, Some(kept.clone()))?;
        session.discard(reading.program())?;
        Ok(Self { kept: Some(kept), ..self.clone() })
    }

    /// Each vertex: `vertex`.
    ///
    /// # Errors
    /// As [`Graph::from_edges`].
    pub fn vertices(&self) -> Result<DataFrame> {
        self.ask(Algorithm::Vertices)
    }

    /// How often a walk along the edges comes by each vertex: `vertex, rank`, which add up to 1. An edge that is there twice is
    /// taken twice as often; from a vertex without edges the walk jumps (L. Page et al., 1999).
    ///
    /// # Errors
    /// The damping is not in 0..1, or the tolerance is negative; when it runs, a source is not in the graph.
    pub fn pagerank(&self, options: PageRank) -> Result<DataFrame> {
        self.ask(Algorithm::PageRank(options))
    }

    /// Breadth-first search: `vertex, parent, depth` of what can be reached; the parent is the smallest that is possible.
    ///
    /// # Errors
    /// When it runs: the source is not in the graph.
    pub fn bfs(&self, source: impl Into<Vertex>) -> Result<DataFrame> {
        self.ask(Algorithm::Bfs { source: source.into() })
    }

    /// Lengths of the shortest paths: `vertex, distance` of what can be reached.
    ///
    /// # Errors
    /// The graph has no weights; when it runs, the source is not in the graph, or a weight is NULL, negative or NaN.
    pub fn sssp(&self, source: impl Into<Vertex>) -> Result<DataFrame> {
        self.ask(Algorithm::Sssp { source: source.into() })
    }

    /// Connected components, whichever way edges go: `vertex, component`, which is called as its smallest vertex.
    ///
    /// # Errors
    /// As [`Graph::from_edges`].
    pub fn components(&self) -> Result<DataFrame> {
        self.ask(Algorithm::Components)
    }

    /// Components in which each vertex can be reached from each other: `vertex, component`, as [`Graph::components`].
    ///
    /// # Errors
    /// As [`Graph::from_edges`].
    pub fn strong_components(&self) -> Result<DataFrame> {
        self.ask(Algorithm::StrongComponents)
    }

    /// In how many triangles each vertex is: `vertex, triangles`. Edges count in both directions, once.
    ///
    /// # Errors
    /// As [`Graph::from_edges`].
    pub fn triangles(&self) -> Result<DataFrame> {
        self.ask(Algorithm::Triangles)
    }

    /// The largest k such that the vertex is in a subgraph where all have k neighbours: `vertex, core`. Edges count in both
    /// directions, once.
    ///
    /// # Errors
    /// As [`Graph::from_edges`].
    pub fn core(&self) -> Result<DataFrame> {
        self.ask(Algorithm::Coreness)
    }

    /// On how many shortest paths each vertex is, by their share: `vertex, centrality`, not normalised (U. Brandes, 2001).
    /// Edges count once.
    ///
    /// # Errors
    /// A sample of none; when it runs, a source is not in the graph.
    pub fn betweenness(&self, sources: Sources) -> Result<DataFrame> {
        self.ask(Algorithm::Betweenness { sources })
    }

    /// Communities by label propagation: `vertex, community`, after at most so many rounds. Edges count in both directions, once.
    ///
    /// # Errors
    /// As [`Graph::from_edges`].
    pub fn communities(&self, max_rounds: usize) -> Result<DataFrame> {
        self.ask(Algorithm::Communities { max_rounds })
    }

    /// An algorithm of one's own: values of vertices, round by round, out of those that edges come from. A vertex begins with
    /// `init`; in each round every edge brings `gather(value of its source, its weight)` (the weight is 1 without weights),
    /// what edges bring is put together by `combine` in the order of their sources, and `apply(last value, what was brought, if
    /// anything)` is the next value. Rounds end when no value changes, or after `max_rounds`. The answer has columns `vertex,
    /// value`; values are `f64`, `i64`, `u32` or `u64`.
    ///
    /// ```
    /// use bireme::prelude::*;
    /// let session = Session::new()?;
    /// let edges = session.sql("SELECT * FROM (VALUES (1, 2), (2, 3), (3, 1), (3, 4)) AS e(a, b)")?;
    /// // How many walks of three edges end at each vertex.
    /// let walks = Graph::from_edges(&edges, "a", "b")?.iterate(
    ///     3,
    ///     |_| 1_u64,
    ///     |walks, _| Some(walks),
    ///     |some, others| some + others,
    ///     |_, walks| walks.unwrap_or(0),
    /// )?;
    /// assert_eq!(walks.filter(col("value").eq(lit(1_u64)))?.count()?, 4);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Graph::from_edges`].
    pub fn iterate<V: Value>(
        &self,
        max_rounds: usize,
        init: impl Fn(&Vertex) -> V + Send + Sync + 'static,
        gather: impl Fn(V, f64) -> Option<V> + Send + Sync + 'static,
        combine: impl Fn(V, V) -> V + Send + Sync + 'static,
        apply: impl Fn(V, Option<V>) -> V + Send + Sync + 'static,
    ) -> Result<DataFrame> {
        let number = self.edges.session().next_graph();
        self.ask(Algorithm::Iterate(Iteration::new(number, max_rounds, Steps { init, gather, combine, apply })))
    }

    fn ask(&self, algorithm: Algorithm) -> Result<DataFrame> {
        if self.kept.is_none() {
            return self.ask_of(&self.edges, algorithm, None);
        }
        // There is nothing to read; the columns' types are still asked for.
        let session = self.edges.session();
        let schema = Arc::new(DFSchema::try_from(self.edges.schema()).map_err(|error| session.explain_error(error))?);
        let nothing = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema });
        let edges = self.edges.step(|lazy| Ok(Lazy::new(lazy.into_parts().0, nothing)))?;
        self.ask_of(&edges, algorithm, self.kept.clone())
    }

    fn ask_of(&self, edges: &DataFrame, algorithm: Algorithm, kept: Option<Kept>) -> Result<DataFrame> {
        edges.step(|lazy| {
            let (state, edges) = lazy.into_parts();
            Ok(Lazy::new(state, graph_plan(edges, &self.names, algorithm, kept)?))
        })
    }

    fn checked(self) -> Result<Self> {
        self.ask(Algorithm::Vertices)?;
        Ok(self)
    }
}
