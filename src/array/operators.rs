//! `+ - * / % & | ^ - !` between arrays, and between arrays and numbers.
//!
//! Types meet as in NumPy 2: of two arrays the wider type wins ([`Promote`]); a number that is written beside an array has the array's
//! type, except that a float with an array of integers makes `f64` ([`Plain`]).

use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Rem, Sub};

use bireme_operators::array::{Binary, Scalar, Unary};
use bireme_planner::array::{Op, broadcast};

use super::{Array, Element, Number};

/// Two types of elements meet.
pub trait Promote<Other: Number>: Number {
    /// The type of their sum.
    type Both: Number;
}

macro_rules! promote {
    ($($one:ident $($other:ident $both:ident),*;)*) => {$($(
        impl Promote<$other> for $one {
            type Both = $both;
        }
    )*)*};
}

promote! {
    f64 f64 f64, f32 f64, i64 f64, i32 f64;
    f32 f64 f64, f32 f32, i64 f64, i32 f64;
    i64 f64 f64, f32 f64, i64 i64, i32 i64;
    i32 f64 f64, f32 f64, i64 i64, i32 i32;
}

/// A plain number beside an array of `T`.
pub trait Plain<T: Number>: Copy {
    /// The type of their sum.
    type Both: Number;

    #[doc(hidden)]
    fn scalar(self) -> Scalar;
}

macro_rules! plain {
    ($($plain:ident, $scalar:ident: $($element:ident $both:ident),*;)*) => {$($(
        impl Plain<$element> for $plain {
            type Both = $both;

            fn scalar(self) -> Scalar {
                Scalar::$scalar(self)
            }
        }
    )*)*};
}

// One of each kind for each type of array, so that a literal's type can be told.
plain! {
    f64, F64: f64 f64, i64 f64, i32 f64;
    f32, F32: f32 f32;
    i64, I64: i64 i64;
    i32, I32: f64 f64, f32 f32, i32 i32;
}

impl<T: Element> Array<T> {
    /// Element by element with an array of the same type.
    pub(super) fn pairwise<R: Element>(&self, other: &Self, op: Op) -> Array<R> {
        let session = self.session();
        let made = self.check().and(other.check()).and_then(|_| broadcast(self.shape(), other.shape()));
        let made =
            made.map(|shape| Array::make(session, op, shape, vec![self.node.clone(), other.node.clone()], Vec::new()));
        Array::or_failed(session, made)
    }

    /// Element by element.
    pub(super) fn each<R: Element>(&self, op: Op) -> Array<R> {
        let made = self
            .check()
            .map(|_| Array::make(self.session(), op, self.shape().to_vec(), vec![self.node.clone()], Vec::new()));
        Array::or_failed(self.session(), made)
    }

    /// A number as an array that goes with this one.
    pub(super) fn beside(&self, value: Scalar) -> Self {
        Self::number(self.session(), Vec::new(), value.cast(T::DTYPE))
    }

    /// With a number, on the left if `first`.
    pub(super) fn with_number(&self, binary: Binary, value: Scalar, first: bool) -> Self {
        let number = self.beside(value);
        if first { number.pairwise(self, Op::Binary(binary)) } else { self.pairwise(&number, Op::Binary(binary)) }
    }

    /// The same elements as another type, as NumPy's `astype`: floats are cut to integers, and what does not fit is the nearest that does;
    /// integers wrap; whatever is not 0 is true.
    pub fn astype<U: Element>(&self) -> Array<U> {
        if T::DTYPE == U::DTYPE {
            return Array { node: self.node.clone(), hold: self.hold.clone(), element: std::marker::PhantomData };
        }
        self.each(Op::Cast)
    }
}

/// Both as the type in which they meet, element by element.
fn met<T: Element, U: Element, R: Element>(one: &Array<T>, other: &Array<U>, binary: Binary) -> Array<R> {
    one.astype::<R>().pairwise(&other.astype::<R>(), Op::Binary(binary))
}

macro_rules! arithmetic {
    ($($trait:ident $method:ident $binary:ident $both:ident $($real:ident)?;)*) => {$(
        impl<T: Promote<U>, U: Number> $trait<&Array<U>> for &Array<T> {
            type Output = Array<arithmetic!(@type <T as Promote<U>>::Both $(, $real)?)>;

            fn $method(self, other: &Array<U>) -> Self::Output {
                met(self, other, Binary::$binary)
            }
        }

        impl<T: Promote<U>, U: Number> $trait<Array<U>> for &Array<T> {
            type Output = Array<arithmetic!(@type <T as Promote<U>>::Both $(, $real)?)>;

            fn $method(self, other: Array<U>) -> Self::Output {
                $trait::$method(self, &other)
            }
        }

        impl<T: Promote<U>, U: Number> $trait<&Array<U>> for Array<T> {
            type Output = Array<arithmetic!(@type <T as Promote<U>>::Both $(, $real)?)>;

            fn $method(self, other: &Array<U>) -> Self::Output {
                $trait::$method(&self, other)
            }
        }

        impl<T: Promote<U>, U: Number> $trait<Array<U>> for Array<T> {
            type Output = Array<arithmetic!(@type <T as Promote<U>>::Both $(, $real)?)>;

            fn $method(self, other: Array<U>) -> Self::Output {
                $trait::$method(&self, &other)
            }
        }

        arithmetic!(@numbers $trait $method $binary $($real)?; f64 f32 i64 i32);
    )*};
    (@type $both:ty) => { $both };
    (@type $both:ty, $real:ident) => { <$both as Element>::Real };
    (@numbers $trait:ident $method:ident $binary:ident; $($plain:ident)*) => {$(
        arithmetic!(@number $trait $method $binary $plain, <$plain as Plain<T>>::Both);
    )*};
    (@numbers $trait:ident $method:ident $binary:ident $real:ident; $($plain:ident)*) => {$(
        arithmetic!(@number $trait $method $binary $plain, <<$plain as Plain<T>>::Both as Element>::Real);
    )*};
    (@number $trait:ident $method:ident $binary:ident $plain:ident, $both:ty) => {
        impl<T: Number> $trait<$plain> for &Array<T>
        where
            $plain: Plain<T>,
        {
            type Output = Array<$both>;

            fn $method(self, number: $plain) -> Self::Output {
                self.astype().with_number(Binary::$binary, Plain::<T>::scalar(number), false)
            }
        }

        impl<T: Number> $trait<$plain> for Array<T>
        where
            $plain: Plain<T>,
        {
            type Output = Array<$both>;

            fn $method(self, number: $plain) -> Self::Output {
                $trait::$method(&self, number)
            }
        }

        impl<T: Number> $trait<&Array<T>> for $plain
        where
            $plain: Plain<T>,
        {
            type Output = Array<$both>;

            fn $method(self, array: &Array<T>) -> Self::Output {
                array.astype().with_number(Binary::$binary, Plain::<T>::scalar(self), true)
            }
        }

        impl<T: Number> $trait<Array<T>> for $plain
        where
            $plain: Plain<T>,
        {
            type Output = Array<$both>;

            fn $method(self, array: Array<T>) -> Self::Output {
                $trait::$method(self, &array)
            }
        }
    };
}

arithmetic! {
    Add add Add Both;
    Sub sub Subtract Both;
    Mul mul Multiply Both;
    Div div Divide Both Real;
    Rem rem Remainder Both;
}

/// Arrays of which bits or truth values can be combined: `bool`, `i32`, `i64`.
pub trait Bits: Element {}
impl Bits for bool {}
impl Bits for i32 {}
impl Bits for i64 {}

macro_rules! bitwise {
    ($($trait:ident $method:ident $binary:ident;)*) => {$(
        impl<T: Bits> $trait<&Array<T>> for &Array<T> {
            type Output = Array<T>;

            fn $method(self, other: &Array<T>) -> Array<T> {
                self.pairwise(other, Op::Binary(Binary::$binary))
            }
        }

        impl<T: Bits> $trait<Array<T>> for Array<T> {
            type Output = Array<T>;

            fn $method(self, other: Array<T>) -> Array<T> {
                $trait::$method(&self, &other)
            }
        }
    )*};
}

bitwise! {
    BitAnd bitand And;
    BitOr bitor Or;
    BitXor bitxor Xor;
}

impl<T: Number> Neg for &Array<T> {
    type Output = Array<T>;

    fn neg(self) -> Array<T> {
        self.each(Op::Unary(Unary::Negative))
    }
}

impl<T: Number> Neg for Array<T> {
    type Output = Self;

    fn neg(self) -> Self {
        -&self
    }
}

impl<T: Bits> Not for &Array<T> {
    type Output = Array<T>;

    fn not(self) -> Array<T> {
        self.each(Op::Unary(Unary::Not))
    }
}

impl<T: Bits> Not for Array<T> {
    type Output = Self;

    fn not(self) -> Self {
        !&self
    }
}
