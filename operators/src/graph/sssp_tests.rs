//! Shortest paths against Dijkstra, and by their properties.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::{Graph, samples};
use super::*;

/// Dijkstra's algorithm. Distances that are not negative are in the order of their bits, floats too.
fn reference<W: Distance>(graph: &Weighted<W>, source: u32, bits: impl Fn(W) -> u64) -> Vec<W> {
    let mut distances = vec![W::INFINITE; graph.graph().vertices()];
    distances[source as usize] = W::ZERO;
    let mut heap = BinaryHeap::from([Reverse((bits(W::ZERO), source))]);
    while let Some(Reverse((key, from))) = heap.pop() {
        let distance = distances[from as usize];
        if bits(distance) == key {
            let (targets, weights) = graph.out(from);
            for (&to, &weight) in targets.iter().zip(weights) {
                let sum = distance.plus(weight);
                if sum < distances[to as usize] {
                    distances[to as usize] = sum;
                    heap.push(Reverse((bits(sum), to)));
                }
            }
        }
    }
    distances
}

fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

fn check_deltas<W: Distance>(graph: &Weighted<W>, deltas: &[W], bits: impl Fn(W) -> u64, name: &str) {
    for source in (0..graph.graph().vertices() as u32).step_by(17).take(2) {
        let expected = reference(graph, source, &bits);
        verify_sssp(graph, source, &expected).unwrap();
        let parents = parents_of_distances(graph, source, &expected);
        check_parents(graph, source, &expected, &parents);
        for &delta in deltas.iter().chain([&default_delta(graph)]) {
            for threads in [1, 3] {
                let distances = with_threads(threads, || sssp(graph, source, delta));
                assert_eq!(distances, expected, "{name} from {source} by {delta:?} with {threads} threads");
                assert_eq!(with_threads(threads, || parents_of_distances(graph, source, &distances)), parents);
            }
        }
    }
}

/// All types of weights that are made of these.
fn check(name: &str, graph: &Graph, weights: &[i32]) {
    let of = |weights: &[i32]| Weighted::new(graph.clone(), weights.to_vec());
    check_deltas(&of(weights), &[1, 2, 1000], |bits| u64::from(bits.cast_unsigned()), name);
    let wide = weights.iter().map(|&weight| i64::from(weight) << 24).collect();
    check_deltas(&Weighted::new(graph.clone(), wide), &[1, 1 << 25], i64::cast_unsigned, name);
    let floats = weights.iter().map(|&weight| weight as f32 * 0.1).collect();
    check_deltas(&Weighted::new(graph.clone(), floats), &[0.3, f32::INFINITY], |bits| u64::from(bits.to_bits()), name);
    let doubles = weights.iter().map(|&weight| f64::from(weight) / 7.0).collect();
    check_deltas(&Weighted::new(graph.clone(), doubles), &[1.0, 1e-300], f64::to_bits, name);
}

/// Each explains the distance, and they lead to the source.
fn check_parents<W: Distance>(graph: &Weighted<W>, source: u32, distances: &[W], parents: &[u32]) {
    for vertex in 0..distances.len() as u32 {
        if distances[vertex as usize] == W::INFINITE {
            assert_eq!(parents[vertex as usize], NONE);
            continue;
        }
        let (mut at, mut steps) = (vertex, 0);
        while at != source {
            let parent = parents[at as usize];
            let mut explained = false;
            for_tight_edges(graph, distances, parent, |to| explained |= to == at);
            assert!(explained, "{parent} does not explain {at}");
            (at, steps) = (parent, steps + 1);
            assert!(steps < distances.len(), "parents of {vertex} go round");
        }
    }
    for vertex in 0..distances.len() as u32 {
        for_tight_edges(graph, distances, vertex, |to| {
            if distances[vertex as usize] < distances[to as usize] {
                assert!(parents[to as usize] <= vertex, "{vertex} is a smaller parent of {to}");
            }
        });
    }
}

/// Weights up to a limit, less one, so that some are zero.
fn weights(graph: &Graph, limit: u32) -> Vec<i32> {
    samples::weighted(graph.clone(), limit).weights().iter().map(|weight| weight - 1).collect()
}

#[test]
fn shapes() {
    for (name, vertices, edges) in samples::shapes() {
        for graph in [samples::directed(vertices, &edges), samples::symmetric(vertices, &edges)] {
            for limit in [1, 3, 256] {
                check(name, &graph, &weights(&graph, limit));
            }
        }
    }
}

#[test]
fn skewed_in_rounds() {
    let graph = samples::symmetric(1 << 14, &samples::skewed(14, 16, 3));
    let weights = weights(&graph, 256);
    check("skewed", &graph, &weights);
}

#[test]
fn buckets_far_apart() {
    // Weights of every magnitude: entries go through all levels of the heap.
    let mut edges = (1..2000).map(|to| (to / 3, to)).collect::<Vec<_>>();
    edges.extend((1..2000).map(|to| (to / 7, to)));
    let graph = samples::directed(2000, &edges);
    let weights = (0..graph.edges() as i64).map(|edge| (edge + 1) << (edge * 7 % 45)).collect();
    let graph = Weighted::new(graph, weights);
    check_deltas(&graph, &[1, 3, 1 << 20, i64::MAX], i64::cast_unsigned, "far apart");
}

#[test]
fn long_path() {
    let length = 1 << 20;
    let graph = samples::directed(length, &(1..length as u32).map(|to| (to - 1, to)).collect::<Vec<_>>());
    let graph = Weighted::new(graph, vec![300; length - 1]);
    let expected = (0..length as i32).map(|at| at * 300).collect::<Vec<_>>();
    for delta in [1, 30_000] {
        let begin = Instant::now();
        let distances = with_threads(3, || sssp(&graph, 0, delta));
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        assert!(distances == expected);
    }
}

#[test]
fn integers_saturate() {
    let graph = samples::directed(4, &[(0, 1), (1, 2), (2, 3)]);
    let graph = Weighted::new(graph, vec![i32::MAX - 1, 1, 1]);
    let distances = sssp(&graph, 0, 1);
    assert_eq!(distances, [0, i32::MAX - 1, i32::MAX, i32::MAX]);
    verify_sssp(&graph, 0, &distances).unwrap();
}

#[test]
fn zero_cycles_explain_nothing() {
    // 0 → 1, and 2 ⇄ 3 by weight zero, apart.
    let graph = samples::directed(4, &[(0, 1), (2, 3), (3, 2)]);
    let graph = Weighted::new(graph, vec![5, 0, 0]);
    verify_sssp(&graph, 0, &[0, 5, i32::MAX, i32::MAX]).unwrap();
    let message = verify_sssp(&graph, 0, &[0, 5, 7, 7]).unwrap_err();
    assert!(message.contains("no path explains that 2"), "{message}");
}

#[test]
fn parents_of_zero_cycles() {
    // 0 ─4→ 5, and 5 ⇄ 1 ⇄ 2 by weight zero.
    let graph = samples::directed(6, &[(0, 5), (5, 1), (1, 5), (1, 2), (2, 1), (2, 5)]);
    let graph = Weighted::new(graph, vec![4, 0, 0, 0, 0, 0]);
    let distances = sssp(&graph, 0, 1);
    assert_eq!(distances, [0, 4, 4, i32::MAX, i32::MAX, 4]);
    assert_eq!(parents_of_distances(&graph, 0, &distances), [0, 5, 1, NONE, NONE, 0]);
}

#[test]
fn wrong_answers() {
    for (_, vertices, edges) in samples::shapes() {
        let graph = samples::weighted(samples::directed(vertices, &edges), 9);
        if vertices == 0 {
            continue;
        }
        let right = sssp(&graph, 0, 2);
        for vertex in (0..vertices).step_by(7) {
            for change in [-1, 1] {
                let mut wrong = right.clone();
                wrong[vertex] = wrong[vertex].saturating_sub(change);
                if wrong != right {
                    assert!(verify_sssp(&graph, 0, &wrong).is_err());
                }
            }
        }
        assert!(verify_sssp(&graph, 0, &right[1..]).is_err());
    }
}

#[test]
fn deltas() {
    let graph = samples::symmetric(5, &[(0, 1), (1, 2), (2, 3), (3, 4)]);
    // Mean weight 8, mean degree 1.6.
    assert_eq!(default_delta(&Weighted::new(graph.clone(), vec![8_i32; 8])), 5);
    assert_eq!(default_delta(&Weighted::new(graph.clone(), vec![0.5_f64; 8])), 0.3125);
    assert_eq!(default_delta(&Weighted::new(graph.clone(), vec![0_i64; 8])), 1);
    assert!(default_delta(&Weighted::new(graph.clone(), vec![0_f32; 8])) > 0.0);
    // Not a width: the default is.
    let graph = Weighted::new(graph, vec![8_i32; 8]);
    assert_eq!(sssp(&graph, 4, 0), [32, 24, 16, 8, 0]);
    assert_eq!(sssp(&graph, 4, -3), [32, 24, 16, 8, 0]);
    assert_eq!(default_delta(&Weighted::new(samples::directed(1, &[]), Vec::<f64>::new())), f64::MIN_POSITIVE);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn multigraphs((vertices, edges) in samples::multigraph(), limit in 1_u32..20) {
        let graph = samples::directed(vertices, &edges);
        check("multigraph", &graph, &weights(&graph, limit));
    }
}
