//! Sums, extremes and what is made of them, over all elements or along axes.

use bireme_engine::error::{Error, Result};
use bireme_operators::array::{Fold, Line};
use bireme_planner::array::{Affine, Op, normal_axis};

use super::{Array, Element, Float, Number};

impl<T: Element> Array<T> {
    /// Folds axes, which are gone from the shape.
    fn fold<R: Element>(&self, fold: Fold, axes: &[isize]) -> Array<R> {
        Array::or_failed(self.session(), self.check().and_then(|_| self.try_fold(fold, axes)))
    }

    fn try_fold<R: Element>(&self, fold: Fold, axes: &[isize]) -> Result<Array<R>> {
        let shape = self.shape();
        let mut folded = axes.iter().map(|&axis| normal_axis(axis, shape)).collect::<Result<Vec<_>>>()?;
        folded.sort_unstable();
        if folded.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::user(format!("an axis stands twice in {axes:?}")));
        }
        let nothing = folded.iter().any(|&axis| shape[axis] == 0);
        if nothing && !matches!(fold, Fold::Sum | Fold::Product) {
            return Err(Error::user(format!(
                "an array of shape {shape:?} has no {fold} along {axes:?}: it is empty there"
            )));
        }
        let kept = (0..shape.len()).filter(|axis| !folded.contains(axis)).collect::<Vec<_>>();
        let result = kept.iter().map(|&axis| shape[axis]).collect::<Vec<_>>();
        let together = folded.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        let (of, from) = match folded.first() {
            Some(&first) if together => (self.clone(), first),
            Some(_) => (self.permuted(&[kept.as_slice(), folded.as_slice()].concat()), kept.len()),
            None => (self.clone(), shape.len()),
        };
        let op = Op::Reduce(fold, from, from + folded.len());
        Ok(Array::make(self.session(), op, result, vec![of.node.clone()], Vec::new()))
    }

    fn permuted(&self, order: &[usize]) -> Self {
        let shape = order.iter().map(|&axis| self.shape()[axis]).collect::<Vec<_>>();
        let place = |axis: usize| order.iter().position(|&one| one == axis).unwrap_or(0);
        let rows = (0..order.len()).map(|axis| (0, Some((place(axis), 1))));
        Self::make(self.session(), Op::View(Affine::new(order.len(), rows)), shape, vec![self.node.clone()], Vec::new())
    }

    fn all_axes(&self) -> Vec<isize> {
        (0..self.ndim() as isize).collect()
    }

    /// The sum of all elements, an array without axes. Integers and truth values add up as `i64`, and wrap.
    pub fn sum(&self) -> Array<T::Sum> {
        self.sum_axes(&self.all_axes())
    }

    /// Sums along axes, which are gone from the shape; negative axes count from the last.
    pub fn sum_axes(&self, axes: &[isize]) -> Array<T::Sum> {
        self.astype::<T::Sum>().fold(Fold::Sum, axes)
    }

    /// Sums along an axis.
    pub fn sum_axis(&self, axis: isize) -> Array<T::Sum> {
        self.sum_axes(&[axis])
    }

    /// How many elements are neither 0 nor false.
    pub fn count_nonzero(&self) -> Array<i64> {
        self.astype::<bool>().astype::<i64>().fold(Fold::Sum, &self.all_axes())
    }

    /// Whether any element is neither 0 nor false.
    pub fn any(&self) -> Array<bool> {
        self.count_nonzero().gt(0_i64)
    }

    /// Whether no element is 0 or false.
    pub fn all(&self) -> Array<bool> {
        self.astype::<bool>().equal(false).count_nonzero().equal(0_i64)
    }

    /// Whether any element along an axis is neither 0 nor false.
    pub fn any_axis(&self, axis: isize) -> Array<bool> {
        self.astype::<bool>().astype::<i64>().fold::<i64>(Fold::Sum, &[axis]).gt(0_i64)
    }

    /// Whether no element along an axis is 0 or false.
    pub fn all_axis(&self, axis: isize) -> Array<bool> {
        self.astype::<bool>().equal(false).astype::<i64>().fold::<i64>(Fold::Sum, &[axis]).equal(0_i64)
    }
}

macro_rules! folds {
    ($($(#[$doc:meta])* $name:ident $axes:ident $axis:ident $fold:ident $result:ty, $cast:ty;)*) => {
        impl<T: Number> Array<T> {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> Array<$result> {
                    self.$axes(&self.all_axes())
                }

                #[doc = concat!("As [`Array::", stringify!($name), "`], along axes, which are gone from the shape.")]
                pub fn $axes(&self, axes: &[isize]) -> Array<$result> {
                    self.astype::<$cast>().fold(Fold::$fold, axes)
                }

                #[doc = concat!("As [`Array::", stringify!($name), "`], along one axis.")]
                pub fn $axis(&self, axis: isize) -> Array<$result> {
                    self.$axes(&[axis])
                }
            )*
        }
    };
}

folds! {
    /// The product of all elements; of integers as `i64`, and it wraps.
    prod prod_axes prod_axis Product T::Sum, T::Sum;
    /// The smallest element; NaN if there is one. An empty array has none.
    min min_axes min_axis Minimum T, T;
    /// The largest element; NaN if there is one. An empty array has none.
    max max_axes max_axis Maximum T, T;
}

impl<T: Number> Array<T> {
    /// The row-major place of the first smallest element, or of the first NaN.
    pub fn argmin(&self) -> Array<i64> {
        self.fold(Fold::ArgMinimum, &self.all_axes())
    }

    /// The row-major place of the first largest element, or of the first NaN.
    pub fn argmax(&self) -> Array<i64> {
        self.fold(Fold::ArgMaximum, &self.all_axes())
    }

    /// The index of the first smallest element along an axis, or of the first NaN.
    pub fn argmin_axis(&self, axis: isize) -> Array<i64> {
        self.fold(Fold::ArgMinimum, &[axis])
    }

    /// The index of the first largest element along an axis, or of the first NaN.
    pub fn argmax_axis(&self, axis: isize) -> Array<i64> {
        self.fold(Fold::ArgMaximum, &[axis])
    }

    /// The mean of all elements; NaN of none.
    pub fn mean(&self) -> Array<T::Real> {
        self.mean_axes(&self.all_axes())
    }

    /// Means along axes, which are gone from the shape.
    pub fn mean_axes(&self, axes: &[isize]) -> Array<T::Real> {
        let sums = self.astype::<T::Real>().fold::<T::Real>(Fold::Sum, axes);
        sums.over(self.extent_of(axes) as f64)
    }

    /// Means along an axis.
    pub fn mean_axis(&self, axis: isize) -> Array<T::Real> {
        self.mean_axes(&[axis])
    }

    /// The mean square of the distances to the mean.
    pub fn var(&self) -> Array<T::Real> {
        let distances = self.astype::<T::Real>().pairwise::<T::Real>(&self.mean(), minus());
        distances.square().mean()
    }

    /// As [`Array::var`], along an axis.
    pub fn var_axis(&self, axis: isize) -> Array<T::Real> {
        let means = self.mean_axis(axis).expand_dims(normal_axis(axis, self.shape()).unwrap_or(0) as isize);
        self.astype::<T::Real>().pairwise::<T::Real>(&means, minus()).square().mean_axis(axis)
    }

    /// The square root of [`Array::var`].
    pub fn std(&self) -> Array<T::Real> {
        self.var().sqrt()
    }

    /// The square root of [`Array::var_axis`].
    pub fn std_axis(&self, axis: isize) -> Array<T::Real> {
        self.var_axis(axis).sqrt()
    }

    /// The Euclidean length of all elements as one vector.
    pub fn norm(&self) -> Array<T::Real> {
        self.astype::<T::Real>().square().fold::<T::Real>(Fold::Sum, &self.all_axes()).sqrt()
    }

    fn extent_of(&self, axes: &[isize]) -> usize {
        axes.iter().filter_map(|&axis| Some(self.shape()[normal_axis(axis, self.shape()).ok()?])).product()
    }

    /// Running sums along an axis; integers as `i64`.
    pub fn cumsum(&self, axis: isize) -> Array<T::Sum> {
        self.astype::<T::Sum>().lines(Line::RunningSum, axis)
    }

    /// Running products along an axis; integers as `i64`.
    pub fn cumprod(&self, axis: isize) -> Array<T::Sum> {
        self.astype::<T::Sum>().lines(Line::RunningProduct, axis)
    }

    /// Elements in ascending order along an axis, NaN at the end.
    pub fn sort(&self, axis: isize) -> Self {
        self.lines(Line::Sort, axis)
    }

    /// The indices that would sort the elements along an axis; equal elements stay in order.
    pub fn argsort(&self, axis: isize) -> Array<i64> {
        self.lines(Line::ArgSort, axis)
    }

    fn lines<R: Element>(&self, line: Line, axis: isize) -> Array<R> {
        let made = self.check().and_then(|_| normal_axis(axis, self.shape())).map(|axis| {
            let shape = self.shape().to_vec();
            Array::make(self.session(), Op::Lines(line, axis), shape, vec![self.node.clone()], Vec::new())
        });
        Array::or_failed(self.session(), made)
    }
}

impl<T: Float> Array<T> {
    fn over(&self, count: f64) -> Self {
        self.with_number(bireme_operators::array::Binary::Divide, bireme_operators::array::Scalar::F64(count), false)
    }
}

fn minus() -> Op {
    Op::Binary(bireme_operators::array::Binary::Subtract)
}
