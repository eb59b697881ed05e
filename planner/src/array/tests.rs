#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::single_range_in_vec_init, reason = "a region of one axis is one range")]
use bireme_operators::array::{Binary, DType, Fold, Region};
use bireme_operators::contract::Einsum;

use super::rounds::on_a_ring;
use super::{Affine, Entry, Keep, Op, Part, Places, Sketch, broadcast, lower, parts};

fn ranks(ranks: usize, whole_below: usize) -> Places {
    Places::of_ranks(ranks, whole_below)
}

fn entry(op: Op, shape: &[usize], operands: &[usize], kept: bool) -> Entry {
    let kept = if kept { Keep::Placed } else { Keep::No };
    Entry {
        op,
        dtype: DType::F64,
        shape: shape.to_vec(),
        operands: operands.to_vec(),
        kept,
        tiling: None,
        sparse: false,
    }
}

/// One iteration of conjugate gradients: of A, p, r, x and rs the new r, x and rs.
fn iteration(n: usize) -> Sketch {
    let vector = [n];
    let input = |shape: &[usize]| entry(Op::Input, shape, &[], false);
    let two = |binary, shape: &[usize], operands: &[usize], kept| entry(Op::Binary(binary), shape, operands, kept);
    let sum = |of| entry(Op::Reduce(Fold::Sum, 0, 1), &[], &[of], false);
    Sketch {
        entries: vec![
            input(&[n, n]),
            input(&vector),
            input(&vector),
            input(&vector),
            input(&[]),
            entry(Op::Contract(Einsum::parse("ij,j->i").unwrap(), None), &vector, &[0, 1], true), // 5: ap
            two(Binary::Multiply, &vector, &[1, 5], false),
            sum(6),                                  // 7: p · ap
            two(Binary::Divide, &[], &[4, 7], true), // 8: alpha
            two(Binary::Multiply, &vector, &[8, 5], false),
            two(Binary::Subtract, &vector, &[2, 9], true), // 10: r
            two(Binary::Multiply, &vector, &[10, 10], false),
            Entry { kept: Keep::Placed, ..sum(11) }, // 12: rs
            two(Binary::Multiply, &vector, &[8, 1], false),
            two(Binary::Add, &vector, &[3, 13], true), // 14: x
        ],
    }
}

#[test]
fn an_iteration_of_a_solver_is_a_product_and_two_passes() {
    let plan = lower(&iteration(6000), ranks(1, 1), 0).unwrap();
    let expected = "\
segment 0
  %5 = einsum(\"ij,j->i\") of %0, %1
  loop (6000)
    v0 = load f64 %1
    v1 = load f64 %5
    v2 = v0 * v1
    fold sum v2 over 0..1 as %6
  loop ()
    v0 = load f64 %4
    v1 = load f64 %6
    v2 = v0 / v1
    store v2 as %7
  loop (6000)
    v0 = load f64 %7
    v1 = load f64 %5
    v2 = v0 * v1
    v3 = load f64 %2
    v4 = v3 - v2
    v5 = v4 * v4
    v6 = load f64 %1
    v7 = v0 * v6
    v8 = load f64 %3
    v9 = v8 + v7
    store v4 as %8
    store v9 as %9
    fold sum v5 over 0..1 as %10
kept: %5 %7 %8 %10 %9; 0 B moved between ranks
";
    assert_eq!(plan.text(), expected);
}

#[test]
fn ranks_that_share_a_matrix_move_one_vector_an_iteration() {
    // Vectors of 6000 lie on every rank; rows of the matrix are cut.
    let places = ranks(2, 1 << 16);
    let plans = [0, 1].map(|rank| lower(&iteration(6000), places, rank).unwrap());
    assert_eq!(plans[0].text(), plans[1].text());
    assert_eq!(plans[0].segments.len(), 2);
    // Each rank gets the half of A·p that it lacks.
    assert_eq!(plans[0].moved, 6000 * 8);
}

#[test]
fn a_shifted_slice_moves_its_halo_only() {
    let n = 3 * 4096;
    let view = |start: isize| Op::View(Affine::new(1, [(start, Some((0, 1)))]));
    let sketch = Sketch {
        entries: vec![
            entry(Op::Input, &[n], &[], false),
            entry(view(0), &[n - 1], &[0], false),
            entry(view(1), &[n - 1], &[0], false),
            entry(Op::Binary(Binary::Subtract), &[n - 1], &[2, 1], true),
        ],
    };
    let plan = lower(&sketch, ranks(3, 1), 1).unwrap();
    // One element at each of the two cuts.
    assert_eq!(plan.moved, 2 * 8);
}

/// A sum of all ranks that lies on one of them, and is read by all: it is moved when it is whole.
#[test]
fn what_a_move_makes_is_moved_after_it() {
    let sketch = Sketch {
        entries: vec![
            entry(Op::Input, &[9000], &[], false),
            entry(Op::Input, &[9000, 3], &[], false),
            entry(Op::Contract(Einsum::parse("a,ab->b").unwrap(), None), &[3], &[0, 1], false),
            entry(Op::Lines(bireme_operators::array::Line::RunningSum, 0), &[3], &[2], true),
        ],
    };
    for rank in 0..3 {
        let plan = lower(&sketch, ranks(3, 1), rank).unwrap();
        for segment in plan.segments.iter() {
            let filled = segment.moves.iter().filter_map(|one| one.fills()).collect::<Vec<_>>();
            assert!(segment.moves.iter().all(|one| one.sources().iter().all(|source| !filled.contains(source))));
        }
        // Rows of the vector, summands, the sum to all, the running sum.
        assert_eq!(plan.segments.len(), 4);
    }
}

#[test]
fn every_element_is_on_one_rank_and_cuts_are_between_leaves() {
    for shape in
        [vec![1], vec![5000], vec![20_000], vec![7, 3000], vec![100, 3], vec![9000, 2, 2], vec![0, 4], vec![3, 0]]
    {
        for count in [2, 3, 7] {
            let places = ranks(count, 1);
            let regions = places.regions(&shape);
            if !places.cuts(&shape) {
                assert!(regions.iter().all(|region| *region == Region::whole(&shape)));
                continue;
            }
            let mut next = 0;
            for region in &regions {
                assert_eq!(region.ranges()[0].start, next);
                next = region.ranges()[0].end;
                let unit = bireme_operators::array::rows_of_a_leaf(shape[1..].iter().product());
                assert!(next % unit == 0 || next == shape[0], "{shape:?} on {count}: {region}");
            }
            assert_eq!(next, shape[0]);
        }
    }
}

#[test]
fn what_a_rank_lacks_comes_from_those_that_have_it() {
    let has = [Region::new([0..4]), Region::new([4..8]), Region::new([8..10])];
    let find = |wants: std::ops::Range<usize>, rank| parts(&[(0, &has)], &Region::new([wants]), rank, on_a_ring(3));
    let part = |rank, slot, range| Part { rank, slot, region: Region::new([range]) };
    assert_eq!(find(2..9, 1).unwrap(), [part(1, 0, 4..8), part(0, 0, 2..4), part(2, 0, 8..9)]);
    assert_eq!(find(5..6, 1).unwrap(), [part(1, 0, 5..6)]);
    assert_eq!(find(8..12, 0), None);
    assert_eq!(find(3..3, 0).unwrap(), []);
    // Of several that have it, the nearest; of its own what it has; copies of a round before count.
    let all = [Region::new([0..9]), Region::new([0..3]), Region::new([0..0]), Region::new([0..9])];
    let copy = [Region::empty(1), Region::empty(1), Region::new([4..6]), Region::empty(1)];
    let sources = [(0, all.as_slice()), (7, copy.as_slice())];
    let find = |rank| parts(&sources, &Region::new([2..6]), rank, on_a_ring(4)).unwrap();
    assert_eq!(find(1), [part(1, 0, 2..3), part(0, 0, 3..6)]);
    assert_eq!(find(2), [part(2, 7, 4..6), part(0, 0, 2..4)]);
}

#[test]
fn views_of_views_are_views() {
    // a[3:, ::-2] of a (9, 8), then its transpose without the first row.
    let first = Affine::new(2, [(3, Some((0, 1))), (7, Some((1, -2)))]);
    let second = Affine::new(2, [(0, Some((1, 1))), (1, Some((0, 1)))]);
    let both = second.after(&first);
    for (i, j) in [(0_usize, 0_usize), (2, 4), (1, 5)] {
        let slow = |affine: &Affine, index: [usize; 2]| {
            let part = index.map(|index| index..index + 1);
            let read = affine.reads(&part);
            [read[0].start, read[1].start]
        };
        assert_eq!(slow(&both, [i, j]), slow(&first, slow(&second, [i, j])));
    }
    assert_eq!(both.reads(&[0..3, 0..6]), [3..9, 1..6]);
}

#[test]
fn what_is_written_to_a_part_is_found_by_arithmetic() {
    for (start, step, count) in [(0_isize, 1_isize, 10_usize), (1, 3, 4), (9, -2, 5), (4, -1, 5), (3, 2, 0)] {
        let affine = Affine::new(1, [(start, Some((0, step)))]);
        for from in 0..10 {
            for to in from..=10 {
                let written = affine.written(&[count], &Region::new([from..to])).unwrap();
                let here = |index: &usize| (from as isize..to as isize).contains(&(start + *index as isize * step));
                let slow = (0..count).filter(here).collect::<Vec<_>>();
                let fast = written.ranges()[0].clone().collect::<Vec<_>>();
                assert_eq!(fast, slow, "{start} {step} {count} in {from}..{to}");
            }
        }
    }
}

#[test]
fn shapes_that_do_not_go_together_are_both_named() {
    assert_eq!(broadcast(&[3, 1], &[4]).unwrap(), [3, 4]);
    assert_eq!(broadcast(&[], &[2, 0]).unwrap(), [2, 0]);
    let error = broadcast(&[3, 2], &[4, 2]).unwrap_err();
    assert!(error.message().contains("[3, 2]") && error.message().contains("[4, 2]"), "{error}");
}
