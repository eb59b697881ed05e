//! What arrays are made of, and what happens to a product when it is written.

use arrow::datatypes::ArrowNativeType;
use bireme_engine::error::Result;

use super::groups::Job;
use super::{Einsum, View, float, integer, mttkrp};

/// How a product meets what lies in its tile: `c = alpha · product + beta · c`.
///
/// With a `beta` of 0 the old contents are not read, so that they may be anything, NaN too (as in BLAS).
///
/// ```
/// use bireme_operators::contract::{Einsum, Epilogue, View, contract};
///
/// let (a, b) = ([1.0, 2.0], [10.0, 20.0]);
/// let mut sum = [100.0];
/// let dot = Einsum::parse("i,i->")?;
/// contract(&dot, &[View::contiguous(&a, &[2])?, View::contiguous(&b, &[2])?], Epilogue::ADD, &mut sum)?;
/// assert_eq!(sum, [150.0]);
/// # Ok::<(), bireme_engine::error::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epilogue<T> {
    /// The factor of the product.
    pub alpha: T,
    /// The factor of what was there before.
    pub beta: T,
}

impl<T: Element> Epilogue<T> {
    /// The product takes the place of what was there.
    pub const REPLACE: Self = Self { alpha: T::ONE, beta: T::ZERO };
    /// The product is added to what was there.
    pub const ADD: Self = Self { alpha: T::ONE, beta: T::ONE };
}

impl<T: float::Float> Epilogue<T> {
    /// Puts the value of one element in its place.
    #[inline(always)]
    pub(super) fn write(self, product: T, slot: &mut T) {
        let scaled = self.alpha * product;
        *slot = if self.beta == T::ZERO { scaled } else { scaled + self.beta * *slot };
    }
}

/// A type of which there can be arrays: `f32`, `f64`, `i32`, `i64`.
///
/// Floats go through fast kernels. Integers never wrap: they are summed exactly, and a result that does not fit its type is an
/// error, whichever way the sum was taken apart. A contraction of more than two operands has intermediate results, which must
/// fit as well.
pub trait Element: kernels::Kernels + ArrowNativeType {
    /// The type's name.
    const NAME: &'static str;
    /// The neutral element of addition.
    const ZERO: Self;
    /// The neutral element of multiplication.
    const ONE: Self;
}

pub mod kernels {
    //! What only this module implements, and nobody outside can name.

    use super::{Einsum, Epilogue, Job, Result, View};

    /// The kernels of a type.
    pub trait Kernels: Copy {
        /// Runs the product of two.
        fn product(job: &Job<'_, Self>, out: &mut [Self]) -> Result<()>;

        /// Runs an MTTKRP and says whether it was one.
        fn mttkrp(einsum: &Einsum, views: &[View<'_, Self>], epilogue: Epilogue<Self>, out: &mut [Self]) -> bool;

        /// What an empty sum leaves: `c = beta · c`.
        fn scale(beta: Self, out: &mut [Self]) -> Result<()>;
    }
}

macro_rules! floats {
    ($($float:ty),*) => {$(
        impl Element for $float {
            const NAME: &'static str = stringify!($float);
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
        }

        impl float::Float for $float {}

        impl kernels::Kernels for $float {
            fn product(job: &Job<'_, Self>, out: &mut [Self]) -> Result<()> {
                float::product(job, out);
                Ok(())
            }

            fn mttkrp(einsum: &Einsum, views: &[View<'_, Self>], epilogue: Epilogue<Self>, out: &mut [Self]) -> bool {
                mttkrp::run_if(einsum, views, epilogue, out)
            }

            fn scale(beta: Self, out: &mut [Self]) -> Result<()> {
                for slot in out {
                    *slot = if beta == 0.0 { 0.0 } else { beta * *slot };
                }
                Ok(())
            }
        }
    )*};
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Element for $integer {
            const NAME: &'static str = stringify!($integer);
            const ZERO: Self = 0;
            const ONE: Self = 1;
        }

        impl integer::Integer for $integer {
            fn narrow(exact: i128) -> Option<Self> {
                exact.try_into().ok()
            }
        }

        impl kernels::Kernels for $integer {
            fn product(job: &Job<'_, Self>, out: &mut [Self]) -> Result<()> {
                integer::product(job, out)
            }

            fn mttkrp(_: &Einsum, _: &[View<'_, Self>], _: Epilogue<Self>, _: &mut [Self]) -> bool {
                false
            }

            fn scale(beta: Self, out: &mut [Self]) -> Result<()> {
                integer::scale(beta, out)
            }
        }
    )*};
}

floats!(f32, f64);
integers!(i32, i64);
