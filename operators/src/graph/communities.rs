//! Communities by label propagation: every vertex joins the community that most of its neighbours are in.
//!
//! The method of U. N. Raghavan, R. Albert, S. Kumara: Near linear time algorithm to detect community structures in large-scale
//! networks, Physical Review E 76, 036106 (2007), who let vertices change one after the other, in a random order. Here is a form
//! that is the same for any number of threads and any partition of the vertices:
//!
//! 1. A vertex's label is at first its own number. Rounds count from 0; in a round all read the labels of the round before.
//! 2. A hash of the vertex and of `round / 2` has 0 or 1 as its highest bit. The vertex has its turn in the round of that pair of
//!    rounds whose lowest bit is the same: once in every two rounds, beside another random half each time ([`takes_turn`]).
//! 3. In its turn a vertex takes the label that most of its edges lead to, out and incoming where the graph is not symmetric, a
//!    duplicate counting again. Of equals it keeps its own label if that is among them, and else takes the smallest
//!    ([`next_label`]).
//! 4. The end is when no vertex can change: each had its turn since the last change of a neighbour. Or after `max_rounds`.
//!
//! ```text
//!   all at once, two vertices swap labels for ever      a pair of rounds with halves {0} and {1}
//!
//!        0: 0 -- 1: 1                                       0: 0 -- 1: 1
//!        0: 1 -- 1: 0                                       0: 1 -- 1: 1      0 had its turn
//!        0: 0 -- 1: 1   ...                                 0: 1 -- 1: 1      1 keeps its own
//! ```
//!
//! A vertex is stale if a neighbour has changed since its last turn; only those are worked on. A distributed version runs the
//! same rounds: it sends labels that changed to the owners of neighbours, which mark stale what these labels touch, and agrees
//! on whether any vertex is stale.
//!
//! Work: a round reads the edges of stale vertices in their turn, expected constant time for each, and one byte for each vertex.
//! Usually a few tens of rounds do, of which only the first ones touch most vertices. Memory: 5 bytes for each vertex, 12 for
//! each that is in its turn or changes, and for each thread 20 to 36 bytes for each edge of the vertex that it works on.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use rayon::prelude::*;

use super::Graph;

/// The community of each vertex, named by one of the vertices, and how many rounds ran. Fewer than `max_rounds` means that no
/// vertex would change any more.
///
/// ```
/// use bireme_operators::graph::{Csr, Graph, communities};
///
/// // Two triangles, 0 1 2 and 3 4 5, and an edge between 2 and 3.
/// let adjacency = Csr::from_parts(vec![0, 2, 4, 7, 10, 12, 14], vec![1, 2, 0, 2, 0, 1, 3, 2, 4, 5, 3, 5, 3, 4]);
/// let (labels, rounds) = communities(&Graph::symmetric(adjacency), 100);
/// assert!(rounds < 100);
/// assert!(labels[0] == labels[1] && labels[1] == labels[2]);
/// assert!(labels[3] == labels[4] && labels[4] == labels[5]);
/// ```
pub fn communities(graph: &Graph, max_rounds: usize) -> (Vec<u32>, usize) {
    let vertices = graph.vertices() as u32;
    let labels = (0..vertices).map(AtomicU32::new).collect::<Vec<_>>();
    let stale = (0..vertices).map(|_| AtomicBool::new(true)).collect::<Vec<_>>();
    let mut rounds = 0;
    while rounds < max_rounds && stale.par_iter().any(|stale| stale.load(Relaxed)) {
        let changes = changes(graph, rounds, &labels, &stale);
        changes.par_iter().for_each(|&(v, label)| {
            labels[v as usize].store(label, Relaxed);
            neighbours(graph, v).filter(|&w| !stale[w as usize].load(Relaxed)).for_each(|w| {
                stale[w as usize].store(true, Relaxed);
            });
        });
        rounds += 1;
    }
    (labels.into_iter().map(AtomicU32::into_inner).collect(), rounds)
}

/// Which vertices change in a round, and to what. Those that had their turn are no longer stale.
fn changes(graph: &Graph, round: usize, labels: &[AtomicU32], stale: &[AtomicBool]) -> Vec<(u32, u32)> {
    let due = |&v: &u32| stale[v as usize].load(Relaxed) && takes_turn(round, v);
    let due = (0..graph.vertices() as u32).into_par_iter().filter(due).collect::<Vec<_>>();
    let change = |ballot: &mut Ballot, &v: &u32| {
        stale[v as usize].store(false, Relaxed);
        let own = labels[v as usize].load(Relaxed);
        let votes = neighbours(graph, v).map(|w| labels[w as usize].load(Relaxed));
        let next = next_label(round, v, own, votes, ballot);
        (next != own).then_some((v, next))
    };
    due.par_iter().map_init(Ballot::default, change).flatten_iter().collect()
}

/// The other ends of a vertex's edges, in both directions where they differ.
fn neighbours(graph: &Graph, vertex: u32) -> impl Iterator<Item = u32> {
    let back = if graph.is_symmetric() { &[] } else { graph.incoming().neighbours(vertex) };
    graph.out().neighbours(vertex).iter().chain(back).copied()
}

/// Whether a vertex may change in a round: in one of the rounds `2k` and `2k + 1`, by a hash of `k` and the vertex.
pub(super) fn takes_turn(round: usize, vertex: u32) -> bool {
    let mixed = ((round as u64 / 2) << 32 | u64::from(vertex)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed >> 63 == round as u64 & 1
}

/// A vertex's label after a round: of the labels of its neighbours, one for each edge, before that round.
pub(super) fn next_label(
    round: usize,
    vertex: u32,
    own: u32,
    neighbours: impl Iterator<Item = u32>,
    ballot: &mut Ballot,
) -> u32 {
    if takes_turn(round, vertex) { ballot.winner(own, neighbours) } else { own }
}

/// Counts votes; kept from one vertex to the next for its memory.
#[derive(Default)]
pub(super) struct Ballot {
    votes: Vec<u32>,
    /// A hash table of labels and counts, a power of two long and at most half full; a count of 0 is a free place.
    counts: Vec<(u32, u32)>,
}

impl Ballot {
    /// The most frequent vote; of equals `own` or the smallest; `own` if there are no votes.
    fn winner(&mut self, own: u32, votes: impl Iterator<Item = u32>) -> u32 {
        // First gathered, then counted: so the cache misses of the gathering overlap.
        self.votes.clear();
        self.votes.extend(votes);
        let places = (2 * self.votes.len()).next_power_of_two();
        self.counts.clear();
        self.counts.resize(places, (0, 0));
        let (mut best, mut most) = (own, 0);
        for &label in &self.votes {
            let count = count(&mut self.counts, label);
            // Every label that ends with the highest count passes here when it reaches that count.
            let wins = count == most && best != own && (label == own || label < best);
            if count > most || wins {
                (best, most) = (label, count);
            }
        }
        best
    }
}

/// Adds a vote to a table with free places, and returns how many the label has.
fn count(counts: &mut [(u32, u32)], label: u32) -> u32 {
    let last = counts.len() - 1;
    let mut place = (label.wrapping_mul(0x9e37_79b1) >> 7) as usize & last;
    while counts[place].1 != 0 && counts[place].0 != label {
        place = (place + 1) & last;
    }
    counts[place] = (label, counts[place].1 + 1);
    counts[place].1
}

/// Whether labels are an end of label propagation: each vertex's is among the most frequent of its neighbours.
/// Vertices without neighbours keep their own.
pub fn verify_communities(graph: &Graph, labels: &[u32]) -> Result<(), String> {
    if labels.len() != graph.vertices() {
        return Err(format!("{} labels for {} vertices", labels.len(), graph.vertices()));
    }
    for (v, &own) in labels.iter().enumerate() {
        let mut votes = neighbours(graph, v as u32).map(|w| labels[w as usize]).collect::<Vec<_>>();
        votes.sort_unstable();
        let most = votes.chunk_by(|a, b| a == b).map(<[u32]>::len).max();
        let has = votes.partition_point(|&label| label <= own) - votes.partition_point(|&label| label < own);
        match most {
            None if own as usize != v => return Err(format!("vertex {v} has no neighbours but label {own}")),
            Some(most) if has < most => {
                return Err(format!("vertex {v} has label {own}, as {has} of its edges lead to; another has {most}"));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
mod tests {

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    const ROUNDS: usize = 1000;

    /// The rule in its plainest form: every vertex in every round, until two rounds that begin with an even one change nothing.
    fn reference(graph: &Graph) -> Vec<u32> {
        let mut labels = (0..graph.vertices() as u32).collect::<Vec<_>>();
        for pair in 0..ROUNDS / 2 {
            let start = labels.clone();
            for round in [2 * pair, 2 * pair + 1] {
                let before = labels.clone();
                for v in (0..graph.vertices() as u32).filter(|&v| takes_turn(round, v)) {
                    let mut counts = BTreeMap::new();
                    neighbours(graph, v).for_each(|w| *counts.entry(before[w as usize]).or_insert(0) += 1);
                    let own = before[v as usize];
                    let rank = |(&label, &count): (&u32, &usize)| (count, label == own, std::cmp::Reverse(label));
                    labels[v as usize] = counts.iter().map(rank).max().map_or(own, |best| best.2.0);
                }
            }
            if labels == start {
                break;
            }
        }
        labels
    }

    fn check(name: &str, graph: &Graph) {
        let on = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (labels, rounds) = on(1).install(|| communities(graph, ROUNDS));
        assert!(rounds < ROUNDS, "{name}");
        assert_eq!(labels, reference(graph), "{name}");
        assert_eq!((labels.clone(), rounds), on(3).install(|| communities(graph, ROUNDS)), "{name}");
        verify_communities(graph, &labels).unwrap();
    }

    #[test]
    fn shapes() {
        for (name, vertices, edges) in samples::shapes() {
            check(name, &samples::symmetric(vertices, &edges));
            check(name, &samples::directed(vertices, &edges));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn multigraphs((vertices, edges) in samples::multigraph()) {
            check("symmetric", &samples::symmetric(vertices, &edges));
            check("directed", &samples::directed(vertices, &edges));
        }
    }

    #[test]
    fn every_vertex_has_one_turn_in_two_rounds() {
        for (pair, vertex) in (0..50).flat_map(|pair| (0..50).map(move |vertex| (pair, vertex))) {
            assert!(takes_turn(2 * pair, vertex) != takes_turn(2 * pair + 1, vertex));
        }
        let first = (0..10_000).filter(|&vertex| takes_turn(0, vertex)).count();
        assert!((4500..5500).contains(&first), "{first}");
    }

    /// Two sides that could swap labels for ever.
    #[test]
    fn a_bipartite_graph_comes_to_rest() {
        let edges = (0..30).flat_map(|left| (30..60).map(move |right| (left, right))).collect::<Vec<_>>();
        check("bipartite", &samples::symmetric(60, &edges));
    }

    #[test]
    fn most_cliques_are_communities() {
        let clique = |from: u32| (from..from + 8).flat_map(move |a| (from..from + 8).map(move |b| (a, b)));
        let edges = (0..50).flat_map(|k| clique(8 * k).chain([(8 * k, (8 * k + 9) % 400)])).collect::<Vec<_>>();
        let (labels, _) = communities(&samples::symmetric(400, &edges), ROUNDS);
        assert!((0..400).all(|v| labels[v] == labels[v / 8 * 8]));
        // While all labels differ the smallest one spreads, and may take a neighbouring clique: a few do merge.
        let distinct = labels.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert!((40..=50).contains(&distinct), "{distinct}");
    }

    #[test]
    fn rounds_are_limited() {
        let graph = samples::symmetric(1000, &(1..1000).map(|to| (to - 1, to)).collect::<Vec<_>>());
        assert_eq!(communities(&graph, 0), ((0..1000).collect(), 0));
        assert_eq!(communities(&graph, 1).1, 1);
    }

    #[test]
    fn a_path_of_a_million() {
        let edges = (1..1_000_000).map(|to| (to - 1, to)).collect::<Vec<_>>();
        let graph = samples::symmetric(1_000_000, &edges);
        let (labels, rounds) = communities(&graph, ROUNDS);
        assert!(rounds < ROUNDS);
        verify_communities(&graph, &labels).unwrap();
    }

    #[test]
    fn the_verifier_rejects() {
        let graph = samples::symmetric(7, &[(0, 1), (1, 2), (2, 0), (4, 5), (5, 6), (6, 4)]);
        let (labels, _) = communities(&graph, ROUNDS);
        for (vertex, wrong) in [(0, 4), (3, 0), (6, 6)] {
            let mut broken = labels.clone();
            broken[vertex] = if broken[vertex] == wrong { 3 } else { wrong };
            assert!(verify_communities(&graph, &broken).is_err(), "{broken:?}");
        }
        assert!(verify_communities(&graph, &labels[1..]).is_err());
    }
}
