//! Adjacency against a sort of all edges.

use std::time::Instant;

use proptest::prelude::*;

use super::super::samples::{self, multigraph, shapes, skewed};
use super::bucket::LARGE;
use super::*;

const OPTIONS: [BuildOptions; 4] = [
    BuildOptions { duplicates: Duplicates::Keep, loops: true },
    BuildOptions { duplicates: Duplicates::Keep, loops: false },
    BuildOptions { duplicates: Duplicates::DropLater, loops: true },
    BuildOptions { duplicates: Duplicates::DropLater, loops: false },
];

/// The slow way.
fn reference<W: Weight>(
    rows: Range<usize>,
    by: By,
    edges: &[(u32, u32, W)],
    options: BuildOptions,
) -> (Vec<usize>, Vec<u32>, Vec<W>) {
    let mut entries = Vec::new();
    for &(from, to, weight) in edges {
        if by != By::Target {
            entries.push((from, to, weight));
        }
        if by == By::Target || (by == By::Both && from != to) {
            entries.push((to, from, weight));
        }
    }
    entries.retain(|(row, to, _)| rows.contains(&(*row as usize)) && (options.loops || row != to));
    entries.sort_by(|left, right| (left.0, left.1).cmp(&(right.0, right.1)).then_with(|| left.2.order(&right.2)));
    if options.duplicates == Duplicates::DropLater {
        entries.dedup_by_key(|(row, to, _)| (*row, *to));
    }
    let offset = |row: usize| entries.partition_point(|entry| (entry.0 as usize) < row);
    let offsets = (rows.start..=rows.end).map(offset).collect();
    (offsets, entries.iter().map(|entry| entry.1).collect(), entries.iter().map(|entry| entry.2).collect())
}

fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

/// Builds in pools of 1 and 3 threads, with every option and direction.
fn check<W: Weight + PartialEq + std::fmt::Debug>(vertices: usize, rows: Range<usize>, edges: &[(u32, u32, W)]) {
    let from = edges.iter().map(|edge| edge.0).collect::<Vec<_>>();
    let to = edges.iter().map(|edge| edge.1).collect::<Vec<_>>();
    let weights = edges.iter().map(|edge| edge.2).collect::<Vec<_>>();
    let columns = Edges::weighted(&from, &to, &weights);
    for options in OPTIONS {
        for by in [By::Source, By::Target, By::Both] {
            let (offsets, targets, kept) = reference(rows.clone(), by, edges, options);
            for threads in [1, 3] {
                let built = in_pool(threads, || shard(vertices, rows.clone(), by, columns, options)).unwrap();
                assert_eq!(built.0.offsets(), offsets, "{options:?} {by:?}");
                assert_eq!(built.0.targets(), targets, "{options:?} {by:?}");
                assert_eq!(built.1, kept, "{options:?} {by:?}");
                verify_shard((&built.0, &built.1), vertices, rows.clone(), by, columns, options).unwrap();
            }
        }
    }
}

/// Weights that tie often, in no order.
fn weighted(edges: &[(u32, u32)]) -> Vec<(u32, u32, f64)> {
    let weight = |number: usize| (number.wrapping_mul(0x9e37_79b9) >> 7) % 5;
    edges.iter().enumerate().map(|(number, &(from, to))| (from, to, weight(number) as f64 - 2.0)).collect()
}

fn unweighted(edges: &[(u32, u32)]) -> Vec<(u32, u32, ())> {
    edges.iter().map(|&(from, to)| (from, to, ())).collect()
}

fn columns(edges: &[(u32, u32)]) -> (Vec<u32>, Vec<u32>) {
    edges.iter().copied().unzip()
}

#[test]
fn every_shape() {
    for (_, vertices, edges) in shapes() {
        check(vertices, 0..vertices, &unweighted(&edges));
        check(vertices, 0..vertices, &weighted(&edges));
        check(vertices, vertices / 3..vertices / 2, &weighted(&edges));
        check(vertices, vertices..vertices, &unweighted(&edges));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_multigraphs((vertices, edges) in multigraph(), cut in 0_usize..60) {
        let cut = cut.min(vertices);
        check(vertices, 0..vertices, &weighted(&edges));
        check(vertices, cut..vertices, &unweighted(&edges));
    }
}

#[test]
fn many_chunks_and_buckets() {
    check(1 << 11, 0..1 << 11, &unweighted(&skewed(11, 20, 1)));
    check(1 << 11, 700..1 << 11, &weighted(&skewed(11, 20, 2)));
}

#[test]
fn keys_of_64_bits() {
    let vertices = u32::MAX as usize;
    // Half of the vertices have large numbers.
    let spread = |vertex: u32| if vertex < 512 { vertex } else { u32::MAX - 1024 + vertex };
    let edges = skewed(10, 100, 3).into_iter().map(|(from, to)| (spread(from), spread(1023 - to))).collect::<Vec<_>>();
    let rows = vertices - 800..vertices;
    check(vertices, rows, &weighted(&edges));
}

/// Sorted by all threads together.
#[test]
fn a_star_larger_than_a_bucket() {
    let leaves = LARGE as u32 + 5000;
    let edges = (0..leaves).map(|number| (7, number.wrapping_mul(0x9e37_79b1) % leaves)).collect::<Vec<_>>();
    let (from, to) = columns(&edges);
    let options = BuildOptions::simple();
    let build = || symmetric(leaves as usize, Edges::new(&from, &to), options).unwrap();
    let (one, three) = (in_pool(1, build), in_pool(3, build));
    assert_eq!(one.out(), three.out());
    let nothings = vec![(); one.edges()];
    let rows = 0..leaves as usize;
    verify_shard((one.out(), &nothings), rows.len(), rows, By::Both, Edges::new(&from, &to), options).unwrap();
}

#[test]
fn a_long_path_is_quick() {
    let edges = (1..1_000_000).map(|to| (to - 1, to)).collect::<Vec<_>>();
    let (from, to) = columns(&edges);
    let start = Instant::now();
    let graph = symmetric(1_000_000, Edges::new(&from, &to), BuildOptions::default()).unwrap();
    assert!(start.elapsed().as_secs_f64() < 2.0);
    assert_eq!(graph.out(), samples::symmetric(1_000_000, &edges).out());
}

#[test]
fn graphs_agree_with_the_samples() {
    let edges = skewed(9, 12, 5);
    let (from, to) = columns(&edges);
    let columns = Edges::new(&from, &to);
    let graph = directed(1 << 9, columns, BuildOptions::default()).unwrap();
    let expected = samples::directed(1 << 9, &edges);
    assert_eq!((graph.out(), graph.incoming()), (expected.out(), expected.incoming()));
    let graph = symmetric(1 << 9, columns, BuildOptions::simple()).unwrap();
    assert!(graph.is_symmetric());
    assert_eq!(graph.out(), samples::symmetric(1 << 9, &edges).out());
}

#[test]
fn weights_of_both_directions() {
    let columns = Edges::weighted(&[0, 1, 0, 2], &[1, 0, 1, 2], &[5_i32, 3, 4, 9]);
    let graph = weighted_symmetric(3, columns, BuildOptions::default()).unwrap();
    assert_eq!(graph.out(0), (&[1, 1, 1][..], &[3, 4, 5][..]));
    assert_eq!(graph.out(1), (&[0, 0, 0][..], &[3, 4, 5][..]));
    assert_eq!(graph.out(2), (&[2][..], &[9][..]));
    let graph = weighted_directed(3, columns, BuildOptions::simple()).unwrap();
    assert_eq!((graph.out(0), graph.out(1)), ((&[1][..], &[4][..]), (&[0][..], &[3][..])));
    assert_eq!(graph.graph().incoming().neighbours(1), [0]);
}

#[test]
fn mistakes_are_errors() {
    let message = |result: Result<Csr>| result.unwrap_err().to_string();
    let options = BuildOptions::default();
    let edges = Edges::new(&[0, 1, 9], &[1, 3, 0]);
    let found = in_pool(3, || message(csr(3, edges, options)));
    assert_eq!(found, "error: edge 1 goes from 1 to 3, in a graph of 3 vertices, numbered from 0");
    let found = message(csr(3, Edges::new(&[0, 1], &[1]), options));
    assert_eq!(found, "error: 2 sources, 1 targets and 2 weights of edges: an edge has one of each");
    let found = message(csr(1 << 32, Edges::new(&[], &[]), options));
    assert_eq!(found, "not supported: a graph of 4294967296 vertices; their numbers have 32 bits");
    let found = message(shard(3, 1..4, By::Source, Edges::new(&[], &[]), options).map(|built| built.0));
    assert_eq!(found, "error: rows 1..4 of a graph that has 3 vertices");
}

#[test]
fn the_verifier_rejects_what_is_wrong() {
    let columns = Edges::weighted(&[0, 0, 2, 0], &[1, 2, 0, 1], &[5_i32, 3, 4, 6]);
    let verify = |offsets: &[usize], targets: &[u32], weights: &[i32], options| {
        let adjacency = Csr::from_parts(offsets.to_vec(), targets.to_vec());
        verify_shard((&adjacency, weights), 3, 0..3, By::Source, columns, options)
    };
    let keep = BuildOptions::default();
    verify(&[0, 3, 3, 4], &[1, 1, 2, 0], &[5, 6, 3, 4], keep).unwrap();
    verify(&[0, 3, 3, 4], &[1, 1, 2, 0], &[6, 5, 3, 4], keep).unwrap_err(); // the order of ties
    verify(&[0, 3, 3, 4], &[1, 2, 2, 0], &[5, 6, 3, 4], keep).unwrap_err(); // one edge twice, another missing
    verify(&[0, 3, 3, 4], &[2, 1, 1, 0], &[3, 5, 6, 4], keep).unwrap_err(); // does not ascend
    verify(&[0, 2, 3, 4], &[1, 1, 2, 0], &[5, 6, 3, 4], keep).unwrap_err(); // in another row
    verify(&[0, 3, 3, 5], &[1, 1, 2, 0, 1], &[5, 6, 3, 4, 1], keep).unwrap_err(); // one too many
    verify(&[0, 3, 3, 4], &[1, 1, 2, 0], &[5, 6, 3, 4], BuildOptions::simple()).unwrap_err(); // a duplicate
    verify(&[0, 2, 2, 3], &[1, 2, 0], &[5, 3, 4], BuildOptions::simple()).unwrap();
    verify(&[0, 2, 2, 3], &[1, 2, 0], &[6, 3, 4], BuildOptions::simple()).unwrap_err(); // not the smallest weight
}
