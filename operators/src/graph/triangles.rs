//! Triangles: how many there are, and in how many each vertex is.
//!
//! A triangle is three vertices that are all joined. Directions, duplicates and loops do not count.
//!
//! ```text
//!   order by degree     0 is the hub; each vertex keeps only its neighbours of smaller rank, its row:
//!
//!        0              row(1) = {0}   row(2) = {0, 1}   row(3) = {0, 1, 2}
//!       /|\
//!      1-+-2            in blocks of 32 ranks, (which block, which of its bits) in one u64:
//!       \|/
//!        3              row(3) = [(0, 0b0111)]
//!
//!   for u = 3:          marks = row(3)                         the bits of one row, laid open
//!     v = 1             row(1) = (0, 0b0001) & marks -> 1      {3, 1, 0}
//!     v = 2             row(2) = (0, 0b0011) & marks -> 2      {3, 2, 0} {3, 2, 1}
//! ```
//!
//! Each triangle is found once: from its vertex of the greatest rank, at the second, the third being a bit in both rows. With
//! hubs first no row is longer than the square root of twice the number of edges `m`, and the work is at most in the order of
//! `m^1.5` (Chiba and Nishizeki). Rows of hubs hold nearly every smaller rank, and a block of them is one `and` and one count
//! of bits: on a Kronecker graph of a million vertices (GAP's, scale 20) 1.1 billion blocks stand for 4.4 billion ranks. Where
//! degrees are alike the vertices stay in their order, for then ranking pays for nothing.
//!
//! Memory: 8 bytes for each block of each row (at most one for each undirected edge, twice that while rows are made), and a bit
//! for each vertex for each thread. Threads take vertices from a common counter; sums of integers do not depend on who did what.
//!
//! - N. Chiba, T. Nishizeki: Arboricity and Subgraph Listing Algorithms, SIAM Journal on Computing 14(1) (1985).
//! - T. Schank, D. Wagner: Finding, Counting and Listing All Triangles in Large Graphs, WEA (2005).
//! - M. Latapy: Main-memory triangle computations for very large (sparse (power-law)) graphs, Theoretical Computer Science 407
//!   (2008).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use rayon::prelude::*;

use super::Graph;

/// Vertices that a thread takes at a time. Few, for a hub has as many neighbours as thousands of others.
const PIECE: usize = 64;

/// Rows whose places in memory are read ahead.
const BATCH: usize = 32;

/// Ranks in a block.
const BLOCK: u32 = u32::BITS;

/// How many triangles there are.
///
/// ```
/// use bireme_operators::graph::{Csr, Graph, count_triangles};
///
/// // 0-1, 0-2, 1-2, 2-3: one triangle, and an edge that hangs on it.
/// let adjacency = Csr::from_parts(vec![0, 2, 4, 7, 8], vec![1, 2, 0, 2, 0, 1, 3, 2]);
/// assert_eq!(count_triangles(&Graph::symmetric(adjacency)), 1);
/// ```
pub fn count_triangles(graph: &Graph) -> u64 {
    count_rows(&Rows::of(graph, Order::of(graph).as_ref()))
}

fn count_rows(rows: &Rows) -> u64 {
    let next = AtomicUsize::new(0);
    let totals = on_each_thread(|| {
        let mut marks = vec![0; blocks(rows.vertices())];
        pieces(&next, rows.vertices()).map(|piece| count_piece(rows, piece, &mut marks)).sum::<u64>()
    });
    totals.into_iter().sum()
}

/// In how many triangles each vertex is: three times [`count_triangles`] together.
///
/// ```
/// use bireme_operators::graph::{Csr, Graph, triangles};
///
/// let adjacency = Csr::from_parts(vec![0, 2, 4, 7, 8], vec![1, 2, 0, 2, 0, 1, 3, 2]);
/// assert_eq!(triangles(&Graph::symmetric(adjacency)), [1, 1, 1, 0]);
/// ```
pub fn triangles(graph: &Graph) -> Vec<u64> {
    let order = Order::of(graph);
    let rows = Rows::of(graph, order.as_ref());
    let found = (0..rows.vertices()).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
    let next = AtomicUsize::new(0);
    on_each_thread(|| {
        let mut marks = vec![0; blocks(rows.vertices())];
        let mut corners = vec![0; rows.vertices()];
        for u in pieces(&next, rows.vertices()).flatten() {
            add_corners(&rows, u, &mut marks, &mut corners, &found);
        }
    });
    let by_rank = found.into_iter().map(AtomicU64::into_inner).collect::<Vec<_>>();
    match order {
        None => by_rank,
        Some(order) => order.rank.par_iter().map(|&rank| by_rank[rank as usize]).collect(),
    }
}

/// Vertices with hubs first: `vertex[rank[v]] == v`.
struct Order {
    vertex: Vec<u32>,
    rank: Vec<u32>,
}

impl Order {
    /// None where degrees are much alike. In the vertices' own order the work is at most a quarter of the sum of squared degrees:
    /// that will do if it is near what it would be were all degrees the same.
    fn of(graph: &Graph) -> Option<Self> {
        let vertices = graph.vertices() as u32;
        let squares = (0..vertices).into_par_iter().map(|v| (degree(graph, v) as u128).pow(2)).sum::<u128>();
        let sum = (0..vertices).into_par_iter().map(|v| degree(graph, v) as u128).sum::<u128>();
        if 2 * squares * u128::from(vertices) <= 3 * sum * sum {
            return None;
        }
        Some(Self::by_degree(graph))
    }

    /// By falling degree, equals by vertex.
    fn by_degree(graph: &Graph) -> Self {
        let vertices = graph.vertices() as u32;
        let mut keys = (0..vertices).into_par_iter().map(|v| (usize::MAX - degree(graph, v), v)).collect::<Vec<_>>();
        keys.par_sort_unstable();
        let vertex = keys.into_par_iter().map(|key| key.1).collect::<Vec<_>>();
        let mut rank = vec![0; vertex.len()];
        for (position, &v) in vertex.iter().enumerate() {
            rank[v as usize] = position as u32;
        }
        Self { vertex, rank }
    }
}

/// How many edges touch a vertex.
fn degree(graph: &Graph, vertex: u32) -> usize {
    let back = if graph.is_symmetric() { 0 } else { graph.incoming().degree(vertex) };
    graph.out().degree(vertex) + back
}

/// For each rank its neighbours of smaller rank, as blocks: which in the high half, their bits in the low one.
struct Rows {
    offsets: Vec<usize>,
    blocks: Vec<u64>,
}

impl Rows {
    fn of(graph: &Graph, order: Option<&Order>) -> Self {
        match order {
            None => Self::ranked(graph, |rank| rank, |vertex| vertex),
            Some(order) => Self::ranked(graph, |rank| order.vertex[rank as usize], |v| order.rank[v as usize]),
        }
    }

    /// Rows piece by piece, then put together.
    fn ranked(graph: &Graph, vertex: impl Fn(u32) -> u32 + Sync, rank: impl Fn(u32) -> u32 + Sync) -> Self {
        let next = AtomicUsize::new(0);
        let mut made = on_each_thread(|| {
            let mut marks = vec![0; blocks(graph.vertices())];
            let mut made = Vec::new();
            for piece in pieces(&next, graph.vertices()) {
                let (first, mut rows, mut ends) = (piece.start, Vec::new(), Vec::with_capacity(PIECE));
                for u in piece {
                    let v = vertex(u);
                    let back = if graph.is_symmetric() { &[] } else { graph.incoming().neighbours(v) };
                    let neighbours = graph.out().neighbours(v).iter().chain(back);
                    push_row(neighbours.map(|&w| rank(w)).filter(|&w| w < u), &mut marks, &mut rows);
                    ends.push(rows.len());
                }
                made.push((first, ends, rows));
            }
            made
        })
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
        made.par_sort_unstable_by_key(|piece| piece.0);
        let mut offsets = Vec::with_capacity(graph.vertices() + 1);
        offsets.push(0);
        let mut blocks = Vec::with_capacity(made.iter().map(|piece| piece.2.len()).sum());
        for (_, ends, rows) in made {
            offsets.extend(ends.iter().map(|end| blocks.len() + end));
            blocks.extend(rows);
        }
        Self { offsets, blocks }
    }

    fn vertices(&self) -> usize {
        self.offsets.len() - 1
    }

    #[inline]
    fn row(&self, rank: u32) -> &[u64] {
        &self.blocks[self.offsets[rank as usize]..self.offsets[rank as usize + 1]]
    }
}

/// Appends the blocks of one row, in the order in which they are first met, and leaves `marks` clear.
fn push_row(neighbours: impl Iterator<Item = u32>, marks: &mut [u32], rows: &mut Vec<u64>) {
    let start = rows.len();
    for w in neighbours {
        let bits = &mut marks[(w / BLOCK) as usize];
        if *bits == 0 {
            rows.push(u64::from(w / BLOCK) << 32);
        }
        *bits |= 1 << (w % BLOCK);
    }
    for block in &mut rows[start..] {
        *block |= u64::from(std::mem::take(&mut marks[(*block >> 32) as usize]));
    }
}

/// Triangles whose vertex of the greatest rank is in a piece.
fn count_piece(rows: &Rows, piece: std::ops::Range<u32>, marks: &mut [u32]) -> u64 {
    let mut total = 0;
    for u in piece {
        let row = rows.row(u);
        mark(row, marks);
        for_each_batch(rows, row, |batch| {
            total += batch.iter().map(|&(_, row)| count_common(row, marks)).sum::<u64>();
        });
        unmark(row, marks);
    }
    total
}

/// Calls with ranks in `row` and their rows, some at a time, after it has read both ends of those: so the cache misses of a batch
/// overlap, where otherwise each row's end, badly predicted, would hold up the next row's start.
#[inline]
fn for_each_batch(rows: &Rows, row: &[u64], mut call: impl FnMut(&[(u32, &[u64])])) {
    let mut batch = [(0, &[][..]); BATCH];
    let mut held = 0;
    let mut touched = 0;
    for v in ranks(row) {
        let row = rows.row(v);
        let (Some(first), Some(last)) = (row.first(), row.last()) else { continue };
        touched ^= first ^ last;
        batch[held] = (v, row);
        held += 1;
        if held == BATCH {
            call(&batch);
            held = 0;
        }
    }
    call(&batch[..held]);
    std::hint::black_box(touched);
}

/// How many marked bits there are in a row: two blocks to a count of bits.
#[inline]
fn count_common(row: &[u64], marks: &[u32]) -> u64 {
    let (pairs, rest) = row.as_chunks::<2>();
    let pairs =
        pairs.iter().map(|&[a, b]| (u64::from(common(a, marks)) << 32 | u64::from(common(b, marks))).count_ones());
    let rest = rest.iter().map(|&block| common(block, marks).count_ones());
    pairs.chain(rest).map(u64::from).sum()
}

/// Adds the triangles whose vertex of the greatest rank is `u` to all their corners. `corners` collects those of the neighbours
/// of `u`, so that shared counters are touched once for each edge, not for each triangle; it is left clear.
fn add_corners(rows: &Rows, u: u32, marks: &mut [u32], corners: &mut [u32], found: &[AtomicU64]) {
    let row = rows.row(u);
    mark(row, marks);
    let mut total = 0;
    for_each_batch(rows, row, |batch| {
        for &(v, row) in batch {
            let mut at_v = 0;
            for &block in row {
                let both = common(block, marks);
                at_v += both.count_ones();
                for w in ranks(&[block >> 32 << 32 | u64::from(both)]) {
                    corners[w as usize] += 1;
                }
            }
            corners[v as usize] += at_v;
            total += u64::from(at_v);
        }
    });
    for v in ranks(row) {
        found[v as usize].fetch_add(u64::from(std::mem::take(&mut corners[v as usize])), Relaxed);
    }
    found[u as usize].fetch_add(total, Relaxed);
    unmark(row, marks);
}

/// The bits of a block that are marked.
#[inline]
fn common(block: u64, marks: &[u32]) -> u32 {
    marks[(block >> 32) as usize] & block as u32
}

fn mark(row: &[u64], marks: &mut [u32]) {
    for &block in row {
        marks[(block >> 32) as usize] = block as u32;
    }
}

fn unmark(row: &[u64], marks: &mut [u32]) {
    for &block in row {
        marks[(block >> 32) as usize] = 0;
    }
}

/// The ranks in blocks.
#[inline]
fn ranks(row: &[u64]) -> impl Iterator<Item = u32> {
    row.iter().flat_map(|&block| {
        let mut bits = block as u32;
        std::iter::from_fn(move || {
            let bit = (bits != 0).then(|| bits.trailing_zeros())?;
            bits &= bits - 1;
            Some((block >> 32) as u32 * BLOCK + bit)
        })
    })
}

/// Words that hold a bit for each vertex.
fn blocks(vertices: usize) -> usize {
    vertices.div_ceil(BLOCK as usize)
}

/// Pieces of `0..vertices` as long as the common counter has some.
fn pieces(next: &AtomicUsize, vertices: usize) -> impl Iterator<Item = std::ops::Range<u32>> {
    std::iter::from_fn(move || {
        let start = next.fetch_add(PIECE, Relaxed);
        (start < vertices).then(|| start as u32..(start + PIECE).min(vertices) as u32)
    })
}

/// The same work once for each thread of the pool; what it shares it takes from a counter.
fn on_each_thread<T: Send>(work: impl Fn() -> T + Sync) -> Vec<T> {
    let threads = rayon::current_num_threads();
    (0..threads).into_par_iter().with_max_len(1).map(|_| work()).collect()
}

/// Whether these are the numbers of triangles, in all and of each vertex: by counting, for each vertex, the pairs of its
/// neighbours that are joined. In the order of the sum of squared degrees: for small graphs.
pub fn verify_triangles(graph: &Graph, total: u64, at_vertex: &[u64]) -> Result<(), String> {
    let vertices = graph.vertices() as u32;
    if at_vertex.len() != graph.vertices() {
        return Err(format!("{} numbers for {vertices} vertices", at_vertex.len()));
    }
    let corners = at_vertex.iter().sum::<u64>();
    if corners != 3 * total {
        return Err(format!("{total} triangles have {corners} corners"));
    }
    let around = (0..vertices).map(|v| distinct_neighbours(graph, v)).collect::<Vec<_>>();
    let mut joined = vec![false; graph.vertices()];
    for (v, neighbours) in around.iter().enumerate() {
        neighbours.iter().for_each(|&w| joined[w as usize] = true);
        let pairs =
            neighbours.iter().flat_map(|&w| &around[w as usize]).filter(|&&x| joined[x as usize]).count() as u64;
        neighbours.iter().for_each(|&w| joined[w as usize] = false);
        if pairs / 2 != at_vertex[v] {
            return Err(format!("vertex {v} is in {} triangles, not {}", pairs / 2, at_vertex[v]));
        }
    }
    Ok(())
}

/// What a vertex is joined to in either direction, without itself, each once.
fn distinct_neighbours(graph: &Graph, vertex: u32) -> Vec<u32> {
    let mut found = [graph.out(), graph.incoming()].map(|csr| csr.neighbours(vertex)).concat();
    found.retain(|&w| w != vertex);
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
mod tests {

    use proptest::prelude::*;

    use super::super::samples;
    use super::*;

    /// All sets of three.
    fn reference(graph: &Graph) -> (u64, Vec<u64>) {
        let count = graph.vertices();
        let mut joined = vec![false; count * count];
        for v in 0..count {
            for &w in graph.out().neighbours(v as u32) {
                joined[v * count + w as usize] = true;
                joined[w as usize * count + v] = true;
            }
        }
        let (mut total, mut at_vertex) = (0, vec![0; count]);
        for (a, b) in (0..count).flat_map(|a| (0..a).map(move |b| (a, b))).filter(|&(a, b)| joined[a * count + b]) {
            for c in (0..b).filter(|&c| joined[a * count + c] && joined[b * count + c]) {
                total += 1;
                [a, b, c].into_iter().for_each(|corner| at_vertex[corner] += 1);
            }
        }
        (total, at_vertex)
    }

    fn check(name: &str, graph: &Graph) {
        let on = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (total, at_vertex) = on(1).install(|| (count_triangles(graph), triangles(graph)));
        assert_eq!((total, at_vertex.clone()), on(3).install(|| (count_triangles(graph), triangles(graph))), "{name}");
        if graph.vertices() <= 1 << 10 {
            assert_eq!((total, at_vertex.clone()), reference(graph), "{name}");
        }
        verify_triangles(graph, total, &at_vertex).unwrap();
    }

    #[test]
    fn shapes() {
        for (name, vertices, edges) in samples::shapes() {
            check(name, &samples::symmetric(vertices, &edges));
            check(name, &samples::directed(vertices, &edges));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn multigraphs((vertices, edges) in samples::multigraph()) {
            check("symmetric", &samples::symmetric(vertices, &edges));
            check("directed", &samples::directed(vertices, &edges));
        }
    }

    #[test]
    fn skewed_graphs() {
        for seed in 1..4 {
            check("skewed", &samples::symmetric(1 << 12, &samples::skewed(12, 16, seed)));
        }
    }

    /// Both ways to order vertices give the same numbers, whichever the degrees call for.
    #[test]
    fn the_order_does_not_matter() {
        for (name, vertices, edges) in samples::shapes() {
            let graph = samples::symmetric(vertices, &edges);
            let order = Order::by_degree(&graph);
            let sum = |rows: Rows| count_rows(&rows);
            assert_eq!(sum(Rows::of(&graph, None)), sum(Rows::of(&graph, Some(&order))), "{name}");
        }
    }

    #[test]
    fn skew_decides_the_order() {
        let is_ranked = |(_, vertices, edges): &(&str, usize, Vec<(u32, u32)>)| {
            Order::of(&samples::symmetric(*vertices, edges)).is_some()
        };
        let ranked = samples::shapes().into_iter().filter(is_ranked).map(|shape| shape.0).collect::<Vec<_>>();
        assert_eq!(ranked, ["star", "star inwards", "skewed"]);
    }

    #[test]
    fn a_path_of_a_million_and_a_triangle() {
        let mut edges = (1..1_000_000).map(|to| (to - 1, to)).collect::<Vec<_>>();
        edges.push((500_000, 500_002));
        let graph = samples::symmetric(1_000_000, &edges);
        let at_vertex = triangles(&graph);
        assert_eq!(count_triangles(&graph), 1);
        assert_eq!(at_vertex.iter().sum::<u64>(), 3);
        assert_eq!(at_vertex[500_000..500_003], [1, 1, 1]);
    }

    #[test]
    fn the_verifier_rejects() {
        let graph = samples::symmetric(7, &[(0, 1), (1, 2), (2, 0), (4, 5), (5, 6), (6, 4)]);
        verify_triangles(&graph, 2, &[1, 1, 1, 0, 1, 1, 1]).unwrap();
        assert!(verify_triangles(&graph, 1, &[1, 1, 1, 0, 1, 1, 1]).is_err());
        assert!(verify_triangles(&graph, 2, &[1, 1, 0, 1, 1, 1, 1]).is_err());
        assert!(verify_triangles(&graph, 1, &[1, 1, 1, 0, 0, 0, 0]).is_err());
        assert!(verify_triangles(&graph, 2, &[1, 1, 1, 0, 1, 1]).is_err());
    }
}
