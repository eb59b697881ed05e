#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

//! The obvious way: all combinations of all indices, one after the other.
//!
//! The oracle of the tests. It knows no strides, no order of products and no kernels.

use super::{Einsum, View};

/// The product of one element of each operand, added up in the order of `letters`; integers must not overflow an `i128`.
pub trait Exact: Copy {
    type Sum: Copy + std::ops::Add<Output = Self::Sum> + std::ops::Mul<Output = Self::Sum>;
    const ZERO: Self::Sum;
    const ONE: Self::Sum;
    fn widen(self) -> Self::Sum;
}

macro_rules! exact {
    ($($element:ty => $sum:ty, $zero:literal, $one:literal;)*) => {$(
        impl Exact for $element {
            type Sum = $sum;
            const ZERO: $sum = $zero;
            const ONE: $sum = $one;
            fn widen(self) -> $sum {
                self.into()
            }
        }
    )*};
}

exact! {
    f32 => f64, 0.0, 1.0;
    f64 => f64, 0.0, 1.0;
    i32 => i128, 0, 1;
    i64 => i128, 0, 1;
}

/// The elements of the result, row-major.
pub fn contract<T: Exact>(einsum: &Einsum, operands: &[View<'_, T>]) -> Vec<T::Sum> {
    let shapes: Vec<&[usize]> = operands.iter().map(View::shape).collect();
    let extents = einsum.extents(&shapes).unwrap();
    // The output's letters first: the result's place counts up by itself.
    let mut letters = einsum.output().to_vec();
    letters.extend(einsum.letters().into_iter().filter(|letter| !einsum.output().contains(letter)));
    let mut result = vec![T::ZERO; extents.elements(einsum.output()).unwrap()];
    let all = extents.elements(&letters).unwrap();
    for number in 0..all {
        let mut rest = number;
        let mut index = vec![0; letters.len()];
        for (index, &letter) in index.iter_mut().zip(&letters).rev() {
            *index = rest % extents.of(letter);
            rest /= extents.of(letter);
        }
        let mut product = T::ONE;
        for (view, axes) in operands.iter().zip(einsum.operands()) {
            let of = |letter: &char| index[letters.iter().position(|one| one == letter).unwrap()];
            product = product * view.at(&axes.iter().map(of).collect::<Vec<_>>()).unwrap().widen();
        }
        let place = number / (all / result.len());
        result[place] = result[place] + product;
    }
    result
}
