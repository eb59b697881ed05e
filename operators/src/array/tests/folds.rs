//! Places of extremes: ties, NaN, and each way through `run`.

use super::super::operand::Operand;
use super::super::program::{Instr, Loop, Reduction};
use super::super::{Fold, Folded, run, strides, together};
use super::*;

/// The folds of `f64`s over axes from..to, one rank.
fn folded(fold: Fold, values: &[f64], shape: &[usize], (from, to): (usize, usize)) -> Vec<Scalar> {
    let looped = Loop {
        shape: shape.to_vec(),
        instructions: vec![Instr::Load(0, DType::F64)],
        stores: Vec::new(),
        reductions: vec![Reduction { fold, value: 0 }],
        folded: (from, to),
    };
    let rows = 0..shape[0];
    let operand = Operand::new(DType::F64, Buffer::from_slice_ref(values), shape, &rows, &strides(shape), 0).unwrap();
    let mut ran = run(&looped, &rows, &[operand], &[]).unwrap();
    let data = match ran.folds.pop().unwrap() {
        Folded::Whole(data) => data,
        Folded::Partial(subtrees) => together(DType::F64, fold, shape[to..].iter().product(), subtrees).unwrap(),
    };
    scalars(if fold.is_place() { DType::I64 } else { DType::F64 }, &data)
}

/// One line of `count` elements, folded as a run, as one of many short runs or rows, and side by side with others.
#[track_caller]
fn check(values: &[f64], least: i64, largest: i64) {
    let count = values.len();
    for (fold, place) in [(Fold::ArgMinimum, least), (Fold::ArgMaximum, largest)] {
        let place = Scalar::I64(place);
        assert_eq!(folded(fold, values, &[count], (0, 1)), [place]);
        let rows = values.repeat(5);
        assert_eq!(folded(fold, &rows, &[5, count], (1, 2)), [place; 5]);
        for behind in [2, 3, 300, 700] {
            let columns = values.iter().flat_map(|&value| vec![value; behind]).collect::<Vec<_>>();
            assert_eq!(folded(fold, &columns, &[count, behind], (0, 1)), vec![place; behind]);
            assert_eq!(folded(fold, &columns.repeat(3), &[3, count, behind], (1, 2)), vec![place; 3 * behind]);
        }
        // The place is row-major over all folded axes.
        if count.is_multiple_of(2) {
            assert_eq!(folded(fold, values, &[2, count / 2], (0, 2)), [place]);
            assert_eq!(folded(fold, &rows, &[5, count / 2, 2], (1, 3)), [place; 5]);
        }
    }
}

#[test]
fn places_of_extremes() {
    let nan = f64::NAN;
    check(&[4.0], 0, 0);
    check(&[1.0, 1.0, 1.0], 0, 0);
    check(&[0.0, -0.0, 0.0, -0.0], 0, 0);
    check(&[3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 9.0], 1, 5);
    check(&[3.0, nan, -4.0, nan, f64::INFINITY, 1.0], 1, 1);
    check(&[nan, 1.0], 0, 0);
    check(&[1.0, nan], 1, 1);
    for count in [17, 255, 256, 511, 513, 4096, 4098, 9000] {
        let mut values = (0..count).map(|at| (at % 97) as f64).collect::<Vec<_>>();
        check(&values, 0, 96.min(count - 1));
        values[count as usize - 1] = -1.0;
        values[count as usize - 2] = 1e9;
        check(&values, count - 1, count - 2);
        values[count as usize / 2] = nan;
        values[count as usize - 3] = nan;
        check(&values, count / 2, count / 2);
    }
}

#[test]
fn nan_spreads_through_folds() {
    for fold in [Fold::Sum, Fold::Product, Fold::Minimum, Fold::Maximum] {
        for count in [1, 15, 16, 600, 5000] {
            for at in [0, count / 2, count - 1] {
                let mut values = vec![1.0; count];
                values[at] = f64::NAN;
                assert!(
                    is_same(folded(fold, &values, &[count], (0, 1))[0], Scalar::F64(f64::NAN)),
                    "{fold} {count} {at}"
                );
                assert!(
                    is_same(folded(fold, &values, &[1, count], (1, 2))[0], Scalar::F64(f64::NAN)),
                    "{fold} {count} {at}"
                );
            }
        }
    }
}

#[test]
fn nothing_sums_up_to_nothing() {
    for (shape, folded_axes, results) in
        [(vec![0], (0, 1), 1), (vec![3, 0], (1, 2), 3), (vec![0, 3], (0, 1), 3), (vec![2, 0, 3], (1, 2), 6)]
    {
        assert_eq!(folded(Fold::Sum, &[], &shape, folded_axes), vec![Scalar::F64(0.0); results]);
        assert_eq!(folded(Fold::Product, &[], &shape, folded_axes), vec![Scalar::F64(1.0); results]);
    }
}

#[test]
fn subtrees_of_another_length_are_refused() {
    let subtree = (0, 0, Buffer::from_vec(vec![1.0_f64; 2]));
    assert!(together(DType::F64, Fold::Sum, 3, [subtree.clone()]).is_err());
    assert!(together(DType::F64, Fold::ArgMinimum, 2, [subtree.clone()]).is_err());
    assert!(together(DType::F64, Fold::Sum, 2, [subtree]).is_ok());
}
