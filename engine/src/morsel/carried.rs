//! Between logical types and the forms that pipelines carry them in.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, DictionaryArray, PrimitiveArray};
use arrow::compute::{cast, take};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Int64Type, UInt32Type,
};

use crate::error::{Error, Result};

/// Digits that always fit 64 bits.
const NARROW_DIGITS: u8 = 18;

/// The plainest carried form of a logical type; see [`super::Chunk`].
pub fn carried_type(logical: &DataType) -> DataType {
    match logical {
        DataType::Decimal32(digits, _) | DataType::Decimal64(digits, _) | DataType::Decimal128(digits, _)
            if *digits <= NARROW_DIGITS =>
        {
            DataType::Int64
        }
        DataType::Decimal64(..) => DataType::Int64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::BinaryView,
        DataType::Dictionary(_, values) => carried_type(values),
        other => other.clone(),
    }
}

/// A logical array in a carried form: dictionaries of strings stay dictionaries.
///
/// # Errors
/// A dictionary has more than 2^32 values.
pub fn to_carried(array: &ArrayRef) -> Result<ArrayRef> {
    let wanted = carried_type(array.data_type());
    match array.data_type() {
        same if *same == wanted => Ok(Arc::clone(array)),
        DataType::Decimal32(..) => Ok(unscaled::<Decimal32Type>(array, i64::from)),
        DataType::Decimal64(..) => Ok(unscaled::<Decimal64Type>(array, |value| value)),
        // At most 18 digits by its type; a value that breaks that was no valid decimal before.
        DataType::Decimal128(..) => Ok(unscaled::<Decimal128Type>(array, |value| value as i64)),
        DataType::Dictionary(_, values) if matches!(wanted, DataType::Utf8View | DataType::BinaryView) => {
            let form = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(wanted.clone()));
            let plain_values = matches!(values.as_ref(), DataType::Dictionary(..));
            Ok(cast(array, if plain_values { &wanted } else { &form })?)
        }
        DataType::Dictionary(_, values) => to_carried(&cast(array, values)?),
        _ => Ok(cast(array, &wanted)?),
    }
}

/// A carried array as its logical type.
///
/// # Errors
/// The array is no carried form of `logical`: a bug of ours.
pub fn to_logical(array: &ArrayRef, logical: &DataType) -> Result<ArrayRef> {
    match (array.data_type(), logical) {
        (have, want) if have == want => Ok(Arc::clone(array)),
        (DataType::Int64, DataType::Decimal128(digits, scale)) => {
            let values = array.as_primitive::<Int64Type>();
            let wide = Decimal128Array::new(
                values.values().iter().map(|&value| i128::from(value)).collect(),
                values.nulls().cloned(),
            );
            Ok(Arc::new(wide.with_precision_and_scale(*digits, *scale)?))
        }
        (DataType::Int64, DataType::Decimal64(digits, scale)) => {
            let same = array.as_primitive::<Int64Type>().clone().reinterpret_cast::<Decimal64Type>();
            Ok(Arc::new(same.with_precision_and_scale(*digits, *scale)?))
        }
        (DataType::Int64, DataType::Decimal32(digits, scale)) => {
            let values = array.as_primitive::<Int64Type>();
            let narrow = PrimitiveArray::<Decimal32Type>::new(
                values.values().iter().map(|&value| value as i32).collect(),
                values.nulls().cloned(),
            );
            Ok(Arc::new(narrow.with_precision_and_scale(*digits, *scale)?))
        }
        (DataType::Decimal128(..), DataType::Decimal128(digits, scale)) => {
            Ok(Arc::new(array.as_primitive::<Decimal128Type>().clone().with_precision_and_scale(*digits, *scale)?))
        }
        (DataType::Dictionary(_, values), want) if !matches!(want, DataType::Dictionary(..)) => {
            let Some(dictionary) = array.as_any().downcast_ref::<DictionaryArray<UInt32Type>>() else {
                return Err(not_carried(array, logical));
            };
            let flat = take(dictionary.values(), dictionary.keys(), None)?;
            if values.as_ref() == want { Ok(flat) } else { Ok(cast(&flat, want)?) }
        }
        (have, want) if carried_type(want) == carried_type(have) => Ok(cast(array, want)?),
        _ => Err(not_carried(array, logical)),
    }
}

fn unscaled<T: ArrowPrimitiveType>(array: &ArrayRef, narrow: impl Fn(T::Native) -> i64) -> ArrayRef {
    let values = array.as_primitive::<T>();
    let narrowed = values.values().iter().map(|&value| narrow(value)).collect();
    Arc::new(PrimitiveArray::<Int64Type>::new(narrowed, values.nulls().cloned()))
}

fn not_carried(array: &ArrayRef, logical: &DataType) -> Error {
    Error::internal(format!("{} is no carried form of {logical}", array.data_type()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use arrow::array::{Int32Array, StringArray};

    use super::*;

    fn there_and_back(array: ArrayRef) -> DataType {
        let carried = to_carried(&array).unwrap();
        let back = to_logical(&carried, array.data_type()).unwrap();
        assert_eq!(&back, &array);
        carried.data_type().clone()
    }

    #[test]
    fn every_form_leads_back_to_its_logical_type() {
        let narrow = Decimal128Array::from(vec![Some(-12), None, Some(10_i128.pow(15) - 1)]);
        let narrow = Arc::new(narrow.with_precision_and_scale(15, 2).unwrap());
        assert_eq!(there_and_back(narrow), DataType::Int64);
        let wide = Decimal128Array::from(vec![Some(-12), None, Some(10_i128.pow(30))]);
        let wide = Arc::new(wide.with_precision_and_scale(31, 4).unwrap());
        assert_eq!(there_and_back(wide), DataType::Decimal128(31, 4));
        assert_eq!(there_and_back(Arc::new(StringArray::from(vec![Some("a"), None]))), DataType::Utf8View);
        assert_eq!(there_and_back(Arc::new(Int32Array::from(vec![Some(1), None]))), DataType::Int32);
        let dictionary = cast(
            &StringArray::from(vec![Some("a"), None, Some("a")]),
            &DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)),
        );
        let carried = there_and_back(dictionary.unwrap());
        assert_eq!(carried, DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8View)));
    }

    #[test]
    fn a_dictionary_is_read_as_its_values() {
        let dictionary: DictionaryArray<UInt32Type> = vec![Some("x"), None, Some("y")].into_iter().collect();
        let flat = to_logical(&(Arc::new(dictionary) as ArrayRef), &DataType::Utf8).unwrap();
        assert_eq!(flat.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("x"), None, Some("y")]);
        assert!(to_logical(&flat, &DataType::Int32).is_err());
    }
}
