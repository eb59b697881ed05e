//! Products on devices have the bits of the host's, on all devices that are here.

use super::super::{Coordinates, spmm, spmv};
use super::*;
use crate::accelerator::devices;
use crate::contract::View;

/// A generator, so that a matrix is its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as usize % sides
    }

    /// Fractions, whose sums tell orders apart.
    fn fraction(&mut self) -> f64 {
        self.roll(1 << 30) as f64 / 1e9 - 0.5
    }
}

/// A matrix whose rows have so many entries, at random columns.
fn matrix<T: Tested>(lengths: &[usize], columns: usize, seed: u64) -> Csr<T> {
    let mut dice = Dice(seed);
    let mut indices = vec![Vec::new(), Vec::new()];
    for (row, &length) in lengths.iter().enumerate() {
        // The first of each `gap` columns from some place on, so that none is there twice.
        let gap = columns / length.max(1);
        let start = dice.roll(gap.max(1));
        for entry in 0..length {
            indices[0].push(row as u32);
            indices[1].push((start + entry * gap) as u32);
        }
    }
    let values = indices[0].iter().map(|_| T::of(dice.fraction())).collect();
    Csr::new(Coordinates::new(&[lengths.len(), columns], indices, values).unwrap()).unwrap()
}

trait Tested: Float {
    fn of(value: f64) -> Self;
    fn word(self) -> u64;
}

impl Tested for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }
    fn word(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Tested for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn word(self) -> u64 {
        self.to_bits()
    }
}

/// Lengths of rows: few and many entries, about the lengths at which ways of summing change, and rows that tasks of the host cut.
fn lengths() -> Vec<(&'static str, Vec<usize>)> {
    let mut dice = Dice(3);
    let mut mixed = (0..700).map(|_| dice.roll(40)).collect::<Vec<_>>();
    mixed.extend([31, 32, 33, 127, 128, 129, 130, 131, 255, 256, 257, 0, 1000]);
    let cut = (0..1500).map(|row| [3, 20, 45, 0, 190][row % 5]).collect();
    vec![
        ("no rows", vec![]),
        ("an empty row", vec![0]),
        ("an entry", vec![1]),
        ("empty rows", vec![0; 70]),
        ("mixed", mixed),
        ("cut here and there", cut),
        ("short ones cut", vec![27; 4000]),
        ("heavy", vec![5, 0, 40_000, 7, 300, 0, 33_000, 2, 90]),
    ]
}

fn check<T: Tested>() {
    let bits = |numbers: &[T]| numbers.iter().map(|number| number.word()).collect::<Vec<_>>();
    for device in devices() {
        for (seed, (name, lengths)) in lengths().into_iter().enumerate() {
            let columns = 50_000;
            let a = matrix::<T>(&lengths, columns, seed as u64);
            let on_device = MatrixOnDevice::new(&device, &a).unwrap();
            let mut dice = Dice(9);
            let mut dense = |count: usize| (0..count).map(|_| T::of(dice.fraction())).collect::<Vec<_>>();
            let x = dense(columns);
            let (mut wanted, mut found) = (vec![T::of(7.0); a.rows()], vec![T::of(8.0); a.rows()]);
            spmv(&a, &x, &mut wanted).unwrap();
            on_device.spmv(&x, &mut found).unwrap();
            assert!(bits(&found) == bits(&wanted), "{name} times a vector");
            for width in [1, 3] {
                let b = dense(columns * width);
                let turned = (0..columns * width).map(|at| b[at % columns * width + at / columns]).collect::<Vec<_>>();
                let views = [
                    View::contiguous(&b, &[columns, width]).unwrap(),
                    View::new(&turned, &[columns, width], &[1, columns as isize], 0).unwrap(),
                ];
                for view in views {
                    let (mut wanted, mut found) =
                        (vec![T::of(7.0); a.rows() * width], vec![T::of(8.0); a.rows() * width]);
                    spmm(&a, &view, &mut wanted).unwrap();
                    on_device.spmm(&view, &mut found).unwrap();
                    assert!(bits(&found) == bits(&wanted), "{name} times {width} columns");
                }
            }
        }
    }
}

#[test]
fn doubles() {
    check::<f64>();
}

#[test]
fn singles() {
    check::<f32>();
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let a = matrix::<f64>(&[1, 2], 4, 1);
    for device in devices() {
        let on_device = MatrixOnDevice::new(&device, &a).unwrap();
        assert_eq!((on_device.rows(), on_device.columns()), (2, 4));
        let error = on_device.spmv(&[1.0; 3], &mut [0.0; 2]).unwrap_err();
        assert!(error.message().contains("shape [2, 4] times a vector of 3"), "{error}");
        assert!(on_device.spmv(&[1.0; 4], &mut [0.0; 3]).is_err());
        let (small, large) = (device.filled(24, 0).unwrap(), device.filled(32, 0).unwrap());
        assert!(on_device.spmv_there(&small, &large).unwrap_err().message().contains("times 24 bytes into 32"));
        on_device.spmv_there(&large, &small).unwrap();
        let b = [1.0; 8];
        let view = View::contiguous(&b, &[4, 2]).unwrap();
        let error = on_device.spmm(&view, &mut [0.0; 3]).unwrap_err();
        assert!(error.message().contains("[4, 2] cannot be put into 3"), "{error}");
        assert!(on_device.spmm(&View::contiguous(&b, &[2, 4]).unwrap(), &mut [0.0; 8]).is_err());
        on_device.spmm(&View::contiguous(&b[..0], &[4, 0]).unwrap(), &mut []).unwrap();
    }
}

#[test]
fn what_has_no_kernel_is_said() {
    assert_eq!(why_no_kernel(&matrix::<f32>(&[1], 4, 1)), None);
    let integers = Csr::new(Coordinates::new(&[1, 1], vec![vec![0], vec![0]], vec![1_i64]).unwrap()).unwrap();
    assert!(why_no_kernel(&integers).unwrap().contains("i64"));
    let a = matrix::<f64>(&[1, 2], 4, 1);
    assert_eq!(MatrixOnDevice::bytes(&a), 3 * 8 + 3 * 4 + 3 * 8);
}
