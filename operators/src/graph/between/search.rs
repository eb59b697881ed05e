//! Searches from a vertex: breadth first, and along shortest paths.
//!
//! Vertices that were reached, or came nearer, in a round are the frontier of the next, on their rank and on those that have
//! edges from them; these push along their edges to their own vertices. A round is a level of a breadth-first search, of which
//! only *that* a vertex was reached travels. Of a shortest path it is an edge (R. Bellman, Quarterly of Applied Mathematics 16,
//! 1958): more work than buckets would be, and fewer rounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bireme_engine::error::{Error, Result};
use bireme_engine::feedback::sum_of;
use rayon::prelude::*;

use super::mirrors::{Mirrors, Named};
use crate::graph::NONE;
use crate::graph::build::{BuildOptions, By};
use crate::graph::edges::{Held, Weights};
use crate::graph::talk::Talk;

/// Parents and depths of own vertices; `NONE` where nothing leads. All ranks call it.
pub(in crate::graph) async fn bfs(held: &Arc<Held>, source: u32, talk: &mut Talk) -> Result<(Vec<u32>, Vec<u32>)> {
    let own = held.own();
    let (rows, _) = held.rows(By::Target, BuildOptions::default(), talk).await?;
    let mirrors = Mirrors::meet(held, &rows, talk).await?;
    let named = Arc::new(Named::new(&rows, own.start, held.vertices()));
    let mut parents = own.clone().map(|_| AtomicU32::new(NONE)).collect::<Vec<_>>();
    let mut depths = vec![NONE; own.len()];
    let mut nothing = vec![(); held.vertices()];
    let mut reached = Vec::new();
    if own.contains(&(source as usize)) {
        *parents[source as usize - own.start].get_mut() = source;
        reached.push(source);
    }
    for depth in 0.. {
        let mut is_new = vec![false; own.len()];
        for &vertex in &reached {
            is_new[vertex as usize - own.start] = true;
            depths[vertex as usize - own.start] = depth;
        }
        let arrived = mirrors.share(&is_new, &mut nothing, &[reached.len() as u64], talk).await?;
        if sum_of(&arrived.letters, 0) == 0 {
            break;
        }
        let mut frontier = reached;
        frontier.extend(arrived.vertices);
        let (named, known, first) = (Arc::clone(&named), depths, own.start);
        (parents, depths, reached) = talk
            .run(move || {
                let found = frontier.par_iter().flat_map_iter(|&vertex| {
                    let rows = named.by(vertex).iter().map(move |row| (*row as usize - first, vertex));
                    rows.filter(|(row, _)| known[*row] == NONE)
                });
                let found = found.filter(|(row, vertex)| parents[*row].fetch_min(*vertex, Ordering::Relaxed) == NONE);
                let reached = found.map(|(row, _)| (first + row) as u32).collect::<Vec<_>>();
                Ok((parents, known, reached))
            })
            .await?;
    }
    Ok((parents.into_iter().map(AtomicU32::into_inner).collect(), depths))
}

/// A length of paths, as bits that are ordered as the lengths are.
pub(in crate::graph) trait Length: Copy + Send + Sync + 'static {
    const INFINITE: Self;
    fn of(weights: Weights) -> Option<Vec<Self>>;
    fn bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;
    fn plus(self, other: Self) -> Self;
}

impl Length for i64 {
    const INFINITE: Self = i64::MAX;

    fn of(weights: Weights) -> Option<Vec<Self>> {
        if let Weights::Integers(weights) = weights { Some(weights) } else { None }
    }

    // Lengths are not negative.
    fn bits(self) -> u64 {
        self as u64
    }

    fn from_bits(bits: u64) -> Self {
        bits as i64
    }

    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl Length for f64 {
    const INFINITE: Self = f64::INFINITY;

    fn of(weights: Weights) -> Option<Vec<Self>> {
        if let Weights::Floats(weights) = weights { Some(weights) } else { None }
    }

    // Bits of floats that are not negative are ordered as they are; a negative zero would be an exception, and is added to zero.
    fn bits(self) -> u64 {
        (self + 0.0).to_bits()
    }

    fn from_bits(bits: u64) -> Self {
        f64::from_bits(bits)
    }

    fn plus(self, other: Self) -> Self {
        self + other
    }
}

/// Distances of own vertices. All ranks call it.
pub(in crate::graph) async fn sssp<L: Length>(held: &Arc<Held>, source: u32, talk: &mut Talk) -> Result<Vec<L>> {
    let own = held.own();
    let (rows, weights) = held.rows(By::Target, BuildOptions::default(), talk).await?;
    let weights = Arc::new(L::of(weights).ok_or_else(|| Error::internal("weights of another type"))?);
    let mirrors = Mirrors::meet(held, &rows, talk).await?;
    let named = Arc::new(Named::new(&rows, own.start, held.vertices()));
    // Of all vertices: copies of others' are written as they come, and own ones when they are shared.
    let mut distances = vec![L::INFINITE.bits(); held.vertices()];
    let mut found = own.clone().map(|_| AtomicU64::new(L::INFINITE.bits())).collect::<Vec<_>>();
    let mut nearer: Vec<u32> = Vec::new();
    if own.contains(&(source as usize)) {
        *found[source as usize - own.start].get_mut() = 0;
        nearer.push(source);
    }
    loop {
        let mut is_new = vec![false; own.len()];
        for &vertex in &nearer {
            let row = vertex as usize - own.start;
            is_new[row] = true;
            distances[vertex as usize] = *found[row].get_mut();
        }
        let arrived = mirrors.share(&is_new, &mut distances, &[nearer.len() as u64], talk).await?;
        if sum_of(&arrived.letters, 0) == 0 {
            break;
        }
        let mut frontier = nearer;
        frontier.extend(arrived.vertices);
        let (named, weights, first) = (Arc::clone(&named), Arc::clone(&weights), own.start);
        (distances, found, nearer) = talk
            .run(move || {
                let relaxed = frontier.par_iter().flat_map_iter(|&vertex| {
                    let from = L::from_bits(distances[vertex as usize]);
                    let edges = named.by(vertex).iter().zip(named.places(vertex));
                    edges.map(move |(row, place)| (*row, from, *place))
                });
                let fell = relaxed.filter_map(|(row, from, place)| {
                    let length = from.plus(weights[place]).bits();
                    let before = found[row as usize - first].fetch_min(length, Ordering::Relaxed);
                    (length < before).then_some(row)
                });
                let mut nearer = fell.collect::<Vec<_>>();
                nearer.par_sort_unstable();
                nearer.dedup();
                Ok((distances, found, nearer))
            })
            .await?;
    }
    Ok(found.into_iter().map(|bits| L::from_bits(bits.into_inner())).collect())
}
