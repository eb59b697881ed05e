//! Algorithms on devices answer as those of the host, on all devices that are here.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::generate::{kron, uniform};
use super::super::samples;
use super::super::{
    BuildOptions, Edges, PowerIteration, Ranks, bfs, bfs_depths, components, count_triangles, pagerank,
    personalised_pagerank, triangles,
};
use super::super::{directed, symmetric};
use super::*;
use crate::accelerator::devices;

/// Edges into one vertex of which only a late one counts, and hubs that meet: long rows in every sense.
fn hubs() -> samples::Shape {
    let frontier = (400..700).map(|to| (3, to));
    let late = (0..800).filter(|from| *from != 3).map(|from| (from, 900));
    let out = (0..600).map(|to| (901, to));
    let both = (0..90).map(|hub| (902 + hub % 3, 5 * hub));
    let joined = [(902, 903), (903, 904), (904, 902), (900, 901), (903, 900)];
    ("hubs", 1000, frontier.chain(late).chain(out).chain(both).chain(joined).collect())
}

/// Components that are joined by none of the first two edges of any vertex, but by the last one of a long row, between two small trees,
/// and by edges that only the smaller tree's vertices are to look at.
fn late_edges() -> samples::Shape {
    let largest = (100..600).map(|to| (to, to + 1));
    let long = (0..40).map(|leaf| (1000, leaf)).chain([(1000, 300)]);
    let small = [(709, 710), (710, 711), (740, 650), (740, 651), (740, 710)];
    let from_largest = (800..804).map(|to| (400, to));
    ("late edges", 1100, largest.chain(long).chain(small).chain(from_largest).collect())
}

/// Shapes, both as they are and with each edge in both directions.
fn shapes() -> Vec<(String, Graph)> {
    let both = |(name, vertices, edges): samples::Shape| {
        let graphs = [samples::directed(vertices, &edges), samples::symmetric(vertices, &edges)];
        graphs.into_iter().zip(["as it is", "both ways"]).map(move |(graph, how)| (format!("{name}, {how}"), graph))
    };
    samples::shapes().into_iter().chain([hubs(), late_edges()]).flat_map(both).collect()
}

/// Generated graphs: with duplicates and loops, as they are and in both directions, and without.
fn generated() -> Vec<(String, Graph)> {
    let mut graphs = Vec::new();
    for (scale, degree, seed) in [(8, 16, 1), (9, 8, 2), (10, 8, 3)] {
        for (name, (from, to)) in
            [("kron", kron(scale, degree, seed).unwrap()), ("uniform", uniform(scale, degree, seed).unwrap())]
        {
            let (vertices, edges) = (1 << scale, Edges::new(&from, &to));
            let (all, simple) = (BuildOptions::default(), BuildOptions::simple());
            // Large ones are slow on the emulated device: one of a kind.
            let made = match scale {
                8 => vec![directed(vertices, edges, all), symmetric(vertices, edges, all)],
                9 => vec![directed(vertices, edges, all)],
                _ => vec![symmetric(vertices, edges, simple)],
            };
            graphs
                .extend(made.into_iter().map(|made| (format!("{name} of scale {scale}, seed {seed}"), made.unwrap())));
        }
    }
    graphs
}

/// Runs `check` for all graphs on all devices.
fn on_devices(check: impl Fn(&str, &Graph, &GraphOnDevice)) {
    for device in devices() {
        for (name, graph) in shapes().into_iter().chain(generated()) {
            check(&name, &graph, &GraphOnDevice::new(&device, &graph).unwrap());
        }
    }
}

#[track_caller]
fn check_search(name: &str, graph: &Graph, on_device: &GraphOnDevice, source: u32) {
    let (parents, depths) = on_device.bfs_with_depths(source).unwrap();
    assert_eq!(parents, bfs(graph, source), "{name} from {source}");
    assert_eq!(depths, bfs_depths(graph, source), "{name} from {source}");
}

#[test]
fn searches() {
    on_devices(|name, graph, on_device| {
        // A search along a path is a kernel a vertex, and slow on the emulated device.
        let sources = if name.starts_with("path") { vec![700] } else { vec![0, 3, graph.vertices() as u32 / 2] };
        for source in sources {
            check_search(name, graph, on_device, source);
        }
    });
}

#[test]
fn what_is_no_vertex_reaches_nothing() {
    for device in devices() {
        let graph = GraphOnDevice::new(&device, &samples::directed(3, &[(0, 1)])).unwrap();
        assert_eq!((graph.bfs(0).unwrap(), graph.bfs_depths(0).unwrap()), (vec![0, 0, NONE], vec![0, 1, NONE]));
        assert_eq!(graph.bfs(3).unwrap(), [NONE; 3]);
        assert_eq!(graph.bfs_depths(NONE).unwrap(), [NONE; 3]);
    }
}

/// The same bits, also of what is no number.
#[track_caller]
fn assert_same(name: &str, found: &Ranks, wanted: &Ranks) {
    let bits = |ranks: &Ranks| ranks.ranks.iter().map(|rank| rank.to_bits()).collect::<Vec<_>>();
    assert_eq!((found.iterations, found.change.to_bits()), (wanted.iterations, wanted.change.to_bits()), "{name}");
    assert!(bits(found) == bits(wanted), "{name}: {found:?} and {wanted:?}");
}

#[test]
fn ranks() {
    on_devices(|name, graph, on_device| {
        let some = PowerIteration { max_iterations: 12, ..PowerIteration::default() };
        let all = PowerIteration { tolerance: 1e-4, ..PowerIteration::default() };
        for options in [some, all] {
            assert_same(name, &on_device.pagerank(&options).unwrap(), &pagerank(graph, &options));
        }
        // Those that are there twice or are no vertices do not count.
        let sources = [2, 0, 2, 1_000_000];
        let found = on_device.personalised_pagerank(&sources, &some).unwrap();
        assert_same(name, &found, &personalised_pagerank(graph, &sources, &some));
    });
}

/// Several blocks of vertices, and the last one not full.
#[test]
fn ranks_over_blocks() {
    let (vertices, mut edges) = (2 * 1024 + 300, samples::skewed(11, 6, 5));
    edges.extend((0..290).flat_map(|step| [(2050 + step, step), (step, 2050 + step), (step, 2049)]));
    let graph = samples::directed(vertices, &edges);
    for device in devices() {
        let on_device = GraphOnDevice::new(&device, &graph).unwrap();
        for max_iterations in [0, 1, 7] {
            let options = PowerIteration { max_iterations, ..PowerIteration::default() };
            let (found, wanted) = (on_device.pagerank(&options).unwrap(), pagerank(&graph, &options));
            assert_same(&format!("{max_iterations} iterations"), &found, &wanted);
        }
    }
}

#[test]
fn labels_of_components() {
    on_devices(|name, graph, on_device| {
        assert_eq!(on_device.components().unwrap(), components(graph), "{name}");
    });
}

/// Many components of several sizes, and long paths whose vertices are far apart.
#[test]
fn components_apart() {
    let count = 3000_u32;
    let far = |place: u32| (u64::from(place) * 7001 % u64::from(count)) as u32;
    let paths = |length: u32| {
        let within = (1..count).filter(move |to| to % length != 0);
        within.map(|to| (far(to), far(to - 1))).collect::<Vec<_>>()
    };
    for device in devices() {
        for length in [2, 7, 100, 1500, 3000] {
            for graph in [samples::directed(3000, &paths(length)), samples::symmetric(3000, &paths(length))] {
                let found = GraphOnDevice::new(&device, &graph).unwrap().components().unwrap();
                assert_eq!(found, components(&graph), "paths of {length}");
            }
        }
    }
}

#[test]
fn counts_of_triangles() {
    on_devices(|name, graph, on_device| {
        assert_eq!(on_device.count_triangles().unwrap(), count_triangles(graph), "{name}");
        assert_eq!(on_device.triangles().unwrap(), triangles(graph), "{name}");
    });
}

#[test]
fn multigraphs() {
    let devices = devices();
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 24, failure_persistence: None, ..Config::default() },
        prop::test_runner::TestRng::deterministic_rng(prop::test_runner::RngAlgorithm::ChaCha),
    );
    let ran = runner.run(&samples::multigraph(), |(vertices, edges)| {
        for (device, graph) in devices.iter().flat_map(|device| {
            [samples::directed(vertices, &edges), samples::symmetric(vertices, &edges)].map(|graph| (device, graph))
        }) {
            let on_device = GraphOnDevice::new(device, &graph).unwrap();
            check_search("multigraph", &graph, &on_device, edges.first().map_or(0, |edge| edge.0));
            let options = PowerIteration { max_iterations: 5, ..PowerIteration::default() };
            assert_same("multigraph", &on_device.pagerank(&options).unwrap(), &pagerank(&graph, &options));
            assert_eq!(on_device.components().unwrap(), components(&graph));
            assert_eq!(on_device.count_triangles().unwrap(), count_triangles(&graph));
            assert_eq!(on_device.triangles().unwrap(), triangles(&graph));
        }
        Ok(())
    });
    ran.unwrap();
}

/// Several tiles, and sums that do not fit 32 bits.

#[test]
fn what_a_device_takes_is_said() {
    let graph = samples::symmetric(5, &[(0, 1), (1, 2)]);
    assert_eq!(GraphOnDevice::why_not(&graph), None);
    assert_eq!(why_not_so_many(NONE as usize - 1), None);
    assert!(why_not_so_many(NONE as usize).unwrap().contains("4294967295 vertices"));
    assert_eq!(GraphOnDevice::bytes(&graph), 6 * 8 + 4 * 4);
    assert_eq!(GraphOnDevice::bytes(&samples::directed(5, &[(0, 1), (1, 2)])), 2 * (6 * 8 + 2 * 4));
    for device in devices() {
        let on_device = GraphOnDevice::new(&device, &graph).unwrap();
        assert_eq!((on_device.vertices(), on_device.edges()), (5, 4));
        assert!(format!("{on_device:?}").contains("5 vertices, 4 edges on"), "{on_device:?}");
    }
}
