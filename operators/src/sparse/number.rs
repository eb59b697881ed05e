//! How elements are added up: floats as they are, integers exactly.
//!
//! Integers do not wrap, and whether they overflow must not depend on how a sum is cut into pieces. So a sum of integers has a
//! type of its own that cannot overflow, and only what is written at the end must fit.

use std::fmt::Debug;

use bireme_engine::error::{Error, Result};

use crate::contract::{Element, Integer, Wide};

/// An element of sparse tensors: `f32`, `f64`, `i32`, `i64`.
///
/// Law: `finish` of any sequence of `add_product` and `add` is the same for integers in whatever order; for floats the order
/// counts, and kernels fix it by shapes and patterns alone.
pub trait Number: Element {
    /// A running sum; its default is 0.
    type Sum: Copy + Default + Debug + Send + Sync;

    /// `sum += left · right`.
    fn add_product(sum: &mut Self::Sum, left: Self, right: Self);

    /// `sum += other`.
    fn add(sum: &mut Self::Sum, other: Self::Sum);

    /// The sum as an element; `None` if it does not fit.
    fn finish(sum: Self::Sum) -> Option<Self>;

    /// `left · right`; `None` if it does not fit.
    #[inline(always)]
    fn times(left: Self, right: Self) -> Option<Self> {
        let mut sum = Self::Sum::default();
        Self::add_product(&mut sum, left, right);
        Self::finish(sum)
    }
}

macro_rules! floats {
    ($($float:ty),*) => {$(
        impl Number for $float {
            type Sum = $float;

            #[inline(always)]
            fn add_product(sum: &mut $float, left: $float, right: $float) {
                *sum += left * right;
            }

            #[inline(always)]
            fn add(sum: &mut $float, other: $float) {
                *sum += other;
            }

            #[inline(always)]
            fn finish(sum: $float) -> Option<$float> {
                Some(sum)
            }
        }
    )*};
}

floats!(f32, f64);

impl Number for i32 {
    /// 2⁶⁴ products of 2⁶² each fit.
    type Sum = i128;

    #[inline(always)]
    fn add_product(sum: &mut i128, left: i32, right: i32) {
        *sum += i128::from(i64::from(left) * i64::from(right));
    }

    #[inline(always)]
    fn add(sum: &mut i128, other: i128) {
        *sum += other;
    }

    #[inline(always)]
    fn finish(sum: i128) -> Option<i32> {
        i32::narrow(sum)
    }
}

impl Number for i64 {
    type Sum = Wide;

    #[inline(always)]
    fn add_product(sum: &mut Wide, left: i64, right: i64) {
        sum.add(i128::from(left) * i128::from(right));
    }

    #[inline(always)]
    fn add(sum: &mut Wide, other: Wide) {
        sum.join(other);
    }

    #[inline(always)]
    fn finish(sum: Wide) -> Option<i64> {
        sum.exact().and_then(i64::narrow)
    }
}

/// The error of a sum or product that does not fit; `what` is what it was an element of.
pub(super) fn overflow<T: Number>(what: &str) -> Error {
    Error::user(format!("arithmetic overflow: an element of {what} of {0} does not fit {0}; use a wider type", T::NAME))
}

/// So many zeros, which the system hands out when they are first touched.
///
/// # Errors
///
/// Out of resources, if there cannot be so many.
pub(super) fn zeros<T: Clone + Default>(elements: usize, what: &str) -> Result<Vec<T>> {
    // `vec!` has fresh pages from the system, where growing a vector would write every element; but it ends the process when
    // there is no memory, so it is asked for here first.
    Vec::<T>::new()
        .try_reserve_exact(elements)
        .map_err(|cause| Error::resources(format!("{what} of {elements} elements cannot be allocated: {cause}")))?;
    Ok(vec![T::default(); elements])
}
