//! Adjacency out of edges in memory.
//!
//! A row and a target side by side are one number, the key of an entry. Adjacency is the entries sorted by key, so building it
//! is a radix sort: one pass through memory on the high bits of the row, and the rest in cache.
//!
//! ```text
//!  edges      chunk 0       chunk 1                     each chunk is cut by the high bits of the row, in memory of its own:
//!             ┌───────┐     ┌───────┐                   counted, then scattered, while it lies in cache
//!  entries    │0│0│1│2│     │0│1│1│2│
//!               │             │
//!  buckets      └──────┬──────┘                         the pieces of a bucket, one of each chunk, are sorted by the other bits
//!             bucket 0 │ bucket 1 │ bucket 2            of the key (least digit first), duplicates dropped; it has so few rows
//!                │          │          │                that all this happens in cache
//!  rows       ───┴──────────┴──────────┴───             put one after the other
//! ```
//!
//! With m entries, work is O(m + vertices): an entry is moved once for the chunks, and two to four times in cache, the last
//! time to its place in the adjacency; if duplicates leave gaps, what follows is moved up. Beside the edges and the adjacency,
//! memory holds every entry once: 4 bytes each while a bucket's keys fit 32 bits (up to about four million vertices), else 8,
//! and the weight. A bucket far larger than the others, that of a vertex that most edges leave, is sorted by all threads
//! together.
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

use super::{Csr, Graph, Weighted};
use crate::pages;

// Tests have small numbers, so that small graphs take every way.

/// So many edges are counted and scattered at a time: they and their entries lie in the second-level cache.
const CHUNK: usize = if cfg!(test) { 1 << 10 } else { 1 << 16 };

/// A bucket is to have so many entries, which two buffers in the second-level cache hold.
const BUCKET: usize = if cfg!(test) { 1 << 12 } else { 1 << 15 };

/// More buckets than this are more cache lines than a thread can write to side by side.
const MOST_BUCKETS: usize = 1 << 11;

/// A bucket with more entries is sorted by all threads.
const LARGE: usize = if cfg!(test) { 1 << 14 } else { 1 << 22 };

/// A bucket with fewer entries is sorted by comparing.
const SMALL: usize = 1 << 9;

/// A pass of the radix sort looks at so many bits at most.
const DIGIT: u32 = 11;

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
}

impl Layout {
    fn new(vertices: usize, rows: Range<usize>, by: By, edges: usize, options: BuildOptions) -> Self {
        let entries = if by == By::Both { 2 * edges } else { edges };
        let wanted = (entries / BUCKET).clamp(1, MOST_BUCKETS);
        let row_bits = bits_below(rows.len().div_ceil(wanted));
        let buckets = rows.len().div_ceil(1 << row_bits);
        let target_bits = bits_below(vertices);
        Self { vertices, first: rows.start as u32, rows: rows.len(), by, options, target_bits, row_bits, buckets }
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

/// An edge in its bucket.
#[derive(Clone, Copy, Default)]
struct Entry<K, W> {
    key: K,
    weight: W,
}

/// A row within its bucket, and a target, as one number.
trait Key: Copy + Default + Ord + Send + Sync {
    fn new(bits: u64) -> Self;
    fn bits(self) -> u64;
}

impl Key for u32 {
    #[inline]
    fn new(bits: u64) -> Self {
        bits as u32
    }
    #[inline]
    fn bits(self) -> u64 {
        u64::from(self)
    }
}

impl Key for u64 {
    #[inline]
    fn new(bits: u64) -> Self {
        bits
    }
    #[inline]
    fn bits(self) -> u64 {
        self
    }
}

fn build<K: Key, W: Weight>(layout: &Layout, edges: &Edges<'_, W>) -> Result<(Csr, Vec<W>)> {
    let chunks = chunks::<K, W>(layout, edges)?;
    let size = |bucket| chunks.iter().map(|chunk| chunk.piece(bucket).len()).sum::<usize>();
    let sizes = (0..layout.buckets).into_par_iter().map(size).collect::<Vec<_>>();
    let entries = sizes.iter().sum::<usize>();
    let (mut offsets, mut targets, mut weights) = (zeroed(layout.rows + 1)?, zeroed(entries)?, zeroed(entries)?);

    let rows = offsets[1..].par_chunks_mut(1 << layout.row_bits);
    let places = rows.zip(cut(&mut targets, &sizes)).zip(cut(&mut weights, &sizes)).enumerate();
    let kept = places.map_init(Buffers::<K, W>::default, |buffers, (bucket, ((ends, targets), weights))| {
        let mut place = Rows { ends, targets, weights };
        buffers.sort(chunks.iter().map(|chunk| chunk.piece(bucket)), layout, &mut place)?;
        Ok(place.finish(layout.options.duplicates))
    });
    let kept = kept.collect::<Result<Vec<_>>>()?;
    // Each chunk gives its memory back to the system, which takes time.
    chunks.into_par_iter().for_each(drop);

    let mut before = 0;
    for (ends, kept) in offsets[1..].chunks_mut(1 << layout.row_bits).zip(&kept) {
        ends.iter_mut().for_each(|end| *end += before);
        before += kept;
    }
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

/// The entries of some edges, by bucket.
struct Chunk<K, W> {
    entries: Vec<Entry<K, W>>,
    /// Where each bucket begins, and where the last one ends.
    starts: Vec<u32>,
}

impl<K: Key, W: Weight> Chunk<K, W> {
    fn piece(&self, bucket: usize) -> &[Entry<K, W>] {
        &self.entries[self.starts[bucket] as usize..self.starts[bucket + 1] as usize]
    }

    fn new(layout: &Layout, edges: &Edges<'_, W>) -> Result<Self> {
        let mut starts = zeroed(layout.buckets + 1)?;
        layout.each_entry::<K, W>(edges, |bucket, _| starts[bucket] += 1);
        let entries = exclusive_sums(&mut starts);
        let mut next = starts.clone();
        let mut entries = zeroed::<Entry<K, W>>(entries as usize)?;
        layout.each_entry(edges, |bucket, entry| {
            entries[next[bucket] as usize] = entry;
            next[bucket] += 1;
        });
        Ok(Self { entries, starts })
    }
}

fn chunks<K: Key, W: Weight>(layout: &Layout, edges: &Edges<'_, W>) -> Result<Vec<Chunk<K, W>>> {
    let count = edges.from.len();
    let chunks = (0..count.div_ceil(CHUNK)).into_par_iter().map(|chunk| {
        let edges = edges.part(chunk * CHUNK..count.min((chunk + 1) * CHUNK));
        let largest = |ends: &[u32]| ends.iter().fold(0, |largest, &end| end.max(largest)) as usize;
        if largest(edges.from).max(largest(edges.to)) >= layout.vertices {
            return Err(Error::internal("a vertex is out of range"));
        }
        Chunk::new(layout, &edges)
    });
    // Threads find errors in any order; what is said is the first one in the order of the edges.
    chunks.collect::<Result<Vec<_>>>().map_err(|error| out_of_range(layout, edges).unwrap_or(error))
}

fn out_of_range<W: Weight>(layout: &Layout, edges: &Edges<'_, W>) -> Option<Error> {
    let vertices = layout.vertices;
    let (edge, (from, to, _)) =
        edges.iter().enumerate().find(|(_, (from, to, _))| (*from).max(*to) as usize >= vertices)?;
    Some(Error::user(format!(
        "edge {edge} goes from {from} to {to}, in a graph of {vertices} vertices, numbered from 0"
    )))
}

/// Replaces counts by the sums of those before, and returns the sum of all.
fn exclusive_sums(counts: &mut [u32]) -> u32 {
    counts.iter_mut().fold(0, |before, count| before + std::mem::replace(count, before))
}

/// What sorting takes; kept from bucket to bucket.
#[derive(Default)]
struct Buffers<K, W> {
    entries: Vec<Entry<K, W>>,
    other: Vec<Entry<K, W>>,
    counts: Vec<u32>,
}

impl<K: Key, W: Weight> Buffers<K, W> {
    /// Puts the entries of some pieces into rows, each by ascending target.
    fn sort<'a>(
        &mut self,
        pieces: impl Iterator<Item = &'a [Entry<K, W>]> + Clone,
        layout: &Layout,
        rows: &mut Rows<'_, W>,
    ) -> Result<()>
    where
        K: 'a,
        W: 'a,
    {
        let count = rows.targets.len();
        if (SMALL..LARGE).contains(&count) {
            grow(&mut self.entries, count)?;
            grow(&mut self.other, count)?;
            return self.radix_sort(pieces, layout, rows);
        }
        let mut entries = room(count)?;
        pieces.for_each(|piece| entries.extend_from_slice(piece));
        if count < SMALL {
            entries.sort_unstable_by_key(|entry| entry.key);
        } else {
            entries.par_sort_unstable_by_key(|entry| entry.key);
        }
        entries.iter().for_each(|entry| rows.ends[layout.row(entry.key)] += 1);
        rows.starts_of_counts();
        entries.iter().for_each(|entry| rows.put(layout, entry));
        Ok(())
    }

    /// Least digit first: those of the target, and then the row.
    fn radix_sort<'a>(
        &mut self,
        pieces: impl Iterator<Item = &'a [Entry<K, W>]> + Clone,
        layout: &Layout,
        rows: &mut Rows<'_, W>,
    ) -> Result<()>
    where
        K: 'a,
        W: 'a,
    {
        let passes = layout.target_bits.div_ceil(DIGIT).max(1);
        let digit = layout.target_bits.div_ceil(passes);
        let digit_of = |key: K, pass: u32| (key.bits() >> (pass * digit)) as usize & ((1 << digit) - 1);
        grow(&mut self.counts, (passes as usize) << digit)?;
        let counts = &mut self.counts[..(passes as usize) << digit];
        counts.fill(0);
        pieces.clone().flatten().for_each(|entry| {
            for pass in 0..passes {
                // The digits of the last pass may include bits of the row: they do no harm.
                counts[((pass as usize) << digit) + digit_of(entry.key, pass)] += 1;
            }
            rows.ends[layout.row(entry.key)] += 1;
        });
        let count = rows.targets.len();
        for (pass, next) in counts.chunks_exact_mut(1 << digit).enumerate() {
            exclusive_sums(next);
            let mut deal = |entry: &Entry<K, W>, to: &mut [Entry<K, W>]| {
                let next = &mut next[digit_of(entry.key, pass as u32)];
                to[*next as usize] = *entry;
                *next += 1;
            };
            if pass == 0 {
                pieces.clone().flatten().for_each(|entry| deal(entry, &mut self.entries));
            } else {
                self.entries[..count].iter().for_each(|entry| deal(entry, &mut self.other));
                std::mem::swap(&mut self.entries, &mut self.other);
            }
        }
        rows.starts_of_counts();
        self.entries[..count].iter().for_each(|entry| rows.put(layout, entry));
        Ok(())
    }
}

/// Where the rows of a bucket are put.
struct Rows<'a, W> {
    /// Where each row ends; before that, how many entries it has, and where the next one goes.
    ends: &'a mut [usize],
    targets: &'a mut [u32],
    weights: &'a mut [W],
}

impl<W: Weight> Rows<'_, W> {
    fn starts_of_counts(&mut self) {
        self.ends.iter_mut().fold(0, |before, count| before + std::mem::replace(count, before));
    }

    #[inline]
    fn put<K: Key>(&mut self, layout: &Layout, entry: &Entry<K, W>) {
        let next = &mut self.ends[layout.row(entry.key)];
        self.targets[*next] = layout.target(entry.key);
        self.weights[*next] = entry.weight;
        *next += 1;
    }

    /// Puts entries of the same row and target in order, or drops all but one; returns how many stay.
    fn finish(&mut self, duplicates: Duplicates) -> usize {
        let have_weights = size_of::<W>() > 0;
        if duplicates == Duplicates::Keep && !have_weights {
            return self.targets.len();
        }
        let (mut start, mut kept) = (0, 0);
        for end in &mut *self.ends {
            let row = start..*end;
            start = row.end;
            if have_weights {
                sort_ties(&self.targets[row.clone()], &mut self.weights[row.clone()]);
            }
            let first = kept;
            for entry in row {
                let target = self.targets[entry];
                if duplicates == Duplicates::DropLater && kept > first && self.targets[kept - 1] == target {
                    continue;
                }
                self.targets[kept] = target;
                self.weights[kept] = self.weights[entry];
                kept += 1;
            }
            *end = kept;
        }
        kept
    }
}

/// Sorts the weights of each target by themselves.
fn sort_ties<W: Weight>(targets: &[u32], weights: &mut [W]) {
    let mut first = 0;
    for next in 1..=targets.len() {
        if targets.get(next) != Some(&targets[first]) {
            if next - first > 1 {
                weights[first..next].sort_unstable_by(W::order);
            }
            first = next;
        }
    }
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

/// Makes a buffer at least so long.
fn grow<T: Copy + Default>(buffer: &mut Vec<T>, values: usize) -> Result<()> {
    if buffer.len() < values {
        *buffer = room(values)?;
        buffer.resize(values, T::default());
    }
    Ok(())
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
