//! Sorts and running folds against obvious ones.

use super::super::Line;
use super::super::lines::along;
use super::super::ops::Binary;
use super::random::{Dice, TYPES};
use super::reference;
use super::*;

/// What is made of one line.
fn made(line: Line, values: &[Scalar]) -> Vec<Scalar> {
    let running = |op| {
        let so_far = |so_far: &mut Option<Scalar>, &value: &Scalar| {
            *so_far = Some(so_far.map_or(value, |so_far| reference::binary(op, so_far, value)));
            *so_far
        };
        values.iter().scan(None, so_far).collect()
    };
    let is_nan = |at: usize| values[at] != values[at];
    let less = |a: usize, b: usize| {
        !is_nan(a)
            && (is_nan(b)
                || reference::compare(super::super::Compare::Less, values[a], values[b]) == Scalar::Bool(true))
    };
    let mut places = (0..values.len()).collect::<Vec<_>>();
    places.sort_by(|&a, &b| match (less(a, b), less(b, a)) {
        (true, _) => std::cmp::Ordering::Less,
        (_, true) => std::cmp::Ordering::Greater,
        _ => a.cmp(&b),
    });
    match line {
        Line::Sort => places.iter().map(|&at| values[at]).collect(),
        Line::ArgSort => places.iter().map(|&at| Scalar::I64(at as i64)).collect(),
        Line::RunningSum => running(Binary::Add),
        Line::RunningProduct => running(Binary::Multiply),
    }
}

fn check(dice: &mut Dice, dtype: DType, shape: &[usize]) {
    let elements = shape.iter().product::<usize>();
    let values = (0..elements).map(|_| match dice.scalar(dtype) {
        // Which of both zeros is first in a sort is not said.
        Scalar::F32(value) => Scalar::F32(value + 0.0),
        Scalar::F64(value) => Scalar::F64(value + 0.0),
        value => value,
    });
    let values = values.collect::<Vec<_>>();
    for axis in 0..shape.len() {
        let behind = shape[axis + 1..].iter().product::<usize>();
        for line in [Line::Sort, Line::ArgSort, Line::RunningSum, Line::RunningProduct] {
            let mut wanted = vec![Scalar::I64(0); elements];
            for first in (0..elements).filter(|at| at / behind.max(1) % shape[axis] == 0) {
                let of_line = (0..shape[axis]).map(|at| values[first + at * behind]).collect::<Vec<_>>();
                for (at, value) in made(line, &of_line).into_iter().enumerate() {
                    wanted[first + at * behind] = value;
                }
            }
            let got = along(line, dtype, shape, axis, &buffer(dtype, &values));
            assert_same(
                &format!("{line} of {dtype} {shape:?} along {axis}"),
                &scalars(line.result(dtype), &got),
                &wanted,
            );
        }
    }
}

#[test]
fn lines_of_any_axis() {
    let mut dice = Dice(11);
    for shape in [
        vec![1],
        vec![0],
        vec![9],
        vec![3, 0],
        vec![0, 3],
        vec![5, 7],
        vec![4, 1, 6],
        vec![3, 4, 5],
        vec![50, 20, 3],
        vec![300, 40],
        vec![70, 17, 33],
    ] {
        for dtype in TYPES {
            check(&mut dice, dtype, &shape);
        }
    }
}

/// Beyond one task: sorted by all workers.
#[test]
fn long_lines() {
    let mut dice = Dice(12);
    for shape in [vec![100_000], vec![2, 40_000], vec![40_000, 2], vec![40, 2000]] {
        for dtype in [DType::F64, DType::I32] {
            check(&mut dice, dtype, &shape);
        }
    }
}

#[test]
fn nan_is_last() {
    let values = Buffer::from_vec(vec![f64::NAN, 2.0, f64::INFINITY, f64::NAN, -1.0, -f64::INFINITY]);
    let sorted = along(Line::Sort, DType::F64, &[6], 0, &values);
    let wanted = [-f64::INFINITY, -1.0, 2.0, f64::INFINITY, f64::NAN, f64::NAN].map(Scalar::F64);
    assert_same("sort", &scalars(DType::F64, &sorted), &wanted);
    let places = along(Line::ArgSort, DType::F64, &[6], 0, &values);
    assert_same("argsort", &scalars(DType::I64, &places), &[5, 4, 1, 2, 0, 3].map(Scalar::I64));
}
