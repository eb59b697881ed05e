//! Values as unsigned integers in the same order.
//!
//! ```text
//!   i8     -128 … -1  0 … 127       flip the sign bit            0x00 … 0x7f 0x80 … 0xff
//!   float  -NaN -inf … -0 0 … NaN   negative ones: flip all bits, others: flip the sign bit
//! ```
//!
//! Everything that fits a machine word is sorted, compared and range-compressed in this form; the types only matter here.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType, IntervalUnit};

/// A native value that maps to an unsigned integer of the same order.
pub(super) trait Ordered: ArrowNativeType {
    /// The unsigned integer: `u64`, or `u128` where that is too small.
    type Code: Copy + Ord + Send + Sync + Into<u128>;

    /// The integer of this value.
    fn ordered(self) -> Self::Code;
}

macro_rules! ordered {
    ($($native:ty => $code:ty, |$value:ident| $ordered:expr;)*) => {
        $(impl Ordered for $native {
            type Code = $code;

            #[inline(always)]
            fn ordered(self) -> $code {
                let $value = self;
                $ordered
            }
        })*
    };
}

ordered! {
    i8 => u64, |value| u64::from(value as u8 ^ 0x80);
    i16 => u64, |value| u64::from(value as u16 ^ 0x8000);
    i32 => u64, |value| u64::from(value as u32 ^ 0x8000_0000);
    i64 => u64, |value| value as u64 ^ (1 << 63);
    i128 => u128, |value| value as u128 ^ (1 << 127);
    u8 => u64, |value| u64::from(value);
    u16 => u64, |value| u64::from(value);
    u32 => u64, |value| u64::from(value);
    u64 => u64, |value| value;
    f32 => u64, |value| {
        let bits = value.to_bits();
        u64::from(bits ^ (((bits as i32 >> 31) as u32) | 0x8000_0000))
    };
    f64 => u64, |value| {
        let bits = value.to_bits();
        bits ^ (((bits as i64 >> 63) as u64) | (1 << 63))
    };
}

/// What to do with the values of an array, whatever their type.
pub(super) trait WordVisitor {
    /// What comes of it.
    type Out;

    /// Does it.
    fn visit<T: Ordered>(self, values: ScalarBuffer<T>, nulls: Option<NullBuffer>) -> Self::Out;
}

/// Whether values of this (stored) type have an [`Ordered`] form.
pub(super) fn is_word(stored: &DataType) -> bool {
    use DataType::*;
    stored.is_integer()
        || stored.is_floating()
        || matches!(
            stored,
            Boolean
                | Date32
                | Date64
                | Time32(_)
                | Time64(_)
                | Timestamp(..)
                | Duration(_)
                | Interval(IntervalUnit::YearMonth)
                | Decimal32(..)
                | Decimal64(..)
                | Decimal128(..)
        )
}

/// Runs the visitor on an array of a type that [`is_word`] names; `None` on others.
pub(super) fn visit_words<V: WordVisitor>(array: &ArrayRef, visitor: V) -> Option<V::Out> {
    use DataType::*;
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
    Some(match array.data_type() {
        Boolean => {
            let bits = array.as_boolean().values();
            visitor.visit(bits.iter().map(u8::from).collect::<ScalarBuffer<u8>>(), nulls)
        }
        Int8 => visitor.visit(natives::<i8>(array), nulls),
        Int16 => visitor.visit(natives::<i16>(array), nulls),
        Int32 | Date32 | Time32(_) | Decimal32(..) | Interval(IntervalUnit::YearMonth) => {
            visitor.visit(natives::<i32>(array), nulls)
        }
        Int64 | Date64 | Time64(_) | Timestamp(..) | Duration(_) | Decimal64(..) => {
            visitor.visit(natives::<i64>(array), nulls)
        }
        Decimal128(..) => visitor.visit(natives::<i128>(array), nulls),
        UInt8 => visitor.visit(natives::<u8>(array), nulls),
        UInt16 => visitor.visit(natives::<u16>(array), nulls),
        UInt32 => visitor.visit(natives::<u32>(array), nulls),
        UInt64 => visitor.visit(natives::<u64>(array), nulls),
        Float16 => {
            let ordered = |&bits: &u16| bits ^ (((bits as i16 >> 15) as u16) | 0x8000);
            visitor.visit(natives::<u16>(array).iter().map(ordered).collect::<ScalarBuffer<u16>>(), nulls)
        }
        Float32 => visitor.visit(natives::<f32>(array), nulls),
        Float64 => visitor.visit(natives::<f64>(array), nulls),
        _ => return None,
    })
}

/// The values of a primitive array, by their physical type alone.
pub(super) fn natives<T: ArrowNativeType>(array: &ArrayRef) -> ScalarBuffer<T> {
    let data = array.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}
