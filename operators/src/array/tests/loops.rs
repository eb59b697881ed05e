//! Loops against their meaning: on one rank and several, on any number of threads.

use std::ops::Range;

use arrow::buffer::MutableBuffer;

use super::super::leaf::result;
use super::super::operand::Operand;
use super::super::program::{Instr, Loop, Reduction};
use super::super::{Binary, Compare, Fold, Folded, Ran, Unary, rows_of_a_leaf, run, together};
use super::random::{Dice, FOLDS, TYPES, input, program, shape};
use super::reference::{self, Input};
use super::*;

/// What a rank reads: all of the input, or what of it is on the rank.
fn operand(input: &Input, shape: &[usize], rows: &Range<usize>, cut: bool) -> Operand {
    let data = buffer(input.dtype, &input.data);
    if !cut || rows.is_empty() || shape.contains(&0) {
        return Operand::new(input.dtype, data, shape, rows, &input.steps, input.offset).unwrap();
    }
    let first = input.offset + input.steps.first().map_or(0, |step| rows.start as isize * step);
    let (mut low, mut high) = (first, first);
    for (axis, (&extent, step)) in shape.iter().zip(&input.steps).enumerate() {
        let reach = (if axis == 0 { rows.len() } else { extent } as isize - 1) * step;
        (low, high) = (low + reach.min(0), high + reach.max(0));
    }
    let bytes = input.dtype.bytes();
    let part = data.slice_with_length(low as usize * bytes, (high - low + 1) as usize * bytes);
    Operand::new(input.dtype, part, shape, rows, &input.steps, input.offset - low).unwrap()
}

/// Where ranks' rows begin and end, as the planner cuts them.
fn rows(shape: &[usize], rank: usize, ranks: usize) -> Range<usize> {
    let rows = shape.first().copied().unwrap_or(1);
    if shape.is_empty() {
        return 0..1;
    }
    let unit = rows_of_a_leaf(shape[1..].iter().product());
    let share = |rank: usize| (rows.div_ceil(unit) * rank / ranks * unit).min(rows);
    share(rank)..share(rank + 1)
}

/// Runs a loop as several ranks, and puts together what they make.
fn ran(looped: &Loop, inputs: &[Input], numbers: &[Scalar], ranks: usize) -> Made {
    ran_by(looped, inputs, ranks, |rows, operands| run(looped, rows, operands, numbers).unwrap())
}

/// The elements of stores, and of folds.
pub(super) type Made = (Vec<Vec<Scalar>>, Vec<Vec<Scalar>>);

/// The same, with each rank's rows run by somebody.
pub(super) fn ran_by(
    looped: &Loop,
    inputs: &[Input],
    ranks: usize,
    mut run: impl FnMut(&Range<usize>, &[Operand]) -> Ran,
) -> Made {
    let types = looped.types();
    let ranks = if looped.shape.is_empty() { 1 } else { ranks };
    let parts = (0..ranks).map(|rank| {
        let rows = rows(&looped.shape, rank, ranks);
        let operands = inputs.iter().map(|input| operand(input, &looped.shape, &rows, rank % 2 == 1));
        run(&rows, &operands.collect::<Vec<_>>())
    });
    let parts = parts.collect::<Vec<_>>();
    let stores = looped.stores.iter().enumerate();
    let stores =
        stores.map(|(at, &value)| parts.iter().flat_map(|part| scalars(types[value], &part.stores[at])).collect());
    let folds = looped.reductions.iter().enumerate().map(|(at, reduction)| {
        let dtype = types[reduction.value];
        let (mut whole, mut subtrees) = (MutableBuffer::default(), Vec::new());
        for part in &parts {
            match &part.folds[at] {
                Folded::Whole(data) => whole.extend_from_slice(data.as_slice()),
                Folded::Partial(more) => subtrees.extend(more.iter().cloned()),
            }
        }
        let data = if looped.folded.0 == 0 && looped.folded.1 > 0 {
            let behind = looped.shape[looped.folded.1..].iter().product();
            together(dtype, reduction.fold, behind, subtrees).unwrap()
        } else {
            whole.into()
        };
        scalars(result(dtype, reduction.fold), &data)
    });
    (stores.collect(), folds.collect())
}

#[track_caller]
fn check(looped: &Loop, inputs: &[Input], numbers: &[Scalar], ranks: &[usize]) {
    let wanted = reference::run(looped, inputs, numbers);
    for &ranks in ranks {
        let got = ran(looped, inputs, numbers, ranks);
        let what = || format!("{ranks} ranks, {looped:?}, numbers {numbers:?}, inputs {:?}", lying(inputs));
        for (got, wanted) in got.0.iter().zip(&wanted.0) {
            assert_same(&format!("stores of {}", what()), got, wanted);
        }
        for (got, wanted) in got.1.iter().zip(&wanted.1) {
            assert_same(&format!("folds of {}", what()), got, wanted);
        }
    }
}

fn lying(inputs: &[Input]) -> Vec<(&[isize], isize)> {
    inputs.iter().map(|input| (input.steps.as_slice(), input.offset)).collect()
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn loops_are_what_their_instructions_say(seed: u64, length in 3_usize..14) {
        let mut dice = Dice(seed);
        let shape = shape(&mut dice);
        let (looped, inputs, numbers) = program(&mut dice, shape, length);
        check(&looped, &inputs, &numbers, &[1, 2, 3]);
    }
}

proptest! {
    #![proptest_config(config(150))]

    /// Strips are used again and again.
    #[test]
    fn long_loops_are_too(seed: u64, length in 40_usize..160) {
        let mut dice = Dice(seed);
        let extent = 1 + dice.below(1200);
        let (looped, inputs, numbers) = program(&mut dice, vec![2, extent], length);
        check(&looped, &inputs, &numbers, &[1]);
    }
}

pub(super) fn plain(dice: &mut Dice, dtype: DType, shape: &[usize]) -> Input {
    let steps = super::super::strides(shape);
    Input { dtype, data: (0..shape.iter().product()).map(|_| dice.scalar(dtype)).collect(), steps, offset: 0 }
}

/// All folds of all types over all runs of axes of shapes that take each way through `run`.
#[test]
fn folds_over_any_axes() {
    let mut dice = Dice(5);
    for shape in [
        vec![0],
        vec![1],
        vec![255],
        vec![256],
        vec![4097],
        vec![9000],
        vec![0, 3],
        vec![3, 0],
        vec![3, 0, 4],
        vec![2, 3, 0],
        vec![5000, 3],
        vec![3, 5000],
        vec![2, 4100],
        vec![4100, 2],
        vec![700, 20],
        vec![20, 700],
        vec![3, 2050],
        vec![7, 2047],
        vec![40, 300, 2],
        vec![2, 300, 40],
        vec![6, 5, 4, 7],
        vec![3, 1, 700, 3],
        vec![1, 9000, 3],
        vec![5, 17, 600],
        vec![1, 1, 1],
        vec![30, 31, 32],
    ] {
        for dtype in TYPES {
            let input = plain(&mut dice, dtype, &shape);
            for from in 0..shape.len() {
                for to in from + 1..=shape.len() {
                    let looped = Loop {
                        shape: shape.clone(),
                        instructions: vec![Instr::Load(0, dtype)],
                        stores: vec![0],
                        reductions: FOLDS.map(|fold| Reduction { fold, value: 0 }).to_vec(),
                        folded: (from, to),
                    };
                    check(&looped, std::slice::from_ref(&input), &[], &[1, 3]);
                }
            }
        }
    }
}

/// What is the same for all elements is folded as if it was an array.
#[test]
fn folds_of_one_number() {
    for (shape, folded) in [
        (vec![5000], (0, 1)),
        (vec![20, 30], (1, 2)),
        (vec![20, 300, 7], (0, 2)),
        (vec![3, 700], (1, 2)),
        (vec![4, 3, 600], (0, 1)),
    ] {
        let looped = Loop {
            shape,
            instructions: vec![Instr::Number(0, DType::F32)],
            stores: vec![0],
            reductions: FOLDS.map(|fold| Reduction { fold, value: 0 }).to_vec(),
            folded,
        };
        check(&looped, &[], &[Scalar::F64(0.1)], &[1, 2]);
    }
}

#[test]
fn values_are_used_twice_and_stored_and_folded() {
    let mut dice = Dice(6);
    let shape = vec![3, 1100];
    let inputs = [plain(&mut dice, DType::F64, &shape), plain(&mut dice, DType::F64, &shape)];
    let looped = Loop {
        shape,
        instructions: vec![
            Instr::Load(0, DType::F64),
            Instr::Unary(Unary::Negative, 0),
            Instr::Binary(Binary::Multiply, 1, 1),
            Instr::Compare(Compare::Less, 2, 2),
            Instr::Select(3, 2, 2),
            Instr::Binary(Binary::Add, 4, 2),
            Instr::Load(1, DType::F64),
            Instr::Binary(Binary::Subtract, 5, 6),
            Instr::Binary(Binary::Add, 7, 7),
            // Nobody reads it.
            Instr::Unary(Unary::Absolute, 7),
            Instr::Binary(Binary::Maximum, 8, 1),
        ],
        stores: vec![8, 8, 0, 2],
        reductions: vec![
            Reduction { fold: Fold::Sum, value: 8 },
            Reduction { fold: Fold::Sum, value: 8 },
            Reduction { fold: Fold::ArgMaximum, value: 10 },
            Reduction { fold: Fold::Minimum, value: 0 },
        ],
        folded: (1, 2),
    };
    check(&looped, &inputs, &[], &[1, 2, 3]);
    check(&Loop { folded: (0, 2), ..looped.clone() }, &inputs, &[], &[1, 2, 3]);
    check(&Loop { folded: (0, 1), ..looped }, &inputs, &[], &[1, 2, 3]);
}

/// Sums have the same bits on any number of threads, and are those that are promised.
#[test]
fn threads_change_no_bits() {
    let pools = [1, 2, 3].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    let mut dice = Dice(7);
    for (shape, folded) in [
        (vec![600_000], (0, 1)),
        (vec![1000, 600], (1, 2)),
        (vec![1000, 600], (0, 1)),
        (vec![3, 200_000], (1, 2)),
        (vec![3, 200_000], (0, 1)),
        (vec![200_000, 3], (0, 1)),
        (vec![200_000, 3], (1, 2)),
        (vec![50, 40, 300], (0, 2)),
        (vec![50, 300, 40], (1, 2)),
        (vec![70_000, 3, 3], (1, 2)),
        (vec![2, 100_000, 3], (0, 2)),
        (vec![2, 9, 40_000], (1, 2)),
        (vec![2, 9, 40_000], (0, 0)),
    ] {
        let inputs = [plain(&mut dice, DType::F64, &shape), input(&mut dice, DType::F64, &shape)];
        let reductions = [Fold::Sum, Fold::ArgMinimum].map(|fold| Reduction { fold, value: 2 }).to_vec();
        let looped = Loop {
            shape,
            instructions: vec![
                Instr::Load(0, DType::F64),
                Instr::Load(1, DType::F64),
                Instr::Binary(Binary::Multiply, 0, 1),
            ],
            stores: vec![2],
            reductions: if folded.1 == 0 { Vec::new() } else { reductions },
            folded,
        };
        let wanted = reference::run(&looped, &inputs, &[]);
        for pool in &pools {
            for ranks in [1, 2] {
                let got = pool.install(|| ran(&looped, &inputs, &[], ranks));
                for (got, wanted) in got.0.iter().chain(&got.1).zip(wanted.0.iter().chain(&wanted.1)) {
                    assert_same(&format!("{:?} over {folded:?}", looped.shape), got, wanted);
                }
            }
        }
    }
}

/// Each axis lies apart from the others, so none can be put together.
#[test]
fn many_axes() {
    for axes in [8, 15] {
        let shape = vec![2; axes];
        let steps = (0..axes as u32).map(|axis| 3_isize.pow(axis)).collect::<Vec<_>>();
        let len = 1 + steps.iter().sum::<isize>();
        let data = (0..len).map(|value| Scalar::I32(value as i32)).collect();
        let input = Input { dtype: DType::I32, data, steps, offset: 0 };
        let looped = Loop {
            shape,
            instructions: vec![Instr::Load(0, DType::I32)],
            stores: vec![0],
            reductions: vec![Reduction { fold: Fold::Sum, value: 0 }],
            folded: (2, 4),
        };
        check(&looped, &[input], &[], &[1, 2]);
    }
    // More than are walked over is refused.
    let steps = (0..70).map(|axis| axis % 2).collect::<Vec<isize>>();
    let data = buffer(DType::I32, &vec![Scalar::I32(0); 100]);
    assert!(Operand::new(DType::I32, data, &[2; 70], &(0..2), &steps, 0).is_err());
}

/// Memory is written to that other ranks' rows are in, if these are not cut between leaves.
#[test]
fn rows_that_are_cut_elsewhere_are_refused() {
    let looped = |shape: &[usize], folded| Loop {
        shape: shape.to_vec(),
        instructions: vec![Instr::Number(0, DType::F64)],
        stores: vec![0],
        reductions: vec![Reduction { fold: Fold::Sum, value: 0 }],
        folded,
    };
    let one = [Scalar::F64(1.0)];
    assert!(run(&looped(&[10, 1000], (0, 1)), &(0..3), &[], &one).is_err());
    assert!(run(&looped(&[10, 1000], (0, 1)), &(1..4), &[], &one).is_err());
    assert!(run(&looped(&[10, 1000], (0, 1)), &(0..11), &[], &one).is_err());
    assert!(run(&looped(&[10, 1000], (0, 0)), &(0..2), &[], &one).is_err());
    assert!(run(&looped(&[], (0, 0)), &(0..2), &[], &one).is_err());
    assert!(run(&looped(&[10, 1000], (1, 2)), &(1..3), &[], &one).is_ok());
    assert!(run(&looped(&[10, 1000], (0, 1)), &(4..8), &[], &one).is_ok());
    assert!(run(&looped(&[10, 1000], (0, 2)), &(8..10), &[], &one).is_ok());
    assert!(run(&looped(&[10, 1000], (0, 2)), &(10..10), &[], &one).is_ok());
}
