//! Graphs for measurements, made of a seed.
//!
//! Edge number `e` is a function of the seed and `e` alone: the random numbers that it takes come from a stream of its own,
//! which starts at a hash of both. So any thread and any rank can make any range of edges, and all of them together make the
//! same graph.
//!
//! ```text
//!  Kron     2^scale vertices, degree · 2^scale edges. The matrix of edges is halved both ways, scale times; each time an edge
//! falls
//!           into one quarter:       A .57 │ B .19          The numbers of vertices are then exchanged by a bijection that the seed
//!                                   ──────┼──────          chooses, or the vertices with many edges were those whose numbers have
//!                                   C .19 │ D .05          few ones.
//!  Uniform  2^scale vertices, degree · 2^scale edges, both ends are any vertex.
//!  Grid     2^scale vertices in rows, as near to a square as it gets; edges go to the right and to the lower neighbour.
//! ```
//!
//! Edges are directed, and there are loops and duplicates, except in a grid. An edge of `Kron` takes scale/2 random numbers of
//! 64 bits, one of `Uniform` takes one.
//!
//! D. Chakrabarti, Y. Zhan, C. Faloutsos: R-MAT: A Recursive Model for Graph Mining, SDM 2004. J. Leskovec et al.: Kronecker
//! Graphs: An Approach to Modeling Networks, JMLR 11 (2010). The parameters are those of Graph500 and GAP. The hash is that of
//! G. L. Steele, D. Lea, C. H. Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.

use std::ops::Range;

use bireme_engine::error::{Error, Result};
use rayon::prelude::*;

/// Numbers of vertices have 32 bits, and the last one stands for no vertex.
const LARGEST_SCALE: u32 = 31;

/// The stride between the states of a stream: 2⁶⁴ by the golden ratio, odd.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Which family a graph is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A few vertices have many edges: R-MAT with Graph500's parameters, vertices shuffled.
    Kron,
    /// All vertices have about as many edges.
    Uniform,
    /// Neighbours in a plane: a large diameter. It has neither seed nor degree.
    Grid,
}

/// How many vertices there are: 2^scale.
///
/// # Errors
/// The scale is above 31.
pub fn vertices(scale: u32) -> Result<usize> {
    if scale > LARGEST_SCALE {
        let message = format!("a graph of 2^{scale} vertices: the largest scale is {LARGEST_SCALE}");
        return Err(Error::unsupported(message));
    }
    Ok(1 << scale)
}

/// How many edges there are; `degree` is how many each vertex has on average, and a grid has its own.
///
/// # Errors
/// The scale is above 31; there are 2⁶³ edges or more.
pub fn edge_count(kind: Kind, scale: u32, degree: u64) -> Result<u64> {
    let vertices = vertices(scale)? as u64;
    if kind == Kind::Grid {
        let Plane { width, height } = Plane::new(scale);
        return Ok(height * (width - 1) + (height - 1) * width);
    }
    let edges = vertices.checked_mul(degree).filter(|&edges| i64::try_from(edges).is_ok());
    edges.ok_or_else(|| Error::user(format!("{vertices} vertices of degree {degree} have too many edges")))
}

/// All edges of an R-MAT graph: sources and targets.
///
/// # Errors
/// As [`edges`].
pub fn kron(scale: u32, degree: u64, seed: u64) -> Result<(Vec<u32>, Vec<u32>)> {
    edges(Kind::Kron, scale, degree, seed, 0..edge_count(Kind::Kron, scale, degree)?)
}

/// All edges of a uniform graph: sources and targets.
///
/// # Errors
/// As [`edges`].
pub fn uniform(scale: u32, degree: u64, seed: u64) -> Result<(Vec<u32>, Vec<u32>)> {
    edges(Kind::Uniform, scale, degree, seed, 0..edge_count(Kind::Uniform, scale, degree)?)
}

/// All edges of a grid: sources and targets.
///
/// # Errors
/// As [`edges`].
pub fn grid(scale: u32) -> Result<(Vec<u32>, Vec<u32>)> {
    edges(Kind::Grid, scale, 0, 0, 0..edge_count(Kind::Grid, scale, 0)?)
}

/// The edges whose numbers lie in a range: sources and targets.
///
/// ```
/// use bireme_operators::graph::generate::{Kind, edge_count, edges, kron};
///
/// let (from, to) = kron(6, 16, 1)?;
/// assert_eq!((from.len() as u64, edge_count(Kind::Kron, 6, 16)?), (1024, 1024));
/// assert_eq!(edges(Kind::Kron, 6, 16, 1, 100..200)?, (from[100..200].to_vec(), to[100..200].to_vec()));
/// # Ok::<(), bireme_engine::Error>(())
/// ```
///
/// # Errors
/// There are no such edges; those of [`edge_count`]; memory ran out.
pub fn edges(kind: Kind, scale: u32, degree: u64, seed: u64, range: Range<u64>) -> Result<(Vec<u32>, Vec<u32>)> {
    let count = edge_count(kind, scale, degree)?;
    if range.start > range.end || range.end > count {
        let Range { start, end } = range;
        return Err(Error::user(format!("edges {start}..{end} of a graph that has {count}")));
    }
    match kind {
        Kind::Kron => {
            let shuffle = Shuffle::new(scale, seed);
            made(range, |edge| {
                let (from, to) = kron_edge(scale, Stream::new(seed, edge));
                (shuffle.apply(from), shuffle.apply(to))
            })
        }
        Kind::Uniform => {
            let below = (1 << scale) - 1;
            made(range, |edge| {
                let bits = Stream::new(seed, edge).next();
                (bits as u32 & below, (bits >> 32) as u32 & below)
            })
        }
        Kind::Grid => {
            let plane = Plane::new(scale);
            made(range, |edge| plane.edge(edge))
        }
    }
}

/// The weight of an edge by its number: 1 to 255, all alike likely, as GAP has them.
pub fn weight_of(seed: u64, edge: u64) -> i32 {
    // Another stream than that of the edge's ends. The upper half of a product is even enough over 255 values: to 2⁻⁵⁶.
    let bits = Stream::new(!seed, edge).next();
    1 + ((u128::from(bits) * 255) >> 64) as i32
}

/// The weights of the edges whose numbers lie in a range.
///
/// # Errors
/// Memory ran out.
pub fn weights(seed: u64, range: Range<u64>) -> Result<Vec<i32>> {
    let mut weights = room(&range)?;
    let count = weights.capacity().min((range.end - range.start) as usize);
    (0..count).into_par_iter().map(|edge| weight_of(seed, range.start + edge as u64)).collect_into_vec(&mut weights);
    Ok(weights)
}

fn made(range: Range<u64>, edge: impl Fn(u64) -> (u32, u32) + Sync) -> Result<(Vec<u32>, Vec<u32>)> {
    let (mut from, mut to) = (room(&range)?, room(&range)?);
    let count = (range.end - range.start) as usize;
    let edges = (0..count).into_par_iter().map(|number| edge(range.start + number as u64));
    edges.unzip_into_vecs(&mut from, &mut to);
    Ok((from, to))
}

fn room<T>(range: &Range<u64>) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    let values = range.end.saturating_sub(range.start);
    let taken = usize::try_from(values).ok().and_then(|values| vector.try_reserve_exact(values).ok());
    let no_memory = || Error::resources(format!("no memory for {values} edges; make fewer of them at a time"));
    taken.map(|()| vector).ok_or_else(no_memory)
}

/// Random numbers of one edge.
struct Stream {
    state: u64,
}

impl Stream {
    fn new(seed: u64, edge: u64) -> Self {
        // Streams of neighbouring edges must not be the same one some steps later: so the start is hashed.
        Self { state: mixed(mixed(seed.wrapping_add(STRIDE)) ^ edge) }
    }

    #[inline]
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STRIDE);
        mixed(self.state)
    }
}

/// A bijection of 64 bits, all of which depend on all.
#[inline]
fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Halves the matrix `scale` times. A level takes 32 random bits: what is below `A` goes to the first quarter, and so on.
fn kron_edge(scale: u32, mut stream: Stream) -> (u32, u32) {
    const A: u32 = (0.57 * 4_294_967_296.0) as u32;
    const B: u32 = A + (0.19 * 4_294_967_296.0) as u32;
    const C: u32 = B + (0.19 * 4_294_967_296.0) as u32;
    let (mut from, mut to) = (0, 0);
    let mut halve = |bits: u32| {
        let lower = bits >= B;
        let right = (bits >= A) ^ lower ^ (bits >= C);
        from = from << 1 | u32::from(lower);
        to = to << 1 | u32::from(right);
    };
    for _ in 0..scale / 2 {
        let bits = stream.next();
        halve(bits as u32);
        halve((bits >> 32) as u32);
    }
    if scale % 2 == 1 {
        halve(stream.next() as u32);
    }
    (from, to)
}

/// A bijection of the numbers of `scale` bits, chosen by a seed: each round multiplies by an odd number and adds one, which
/// mixes upwards, and folds the upper half of the bits onto the lower one. Both can be undone, so no two numbers meet.
struct Shuffle {
    below: u32,
    fold: u32,
    rounds: [(u32, u32); 4],
}

impl Shuffle {
    fn new(scale: u32, seed: u64) -> Self {
        let mut stream = Stream::new(seed, u64::MAX);
        let rounds = [(); 4].map(|()| {
            let bits = stream.next();
            (bits as u32 | 1, (bits >> 32) as u32)
        });
        Self { below: (1 << scale) - 1, fold: scale.div_ceil(2).max(1), rounds }
    }

    #[inline]
    fn apply(&self, number: u32) -> u32 {
        self.rounds.iter().fold(number, |number, (factor, added)| {
            let number = number.wrapping_mul(*factor).wrapping_add(*added) & self.below;
            number ^ (number >> self.fold)
        })
    }
}

/// The rows of a grid, one after the other.
struct Plane {
    width: u64,
    height: u64,
}

impl Plane {
    fn new(scale: u32) -> Self {
        Self { width: 1 << scale.div_ceil(2), height: 1 << (scale / 2) }
    }

    /// First come the edges to the right, row by row, then those down.
    fn edge(&self, edge: u64) -> (u32, u32) {
        let to_the_right = self.height * (self.width - 1);
        let (from, to) = match edge.checked_sub(to_the_right) {
            None => {
                let from = edge / (self.width - 1) * self.width + edge % (self.width - 1);
                (from, from + 1)
            }
            Some(from) => (from, from + self.width),
        };
        (from as u32, to as u32)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
#[path = "generate_tests.rs"]
mod tests;
