//! Strongly connected components: vertices from each of which one can get to all the others along the edges.
//!
//! ```text
//!   0 -> 1 -> 2 -> 3 -> 4      1 2 3 are a component, called by its smallest vertex; 0 and 4 are each alone
//!        ^---------/           labels 0 1 1 1 4
//! ```
//!
//! 1. *Trim*: a vertex without live edges in, or without live edges out, is a component of its own. It is taken away, and its
//!    neighbours looked at again. Threads start from different vertices and follow what comes of them; the order does not matter.
//! 2. *Forward and backward*: the vertices that a pivot reaches, and of those the ones that reach the pivot, are the pivot's
//!    component. The pivot is the vertex with most edges in times out: in natural graphs it is in the giant component, which
//!    holds most vertices, and both searches have wide levels, which threads share.
//! 3. *Trim* again, for much of the rest hung only on the giant component.
//! 4. *Tarjan's* algorithm on what is left, in one thread, with its own stack in memory.
//!
//! Work is in the order of vertices plus edges, of which each is read a few times; all but step 4 is shared by threads. Step 4 is
//! long only where there are several big components. Memory: about 20 bytes for each vertex, and up to 28 in step 4.
//!
//! - R. Tarjan: Depth-First Search and Linear Graph Algorithms, SIAM Journal on Computing 1(2) (1972).
//! - L. Fleischer, B. Hendrickson, A. Pınar: On Identifying Strongly Connected Components in Parallel, IPDPS workshops (2000).
//! - S. Hong, N. Rodia, K. Olukotun: On Fast Parallel Detection of Strongly Connected Components (SCC) in Small-World Graphs,
//!   SC (2013).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use rayon::prelude::*;

use super::{Csr, Graph, NONE};

/// A search's level with fewer vertices is not shared by threads: a long path has a million levels of one vertex.
const SHARED_LEVEL: usize = 1024;

/// The smallest vertex of each vertex's strongly connected component.
///
/// ```
/// use bireme_operators::graph::{Csr, Graph, strong_components};
///
/// // 0→1 1→2 2→1 2→3
/// let out = Csr::from_parts(vec![0, 1, 2, 4, 4], vec![1, 2, 1, 3]);
/// let incoming = Csr::from_parts(vec![0, 0, 2, 3, 4], vec![0, 2, 1, 2]);
/// assert_eq!(strong_components(&Graph::directed(out, incoming)), [0, 1, 1, 3]);
/// ```
pub fn strong_components(graph: &Graph) -> Vec<u32> {
    let label = (0..graph.vertices()).map(|_| AtomicU32::new(NONE)).collect::<Vec<_>>();
    let live = |vertices: &[u32]| -> Vec<u32> {
        vertices.par_iter().copied().filter(|&v| label[v as usize].load(Relaxed) == NONE).collect()
    };
    let all = (0..graph.vertices() as u32).into_par_iter().collect::<Vec<_>>();
    trim(graph, &all, &label);
    let rest = live(&all);
    take_pivot_component(graph, &rest, &label);
    let rest = live(&rest);
    trim(graph, &rest, &label);
    let rest = live(&rest);
    let mut label = label.into_iter().map(AtomicU32::into_inner).collect::<Vec<_>>();
    tarjan(graph.out(), &rest, &mut label);
    label
}

/// Labels what is alone because all its edges in, or out, come from or lead to vertices that have labels, or itself.
fn trim(graph: &Graph, vertices: &[u32], label: &[AtomicU32]) {
    let is_live = |w: u32| label[w as usize].load(Relaxed) == NONE;
    let fresh = vertices.len() == label.len();
    let live_edges = |csr: &Csr, v: u32| {
        let row = csr.neighbours(v);
        let loops = row.partition_point(|&w| w <= v) - row.partition_point(|&w| w < v);
        // Nothing has a label yet in the first trim: then there is no need to read the neighbours' labels.
        let live = if fresh { row.len() } else { row.iter().filter(|&&w| is_live(w)).count() };
        (live - loops) as u32
    };
    let left = [graph.out(), graph.incoming()].map(|csr| (csr, counters(label.len())));
    vertices.par_iter().for_each(|&v| {
        for (csr, left) in &left {
            left[v as usize].store(live_edges(csr, v), Relaxed);
        }
    });
    let take = |v: u32| label[v as usize].compare_exchange(NONE, v, Relaxed, Relaxed).is_ok();
    let alone = |v: u32| left.iter().any(|(_, left)| left[v as usize].load(Relaxed) == 0);
    vertices.par_iter().for_each_init(Vec::new, |stack, &v| {
        if alone(v) && take(v) {
            stack.push(v);
        }
        while let Some(v) = stack.pop() {
            // An edge from v counts among those that come in at its target, and the other way round.
            for (csr, left) in [(left[0].0, &left[1].1), (left[1].0, &left[0].1)] {
                for &w in csr.neighbours(v).iter().filter(|&&w| is_live(w)) {
                    if left[w as usize].fetch_sub(1, Relaxed) == 1 && take(w) {
                        stack.push(w);
                    }
                }
            }
        }
    });
}

fn counters(vertices: usize) -> Vec<AtomicU32> {
    (0..vertices).map(|_| AtomicU32::new(0)).collect()
}

/// Labels the component of the vertex that has most edges in times out.
fn take_pivot_component(graph: &Graph, vertices: &[u32], label: &[AtomicU32]) {
    let weight = |v: u32| graph.out().degree(v) as u128 * graph.incoming().degree(v) as u128;
    let Some(pivot) = vertices.par_iter().copied().max_by_key(|&v| (weight(v), std::cmp::Reverse(v))) else { return };
    let is_live = |v: u32| label[v as usize].load(Relaxed) == NONE;
    let reached = (0..graph.vertices()).map(|_| AtomicBool::new(false)).collect::<Vec<_>>();
    search(graph.out(), pivot, |v| {
        is_live(v) && !reached[v as usize].load(Relaxed) && !reached[v as usize].swap(true, Relaxed)
    });
    let component = search(graph.incoming(), pivot, |v| {
        reached[v as usize].load(Relaxed)
            && is_live(v)
            && label[v as usize].compare_exchange(NONE, pivot, Relaxed, Relaxed).is_ok()
    });
    let smallest = component.par_iter().copied().min().unwrap_or(pivot);
    component.par_iter().for_each(|&v| label[v as usize].store(smallest, Relaxed));
}

/// All that can be reached from a vertex, itself included, through vertices that `claim` grants; it grants each once.
fn search(csr: &Csr, start: u32, claim: impl Fn(u32) -> bool + Sync) -> Vec<u32> {
    let mut found = Vec::new();
    if claim(start) {
        found.push(start);
    }
    let mut level = 0;
    while level < found.len() {
        let end = found.len();
        if end - level < SHARED_LEVEL {
            for position in level..end {
                found.extend(csr.neighbours(found[position]).iter().copied().filter(|&w| claim(w)));
            }
        } else {
            let next =
                found[level..].par_iter().flat_map_iter(|&v| csr.neighbours(v).iter().copied().filter(|&w| claim(w)));
            let next = next.collect::<Vec<_>>();
            found.extend(next);
        }
        level = end;
    }
    found
}

/// Labels the components of vertices without labels; `vertices` are all of those.
fn tarjan(out: &Csr, vertices: &[u32], label: &mut [u32]) {
    if vertices.is_empty() {
        return;
    }
    let mut walk =
        Walk { found: vec![0; label.len()], low: vec![0; label.len()], count: 0, path: Vec::new(), open: Vec::new() };
    for &root in vertices {
        if label[root as usize] == NONE {
            walk.enter(root);
        }
        while let Some((v, edge)) = walk.path.last_mut() {
            let (v, next) = (*v, out.neighbours(*v).get(*edge));
            *edge += 1;
            match next {
                None => walk.leave(label),
                Some(&w) if label[w as usize] != NONE => {}
                Some(&w) if walk.found[w as usize] == 0 => walk.enter(w),
                Some(&w) => walk.lower(v, walk.found[w as usize]),
            }
        }
    }
}

/// A depth-first walk.
struct Walk {
    /// The how-manieth a vertex was to be found, from 1.
    found: Vec<u32>,
    /// The smallest such number that a vertex is known to lead to among open ones.
    low: Vec<u32>,
    count: u32,
    /// From the root to where the walk is, with the next edge of each vertex to look at.
    path: Vec<(u32, usize)>,
    /// Found, without a label so far.
    open: Vec<u32>,
}

impl Walk {
    fn enter(&mut self, vertex: u32) {
        self.count += 1;
        self.found[vertex as usize] = self.count;
        self.low[vertex as usize] = self.count;
        self.path.push((vertex, 0));
        self.open.push(vertex);
    }

    fn lower(&mut self, vertex: u32, to: u32) {
        let low = &mut self.low[vertex as usize];
        *low = to.min(*low);
    }

    /// Steps back from the last vertex, which is either the first found of its component or leads to where its parent does.
    fn leave(&mut self, label: &mut [u32]) {
        let Some((vertex, _)) = self.path.pop() else { return };
        let low = self.low[vertex as usize];
        if low == self.found[vertex as usize] {
            let start = self.open.iter().rposition(|&v| v == vertex).unwrap_or(0);
            let smallest = self.open[start..].iter().copied().min().unwrap_or(vertex);
            self.open.drain(start..).for_each(|v| label[v as usize] = smallest);
        } else if let Some(&(parent, _)) = self.path.last() {
            self.lower(parent, low);
        }
    }
}

/// Whether labels name strongly connected components by their smallest vertices: from each name one gets to every vertex with
/// that label and back without leaving them, and the components have an order in which no edge goes back. Linear time.
pub fn verify_strong(graph: &Graph, labels: &[u32]) -> Result<(), String> {
    if labels.len() != graph.vertices() {
        return Err(format!("{} labels for {} vertices", labels.len(), graph.vertices()));
    }
    for (v, &label) in labels.iter().enumerate() {
        if label as usize > v || labels[label as usize] != label {
            return Err(format!("vertex {v} has label {label}, which is no smallest vertex"));
        }
    }
    for (csr, what) in [(graph.out(), "is not reached from"), (graph.incoming(), "does not reach")] {
        let mut reached = vec![false; labels.len()];
        let mut stack = (0..labels.len() as u32).filter(|&v| labels[v as usize] == v).collect::<Vec<_>>();
        stack.iter().for_each(|&v| reached[v as usize] = true);
        while let Some(v) = stack.pop() {
            for &w in csr.neighbours(v) {
                if labels[w as usize] == labels[v as usize] && !std::mem::replace(&mut reached[w as usize], true) {
                    stack.push(w);
                }
            }
        }
        if let Some(v) = reached.iter().position(|reached| !reached) {
            return Err(format!("vertex {v} {what} its label {}", labels[v]));
        }
    }
    verify_order(graph.out(), labels)
}

/// Takes away components without edges in from others, until none is left.
fn verify_order(out: &Csr, labels: &[u32]) -> Result<(), String> {
    let vertices = 0..labels.len() as u32;
    let mut members = vertices.clone().collect::<Vec<_>>();
    members.sort_by_key(|&v| labels[v as usize]);
    let crossing = |v: u32| {
        let to = out.neighbours(v).iter().map(|&w| labels[w as usize]);
        to.filter(move |&label| label != labels[v as usize])
    };
    let mut edges_in = vec![0_usize; labels.len()];
    vertices.clone().flat_map(crossing).for_each(|label| edges_in[label as usize] += 1);
    let mut ready = vertices.filter(|&v| labels[v as usize] == v && edges_in[v as usize] == 0).collect::<Vec<_>>();
    let mut taken = 0;
    while let Some(component) = ready.pop() {
        let start = members.partition_point(|&v| labels[v as usize] < component);
        for &v in members[start..].iter().take_while(|&&v| labels[v as usize] == component) {
            taken += 1;
            for label in crossing(v) {
                edges_in[label as usize] -= 1;
                if edges_in[label as usize] == 0 {
                    ready.push(label);
                }
            }
        }
    }
    if taken == labels.len() { Ok(()) } else { Err("components that reach each other have different labels".into()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
mod tests {

    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    /// Who reaches whom, by Warshall's algorithm.
    fn reference(graph: &Graph) -> Vec<u32> {
        let count = graph.vertices();
        let mut reaches = vec![vec![false; count]; count];
        for (v, row) in reaches.iter_mut().enumerate() {
            row[v] = true;
            graph.out().neighbours(v as u32).iter().for_each(|&w| row[w as usize] = true);
        }
        for middle in 0..count {
            let onwards = reaches[middle].clone();
            for row in reaches.iter_mut().filter(|row| row[middle]) {
                row.iter_mut().zip(&onwards).for_each(|(to, &onward)| *to |= onward);
            }
        }
        let smallest = |v: usize| (0..count).find(|&w| reaches[v][w] && reaches[w][v]).unwrap() as u32;
        (0..count).map(smallest).collect()
    }

    fn tarjan_alone(graph: &Graph) -> Vec<u32> {
        let mut label = vec![NONE; graph.vertices()];
        tarjan(graph.out(), &(0..graph.vertices() as u32).collect::<Vec<_>>(), &mut label);
        label
    }

    fn check(name: &str, graph: &Graph) {
        let on = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let labels = on(1).install(|| strong_components(graph));
        assert_eq!(labels, on(3).install(|| strong_components(graph)), "{name}");
        assert_eq!(labels, tarjan_alone(graph), "{name}");
        if graph.vertices() <= 1 << 10 {
            assert_eq!(labels, reference(graph), "{name}");
        }
        verify_strong(graph, &labels).unwrap();
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
    fn skewed_graphs() {
        for (seed, degree) in [(1, 1), (2, 2), (3, 8)] {
            check("skewed", &samples::directed(1 << 14, &samples::skewed(14, degree, seed)));
        }
    }

    /// Several components of some size, joined one way: the pivot's is one of them.
    #[test]
    fn rings_in_a_row() {
        let ring = |k: u32| (0..100).map(move |v| (100 * k + v, 100 * k + (v + 1) % 100));
        let edges = (0..50).flat_map(|k| ring(k).chain([(100 * k, (100 * k + 150) % 5000)])).collect::<Vec<_>>();
        let within =
            edges.iter().copied().filter(|&(from, to)| from < to || from / 100 == to / 100).collect::<Vec<_>>();
        check("one component", &samples::directed(5000, &edges));
        check("fifty components", &samples::directed(5000, &within));
    }

    #[test]
    fn a_path_and_a_cycle_of_a_million() {
        let count = 1_000_000;
        let mut edges = (1..count).map(|to| (to - 1, to)).collect::<Vec<_>>();
        let path = samples::directed(count as usize, &edges);
        assert_eq!(strong_components(&path), (0..count).collect::<Vec<_>>());
        assert_eq!(tarjan_alone(&path), (0..count).collect::<Vec<_>>());
        edges.push((count - 1, 0));
        let cycle = samples::directed(count as usize, &edges);
        assert_eq!(strong_components(&cycle), vec![0; count as usize]);
        assert_eq!(tarjan_alone(&cycle), vec![0; count as usize]);
        verify_strong(&path, &(0..count).collect::<Vec<_>>()).unwrap();
    }

    #[test]
    fn the_verifier_rejects() {
        // A ring of 0 1 2, from which one gets to a ring of 3 4.
        let graph = samples::directed(5, &[(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 3)]);
        verify_strong(&graph, &[0, 0, 0, 3, 3]).unwrap();
        let wrong =
            [[0, 0, 0, 0, 0], [0, 0, 0, 3, 4], [0, 1, 0, 3, 3], [0, 0, 2, 3, 3], [1, 1, 1, 3, 3], [0, 0, 0, 3, 0]];
        for labels in wrong {
            assert!(verify_strong(&graph, &labels).is_err(), "{labels:?}");
        }
        assert!(verify_strong(&graph, &[0, 0, 0, 3]).is_err());
    }
}
