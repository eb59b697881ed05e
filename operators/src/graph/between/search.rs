//! Searches from a vertex: breadth first, and along shortest paths.
//!
//! Vertices that were reached, or came nearer, in a round are the frontier of the next, on their rank and on those that
//! have edges from them; these push along their edges to the vertices at which these end, and tell the owners, where
//! these are others. A round is a level of a breadth-first search, of which only *that* a vertex was reached travels to
//! copies, and a parent to the owner, once from each rank. Of a shortest path it is an edge (R. Bellman, Quarterly of
//! Applied Mathematics 16, 1958): more work than buckets would be, and fewer rounds.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bireme_engine::error::{Error, Result};
use bireme_engine::feedback::sum_of;
use rayon::prelude::*;

use super::cut::Cut;
use super::mirrors::Named;
use super::tile::Tile;
use crate::graph::NONE;
use crate::graph::edges::{Held, Weights};
use crate::graph::talk::Talk;

/// Parents and depths of own vertices; `NONE` where nothing leads. All ranks call it.
pub(in crate::graph) async fn bfs(
    held: &Arc<Held>,
    source: u32,
    cut: Cut,
    talk: &mut Talk,
) -> Result<(Vec<u32>, Vec<u32>)> {
    let own = held.own();
    let Tile { block, rows, expand, fold, .. } = Tile::meet(held, cut, talk).await?;
    let first = block.start;
    let at = move |vertex: u32| vertex as usize - first;
    let named = Arc::new(Named::new(&rows, first, held.vertices()));
    // Of vertices with rows here: the smallest parent that is known here, and when there was the first.
    let mut parents = block.clone().map(|_| AtomicU32::new(NONE)).collect::<Vec<_>>();
    let mut depths = vec![NONE; block.len()];
    let mut nothing = vec![(); held.vertices()];
    let mut reached = Vec::new();
    if own.contains(&(source as usize)) {
        *parents[at(source)].get_mut() = source;
        reached.push(source);
    }
    for depth in 0.. {
        let mut is_new = vec![false; own.len()];
        for &vertex in &reached {
            is_new[vertex as usize - own.start] = true;
            depths[at(vertex)] = depth;
        }
        let arrived = expand.share(&is_new, &mut nothing, &[reached.len() as u64], talk).await?;
        if sum_of(&arrived.letters, 0) == 0 {
            break;
        }
        let mut frontier = reached;
        frontier.extend(arrived.vertices);
        let (named, known) = (Arc::clone(&named), depths);
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
        if let Some(fold) = &fold {
            let others = Others::of(&mut reached, &own, &block);
            let bytes = fold.packed(|vertex| others.have(vertex), |vertex| parents[at(vertex)].load(Ordering::Relaxed));
            let letters = talk.round(&[], bytes).await?;
            others.vertices.iter().for_each(|vertex| depths[at(*vertex)] = depth + 1);
            fold.unpack(&letters, |_, vertex, parent: u32| {
                let best = parents[at(vertex)].get_mut();
                // A rank that tells of a vertex for the first time may be late.
                if depths[at(vertex)] == NONE {
                    if *best == NONE {
                        reached.push(vertex);
                    }
                    *best = parent.min(*best);
                }
            })?;
        }
    }
    let rows = own.start - first..own.end - first;
    let parents = parents.drain(rows.clone()).map(AtomicU32::into_inner).collect();
    Ok((parents, depths[rows].to_vec()))
}

/// The vertices of other ranks among those that a round has found.
struct Others {
    vertices: Vec<u32>,
    first: usize,
    flags: Vec<bool>,
}

impl Others {
    /// Takes them out.
    fn of(found: &mut Vec<u32>, own: &Range<usize>, block: &Range<usize>) -> Self {
        let vertices = found.extract_if(.., |vertex| !own.contains(&(*vertex as usize))).collect::<Vec<_>>();
        let mut flags = vec![false; block.len()];
        vertices.iter().for_each(|vertex| flags[*vertex as usize - block.start] = true);
        Self { vertices, first: block.start, flags }
    }

    fn have(&self, vertex: u32) -> bool {
        self.flags[vertex as usize - self.first]
    }
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
pub(in crate::graph) async fn sssp<L: Length>(
    held: &Arc<Held>,
    source: u32,
    cut: Cut,
    talk: &mut Talk,
) -> Result<Vec<L>> {
    let own = held.own();
    let Tile { block, rows, weights, expand, fold } = Tile::meet(held, cut, talk).await?;
    let first = block.start;
    let at = move |vertex: u32| vertex as usize - first;
    let weights = Arc::new(L::of(weights).ok_or_else(|| Error::internal("weights of another type"))?);
    let named = Arc::new(Named::new(&rows, first, held.vertices()));
    // Of all vertices: copies of others' are written as they come, and own ones when they are shared.
    let mut distances = vec![L::INFINITE.bits(); held.vertices()];
    // Of vertices with rows here: the shortest that is known here.
    let mut found = block.clone().map(|_| AtomicU64::new(L::INFINITE.bits())).collect::<Vec<_>>();
    let mut nearer: Vec<u32> = Vec::new();
    if own.contains(&(source as usize)) {
        *found[at(source)].get_mut() = 0;
        nearer.push(source);
    }
    loop {
        let mut is_new = vec![false; own.len()];
        for &vertex in &nearer {
            is_new[vertex as usize - own.start] = true;
            distances[vertex as usize] = *found[at(vertex)].get_mut();
        }
        let arrived = expand.share(&is_new, &mut distances, &[nearer.len() as u64], talk).await?;
        if sum_of(&arrived.letters, 0) == 0 {
            break;
        }
        let mut frontier = nearer;
        frontier.extend(arrived.vertices);
        let (named, weights) = (Arc::clone(&named), Arc::clone(&weights));
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
        if let Some(fold) = &fold {
            let others = Others::of(&mut nearer, &own, &block);
            let bytes = fold.packed(|vertex| others.have(vertex), |vertex| found[at(vertex)].load(Ordering::Relaxed));
            let letters = talk.round(&[], bytes).await?;
            fold.unpack(&letters, |_, vertex, length: u64| {
                let best = found[at(vertex)].get_mut();
                if length < *best {
                    *best = length;
                    nearer.push(vertex);
                }
            })?;
            nearer.sort_unstable();
            nearer.dedup();
        }
    }
    let lengths = found.drain(own.start - first..own.end - first);
    Ok(lengths.map(|bits| L::from_bits(bits.into_inner())).collect())
}
