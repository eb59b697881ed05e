//! Adjacency out of edges in memory.
//!
//! A row and a target side by side are one number, the key of an entry. Adjacency is the entries sorted by key, so building it
//! is a radix sort: one pass through memory on the high bits of the row, and the rest in cache.
//!
//! ```text
//!  edges      chunk 0       chunk 1                     each chunk is counted by the high bits of the row, and then knows where
//!             ┌───────┐     ┌───────┐                   in each bucket its entries go
//!               │   └──┐  ┌────┘ │
//!  buckets     0 0 0 1 1 1 1 2 2 2 2                    a bucket is sorted by the other bits of the key (least digit first),
//!              │     │       │                          duplicates dropped; it has so few rows that all this happens in cache
//!  rows       ───────┴───────┴──────                    put one after the other
//! ```
//!
//! With m entries, work is O(m + vertices): an entry is moved once to its bucket, and two to four times in cache; if duplicates
//! leave gaps, what follows is moved up. While a bucket's keys fit 32 bits (up to about four million vertices), buckets become
//! rows where they lie, and memory holds nothing beside the edges and the adjacency; else keys of 8 bytes an entry as well. That
//! counts where memory is fresh: the system clears it first, which took longer than all the rest. A bucket far larger than the
//! others, that of a vertex that most edges leave, is copied once and sorted by all threads together.
//!
//! Chunks and buckets are shared out to threads; entries of one key are told apart by their weights only and sorted by them. So
//! the result depends neither on the number of threads nor on the order of the edges.
//!
//! Partitioning before sorting in cache: O. Polychroniou, K. A. Ross: A Comprehensive Study of Main-Memory Partitioning and its
//! Application to Large-Scale Comparison- and Radix-Sort, SIGMOD 2014.

use std::cmp::Ordering;
use std::ops::Range;

use bireme_engine::error::{Error, Result};
use rayon::prelude::*;

use self::bucket::{Buffers, Entry, Key, Rows};
use super::{Csr, Graph, Weighted};
use crate::pages;

mod bucket;

// Tests have small numbers, so that small graphs take every way.

/// So many edges are counted and scattered at a time,
const CHUNK: usize = if cfg!(test) { 1 << 10 } else { 1 << 16 };

/// or more, if there would be more chunks than this: each has a place in each bucket.
const MOST_CHUNKS: usize = 1 << 8;

/// A bucket is to have so many entries, which two buffers in the second-level cache hold.
const BUCKET: usize = if cfg!(test) { 1 << 12 } else { 1 << 15 };

/// More buckets than this are more cache lines than a thread can write to side by side.
const MOST_BUCKETS: usize = 1 << 11;

/// What edges carry: nothing, or a number. Numbers are compared as their type has it, floats by `total_cmp`.
pub trait Weight: Copy + Default + Send + Sync {
    /// A total order; of weights that are equal in it, it is all the same which one is kept.
    fn order(&self, other: &Self) -> Ordering;
}

macro_rules! weights {
    ($($number:ty: $order:path),*) => {
        $(impl Weight for $number {
            #[inline]
            fn order(&self, other: &Self) -> Ordering {
                $order(self, other)
            }
        })*
    };
}

weights!((): Ord::cmp, u8: Ord::cmp, i32: Ord::cmp, u32: Ord::cmp, i64: Ord::cmp, u64: Ord::cmp, f32: f32::total_cmp, f64: f64::total_cmp);

/// As many nothings as anyone asks for: the weights of edges without weights.
static NOTHINGS: [(); usize::MAX] = [(); usize::MAX];

/// Edges as columns: edge `i` goes from `from[i]` to `to[i]`.
#[derive(Clone, Copy, Debug)]
pub struct Edges<'a, W = ()> {
    from: &'a [u32],
    to: &'a [u32],
    weights: &'a [W],
}

impl<'a> Edges<'a> {
    /// Edges without weights. The columns must be equally long, or building fails.
    pub fn new(from: &'a [u32], to: &'a [u32]) -> Self {
        Self { from, to, weights: &NOTHINGS[..from.len()] }
    }
}

impl<'a, W: Weight> Edges<'a, W> {
    /// Edges with a weight each. The columns must be equally long, or building fails.
    pub fn weighted(from: &'a [u32], to: &'a [u32], weights: &'a [W]) -> Self {
        Self { from, to, weights }
    }

    fn part(&self, range: Range<usize>) -> Self {
        Self { from: &self.from[range.clone()], to: &self.to[range.clone()], weights: &self.weights[range] }
    }

    fn iter(&self) -> impl Iterator<Item = (u32, u32, W)> {
        self.from.iter().zip(self.to).zip(self.weights).map(|((&from, &to), &weight)| (from, to, weight))
    }
}

/// What becomes of several edges from one vertex to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duplicates {
    /// All stay, by ascending weight.
    #[default]
    Keep,
    /// The one of the smallest weight stays.
    DropLater,
}

/// How edges become adjacency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildOptions {
    /// What becomes of several edges from one vertex to another.
    pub duplicates: Duplicates,
    /// Whether edges from a vertex to itself stay.
    pub loops: bool,
}

impl Default for BuildOptions {
    /// Every edge stays.
    fn default() -> Self {
        Self { duplicates: Duplicates::Keep, loops: true }
    }
}

impl BuildOptions {
    /// What the GAP benchmark makes of edges: neither duplicates nor loops.
    pub fn simple() -> Self {
        Self { duplicates: Duplicates::DropLater, loops: false }
    }
}

/// In which row an edge stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// In that of its source, as its target.
    Source,
    /// In that of its target, as its source.
    Target,
    /// In both; a loop once.
    Both,
}

/// Edges by source.
///
/// ```
/// use bireme_operators::graph::{BuildOptions, Edges, csr};
///
/// let adjacency = csr(3, Edges::new(&[0, 2, 0], &[2, 0, 1]), BuildOptions::default())?;
/// assert_eq!((adjacency.neighbours(0), adjacency.neighbours(1), adjacency.neighbours(2)), (&[1, 2][..], &[][..], &[0][..]));
/// # Ok::<(), bireme_engine::Error>(())
/// ```
///
/// # Errors
/// A vertex is not below `vertices`; there are 2³² vertices or more; memory ran out.
pub fn csr(vertices: usize, edges: Edges<'_>, options: BuildOptions) -> Result<Csr> {
    Ok(shard(vertices, 0..vertices, By::Source, edges, options)?.0)
}

/// Edges by target: the neighbours of a vertex are those that edges come from.
///
/// # Errors
/// As [`csr`].
pub fn csr_by_target(vertices: usize, edges: Edges<'_>, options: BuildOptions) -> Result<Csr> {
    Ok(shard(vertices, 0..vertices, By::Target, edges, options)?.0)
}

/// A graph of edges that go one way.
///
/// # Errors
/// As [`csr`].
pub fn directed(vertices: usize, edges: Edges<'_>, options: BuildOptions) -> Result<Graph> {
    Ok(Graph::directed(csr(vertices, edges, options)?, csr_by_target(vertices, edges, options)?))
}

/// A graph of edges that go both ways. A loop is its own way back, and stands once.
///
/// # Errors
/// As [`csr`].
pub fn symmetric(vertices: usize, edges: Edges<'_>, options: BuildOptions) -> Result<Graph> {
    Ok(Graph::symmetric(shard(vertices, 0..vertices, By::Both, edges, options)?.0))
}

/// A graph of edges that go one way and have weights.
///
/// # Errors
/// As [`csr`].
pub fn weighted_directed<W: Weight>(
    vertices: usize,
    edges: Edges<'_, W>,
    options: BuildOptions,
) -> Result<Weighted<W>> {
    let (out, weights) = shard(vertices, 0..vertices, By::Source, edges, options)?;
    let incoming = csr_by_target(vertices, Edges::new(edges.from, edges.to), options)?;
    Ok(Weighted::new(Graph::directed(out, incoming), weights))
}

/// A graph of edges that go both ways with the same weight.
///
/// # Errors
/// As [`csr`].
pub fn weighted_symmetric<W: Weight>(
    vertices: usize,
    edges: Edges<'_, W>,
    options: BuildOptions,
) -> Result<Weighted<W>> {
    let (adjacency, weights) = shard(vertices, 0..vertices, By::Both, edges, options)?;
    Ok(Weighted::new(Graph::symmetric(adjacency), weights))
}

/// Some rows of adjacency, and the weights in the order of the targets: what one rank of several holds.
///
/// Row `i` is that of vertex `rows.start + i`; targets are numbers of the whole graph, below `vertices`. Edges that stand in
/// none of these rows are left out.
///
/// # Errors
/// As [`csr`]; the rows are not among the vertices.
pub fn shard<W: Weight>(
    vertices: usize,
    rows: Range<usize>,
    by: By,
    edges: Edges<'_, W>,
    options: BuildOptions,
) -> Result<(Csr, Vec<W>)> {
    check_sizes(vertices, &rows, &edges)?;
    let layout = Layout::new(vertices, rows, by, edges.from.len(), options);
    if layout.key_bits() <= u32::BITS { build::<u32, W>(&layout, &edges) } else { build::<u64, W>(&layout, &edges) }
}

fn check_sizes<W>(vertices: usize, rows: &Range<usize>, edges: &Edges<'_, W>) -> Result<()> {
    let (from, to, weights) = (edges.from.len(), edges.to.len(), edges.weights.len());
    if from != to || from != weights {
        return Err(Error::user(format!(
            "{from} sources, {to} targets and {weights} weights of edges: an edge has one of each"
        )));
    }
    if u32::try_from(vertices).is_err() {
        return Err(Error::unsupported(format!("a graph of {vertices} vertices; their numbers have 32 bits")));
    }
    if rows.start > rows.end || rows.end > vertices {
        let Range { start, end } = rows;
        return Err(Error::user(format!("rows {start}..{end} of a graph that has {vertices} vertices")));
    }
    Ok(())
}

/// What is to be built, and how it is cut into buckets.
struct Layout {
    vertices: usize,
    first: u32,
    rows: usize,
    by: By,
    options: BuildOptions,
    /// Bits of a target.
    target_bits: u32,
    /// Bits of a row within its bucket: a bucket has `1 << row_bits` rows.
    row_bits: u32,
    buckets: usize,
    /// Edges of a chunk.
    chunk: usize,
}

impl Layout {
    fn new(vertices: usize, rows: Range<usize>, by: By, edges: usize, options: BuildOptions) -> Self {
        let entries = if by == By::Both { 2 * edges } else { edges };
        let wanted = (entries / BUCKET).clamp(1, MOST_BUCKETS);
        let row_bits = bits_below(rows.len().div_ceil(wanted));
        let buckets = rows.len().div_ceil(1 << row_bits);
        let target_bits = bits_below(vertices);
        let chunk = edges.div_ceil(MOST_CHUNKS).max(CHUNK);
        Self {
            vertices,
            first: rows.start as u32,
            rows: rows.len(),
            by,
            options,
            target_bits,
            row_bits,
            buckets,
            chunk,
        }
    }

    fn key_bits(&self) -> u32 {
        self.target_bits + self.row_bits
    }

    #[inline]
    fn row(&self, key: impl Key) -> usize {
        (key.bits() >> self.target_bits) as usize
    }

    #[inline]
    fn target(&self, key: impl Key) -> u32 {
        (key.bits() & ((1 << self.target_bits) - 1)) as u32
    }

    /// The edges of a chunk.
    fn part<'a, W: Weight>(&self, edges: &Edges<'a, W>, chunk: usize) -> Edges<'a, W> {
        edges.part(chunk * self.chunk..edges.from.len().min((chunk + 1) * self.chunk))
    }

    /// Calls with bucket and entry of each edge that stands in the rows.
    #[inline]
    fn each_entry<K: Key, W: Weight>(&self, edges: &Edges<'_, W>, mut found: impl FnMut(usize, Entry<K, W>)) {
        let below = (1_u64 << self.row_bits) - 1;
        let mut stands = |row: u32, target: u32, weight: W| {
            let row = row.wrapping_sub(self.first);
            if (row as usize) < self.rows {
                let row = u64::from(row);
                let key = K::new((row & below) << self.target_bits | u64::from(target));
                found((row >> self.row_bits) as usize, Entry { key, weight });
            }
        };
        let edges = edges.iter().filter(|(from, to, _)| self.options.loops || from != to);
        match self.by {
            By::Source => edges.for_each(|(from, to, weight)| stands(from, to, weight)),
            By::Target => edges.for_each(|(from, to, weight)| stands(to, from, weight)),
            By::Both => edges.for_each(|(from, to, weight)| {
                stands(from, to, weight);
                if from != to {
                    stands(to, from, weight);
                }
            }),
        }
    }
}

/// How many bits the numbers below `limit` have.
fn bits_below(limit: usize) -> u32 {
    usize::BITS - limit.saturating_sub(1).leading_zeros()
}

fn build<K: Key, W: Weight>(layout: &Layout, edges: &Edges<'_, W>) -> Result<(Csr, Vec<W>)> {
    let counts = counts(layout, edges)?;
    let size = |bucket| counts.iter().map(|counts| counts[bucket] as usize).sum::<usize>();
    let sizes = (0..layout.buckets).into_par_iter().map(size).collect::<Vec<_>>();
    let entries = sizes.iter().sum::<usize>();
    let (mut keys, mut weights) = (zeroed::<K>(entries)?, zeroed::<W>(entries)?);
    scatter(layout, edges, &counts, &mut keys, &mut weights);
    drop(counts);

    let apart = if K::IS_NARROW { vec![0; sizes.len()] } else { sizes.clone() };
    let (mut offsets, mut targets) = (zeroed(layout.rows + 1)?, zeroed(apart.iter().sum())?);
    let rows = offsets[1..].par_chunks_mut(1 << layout.row_bits);
    let entries = cut(&mut keys, &sizes).into_par_iter().zip(cut(&mut weights, &sizes));
    let places = rows.zip(entries).zip(cut(&mut targets, &apart));
    let kept = places.map_init(Buffers::<K, W>::default, |buffers, ((ends, (keys, weights)), targets)| {
        let sorted = buffers.sort(layout, keys, weights, ends)?;
        let mut place = Rows { ends, targets: K::targets(keys, targets), weights };
        place.starts_of_counts();
        sorted.iter().for_each(|entry| place.put(layout, entry));
        Ok(place.finish(layout.options.duplicates))
    });
    let kept = kept.collect::<Result<Vec<_>>>()?;

    let mut before = 0;
    for (ends, kept) in offsets[1..].chunks_mut(1 << layout.row_bits).zip(&kept) {
        ends.iter_mut().for_each(|end| *end += before);
        before += kept;
    }
    let mut targets = K::all_targets(keys, targets);
    rayon::join(|| close_gaps(&mut targets, &sizes, &kept), || close_gaps(&mut weights, &sizes, &kept));
    Ok((Csr::from_parts(offsets, targets), weights))
}

/// Slices of these sizes, one after the other.
fn cut<'a, T>(mut values: &'a mut [T], sizes: &[usize]) -> Vec<&'a mut [T]> {
    sizes.iter().map(|&size| values.split_off_mut(..size).unwrap_or_default()).collect()
}

/// Moves what buckets have kept of their places to the front.
fn close_gaps<T: Copy>(values: &mut Vec<T>, sizes: &[usize], kept: &[usize]) {
    let (mut from, mut to) = (0, 0);
    for (size, kept) in sizes.iter().zip(kept) {
        if from > to {
            values.copy_within(from..from + kept, to);
        }
        from += size;
        to += kept;
    }
    values.truncate(to);
    if to < from - from / 8 {
        values.shrink_to_fit();
    }
}

/// How many entries of each chunk go to each bucket.
fn counts<W: Weight>(layout: &Layout, edges: &Edges<'_, W>) -> Result<Vec<Vec<u32>>> {
    let chunks = (0..edges.from.len().div_ceil(layout.chunk)).into_par_iter().map(|chunk| {
        let edges = layout.part(edges, chunk);
        let largest = |ends: &[u32]| ends.iter().fold(0, |largest, &end| end.max(largest)) as usize;
        if largest(edges.from).max(largest(edges.to)) >= layout.vertices {
            return Err(Error::internal("a vertex is out of range"));
        }
        let mut counts = zeroed(layout.buckets)?;
        layout.each_entry::<u64, W>(&edges, |bucket, _| counts[bucket] += 1);
        Ok(counts)
    });
    // Threads find errors in any order; what is said is the first one in the order of the edges.
    chunks.collect::<Result<Vec<_>>>().map_err(|error| out_of_range(layout, edges).unwrap_or(error))
}

/// Brings keys and weights to their buckets, in which each chunk has a place of its own.
fn scatter<K: Key, W: Weight>(
    layout: &Layout,
    edges: &Edges<'_, W>,
    counts: &[Vec<u32>],
    mut keys: &mut [K],
    mut weights: &mut [W],
) {
    let mut places = counts.iter().map(|_| Vec::with_capacity(layout.buckets)).collect::<Vec<_>>();
    for bucket in 0..layout.buckets {
        for (places, counts) in places.iter_mut().zip(counts) {
            let count = counts[bucket] as usize;
            let keys = keys.split_off_mut(..count).unwrap_or_default();
            places.push((keys.iter_mut(), weights.split_off_mut(..count).unwrap_or_default().iter_mut()));
        }
    }
    places.into_par_iter().enumerate().for_each(|(chunk, mut places)| {
        layout.each_entry::<K, W>(&layout.part(edges, chunk), |bucket, entry| {
            let (keys, weights) = &mut places[bucket];
            if let (Some(key), Some(weight)) = (keys.next(), weights.next()) {
                (*key, *weight) = (entry.key, entry.weight);
            }
        });
    });
}

fn out_of_range<W: Weight>(layout: &Layout, edges: &Edges<'_, W>) -> Option<Error> {
    let vertices = layout.vertices;
    let (edge, (from, to, _)) =
        edges.iter().enumerate().find(|(_, (from, to, _))| (*from).max(*to) as usize >= vertices)?;
    Some(Error::user(format!(
        "edge {edge} goes from {from} to {to}, in a graph of {vertices} vertices, numbered from 0"
    )))
}

/// An empty vector that can hold so many values.
fn room<T>(values: usize) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(values).map_err(|_| no_memory::<T>(values))?;
    Ok(vector)
}

/// So many zeros.
fn zeroed<T: Copy + Default>(values: usize) -> Result<Vec<T>> {
    // Zeros that come from the system as they are cost nothing until they are used, but nobody is told if there are too many:
    // so ask.
    if pages::are_there::<T>(values) { Ok(pages::zeroed(values)) } else { Err(no_memory::<T>(values)) }
}

fn no_memory<T>(values: usize) -> Error {
    let bytes = values.saturating_mul(size_of::<T>());
    Error::resources(format!("no memory for {bytes} bytes while building adjacency; use more ranks or a smaller graph"))
}

/// Checks rows of adjacency against the edges that they were made of: they ascend, every edge stands where it should as often
/// as it should, with its weight, and nothing else does.
///
/// # Errors
/// What is wrong.
pub fn verify_shard<W: Weight>(
    (adjacency, weights): (&Csr, &[W]),
    vertices: usize,
    rows: Range<usize>,
    by: By,
    edges: Edges<'_, W>,
    options: BuildOptions,
) -> Result<(), String> {
    let keeps = options.duplicates == Duplicates::Keep;
    if adjacency.vertices() != rows.len() || adjacency.edges() != weights.len() {
        let (found, edges) = (adjacency.vertices(), adjacency.edges());
        return Err(format!("{found} rows, {edges} edges and {} weights of rows {rows:?}", weights.len()));
    }
    for row in 0..adjacency.vertices() {
        let (vertex, targets) = (rows.start + row, adjacency.neighbours(row as u32));
        let ascends = if keeps { targets.is_sorted() } else { targets.is_sorted_by(|left, right| left < right) };
        if !ascends || targets.last().is_some_and(|&last| last as usize >= vertices) {
            return Err(format!("the neighbours of {vertex} do not ascend to less than {vertices}: {targets:?}"));
        }
        if !options.loops && targets.iter().any(|&target| target as usize == vertex) {
            return Err(format!("vertex {vertex} has a loop"));
        }
    }
    // How many edges were found that the equal entries from here on stand for, and the weights that these should have.
    let mut found = vec![0; weights.len()];
    let mut expected = vec![W::default(); weights.len()];
    let mut find = |row: u32, target: u32, weight: W| {
        if !rows.contains(&(row as usize)) || (row == target && !options.loops) {
            return Ok(());
        }
        let row = row - rows.start as u32;
        let targets = adjacency.neighbours(row);
        let first = targets.partition_point(|&other| other < target);
        let entry = adjacency.offsets()[row as usize] + first;
        let place = if keeps { found.get(entry).map_or(0, |&found| first + found) } else { first };
        if targets.get(place) != Some(&target) {
            return Err(format!("an edge to {target} is missing in row {row}"));
        }
        let slot = &mut expected[adjacency.offsets()[row as usize] + place];
        if found[entry] == 0 || keeps || weight.order(slot).is_lt() {
            *slot = weight;
        }
        found[entry] += 1;
        Ok(())
    };
    for (from, to, weight) in edges.iter() {
        if by != By::Target {
            find(from, to, weight)?;
        }
        if by == By::Target || (by == By::Both && from != to) {
            find(to, from, weight)?;
        }
    }
    for row in 0..adjacency.vertices() {
        let mut entry = adjacency.offsets()[row];
        for ties in adjacency.neighbours(row as u32).chunk_by(|left, right| left == right) {
            let range = entry..entry + ties.len();
            if found[entry] == 0 || (keeps && found[entry] != ties.len()) {
                return Err(format!("row {row} names {} {} times, {} edges do", ties[0], ties.len(), found[entry]));
            }
            expected[range.clone()].sort_unstable_by(W::order);
            if weights[range.clone()].iter().zip(&expected[range]).any(|(left, right)| left.order(right).is_ne()) {
                return Err(format!("an edge from row {row} to {} has another weight than it should", ties[0]));
            }
            entry += ties.len();
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
#[path = "build_tests.rs"]
mod tests;
