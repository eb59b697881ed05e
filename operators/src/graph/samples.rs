//! Graphs for tests: named shapes, random multigraphs, and the slow way to make adjacency of edges.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Csr, Graph, Weighted};

/// Adjacency of `0..vertices`, by sorting. Duplicates and loops stay.
pub(super) fn csr(vertices: usize, edges: &[(u32, u32)]) -> Csr {
    let mut edges = edges.to_vec();
    edges.sort_unstable();
    let offset = |vertex| edges.partition_point(|edge| (edge.0 as usize) < vertex);
    Csr::from_parts((0..=vertices).map(offset).collect(), edges.iter().map(|edge| edge.1).collect())
}

/// Each edge as it is.
pub(super) fn directed(vertices: usize, edges: &[(u32, u32)]) -> Graph {
    let turned = edges.iter().map(|&(from, to)| (to, from)).collect::<Vec<_>>();
    Graph::directed(csr(vertices, edges), csr(vertices, &turned))
}

/// Each edge in both directions, once, without loops: as GAP makes graphs undirected.
pub(super) fn symmetric(vertices: usize, edges: &[(u32, u32)]) -> Graph {
    let both = edges.iter().flat_map(|&(from, to)| [(from, to), (to, from)]);
    let mut both = both.filter(|edge| edge.0 != edge.1).collect::<Vec<_>>();
    both.sort_unstable();
    both.dedup();
    Graph::symmetric(csr(vertices, &both))
}

/// Each edge as it is, with a weight made of its ends: 1..=limit, the same for both directions.
pub(super) fn weighted(graph: Graph, limit: u32) -> Weighted<i32> {
    let mut weights = Vec::with_capacity(graph.edges());
    for from in 0..graph.vertices() as u32 {
        for &to in graph.out().neighbours(from) {
            let (low, high) = (u64::from(from.min(to)), u64::from(from.max(to)));
            let mixed = (low << 32 | high).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            weights.push((mixed % u64::from(limit)) as i32 + 1);
        }
    }
    Weighted::new(graph, weights)
}

/// A graph: its name, how many vertices it has, its edges.
pub(super) type Shape = (&'static str, usize, Vec<(u32, u32)>);

/// Shapes on which algorithms go wrong.
pub(super) fn shapes() -> Vec<Shape> {
    let path = |length: u32| (1..length).map(|to| (to - 1, to)).collect::<Vec<_>>();
    let complete = |count: u32| (0..count).flat_map(move |from| (0..count).map(move |to| (from, to)));
    vec![
        ("empty", 0, vec![]),
        ("one vertex", 1, vec![]),
        ("a loop", 1, vec![(0, 0)]),
        ("isolated", 5, vec![]),
        ("an edge", 2, vec![(1, 0)]),
        ("duplicates", 3, vec![(0, 1), (0, 1), (1, 2), (0, 1), (2, 2)]),
        ("star", 300, (1..300).map(|leaf| (0, leaf)).collect()),
        ("star inwards", 300, (0..299).map(|leaf| (leaf, 299)).collect()),
        ("path", 1000, path(1000)),
        ("path backwards", 1000, path(1000).into_iter().map(|(from, to)| (to, from)).collect()),
        ("cycle", 100, path(100).into_iter().chain([(99, 0)]).collect()),
        ("complete", 40, complete(40).filter(|(from, to)| from != to).collect()),
        ("two triangles", 7, vec![(0, 1), (1, 2), (2, 0), (4, 5), (5, 6), (6, 4)]),
        ("skewed", 1 << 10, skewed(10, 8, 7)),
    ]
}

/// A random multigraph with loops, duplicates and isolated vertices.
pub(super) fn multigraph() -> impl Strategy<Value = (usize, Vec<(u32, u32)>)> {
    (1_usize..60).prop_flat_map(|vertices| {
        let vertex = 0..vertices as u32;
        vec((vertex.clone(), vertex), 0..240).prop_map(move |edges| (vertices, edges))
    })
}

/// Edges of `2^scale` vertices, some of which have many: each end's bits are one with less than even chance.
pub(super) fn skewed(scale: u32, degree: usize, seed: u64) -> Vec<(u32, u32)> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let mut vertex = move || (0..scale).fold(0, |vertex, _| vertex << 1 | u32::from(next() % 100 < 30));
    (0..degree << scale).map(|_| (vertex(), vertex())).collect()
}
