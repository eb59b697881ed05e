//! PageRank on several ranks: the kernel's own step over the rows of each, with the same bits.

use std::sync::Arc;

use arrow::buffer::Buffer;
use bireme_engine::error::Result;

use super::mirrors::Mirrors;
use crate::graph::algorithm::PageRank;
use crate::graph::build::{BuildOptions, By};
use crate::graph::edges::Held;
use crate::graph::pagerank::{BlockSums, Walk, in_order};
use crate::graph::talk::{Talk, numbers};

/// The ranks of own vertices. All ranks call it.
pub(in crate::graph) async fn pagerank(
    held: &Arc<Held>,
    options: &PageRank,
    sources: &[u32],
    talk: &mut Talk,
) -> Result<Vec<f64>> {
    let own = held.own();
    let rows = Arc::new(held.rows(By::Target, BuildOptions::default(), talk).await?.0);
    let mirrors = Mirrors::meet(held, &rows, talk).await?;
    let shares = shares(held, talk).await?;
    let jumps = Arc::new(jumps(held, sources));
    let first = Arc::clone(&jumps);
    let mut walk = talk.run(move || Ok(Walk::new(first.to_vec(), shares))).await?;
    let mut from = vec![0.0; held.vertices()];
    let all = vec![true; own.len()];
    let (mut iterations, mut change) = (0, f64::INFINITY);
    loop {
        from[own.clone()].copy_from_slice(&walk.contributions);
        let words = walk.sums.iter().flat_map(|sums| [sums.change.to_bits(), sums.dangling.to_bits()]);
        let arrived = mirrors.share(&all, &mut from, &words.collect::<Vec<_>>(), talk).await?;
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
        let damping = options.damping;
        let jumping = 1.0 - damping + damping * sums.dangling;
        let (rows, jumps) = (Arc::clone(&rows), Arc::clone(&jumps));
        (walk, from) = talk
            .run(move || {
                walk.step(&rows, &from, damping, |vertex| jumping * jumps[vertex]);
                Ok((walk, from))
            })
            .await?;
        iterations += 1;
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
