//! Functions of single elements, comparisons, and the choice between two arrays.
//!
//! Exponentials, logarithms, `sin`, `cos` and `tanh` have the same bits on every processor. `tan`, `cbrt`, `sinh`, `cosh`, powers and
//! inverse functions are the system library's.

use bireme_operators::array::{Binary, Compare, Scalar, Unary};
use bireme_planner::array::{Op, broadcast_all};

use super::{Array, Element, Float, Number};

macro_rules! real_functions {
    ($($(#[$doc:meta])* $name:ident $unary:ident;)*) => {
        impl<T: Number> Array<T> {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> Array<T::Real> {
                    self.astype::<T::Real>().each(Op::Unary(Unary::$unary))
                }
            )*
        }
    };
}

real_functions! {
    /// Square roots.
    sqrt Sqrt;
    /// Cube roots.
    cbrt Cbrt;
    /// `e^x`, within 2 units in the last place.
    exp Exp;
    /// `2^x`.
    exp2 Exp2;
    /// `e^x - 1`.
    expm1 Expm1;
    /// Natural logarithms, within 2 units in the last place.
    ln Ln;
    /// Logarithms to base 2.
    log2 Log2;
    /// Logarithms to base 10.
    log10 Log10;
    /// `ln(1 + x)`.
    log1p Log1p;
    /// Sines.
    sin Sin;
    /// Cosines.
    cos Cos;
    /// Tangents.
    tan Tan;
    /// Inverse sines.
    arcsin Asin;
    /// Inverse cosines.
    arccos Acos;
    /// Inverse tangents.
    arctan Atan;
    /// Hyperbolic sines.
    sinh Sinh;
    /// Hyperbolic cosines.
    cosh Cosh;
    /// Hyperbolic tangents.
    tanh Tanh;
    /// Inverse hyperbolic sines.
    arcsinh Asinh;
    /// Inverse hyperbolic cosines.
    arccosh Acosh;
    /// Inverse hyperbolic tangents.
    arctanh Atanh;
}

macro_rules! same_functions {
    ($($(#[$doc:meta])* $name:ident $unary:ident;)*) => {
        impl<T: Number> Array<T> {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> Array<T> {
                    self.each(Op::Unary(Unary::$unary))
                }
            )*
        }
    };
}

same_functions! {
    /// Absolute values; the smallest integer is its own.
    abs Absolute;
    /// -1, 0 or 1; NaN of NaN.
    sign Sign;
    /// Down to integers.
    floor Floor;
    /// Up to integers.
    ceil Ceil;
    /// Towards 0.
    trunc Trunc;
    /// To the nearest integers, halves to the even one.
    rint Rint;
}

/// What may stand beside an array: another one, or a number.
pub trait Operand<T: Element> {
    #[doc(hidden)]
    fn beside(&self, array: &Array<T>) -> Array<T>;
}

impl<T: Element> Operand<T> for &Array<T> {
    fn beside(&self, _: &Array<T>) -> Array<T> {
        (*self).clone()
    }
}

impl<T: Element> Operand<T> for Array<T> {
    fn beside(&self, _: &Array<T>) -> Array<T> {
        self.clone()
    }
}

macro_rules! number_operands {
    ($($plain:ident: $($element:ident)*;)*) => {$($(
        impl Operand<$element> for $plain {
            fn beside(&self, array: &Array<$element>) -> Array<$element> {
                array.beside(Element::scalar(*self))
            }
        }
    )*)*};
}

number_operands! {
    f64: f64 f32;
    f32: f32;
    i32: f64 f32 i64 i32;
    i64: i64;
    bool: bool;
}

macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident $compare:ident;)*) => {
        impl<T: Element> Array<T> {
            $(
                $(#[$doc])*
                pub fn $name(&self, other: impl Operand<T>) -> Array<bool> {
                    self.pairwise(&other.beside(self), Op::Compare(Compare::$compare))
                }
            )*
        }
    };
}

comparisons! {
    /// Where elements are equal.
    equal Equal;
    /// Where elements differ.
    not_equal NotEqual;
    /// Where elements are less.
    lt Less;
    /// Where elements are less or equal.
    le LessEqual;
    /// Where elements are greater.
    gt Greater;
    /// Where elements are greater or equal.
    ge GreaterEqual;
}

impl<T: Number> Array<T> {
    /// The smaller of two elements; NaN if one of them is.
    pub fn minimum(&self, other: impl Operand<T>) -> Self {
        self.pairwise(&other.beside(self), Op::Binary(Binary::Minimum))
    }

    /// The larger of two elements; NaN if one of them is.
    pub fn maximum(&self, other: impl Operand<T>) -> Self {
        self.pairwise(&other.beside(self), Op::Binary(Binary::Maximum))
    }

    /// Elements within limits: what is outside is the nearer limit.
    pub fn clip(&self, low: impl Operand<T>, high: impl Operand<T>) -> Self {
        self.maximum(low).minimum(high)
    }

    /// `x · x`.
    pub fn square(&self) -> Self {
        self.pairwise(self, Op::Binary(Binary::Multiply))
    }

    /// Quotients, down to integers; of integers by 0 they are 0.
    pub fn floor_divide(&self, other: impl Operand<T>) -> Self {
        self.pairwise(&other.beside(self), Op::Binary(Binary::FloorDivide))
    }

    /// Powers. Of integers they wrap, and negative exponents make them 0 (or ±1 of ±1).
    pub fn pow(&self, exponent: impl Operand<T>) -> Self {
        let exponent = exponent.beside(self);
        self.pairwise(&exponent, Op::Binary(Binary::Power))
    }
}

impl<T: Float> Array<T> {
    /// `1 / x`.
    pub fn reciprocal(&self) -> Self {
        self.with_number(Binary::Divide, Scalar::I32(1), true)
    }

    /// The angle of each point (other, self) to the first axis, as `atan2`.
    pub fn arctan2(&self, other: impl Operand<T>) -> Self {
        self.pairwise(&other.beside(self), Op::Binary(Binary::Atan2))
    }

    /// The length of each vector (self, other).
    pub fn hypot(&self, other: impl Operand<T>) -> Self {
        self.pairwise(&other.beside(self), Op::Binary(Binary::Hypot))
    }

    /// Where elements are NaN.
    pub fn is_nan(&self) -> Array<bool> {
        self.each(Op::Unary(Unary::IsNan))
    }

    /// Where elements are infinities.
    pub fn is_inf(&self) -> Array<bool> {
        self.each(Op::Unary(Unary::IsInfinite))
    }

    /// Where elements are neither NaN nor infinities.
    pub fn is_finite(&self) -> Array<bool> {
        self.each(Op::Unary(Unary::IsFinite))
    }
}

/// The smaller of two elements; NaN if one of them is.
pub fn minimum<T: Number>(one: &Array<T>, other: &Array<T>) -> Array<T> {
    one.minimum(other)
}

/// The larger of two elements; NaN if one of them is.
pub fn maximum<T: Number>(one: &Array<T>, other: &Array<T>) -> Array<T> {
    one.maximum(other)
}

/// The first array's elements where the mask is true, else the second's.
///
/// ```
/// use bireme::prelude::*;
///
/// let session = Session::new()?;
/// let x = session.array(vec![-1.0, 2.0], [2])?;
/// let mask = x.gt(0.0);
/// assert_eq!(where_(&mask, &x, &x.square()).to_vec()?, [1.0, 2.0]);
/// # Ok::<(), Error>(())
/// ```
pub fn where_<T: Element>(mask: &Array<bool>, then: impl Operand<T>, otherwise: impl Operand<T>) -> Array<T> {
    let session = mask.session();
    let anchor = Array::<T>::number(session, Vec::new(), T::default().scalar());
    let (then, otherwise) = (then.beside(&anchor), otherwise.beside(&anchor));
    let checked = mask.check().map(|_| ()).and(then.check().map(|_| ())).and(otherwise.check().map(|_| ()));
    let shape = checked.and_then(|()| broadcast_all([mask.shape(), then.shape(), otherwise.shape()]));
    let operands = vec![mask.node.clone(), then.node.clone(), otherwise.node.clone()];
    Array::or_failed(session, shape.map(|shape| Array::make(session, Op::Select, shape, operands, Vec::new())))
}
