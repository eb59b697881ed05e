//! The edges of a graph on the ranks, and the forms in which algorithms want them.
//!
//! ```text
//!   rank 0   the rows it read: from, to, weight ─┐ numbers for vertices   ┌─► one rank: adjacency of all of it
//!   rank 1   the rows it read                    ─┴───────────────────────┴─► several: rows of its own vertices, or all edges
//! ```
//!
//! Each rank owns a range of vertices: cut at multiples of [`BLOCK`], so that sums over blocks do not depend on the ranks, and so
//! that ranks have about equally many edges. It is the layouts' partition by equal weight, of blocks.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use bireme_engine::error::{Error, Result};
use bireme_engine::layout::Partition;

use super::between::Cut;
use super::build::{self, BuildOptions, By, Edges, Weight};
use super::numbering::{Ends, Numbering};
use super::talk::{Talk, numbers};
use super::{BLOCK, Csr, Graph, Weighted};

/// Weights of edges, all of one kind.
#[derive(Debug)]
pub(super) enum Weights {
    None,
    Integers(Vec<i64>),
    Floats(Vec<f64>),
}

/// The edges that one rank has read, with numbers for vertices.
#[derive(Debug)]
pub(super) struct EdgeList {
    pub from: Vec<u32>,
    pub to: Vec<u32>,
    pub weights: Weights,
}

/// A graph on all ranks, as one of them has it.
#[derive(Debug)]
pub(super) struct Held {
    pub numbering: Numbering,
    pub edges: EdgeList,
    /// `cuts[place]..cuts[place + 1]` are the vertices of a rank.
    pub cuts: Vec<usize>,
    place: usize,
    /// All edges, where another rank has some too.
    whole: OnceLock<Arc<EdgeList>>,
    directed: OnceLock<Graph>,
    simple: OnceLock<Graph>,
    once: OnceLock<Graph>,
    integers: OnceLock<Weighted<i64>>,
    floats: OnceLock<Weighted<f64>>,
}

/// What the columns of edges are called, for messages, and what they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EdgeColumns {
    /// Sources and targets.
    pub ends: [String; 2],
    /// Whether vertices are texts (`Utf8View`) or integers (`Int64`).
    pub text: bool,
    /// The third column, if there is one.
    pub weight: Option<(String, DataType)>,
    /// Whether each edge goes back as well.
    pub undirected: bool,
}

impl fmt::Display for EdgeColumns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, to] = &self.ends;
        write!(f, "{from} {} {to}", if self.undirected { "--" } else { "->" })?;
        self.weight.as_ref().map_or(Ok(()), |(name, _)| write!(f, " weight {name}"))
    }
}

impl Held {
    /// Of the rows that each rank has read. All ranks call it.
    pub async fn read(batches: Vec<RecordBatch>, columns: &EdgeColumns, talk: &mut Talk) -> Result<Self> {
        let undirected = columns.undirected;
        let columns = columns.clone();
        let (ends, weights) = talk
            .run(move || {
                let names = [columns.ends[0].as_str(), columns.ends[1].as_str()];
                let ends = Ends::read(&batches, names, columns.text)?;
                let weights = match &columns.weight {
                    Some((name, data_type)) => read_weights(&batches, name, data_type)?,
                    None => Weights::None,
                };
                Ok((ends, weights))
            })
            .await?;
        let (numbering, [from, to]) = ends.number(talk).await?;
        let mut edges = EdgeList { from, to, weights };
        if undirected {
            edges = talk.run(move || Ok(edges.both_ways())).await?;
        }
        let cuts = cut(&edges, numbering.vertices(), talk).await?;
        Ok(Self {
            numbering,
            edges,
            cuts,
            place: talk.place(),
            whole: OnceLock::new(),
            directed: OnceLock::new(),
            simple: OnceLock::new(),
            once: OnceLock::new(),
            integers: OnceLock::new(),
            floats: OnceLock::new(),
        })
    }

    /// The vertices that this rank answers for.
    pub fn own(&self) -> Range<usize> {
        self.cuts[self.place]..self.cuts[self.place + 1]
    }

    /// The vertices at which the edges of this rank end under a cut.
    pub fn block(&self, cut: Cut) -> Range<usize> {
        let row = cut.row_of(self.place);
        self.cuts[row.start]..self.cuts[row.end]
    }

    /// The rank that owns each block of [`BLOCK`] vertices.
    pub fn owners(&self) -> Vec<u32> {
        let mut owners = Vec::with_capacity(self.vertices().div_ceil(BLOCK));
        (0..).zip(&self.cuts[1..]).for_each(|(place, end)| owners.resize(end.div_ceil(BLOCK), place));
        owners
    }

    pub fn vertices(&self) -> usize {
        self.numbering.vertices()
    }

    /// Bytes that so many edges, and the names, take, about.
    pub fn bytes(&self, edges: usize) -> usize {
        let weights = match &self.edges.weights {
            Weights::None => 0,
            Weights::Integers(_) | Weights::Floats(_) => 8,
        };
        edges * (8 + weights) + self.vertices() * 8
    }

    /// Brings the edges of all ranks to each. All ranks call it.
    pub async fn gather(&self, talk: &mut Talk) -> Result<()> {
        if talk.ranks() == 1 {
            return Ok(());
        }
        // An action that was cancelled may have left some ranks with all edges, and others without.
        let has = u64::from(self.whole.get().is_some());
        if talk.sums(&[has]).await?[0] == talk.ranks() as u64 {
            return Ok(());
        }
        let letters = talk.tell_all(&[], self.edges.packed(0..self.edges.from.len(), |_| true)).await?;
        let mut whole = self.edges.empty();
        for letter in letters {
            whole.unpack(&letter.bytes)?;
        }
        self.whole.get_or_init(|| Arc::new(whole));
        Ok(())
    }

    /// All edges there are, on one rank or once they were gathered.
    fn all(&self) -> &EdgeList {
        self.whole.get().map_or(&self.edges, |whole| whole)
    }

    /// Edges as they are, duplicates and loops too.
    pub fn directed(&self) -> Result<&Graph> {
        let edges = self.all();
        or_build(&self.directed, || {
            build::directed(self.vertices(), Edges::new(&edges.from, &edges.to), BuildOptions::default())
        })
    }

    /// Edges in both directions, each once, without loops.
    pub fn simple(&self) -> Result<&Graph> {
        let edges = self.all();
        or_build(&self.simple, || {
            build::symmetric(self.vertices(), Edges::new(&edges.from, &edges.to), BuildOptions::simple())
        })
    }

    /// Each edge once, without loops.
    pub fn once(&self) -> Result<&Graph> {
        let edges = self.all();
        or_build(&self.once, || {
            build::directed(self.vertices(), Edges::new(&edges.from, &edges.to), BuildOptions::simple())
        })
    }

    pub fn with_integers(&self) -> Result<&Weighted<i64>> {
        let edges = self.all();
        let Weights::Integers(weights) = &edges.weights else { return Err(Error::internal("no integer weights")) };
        or_build(&self.integers, || self.weighted(edges, weights))
    }

    pub fn with_floats(&self) -> Result<&Weighted<f64>> {
        let edges = self.all();
        let Weights::Floats(weights) = &edges.weights else { return Err(Error::internal("no float weights")) };
        or_build(&self.floats, || self.weighted(edges, weights))
    }

    fn weighted<W: Weight>(&self, edges: &EdgeList, weights: &[W]) -> Result<Weighted<W>> {
        let edges = Edges::weighted(&edges.from, &edges.to, weights);
        build::weighted_directed(self.vertices(), edges, BuildOptions::default())
    }

    /// The rows of this rank's own vertices: neighbours `by` source or target. All ranks call it.
    pub async fn rows(&self, by: By, options: BuildOptions, talk: &mut Talk) -> Result<(Csr, Weights)> {
        let mut bytes = Vec::with_capacity(talk.ranks());
        for place in 0..talk.ranks() {
            let theirs = self.cuts[place] as u32..self.cuts[place + 1] as u32;
            let wanted = |at: usize| match by {
                By::Source => theirs.contains(&self.edges.from[at]),
                By::Target => theirs.contains(&self.edges.to[at]),
                By::Both => theirs.contains(&self.edges.from[at]) || theirs.contains(&self.edges.to[at]),
            };
            bytes.push(self.edges.packed(0..self.edges.from.len(), wanted));
        }
        self.received(bytes, self.own(), (by, options), talk).await
    }

    /// The edges that this rank has under a cut: sources, in the rows of the targets in its block. All ranks call it.
    pub async fn tile(&self, cut: Cut, talk: &mut Talk) -> Result<(Csr, Weights)> {
        let bytes = self.packed_by(cut);
        self.received(bytes, self.block(cut), (By::Target, BuildOptions::default()), talk).await
    }

    /// For each rank the edges that it has under a cut.
    fn packed_by(&self, cut: Cut) -> Vec<Buffer> {
        let owners = self.owners();
        let owner = |vertex: u32| owners[vertex as usize / BLOCK] as usize;
        let ends = self.edges.from.iter().zip(&self.edges.to);
        let places = ends.map(|(from, to)| cut.place(owner(*from), owner(*to)) as u32).collect::<Vec<_>>();
        let packed = |place| self.edges.packed(0..places.len(), |at| places[at] == place);
        (0..(cut.rows * cut.columns) as u32).map(packed).collect()
    }

    /// Deals edges out, and builds rows of those that came.
    async fn received(
        &self,
        bytes: Vec<Buffer>,
        rows: Range<usize>,
        (by, options): (By, BuildOptions),
        talk: &mut Talk,
    ) -> Result<(Csr, Weights)> {
        let letters = talk.round(&[], bytes).await?;
        let (mut part, vertices) = (self.edges.empty(), self.vertices());
        talk.run(move || {
            for letter in letters {
                part.unpack(&letter.bytes)?;
            }
            let (from, to) = (&part.from, &part.to);
            Ok(match &part.weights {
                Weights::None => (build::shard(vertices, rows, by, Edges::new(from, to), options)?.0, Weights::None),
                Weights::Integers(weights) => {
                    let edges = Edges::weighted(from, to, weights);
                    let (csr, weights) = build::shard(vertices, rows, by, edges, options)?;
                    (csr, Weights::Integers(weights))
                }
                Weights::Floats(weights) => {
                    let edges = Edges::weighted(from, to, weights);
                    let (csr, weights) = build::shard(vertices, rows, by, edges, options)?;
                    (csr, Weights::Floats(weights))
                }
            })
        })
        .await
    }
}

fn or_build<T>(cell: &OnceLock<T>, build: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(built) = cell.get() {
        return Ok(built);
    }
    let built = build()?;
    Ok(cell.get_or_init(|| built))
}

/// Column 2 of batches: `Int64` or `Float64`.
fn read_weights(batches: &[RecordBatch], name: &str, data_type: &DataType) -> Result<Weights> {
    let wrong = |what: &str| Err(Error::user(format!("column {name} has {what}; the length of an edge is at least 0")));
    if batches.iter().any(|batch| batch.column(2).null_count() > 0) {
        return wrong("NULLs");
    }
    match data_type {
        DataType::Int64 => {
            let parts = batches.iter().map(|batch| batch.column(2).as_primitive::<Int64Type>().values().as_ref());
            let weights = parts.collect::<Vec<&[i64]>>().concat();
            match weights.iter().find(|weight| **weight < 0) {
                Some(weight) => wrong(&format!("a negative value, {weight}")),
                None => Ok(Weights::Integers(weights)),
            }
        }
        _ => {
            let parts = batches.iter().map(|batch| batch.column(2).as_primitive::<Float64Type>().values().as_ref());
            let weights = parts.collect::<Vec<&[f64]>>().concat();
            match weights.iter().find(|weight| weight.is_nan() || **weight < 0.0) {
                Some(weight) if weight.is_nan() => wrong("a NaN"),
                Some(weight) => wrong(&format!("a negative value, {weight}")),
                None => Ok(Weights::Floats(weights)),
            }
        }
    }
}

/// Where to cut the vertices, so that ranks have about as many edge ends each. All ranks come to the same.
async fn cut(edges: &EdgeList, vertices: usize, talk: &mut Talk) -> Result<Vec<usize>> {
    let ranks = talk.ranks();
    if ranks == 1 {
        return Ok(vec![0, vertices]);
    }
    // A vertex counts as an edge, for it has a value.
    let mut ends = vec![0_u64; vertices.div_ceil(BLOCK)];
    edges.from.iter().chain(&edges.to).for_each(|&vertex| ends[vertex as usize / BLOCK] += 1);
    let letters = talk.tell_all(&[], Buffer::from_vec(ends)).await?;
    let mut sums = vec![BLOCK as u64; vertices.div_ceil(BLOCK)];
    for letter in &letters {
        sums.iter_mut().zip(numbers::<u64>(&letter.bytes)).for_each(|(sum, ends)| *sum += ends);
    }
    Ok(cuts(&sums, vertices, ranks))
}

/// Ranges of vertices by the weights of their blocks, for which the layouts have a partition: of equal nonzeros.
fn cuts(weights: &[u64], vertices: usize, ranks: usize) -> Vec<usize> {
    let mut cuts = vec![0];
    for part in Partition::equal_weight(weights, ranks).parts() {
        // A rank without blocks begins and ends where the one before ended.
        let blocks = part.runs().last().map(|run| run.end);
        let end = blocks.map_or(cuts[cuts.len() - 1], |blocks| vertices.min(blocks * BLOCK));
        cuts.push(end);
    }
    cuts
}

impl EdgeList {
    /// With each edge the one that goes back; a loop is its own.
    fn both_ways(mut self) -> Self {
        let back = (0..self.from.len()).filter(|&at| self.from[at] != self.to[at]).collect::<Vec<_>>();
        let from = back.iter().map(|&at| self.to[at]).collect::<Vec<_>>();
        let to = back.iter().map(|&at| self.from[at]).collect::<Vec<_>>();
        self.from.extend(from);
        self.to.extend(to);
        match &mut self.weights {
            Weights::None => {}
            Weights::Integers(weights) => weights.extend(back.iter().map(|&at| weights[at]).collect::<Vec<_>>()),
            Weights::Floats(weights) => weights.extend(back.iter().map(|&at| weights[at]).collect::<Vec<_>>()),
        }
        self
    }

    /// Refuses integer weights with which the length of a path might not fit 64 bits.
    pub fn lengths_fit(&self, vertices: usize) -> Result<()> {
        let Weights::Integers(weights) = &self.weights else { return Ok(()) };
        let longest = weights.iter().copied().max().unwrap_or(0);
        if longest.checked_mul(vertices as i64).is_none_or(|length| length == i64::MAX) {
            return Err(Error::user(format!(
                "weights up to {longest} make lengths of paths over {vertices} vertices that may not fit 64 bits; take DOUBLE: CAST(… AS DOUBLE)"
            )));
        }
        Ok(())
    }

    /// No edges of the same kind.
    fn empty(&self) -> Self {
        let weights = match self.weights {
            Weights::None => Weights::None,
            Weights::Integers(_) => Weights::Integers(Vec::new()),
            Weights::Floats(_) => Weights::Floats(Vec::new()),
        };
        Self { from: Vec::new(), to: Vec::new(), weights }
    }

    /// Of a range, the edges that are wanted, as bytes: sources, targets, weights.
    fn packed(&self, range: Range<usize>, wanted: impl Fn(usize) -> bool) -> Buffer {
        let places = range.filter(|at| wanted(*at)).collect::<Vec<_>>();
        let weight_bytes = if matches!(self.weights, Weights::None) { 0 } else { 8 };
        let mut bytes = Vec::with_capacity(places.len() * (8 + weight_bytes));
        for column in [&self.from, &self.to] {
            places.iter().for_each(|&at| bytes.extend_from_slice(&column[at].to_ne_bytes()));
        }
        match &self.weights {
            Weights::None => {}
            Weights::Integers(weights) => {
                places.iter().for_each(|&at| bytes.extend_from_slice(&weights[at].to_ne_bytes()))
            }
            Weights::Floats(weights) => {
                places.iter().for_each(|&at| bytes.extend_from_slice(&weights[at].to_ne_bytes()))
            }
        }
        Buffer::from_vec(bytes)
    }

    /// Appends what [`EdgeList::packed`] made.
    fn unpack(&mut self, bytes: &[u8]) -> Result<()> {
        let width = if matches!(self.weights, Weights::None) { 8 } else { 16 };
        if !bytes.len().is_multiple_of(width) {
            return Err(Error::internal(format!("edges in {} bytes", bytes.len())));
        }
        let count = bytes.len() / width;
        let (from, rest) = bytes.split_at(count * 4);
        let (to, weights) = rest.split_at(count * 4);
        self.from.extend(numbers::<u32>(from));
        self.to.extend(numbers::<u32>(to));
        match &mut self.weights {
            Weights::None => {}
            Weights::Integers(own) => own.extend(numbers::<i64>(weights)),
            Weights::Floats(own) => own.extend(numbers::<f64>(weights)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every vertex has one rank, and ranks meet at blocks; whether there are few vertices, or all edges are in one block.
    #[test]
    fn cuts_are_whole_blocks_and_cover_all() {
        for vertices in [0, 1, BLOCK - 1, BLOCK, 5 * BLOCK + 7, 40 * BLOCK] {
            let blocks = vertices.div_ceil(BLOCK);
            for ranks in [2, 3, 4, 7] {
                for heavy in [0, blocks / 2, blocks.saturating_sub(1)] {
                    let weights = (0..blocks).map(|block| if block == heavy { 1 << 40 } else { BLOCK as u64 });
                    let cuts = cuts(&weights.collect::<Vec<_>>(), vertices, ranks);
                    assert_eq!((cuts.len(), cuts[0], cuts[ranks]), (ranks + 1, 0, vertices), "{cuts:?}");
                    assert!(cuts.is_sorted(), "{cuts:?}");
                    assert!(cuts.iter().all(|cut| cut % BLOCK == 0 || *cut == vertices), "{cuts:?}");
                }
            }
        }
        assert_eq!(cuts(&[1, 1, 1, 1], 4 * BLOCK, 2), [0, 2 * BLOCK, 4 * BLOCK]);
        assert_eq!(cuts(&[9, 1, 1, 1], 4 * BLOCK - 3, 2), [0, BLOCK, 4 * BLOCK - 3]);
    }
}
