use std::time::Instant;

use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use super::super::samples;
use super::*;

fn with_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

/// Parents and depths, by relaxing all edges until nothing changes.
fn reference(graph: &Graph, source: u32) -> (Vec<u32>, Vec<u32>) {
    let vertices = graph.vertices() as u32;
    let mut depths = vec![NONE; graph.vertices()];
    depths[source as usize] = 0;
    for depth in 0..vertices {
        for from in (0..vertices).filter(|from| depths[*from as usize] == depth).collect::<Vec<_>>() {
            for &to in graph.out().neighbours(from) {
                depths[to as usize] = depths[to as usize].min(depth + 1);
            }
        }
    }
    let mut parents = vec![NONE; graph.vertices()];
    parents[source as usize] = source;
    for from in (0..vertices).rev().filter(|from| depths[*from as usize] != NONE) {
        for &to in graph.out().neighbours(from) {
            if depths[to as usize] == depths[from as usize] + 1 {
                parents[to as usize] = from;
            }
        }
    }
    (parents, depths)
}

fn check(name: &str, graph: &Graph, source: u32) {
    let (parents, depths) = reference(graph, source);
    for threads in [1, 3] {
        assert_eq!(with_threads(threads, || bfs(graph, source)), parents, "{name} from {source}, {threads} threads");
        assert_eq!(with_threads(threads, || bfs_depths(graph, source)), depths, "{name} from {source}");
    }
    verify_bfs(graph, source, &parents).unwrap();
}

/// Directed as it is, and undirected; from some of its vertices.
fn check_both(name: &str, vertices: usize, edges: &[(u32, u32)]) {
    for graph in [samples::directed(vertices, edges), samples::symmetric(vertices, edges)] {
        for source in (0..vertices as u32).step_by(vertices.div_ceil(5).max(1)).chain((vertices as u32).checked_sub(1))
        {
            check(name, &graph, source);
        }
    }
}

#[test]
fn shapes() {
    for (name, vertices, edges) in samples::shapes() {
        check_both(name, vertices, &edges);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn multigraphs((vertices, edges) in samples::multigraph()) {
        check_both("multigraph", vertices, &edges);
    }
}

/// Large enough for steps in parallel, in both directions and back.
#[test]
fn skewed_graphs_in_parallel() {
    let (scale, tail) = (15, 3000);
    let mut edges = samples::skewed(scale, 8, 3);
    edges.extend((0..tail).map(|step| ((1 << scale) + step, (1 << scale) + step + 1)));
    edges.extend([(1, 1 << scale)]);
    let vertices = (1 << scale) + tail as usize + 1;
    for graph in [samples::directed(vertices, &edges), samples::symmetric(vertices, &edges)] {
        for source in [0, 1, 77] {
            check("skewed with a tail", &graph, source);
        }
    }
}

/// Every vertex of a level could be the parent of every vertex of the next.
#[test]
fn wide_layers() {
    let width = 200;
    let layer =
        |layer: u32| (0..width * width).map(move |at| (layer * width + at / width, (layer + 1) * width + at % width));
    let edges: Vec<_> = (0..width).map(|to| (5 * width, to)).chain((0..4).flat_map(layer)).collect();
    check_both("layers", 5 * width as usize + 1, &edges);
}

#[test]
fn a_path_of_a_million() {
    let vertices = 1_000_000;
    let edges: Vec<_> = (1..vertices).map(|to| (to - 1, to)).collect();
    let graph = samples::symmetric(vertices as usize, &edges);
    let start = Instant::now();
    let parents = with_threads(3, || bfs(&graph, 0));
    assert!(start.elapsed().as_secs_f64() < 2.0, "{:?}", start.elapsed());
    verify_bfs(&graph, 0, &parents).unwrap();
}

#[test]
fn what_is_no_vertex_reaches_nothing() {
    let graph = samples::directed(3, &[(0, 1)]);
    assert_eq!(bfs(&graph, 3), [NONE; 3]);
    assert_eq!(bfs_depths(&graph, NONE), [NONE; 3]);
    verify_bfs(&graph, 3, &[NONE; 3]).unwrap();
}

#[test]
fn wrong_parents_are_found() {
    let graph = samples::directed(6, &[(0, 1), (0, 2), (1, 3), (2, 3), (4, 3)]);
    let right = bfs(&graph, 0);
    assert_eq!(right, [0, 0, 0, 1, NONE, NONE]);
    for vertex in 0..6 {
        for wrong in (0..6).chain([NONE]).filter(|wrong| *wrong != right[vertex]) {
            let mut parents = right.clone();
            parents[vertex] = wrong;
            assert!(verify_bfs(&graph, 0, &parents).is_err(), "{parents:?}");
        }
    }
    assert!(verify_bfs(&graph, 0, &right[1..]).is_err());
}
