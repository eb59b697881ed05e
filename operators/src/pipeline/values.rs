//! Looking at single values of carried arrays.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};

/// The values of an array of integers (also of dates and decimals), if it is one without NULLs.
pub(crate) fn as_integers(array: &ArrayRef) -> Option<Vec<i128>> {
    macro_rules! wide {
        ($($data_type:pat => $native:ty),* $(,)?) => {
            match array.data_type() {
                $($data_type => Some(array.as_primitive::<$native>().values().iter().map(|&value| i128::from(value)).collect()),)*
                _ => None,
            }
        };
    }
    if array.null_count() > 0 {
        return None;
    }
    wide! {
        DataType::Int8 => Int8Type,
        DataType::Int16 => Int16Type,
        DataType::Int32 => Int32Type,
        DataType::Int64 => Int64Type,
        DataType::UInt8 => UInt8Type,
        DataType::UInt16 => UInt16Type,
        DataType::UInt32 => UInt32Type,
        DataType::UInt64 => UInt64Type,
        DataType::Date32 => Date32Type,
        DataType::Date64 => Date64Type,
        DataType::Decimal128(..) => Decimal128Type,
    }
}
