//! The types of elements.

use std::fmt;

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DType {
    /// A byte that is 0 or 1.
    Bool,
    /// 32-bit integers.
    I32,
    /// 64-bit integers.
    I64,
    /// 32-bit floats.
    F32,
    /// 64-bit floats.
    F64,
}

impl DType {
    /// Bytes of an element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bool => 1,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    /// Whether elements are floats.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        })
    }
}

/// A type as which elements lie in memory; truth values are bytes there.
pub trait Native: arrow::datatypes::ArrowNativeType + Copy + Default + PartialOrd + Send + Sync + 'static {
    /// The type's name.
    const DTYPE: DType;

    /// A number of this type.
    fn scalar(self) -> Scalar;

    /// What a number of any type is in this one (as NumPy's `astype`).
    fn of(scalar: Scalar) -> Self;
}

macro_rules! natives {
    ($($native:ty, $name:ident, $wrap:expr, $from_bool:expr;)*) => {$(
        impl Native for $native {
            const DTYPE: DType = DType::$name;

            #[inline(always)]
            fn scalar(self) -> Scalar {
                let wrap: fn($native) -> Scalar = $wrap;
                wrap(self)
            }

            #[inline(always)]
            fn of(scalar: Scalar) -> Self {
                match scalar {
                    Scalar::Bool(v) => <$native>::from(v),
                    Scalar::I32(v) => v as $native,
                    Scalar::I64(v) => v as $native,
                    Scalar::F32(v) => v as $native,
                    Scalar::F64(v) => v as $native,
                }
            }
        }
    )*};
}

natives! {
    i32, I32, Scalar::I32, v;
    i64, I64, Scalar::I64, v;
    f32, F32, Scalar::F32, v;
    f64, F64, Scalar::F64, v;
}

impl Native for u8 {
    const DTYPE: DType = DType::Bool;

    #[inline(always)]
    fn scalar(self) -> Scalar {
        Scalar::Bool(self != 0)
    }

    #[inline(always)]
    fn of(scalar: Scalar) -> Self {
        u8::from(match scalar {
            Scalar::Bool(v) => v,
            Scalar::I32(v) => v != 0,
            Scalar::I64(v) => v != 0,
            Scalar::F32(v) => v != 0.0,
            Scalar::F64(v) => v != 0.0,
        })
    }
}

/// One number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// A truth value.
    Bool(bool),
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// A 32-bit float.
    F32(f32),
    /// A 64-bit float.
    F64(f64),
}

impl Scalar {
    /// Its type.
    pub const fn dtype(self) -> DType {
        match self {
            Self::Bool(_) => DType::Bool,
            Self::I32(_) => DType::I32,
            Self::I64(_) => DType::I64,
            Self::F32(_) => DType::F32,
            Self::F64(_) => DType::F64,
        }
    }

    /// The same number as another type, as NumPy's `astype`.
    #[must_use]
    pub fn cast(self, to: DType) -> Self {
        match to {
            DType::Bool => u8::of(self).scalar(),
            DType::I32 => i32::of(self).scalar(),
            DType::I64 => i64::of(self).scalar(),
            DType::F32 => f32::of(self).scalar(),
            DType::F64 => f64::of(self).scalar(),
        }
    }

    /// Its bits, for keys of plans.
    pub fn bits(self) -> u64 {
        match self {
            Self::Bool(v) => u64::from(v),
            Self::I32(v) => v as u64,
            Self::I64(v) => v as u64,
            Self::F32(v) => u64::from(v.to_bits()),
            Self::F64(v) => v.to_bits(),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(v) => write!(f, "{v}"),
            Self::I32(v) => write!(f, "{v}"),
            Self::I64(v) => write!(f, "{v}"),
            Self::F32(v) => write!(f, "{v}"),
            Self::F64(v) => write!(f, "{v}"),
        }
    }
}

/// Calls `$body` with `$native` as the Rust type of a [`DType`].
macro_rules! with_native {
    ($dtype:expr, $native:ident => $body:expr) => {
        match $dtype {
            $crate::array::DType::Bool => {
                type $native = u8;
                $body
            }
            $crate::array::DType::I32 => {
                type $native = i32;
                $body
            }
            $crate::array::DType::I64 => {
                type $native = i64;
                $body
            }
            $crate::array::DType::F32 => {
                type $native = f32;
                $body
            }
            $crate::array::DType::F64 => {
                type $native = f64;
                $body
            }
        }
    };
}
pub(crate) use with_native;
