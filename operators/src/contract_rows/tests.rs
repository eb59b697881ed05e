#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

type Row = (Vec<Option<i64>>, Option<i64>);

/// A table of index columns and a value column, in several batches.
fn table(rows: &[Row], columns: usize, float: bool) -> Vec<RecordBatch> {
    let batch = |rows: &[Row]| {
        let mut arrays: Vec<ArrayRef> = Vec::new();
        for at in 0..columns {
            let values = rows.iter().map(|(indices, _)| indices[at]);
            // One of the index columns is narrower, where its values are.
            let narrow = at == 1 && values.clone().flatten().all(|value| i32::try_from(value).is_ok());
            arrays.push(if narrow {
                Arc::new(Int32Array::from_iter(values.map(|value| value.map(|value| value as i32))))
            } else {
                Arc::new(Int64Array::from_iter(values))
            });
        }
        let values = rows.iter().map(|(_, value)| *value);
        arrays.push(if float {
            Arc::new(Float64Array::from_iter(values.map(|value| value.map(|value| value as f64 * 0.5))))
        } else {
            Arc::new(Int64Array::from_iter(values))
        });
        let names = (0..=columns).map(|at| format!("c{at}"));
        RecordBatch::try_from_iter_with_nullable(names.zip(arrays).map(|(name, array)| (name, array, true))).unwrap()
    };
    rows.chunks(7).map(batch).collect()
}

/// `SELECT a.0, a.1, b.2, SUM(a.v * b.v) FROM a JOIN b ON a.0 = b.0 AND a.2 = b.1 GROUP BY a.0, a.1, b.2`, as SQL would have it;
/// without `batch` the first column is another summed one.
fn reference(a: &[Row], b: &[Row], batch: bool) -> BTreeMap<Vec<Option<i64>>, Option<i128>> {
    let mut groups: BTreeMap<Vec<Option<i64>>, Option<i128>> = BTreeMap::new();
    for (ia, va) in a {
        for (ib, vb) in b {
            let meet = |one: Option<i64>, other: Option<i64>| one.is_some() && one == other;
            if meet(ia[0], ib[0]) && meet(ia[2], ib[1]) {
                let key = if batch { vec![ia[0], ia[1], ib[2]] } else { vec![ia[1], ib[2]] };
                let sum = groups.entry(key).or_default();
                if let (Some(va), Some(vb)) = (va, vb) {
                    *sum = Some(sum.unwrap_or(0) + i128::from(*va) * i128::from(*vb));
                }
            }
        }
    }
    groups
}

fn contraction(batch: bool, float: bool) -> TableContraction {
    narrow_contraction(batch, float, false)
}

fn narrow_contraction(batch: bool, float: bool, narrow: bool) -> TableContraction {
    let row = if narrow { DataType::Int32 } else { DataType::Int64 };
    let value = if float { DataType::Float64 } else { DataType::Int64 };
    let mut names = vec![("r", row), ("c", DataType::Int64), ("v", value)];
    let mut output = vec![Output::LeftFree(0), Output::RightFree(0), Output::Sum];
    if batch {
        names.insert(0, ("b", DataType::Int64));
        output.insert(0, Output::Batch(0));
    }
    let fields = names.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect::<Vec<_>>();
    TableContraction {
        batch: if batch { vec![(0, 0)] } else { vec![] },
        summed: if batch { vec![(2, 1)] } else { vec![(0, 0), (2, 1)] },
        left_free: vec![1],
        right_free: vec![2],
        left_value: Some(3),
        right_value: Some(3),
        output,
        schema: Arc::new(Schema::new(fields)),
    }
}

/// The groups, by their indices; none twice.
fn groups(rounds: &dyn Rounds, float: bool) -> Result<BTreeMap<Vec<Option<i64>>, Option<i128>>> {
    let mut all = BTreeMap::new();
    for number in 0..rounds.count() {
        for batch in rounds.round(number)? {
            let last = batch.num_columns() - 1;
            let indices = (0..last)
                .map(|at| arrow::compute::cast(batch.column(at), &DataType::Int64).unwrap())
                .collect::<Vec<_>>();
            for row in 0..batch.num_rows() {
                let value =
                    |array: &ArrayRef| array.is_valid(row).then(|| array.as_primitive::<Int64Type>().value(row));
                let key = indices.iter().map(value).collect::<Vec<_>>();
                let sums = batch.column(last);
                let sum = sums.is_valid(row).then(|| match float {
                    // Halves times halves.
                    true => (sums.as_primitive::<Float64Type>().value(row) * 4.0) as i128,
                    false => i128::from(sums.as_primitive::<Int64Type>().value(row)),
                });
                assert!(all.insert(key, sum).is_none(), "a group twice");
            }
        }
    }
    Ok(all)
}

fn check(a: &[Row], b: &[Row], batch: bool, float: bool, boxes: bool) -> Kernel {
    let (left, right) = (table(a, 3, float), table(b, 3, float));
    let narrow = left.iter().all(|batch| batch.column(1).data_type() == &DataType::Int32);
    let plan = narrow_contraction(batch, float, narrow);
    let (rounds, done) = plan.prepare(&left, &right, |_| boxes).unwrap();
    assert_eq!(groups(rounds.as_ref(), float).unwrap(), reference(a, b, batch), "{done:?}");
    done.kernel
}

fn rows(extent: i64, offset: i64, most: usize, nulls: bool) -> impl Strategy<Value = Vec<Row>> {
    let index = move || {
        let value = (0..extent).prop_map(move |value| Some(value.wrapping_mul(1 + offset.abs() / 7) + offset));
        if nulls { prop_oneof![9 => value, 1 => Just(None)].boxed() } else { value.boxed() }
    };
    let value = (-9_i64..10).prop_map(Some);
    let value = if nulls { prop_oneof![5 => value, 1 => Just(None)].boxed() } else { value.boxed() };
    proptest::collection::vec((proptest::collection::vec(index(), 3), value), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn groups_are_those_of_the_join(
        (a, b) in (1_i64..5, prop_oneof![Just(0_i64), Just(-3), Just(1 << 40)], any::<bool>()).prop_flat_map(
            |(extent, offset, nulls)| (rows(extent, offset, 60, nulls), rows(extent, offset, 60, nulls))
        ),
        batch: bool, float: bool, boxes: bool,
    ) {
        check(&a, &b, batch, float, boxes);
    }
}

fn full(extents: [i64; 3], hole: impl Fn(i64) -> bool) -> Vec<Row> {
    let cells = (0..extents.iter().product::<i64>()).filter(|cell| !hole(*cell));
    let row = |cell: i64| {
        let indices = [cell / extents[2] / extents[1], cell / extents[2] % extents[1], cell % extents[2]];
        (indices.map(Some).to_vec(), Some(cell % 17 - 8))
    };
    cells.map(row).collect()
}

#[test]
fn full_boxes_are_a_product_of_matrices() {
    for (batch, float) in [(true, true), (true, false), (false, true), (false, false)] {
        let (a, b) = (full([3, 6, 5], |_| false), full([3, 5, 4], |_| false));
        assert_eq!(check(&a, &b, batch, float, true), Kernel::Dense);
        let (a, b) = (full([3, 6, 5], |cell| cell % 4 == 0), full([3, 5, 4], |cell| cell % 7 == 2));
        assert_eq!(check(&a, &b, batch, float, true), Kernel::Dense);
        assert_eq!(check(&a, &b, batch, float, false), Kernel::Sparse);
        assert_eq!(check(&a, &[], batch, float, true), Kernel::Empty);
    }
}

#[test]
fn groups_without_a_pair_are_not_there() {
    // Row 0 has only key 0, column 0 only key 1.
    let a = full([1, 4, 4], |cell| cell < 4 && cell != 0);
    let b = full([1, 4, 4], |cell| cell % 4 == 0 && cell != 4);
    assert_eq!(check(&a, &b, true, true, true), Kernel::Dense);
    assert!(!reference(&a, &b, true).contains_key(&vec![Some(0), Some(0), Some(0)]));
}

#[test]
fn what_is_not_exact_in_a_box_goes_row_by_row() {
    let large = |rows: Vec<Row>, value: i64| rows.into_iter().map(|(at, _)| (at, Some(value))).collect::<Vec<Row>>();
    let (a, b) = (large(full([1, 4, 4], |_| false), 1 << 40), large(full([1, 4, 4], |_| false), (1 << 20) + 1));
    assert_eq!(check(&a, &b, true, false, true), Kernel::Sparse);
    let sum = |a: &[Row], b: &[Row]| {
        let plan = contraction(true, false);
        let (rounds, _) = plan.prepare(&table(a, 3, false), &table(b, 3, false), |_| true)?;
        groups(rounds.as_ref(), false).map(|_| ())
    };
    let wide = large(a.clone(), 1 << 62);
    assert!(sum(&wide, &large(b.clone(), 2)).unwrap_err().message().contains("a product"));
    assert!(sum(&wide, &large(b, 1)).unwrap_err().message().contains("a sum of products"));
}

/// Infinity times nothing is nothing, be it an empty cell or a NULL; in a box both are zeros.
#[test]
fn infinity_beside_nothing_is_no_nan() {
    let cells = full([1, 4, 4], |_| false);
    let hole = full([1, 4, 4], |cell| cell == 5);
    let mut null = cells.clone();
    null[5].1 = None;
    let mut left = table(&cells, 3, true);
    for batch in &mut left {
        let mut columns = batch.columns().to_vec();
        columns[3] = Arc::new(Float64Array::from_iter_values((0..batch.num_rows()).map(|_| f64::INFINITY)));
        *batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
    }
    // One value, so that infinities do not cancel out.
    let ones = |rows: &[Row]| rows.iter().map(|(at, value)| (at.clone(), value.map(|_| 2))).collect::<Vec<Row>>();
    for right in [hole, null] {
        let (rounds, done) = contraction(true, true).prepare(&left, &table(&ones(&right), 3, true), |_| true).unwrap();
        assert_eq!(done.kernel, Kernel::Sparse);
        let batches = (0..rounds.count()).flat_map(|number| rounds.round(number).unwrap()).collect::<Vec<_>>();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 16);
        let sums = batches.iter().flat_map(|batch| batch.column(3).as_primitive::<Float64Type>().iter());
        assert!(sums.into_iter().all(|sum| sum == Some(f64::INFINITY)));
    }
}

#[test]
fn counts_are_sums_of_ones() {
    let (a, b) = (full([2, 3, 4], |_| false), full([2, 4, 5], |_| false));
    let plan = TableContraction { left_value: None, right_value: None, ..contraction(true, false) };
    let (rounds, _) = plan.prepare(&table(&a, 3, false), &table(&b, 3, false), |_| true).unwrap();
    assert!(groups(rounds.as_ref(), false).unwrap().values().all(|count| *count == Some(4)));
}

#[test]
fn it_is_written_as_an_einsum() {
    assert_eq!(contraction(true, true).notation(), "jil,jlk->jik");
    assert_eq!(contraction(false, true).notation(), "ikl,klj->ij");
}
