//! Shortest paths from one source by delta-stepping.
//!
//! `distance[v]` is the least sum of weights over the paths from the source to `v`. Weights are not negative; zero is allowed,
//! also on cycles. Dijkstra settles one vertex at a time, in the order of their distances. Delta-stepping settles a bucket at a
//! time: all vertices whose distances are within `[i * delta, (i + 1) * delta)`, in any order and in parallel, again and again
//! until the bucket stays empty.
//!
//! ```text
//!   delta 10                  doing            bucket 0   bucket 1       bucket 2
//!                             s 0              s 0        a 12  b 17                      both in bucket 1, in any order: b
//! first
//!   s ─12→ a ─3→ b            b 17             –          a 12           d 27
//!   s ─17→ b ─10→ d           a 12             –          b 15           d 27             b fell, and is done again
//!                             b 15             –          –              d 27  d 25       d 27 is stale: d's distance is less
//! ```
//!
//! A narrow bucket does little work twice, a wide one has much to do at once. For weights that are spread evenly, `delta` of the
//! largest weight by the mean degree bounds the work by `O(vertices + edges)` on average (Meyer and Sanders); see
//! [`default_delta`].
//!
//! **In parallel.** Each worker has buckets of its own, so that putting needs no lock; only distances are shared, and fall by
//! atomic minima. A round takes the first bucket that any worker has. Workers begin with their own part of it and then help
//! others. What falls into the same bucket meanwhile is done at once by who found it, without a barrier, as long as it is
//! little: bucket fusion (Zhang et al.). A round that has little to do runs on the caller's thread alone, so that a long path
//! costs no more than Dijkstra.
//!
//! **Buckets** are a monotone radix heap (Ahuja et al.), so that any ratio of weights to `delta` takes bounded memory: bucket
//! `b` is in level `l`, where byte `l` is the highest in which `b` differs from the bucket being done, at the slot that this
//! byte names.
//!
//! ```text
//!   doing 0x0003      level 0: slots 03..ff, one bucket each       level 1: slots 01..ff, 256 buckets each      level 2: …
//!                     0x0007 → slot 07                             0x0107 → slot 01, 0x0205 → slot 02
//!   level 0 empty → level 1's first slot is spread over level 0, now doing 0x0100
//! ```
//!
//! Distances do not depend on threads or on `delta`. A floating-point sum of what is not negative never falls when a term
//! grows, so the least sum over paths, each added up from the source on, is one value, and every edge is relaxed with it in the
//! end.
//!
//! Memory: a distance for each vertex, and an entry (distance and vertex) for each time that one fell, until its bucket is done.
//!
//! - U. Meyer, P. Sanders: Δ-stepping: a parallelizable shortest path algorithm, Journal of Algorithms 49(1), 2003.
//! - Y. Zhang, A. Brahmakshatriya, X. Chen, L. Dhulipala, S. Kamil, S. Amarasinghe, J. Shun: Optimizing Ordered Graph
//!   Algorithms with GraphIt, CGO 2020.
//! - R. K. Ahuja, K. Mehlhorn, J. B. Orlin, R. E. Tarjan: Faster Algorithms for the Shortest Path Problem, Journal of the ACM
//!   37(2), 1990.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use rayon::prelude::*;

use super::{NONE, Weighted};
use crate::expr::simd::prefetch;

/// What weights and distances are: not negative, and not NaN.
///
/// Sums are monotone: `a <= b` has `a.plus(w) <= b.plus(w)` and `a <= a.plus(w)`; so are buckets: `a <= b` has
/// `a.bucket(delta) <= b.bucket(delta)`.
pub trait Distance: Copy + Send + Sync + PartialOrd + Debug + 'static {
    /// The distance of a vertex to itself.
    const ZERO: Self;
    /// The distance of what is not reached; more than any sum.
    const INFINITE: Self;
    /// A distance that threads share.
    type Cell: Send + Sync;

    /// The sum, or `INFINITE` where the type ends.
    fn plus(self, weight: Self) -> Self;
    /// Which bucket of this width it is in.
    fn bucket(self, delta: Self) -> u64;
    /// As a float, rounded.
    fn to_f64(self) -> f64;
    /// The least that is not below this float and above zero.
    fn above(value: f64) -> Self;

    /// To be shared.
    fn share(self) -> Self::Cell;
    /// No longer shared.
    fn own(cell: Self::Cell) -> Self;
    /// What it is now.
    fn load(cell: &Self::Cell) -> Self;
    /// The lesser of both from now on; whether it fell.
    fn lower(cell: &Self::Cell, to: Self) -> bool;
}

macro_rules! integers {
    ($integer:ident, $unsigned:ident, $cell:ident) => {
        impl Distance for $integer {
            const ZERO: Self = 0;
            const INFINITE: Self = $integer::MAX;
            type Cell = $cell;

            #[inline]
            fn plus(self, weight: Self) -> Self {
                self.saturating_add(weight)
            }

            #[inline]
            fn bucket(self, delta: Self) -> u64 {
                // Division of unsigned numbers is faster.
                u64::from(self.cast_unsigned() / delta.cast_unsigned())
            }

            fn to_f64(self) -> f64 {
                self as f64
            }

            fn above(value: f64) -> Self {
                (value.ceil() as Self).max(1)
            }

            fn share(self) -> $cell {
                $cell::new(self)
            }

            fn own(cell: $cell) -> Self {
                cell.into_inner()
            }

            #[inline]
            fn load(cell: &$cell) -> Self {
                cell.load(Relaxed)
            }

            #[inline]
            fn lower(cell: &$cell, to: Self) -> bool {
                let mut old = cell.load(Relaxed);
                while to < old {
                    match cell.compare_exchange_weak(old, to, Relaxed, Relaxed) {
                        Ok(_) => return true,
                        Err(now) => old = now,
                    }
                }
                false
            }
        }
    };
}

integers!(i32, u32, AtomicI32);
integers!(i64, u64, AtomicI64);

macro_rules! floats {
    ($float:ident, $cell:ident) => {
        impl Distance for $float {
            const ZERO: Self = 0.0;
            const INFINITE: Self = $float::INFINITY;
            type Cell = $cell;

            #[inline]
            fn plus(self, weight: Self) -> Self {
                self + weight
            }

            #[inline]
            fn bucket(self, delta: Self) -> u64 {
                (self / delta) as u64
            }

            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            fn above(value: f64) -> Self {
                (value as Self).max(Self::MIN_POSITIVE)
            }

            fn share(self) -> $cell {
                $cell::new(self.to_bits())
            }

            fn own(cell: $cell) -> Self {
                Self::from_bits(cell.into_inner())
            }

            #[inline]
            fn load(cell: &$cell) -> Self {
                Self::from_bits(cell.load(Relaxed))
            }

            #[inline]
            fn lower(cell: &$cell, to: Self) -> bool {
                let mut old = cell.load(Relaxed);
                while to < Self::from_bits(old) {
                    match cell.compare_exchange_weak(old, to.to_bits(), Relaxed, Relaxed) {
                        Ok(_) => return true,
                        Err(now) => old = now,
                    }
                }
                false
            }
        }
    };
}

floats!(f32, AtomicU32);
floats!(f64, AtomicU64);

/// The distance of each vertex from `source`, `INFINITE` where no path leads.
///
/// Weights are not negative, nor NaN. Integer sums saturate: a vertex that is as far as the type's largest value, or farther, has
/// `INFINITE` like one that is not reached; widen the weights where that may be. `delta` is how wide buckets are, and changes the
/// time only; the default is taken in place of what is not above zero.
///
/// ```
/// use bireme_operators::graph::{Csr, Graph, Weighted, default_delta, sssp};
///
/// // 0 ─5→ 1, 0 ─2→ 2 ─2→ 1, and 3 by itself.
/// let out = Csr::from_parts(vec![0, 2, 2, 3, 3], vec![1, 2, 1]);
/// let incoming = Csr::from_parts(vec![0, 0, 2, 3, 3], vec![0, 2, 0]);
/// let graph = Weighted::new(Graph::directed(out, incoming), vec![5, 2, 2]);
/// assert_eq!(sssp(&graph, 0, default_delta(&graph)), [0, 4, 2, i32::MAX]);
/// ```
pub fn sssp<W: Distance>(graph: &Weighted<W>, source: u32, delta: W) -> Vec<W> {
    let delta = if delta > W::ZERO { delta } else { default_delta(graph) };
    let distances = (0..graph.graph().vertices()).into_par_iter().map(|_| W::INFINITE.share()).collect::<Vec<_>>();
    let threads = rayon::current_num_threads();
    let mut workers = (0..threads).map(|_| Worker::new(delta)).collect::<Vec<_>>();
    let mut parts = (0..threads).map(|_| Part::default()).collect::<Vec<_>>();
    W::lower(&distances[source as usize], W::ZERO);
    workers[0].buckets.put(Entry { distance: W::ZERO, vertex: source });
    while let Some(bucket) = first_bucket(&mut workers) {
        for (part, worker) in parts.iter_mut().zip(&mut workers) {
            part.refill(&mut worker.buckets, bucket);
        }
        let round = Round { graph, distances: &distances, bucket, parts: &parts };
        if round.is_small() {
            workers[0].run(&round, 0);
        } else {
            workers.par_iter_mut().enumerate().with_max_len(1).for_each(|(own, worker)| worker.run(&round, own));
        }
    }
    distances.into_iter().map(W::own).collect()
}

/// How wide buckets are where nobody says: the mean weight by the mean degree, at least 1 for integers.
pub fn default_delta<W: Distance>(graph: &Weighted<W>) -> W {
    let weights = graph.weights();
    // In blocks, so that the sum does not depend on threads.
    let sums = weights.par_chunks(1 << 16).map(|block| block.iter().map(|weight| weight.to_f64()).sum::<f64>());
    let sum = sums.collect::<Vec<_>>().iter().sum::<f64>();
    let edges = weights.len().max(1) as f64;
    W::above(sum / edges * graph.graph().vertices() as f64 / edges)
}

/// For each vertex the one before it on a shortest path, from distances that [`sssp`] gives: `source` for itself, `NONE` where
/// there is no path.
///
/// It is the smallest vertex of lesser distance whose edge explains the distance. Where only edges of weight zero do (or of
/// weights that are lost in rounding), it is the smallest of those that are the fewest such edges away from a vertex of the
/// former kind, so that parents lead to the source also where such edges make cycles.
pub fn parents_of_distances<W: Distance>(graph: &Weighted<W>, source: u32, distances: &[W]) -> Vec<u32> {
    let parents = distances.par_iter().map(|_| AtomicU32::new(NONE)).collect::<Vec<_>>();
    parents[source as usize].store(source, Relaxed);
    let vertices = 0..distances.len() as u32;
    vertices.clone().into_par_iter().with_min_len(BLOCK).for_each(|from| {
        for_tight_edges(graph, distances, from, |to| {
            if distances[from as usize] < distances[to as usize] {
                parents[to as usize].fetch_min(from, Relaxed);
            }
        });
    });
    let mut parents = parents.into_iter().map(AtomicU32::into_inner).collect::<Vec<_>>();
    let reached = |vertex: u32| distances[vertex as usize] < W::INFINITE;
    if vertices.clone().any(|vertex| reached(vertex) && parents[vertex as usize] == NONE) {
        parents_by_zero(graph, distances, &mut parents, vertices.filter(|&vertex| reached(vertex)).collect());
    }
    parents
}

/// Gives parents to those that have none, by edges that add nothing, level by level from all `reached` that have one.
fn parents_by_zero<W: Distance>(graph: &Weighted<W>, distances: &[W], parents: &mut [u32], reached: Vec<u32>) {
    let mut level = reached;
    level.retain(|&vertex| parents[vertex as usize] != NONE);
    while !level.is_empty() {
        let mut next = Vec::new();
        // Ascending, so that the first that comes to a vertex is the smallest.
        for &from in &level {
            for_tight_edges(graph, distances, from, |to| {
                if parents[to as usize] == NONE {
                    parents[to as usize] = from;
                    next.push(to);
                }
            });
        }
        next.sort_unstable();
        level = next;
    }
}

/// The ends of a vertex's edges that explain the distances there, if it is reached.
fn for_tight_edges<W: Distance>(graph: &Weighted<W>, distances: &[W], from: u32, mut found: impl FnMut(u32)) {
    let distance = distances[from as usize];
    if distance < W::INFINITE {
        let (targets, weights) = graph.out(from);
        for (&to, &weight) in targets.iter().zip(weights) {
            let there = distances[to as usize];
            if there < W::INFINITE && distance.plus(weight) == there {
                found(to);
            }
        }
    }
}

/// A vertex to relax the edges of, if this is still its distance.
#[derive(Clone, Copy)]
struct Entry<W> {
    distance: W,
    vertex: u32,
}

/// Moves all workers on to the first bucket that one of them has.
fn first_bucket<W: Distance>(workers: &mut [Worker<W>]) -> Option<u64> {
    loop {
        let (first, level) = workers.iter().filter_map(|worker| worker.buckets.first()).min()?;
        for worker in workers.iter_mut() {
            worker.buckets.advance(first);
        }
        if level == 0 {
            return Some(first);
        }
    }
}

/// What one worker had of the bucket that is being done, and how much of it is taken.
struct Part<W> {
    entries: Vec<Entry<W>>,
    taken: AtomicUsize,
}

impl<W> Default for Part<W> {
    fn default() -> Self {
        Self { entries: Vec::new(), taken: AtomicUsize::new(0) }
    }
}

impl<W: Distance> Part<W> {
    fn refill(&mut self, buckets: &mut Buckets<W>, bucket: u64) {
        *self.taken.get_mut() = 0;
        buckets.take(bucket, &mut self.entries);
    }

    /// Entries that nobody else has.
    fn block(&self) -> Option<&[Entry<W>]> {
        // A look first, so that who helps does not write to what is done.
        if self.taken.load(Relaxed) >= self.entries.len() {
            return None;
        }
        let from = self.taken.fetch_add(BLOCK, Relaxed);
        self.entries.get(from..self.entries.len().min(from + BLOCK))
    }
}

/// Entries taken at a time.
const BLOCK: usize = 64;
/// Entries between a prefetch of a row and its use.
const AHEAD: usize = 6;
/// Elements of a cache line, of those that have 4 bytes.
const LINE: usize = 16;
/// With so many entries or more there is work for all threads, and none for one.
const FEW_ENTRIES: usize = 1 << 10;
/// Fewer edges than this are relaxed sooner than another thread wakes.
const FEW_EDGES: usize = 1 << 14;

/// What all workers see of a round.
struct Round<'a, W: Distance> {
    graph: &'a Weighted<W>,
    distances: &'a [W::Cell],
    bucket: u64,
    parts: &'a [Part<W>],
}

impl<W: Distance> Round<'_, W> {
    /// Whether the vertex has come nearer since.
    #[inline]
    fn is_stale(&self, entry: &Entry<W>) -> bool {
        W::load(&self.distances[entry.vertex as usize]) < entry.distance
    }

    fn is_small(&self) -> bool {
        if self.parts.iter().map(|part| part.entries.len()).sum::<usize>() >= FEW_ENTRIES {
            return false;
        }
        let entries = self.parts.iter().flat_map(|part| &part.entries);
        entries.map(|entry| self.graph.graph().out().degree(entry.vertex)).sum::<usize>() < FEW_EDGES
    }
}

struct Worker<W> {
    buckets: Buckets<W>,
    fused: Vec<Entry<W>>,
}

impl<W: Distance> Worker<W> {
    fn new(delta: W) -> Self {
        Self { buckets: Buckets::new(delta), fused: Vec::new() }
    }

    /// Its own part, then what others have left, then what fell into the same bucket.
    fn run(&mut self, round: &Round<'_, W>, own: usize) {
        let (before, after) = round.parts.split_at(own);
        for part in after.iter().chain(before) {
            while let Some(block) = part.block() {
                self.relax(round, block);
            }
        }
        let mut fused = std::mem::take(&mut self.fused);
        while (1..FEW_ENTRIES).contains(&self.buckets.len(round.bucket)) {
            self.buckets.take(round.bucket, &mut fused);
            fused.chunks(BLOCK).for_each(|block| self.relax(round, block));
        }
        self.fused = fused;
    }

    /// Relaxes the edges of at most `BLOCK` entries.
    fn relax(&mut self, round: &Round<'_, W>, block: &[Entry<W>]) {
        let (csr, weights) = (round.graph.graph().out(), round.graph.weights());
        // Rows are anywhere, so that reading them is much of the work: where those of a block begin is read at once, without
        // those of stale entries, and the rows that are next are asked for.
        let mut live = [(0, 0); BLOCK];
        let mut count = 0;
        for (at, entry) in block.iter().enumerate() {
            live[count % BLOCK] = (at, csr.offsets()[entry.vertex as usize]);
            count += usize::from(!round.is_stale(entry));
        }
        for turn in 0..count {
            let later = live[(turn + AHEAD) % BLOCK].1;
            for line in [later, later + LINE] {
                prefetch(csr.targets(), line);
                prefetch(weights, line);
            }
            let entry = block[live[turn].0];
            if !round.is_stale(&entry) {
                self.relax_edges(round, entry);
            }
        }
    }

    #[inline]
    fn relax_edges(&mut self, round: &Round<'_, W>, entry: Entry<W>) {
        let (targets, weights) = round.graph.out(entry.vertex);
        for (&vertex, &weight) in targets.iter().zip(weights) {
            let distance = entry.distance.plus(weight);
            if W::lower(&round.distances[vertex as usize], distance) {
                self.buckets.put(Entry { distance, vertex });
            }
        }
    }
}

/// Slots of a level, by one byte of the bucket.
const SLOTS: usize = 256;
const LEVELS: usize = 8;

/// A monotone radix heap of entries by bucket.
struct Buckets<W> {
    delta: W,
    /// The bucket that is being done; all entries are in this one or later.
    doing: u64,
    /// Level by level.
    slots: Vec<Vec<Entry<W>>>,
    /// A bit for each slot that has entries.
    occupied: [[u64; SLOTS / 64]; LEVELS],
}

impl<W: Distance> Buckets<W> {
    fn new(delta: W) -> Self {
        let slots = (0..SLOTS * LEVELS).map(|_| Vec::new()).collect();
        Self { delta, doing: 0, slots, occupied: [[0; SLOTS / 64]; LEVELS] }
    }

    /// The highest byte in which a bucket differs from the one being done.
    #[inline]
    fn level(&self, bucket: u64) -> usize {
        ((bucket ^ self.doing) | 1).ilog2() as usize / 8
    }

    #[inline]
    fn put(&mut self, entry: Entry<W>) {
        let bucket = entry.distance.bucket(self.delta);
        let level = self.level(bucket);
        let slot = slot_of(bucket, level);
        self.occupied[level][slot / 64] |= 1 << (slot % 64);
        self.slots[level * SLOTS + slot].push(entry);
    }

    /// The first bucket that the first slot with entries may hold, and the slot's level; on level 0 it is the slot's bucket.
    fn first(&self) -> Option<(u64, usize)> {
        for (level, words) in self.occupied.iter().enumerate() {
            if let Some(word) = words.iter().position(|&word| word != 0) {
                let slot = (word * 64) as u64 + u64::from(words[word].trailing_zeros());
                let higher = self.doing & !(u64::MAX >> (56 - 8 * level));
                return Some((higher | slot << (8 * level), level));
            }
        }
        None
    }

    /// Moves on to a bucket that is not after any entry's.
    fn advance(&mut self, bucket: u64) {
        let level = self.level(bucket);
        self.doing = bucket;
        if level > 0 {
            let slot = slot_of(bucket, level);
            self.occupied[level][slot / 64] &= !(1 << (slot % 64));
            for entry in std::mem::take(&mut self.slots[level * SLOTS + slot]) {
                self.put(entry);
            }
        }
    }

    /// How many entries a bucket on level 0 has.
    fn len(&self, bucket: u64) -> usize {
        self.slots[slot_of(bucket, 0)].len()
    }

    /// Takes what a bucket on level 0 has, in place of what was in `entries`.
    fn take(&mut self, bucket: u64, entries: &mut Vec<Entry<W>>) {
        let slot = slot_of(bucket, 0);
        entries.clear();
        std::mem::swap(entries, &mut self.slots[slot]);
        self.occupied[0][slot / 64] &= !(1 << (slot % 64));
    }
}

#[inline]
fn slot_of(bucket: u64, level: usize) -> usize {
    (bucket >> (8 * level)) as usize % SLOTS
}

/// Checks that these are the distances from `source`, or says where they are not.
///
/// None is too long: the source's is zero, and no edge can be relaxed. None is too short: a search from the source along edges
/// that explain the distance where they lead comes to every vertex that has one, so that each distance is a path's sum. (That
/// each vertex has one such edge that leads to it would not do: those of a cycle of weight zero explain each other.)
pub fn verify_sssp<W: Distance>(graph: &Weighted<W>, source: u32, distances: &[W]) -> Result<(), String> {
    let vertices = graph.graph().vertices();
    if distances.len() != vertices {
        return Err(format!("{vertices} vertices have {} distances", distances.len()));
    }
    if distances[source as usize] != W::ZERO {
        return Err(format!("the source {source} has distance {:?}", distances[source as usize]));
    }
    for from in 0..vertices as u32 {
        let (targets, weights) = graph.out(from);
        for (&to, &weight) in targets.iter().zip(weights) {
            let (here, there) = (distances[from as usize], distances[to as usize]);
            // False also of what cannot be compared, which is not a distance.
            let least = there <= here.plus(weight);
            if !least {
                return Err(format!("{from} at {here:?} has an edge of {weight:?} to {to}, which is at {there:?}"));
            }
        }
    }
    let mut found = vec![false; vertices];
    found[source as usize] = true;
    let mut stack = vec![source];
    while let Some(from) = stack.pop() {
        for_tight_edges(graph, distances, from, |to| {
            if !std::mem::replace(&mut found[to as usize], true) {
                stack.push(to);
            }
        });
    }
    match (0..vertices).find(|&vertex| !found[vertex] && distances[vertex] != W::INFINITE) {
        Some(vertex) => Err(format!("no path explains that {vertex} is at {:?}", distances[vertex])),
        None => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
#[path = "sssp_tests.rs"]
mod tests;
