//! Edges are the same however they are cut, and are distributed as they should be.

use super::*;

const KINDS: [Kind; 3] = [Kind::Kron, Kind::Uniform, Kind::Grid];

fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

fn out_degrees(vertices: usize, from: &[u32]) -> Vec<u32> {
    let mut degrees = vec![0; vertices];
    from.iter().for_each(|&from| degrees[from as usize] += 1);
    degrees
}

#[test]
fn parts_make_the_whole() {
    for kind in KINDS {
        for scale in [0, 1, 2, 5, 9] {
            let count = edge_count(kind, scale, 7).unwrap();
            let whole = in_pool(1, || edges(kind, scale, 7, 42, 0..count)).unwrap();
            assert_eq!(in_pool(3, || edges(kind, scale, 7, 42, 0..count)).unwrap(), whole);
            assert!(whole.0.iter().chain(&whole.1).all(|&vertex| vertex < 1 << scale));
            let cuts = [0, count / 3, count / 3, count / 2, count];
            let parts = cuts.windows(2).map(|cut| edges(kind, scale, 7, 42, cut[0]..cut[1]).unwrap());
            let (from, to): (Vec<_>, Vec<_>) = parts.unzip();
            assert_eq!((from.concat(), to.concat()), whole, "{kind:?} {scale}");
        }
    }
}

/// A change here changes the graphs that measurements were made with.
#[test]
fn edges_stay_what_they_are() {
    let (from, to) = edges(Kind::Kron, 20, 16, 1, 1000..1003).unwrap();
    assert_eq!((from, to), (vec![91434, 865_511, 856_510], vec![473_245, 459_671, 509_438]));
    let (from, to) = edges(Kind::Uniform, 20, 16, 1, 1000..1003).unwrap();
    assert_eq!((from, to), (vec![331_318, 1_022_928, 367_440], vec![118_504, 582_100, 929_057]));
    assert_eq!(weights(1, 1000..1005).unwrap(), [171, 5, 176, 149, 168]);
}

#[test]
fn seeds_make_different_graphs() {
    for kind in [Kind::Kron, Kind::Uniform] {
        let (one, two) = (edges(kind, 10, 8, 1, 0..8 << 10).unwrap(), edges(kind, 10, 8, 2, 0..8 << 10).unwrap());
        let same = one.0.iter().zip(&one.1).zip(two.0.iter().zip(&two.1)).filter(|(one, two)| one == two).count();
        assert!(same < 20, "{kind:?}: {same} edges are the same");
    }
}

#[test]
fn the_shuffle_is_a_bijection() {
    for scale in [0, 1, 2, 3, 8, 15] {
        for seed in 0..20 {
            let shuffle = Shuffle::new(scale, seed);
            let mut met = vec![false; 1 << scale];
            (0..1 << scale).for_each(|number| met[shuffle.apply(number) as usize] = true);
            assert!(met.iter().all(|&met| met), "scale {scale}, seed {seed}");
        }
    }
}

/// The quarters of the first and of the last level, before the shuffle.
#[test]
fn kron_has_the_parameters_of_graph500() {
    let count = 200_000;
    let mut quarters = [[0; 4]; 2];
    for edge in 0..count {
        let (from, to) = kron_edge(11, Stream::new(5, edge));
        quarters[0][(from >> 10 << 1 | to >> 10) as usize] += 1;
        quarters[1][((from & 1) << 1 | to & 1) as usize] += 1;
    }
    for quarters in quarters {
        for (found, expected) in quarters.into_iter().zip([0.57, 0.19, 0.19, 0.05]) {
            let found = f64::from(found) / count as f64;
            assert!((found - expected).abs() < 0.005, "{found} for {expected}");
        }
    }
}

#[test]
fn hubs_of_kron_lie_anywhere() {
    let scale = 12;
    let mut first_halves = 0;
    for seed in 0..16 {
        let degrees = out_degrees(1 << scale, &kron(scale, 16, seed).unwrap().0);
        let largest = *degrees.iter().max().unwrap();
        assert!(largest > 500, "a hub has {largest} edges");
        let mut vertices = (0..1 << scale).collect::<Vec<usize>>();
        vertices.sort_by_key(|&vertex| std::cmp::Reverse(degrees[vertex]));
        first_halves += vertices[..64].iter().filter(|&&vertex| vertex < 1 << (scale - 1)).count();
    }
    assert!((400..624).contains(&first_halves), "{first_halves} of 1024 hubs");
}

#[test]
fn uniform_is_uniform() {
    let (from, to) = uniform(8, 1000, 3).unwrap();
    for ends in [from, to] {
        let degrees = out_degrees(1 << 8, &ends);
        // Six standard deviations of a binomial distribution.
        assert!(degrees.iter().all(|degree| (810..1190).contains(degree)), "{degrees:?}");
    }
}

#[test]
fn weights_are_those_of_gap() {
    let weights = weights(9, 0..255_000).unwrap();
    assert_eq!(weights[17], weight_of(9, 17));
    let mut counts = [0; 256];
    weights.iter().for_each(|&weight| counts[weight as usize] += 1);
    assert_eq!(counts[0], 0);
    assert!(counts[1..].iter().all(|count| (810..1190).contains(count)), "{counts:?}");
}

#[test]
fn a_grid_of_eight_vertices() {
    // 0 1 2 3 4 5 6 7
    let (from, to) = grid(3).unwrap();
    assert_eq!(from, [0, 1, 2, 4, 5, 6, 0, 1, 2, 3]);
    assert_eq!(to, [1, 2, 3, 5, 6, 7, 4, 5, 6, 7]);
    assert_eq!(grid(0).unwrap(), (vec![], vec![]));
    assert_eq!(grid(1).unwrap(), (vec![0], vec![1]));
}

#[test]
fn mistakes_are_errors() {
    let message = |result: Result<(Vec<u32>, Vec<u32>)>| result.unwrap_err().to_string();
    assert_eq!(message(kron(32, 1, 0)), "not supported: a graph of 2^32 vertices: the largest scale is 31");
    assert_eq!(message(edges(Kind::Uniform, 2, 4, 0, 3..17)), "error: edges 3..17 of a graph that has 16");
    let found = message(uniform(20, 1 << 50, 0));
    assert_eq!(found, "error: 1048576 vertices of degree 1125899906842624 have too many edges");
    let found = message(uniform(31, 1 << 31, 0));
    assert_eq!(found, "out of resources: no memory for 4611686018427387904 edges; make fewer of them at a time");
}
