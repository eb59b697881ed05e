//! Betweenness: how many shortest paths lead through each vertex.
//!
//! The score of `v` is the sum, over the given sources `s` and all targets `t`, of the share of the shortest paths from `s` to
//! `t` that have `v` inside. Brandes gets all targets of a source at once. Forward, level by level, `σ(v)` counts the shortest
//! paths from the source to `v`; backward, the dependency `δ(u)` sums the shares of all targets behind `u`:
//!
//! ```text
//!   σ(v) = Σ σ(u)  over edges u → v from the level before                     ┌─ b ─┐
//!                                                                             s     d ── e       σ  s 1   b 1   c 1   d 2   e 2
//!   δ(u) = σ(u) · Σ (1 + δ(v)) / σ(v)  over edges u → v to the next level     └─ c ─┘            δ        b 1   c 1   d 1   e 0
//! ```
//!
//! Both are the same step: sums, over edges between two neighbouring levels, of one number of the vertex at the other end. So
//! one array serves: it holds `σ(v)` on the way out, and `(1 + δ(v)) / σ(v)` once the way back has passed `v`. A step is made
//! in one of two ways, whichever reads fewer edges:
//!
//! ```text
//!   pull   each vertex that may receive reads its whole row, asks a bitmap (n / 8 bytes, which fit a cache) which of its
//!          neighbours give, and sums these
//!   push   each vertex that gives writes (receiver, giver) for its row, sorted roughly by receiver; then for each range of
//!          receivers one task sums what was written for it, in the order of the givers
//!
//!          givers    1, 4        7, 9                    threads write lists, one for each range and part of the givers
//!          range 0   (3,1) (0,4) | (3,7)           →     sums of 0..4,   1 before 4 before 7
//!          range 1   (5,1)       | (6,7) (5,9)     →     sums of 4..8
//! ```
//!
//! Either way a vertex sums its neighbours in ascending order, each time from zero: scores are the same to the last bit
//! whatever the ways and the number of threads. An edge that is there twice makes two paths.
//!
//! Each source costs `O(n + m)` work: each way, a step that pushes or pulls reads at most a few times the edges of its level,
//! plus `n / 64` words where threads take part. What is kept between sources is cleared by the list of what was reached, so
//! that a source that reaches little costs little. Memory is 20.25 bytes a vertex, and 8 to 16 for each edge of a step that
//! pushes: at most a sixth of all edges.
//!
//! Counts are `f64`: above `2^53` they round, and where there are more than `10^308` paths, as between corners of a mesh of 600
//! × 600, they overflow and scores behind are not numbers.
//!
//! U. Brandes: A Faster Algorithm for Betweenness Centrality, Journal of Mathematical Sociology 25 (2001). Looking from both
//! sides comes from S. Beamer, K. Asanović, D. Patterson: Direction-Optimizing Breadth-First Search, SC'12 (2012).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rayon::prelude::*;

use super::bfs::ones;
use super::{Csr, Graph, NONE};

/// An edge pushed is taken to cost as much as this many that are only read and looked up in a bitmap.
const PUSH: usize = 6;
/// Fewer edges than these are not worth waking a thread.
const SERIAL_EDGES: usize = 4096;
/// Vertices that a task sums for: those of 16 words of a bitmap.
const PART: usize = 1024;

/// Sums, over the sources, how much of the shortest paths from there leads through each vertex, its ends excluded: the
/// betweenness where all vertices are sources, else a sample of it. Not normalised; edges are as they are, so in a symmetric
/// graph each pair of vertices counts from both ends. Sources that are no vertices are left out.
///
/// ```
/// use bireme_operators::graph::{Csr, Graph, betweenness};
///
/// // 0 — 1 — 2 — 3
/// let graph = Graph::symmetric(Csr::from_parts(vec![0, 1, 3, 5, 6], vec![1, 0, 2, 1, 3, 2]));
/// assert_eq!(betweenness(&graph, &[0]), [0.0, 2.0, 1.0, 0.0]);
/// assert_eq!(betweenness(&graph, &[0, 1, 2, 3]), [0.0, 4.0, 4.0, 0.0]);
/// ```
pub fn betweenness(graph: &Graph, sources: &[u32]) -> Vec<f64> {
    let mut sweep = Sweep::new(graph);
    for &source in sources.iter().filter(|source| (**source as usize) < graph.vertices()) {
        sweep.forward(source);
        sweep.backward();
        sweep.clear();
    }
    sweep.scores.into_iter().map(|score| f64::from_bits(score.into_inner())).collect()
}

/// An `f64`, as its bits.
type Cell = AtomicU64;

struct Sweep<'g> {
    graph: &'g Graph,
    scores: Vec<Cell>,
    /// Zero, then σ once reached, then (1 + δ) / σ once passed on the way back.
    values: Vec<Cell>,
    /// A bit for each vertex that was reached, or to which no edge comes.
    reached: Vec<AtomicU64>,
    /// A bit for each vertex of one level; empty between steps.
    level: Vec<AtomicU64>,
    /// The vertices that were reached: level by level, ascending within each.
    order: Vec<u32>,
    /// Where the levels begin in `order`, and where the last one ends; and how many edges leave each.
    starts: Vec<usize>,
    edges: Vec<usize>,
}

impl<'g> Sweep<'g> {
    fn new(graph: &'g Graph) -> Self {
        let zeros = |count| (0..count).into_par_iter().map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        let (vertices, words) = (graph.vertices(), graph.vertices().div_ceil(64));
        Self {
            graph,
            scores: zeros(vertices),
            values: zeros(vertices),
            reached: zeros(words),
            level: zeros(words),
            order: Vec::with_capacity(vertices),
            starts: Vec::new(),
            edges: Vec::new(),
        }
    }

    #[inline]
    fn value(&self, vertex: u32) -> f64 {
        f64::from_bits(self.values[vertex as usize].load(Relaxed))
    }

    #[inline]
    fn set_value(&self, vertex: u32, value: f64) {
        self.values[vertex as usize].store(value.to_bits(), Relaxed);
    }

    /// Counts paths from the source, level by level.
    fn forward(&mut self, source: u32) {
        self.set_value(source, 1.0);
        let mut next = vec![source];
        let mut unreached = self.graph.edges();
        self.starts.push(0);
        while !next.is_empty() {
            let edges = edges_of(self.graph.out(), &next);
            unreached = unreached.saturating_sub(edges);
            set_all(&self.reached, &next);
            self.order.extend_from_slice(&next);
            self.starts.push(self.order.len());
            self.edges.push(edges);
            next = if edges < SERIAL_EDGES {
                self.reach_serially(&next)
            } else if edges.saturating_mul(PUSH) < unreached {
                self.reach_by_push(&next)
            } else {
                self.reach_by_pull(&next)
            };
        }
    }

    /// The level behind a frontier with few edges, with σ.
    fn reach_serially(&self, frontier: &[u32]) -> Vec<u32> {
        let mut found = Vec::new();
        for &from in frontier {
            for &vertex in self.graph.out().neighbours(from) {
                if has(&self.reached, vertex) == 0 {
                    let before = self.value(vertex);
                    if before == 0.0 {
                        found.push(vertex);
                    }
                    self.set_value(vertex, before + self.value(from));
                }
            }
        }
        found.sort_unstable();
        found
    }

    /// The level behind a frontier that is small beside what is unreached, with σ.
    fn reach_by_push(&self, frontier: &[u32]) -> Vec<u32> {
        let found = self.push(
            self.graph.out(),
            frontier,
            |vertex| has(&self.reached, vertex) == 0,
            |first, sums| {
                let mut found = Vec::new();
                for (vertex, &sum) in (first..).zip(sums).filter(|(_, sum)| **sum != 0.0) {
                    self.set_value(vertex, sum);
                    found.push(vertex);
                }
                found
            },
        );
        found.concat()
    }

    /// The level behind a large frontier, with σ.
    fn reach_by_pull(&self, frontier: &[u32]) -> Vec<u32> {
        set_all(&self.level, frontier);
        let vertices = self.values.len() as u32;
        let found: Vec<_> = self
            .reached
            .par_chunks(PART / 64)
            .enumerate()
            .map(|(part, words)| {
                let mut found = Vec::new();
                for (word, reached) in words.iter().enumerate() {
                    let first = (part * PART + word * 64) as u32;
                    let mut empty = 0;
                    for vertex in
                        ones(!reached.load(Relaxed)).map(|bit| first + bit).take_while(|vertex| *vertex < vertices)
                    {
                        let row = self.graph.incoming().neighbours(vertex);
                        let sum = self.sum(row);
                        if sum != 0.0 {
                            self.set_value(vertex, sum);
                            found.push(vertex);
                        }
                        empty |= u64::from(row.is_empty()) << (vertex % 64);
                    }
                    reached.fetch_or(empty, Relaxed);
                }
                found
            })
            .collect();
        clear_all(&self.level, frontier);
        found.concat()
    }

    /// Sums dependencies, from the last level but one to the first after the source.
    fn backward(&self) {
        let levels = self.edges.len();
        let level = |depth: usize| &self.order[self.starts[depth]..self.starts[depth + 1]];
        if levels > 1 {
            each(level(levels - 1), |vertex| self.set_value(vertex, 1.0 / self.value(vertex)));
        }
        for depth in (1..levels.saturating_sub(1)).rev() {
            let (here, behind) = (level(depth), level(depth + 1));
            let edges = self.edges[depth];
            if edges >= SERIAL_EDGES && edges_of(self.graph.incoming(), behind).saturating_mul(PUSH) < edges {
                self.depend_by_push(here, behind);
            } else {
                set_all(&self.level, behind);
                let depend = |vertex| self.depend(vertex, self.sum(self.graph.out().neighbours(vertex)));
                if edges < SERIAL_EDGES {
                    here.iter().copied().for_each(depend);
                } else {
                    here.par_chunks(64).for_each(|part| part.iter().copied().for_each(depend));
                }
                clear_all(&self.level, behind);
            }
        }
    }

    /// Dependencies of one level, where few edges come to the level behind.
    fn depend_by_push(&self, here: &[u32], behind: &[u32]) {
        set_all(&self.level, here);
        self.push(
            self.graph.incoming(),
            behind,
            |vertex| has(&self.level, vertex) != 0,
            |first, sums| {
                let from = here.partition_point(|vertex| *vertex < first);
                for &vertex in here[from..].iter().take_while(|vertex| ((**vertex - first) as usize) < sums.len()) {
                    self.depend(vertex, sums[(vertex - first) as usize]);
                }
            },
        );
        clear_all(&self.level, here);
    }

    /// Adds the dependency to the score of a vertex, and makes what those before it sum.
    #[inline]
    fn depend(&self, vertex: u32, sum: f64) {
        let paths = self.value(vertex);
        let dependency = paths * sum;
        self.set_value(vertex, (1.0 + dependency) / paths);
        let score = &self.scores[vertex as usize];
        score.store((f64::from_bits(score.load(Relaxed)) + dependency).to_bits(), Relaxed);
    }

    /// The sum of the values of those neighbours that are in `level`, in order.
    ///
    /// First takes down which they are, without branches, as no branch could be foreseen; then the sum waits for many values
    /// at once.
    #[inline]
    fn sum(&self, row: &[u32]) -> f64 {
        let mut sum = 0.0;
        let mut inside = [0; 64];
        for block in row.chunks(inside.len()) {
            let mut count = 0;
            for &vertex in block {
                inside[count] = vertex;
                count += has(&self.level, vertex) as usize;
            }
            for &vertex in &inside[..count] {
                sum += self.value(vertex);
            }
        }
        sum
    }

    /// For each range of vertices, in order, `finish(first vertex, sums)`: the sums of the values of the givers from which an
    /// edge comes, for those vertices that are wanted.
    fn push<T: Send>(
        &self,
        adjacency: &Csr,
        givers: &[u32],
        wanted: impl Fn(u32) -> bool + Sync,
        finish: impl Fn(u32, &[f64]) -> T + Sync,
    ) -> Vec<T> {
        let vertices = self.values.len();
        let shift = (vertices / 256).max(PART).next_power_of_two().trailing_zeros();
        let ranges = vertices.div_ceil(1 << shift);
        let parts = 4 * rayon::current_num_threads();
        let written: Vec<_> = givers
            .par_chunks(givers.len().div_ceil(parts))
            .map(|givers| {
                let mut lists = vec![Vec::new(); ranges];
                for &giver in givers {
                    for &vertex in adjacency.neighbours(giver).iter().filter(|vertex| wanted(**vertex)) {
                        lists[(vertex >> shift) as usize].push((vertex, giver));
                    }
                }
                lists
            })
            .collect();
        (0..ranges)
            .into_par_iter()
            .map(|range| {
                let first = range << shift;
                let mut sums = vec![0.0; (vertices - first).min(1 << shift)];
                for &(vertex, giver) in written.iter().flat_map(|lists| &lists[range]) {
                    sums[vertex as usize - first] += self.value(giver);
                }
                finish(first as u32, &sums)
            })
            .collect()
    }

    /// Forgets the source.
    fn clear(&mut self) {
        each(&self.order, |vertex| self.set_value(vertex, 0.0));
        clear_all(&self.reached, &self.order);
        self.order.clear();
        self.starts.clear();
        self.edges.clear();
    }
}

/// Does something for each vertex, in parallel if there are many.
fn each(vertices: &[u32], run: impl Fn(u32) + Sync) {
    if vertices.len() < SERIAL_EDGES {
        vertices.iter().copied().for_each(run);
    } else {
        vertices.par_chunks(PART).for_each(|part| part.iter().copied().for_each(&run));
    }
}

/// Sets the bits of ascending vertices: those of one word at once.
fn set_all(bits: &[AtomicU64], vertices: &[u32]) {
    let set = |part: &[u32]| {
        for same in part.chunk_by(|one, other| one / 64 == other / 64) {
            let word = same.iter().fold(0, |word, vertex| word | 1 << (vertex % 64));
            bits[same[0] as usize / 64].fetch_or(word, Relaxed);
        }
    };
    if vertices.len() < SERIAL_EDGES {
        set(vertices);
    } else {
        vertices.par_chunks(PART).for_each(set);
    }
}

/// Clears all words that have bits of these vertices.
fn clear_all(bits: &[AtomicU64], vertices: &[u32]) {
    each(vertices, |vertex| bits[vertex as usize / 64].store(0, Relaxed));
}

/// Whether a bitmap has a vertex: 1 or 0.
#[inline]
fn has(bits: &[AtomicU64], vertex: u32) -> u64 {
    bits[vertex as usize / 64].load(Relaxed) >> (vertex % 64) & 1
}

/// How many edges of the adjacency belong to these vertices.
fn edges_of(adjacency: &Csr, vertices: &[u32]) -> usize {
    let edges = |part: &[u32]| part.iter().map(|&vertex| adjacency.degree(vertex)).sum::<usize>();
    if vertices.len() < SERIAL_EDGES { edges(vertices) } else { vertices.par_chunks(PART).map(edges).sum() }
}

/// Says whether scores are those of the sources, to one part in a million: counts paths by a queue, and sums dependencies in
/// the order of Brandes's paper, on one thread. Takes `O(n + m)` for each source.
pub fn verify_betweenness(graph: &Graph, sources: &[u32], scores: &[f64]) -> Result<(), String> {
    if scores.len() != graph.vertices() {
        return Err(format!("{} scores for {} vertices", scores.len(), graph.vertices()));
    }
    let mut right = vec![0.0; graph.vertices()];
    for &source in sources.iter().filter(|source| (**source as usize) < graph.vertices()) {
        add_dependencies(graph, source, &mut right);
    }
    for (vertex, (score, right)) in scores.iter().zip(right).enumerate() {
        let close = (score - right).abs() <= 1e-6 * right.abs().max(1e-6);
        if !close {
            return Err(format!("the score of {vertex} is {score}, not {right}"));
        }
    }
    Ok(())
}

/// Brandes's algorithm as he wrote it down.
fn add_dependencies(graph: &Graph, source: u32, scores: &mut [f64]) {
    let mut depths = vec![NONE; graph.vertices()];
    let mut paths = vec![0.0; graph.vertices()];
    (depths[source as usize], paths[source as usize]) = (0, 1.0);
    let mut queue = vec![source];
    let mut at = 0;
    while let Some(&from) = queue.get(at) {
        at += 1;
        for &vertex in graph.out().neighbours(from) {
            if depths[vertex as usize] == NONE {
                depths[vertex as usize] = depths[from as usize] + 1;
                queue.push(vertex);
            }
            if depths[vertex as usize] == depths[from as usize] + 1 {
                paths[vertex as usize] += paths[from as usize];
            }
        }
    }
    let mut dependencies = vec![0.0; graph.vertices()];
    for &vertex in queue[1..].iter().rev() {
        scores[vertex as usize] += dependencies[vertex as usize];
        let share = (1.0 + dependencies[vertex as usize]) / paths[vertex as usize];
        for &before in graph.incoming().neighbours(vertex) {
            // A vertex that the source does not reach has the largest depth there is.
            if depths[before as usize] < depths[vertex as usize] {
                dependencies[before as usize] += paths[before as usize] * share;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
#[path = "betweenness_tests.rs"]
mod tests;
