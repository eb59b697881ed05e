//! Which rank has which edges: a cut in one dimension, or in two.
//!
//! ```text
//!   6 ranks as 3 x 2                   from vertices of 0, 2, 4    of 1, 3, 5
//!                 to vertices of 0, 1          rank 0                rank 1
//!                             of 2, 3          rank 2                rank 3
//!                             of 4, 5          rank 4                rank 5
//! ```
//!
//! Vertices stay with their owners. Of `r x c` ranks, the one at place `i · c + j` has the edges to vertices of the
//! ranks in its row `i` from vertices of the ranks in its column `j`; so an edge between two vertices of a rank lies on
//! that rank. Values travel twice. *Expand*: an owner sends its values down its column, to the ranks that have edges
//! from them. *Fold*: what these make of them for a vertex goes along the row to its owner, who puts the parts
//! together. With `c = 1` nothing folds: it is the cut in one dimension by target, of one round; with `r = 1` nothing
//! expands: it is the one by source.
//!
//! A vertex with edges everywhere has `r · c - 1` copies in one dimension, and `r - 1` copies and `c - 1` parts in two.
//! If edges ended anywhere, a round in which all values change would send
//!
//! ```text
//!   Σ over vertices   (r - 1) · (1 - (1 - 1/r)^out edges)  +  (c - 1) · (1 - (1 - 1/c)^in edges)
//! ```
//!
//! values. But neighbours often have numbers near each other, as on roads, and then most edges stay on a rank however
//! they are cut. So these numbers are counted: of the vertices of a sample, which ranks own the other ends of their
//! edges; that says what they send under any cut. What a rank sends on average, in bytes, and what its rounds take in
//! the same unit, is the cost of a cut. Counting is a pass over the edges and two rounds, and all ranks come to the
//! same.
//!
//! The values of a breadth-first search are bits on their way to the copies and parents on their way back, so it is
//! hardly ever cut in two dimensions; a graph whose edges lead to few vertices is, by source.
//!
//! A. Buluç, K. Madduri: Parallel Breadth-First Search on Distributed Memory Systems, SC 2011. The way from owners of
//! vertices to a grid: E. G. Boman, K. D. Devine, S. Rajamanickam: Scalable Matrix Computations on Large Scale-Free
//! Graphs Using 2D Graph Partitioning, SC 2013. The sum: J. E. Gonzalez et al.: PowerGraph, OSDI 2012.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use arrow::buffer::Buffer;
use bireme_engine::error::{Error, Result};
use bireme_engine::metrics::StageMetrics;

use super::mirrors::bits_of;
use crate::graph::BLOCK;
use crate::graph::answer::scrambled;
use crate::graph::edges::Held;
use crate::graph::talk::{Talk, numbers};

// Tests have small numbers, so that small graphs take every way.

/// A round takes as long as sending so many bytes: 10 µs at 6 GB/s, or 60 µs at 1 GB/s.
const ROUND: u64 = if cfg!(test) { 1 << 10 } else { 1 << 16 };

/// How many vertices are looked at.
const SAMPLE: usize = if cfg!(test) { 1 << 12 } else { 1 << 14 };

/// How the edges of a graph are cut between ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cutting {
    /// As costs least.
    #[default]
    Auto,
    /// In one dimension: an edge is with its target.
    OneD,
    /// In two dimensions: on a grid of ranks as near to a square as there is.
    TwoD,
}

impl FromStr for Cutting {
    type Err = Error;

    /// Reads it as `Display` writes it.
    fn from_str(text: &str) -> Result<Self> {
        let wish = text.trim().to_lowercase();
        let known = [Cutting::Auto, Cutting::OneD, Cutting::TwoD].into_iter().find(|way| wish == way.to_string());
        known.ok_or_else(|| Error::user(format!("edges cannot be cut as `{text}`; there are `auto`, `1d` and `2d`")))
    }
}

impl fmt::Display for Cutting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cutting::Auto => "auto",
            Cutting::OneD => "1d",
            Cutting::TwoD => "2d",
        })
    }
}

/// A grid of all ranks, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::graph) struct Cut {
    pub rows: usize,
    pub columns: usize,
}

/// A cut, and why.
#[derive(Clone, Copy, Debug)]
pub(in crate::graph) struct Choice {
    pub cut: Cut,
    /// Where costs were compared: what all ranks are expected to send while all values change, and what they would send
    /// if edges were with their targets.
    pub expected: Option<[u64; 2]>,
}

impl Cut {
    /// In one dimension, without a fold.
    pub fn by_target(ranks: usize) -> Self {
        Self { rows: ranks, columns: 1 }
    }

    /// All there are of so many ranks; the one by target is the first.
    pub fn all(ranks: usize) -> impl Iterator<Item = Self> {
        let divisors = (1..=ranks).filter(move |columns| ranks.is_multiple_of(*columns));
        divisors.map(move |columns| Self { rows: ranks / columns, columns })
    }

    /// The one nearest to a square, of at least as many rows as columns.
    pub fn square(ranks: usize) -> Self {
        Self::all(ranks).filter(|cut| cut.rows >= cut.columns).last().unwrap_or(Self::by_target(ranks))
    }

    /// Which rank has the edges from vertices of one to vertices of another.
    pub fn place(self, source: usize, target: usize) -> usize {
        self.row_of(target).start + source % self.columns
    }

    /// The ranks to whose vertices the edges of a rank lead.
    pub fn row_of(self, place: usize) -> Range<usize> {
        let first = place / self.columns * self.columns;
        first..first + self.columns
    }

    fn rounds(self) -> u64 {
        if self.columns == 1 { 1 } else { 2 }
    }

    /// As it is wished. `bytes` are those of a value on its way to copies, and of one on its way back. All ranks call
    /// it.
    pub async fn choose(cutting: Cutting, bytes: [u64; 2], held: &Arc<Held>, talk: &mut Talk) -> Result<Choice> {
        let ranks = talk.ranks();
        let by_target = Self::by_target(ranks);
        let choice = match cutting {
            Cutting::OneD => Choice { cut: by_target, expected: None },
            Cutting::TwoD => Choice { cut: Self::square(ranks), expected: None },
            Cutting::Auto => {
                let sent = Sample::new(held.vertices()).sent(bytes, held, talk).await?;
                let cost = |(cut, sent): &&(Cut, u64)| sent / ranks as u64 + cut.rounds() * ROUND;
                // The first of equals: the one with fewer rounds.
                let (cut, least) = sent.iter().min_by_key(cost).copied().unwrap_or((by_target, 0));
                let others = sent.first().map_or(0, |(_, sent)| *sent);
                Choice { cut, expected: Some([least, others]) }
            }
        };
        tracing::debug!(place = talk.place(), cut = %choice.cut, expected = ?choice.expected, "edges are cut");
        Ok(choice)
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cut { columns: 1, .. } => f.write_str("1-D by target"),
            Cut { rows: 1, .. } => f.write_str("1-D by source"),
            Cut { rows, columns } => write!(f, "2-D on {rows} x {columns}"),
        }
    }
}

impl Choice {
    /// Counts it: on one rank, for numbers of several are added up.
    pub fn count(&self, metrics: &StageMetrics) {
        metrics.add("grid_rows", self.cut.rows as u64);
        metrics.add("grid_columns", self.cut.columns as u64);
        if let Some([least, by_target]) = self.expected {
            metrics.add("cut_bytes", least);
            metrics.add("cut_bytes_by_target", by_target);
        }
    }
}

/// Some vertices: one of each `stride`, any of them.
struct Sample {
    stride: usize,
    vertices: Vec<u32>,
    of: usize,
}

impl Sample {
    fn new(of: usize) -> Self {
        let stride = of.div_ceil(SAMPLE).max(1);
        let any = |first: usize| first + scrambled(first as u64) as usize % stride.min(of - first);
        Self { stride, vertices: (0..of).step_by(stride).map(|first| any(first) as u32).collect(), of }
    }

    fn place(&self, vertex: u32) -> Option<usize> {
        let place = vertex as usize / self.stride;
        (self.vertices[place] == vertex).then_some(place)
    }

    /// The places that a rank counts.
    fn part(&self, place: usize, ranks: usize) -> Range<usize> {
        let start = |place: usize| self.vertices.len() * place / ranks;
        start(place)..start(place + 1)
    }

    /// What each cut would send in bytes while all values change, estimated for all vertices. All ranks call it.
    async fn sent(self, bytes: [u64; 2], held: &Arc<Held>, talk: &mut Talk) -> Result<Vec<(Cut, u64)>> {
        let (ranks, place) = (talk.ranks(), talk.place());
        let work = Arc::clone(held);
        let (sample, sets) = talk
            .run(move || {
                let sets = self.far_owners(&work, ranks);
                Ok((self, sets))
            })
            .await?;
        let width = 2 * ranks.div_ceil(64);
        let of = |place: usize| {
            let part = sample.part(place, ranks);
            part.start * width..part.end * width
        };
        let asks = (0..ranks).map(|place| Buffer::from_slice_ref(&sets[of(place)])).collect();
        let letters = talk.round(&[], asks).await?;
        let mut sets = vec![0_u64; of(place).len()];
        for letter in &letters {
            sets.iter_mut().zip(numbers::<u64>(&letter.bytes)).for_each(|(set, other)| *set |= other);
        }
        let owners = held.owners();
        let cuts = Cut::all(ranks).collect::<Vec<_>>();
        let mut counts = vec![0; cuts.len()];
        for (&vertex, sets) in sample.vertices[sample.part(place, ranks)].iter().zip(sets.chunks_exact(width)) {
            let owner = owners[vertex as usize / BLOCK] as usize;
            let [targets, sources] = [&sets[..width / 2], &sets[width / 2..]].map(|set| bits_of(set, 0));
            for (cut, count) in cuts.iter().zip(&mut counts) {
                let rows = others(&targets, owner, |place| place / cut.columns);
                let columns = others(&sources, owner, |place| place % cut.columns);
                *count += rows * bytes[0] + columns * bytes[1];
            }
        }
        let all = |count: u64| (u128::from(count) * sample.of as u128 / sample.vertices.len().max(1) as u128) as u64;
        Ok(cuts.into_iter().zip(talk.sums(&counts).await?).map(|(cut, count)| (cut, all(count))).collect())
    }

    /// For each vertex of the sample, of this rank's edges: which ranks own the targets of its out edges, and which
    /// ones the sources of its in edges; a bit for each rank.
    fn far_owners(&self, held: &Held, ranks: usize) -> Vec<u64> {
        let words = ranks.div_ceil(64);
        let owners = held.owners();
        let mut sets = vec![0_u64; self.vertices.len() * 2 * words];
        for ends in held.edges.from.iter().zip(&held.edges.to) {
            for (side, (near, far)) in [ends, (ends.1, ends.0)].into_iter().enumerate() {
                if let Some(place) = self.place(*near) {
                    let owner = owners[*far as usize / BLOCK] as usize;
                    sets[(2 * place + side) * words + owner / 64] |= 1 << (owner % 64);
                }
            }
        }
        sets
    }
}

/// How many lines of a grid some ranks are in, beside that of one.
fn others(ranks: &[u32], one: usize, line: impl Fn(usize) -> usize) -> u64 {
    let lines = ranks.iter().map(|&rank| line(rank as usize)).collect::<BTreeSet<_>>();
    lines.into_iter().filter(|other| *other != line(one)).count() as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn ranks_make_grids() {
        let shape = |cut: Cut| (cut.rows, cut.columns);
        let squares = [1, 2, 3, 4, 5, 6, 12, 16].map(|ranks| shape(Cut::square(ranks)));
        assert_eq!(squares, [(1, 1), (2, 1), (3, 1), (2, 2), (5, 1), (3, 2), (4, 3), (4, 4)]);
        assert_eq!(Cut::all(6).map(shape).collect::<Vec<_>>(), [(6, 1), (3, 2), (2, 3), (1, 6)]);
        let texts = Cut::all(4).map(|cut| cut.to_string()).collect::<Vec<_>>();
        assert_eq!(texts, ["1-D by target", "2-D on 2 x 2", "1-D by source"]);
    }

    /// An edge lies in the row of its target's owner and in the column of its source's.
    #[test]
    fn edges_lie_between_their_owners() {
        for cut in [1, 2, 3, 4, 6, 12].into_iter().flat_map(Cut::all) {
            for (source, target) in (0..cut.rows * cut.columns).flat_map(|one| [(one, one), (one, 0), (0, one)]) {
                let place = cut.place(source, target);
                assert!(cut.row_of(place).contains(&target), "{cut}");
                assert_eq!(place % cut.columns, source % cut.columns, "{cut}");
                assert!(source != target || place == source, "{cut}");
            }
        }
    }

    #[test]
    fn wishes_are_read_as_they_are_written() {
        for cutting in [Cutting::Auto, Cutting::OneD, Cutting::TwoD] {
            assert_eq!(format!(" {cutting} ").to_uppercase().parse::<Cutting>().unwrap(), cutting);
        }
        assert!("3d".parse::<Cutting>().unwrap_err().message().contains("`1d`"));
    }

    #[test]
    fn samples_are_spread() {
        for of in [0, 1, SAMPLE, SAMPLE + 1, 5 * SAMPLE - 3] {
            let sample = Sample::new(of);
            assert!(sample.vertices.len() <= SAMPLE && sample.vertices.is_sorted());
            assert!(sample.vertices.iter().all(|vertex| (*vertex as usize) < of));
            let found = (0..of as u32).filter_map(|vertex| sample.place(vertex)).collect::<Vec<_>>();
            assert_eq!(found, (0..sample.vertices.len()).collect::<Vec<_>>());
            let parts = (0..3).flat_map(|place| sample.part(place, 3)).collect::<Vec<_>>();
            assert_eq!(parts, found);
        }
    }
}
