use std::time::Instant;

use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use super::super::samples;
use super::*;

fn with_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

fn bits(scores: &[f64]) -> Vec<u64> {
    scores.iter().map(|score| score.to_bits()).collect()
}

/// By distances and path counts between all vertices: `v` is inside paths from `s` to `t` if `d(s,v) + d(v,t) = d(s,t)`.
fn reference(graph: &Graph, sources: &[u32]) -> Vec<f64> {
    let vertices = graph.vertices();
    let from: Vec<_> = (0..vertices).map(|source| distances(graph, source)).collect();
    let mut scores = vec![0.0; vertices];
    for source in sources.iter().map(|source| *source as usize) {
        for target in (0..vertices).filter(|target| *target != source && from[source][*target].1 > 0.0) {
            for inside in (0..vertices).filter(|inside| *inside != source && *inside != target) {
                let ((before, paths), (behind, paths_behind)) = (from[source][inside], from[inside][target]);
                if paths * paths_behind > 0.0 && before + behind == from[source][target].0 {
                    scores[inside] += paths * paths_behind / from[source][target].1;
                }
            }
        }
    }
    scores
}

/// Distance and number of shortest paths to each vertex (0 where there is none): walks of each length, until no vertex is new.
fn distances(graph: &Graph, source: usize) -> Vec<(usize, f64)> {
    let vertices = graph.vertices();
    let mut found = vec![(0, 0.0); vertices];
    found[source] = (0, 1.0);
    for length in 1..vertices {
        let mut walks = vec![0.0; vertices];
        for from in (0..vertices).filter(|from| found[*from].1 > 0.0 && found[*from].0 == length - 1) {
            for &to in graph.out().neighbours(from as u32) {
                walks[to as usize] += found[from].1;
            }
        }
        for (found, walks) in found.iter_mut().zip(walks).filter(|(found, walks)| found.1 == 0.0 && *walks > 0.0) {
            *found = (length, walks);
        }
    }
    found
}

/// Any number of threads gives the same bits, which the verifier accepts.
fn check(name: &str, graph: &Graph, sources: &[u32]) -> Vec<f64> {
    let scores = with_threads(1, || betweenness(graph, sources));
    assert_eq!(bits(&scores), bits(&with_threads(3, || betweenness(graph, sources))), "{name}");
    verify_betweenness(graph, sources, &scores).unwrap_or_else(|error| panic!("{name}: {error}"));
    scores
}

fn check_all_sources(name: &str, vertices: usize, edges: &[(u32, u32)]) {
    let sources: Vec<_> = (0..vertices as u32).collect();
    for graph in [samples::directed(vertices, edges), samples::symmetric(vertices, edges)] {
        let scores = check(name, &graph, &sources);
        for (vertex, (score, right)) in scores.iter().zip(reference(&graph, &sources)).enumerate() {
            assert!((score - right).abs() <= 1e-9 * (1.0 + right), "{name}: {vertex} has {score}, not {right}");
        }
    }
}

#[test]
fn shapes() {
    for (name, vertices, edges) in samples::shapes() {
        if vertices <= 100 {
            check_all_sources(name, vertices, &edges);
        } else {
            let sources = [0, 1, vertices as u32 / 2, vertices as u32 - 1];
            check(name, &samples::directed(vertices, &edges), &sources);
            check(name, &samples::symmetric(vertices, &edges), &sources);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn multigraphs((vertices, edges) in samples::multigraph()) {
        check_all_sources("multigraph", vertices, &edges);
    }
}

/// Large enough for steps in parallel, pushed and pulled, with a tail for steps that are not.
#[test]
fn skewed_graphs_in_parallel() {
    let (scale, tail) = (15, 3000);
    let mut edges = samples::skewed(scale, 8, 3);
    edges.extend((0..tail).map(|step| ((1 << scale) + step, (1 << scale) + step + 1)));
    edges.push((1, 1 << scale));
    let vertices = (1 << scale) + tail as usize + 1;
    for graph in [samples::directed(vertices, &edges), samples::symmetric(vertices, &edges)] {
        check("skewed with a tail", &graph, &[0, 1, 77, 0]);
    }
}

/// Whichever way the sums are made, they have the same bits; here they are rounded, as there are 199^5 paths and more.
#[test]
fn push_and_pull_agree() {
    let width = 199_u32;
    let layer =
        |layer: u32| (0..width * width).map(move |at| (layer * width + at / width, (layer + 1) * width + at % width));
    let edges: Vec<_> = (0..width)
        .map(|to| (9 * width, to))
        .chain((0..8).flat_map(layer))
        .filter(|edge| (edge.0 + edge.1) % 7 != 0)
        .collect();
    let graph = samples::directed(9 * width as usize + 1, &edges);
    check("layers", &graph, &[9 * width, 3]);
    let mut sweep = Sweep::new(&graph);
    sweep.forward(9 * width);
    for depth in 1..7 {
        let level = |depth: usize| &sweep.order[sweep.starts[depth]..sweep.starts[depth + 1]];
        let (before, here, behind) = (level(depth - 1), level(depth), level(depth + 1));
        let paths: Vec<_> = here.iter().map(|vertex| sweep.value(*vertex)).collect();
        let again = |found: Vec<u32>| {
            assert_eq!(found, here);
            let same = here.iter().zip(&paths).all(|(vertex, paths)| sweep.value(*vertex).to_bits() == paths.to_bits());
            assert!(same, "σ at depth {depth}");
        };
        for depth in depth..sweep.edges.len() {
            clear_all(&sweep.reached, level(depth));
        }
        set_all(&sweep.reached, &sweep.order[..sweep.starts[depth]]);
        again(sweep.reach_by_push(before));
        again(sweep.reach_by_pull(before));
        here.iter().for_each(|vertex| sweep.set_value(*vertex, 0.0));
        again(sweep.reach_serially(before));

        let values = || here.iter().map(|vertex| sweep.value(*vertex).to_bits()).collect::<Vec<_>>();
        sweep.depend_by_push(here, behind);
        let pushed = values();
        here.iter().zip(&paths).for_each(|(vertex, paths)| sweep.set_value(*vertex, *paths));
        set_all(&sweep.level, behind);
        here.iter().for_each(|vertex| sweep.depend(*vertex, sweep.sum(graph.out().neighbours(*vertex))));
        clear_all(&sweep.level, behind);
        assert_eq!(pushed, values(), "dependencies at depth {depth}");
        here.iter().zip(&paths).for_each(|(vertex, paths)| sweep.set_value(*vertex, *paths));
    }
}

#[test]
fn a_path_of_a_million() {
    let vertices = 1_000_000;
    let edges: Vec<_> = (1..vertices).map(|to| (to - 1, to)).collect();
    let graph = samples::symmetric(vertices as usize, &edges);
    let start = Instant::now();
    let scores = with_threads(3, || betweenness(&graph, &[0]));
    assert!(start.elapsed().as_secs_f64() < 2.0, "{:?}", start.elapsed());
    assert!(scores[1..].iter().enumerate().all(|(at, score)| *score == f64::from(vertices - 2 - at as u32)));
}

#[test]
fn sources_count_each_time_and_only_if_they_are_vertices() {
    let graph = samples::directed(3, &[(0, 1), (1, 2)]);
    assert_eq!(betweenness(&graph, &[]), [0.0; 3]);
    assert_eq!(betweenness(&graph, &[0, 3, NONE, 0]), [0.0, 2.0, 0.0]);
}

#[test]
fn wrong_scores_are_found() {
    let graph = samples::symmetric(6, &[(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)]);
    let right = betweenness(&graph, &[0, 4]);
    assert_eq!(right, [0.0, 1.5, 1.5, 4.0, 0.0, 0.0]);
    for (vertex, wrong) in (0..6).flat_map(|vertex| [0.5, -1.0, f64::NAN].map(|wrong| (vertex, wrong))) {
        let mut scores = right.clone();
        scores[vertex] += wrong;
        assert!(verify_betweenness(&graph, &[0, 4], &scores).is_err(), "{scores:?}");
    }
    assert!(verify_betweenness(&graph, &[0, 4], &right[1..]).is_err());
}
