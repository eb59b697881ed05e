//! Adjacency in compressed rows, and graphs made of it.

use std::sync::Arc;

/// The neighbours of vertices `0..n`, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csr {
    offsets: Vec<usize>,
    targets: Vec<u32>,
}

impl Csr {
    /// Of rows: `targets[offsets[v]..offsets[v + 1]]` are the neighbours of `v`, ascending. The caller sees to it that offsets
    /// ascend from 0 to the number of targets.
    pub fn from_parts(offsets: Vec<usize>, targets: Vec<u32>) -> Self {
        debug_assert!(offsets.first() == Some(&0) && offsets.last() == Some(&targets.len()));
        debug_assert!(offsets.is_sorted());
        Self { offsets, targets }
    }

    /// How many rows there are.
    pub fn vertices(&self) -> usize {
        self.offsets.len() - 1
    }

    /// How many edges there are.
    pub fn edges(&self) -> usize {
        self.targets.len()
    }

    /// How many neighbours a vertex has.
    #[inline]
    pub fn degree(&self, vertex: u32) -> usize {
        self.offsets[vertex as usize + 1] - self.offsets[vertex as usize]
    }

    /// The neighbours of a vertex, ascending.
    #[inline]
    pub fn neighbours(&self, vertex: u32) -> &[u32] {
        &self.targets[self.offsets[vertex as usize]..self.offsets[vertex as usize + 1]]
    }

    /// Where each row begins, and where the last one ends.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// All neighbours, row by row.
    pub fn targets(&self) -> &[u32] {
        &self.targets
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.offsets[..]) + size_of_val(&self.targets[..])
    }
}

/// A graph: its edges by source and by target, which are the same where each edge goes both ways.
#[derive(Clone, Debug)]
pub struct Graph {
    out: Arc<Csr>,
    incoming: Arc<Csr>,
}

impl Graph {
    /// Each edge goes one way; both have the same vertices and edges.
    pub fn directed(out: Csr, incoming: Csr) -> Self {
        debug_assert_eq!((out.vertices(), out.edges()), (incoming.vertices(), incoming.edges()));
        Self { out: Arc::new(out), incoming: Arc::new(incoming) }
    }

    /// With each edge there is the one that goes back.
    pub fn symmetric(adjacency: Csr) -> Self {
        let adjacency = Arc::new(adjacency);
        Self { out: Arc::clone(&adjacency), incoming: adjacency }
    }

    /// Whether each edge goes both ways, and is held once.
    pub fn is_symmetric(&self) -> bool {
        Arc::ptr_eq(&self.out, &self.incoming)
    }

    /// How many vertices there are.
    pub fn vertices(&self) -> usize {
        self.out.vertices()
    }

    /// How many edges there are; those that go both ways count twice.
    pub fn edges(&self) -> usize {
        self.out.edges()
    }

    /// Edges by source.
    pub fn out(&self) -> &Csr {
        &self.out
    }

    /// Edges by target.
    pub fn incoming(&self) -> &Csr {
        &self.incoming
    }
}

/// A graph whose edges have weights.
#[derive(Clone, Debug)]
pub struct Weighted<W> {
    graph: Graph,
    /// One for each target of `graph.out()`, at the same place.
    weights: Arc<Vec<W>>,
}

impl<W: Copy> Weighted<W> {
    /// `weights` are those of the edges by source, in their order.
    pub fn new(graph: Graph, weights: Vec<W>) -> Self {
        debug_assert_eq!(graph.edges(), weights.len());
        Self { graph, weights: Arc::new(weights) }
    }

    /// Without the weights.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The edges that leave a vertex, with their weights.
    #[inline]
    pub fn out(&self, vertex: u32) -> (&[u32], &[W]) {
        let csr = self.graph.out();
        let row = csr.offsets()[vertex as usize]..csr.offsets()[vertex as usize + 1];
        (&csr.targets()[row.clone()], &self.weights[row])
    }

    /// All weights, in the order of the edges by source.
    pub fn weights(&self) -> &[W] {
        &self.weights
    }
}
