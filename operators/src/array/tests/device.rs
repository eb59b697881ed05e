//! Loops as kernels make the bits that the host makes.
#![allow(clippy::print_stderr, reason = "what did not run says so")]

use super::super::program::{Instr, Loop, Reduction};
use super::super::{Binary, Compare, Fold, Unary, run};
use super::loops::{plain, ran_by};
use super::random::{Dice, TYPES, input, program, shape};
use super::reference::Input;
use super::*;
use crate::accelerator::{Accelerator, Work, devices};

fn accelerators() -> Vec<Accelerator> {
    devices().into_iter().map(Accelerator::new).collect()
}

#[track_caller]
fn check(device: &Accelerator, looped: &Loop, inputs: &[Input], numbers: &[Scalar]) {
    for ranks in [1, 3] {
        let host = |rows: &_, operands: &[_]| run(looped, rows, operands, numbers).unwrap();
        let wanted = ran_by(looped, inputs, ranks, host);
        let got = ran_by(looped, inputs, ranks, |rows, operands| {
            let ran = device.run(looped, rows, operands, numbers).unwrap();
            ran.unwrap_or_else(|| host(rows, operands))
        });
        for (got, wanted) in got.0.iter().chain(&got.1).zip(wanted.0.iter().chain(&wanted.1)) {
            assert_same(&format!("{ranks} ranks, {looped:?}, numbers {numbers:?}"), got, wanted);
        }
    }
}

/// Whether all of it is rounded exactly, so that the host and a device cannot differ.
fn is_exact(looped: &Loop) -> bool {
    let types = looped.types();
    looped.instructions.iter().all(|instruction| match *instruction {
        Instr::Unary(unary, _) => unary <= Unary::Sqrt || unary >= Unary::Floor,
        Instr::Binary(Binary::Power, a, _) => !types[a].is_float(),
        Instr::Binary(Binary::Atan2 | Binary::Hypot, ..) => false,
        _ => true,
    })
}

#[test]
fn loops_have_the_same_bits_on_devices() {
    for device in accelerators() {
        let mut dice = Dice(11);
        let mut tried = 0;
        while tried < 120 {
            let shape = shape(&mut dice);
            let (looped, inputs, numbers) = program(&mut dice, shape, 3 + tried % 9);
            if is_exact(&looped) {
                check(&device, &looped, &inputs, &numbers);
                tried += 1;
            }
        }
        assert!(device.report().share(Work::Loops).on_device > 100, "{}", device.report());
    }
}

#[test]
fn folds_have_the_same_bits_on_devices() {
    let shapes = [
        (vec![1], (0, 1)),
        (vec![15], (0, 1)),
        (vec![257], (0, 1)),
        (vec![4096 + 16], (0, 1)),
        (vec![70_001], (0, 1)),
        (vec![3, 5003], (1, 2)),
        (vec![3, 5003], (0, 2)),
        (vec![40, 130], (1, 2)),
        (vec![9, 2, 300], (1, 3)),
        (vec![9, 2, 300], (2, 3)),
        (vec![200, 7], (1, 2)),
        (vec![5000, 3, 2], (1, 3)),
        // With others behind.
        (vec![300, 2], (0, 1)),
        (vec![7, 300], (0, 1)),
        (vec![20_000, 3], (0, 1)),
        (vec![3, 40, 70], (1, 2)),
        (vec![4, 3, 700], (0, 2)),
        (vec![2, 3, 5, 11], (1, 3)),
    ];
    for device in accelerators() {
        let mut dice = Dice(5);
        for (shape, folded) in &shapes {
            for dtype in TYPES {
                let inputs = [plain(&mut dice, dtype, shape), input(&mut dice, dtype, shape)];
                let folds = [Fold::Sum, Fold::Product, Fold::Minimum, Fold::Maximum];
                let looped = Loop {
                    shape: shape.clone(),
                    instructions: vec![
                        Instr::Load(0, dtype),
                        Instr::Load(1, dtype),
                        Instr::Binary(Binary::Multiply, 0, 1),
                        Instr::Compare(Compare::Less, 0, 1),
                    ],
                    stores: vec![2],
                    reductions: (0..4).map(|at| Reduction { fold: folds[at], value: 2 + at % 2 }).collect(),
                    folded: *folded,
                };
                check(&device, &looped, &inputs, &[]);
            }
        }
        assert_eq!(device.report().share(Work::Loops).cpu(), 0, "{}", device.report());
    }
}

#[test]
fn what_has_no_kernel_is_said() {
    let Some(device) = accelerators().pop() else { return };
    let inputs = [plain(&mut Dice(1), DType::F64, &[300])];
    let looped = Loop {
        shape: vec![300],
        instructions: vec![Instr::Load(0, DType::F64)],
        stores: Vec::new(),
        reductions: vec![Reduction { fold: Fold::ArgMaximum, value: 0 }],
        folded: (0, 1),
    };
    check(&device, &looped, &inputs, &[]);
    assert!(device.report().to_string().contains("on the CPU 4 (folds of places)"), "{}", device.report());
    let inputs = [plain(&mut Dice(1), DType::F64, &[0, 5])];
    let reductions = vec![Reduction { fold: Fold::Product, value: 0 }];
    let nothing = Loop { shape: vec![0, 5], reductions, folded: (0, 2), ..looped };
    check(&device, &nothing, &inputs, &[]);
    assert!(device.report().to_string().contains("4 (folds of nothing)"), "{}", device.report());
}
