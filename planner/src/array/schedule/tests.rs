#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
use std::collections::BTreeMap;
use std::sync::Arc;

use bireme_engine::layout::{Grid, Layout};
use bireme_operators::array::{DType, Region};
use bireme_operators::contract::Einsum;

use super::*;
use crate::array::rounds::Rounds;
use crate::array::{Entry, Keep, Op, Places, Sketch, Tiling, lower};

fn nest(schedule: &Schedule, text: &str, shapes: &[&[usize]], ranks: usize) -> Result<Nest> {
    let einsum = Einsum::parse(text).unwrap();
    let extents = einsum.extents(shapes).unwrap();
    schedule.nest(&einsum, &extents, ranks)
}

/// The law of [`Rounds`], combination by combination.
fn keeps_the_law(nest: &Nest, text: &str, shapes: &[&[usize]], ranks: usize) {
    let einsum = Einsum::parse(text).unwrap();
    let extents = einsum.extents(shapes).unwrap();
    let letters = einsum.letters();
    let mut times = BTreeMap::new();
    for rank in 0..ranks {
        for round in 0..nest.count() {
            let part = nest.part(&letters, rank, round);
            for place in elements(&part) {
                *times.entry(place).or_insert(0) += 1;
            }
            if part.is_empty() {
                continue;
            }
            for (at, operand) in einsum.operands().iter().enumerate() {
                assert!(nest.part(operand, rank, round).is_within(&nest.brought(at, operand, rank, round)));
            }
            assert!(nest.part(einsum.output(), rank, round).is_within(&nest.made(rank)), "{}", nest.describe());
        }
    }
    let all = extents.shape(&letters).iter().product::<usize>();
    assert!(times.len() == all && times.values().all(|&times| times == 1), "{} of {text} {shapes:?}", nest.describe());
    // The result is kept once: by whoever made it, or of whoever made a summand.
    let output = extents.shape(einsum.output());
    if !output.is_empty() {
        let kept = (0..ranks).flat_map(|rank| elements(&nest.kept(rank))).collect::<Vec<_>>();
        let mut sorted = kept.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(
            (sorted.len(), kept.len()),
            (output.iter().product(), output.iter().product()),
            "{}",
            nest.describe()
        );
    }
}

fn elements(region: &Region) -> Vec<Vec<usize>> {
    region.ranges().iter().fold(vec![Vec::new()], |all, range| {
        let longer =
            |place: &Vec<usize>| range.clone().map(|index| [place.as_slice(), &[index]].concat()).collect::<Vec<_>>();
        all.iter().flat_map(longer).collect()
    })
}

/// Bytes of f64 that all ranks move if the operands lie as the schedule wants them.
fn moved(schedule: &Schedule, text: &str, shapes: &[&[usize]], ranks: usize) -> u64 {
    let einsum = Einsum::parse(text).unwrap();
    let extents = einsum.extents(shapes).unwrap();
    let layouts = schedule.layouts(&einsum, &extents, ranks).unwrap();
    let grid = schedule.nest(&einsum, &extents, ranks).unwrap().grid().clone();
    let input = |(layout, shape): (&String, &&[usize])| Entry {
        op: Op::Input,
        dtype: DType::F64,
        shape: shape.to_vec(),
        operands: Vec::new(),
        kept: Keep::No,
        tiling: Some(Arc::new(Tiling::new(&Layout::parse(layout).unwrap(), shape, &grid, ranks).unwrap())),
        sparse: false,
    };
    let mut entries = layouts.iter().zip(shapes).map(input).collect::<Vec<_>>();
    entries.push(Entry {
        op: Op::Contract(einsum.clone(), Some(Arc::new(schedule.clone()))),
        dtype: DType::F64,
        shape: extents.shape(einsum.output()),
        operands: (0..shapes.len()).collect(),
        kept: Keep::Placed,
        tiling: None,
        sparse: false,
    });
    let plans =
        (0..ranks).map(|rank| lower(&Sketch { entries: entries.clone() }, Places::of_ranks(ranks, 1), rank).unwrap());
    let plans = plans.collect::<Vec<_>>();
    assert!(plans.iter().all(|plan| plan.text() == plans[0].text() && plan.moved == plans[0].moved));
    // Where the schedule says how the result lies, it lies so.
    if let Some(layout) = layouts.get(shapes.len()) {
        let wanted =
            Tiling::new(&Layout::parse(layout).unwrap(), &extents.shape(einsum.output()), &grid, ranks).unwrap();
        let regions = plans[0].kept_tilings[0].as_ref().map(|tiling| tiling.regions().to_vec());
        let regions = regions.unwrap_or_else(|| Places::of_ranks(ranks, 1).regions(&extents.shape(einsum.output())));
        let same = |(a, b): (&Region, &Region)| a == b || a.is_empty() && b.is_empty();
        assert!(regions.iter().zip(wanted.regions()).all(same), "{schedule}: {regions:?} and not {layout}");
    }
    plans[0].moved
}

const SIZES: [[usize; 3]; 5] = [[12, 12, 12], [13, 7, 10], [5, 29, 3], [40, 2, 9], [1, 1, 17]];

/// Rows, columns, summed; the formula in elements.
fn check(schedule: &Schedule, ranks: usize, formula: impl Fn([u64; 3], &[usize]) -> u64) {
    for [m, n, k] in SIZES {
        let shapes: [&[usize]; 2] = [&[m, k], &[k, n]];
        let nest = nest(schedule, "ik,kj->ij", &shapes, ranks).unwrap();
        keeps_the_law(&nest, "ik,kj->ij", &shapes, ranks);
        let expected = 8 * formula([m as u64, n as u64, k as u64], nest.grid().extents());
        assert_eq!(moved(schedule, "ik,kj->ij", &shapes, ranks), expected, "{} of {m}, {n}, {k}", nest.describe());
        // The same with the operands turned, and more indices in a role.
        let turned: [&[usize]; 2] = [&[k, m], &[n, k]];
        assert_eq!(moved(schedule, "ki,jk->ij", &turned, ranks), expected);
    }
}

#[test]
fn summa_moves_panels() {
    for ranks in 1..=12 {
        check(&Schedule::summa(), ranks, |[m, n, k], grid| m * k * (grid[1] as u64 - 1) + k * n * (grid[0] as u64 - 1));
    }
    let in_steps = Schedule::summa().on_grid([2, 3]).in_steps(7);
    check(&in_steps, 6, |[m, n, k], _| 2 * m * k + k * n);
}

#[test]
fn cannon_and_pumma_move_every_tile_of_a_row_and_a_column() {
    for (ranks, edge) in [(1, 1), (4, 2), (9, 3), (5, 2)] {
        for schedule in [Schedule::cannon(), Schedule::pumma()] {
            check(&schedule, ranks, |[m, n, k], grid| {
                assert_eq!(grid, [edge, edge]);
                (edge as u64 - 1) * (m * k + k * n)
            });
        }
    }
}

#[test]
fn johnson_moves_faces() {
    for (ranks, edge) in [(1, 1), (8, 2), (27, 3), (11, 2)] {
        check(&Schedule::johnson(), ranks, |[m, n, k], grid| {
            assert_eq!(grid, [edge; 3]);
            (edge as u64 - 1) * (m * k + k * n + m * n)
        });
    }
}

#[test]
fn layers_of_solomonik_move_what_their_rounds_need() {
    for (ranks, [edge, layers]) in [(4, [2, 1]), (8, [2, 2]), (9, [3, 1]), (27, [3, 3])] {
        check(&Schedule::solomonik(layers), ranks, |[m, n, k], grid| {
            assert_eq!(grid, [edge, edge, layers]);
            let (q, c) = (edge as u64, layers as u64);
            let first = k * (q / c) / q;
            q * (m * k + k * n) - first * (m + n) + (c - 1) * m * n
        });
    }
}

#[test]
fn cosma_gathers_and_scatters() {
    for ranks in 1..=12 {
        check(&Schedule::cosma(), ranks, |[m, n, k], grid| {
            let [x, y, z] = [grid[0], grid[1], grid[2]].map(|extent| extent as u64);
            (y - 1) * m * k + (x - 1) * k * n + (z - 1) * m * n
        });
    }
    check(&Schedule::cosma().on_grid([2, 2, 2]).in_steps(3), 8, |[m, n, k], _| m * k + k * n + m * n);
}

#[test]
fn a_tensor_stays_and_factors_come() {
    let shapes: [&[usize]; 3] = [&[9, 7, 5], &[7, 4], &[5, 4]];
    for ranks in [1, 2, 6, 8, 12] {
        let nest = nest(&Schedule::stationary(0), "ijk,jr,kr->ir", &shapes, ranks).unwrap();
        keeps_the_law(&nest, "ijk,jr,kr->ir", &shapes, ranks);
        let [a, b, c] = [0, 1, 2].map(|at| nest.grid().extents()[at] as u64);
        let expected = 8 * ((a * c - 1) * 7 * 4 + (a * b - 1) * 5 * 4 + (b * c - 1) * 9 * 4);
        assert_eq!(moved(&Schedule::stationary(0), "ijk,jr,kr->ir", &shapes, ranks), expected, "{}", nest.describe());
    }
    for (text, shapes) in [
        ("ijk,k->ij", vec![&[6, 5, 8][..], &[8]]),
        ("ijk,kl->ijl", vec![&[6, 5, 8][..], &[8, 3]]),
        ("ijk,ijk->", vec![&[6, 5, 8][..], &[6, 5, 8]]),
        ("bij,bjk->bik", vec![&[3, 5, 4][..], &[3, 4, 6]]),
    ] {
        for ranks in [2, 5, 8] {
            let nest = nest(&Schedule::stationary(0), text, &shapes, ranks).unwrap();
            keeps_the_law(&nest, text, &shapes, ranks);
            moved(&Schedule::stationary(0), text, &shapes, ranks);
        }
    }
}

#[test]
fn primitives_are_a_language() {
    let shapes: [&[usize]; 2] = [&[10, 11], &[11, 12]];
    // Rows and columns in time as well, operands brought at different loops, pieces of a size.
    let own = Schedule::new("tiles in time")
        .divide("i", "io", "ii", 2)
        .divide("ii", "i1", "i2", 3)
        .split("k", "ko", "ki", 4)
        .divide("j", "jo", "ji", 2)
        .distribute(["jo", "io"])
        .reorder(["ko", "i1", "i2", "ji", "ki"])
        .communicate(0, "i1")
        .communicate(1, "ko");
    let one = nest(&own, "ik,kj->ij", &shapes, 4).unwrap();
    assert_eq!((one.count(), one.describe().as_str()), (9, "tiles in time on 2 x 2"));
    keeps_the_law(&one, "ik,kj->ij", &shapes, 4);
    // Two dimensions of the grid that are one loop, cut in two.
    let nested = Schedule::new("nested")
        .divide("k", "ko", "ki", 6)
        .divide("ko", "node", "rank", 2)
        .distribute(["node", "rank"])
        .rotate("i", ["node"], "never");
    let wrong = nest(&nested, "ik,kj->ij", &shapes, 6).unwrap_err();
    assert!(wrong.to_string().contains("`i` cannot begin elsewhere"), "{wrong}");
    let nested = Schedule::new("nested").divide("k", "ko", "ki", 6).divide("ko", "node", "rank", 2);
    let nested = nested.distribute(["node", "rank"]);
    let one = nest(&nested, "ik,kj->ij", &shapes, 6).unwrap();
    assert!(one.is_summed() && one.grid().extents() == [2, 3]);
    keeps_the_law(&one, "ik,kj->ij", &shapes, 6);
    keeps_the_law(&nest(&nested.sums_on_face(), "ik,kj->ij", &shapes, 6).unwrap(), "ik,kj->ij", &shapes, 6);
}

#[test]
fn what_cannot_be_is_said() {
    let shapes: [&[usize]; 2] = [&[10, 11], &[11, 12]];
    let fails = |schedule: Schedule, ranks: usize, expected: &str| {
        let error = nest(&schedule, "ik,kj->ij", &shapes, ranks).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    fails(Schedule::new("x"), 2, "no loop is distributed");
    fails(Schedule::new("x").divide("z", "zo", "zi", 2), 2, "there is no loop `z`, only i, k, j");
    fails(Schedule::new("x").divide("i", "j", "ii", 2), 2, "there is a loop `j` already");
    fails(Schedule::new("x").distribute(["i"]), 2, "`i` does not count pieces");
    fails(Schedule::new("x").divide("i", "io", "ii", 3).distribute(["io"]), 2, "3 ranks, and there are 2");
    fails(Schedule::new("x").divide("i", "io", "ii", 2).communicate(2, "io"), 2, "no operand 2, only 2");
    let at_leaf = Schedule::new("x").divide("i", "io", "ii", 2).distribute(["io"]).communicate(1, "k");
    fails(at_leaf, 2, "`ii` does not count pieces");
    let halves = Schedule::new("x").divide("i", "io", "ii", 5).divide("io", "a", "b", 2);
    fails(halves, 5, "cannot be cut evenly");
    let inside_out = Schedule::new("x").divide("k", "ko", "kl", 2).divide("kl", "k1", "k2", 2);
    let inside_out = inside_out.divide("i", "io", "ii", 2).distribute(["io", "k1"]);
    fails(inside_out, 4, "a loop within a piece of `k` is outside");
    fails(Schedule::cannon().on_grid([2, 3]), 6, "square grids");
    fails(Schedule::johnson().on_grid([2, 2]), 8, "3 dimensions");
    fails(Schedule::summa().on_grid([4, 4]), 8, "there are 8 ranks");
    fails(Schedule::cannon().divide("i", "io", "ii", 2), 4, "write a schedule with Schedule::new");
    fails(Schedule::stationary(3), 2, "no operand 3");
    let error = nest(&Schedule::cannon(), "ij,j->i", &[&[4, 4], &[4]], 4).unwrap_err().to_string();
    assert!(error.contains("products of matrices"), "{error}");
    let layout = |text: &str, shape: &[usize], grid: &[usize]| {
        Tiling::new(&Layout::parse(text).unwrap(), shape, &Grid::new(grid).unwrap(), 4)
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    assert!(layout("A(i cyclic) -> M(i)", &[8], &[4]).contains("cannot be cyclic"));
    assert!(layout("A(i) -> M(+)", &[8], &[4]).contains("summands"));
    assert!(layout("A(i) -> M(i)", &[8], &[5]).contains("there are 4"));
}
