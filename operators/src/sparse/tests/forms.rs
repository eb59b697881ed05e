//! Coordinates, rows and trees.

use std::collections::BTreeMap;

use bireme_engine::error::ErrorKind;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::super::partition::parts;
use super::super::regroup::starts_of;
use super::*;

#[test]
fn entries_are_sorted_and_equal_ones_add_up() {
    for shape in
        [&[5, 7][..], &[1, 9], &[9, 1], &[1], &[300], &[4, 3, 5], &[], &[1 << 30, 1 << 31, 1 << 29], &[1 << 32; 5]]
    {
        let dice = &mut Dice(shape.len() as u64);
        let entries = 20_000;
        // Few indices an axis, so that some coordinates are equal on long axes too.
        let list = |dice: &mut Dice, extent: usize| -> Vec<u32> {
            (0..entries).map(|_| (dice.roll(extent.min(9)) * (extent / extent.min(9))) as u32).collect()
        };
        let indices: Vec<Vec<u32>> = shape.iter().map(|&extent| list(dice, extent)).collect();
        let values: Vec<i64> = (0..entries).map(|_| dice.roll(7) as i64 - 3).collect();
        let mut expected = BTreeMap::<Vec<u32>, i64>::new();
        for (entry, value) in values.iter().enumerate() {
            *expected.entry(indices.iter().map(|list| list[entry]).collect()).or_default() += value;
        }
        let made = alike(|| Coordinates::new(shape, indices.clone(), values.clone()).unwrap());
        assert_eq!(made.entries(), expected.len(), "{shape:?}");
        for (entry, (index, value)) in expected.into_iter().enumerate() {
            let there: Vec<u32> = (0..shape.len()).map(|axis| made.indices(axis)[entry]).collect();
            assert_eq!((there, made.values()[entry]), (index, value), "{shape:?}");
        }
        assert_eq!(
            Coordinates::new(
                shape,
                (0..shape.len()).map(|axis| made.indices(axis).to_vec()).collect(),
                made.values().to_vec()
            )
            .unwrap(),
            made
        );
    }
}

/// Equal coordinates add up in the order in which they came: fractions show it.
#[test]
fn sums_of_equal_coordinates_have_one_order() {
    let dice = &mut Dice(7);
    let indices: Vec<u32> = (0..50_000).map(|_| dice.roll(40) as u32).collect();
    let values: Vec<f64> = (0..50_000).map(|_| dice.roll(1 << 30) as f64 / 1e7 - 50.0).collect();
    let made = alike(|| Coordinates::new(&[40], vec![indices.clone()], values.clone()).unwrap());
    let mut expected = [0.0; 40];
    indices.iter().zip(&values).for_each(|(&index, value)| expected[index as usize] += value);
    assert_eq!(made.values(), expected);
}

#[test]
fn explicit_zeros_stay() {
    let made = Coordinates::new(&[2, 2], vec![vec![1, 0, 1], vec![1, 0, 1]], vec![2, 0, -2]).unwrap();
    assert_eq!(made.values(), [0, 0]);
    assert_eq!(Coordinates::from_dense(&[2, 2], &made.to_dense().unwrap()).unwrap().entries(), 0);
}

#[test]
fn what_is_no_tensor_is_an_error() {
    let kind = |made: bireme_engine::error::Result<Coordinates<i64>>| made.unwrap_err().kind();
    assert_eq!(kind(Coordinates::new(&[2, 2], vec![vec![0], vec![2]], vec![1])), ErrorKind::User);
    assert_eq!(kind(Coordinates::new(&[2, 2], vec![vec![0], vec![0, 1]], vec![1])), ErrorKind::User);
    assert_eq!(kind(Coordinates::new(&[2, 2], vec![vec![0]], vec![1])), ErrorKind::User);
    assert_eq!(kind(Coordinates::new(&[0], vec![vec![0]], vec![1])), ErrorKind::User);
    assert_eq!(kind(Coordinates::new(&[1 << 33], vec![vec![0]], vec![1])), ErrorKind::Unsupported);
    assert_eq!(kind(Coordinates::from_dense(&[2, 2], &[1, 2, 3])), ErrorKind::User);
    let twice = Coordinates::new(&[2], vec![vec![1, 1]], vec![i64::MAX, 1]).unwrap_err();
    assert!(twice.kind() == ErrorKind::User && twice.message().contains("overflow"), "{twice}");
    // What is too large on the way may fit in the end.
    let fits = Coordinates::new(&[2], vec![vec![1; 3]], vec![i64::MAX, 1, -1]).unwrap();
    assert_eq!(fits.values(), [i64::MAX]);
    assert!(Csr::new(fits).is_err());
}

#[test]
fn dense_arrays_come_back() {
    for shape in [&[3, 4, 5][..], &[7], &[], &[0, 3], &[1, 6]] {
        let elements = dense::<i32>(shape, &mut Dice(3));
        assert_eq!(Coordinates::from_dense(shape, &elements).unwrap().to_dense().unwrap(), elements, "{shape:?}");
    }
}

#[test]
fn rows_and_columns() {
    for pattern in PATTERNS {
        for [rows, columns] in [[1, 50], [50, 1], [0, 5], [5, 0], [300, 200], [3000, 5000]] {
            let entries = if pattern == Pattern::Full { 0 } else { 100_000 };
            if pattern == Pattern::Full && rows > 1000 {
                continue;
            }
            let given = tensor::<i64>(&[rows, columns], pattern, entries, &mut Dice(1));
            let matrix = alike(|| Csr::new(given.clone()).unwrap());
            assert_eq!((matrix.rows(), matrix.columns(), matrix.entries()), (rows, columns, given.entries()));
            for row in 0..rows {
                let expected: Vec<usize> =
                    matrix.starts()[row..=row + 1].iter().map(|&start| start.min(given.entries())).collect();
                let here = &given.indices(0)[expected[0]..expected[1]];
                assert!(here.iter().all(|&one| one as usize == row), "{pattern:?} {rows} {columns} row {row}");
            }
            assert_eq!(matrix.starts()[rows], given.entries());
            let transposed = alike(|| matrix.transposed().unwrap());
            let turned = Coordinates::new(
                &[columns, rows],
                vec![given.indices(1).to_vec(), given.indices(0).to_vec()],
                given.values().to_vec(),
            );
            assert_eq!(transposed.clone().into_coordinates().unwrap(), turned.unwrap(), "{pattern:?} {rows} {columns}");
            assert_eq!(transposed.transposed().unwrap(), matrix);
        }
    }
}

#[test]
fn starts_of_rows_across_tasks() {
    // More entries than a task has, with gaps of empty rows at its edges.
    let row_of: Vec<u32> = (0..200_000_u32).map(|entry| entry / 65_536 * 1000 + 3).collect();
    let starts = starts_of(&row_of, 4000).unwrap();
    for (row, &start) in starts.iter().enumerate() {
        assert_eq!(start, row_of.partition_point(|&one| (one as usize) < row), "row {row}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, rng_seed: RngSeed::Fixed(5), ..ProptestConfig::default() })]

    /// Parts have all rows and all entries, in order, and no part has more steps than it may.
    #[test]
    fn parts_are_a_division(lengths in prop::collection::vec(0..9_usize, 0..60), heavy in 0..500_usize, steps in 1..20_usize) {
        let mut starts = vec![0];
        for (row, length) in lengths.iter().enumerate() {
            starts.push(starts[row] + length + if row == 7 { heavy } else { 0 });
        }
        let rows = starts.len() - 1;
        let parts = parts(&starts, steps);
        let mut at = (0, 0);
        for part in &parts {
            prop_assert_eq!((part.rows.start, part.entries.start), at);
            prop_assert!(part.rows.len() + part.entries.len() <= steps);
            for row in part.rows.clone() {
                prop_assert!(starts[row + 1] >= part.entries.start && starts[row + 1] <= part.entries.end);
            }
            prop_assert!(part.rows.end == rows || part.entries.end <= starts[part.rows.end + 1]);
            at = (part.rows.end, part.entries.end);
        }
        prop_assert_eq!(at, (rows, starts[rows]));
    }
}

#[test]
fn trees_of_any_order() {
    for (shape, orders) in [
        (&[9][..], &[&[0][..]][..]),
        (&[5, 7], &[&[0, 1], &[1, 0]]),
        (&[5, 1, 7], &[&[0, 1, 2], &[2, 0, 1], &[1, 2, 0]]),
        (&[5, 4, 3, 6], &[&[3, 2, 1, 0], &[0, 2, 1, 3]]),
        (&[5, 0, 7], &[&[2, 1, 0]]),
    ] {
        for pattern in PATTERNS {
            let given = tensor::<i32>(shape, pattern, 60, &mut Dice(4));
            for order in orders {
                let tree = alike(|| Csf::new(&given, order).unwrap());
                assert_eq!(tree.to_coordinates().unwrap(), given, "{shape:?} {order:?} {pattern:?}");
                let prefixes = |level: usize| {
                    let prefix =
                        |entry| order[..=level].iter().map(|&axis| given.indices(axis)[entry]).collect::<Vec<_>>();
                    (0..given.entries()).map(prefix).collect::<std::collections::BTreeSet<_>>().len()
                };
                for level in 0..order.len() {
                    assert_eq!(tree.nodes(level), prefixes(level), "{shape:?} {order:?} {pattern:?} level {level}");
                }
            }
        }
    }
    let given = tensor::<i32>(&[2, 2], Pattern::Full, 0, &mut Dice(4));
    for order in [&[0][..], &[0, 0], &[0, 2], &[0, 1, 2], &[]] {
        assert!(Csf::new(&given, order).is_err(), "{order:?}");
    }
}
