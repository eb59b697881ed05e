//! Coreness: how dense a part of the graph each vertex belongs to.
//!
//! The `k`-core is the largest set of vertices of which each has at least `k` neighbours within the set. A vertex's coreness is
//! the largest `k` whose core it is in. It is found by peeling: for `k` from 0 on, remove vertices that have at most `k`
//! neighbours left until there are none; what goes at `k` has coreness `k`, in whatever order it goes.
//!
//! ```text
//!       1 ── 2                left       degrees        goes            d falls with what goes, but not below the level:
//!       │ ╲╱ │                level 1    3 3 3 4 2 1    5, then 4       0..4 are left with 3 each
//!       │ ╱╲ │                level 2    3 3 3 3        none            the least degree is 3: on to level 3
//!       0 ── 3 ── 4 ── 5      level 3    3 3 3 3        0 1 2 3         coreness 3 3 3 3 1 1
//! ```
//!
//! **In parallel** (after Kabir and Madduri). A level begins with a scan of what is left for the vertices whose degree is the
//! level's. These go in rounds of two halves. First, workers share what is due, and note the neighbours whose degrees fall, by
//! shares of the vertices. Then each share is one thread's: it lowers the degrees noted, and what comes down to the level is
//! due in the next round. So no two threads write to the same degree at once. (With atomic subtraction in place of notes, two
//! threads took as long as one: each waited for cache lines that the other had written to.) A round that has little to do runs
//! on the caller's thread alone, without notes, so that a long path costs no more than in sequence. A degree that stands when
//! all is removed is the vertex's coreness.
//!
//! ```text
//!   due  5 9 ┃ 7 …     notes of worker 0   share 0: 1 3    share 1: 16 18        thread of share 0: degree[1], [3], [2], [3]
//! fall
//!            ┃                of worker 1   share 0: 2 3    share 1: 17           thread of share 1: degree[16], [18], [17] fall
//! ```
//!
//! **Work** is linear. Each edge is looked at from both ends, when these go. Scans drop what has gone, and skip levels at which
//! nothing goes, so that a vertex is scanned at most twice for each level up to its coreness; coreness is at most degree, and
//! the degrees add up to twice the edges. Memory: a degree and a place in a list for each vertex, and about a MiB of notes for
//! each thread.
//!
//! - V. Batagelj, M. Zaveršnik: An O(m) Algorithm for Cores Decomposition of Networks, arXiv:cs/0310049 (2003).
//! - H. Kabir, K. Madduri: Parallel k-Core Decomposition on Multicore Platforms, IPDPS Workshops 2017.
//! - L. Dhulipala, G. Blelloch, J. Shun: Julienne: A Framework for Parallel Graph Algorithms using Work-efficient Bucketing,
//!   SPAA 2017.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use rayon::prelude::*;

use super::{Csr, Graph};
use crate::expr::simd::prefetch;

/// The coreness of each vertex, at most its degree.
///
/// The graph is symmetric, and has neither loops nor duplicates: a loop would count as a neighbour that goes with the vertex, a
/// duplicate as two.
///
/// ```
/// use bireme_operators::graph::{Csr, Graph, coreness};
///
/// // A triangle 0, 1, 2 with a tail 2 ── 3, and 4 by itself.
/// let graph = Graph::symmetric(Csr::from_parts(vec![0, 2, 4, 7, 8, 8], vec![1, 2, 0, 2, 0, 1, 3, 2]));
/// assert_eq!(coreness(&graph), [2, 2, 2, 1, 0]);
/// ```
pub fn coreness(graph: &Graph) -> Vec<u32> {
    debug_assert!(graph.is_symmetric());
    let csr = graph.out();
    let degrees = csr.offsets().par_windows(2).map(|row| AtomicU32::new((row[1] - row[0]) as u32)).collect::<Vec<_>>();
    let mut left = Left::new(degrees.len());
    let mut peeling = Peeling::new(csr, &degrees);
    let mut level = 0;
    while let Some(least) = left.scan(&degrees, level, &mut peeling.due) {
        if peeling.due.is_empty() {
            level = least;
        } else {
            peeling.peel(level);
            level += 1;
        }
    }
    peeling.peel(level);
    degrees.into_iter().map(AtomicU32::into_inner).collect()
}

/// Vertices that a scan takes at a time.
const BLOCK: usize = 1 << 14;

/// The vertices that may be left, in blocks that shrink.
struct Left {
    blocks: Vec<Block>,
}

struct Block {
    vertices: Vec<u32>,
    due: Vec<u32>,
    least: u32,
}

impl Left {
    fn new(vertices: usize) -> Self {
        let block = |from: usize| Block {
            vertices: (from as u32..vertices.min(from + BLOCK) as u32).collect(),
            due: Vec::new(),
            least: 0,
        };
        Self { blocks: (0..vertices).into_par_iter().step_by(BLOCK).map(block).collect() }
    }

    /// Drops what has gone, moves what goes at this level to `due`, and returns the least degree of what stays, if any does.
    fn scan(&mut self, degrees: &[AtomicU32], level: u32, due: &mut Vec<u32>) -> Option<u32> {
        if self.blocks.iter().map(|block| block.vertices.len()).sum::<usize>() < BLOCK {
            self.blocks.iter_mut().for_each(|block| block.scan(degrees, level));
        } else {
            self.blocks.par_iter_mut().for_each(|block| block.scan(degrees, level));
        }
        for block in &mut self.blocks {
            due.append(&mut block.due);
        }
        self.blocks.retain(|block| !block.vertices.is_empty());
        self.blocks.iter().map(|block| block.least).min()
    }
}

impl Block {
    fn scan(&mut self, degrees: &[AtomicU32], level: u32) {
        self.least = u32::MAX;
        self.vertices.retain(|&vertex| {
            let degree = degrees[vertex as usize].load(Relaxed);
            if degree > level {
                self.least = self.least.min(degree);
            } else if degree == level {
                self.due.push(vertex);
            }
            degree > level
        });
    }
}

/// Vertices that are removed at a time.
const FEW: usize = 64;
/// Vertices between a prefetch of a row and its use.
const AHEAD: usize = 4;
/// Elements of a cache line.
const LINE: usize = 16;
/// So many vertices to go are work for all threads.
const MANY: usize = 1 << 10;
/// Fewer edges than this are looked at sooner than another thread wakes.
const MANY_EDGES: usize = 1 << 14;
/// Notes that a worker writes in a round: they fit its cache.
const NOTES: usize = 1 << 18;

/// Removes vertices.
struct Peeling<'a> {
    csr: &'a Csr,
    degrees: &'a [AtomicU32],
    /// What goes at this level, and how much of it has gone.
    due: Vec<u32>,
    gone: usize,
    /// For each worker its notes, by share of the vertices.
    notes: Vec<Vec<Vec<u32>>>,
}

impl<'a> Peeling<'a> {
    fn new(csr: &'a Csr, degrees: &'a [AtomicU32]) -> Self {
        let threads = rayon::current_num_threads();
        let shares = threads.next_power_of_two() * 4;
        Self { csr, degrees, due: Vec::new(), gone: 0, notes: vec![vec![Vec::new(); shares]; threads] }
    }

    /// Removes what is due, and all that has no more than `level` neighbours left then.
    fn peel(&mut self, level: u32) {
        while self.gone < self.due.len() {
            if self.is_small() {
                self.alone(level);
            } else {
                self.write_notes(level);
                self.apply_notes(level);
            }
        }
        self.due.clear();
        self.gone = 0;
    }

    fn is_small(&self) -> bool {
        let due = &self.due[self.gone..];
        self.notes.len() == 1
            || due.len() < MANY && due.iter().map(|&vertex| self.csr.degree(vertex)).sum::<usize>() < MANY_EDGES
    }

    /// Removes what is due by now, on this thread.
    fn alone(&mut self, level: u32) {
        let until = self.due.len();
        while self.gone < until {
            let mut block = [0; FEW];
            let block = &mut block[..FEW.min(until - self.gone)];
            block.copy_from_slice(&self.due[self.gone..][..block.len()]);
            self.gone += block.len();
            for_neighbours(self.csr, block, |neighbour| {
                if lower(&self.degrees[neighbour as usize], level) {
                    self.due.push(neighbour);
                }
            });
        }
    }

    /// First half of a round: notes whose degrees fall by what is due, until there are enough for now.
    fn write_notes(&mut self, level: u32) {
        let gone = AtomicUsize::new(self.gone);
        let (csr, degrees, due) = (self.csr, self.degrees, &self.due);
        self.notes.par_iter_mut().with_max_len(1).for_each(|notes| {
            notes.iter_mut().for_each(Vec::clear);
            let (mask, mut written) = (notes.len() - 1, 0);
            while written < NOTES {
                let from = gone.fetch_add(FEW, Relaxed);
                let Some(block) = due.get(from..due.len().min(from + FEW)) else { break };
                for_neighbours(csr, block, |neighbour| {
                    // Most have gone, or are due.
                    if degrees[neighbour as usize].load(Relaxed) > level {
                        notes[(neighbour as usize / LINE) & mask].push(neighbour);
                        written += 1;
                    }
                });
            }
        });
        self.gone = gone.into_inner().min(self.due.len());
    }

    /// Second half of a round: lowers the degrees, one thread those of a share.
    fn apply_notes(&mut self, level: u32) {
        let (notes, degrees) = (&self.notes, self.degrees);
        let due = (0..notes[0].len()).into_par_iter().with_max_len(1).map(|share| {
            let neighbours = notes.iter().flat_map(|notes| notes[share].iter().copied());
            neighbours.filter(|&neighbour| lower(&degrees[neighbour as usize], level)).collect::<Vec<_>>()
        });
        let due = due.collect::<Vec<_>>();
        self.due.extend(due.iter().flatten());
    }
}

/// Takes one from a degree, but for what has gone or is due; whether it is due now. No other thread writes to it meanwhile.
#[inline]
fn lower(degree: &AtomicU32, level: u32) -> bool {
    let now = degree.load(Relaxed);
    if now > level {
        degree.store(now - 1, Relaxed);
    }
    now == level + 1
}

/// The neighbours of at most `FEW` vertices. Rows are anywhere: all offsets are read at once, and rows that are next are asked
/// for.
#[inline]
fn for_neighbours(csr: &Csr, block: &[u32], mut visit: impl FnMut(u32)) {
    let mut begins = [0; FEW];
    for (begin, &vertex) in begins.iter_mut().zip(block) {
        *begin = csr.offsets()[vertex as usize];
    }
    for (at, &vertex) in block.iter().enumerate() {
        let later = begins[(at + AHEAD) % FEW];
        prefetch(csr.targets(), later);
        prefetch(csr.targets(), later + LINE);
        csr.neighbours(vertex).iter().for_each(|&neighbour| visit(neighbour));
    }
}

/// Checks that each vertex has the coreness given, or says which has not.
///
/// That it is not too high: of a vertex's neighbours, as many as its coreness have at least the same, so that those with at
/// least `k` are a set as the `k`-core is. That it is not too low: peeled by coreness given, from the lowest on, a vertex goes
/// with no more neighbours left than that. (Of a core whose vertices were all given their coreness or less, one of those given
/// less would go first, but has too many neighbours then.)
pub fn verify_coreness(graph: &Graph, coreness: &[u32]) -> Result<(), String> {
    let csr = graph.out();
    if coreness.len() != csr.vertices() {
        return Err(format!("{} vertices have {} corenesses", csr.vertices(), coreness.len()));
    }
    let vertices = 0..coreness.len() as u32;
    for vertex in vertices.clone() {
        let own = coreness[vertex as usize];
        let as_high = csr.neighbours(vertex).iter().filter(|&&neighbour| coreness[neighbour as usize] >= own).count();
        if as_high < own as usize {
            return Err(format!("vertex {vertex} has coreness {own}, and {as_high} neighbours with as much"));
        }
    }
    let mut order = vertices.clone().collect::<Vec<_>>();
    order.sort_by_key(|&vertex| coreness[vertex as usize]);
    let mut left = vertices.map(|vertex| csr.degree(vertex)).collect::<Vec<_>>();
    let mut gone = vec![false; left.len()];
    for alike in order.chunk_by(|&one, &other| coreness[one as usize] == coreness[other as usize]) {
        let level = coreness[alike[0] as usize];
        peel_alike(csr, coreness, alike, &mut left, &mut gone);
        if let Some(vertex) = alike.iter().find(|&&vertex| !gone[vertex as usize]) {
            return Err(format!(
                "vertex {vertex} has coreness {level}, but is left with {} neighbours",
                left[*vertex as usize]
            ));
        }
    }
    Ok(())
}

/// Removes vertices of one coreness that have no more neighbours left, until there are none.
fn peel_alike(csr: &Csr, coreness: &[u32], alike: &[u32], left: &mut [usize], gone: &mut [bool]) {
    let level = coreness[alike[0] as usize];
    let mut due = alike.iter().copied().filter(|&vertex| left[vertex as usize] <= level as usize).collect::<Vec<_>>();
    due.iter().for_each(|&vertex| gone[vertex as usize] = true);
    while let Some(vertex) = due.pop() {
        for &neighbour in csr.neighbours(vertex) {
            let at = neighbour as usize;
            left[at] = left[at].saturating_sub(1);
            if !gone[at] && coreness[at] == level && left[at] <= level as usize {
                gone[at] = true;
                due.push(neighbour);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    /// Removes one vertex of least degree after another.
    fn reference(graph: &Graph) -> Vec<u32> {
        let csr = graph.out();
        let mut degrees = (0..graph.vertices() as u32).map(|vertex| Some(csr.degree(vertex))).collect::<Vec<_>>();
        let mut coreness = vec![0; degrees.len()];
        let mut level = 0;
        for _ in 0..degrees.len() {
            let left = (0..degrees.len()).filter(|&vertex| degrees[vertex].is_some());
            let vertex = left.min_by_key(|&vertex| degrees[vertex]).unwrap();
            level = level.max(degrees[vertex].take().unwrap());
            coreness[vertex] = level as u32;
            for &neighbour in csr.neighbours(vertex as u32) {
                degrees[neighbour as usize] = degrees[neighbour as usize].map(|degree| degree - 1);
            }
        }
        coreness
    }

    fn with_threads(threads: usize, graph: &Graph) -> Vec<u32> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| coreness(graph))
    }

    fn check(name: &str, graph: &Graph) {
        let expected = reference(graph);
        verify_coreness(graph, &expected).unwrap();
        for threads in [1, 3] {
            assert_eq!(with_threads(threads, graph), expected, "{name} with {threads} threads");
        }
    }

    #[test]
    fn shapes() {
        for (name, vertices, edges) in samples::shapes() {
            check(name, &samples::symmetric(vertices, &edges));
        }
    }

    #[test]
    fn known() {
        let graph = samples::symmetric(6, &[(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3), (3, 4), (4, 5)]);
        assert_eq!(coreness(&graph), [3, 3, 3, 3, 1, 1]);
    }

    #[test]
    fn skewed_in_rounds() {
        let graph = samples::symmetric(1 << 15, &samples::skewed(15, 16, 3));
        let one = with_threads(1, &graph);
        verify_coreness(&graph, &one).unwrap();
        assert!(one.iter().any(|&coreness| coreness > 20));
        assert_eq!(with_threads(3, &graph), one);
    }

    #[test]
    fn long_path() {
        let length = 1 << 20;
        let graph = samples::symmetric(length, &(1..length as u32).map(|to| (to - 1, to)).collect::<Vec<_>>());
        let begin = Instant::now();
        assert_eq!(with_threads(3, &graph), vec![1; length]);
        assert!(begin.elapsed() < Duration::from_secs(2));
    }

    /// A tree of which all but the root goes at level 1, from the leaves on: much is found at once.
    #[test]
    fn wide_tree() {
        let size = 1_u32 << 17;
        let graph =
            samples::symmetric(size as usize, &(1..size).map(|child| ((child - 1) / 2, child)).collect::<Vec<_>>());
        assert_eq!(with_threads(3, &graph), vec![1; size as usize]);
    }

    #[test]
    fn wrong_answers() {
        for (_, vertices, edges) in samples::shapes() {
            let graph = samples::symmetric(vertices, &edges);
            let right = coreness(&graph);
            for vertex in (0..vertices).step_by(7) {
                let mut wrong = right.clone();
                wrong[vertex] += 1;
                assert!(verify_coreness(&graph, &wrong).is_err());
                if right[vertex] > 0 {
                    wrong[vertex] -= 2;
                    assert!(verify_coreness(&graph, &wrong).is_err());
                }
            }
        }
        let cycle = samples::symmetric(9, &(0..9).map(|from| (from, (from + 1) % 9)).collect::<Vec<_>>());
        assert!(verify_coreness(&cycle, &[1; 9]).is_err());
        assert!(verify_coreness(&cycle, &[3; 9]).is_err());
        assert!(verify_coreness(&cycle, &[2; 8]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn multigraphs((vertices, edges) in samples::multigraph()) {
            check("multigraph", &samples::symmetric(vertices, &edges));
        }
    }
}
