//! PageRank on several ranks: the kernel's own step over the rows of each.
//!
//! Where edges are cut in one dimension, a step has the same bits as on one rank. In two, each rank adds up what its
//! edges bring to a vertex, and the owner adds these parts in the order of the ranks: the kernel's step again, over
//! rows whose neighbours are the places of the parts.

use std::sync::Arc;

use arrow::buffer::Buffer;
use bireme_engine::error::Result;
use rayon::prelude::*;

use super::cut::Cut;
use super::mirrors::Mirrors;
use super::tile::Tile;
use crate::graph::algorithm::PageRank;
use crate::graph::edges::Held;
use crate::graph::pagerank::{BlockSums, Walk, in_order};
use crate::graph::talk::{Talk, numbers};
use crate::graph::{BLOCK, Csr};

/// The ranks of own vertices. All ranks call it.
pub(in crate::graph) async fn pagerank(
    held: &Arc<Held>,
    options: &PageRank,
    sources: &[u32],
    cut: Cut,
    talk: &mut Talk,
) -> Result<Vec<f64>> {
    let own = held.own();
    let Tile { block, rows, expand, fold, .. } = Tile::meet(held, cut, talk).await?;
    let mut parts = fold.map(|fold| Parts::new(fold, block.start, block.len()));
    let shares = shares(held, talk).await?;
    let jumps = Arc::new(jumps(held, sources));
    let first = Arc::clone(&jumps);
    let mut walk = talk.run(move || Ok(Walk::new(first.to_vec(), shares))).await?;
    // What copies have: nothing.
    let mut from = vec![0.0_f64; held.vertices()];
    let (mut iterations, mut change) = (0, f64::INFINITY);
    loop {
        let before = from[own.clone()].iter().zip(&walk.contributions);
        let changed = before.map(|(before, now)| before.to_bits() != now.to_bits()).collect::<Vec<_>>();
        from[own.clone()].copy_from_slice(&walk.contributions);
        let words = walk.sums.iter().flat_map(|sums| [sums.change.to_bits(), sums.dangling.to_bits()]);
        let arrived = expand.share(&changed, &mut from, &words.collect::<Vec<_>>(), talk).await?;
        let sums = arrived.letters.iter().flat_map(|letter| letter.words.as_chunks::<2>().0);
        let sums = sums.map(|&[change, dangling]| BlockSums {
            change: f64::from_bits(change),
            dangling: f64::from_bits(dangling),
        });
        let sums = in_order(&sums.collect::<Vec<_>>());
        if iterations > 0 {
            change = sums.change;
        }
        if iterations >= options.max_iterations || change <= options.tolerance {
            return Ok(walk.ranks);
        }
        if let Some(parts) = &mut parts {
            from = parts.fold(&rows, from, talk).await?;
        }
        let (rows, values) = parts.as_mut().map_or((&rows, &mut from), |parts| (&parts.rows, &mut parts.came));
        let damping = options.damping;
        let jumping = 1.0 - damping + damping * sums.dangling;
        let (rows, jumps, pulled) = (Arc::clone(rows), Arc::clone(&jumps), std::mem::take(values));
        (walk, *values) = talk
            .run(move || {
                walk.step(&rows, &pulled, damping, |vertex| jumping * jumps[vertex]);
                Ok((walk, pulled))
            })
            .await?;
        iterations += 1;
    }
}

/// Sums of contributions on their way to the owners of vertices.
struct Parts {
    fold: Mirrors,
    /// The first vertex that has a row here, and the sum over each row as it was sent last.
    first: usize,
    sent: Vec<f64>,
    /// Of each own vertex the places in `came`, which has the sums of all ranks as they came last.
    rows: Arc<Csr>,
    came: Vec<f64>,
}

impl Parts {
    fn new(fold: Mirrors, first: usize, rows: usize) -> Self {
        let slots = fold.slots();
        Self { fold, first, sent: vec![0.0; rows], came: vec![0.0; slots.edges()], rows: Arc::new(slots) }
    }

    /// Adds up what edges bring here, and sends what changed; gives the contributions back. All ranks call it.
    async fn fold(&mut self, rows: &Arc<Csr>, from: Vec<f64>, talk: &mut Talk) -> Result<Vec<f64>> {
        let rows = Arc::clone(rows);
        let (sums, from) = talk
            .run(move || {
                let brought =
                    |row: u32| rows.neighbours(row).iter().fold(0.0, |sum, &source| sum + from[source as usize]);
                let all = (0..rows.vertices() as u32).into_par_iter().with_min_len(BLOCK);
                Ok((all.map(brought).collect::<Vec<_>>(), from))
            })
            .await?;
        let row = |vertex: u32| vertex as usize - self.first;
        let changed = |vertex: u32| sums[row(vertex)].to_bits() != self.sent[row(vertex)].to_bits();
        let bytes = self.fold.packed(changed, |vertex| sums[row(vertex)]);
        let letters = talk.round(&[], bytes).await?;
        self.fold.unpack(&letters, |slot, _, sum| self.came[slot] = sum)?;
        self.sent = sums;
        Ok(from)
    }
}

/// For each own vertex, the share of its rank that goes along each of its out edges, which lie on all ranks.
async fn shares(held: &Held, talk: &mut Talk) -> Result<Vec<f64>> {
    let mut degrees = vec![0_u32; held.vertices()];
    held.edges.from.iter().for_each(|&vertex| degrees[vertex as usize] += 1);
    let parts = (0..talk.ranks()).map(|place| Buffer::from_slice_ref(&degrees[held.cuts[place]..held.cuts[place + 1]]));
    let letters = talk.round(&[], parts.collect()).await?;
    let mut sums = vec![0_u64; held.own().len()];
    for letter in &letters {
        sums.iter_mut().zip(numbers::<u32>(&letter.bytes)).for_each(|(sum, degree)| *sum += u64::from(degree));
    }
    Ok(sums.into_iter().map(|degree| if degree == 0 { 0.0 } else { 1.0 / degree as f64 }).collect())
}

/// For each own vertex, how likely a jump goes there.
fn jumps(held: &Held, sources: &[u32]) -> Vec<f64> {
    let own = held.own();
    if sources.is_empty() {
        return vec![1.0 / held.vertices() as f64; own.len()];
    }
    let mut sources = sources.to_vec();
    sources.sort_unstable();
    sources.dedup();
    let mut jumps = vec![0.0; own.len()];
    for source in sources.iter().map(|source| *source as usize).filter(|source| own.contains(source)) {
        jumps[source - own.start] = 1.0 / sources.len() as f64;
    }
    jumps
}
