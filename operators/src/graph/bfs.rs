//! Breadth-first search that looks from both sides.
//!
//! The search goes level by level: a vertex is at depth `d + 1` if it was not reached before and an edge comes to it from the
//! vertices at depth `d`, the frontier. A step can be made in two directions:
//!
//! ```text
//!   top-down     each vertex of the frontier looks along its edges out        costs the edges that leave the frontier
//!   bottom-up    each unreached vertex looks along its edges in, until one    costs up to the edges that come to unreached
//!                comes from the frontier                                      vertices, in practice a fraction
//! ```
//!
//! While the frontier is small, top-down reads little. In graphs with short paths there comes a level that holds much of the
//! graph; then most edges lead to what is reached already, and bottom-up leaves most of them unread. Each step takes the
//! cheaper direction.
//!
//! The frontier is a list of vertices top-down, a bitmap bottom-up. A second bitmap holds what is reached, so that both
//! directions ask most of their questions of `n / 8` bytes, which fit a cache, and not of the labels. Beside the answer a
//! search holds these two bitmaps, a third for the level that it finds, and the lists of two levels: about `8 n` bytes at
//! worst.
//!
//! ```text
//!                   word 0             word 1                    bottom-up: a task owns some words of `reached` and `next`,
//! and the
//!   reached    1 1 0 1 0 0 ...     0 1 0 0 ...                   64 labels behind each; it reads `front` anywhere
//!   labels     3 3 - 7 - - ...     - 1 - - ...                   top-down: a task owns some edges, and writes labels anywhere
//! ```
//!
//! A label is the parent or the depth. The parent is the smallest vertex of the level before that has an edge here, whatever
//! the threads do: bottom-up the edges come in order of their sources, so the first that counts has the smallest; top-down
//! labels become the minimum of what is written, and whoever finds none puts the vertex on its list. `reached` changes only
//! between steps: until then all threads of a level may still lower a label.
//!
//! Work is at most `O(n + m)` for top-down steps alone. Bottom-up steps are taken only where they look cheaper than those.
//!
//! S. Beamer, K. Asanović, D. Patterson: Direction-Optimizing Breadth-First Search, SC'12 (2012).

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use rayon::prelude::*;

use super::{Csr, Graph, NONE};

/// An edge that leaves the frontier is taken to cost as much as this many that come to unreached vertices, most of which are
/// not read. About what Beamer's paper found best.
const ALPHA: usize = 15;
/// Fewer edges than these are not worth waking a thread.
const SERIAL_EDGES: usize = 4096;
/// Rows are read in parts of at most this many edges, where few vertices may have most of the frontier's.
const PART: usize = 1024;
/// Of how many vertices degrees are summed before the rest is estimated, and how many may be cut into parts.
const SAMPLE: usize = 4096;
/// How many rows the memory is asked for at once, where they lie here and there.
const AHEAD: usize = 16;
/// How many of 64 vertices must be unreached for their first edges to be looked at together.
const DENSE: u32 = 16;
/// Words of a bitmap that a task takes.
const WORDS: usize = 16;

/// The parent of each vertex in a breadth-first search: the smallest vertex that is one step nearer to the source and has an
/// edge here. [`NONE`] where the search does not come; the source is its own parent.
///
/// ```
/// use bireme_operators::graph::{Csr, Graph, NONE, bfs};
///
/// // 0 — 1 — 2   3
/// let graph = Graph::symmetric(Csr::from_parts(vec![0, 1, 3, 4, 4], vec![1, 0, 2, 1]));
/// assert_eq!(bfs(&graph, 2), [1, 2, 2, NONE]);
/// ```
pub fn bfs(graph: &Graph, source: u32) -> Vec<u32> {
    search(graph, source, |before, _| before)
}

/// How many edges each vertex is away from the source; [`NONE`] where no path leads.
pub fn bfs_depths(graph: &Graph, source: u32) -> Vec<u32> {
    search(graph, source, |_, depth| depth)
}

/// Labels each vertex that can be reached with the least `label(vertex of the level before, depth)`. A source that is no vertex
/// reaches nothing.
fn search(graph: &Graph, source: u32, label: impl Fn(u32, u32) -> u32 + Copy + Sync) -> Vec<u32> {
    if source as usize >= graph.vertices() {
        return vec![NONE; graph.vertices()];
    }
    let mut search = Search::new(graph, source, label(source, 0));
    let mut frontier = Frontier::List(vec![source]);
    let (mut edges, mut unreached) = (graph.out().degree(source), graph.edges());
    for depth in 1.. {
        unreached = unreached.saturating_sub(edges);
        frontier = if edges > unreached / ALPHA + search.reached.len() {
            let front = match frontier {
                Frontier::List(list) => search.reach_as_bits(&list),
                Frontier::Bits(bits) => bits,
            };
            let (next, counts) = search.bottom_up(&front, edges, |before| label(before, depth));
            if counts.found == 0 || counts.unreached_in == 0 {
                break;
            }
            (edges, unreached) = (counts.found_out, counts.unreached_in + counts.found_out);
            Frontier::Bits(next)
        } else {
            let list = match frontier {
                Frontier::List(list) => search.reach(list),
                Frontier::Bits(bits) => list_of(&bits),
            };
            let next = search.top_down(&list, edges, |before| label(before, depth));
            if next.is_empty() {
                break;
            }
            edges = edges_of(graph.out(), &next);
            Frontier::List(next)
        };
    }
    search.labels.into_iter().map(AtomicU32::into_inner).collect()
}

/// The vertices of one level: a list of those that were found top-down and are not in `reached` yet, or a bitmap of those that
/// were found bottom-up and are.
enum Frontier {
    List(Vec<u32>),
    Bits(Vec<u64>),
}

struct Search<'g> {
    graph: &'g Graph,
    labels: Vec<AtomicU32>,
    /// A bit for each vertex that needs no look any more: those of earlier levels, those to which no edge comes (known after
    /// the first step bottom-up), and those past the last vertex.
    reached: Vec<AtomicU64>,
}

/// What a step bottom-up found.
#[derive(Clone, Copy, Default)]
struct Counts {
    /// Vertices of the next frontier.
    found: usize,
    /// Edges that leave those.
    found_out: usize,
    /// Edges that come to what is still unreached.
    unreached_in: usize,
}

impl<'g> Search<'g> {
    fn new(graph: &'g Graph, source: u32, label: u32) -> Self {
        let vertices = graph.vertices();
        let labels: Vec<_> = (0..vertices).into_par_iter().map(|_| AtomicU32::new(NONE)).collect();
        labels[source as usize].store(label, Relaxed);
        let mut reached: Vec<_> = (0..vertices.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        if let Some(last) = reached.last_mut().filter(|_| !vertices.is_multiple_of(64)) {
            *last.get_mut() = !0 << (vertices % 64);
        }
        Self { graph, labels, reached }
    }

    #[inline]
    fn is_reached(&self, vertex: u32) -> bool {
        self.reached[vertex as usize / 64].load(Relaxed) >> (vertex % 64) & 1 != 0
    }

    /// Puts a frontier among what is reached.
    fn reach(&self, list: Vec<u32>) -> Vec<u32> {
        let reach = |part: &[u32]| {
            for vertex in part {
                self.reached[*vertex as usize / 64].fetch_or(1 << (vertex % 64), Relaxed);
            }
        };
        if list.len() < SERIAL_EDGES {
            reach(&list);
        } else {
            list.par_chunks(SERIAL_EDGES / 4).for_each(reach);
        }
        list
    }

    /// Puts a frontier among what is reached, and gives it as a bitmap. A long list is not read: its vertices are those that
    /// have a label and are not reached, and reading all labels in order is faster than setting bits here and there.
    fn reach_as_bits(&mut self, list: &[u32]) -> Vec<u64> {
        let mut bits = vec![0; self.reached.len()];
        if list.len() < self.labels.len() / 32 {
            for vertex in list {
                bits[*vertex as usize / 64] |= 1 << (vertex % 64);
                *self.reached[*vertex as usize / 64].get_mut() |= 1 << (vertex % 64);
            }
            return bits;
        }
        let parts = self.labels.par_chunks_mut(64 * WORDS).zip(self.reached.par_chunks_mut(WORDS));
        parts.zip(bits.par_chunks_mut(WORDS)).for_each(|((labels, reached), bits)| {
            for ((labels, reached), word) in labels.chunks_mut(64).zip(reached).zip(bits) {
                let labelled =
                    labels.iter_mut().rev().fold(0, |word, label| word << 1 | u64::from(*label.get_mut() != NONE));
                *word = labelled & !*reached.get_mut();
                *reached.get_mut() |= labelled;
            }
        });
        bits
    }

    /// Labels what edges of a frontier lead to, and lists those that had no label. `edges` leave the frontier, more or less.
    fn top_down(&self, frontier: &[u32], edges: usize, label: impl Fn(u32) -> u32 + Copy + Sync) -> Vec<u32> {
        let row = |vertex| self.graph.out().neighbours(vertex);
        if edges < SERIAL_EDGES {
            let mut found = Vec::new();
            for &vertex in frontier {
                self.expand(row(vertex), label(vertex), &mut found);
            }
            return found;
        }
        let lists: Vec<Vec<u32>> = if frontier.len() <= SAMPLE {
            let parts = frontier.iter().flat_map(|&vertex| row(vertex).chunks(PART).map(move |part| (vertex, part)));
            let parts: Vec<_> = parts.collect();
            let expand = |mut found, &(vertex, part): &(u32, _)| {
                self.expand(part, label(vertex), &mut found);
                found
            };
            parts.par_iter().with_min_len(16).fold(Vec::new, expand).collect()
        } else {
            let expand = |mut found, part: &[u32]| {
                part.chunks(AHEAD).for_each(|vertices| self.expand_rows(vertices, label, &mut found));
                found
            };
            frontier.par_chunks(64).fold(Vec::new, expand).collect()
        };
        lists.concat()
    }

    /// [`Self::expand`] for several vertices, whose rows may lie anywhere: asks the memory for all of them before it reads the
    /// first.
    #[inline]
    fn expand_rows(&self, vertices: &[u32], label: impl Fn(u32) -> u32, found: &mut Vec<u32>) {
        let mut rows = [&[][..]; AHEAD];
        for (row, &vertex) in rows.iter_mut().zip(vertices) {
            *row = self.graph.out().neighbours(vertex);
        }
        let touched = rows.iter().flat_map(|row| row.iter().step_by(16).take(4)).fold(0, |all, vertex| all ^ vertex);
        black_box(touched); // without a use, the reads would be left out
        for (row, &vertex) in rows.iter().zip(vertices) {
            self.expand(row, label(vertex), found);
        }
    }

    /// Lowers the labels of unreached vertices to `label`, and lists those that had none.
    ///
    /// In two passes: the first only reads labels, so that the processor waits for many of them at once; the second, in which
    /// each exchange waits for the one before, finds them in the cache.
    #[inline]
    fn expand(&self, vertices: &[u32], label: u32, found: &mut Vec<u32>) {
        let mut lower = [0; 64];
        for block in vertices.chunks(lower.len()) {
            let mut count = 0;
            for &vertex in block {
                lower[count] = vertex;
                if !self.is_reached(vertex) {
                    count += usize::from(self.labels[vertex as usize].load(Relaxed) > label);
                }
            }
            for &vertex in &lower[..count] {
                if self.labels[vertex as usize].fetch_min(label, Relaxed) == NONE {
                    found.push(vertex);
                }
            }
        }
    }

    /// Labels each unreached vertex to which an edge of the frontier comes, and gives the bitmap of those. `edges` leave the
    /// frontier, more or less.
    fn bottom_up(
        &mut self,
        front: &[u64],
        edges: usize,
        label: impl Fn(u32) -> u32 + Copy + Sync,
    ) -> (Vec<u64>, Counts) {
        let graph = self.graph;
        let dense = if edges > graph.edges() / 4 { DENSE } else { u32::MAX };
        let mut next = vec![0; front.len()];
        let parts = self.labels.par_chunks_mut(64 * WORDS).zip(self.reached.par_chunks_mut(WORDS));
        let parts = parts.zip(next.par_chunks_mut(WORDS)).enumerate();
        let counts = parts.map(|(part, ((labels, reached), next))| {
            let mut counts = Counts::default();
            let words = labels.chunks_mut(64).zip(reached).zip(next);
            for (word, ((labels, reached), next)) in words.enumerate() {
                let first = (part * WORDS + word) * 64;
                let reached = reached.get_mut();
                *next = look_back(graph, first as u32, front, dense, reached, &mut counts, |bit, before| {
                    *labels[bit as usize].get_mut() = label(before);
                });
            }
            counts
        });
        let counts = counts.reduce(Counts::default, Counts::plus);
        (next, counts)
    }
}

/// For the unreached ones of 64 vertices, says `found(which, smallest vertex of the frontier that has an edge there)`, and
/// gives them.
///
/// Where at least `dense` of them are unreached, the first edge of each is looked at before any other, without branches: that
/// decides for many if the frontier has a good part of all edges, and the memory is asked for all rows at once. It took a
/// quarter off the largest step of a Kronecker graph of 2^20 vertices, and added a quarter to that of a uniform one of 2^18,
/// where 14 of 100 first edges decide.
#[inline]
fn look_back(
    graph: &Graph,
    first: u32,
    front: &[u64],
    dense: u32,
    reached: &mut u64,
    counts: &mut Counts,
    mut found: impl FnMut(u32, u32),
) -> u64 {
    let (offsets, targets) = (graph.incoming().offsets(), graph.incoming().targets());
    let (mut next, mut seen) = (0, 0);
    if reached.count_zeros() >= dense {
        let mut empty = 0;
        for bit in ones(!*reached) {
            let (start, end) = (offsets[(first + bit) as usize], offsets[(first + bit) as usize + 1]);
            let before = targets.get(start).map_or(0, |before| *before);
            empty |= u64::from(start == end) << bit;
            next |= has(front, before) << bit;
        }
        (next, seen) = (next & !empty, 1);
        *reached |= empty;
        for bit in ones(next) {
            found(bit, targets[offsets[(first + bit) as usize]]);
        }
    }
    for bit in ones(!*reached & !next) {
        let row = graph.incoming().neighbours(first + bit);
        if row.is_empty() {
            *reached |= 1 << bit;
        } else if let Some(&before) = row[seen..].iter().find(|before| has(front, **before) != 0) {
            found(bit, before);
            next |= 1 << bit;
        } else {
            counts.unreached_in += row.len();
        }
    }
    *reached |= next;
    counts.found += next.count_ones() as usize;
    counts.found_out += ones(next).map(|bit| graph.out().degree(first + bit)).sum::<usize>();
    next
}

/// Whether a bitmap has a vertex: 1 or 0.
#[inline]
fn has(bits: &[u64], vertex: u32) -> u64 {
    bits[vertex as usize / 64] >> (vertex % 64) & 1
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            found: self.found + other.found,
            found_out: self.found_out + other.found_out,
            unreached_in: self.unreached_in + other.unreached_in,
        }
    }
}

/// Where a word has ones, ascending.
#[inline]
pub(super) fn ones(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (bit < 64).then_some(bit)
    })
}

/// The vertices of a bitmap, ascending.
fn list_of(bits: &[u64]) -> Vec<u32> {
    let parts = bits.par_chunks(64).enumerate().flat_map_iter(|(part, words)| {
        let words = words.iter().enumerate().filter(|(_, word)| **word != 0);
        words.flat_map(move |(at, &word)| ones(word).map(move |bit| ((part * 64 + at) * 64) as u32 + bit))
    });
    parts.collect()
}

/// How many edges leave these vertices: of many, an estimate from some of them. It only decides how the next step is made.
fn edges_of(out: &Csr, vertices: &[u32]) -> usize {
    let step = vertices.len().div_ceil(SAMPLE).max(1);
    vertices.iter().step_by(step).map(|&vertex| out.degree(vertex)).sum::<usize>() * step
}

/// Says what is wrong with parents of a search from `source`: one must be `source` itself at the source, else [`NONE`] where no
/// path leads, else the smallest vertex that is one step nearer and has an edge here. Takes `O(n + m)`, on one thread.
pub fn verify_bfs(graph: &Graph, source: u32, parents: &[u32]) -> Result<(), String> {
    if parents.len() != graph.vertices() {
        return Err(format!("{} parents for {} vertices", parents.len(), graph.vertices()));
    }
    let depths = slow_depths(graph, source);
    for (vertex, &parent) in (0..).zip(parents) {
        let depth = depths[vertex as usize];
        let nearer = |before: &&u32| depths[**before as usize].checked_add(1) == Some(depth);
        let right = match depth {
            NONE => NONE,
            0 => source,
            _ => *graph.incoming().neighbours(vertex).iter().filter(nearer).min().unwrap_or(&NONE),
        };
        if parent != right {
            return Err(format!("the parent of {vertex}, at depth {depth}, is {parent}, not {right}"));
        }
    }
    Ok(())
}

/// Depths by a queue.
fn slow_depths(graph: &Graph, source: u32) -> Vec<u32> {
    let mut depths = vec![NONE; graph.vertices()];
    let mut queue = Vec::new();
    if let Some(depth) = depths.get_mut(source as usize) {
        *depth = 0;
        queue.push(source);
    }
    let mut at = 0;
    while let Some(&vertex) = queue.get(at) {
        at += 1;
        for &next in graph.out().neighbours(vertex) {
            if depths[next as usize] == NONE {
                depths[next as usize] = depths[vertex as usize] + 1;
                queue.push(next);
            }
        }
    }
    depths
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
#[path = "bfs_tests.rs"]
mod tests;
