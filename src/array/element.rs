//! The types of elements, and what becomes of them.

use std::fmt::Debug;

use arrow::buffer::Buffer;
use bireme_operators::array::{DType, Native, Scalar};

/// A type of which there are arrays: `f32`, `f64`, `i32`, `i64`, `bool`.
pub trait Element: Copy + Debug + Default + PartialEq + Send + Sync + sealed::Sealed + 'static {
    /// The type as which it lies in memory.
    #[doc(hidden)]
    type Stored: Native;
    /// The type of a sum: integers and truth values add up to `i64`.
    type Sum: Number;
    /// The type of a mean, a root, a quotient: integers and truth values make `f64`.
    type Real: Float;
    /// Its name.
    #[doc(hidden)]
    const DTYPE: DType;

    #[doc(hidden)]
    fn scalar(self) -> Scalar;
    #[doc(hidden)]
    fn of(scalar: Scalar) -> Self;
    #[doc(hidden)]
    fn buffer(values: Vec<Self>) -> Buffer;
    #[doc(hidden)]
    fn values(buffer: &Buffer, len: usize) -> Vec<Self>;
}

/// Numbers, which can be added.
pub trait Number: Element<Stored: bireme_operators::sparse::Number> {}

/// Floats.
pub trait Float: Number<Real = Self> {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! numbers {
    ($($type:ident: $sum:ident, $real:ident;)*) => {$(
        impl sealed::Sealed for $type {}
        impl Number for $type {}
        impl Element for $type {
            type Stored = $type;
            type Sum = $sum;
            type Real = $real;
            const DTYPE: DType = <$type as Native>::DTYPE;

            fn scalar(self) -> Scalar {
                Native::scalar(self)
            }

            fn of(scalar: Scalar) -> Self {
                <$type as Native>::of(scalar)
            }

            fn buffer(values: Vec<Self>) -> Buffer {
                Buffer::from_vec(values)
            }

            fn values(buffer: &Buffer, len: usize) -> Vec<Self> {
                buffer.typed_data::<$type>()[..len].to_vec()
            }
        }
    )*};
}

numbers! {
    f32: f32, f32;
    f64: f64, f64;
    i32: i64, f64;
    i64: i64, f64;
}

impl Float for f32 {}
impl Float for f64 {}

impl sealed::Sealed for bool {}
impl Element for bool {
    type Stored = u8;
    type Sum = i64;
    type Real = f64;
    const DTYPE: DType = DType::Bool;

    fn scalar(self) -> Scalar {
        Scalar::Bool(self)
    }

    fn of(scalar: Scalar) -> Self {
        u8::of(scalar) != 0
    }

    fn buffer(values: Vec<Self>) -> Buffer {
        Buffer::from_vec(values.into_iter().map(u8::from).collect::<Vec<_>>())
    }

    fn values(buffer: &Buffer, len: usize) -> Vec<Self> {
        buffer.as_slice()[..len].iter().map(|&byte| byte != 0).collect()
    }
}
