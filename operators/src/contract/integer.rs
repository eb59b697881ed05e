//! Products of integers: every sum exact, every result checked.
//!
//! SQL's integers do not wrap, and whether they overflow must not depend on how a sum is taken apart: so sums have 192 bits, in
//! which 2⁶⁴ products of 64-bit integers fit, and only what is written at the end must fit its type. The loops are the plain
//! ones, element by element of the output on all workers; integers in arrays are counts and labels, not what machines are
//! measured by.

use std::fmt::Display;
use std::sync::OnceLock;

use bireme_engine::error::{Error, Result};
use rayon::prelude::*;

use super::element::Element;
use super::groups::{Axis, Job, Place, fuse, volume, walk};

/// `i32` and `i64`.
pub trait Integer: Element + Into<i64> + Display {
    /// The number, if it is one of this type.
    fn narrow(exact: i128) -> Option<Self>;
}

/// A sum that cannot overflow: `high · 2¹²⁸ + low`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wide {
    low: i128,
    high: i64,
}

impl Wide {
    /// Adds a product.
    #[inline(always)]
    pub fn add(&mut self, product: i128) {
        let (low, wrapped) = self.low.overflowing_add(product);
        self.low = low;
        if wrapped {
            self.high += if product < 0 { -1 } else { 1 };
        }
    }

    /// Adds another sum.
    #[inline(always)]
    pub fn join(&mut self, other: Self) {
        self.high += other.high;
        self.add(other.low);
    }

    /// The sum, if an `i128` holds it.
    #[inline(always)]
    pub fn exact(self) -> Option<i128> {
        (self.high == 0).then_some(self.low)
    }
}

/// Runs a product of two of any class.
pub fn product<T: Integer>(job: &Job<'_, T>, out: &mut [T]) -> Result<()> {
    let groups = &job.groups;
    let mut axes: Vec<Axis> = [&groups.batch[..], &groups.rows, &groups.columns].concat();
    axes.sort_by_key(|axis| std::cmp::Reverse(axis.out));
    let (axes, inner) = (fuse(&axes), &groups.inner);
    let summed = volume(inner);
    let chunk = (1_usize << 14).div_ceil(summed);
    let failure = OnceLock::new();
    out.par_chunks_mut(chunk).enumerate().for_each(|(number, out)| {
        let mut slots = out.iter_mut();
        let first = number * chunk;
        walk(&axes, first..first + slots.len(), job.origin, |place| {
            let Some(slot) = slots.next() else { return };
            match finish(job, sum(job, inner, summed, place), *slot) {
                Some(value) => *slot = value,
                None => {
                    let _ = failure.set(());
                }
            }
        });
    });
    match failure.get() {
        None => Ok(()),
        Some(()) => Err(overflow::<T>()),
    }
}

/// `c = beta · c`.
pub fn scale<T: Integer>(beta: T, out: &mut [T]) -> Result<()> {
    for slot in out {
        let exact = i128::from(beta.into()) * i128::from((*slot).into());
        *slot = T::narrow(exact).ok_or_else(overflow::<T>)?;
    }
    Ok(())
}

fn sum<T: Integer>(job: &Job<'_, T>, inner: &[Axis], summed: usize, place: Place) -> Wide {
    let mut sum = Wide::default();
    walk(inner, 0..summed, place, |place| {
        let (left, right) = (job.left[place.left as usize].into(), job.right[place.right as usize].into());
        sum.add(i128::from(left) * i128::from(right));
    });
    sum
}

/// `alpha · sum + beta · old`, if it fits.
fn finish<T: Integer>(job: &Job<'_, T>, sum: Wide, old: T) -> Option<T> {
    let scaled = sum.exact()?.checked_mul(i128::from(job.epilogue.alpha.into()))?;
    let before = i128::from(job.epilogue.beta.into()) * i128::from(old.into());
    T::narrow(scaled.checked_add(before)?)
}

fn overflow<T: Integer>() -> Error {
    Error::user(format!(
        "arithmetic overflow: an element of a contraction of {0} arrays does not fit {0}; use a wider type",
        T::NAME
    ))
}
