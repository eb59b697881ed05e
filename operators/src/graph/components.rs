//! Connected components: which vertices can be reached from each other, whichever way edges point.
//!
//! Each vertex points to a parent, at first so that trees are small, at last so that each component is one star, whose centre
//! is the answer. An edge is *linked* by hanging the root of one end's tree beneath the root of the other end's. Most vertices
//! of most graphs are in one component, and a few edges of each suffice to find it; the others' edges are then all that is left
//! to read (Afforest):
//!
//! ```text
//!   1  hook      each vertex beneath its first neighbour, if that is smaller     reads the edges in order, two a vertex
//!   2  link      each with its second neighbour, or its first if that is greater     which step 1 has noted
//!   3  compress  each parent becomes the root
//!   4  sample    the root that most vertices have, roughly
//!   5  link      each vertex that does not have that root, with all its neighbours
//!   6  compress
//! ```
//!
//! Work is about that of four passes over the vertices where one component has most of them, and one more over the edges
//! otherwise. Memory is 8 bytes a vertex, half of them the answer.
//!
//! **Why the label is the smallest vertex.** At all times `parent[v] <= v`, and `parent[v]` is in the component of `v`: hooking
//! takes a smaller neighbour or its parent, linking writes the smaller root into the greater, and compressing replaces a parent
//! by its parent. So there are no cycles but those of roots. Let `m` be the smallest vertex of a component: `parent[m] <= m` is
//! in the component, hence it is `m`, a root. At the end all edges are linked, so the component is one tree, whose only root is
//! `m`. Neither timing nor the sample has a part in this.
//!
//! **Why skipping is right.** Let an edge lead from `u` to `v`, and `c` be the root of step 4. The edge is in a row of `u` and
//! in one of `v` (for directed graphs, one of them by target). If either did not have the parent `c` when its turn came in step
//! 5, that turn linked the edge. If both had, both were in its tree, and trees only grow.
//!
//! **Why threads may race.** In linking only roots are hung, by compare-and-swap, so each once. Whatever a thread reads of
//! another's vertex, old or new, is an ancestor of it. No other memory depends on these values: relaxed order suffices.
//!
//! M. Sutton, T. Ben-Nun, A. Barak: Optimizing Parallel Graph Connectivity Computation via Subgraph Sampling, IPDPS 2018.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rayon::prelude::*;

use super::{Csr, Graph, NONE};

/// Vertices that a thread takes at a time.
const CHUNK: usize = 4096;

/// How many vertices the most frequent root is guessed from.
const SAMPLES: usize = 1024;

/// For each vertex, the smallest vertex of its connected component; directions of edges do not matter.
///
/// ```
/// use bireme_operators::graph::{Csr, Graph, components};
///
/// // 0 - 2   1 - 3
/// let graph = Graph::symmetric(Csr::from_parts(vec![0, 1, 2, 3, 4], vec![2, 3, 0, 1]));
/// assert_eq!(components(&graph), [0, 1, 0, 1]);
/// ```
pub fn components(graph: &Graph) -> Vec<u32> {
    let parents = blank(graph.vertices());
    link_noted(&hook(graph.out(), &parents), &parents);
    compress(&parents);
    if let Some(frequent) = frequent_root(&parents) {
        link_others(graph, frequent, &parents);
        compress(&parents);
    }
    parents.into_iter().map(AtomicU32::into_inner).collect()
}

/// Hangs vertices beneath their first neighbours where these are smaller, and notes another neighbour to link each with.
///
/// Threads go through the vertices in ascending order side by side, so most neighbours that are smaller have their parents
/// already: taking these keeps trees low. Where one has none yet, the neighbour itself will do.
fn hook(edges: &Csr, parents: &[AtomicU32]) -> Vec<AtomicU32> {
    let noted = blank(parents.len());
    in_chunks(parents.len(), |chunk| {
        for vertex in chunk {
            let mut parent = vertex as u32;
            let note = match *edges.neighbours(vertex as u32) {
                [first, ..] if first > parent => first,
                [first, ref rest @ ..] => {
                    parent = first.min(parents[first as usize].load(Relaxed));
                    rest.first().copied().unwrap_or(NONE)
                }
                [] => NONE,
            };
            parents[vertex].store(parent, Relaxed);
            noted[vertex].store(note, Relaxed);
        }
    });
    noted
}

/// Links vertices with the neighbours noted.
fn link_noted(noted: &[AtomicU32], parents: &[AtomicU32]) {
    in_chunks(parents.len(), |chunk| {
        for vertex in chunk {
            let neighbour = noted[vertex].load(Relaxed);
            if neighbour != NONE {
                link(vertex as u32, neighbour, parents);
            }
        }
    });
}

/// Links vertices with all their neighbours, but for those whose parent is `frequent`.
fn link_others(graph: &Graph, frequent: u32, parents: &[AtomicU32]) {
    in_chunks(parents.len(), |chunk| {
        for vertex in chunk {
            if parents[vertex].load(Relaxed) == frequent {
                continue;
            }
            let vertex = vertex as u32;
            let incoming = if graph.is_symmetric() { &[] } else { graph.incoming().neighbours(vertex) };
            for &neighbour in graph.out().neighbours(vertex).iter().chain(incoming) {
                link(vertex, neighbour, parents);
            }
        }
    });
}

/// Puts two vertices into one tree.
///
/// Climbs from both until the greater of the two is a root and hangs beneath the other, or they meet.
#[inline]
fn link(one: u32, other: u32, parents: &[AtomicU32]) {
    let parent = |vertex: u32| parents[vertex as usize].load(Relaxed);
    let (mut one, mut other) = (parent(one), parent(other));
    while one != other {
        let (low, high) = (one.min(other), one.max(other));
        let above = parent(high);
        if above == low {
            return;
        }
        if above == high && parents[high as usize].compare_exchange(high, low, Relaxed, Relaxed).is_ok() {
            return;
        }
        (one, other) = (parent(parent(high)), parent(low));
    }
}

/// Makes each parent a root.
fn compress(parents: &[AtomicU32]) {
    in_chunks(parents.len(), |chunk| {
        for vertex in chunk {
            let first = parents[vertex].load(Relaxed);
            let mut root = first;
            loop {
                let above = parents[root as usize].load(Relaxed);
                if above == root {
                    break;
                }
                root = above;
            }
            if root != first {
                parents[vertex].store(root, Relaxed);
            }
        }
    });
}

/// The root that most of some vertices have: a guess at the largest tree, the same in each run.
fn frequent_root(parents: &[AtomicU32]) -> Option<u32> {
    // Multiples of an odd number, spread by their upper bits, meet no pattern that a graph's numbering is likely to have.
    let sample = |index: usize| {
        let spread = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        parents.get((spread as usize * parents.len()) >> 32).map(|parent| parent.load(Relaxed))
    };
    let mut roots = (0..SAMPLES).filter_map(sample).collect::<Vec<_>>();
    roots.sort_unstable();
    let longest = roots.chunk_by(|one, other| one == other).max_by_key(|run| run.len())?;
    longest.first().copied()
}

/// Gives chunks of `0..vertices` to the threads of the pool, in ascending order.
fn in_chunks(vertices: usize, body: impl Fn(Range<usize>) + Sync) {
    (0..vertices).step_by(CHUNK).par_bridge().for_each(|start| body(start..vertices.min(start + CHUNK)));
}

/// No vertex, that many times.
fn blank(vertices: usize) -> Vec<AtomicU32> {
    (0..vertices).into_par_iter().with_min_len(CHUNK).map(|_| AtomicU32::new(NONE)).collect()
}

/// Whether `labels` names each vertex's component by its smallest vertex, or why not.
///
/// The ends of each edge must have the same label, so no component has two; there must be as many labels as union and find, run
/// one edge after the other, makes sets, so no two components share one; and a label must have itself and be no greater than
/// its vertex.
pub fn verify_components(graph: &Graph, labels: &[u32]) -> Result<(), String> {
    if labels.len() != graph.vertices() {
        return Err(format!("{} labels for {} vertices", labels.len(), graph.vertices()));
    }
    for (vertex, &label) in labels.iter().enumerate() {
        if label as usize > vertex || labels[label as usize] != label {
            return Err(format!(
                "vertex {vertex} has the label {label}, which is not the smallest vertex of its component"
            ));
        }
    }
    let mut sets = (0..labels.len() as u32).collect::<Vec<_>>();
    let mut count = sets.len();
    for from in 0..labels.len() as u32 {
        for &to in graph.out().neighbours(from) {
            if labels[from as usize] != labels[to as usize] {
                return Err(format!("an edge joins {from} and {to}, whose labels differ"));
            }
            let (one, other) = (find(&mut sets, from), find(&mut sets, to));
            if one != other {
                sets[one as usize] = other;
                count -= 1;
            }
        }
    }
    let distinct = labels.iter().enumerate().filter(|&(vertex, &label)| vertex == label as usize).count();
    if distinct != count { Err(format!("{distinct} labels for {count} components")) } else { Ok(()) }
}

/// The vertex that stands for another's set; halves the way there.
fn find(sets: &mut [u32], mut vertex: u32) -> u32 {
    while sets[vertex as usize] != vertex {
        let above = sets[sets[vertex as usize] as usize];
        sets[vertex as usize] = above;
        vertex = above;
    }
    vertex
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    /// The slow way: the smaller label crosses edges until none does.
    fn reference(vertices: usize, edges: &[(u32, u32)]) -> Vec<u32> {
        let mut labels = (0..vertices as u32).collect::<Vec<_>>();
        loop {
            let before = labels.clone();
            for &(from, to) in edges {
                let least = labels[from as usize].min(labels[to as usize]);
                labels[from as usize] = least;
                labels[to as usize] = least;
            }
            if labels == before {
                return labels;
            }
        }
    }

    fn with_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
    }

    fn check(vertices: usize, edges: &[(u32, u32)]) {
        let expected = reference(vertices, edges);
        for graph in [samples::directed(vertices, edges), samples::symmetric(vertices, edges)] {
            for threads in [1, 3] {
                let labels = with_threads(threads, || components(&graph));
                assert_eq!(labels, expected);
                verify_components(&graph, &labels).unwrap();
            }
        }
    }

    #[test]
    fn shapes() {
        for (_, vertices, edges) in samples::shapes() {
            check(vertices, &edges);
        }
    }

    /// Several chunks, so that threads meet; sparse, so that many components are left.
    #[test]
    fn many_chunks() {
        for (degree, seed) in [(1, 1), (2, 2), (16, 3)] {
            check(1 << 15, &samples::skewed(15, degree, seed));
        }
        let vertices = 50_000_u32;
        let spread = |vertex: u32| ((u64::from(vertex.wrapping_mul(0x9e37_79b1)) * u64::from(vertices)) >> 32) as u32;
        let edges = (0..vertices).map(|vertex| (spread(vertex), spread(vertex ^ 1))).collect::<Vec<_>>();
        check(vertices as usize, &edges);
    }

    #[test]
    fn paths_of_a_million() {
        let count = 1_000_000_u32;
        // 7 has no factor with a million, so this goes through all vertices, far apart.
        let far = |place: u32| (u64::from(place) * 700_001 % u64::from(count)) as u32;
        let ascending = (1..count).map(|to| (to - 1, to)).collect::<Vec<_>>();
        let descending = (1..count).map(|to| (to, to - 1)).collect::<Vec<_>>();
        let shuffled = (1..count).map(|to| (far(to - 1), far(to))).collect::<Vec<_>>();
        for edges in [ascending, descending, shuffled] {
            for graph in [samples::directed(count as usize, &edges), samples::symmetric(count as usize, &edges)] {
                let start = Instant::now();
                let labels = components(&graph);
                assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
                assert!(labels.iter().all(|&label| label == 0));
            }
        }
    }

    #[test]
    fn wrong_labels_are_found() {
        // 0 - 1   2 - 3   4
        let graph = samples::symmetric(5, &[(0, 1), (2, 3)]);
        verify_components(&graph, &[0, 0, 2, 2, 4]).unwrap();
        for (labels, why) in [
            (&[0, 0, 2, 2][..], "4 labels for 5"),
            (&[1, 1, 2, 2, 4], "vertex 0 has the label 1"),
            (&[0, 0, 2, 3, 4], "joins 2 and 3"),
            (&[0, 0, 0, 0, 4], "2 labels for 3"),
            (&[0, 0, 2, 2, 3], "vertex 4 has the label 3"),
            (&[0, 0, 2, 2, 9], "vertex 4 has the label 9"),
        ] {
            let error = verify_components(&graph, labels).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn multigraphs((vertices, edges) in samples::multigraph()) {
            check(vertices, &edges);
        }
    }
}
