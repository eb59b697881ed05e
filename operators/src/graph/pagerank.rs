//! PageRank: how often a walk along edges comes by each vertex.
//!
//! At a vertex the walk goes on along one of its out edges with probability `damping`, each as likely as the others, and jumps
//! elsewhere otherwise, or where there is no out edge. Jumps go to all vertices alike, or to some sources
//! ([`personalised_pagerank`]). Ranks are the probabilities that this tends to. Where `u → v` stands for the edges into `v`, as
//! often as they are there,
//!
//! ```text
//!   rank(v) = damping · Σ rank(u) / degree(u)  +  (1 - damping + damping · Σ rank(w)) · jump(v)      Σ jump = Σ rank = 1
//!                      u→v                                        w without out edge
//! ```
//!
//! and each iteration computes the left side from the right one, until ranks change by little. The change shrinks by `damping` or
//! more each time: 1e-10 takes at most 143 iterations with 0.85.
//!
//! ```text
//!   from   u ──────────────┐              rank(u) / degree(u), 8 bytes a vertex: read at random, once an edge
//!   row    v:  u  u' u''   ├─ sum ── rank(v) ── to[v]     targets: 4 bytes an edge, in order
//!   from   u''─────────────┘              ranks, degrees, offsets and `to`: 40 bytes a vertex, in order
//! ```
//!
//! Each vertex pulls, so none is written by two threads. A vertex's sum is taken in the order of its in-neighbours. Sums over
//! all vertices are taken within blocks of [`BLOCK`] vertices, then over the blocks, each in order; so nothing depends on how
//! many threads there are, nor on how vertices are cut into ranges, so long as these begin at multiples of [`BLOCK`]. A vertex
//! with very many in-neighbours is one thread's work.
//!
//! L. Page, S. Brin, R. Motwani, T. Winograd: The PageRank Citation Ranking, Stanford InfoLab 1999-66 (1999).

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rayon::prelude::*;

use super::{Csr, Graph};

/// How far ranks are computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerIteration {
    /// How likely the walk goes on along an edge rather than to jump, 0 to 1.
    pub damping: f64,
    /// Iterations end when the absolute changes of all ranks add up to this or less.
    pub tolerance: f64,
    /// Iterations end after so many in any case.
    pub max_iterations: usize,
}

impl Default for PowerIteration {
    fn default() -> Self {
        Self { damping: 0.85, tolerance: 1e-10, max_iterations: 300 }
    }
}

/// What power iteration computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranks {
    /// A probability for each vertex.
    pub ranks: Vec<f64>,
    /// How many iterations there were.
    pub iterations: usize,
    /// By how much the last of them changed ranks, absolute changes added up; infinite if there was none.
    pub change: f64,
}

/// Ranks by a walk that jumps to all vertices alike.
///
/// ```
/// use bireme_operators::graph::{Csr, Graph, PowerIteration, pagerank};
///
/// // 0 → 1 → 2 → 1: vertex 1 is reached from both others.
/// let out = Csr::from_parts(vec![0, 1, 2, 3], vec![1, 2, 1]);
/// let incoming = Csr::from_parts(vec![0, 0, 2, 3], vec![0, 2, 1]);
/// let found = pagerank(&Graph::directed(out, incoming), &PowerIteration::default());
/// assert!(found.ranks[1] > found.ranks[2] && found.ranks[2] > found.ranks[0]);
/// assert!(found.change <= 1e-10);
/// ```
pub fn pagerank(graph: &Graph, options: &PowerIteration) -> Ranks {
    let jump = 1.0 / graph.vertices() as f64;
    iterate(graph, options, |_| jump)
}

/// Ranks by a walk that jumps to the sources alike, each counted once.
///
/// Sources that are no vertices are left out; where there are none, nothing has a rank.
pub fn personalised_pagerank(graph: &Graph, sources: &[u32], options: &PowerIteration) -> Ranks {
    let jumps = jumps_to(graph, sources);
    iterate(graph, options, |vertex| jumps[vertex])
}

/// For each vertex, how likely a jump goes there.
fn jumps_to(graph: &Graph, sources: &[u32]) -> Vec<f64> {
    let mut sources = sources.iter().filter(|&&source| (source as usize) < graph.vertices()).collect::<Vec<_>>();
    sources.sort_unstable();
    sources.dedup();
    let mut jumps = vec![0.0; graph.vertices()];
    for &source in &sources {
        jumps[*source as usize] = 1.0 / sources.len() as f64;
    }
    jumps
}

/// Begins with ranks that are as likely as jumps are.
fn iterate(graph: &Graph, options: &PowerIteration, jump: impl Fn(usize) -> f64 + Sync) -> Ranks {
    let damping = options.damping;
    let ranks = (0..graph.vertices()).into_par_iter().with_min_len(BLOCK).map(&jump).collect();
    let mut walk = Walk::new(ranks, shares(graph.out()));
    let mut from = vec![0.0; graph.vertices()];
    let (mut iterations, mut change) = (0, f64::INFINITY);
    while iterations < options.max_iterations && change > options.tolerance {
        std::mem::swap(&mut from, &mut walk.contributions);
        let jumping = 1.0 - damping + damping * in_order(&walk.sums).dangling;
        walk.step(graph.incoming(), &from, damping, |vertex| jumping * jump(vertex));
        change = in_order(&walk.sums).change;
        iterations += 1;
    }
    Ranks { ranks: walk.ranks, iterations, change }
}

/// How many vertices are added up at a time. Cuts between ranges of vertices that are multiples of this do not change a sum.
pub(super) const BLOCK: usize = 1024;

/// What a block of vertices adds to the sums over all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct BlockSums {
    /// Absolute changes of ranks.
    pub(super) change: f64,
    /// Ranks of vertices without out edges.
    pub(super) dangling: f64,
}

/// The sums over all blocks, given in order.
pub(super) fn in_order<'a>(blocks: impl IntoIterator<Item = &'a BlockSums>) -> BlockSums {
    blocks.into_iter().fold(BlockSums::default(), |sum, block| BlockSums {
        change: sum.change + block.change,
        dangling: sum.dangling + block.dangling,
    })
}

/// For each vertex, the share of its rank that goes along each of its out edges: 0 where there is none.
pub(super) fn shares(out: &Csr) -> Vec<f64> {
    let share = |degree: usize| if degree == 0 { 0.0 } else { 1.0 / degree as f64 };
    out.offsets().par_windows(2).with_min_len(BLOCK).map(|row| share(row[1] - row[0])).collect()
}

/// The ranks of a range of vertices, and what the next ones are made of.
pub(super) struct Walk {
    pub(super) ranks: Vec<f64>,
    shares: Vec<f64>,
    /// `ranks` times `shares`.
    pub(super) contributions: Vec<f64>,
    /// One for each block of these vertices.
    pub(super) sums: Vec<BlockSums>,
}

impl Walk {
    /// Before the first step.
    pub(super) fn new(ranks: Vec<f64>, shares: Vec<f64>) -> Self {
        let contributions =
            ranks.par_iter().zip(&shares).with_min_len(BLOCK).map(|(rank, share)| rank * share).collect();
        let dangling = |(ranks, shares): (&[f64], &[f64])| {
            let lost = ranks.iter().zip(shares).filter(|(_, share)| **share == 0.0);
            BlockSums { change: 0.0, dangling: lost.map(|(rank, _)| rank).sum() }
        };
        let sums = ranks.par_chunks(BLOCK).zip(shares.par_chunks(BLOCK)).map(dangling).collect();
        Self { ranks, shares, contributions, sums }
    }

    /// One iteration: pulls from the contributions of all vertices in the graph, along the rows of these ones. `jump` says what
    /// comes to each by jumps, and is given its place in the range.
    pub(super) fn step(&mut self, incoming: &Csr, from: &[f64], damping: f64, jump: impl Fn(usize) -> f64 + Sync) {
        let vertices = self.ranks.par_chunks_mut(BLOCK).zip(self.contributions.par_chunks_mut(BLOCK));
        let blocks = vertices.zip(self.shares.par_chunks(BLOCK)).zip(&mut self.sums);
        blocks.enumerate().with_max_len(1).for_each(|(block, (((ranks, contributions), shares), sums))| {
            let first = block * BLOCK;
            let rows = &incoming.offsets()[first..=first + ranks.len()];
            // Copied here, as the stores below might change what this closure borrows for all that the compiler knows.
            let (from, targets) = (from, incoming.targets());
            *sums = BlockSums::default();
            for (place, row) in rows.windows(2).enumerate() {
                let mut sum = 0.0;
                for &source in &targets[row[0]..row[1]] {
                    sum += from[source as usize];
                }
                let rank = damping * sum + jump(first + place);
                sums.change += (rank - ranks[place]).abs();
                if shares[place] == 0.0 {
                    sums.dangling += rank;
                }
                contributions[place] = rank * shares[place];
                ranks[place] = rank;
            }
        });
    }
}

/// Ranks as the GAP benchmark has them, and how many iterations they took.
///
/// In single precision, and rank that comes to a vertex without out edges is lost. Vertices read ranks that this iteration has
/// already changed (Gauss and Seidel's way), which takes fewer iterations. What is left of the change after some of them is
/// rank that is too large or too small everywhere in the same proportion; it would shrink by the square of the damping each
/// time, so the sum of what is to come is added at once (S. Kamvar, T. Haveliwala, C. Manning, G. Golub: Extrapolation methods
/// for accelerating PageRank computations, WWW 2003). Which ones it has changed is a matter of timing where there are several
/// threads, so the last bits of the result are, too, and even the number of iterations can be. GAP has a damping of 0.85, and
/// ends after 20 iterations or when the absolute changes add up to less than 1e-4.
pub fn gap_pagerank(graph: &Graph, damping: f32, tolerance: f64, max_iterations: usize) -> (Vec<f32>, usize) {
    let vertices = graph.vertices();
    let (out, incoming) = (graph.out().offsets(), graph.incoming());
    let mut ranks = rayon::iter::repeat_n(1.0 / vertices as f32, vertices).collect::<Vec<_>>();
    // Infinite where there is no out edge, and then never read.
    let contribution = |rank: f32, row: &[usize]| rank / (row[1] - row[0]) as f32;
    let begin = |row: &[usize]| AtomicU32::new(contribution(1.0 / vertices as f32, row).to_bits());
    let contributions = out.par_windows(2).with_min_len(BLOCK).map(begin).collect::<Vec<_>>();
    let base = (1.0 - damping) / vertices as f32;
    let mut extrapolated = false;
    for iteration in 1..=max_iterations {
        let blocks = ranks.par_chunks_mut(BLOCK).zip(contributions.par_chunks(BLOCK)).enumerate().with_max_len(1);
        let changes = blocks.map(|(block, (ranks, mine))| {
            // Copied here, as the stores below might change what this closure borrows for all that the compiler knows.
            let (from, targets) = (&contributions[..], incoming.targets());
            let rows = block * BLOCK..=block * BLOCK + ranks.len();
            let rows = incoming.offsets()[rows.clone()].windows(2).zip(out[rows].windows(2));
            let mut swept = Sweep::default();
            for ((rank, contributed), (incoming_row, out_row)) in ranks.iter_mut().zip(mine).zip(rows) {
                // Tried without gain: several sums at once, whose remainders are foreseen badly; asking ahead for
                // contributions, and reading them unchecked after the first iteration, which gain on skewed graphs and lose as
                // much on others.
                let mut sum = 0.0;
                for &source in &targets[incoming_row[0]..incoming_row[1]] {
                    sum += f32::from_bits(from[source as usize].load(Relaxed));
                }
                let new = base + damping * sum;
                swept.add(new - *rank, damping * sum);
                *rank = new;
                contributed.store(contribution(new, out_row).to_bits(), Relaxed);
            }
            swept
        });
        let swept = changes.reduce(Sweep::default, Sweep::and);
        if swept.change < tolerance {
            return (ranks, iteration);
        }
        if let Some(grow) = swept.growth_to_come(damping).filter(|_| !extrapolated) {
            // Once: after that, what is left may be of another kind, and must shrink by itself.
            extrapolated = true;
            let all = ranks.par_iter_mut().zip(&contributions).zip(out.par_windows(2)).with_min_len(BLOCK);
            all.for_each(|((rank, contributed), row)| {
                *rank += (*rank - base) * grow;
                contributed.store(contribution(*rank, row).to_bits(), Relaxed);
            });
        }
    }
    (ranks, max_iterations)
}

/// By how much a sweep over some vertices changed their ranks.
#[derive(Clone, Copy, Debug, Default)]
struct Sweep {
    /// Absolute changes.
    change: f64,
    /// Changes, with their signs.
    drift: f64,
    /// Rank that came along edges.
    came: f64,
}

impl Sweep {
    fn add(&mut self, change: f32, came: f32) {
        self.change += f64::from(change.abs());
        self.drift += f64::from(change);
        self.came += f64::from(came);
    }

    fn and(self, other: Self) -> Self {
        Self { change: self.change + other.change, drift: self.drift + other.drift, came: self.came + other.came }
    }

    /// By which part of itself all rank that came along edges will still grow, where most changes have the same sign.
    fn growth_to_come(self, damping: f32) -> Option<f32> {
        /// Below, changes are more than a common drift, which extrapolation does not foresee.
        const COMMON: f64 = 0.6;
        let left = f64::from(damping * damping);
        let grow = self.drift * left / (1.0 - left) / self.came;
        (self.drift.abs() > COMMON * self.change && grow.is_finite()).then_some(grow as f32)
    }
}

/// Whether one more iteration would change `ranks`, as of [`pagerank`], by `tolerance` at most, or by how much.
///
/// Only the ranks asked for stay as they are. Computed anew, by pushing along out edges, one vertex after the other.
pub fn verify_pagerank(graph: &Graph, ranks: &[f64], damping: f64, tolerance: f64) -> Result<(), String> {
    let jumps = vec![1.0 / graph.vertices() as f64; graph.vertices()];
    verify(graph, ranks, damping, tolerance, &jumps, true)
}

/// The same for [`personalised_pagerank`].
pub fn verify_personalised_pagerank(
    graph: &Graph,
    sources: &[u32],
    ranks: &[f64],
    damping: f64,
    tolerance: f64,
) -> Result<(), String> {
    verify(graph, ranks, damping, tolerance, &jumps_to(graph, sources), true)
}

/// The same for [`gap_pagerank`].
pub fn verify_gap_pagerank(graph: &Graph, ranks: &[f32], damping: f32, tolerance: f64) -> Result<(), String> {
    let ranks = ranks.iter().map(|&rank| f64::from(rank)).collect::<Vec<_>>();
    let jumps = vec![1.0 / graph.vertices() as f64; graph.vertices()];
    verify(graph, &ranks, f64::from(damping), tolerance, &jumps, false)
}

/// Whether these ranks stay, where jumps are so likely, and ranks of vertices without out edges jump or are lost.
fn verify(
    graph: &Graph,
    ranks: &[f64],
    damping: f64,
    tolerance: f64,
    jumps: &[f64],
    dangling_jumps: bool,
) -> Result<(), String> {
    if ranks.len() != graph.vertices() {
        return Err(format!("{} ranks for {} vertices", ranks.len(), graph.vertices()));
    }
    let mut jumping = 1.0 - damping;
    let mut pushed = vec![0.0; ranks.len()];
    for (vertex, rank) in ranks.iter().enumerate() {
        let row = graph.out().neighbours(vertex as u32);
        for &target in row {
            pushed[target as usize] += damping * rank / row.len() as f64;
        }
        if row.is_empty() && dangling_jumps {
            jumping += damping * rank;
        }
    }
    let next = pushed.iter().zip(jumps).map(|(pushed, jump)| pushed + jumping * jump);
    let change = next.zip(ranks).map(|(next, rank)| (next - rank).abs()).sum::<f64>();
    if change <= tolerance { Ok(()) } else { Err(format!("one more iteration changes ranks by {change}")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    /// The slow way: ranks walk along a list of edges, often enough.
    fn reference(vertices: usize, edges: &[(u32, u32)], jumps: &[f64], dangling_jumps: bool) -> Vec<f64> {
        let mut degrees = vec![0.0; vertices];
        edges.iter().for_each(|edge| degrees[edge.0 as usize] += 1.0);
        let mut ranks = jumps.to_vec();
        for _ in 0..200 {
            let lost = (0..vertices).filter(|&vertex| dangling_jumps && degrees[vertex] == 0.0);
            let jumping = 0.15 + 0.85 * lost.map(|vertex| ranks[vertex]).sum::<f64>();
            let mut next = jumps.iter().map(|jump| jumping * jump).collect::<Vec<_>>();
            for &(from, to) in edges {
                next[to as usize] += 0.85 * ranks[from as usize] / degrees[from as usize];
            }
            ranks = next;
        }
        ranks
    }

    fn distance(ranks: impl IntoIterator<Item = f64>, expected: &[f64]) -> f64 {
        ranks.into_iter().zip(expected).map(|(rank, expected)| (rank - expected).abs()).sum()
    }

    fn with_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
    }

    fn edges_of(graph: &Graph) -> Vec<(u32, u32)> {
        let vertices = 0..graph.vertices() as u32;
        vertices.flat_map(|from| graph.out().neighbours(from).iter().map(move |&to| (from, to))).collect()
    }

    /// All three on one graph.
    fn check_graph(graph: &Graph) {
        let (vertices, edges, options) = (graph.vertices(), edges_of(graph), PowerIteration::default());
        let even = vec![1.0 / vertices as f64; vertices];

        let expected = reference(vertices, &edges, &even, true);
        let [found, other] = [1, 3].map(|threads| with_threads(threads, || pagerank(graph, &options)));
        assert_eq!(found, other);
        assert!(distance(found.ranks.iter().copied(), &expected) < 1e-8);
        assert!(vertices == 0 || (found.ranks.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        verify_pagerank(graph, &found.ranks, 0.85, 1e-10).unwrap();

        let sources = [0, 3, 3, 77, u32::MAX];
        let expected = reference(vertices, &edges, &jumps_to(graph, &sources), true);
        let [found, other] =
            [1, 3].map(|threads| with_threads(threads, || personalised_pagerank(graph, &sources, &options)));
        assert_eq!(found, other);
        assert!(distance(found.ranks.iter().copied(), &expected) < 1e-8);
        verify_personalised_pagerank(graph, &sources, &found.ranks, 0.85, 1e-10).unwrap();

        let expected = reference(vertices, &edges, &even, false);
        for threads in [1, 3] {
            let (found, iterations) = with_threads(threads, || gap_pagerank(graph, 0.85, 1e-5, 200));
            assert!(iterations < 200);
            assert!(distance(found.iter().map(|&rank| f64::from(rank)), &expected) < 1e-4);
            verify_gap_pagerank(graph, &found, 0.85, 1e-4).unwrap();
        }
    }

    fn check(vertices: usize, edges: &[(u32, u32)]) {
        check_graph(&samples::directed(vertices, edges));
        check_graph(&samples::symmetric(vertices, edges));
    }

    #[test]
    fn shapes() {
        for (_, vertices, edges) in samples::shapes() {
            check(vertices, &edges);
        }
    }

    #[test]
    fn many_blocks() {
        check((1 << 13) - 5, &samples::skewed(12, 8, 5));
    }

    #[test]
    fn known_ranks() {
        // 0 → 1, and 1 has no out edge: r₀ = (1 - d + d·r₁) / 2, r₀ + r₁ = 1.
        let found = pagerank(&samples::directed(2, &[(0, 1)]), &PowerIteration::default());
        assert!((found.ranks[0] - 1.0 / 2.85).abs() < 1e-9);
        // Three edges of four lead to 1, in a row: r₁ = 3·r₂ but for jumps.
        let graph = samples::directed(3, &[(0, 1), (0, 1), (0, 2), (0, 1), (1, 0), (2, 0)]);
        let found = pagerank(&graph, &PowerIteration { damping: 0.5, ..PowerIteration::default() });
        let jump = 0.5 / 3.0;
        assert!((found.ranks[1] - jump - 3.0 * (found.ranks[2] - jump)).abs() < 1e-9);
    }

    #[test]
    fn options_end_it() {
        let graph = samples::directed(3, &[(0, 1), (1, 2), (2, 1)]);
        let none = pagerank(&graph, &PowerIteration { max_iterations: 0, ..PowerIteration::default() });
        assert_eq!(none, Ranks { ranks: vec![1.0 / 3.0; 3], iterations: 0, change: f64::INFINITY });
        let two = pagerank(&graph, &PowerIteration { max_iterations: 2, ..PowerIteration::default() });
        assert_eq!(two.iterations, 2);
        let loose = pagerank(&graph, &PowerIteration { tolerance: 0.1, ..PowerIteration::default() });
        assert!(loose.change <= 0.1 && loose.iterations > 1);
        assert_eq!(gap_pagerank(&graph, 0.85, 0.0, 3).1, 3);
        let nowhere = personalised_pagerank(&graph, &[], &PowerIteration::default());
        assert_eq!(nowhere.ranks, [0.0; 3]);
    }

    /// Two walks over ranges of the vertices, that tell each other contributions and sums, take the same steps as one.
    #[test]
    fn ranges_do_not_matter() {
        let graph = samples::directed(1 << 12, &samples::skewed(12, 8, 9));
        let (shares, vertices) = (shares(graph.out()), graph.vertices());
        let options = PowerIteration { max_iterations: 5, ..PowerIteration::default() };
        let expected = pagerank(&graph, &options).ranks;
        for cut in [BLOCK, 3 * BLOCK] {
            let mut parts = [0..cut, cut..vertices].map(|range| {
                let offsets = &graph.incoming().offsets()[range.start..=range.end];
                let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
                let targets = graph.incoming().targets()[first..last].to_vec();
                let rows = Csr::from_parts(offsets.iter().map(|offset| offset - first).collect(), targets);
                (rows, Walk::new(vec![1.0 / vertices as f64; range.len()], shares[range].to_vec()))
            });
            for _ in 0..5 {
                let from = parts.iter().flat_map(|part| &part.1.contributions).copied().collect::<Vec<_>>();
                let dangling = in_order(parts.iter().flat_map(|part| &part.1.sums)).dangling;
                let jumping = 1.0 - 0.85 + 0.85 * dangling;
                for (rows, walk) in &mut parts {
                    walk.step(rows, &from, 0.85, |_| jumping * (1.0 / vertices as f64));
                }
            }
            let ranks = parts.iter().flat_map(|part| &part.1.ranks).copied().collect::<Vec<_>>();
            assert!(ranks == expected);
        }
    }

    #[test]
    fn path_of_a_million() {
        let count = 1_000_000_u32;
        let graph = samples::directed(count as usize, &(1..count).map(|to| (to - 1, to)).collect::<Vec<_>>());
        let start = Instant::now();
        let options = PowerIteration { tolerance: 1e-3, ..PowerIteration::default() };
        let found = pagerank(&graph, &options);
        let (gap, _) = gap_pagerank(&graph, 0.85, 1e-4, 20);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        verify_pagerank(&graph, &found.ranks, 0.85, 1e-3).unwrap();
        assert!(gap[0] < gap[1]);
    }

    #[test]
    fn wrong_ranks_are_found() {
        let graph = samples::directed(4, &[(0, 1), (1, 2), (2, 0), (2, 3)]);
        let right = pagerank(&graph, &PowerIteration::default()).ranks;
        let near = right.iter().map(|&rank| rank as f32).collect::<Vec<_>>();
        verify_pagerank(&graph, &right, 0.85, 1e-9).unwrap();
        for vertex in 0..4 {
            for wrong in [0.0, 1.01 * right[vertex], f64::NAN] {
                let mut ranks = right.clone();
                ranks[vertex] = wrong;
                assert!(verify_pagerank(&graph, &ranks, 0.85, 1e-9).is_err());
            }
        }
        assert!(verify_pagerank(&graph, &right[1..], 0.85, 1e-9).is_err());
        assert!(verify_pagerank(&graph, &right, 0.8, 1e-9).is_err());
        assert!(verify_personalised_pagerank(&graph, &[1], &right, 0.85, 1e-9).is_err());
        // What comes to vertex 3 jumps here, and is lost there.
        assert!(verify_gap_pagerank(&graph, &near, 0.85, 1e-4).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn multigraphs((vertices, edges) in samples::multigraph()) {
            check(vertices, &edges);
        }
    }
}
