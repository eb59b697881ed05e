//! Key columns as integers.
//!
//! Whatever can be equal becomes the same integer: texts their numbers, floats their bits after -0.0 and the NaNs are
//! made one, everything else its own bits.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BooleanArray, Decimal128Array, DictionaryArray, StringViewArray, make_array,
};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::*;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::carried_type;

use super::intern::Interner;

/// How the values of a column become integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing but NULLs.
    Null,
    Bool,
    /// So many bits of an integer or of what is one underneath.
    Int(u32),
    /// So many bits of a float.
    Float(u32),
    /// Decimals of up to 38 digits.
    Wide,
    /// `Utf8View`, numbered.
    Text,
    /// `BinaryView`, numbered.
    Binary,
    /// Other values of so many bytes, numbered.
    Fixed(usize),
}

impl Kind {
    /// Of a logical type.
    ///
    /// # Errors
    /// There is no way to group by it.
    pub(super) fn of(logical: &DataType) -> Result<Self> {
        let carried = carried_type(logical);
        Ok(match &carried {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool,
            DataType::Float16 => Self::Float(16),
            DataType::Float32 => Self::Float(32),
            DataType::Float64 => Self::Float(64),
            DataType::Decimal128(..) => Self::Wide,
            DataType::Utf8View => Self::Text,
            DataType::BinaryView => Self::Binary,
            DataType::FixedSizeBinary(width) => Self::Fixed(*width as usize),
            other => match other.primitive_width() {
                Some(width @ ..=8) => Self::Int(8 * width as u32),
                Some(width) => Self::Fixed(width),
                None => return Err(Error::unsupported(format!("grouping by values of type {logical}"))),
            },
        })
    }

    pub(super) fn bits(self) -> u32 {
        match self {
            Self::Null | Self::Bool => 1,
            Self::Int(bits) | Self::Float(bits) => bits,
            Self::Wide => 128,
            Self::Text | Self::Binary | Self::Fixed(_) => 32,
        }
    }

    /// Whether an [`Interner`] numbers its values, NULL among them.
    pub(super) fn is_numbered(self) -> bool {
        matches!(self, Self::Text | Self::Binary | Self::Fixed(_))
    }
}

/// A column of a chunk as integers. What stands behind a NULL is arbitrary, but of `Numbers`, where NULL has one.
pub(super) enum Column {
    Numbers(Vec<u32>),
    Ints(ScalarBuffer<i64>, Option<NullBuffer>),
    Wides(ScalarBuffer<i128>, Option<NullBuffer>),
}

impl Column {
    /// # Errors
    /// The array is no carried form of what the column should be, or there are too many texts.
    pub(super) fn new(kind: Kind, array: &ArrayRef, interner: Option<&mut Interner>) -> Result<Self> {
        if let Some(interner) = interner {
            return number(kind, array, interner);
        }
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
        Ok(match kind {
            Kind::Null => Self::Ints(vec![0; array.len()].into(), Some(NullBuffer::new_null(array.len()))),
            Kind::Bool => {
                let values = array.as_boolean_opt().ok_or_else(|| unexpected(array))?.values();
                Self::Ints(values.iter().map(i64::from).collect(), nulls)
            }
            Kind::Float(_) => Self::Ints(floats(array)?, nulls),
            Kind::Wide => Self::Wides(wides(array)?, nulls),
            _ => Self::Ints(ints(array)?, nulls),
        })
    }

    pub(super) fn has_nulls(&self) -> bool {
        match self {
            Self::Numbers(_) => false,
            Self::Ints(_, nulls) | Self::Wides(_, nulls) => nulls.is_some(),
        }
    }
}

fn unexpected(array: &ArrayRef) -> Error {
    Error::internal(format!("grouping: a key column came as {}", array.data_type()))
}

fn number(kind: Kind, array: &ArrayRef, interner: &mut Interner) -> Result<Column> {
    let mut numbers = Vec::with_capacity(array.len());
    match (kind, array.data_type()) {
        (Kind::Text, DataType::Utf8View) => interner.views(array.as_string_view(), &mut numbers)?,
        (Kind::Binary, DataType::BinaryView) => interner.views(array.as_binary_view(), &mut numbers)?,
        (Kind::Text | Kind::Binary, DataType::Dictionary(..)) => {
            let Some(array) = array.as_any().downcast_ref::<DictionaryArray<UInt32Type>>() else {
                return Err(unexpected(array));
            };
            let (codes, values) = (array.keys().values(), array.values());
            let nulls = array.keys().nulls().filter(|nulls| nulls.null_count() > 0);
            match values.data_type() {
                DataType::Utf8View => interner.codes(codes, nulls, values, values.as_string_view(), &mut numbers)?,
                DataType::BinaryView => interner.codes(codes, nulls, values, values.as_binary_view(), &mut numbers)?,
                _ => return Err(unexpected(array.values())),
            }
        }
        (Kind::Fixed(width), _) => {
            let data = array.to_data();
            let Some(bytes) = data.buffers().first() else { return Err(unexpected(array)) };
            let bytes = &bytes.as_slice()[data.offset() * width..];
            for row in 0..array.len() {
                numbers.push(if array.is_null(row) {
                    interner.null()
                } else {
                    interner.slice(&bytes[row * width..(row + 1) * width])?
                });
            }
        }
        _ => return Err(unexpected(array)),
    }
    Ok(Column::Numbers(numbers))
}

fn ints(array: &ArrayRef) -> Result<ScalarBuffer<i64>> {
    let data = array.to_data();
    let (width, Some(values)) = (array.data_type().primitive_width(), data.buffers().first()) else {
        return Err(unexpected(array));
    };
    let (offset, rows) = (data.offset(), array.len());
    // Signed or not: the same bits are the same value, and small values of either stay small.
    let signed = !array.data_type().is_unsigned_integer();
    Ok(match width {
        Some(8) => ScalarBuffer::new(values.clone(), offset, rows),
        Some(4) if signed => widen(&ScalarBuffer::<i32>::new(values.clone(), offset, rows)),
        Some(4) => widen(&ScalarBuffer::<u32>::new(values.clone(), offset, rows)),
        Some(2) if signed => widen(&ScalarBuffer::<i16>::new(values.clone(), offset, rows)),
        Some(2) => widen(&ScalarBuffer::<u16>::new(values.clone(), offset, rows)),
        Some(1) if signed => widen(&ScalarBuffer::<i8>::new(values.clone(), offset, rows)),
        Some(1) => widen(&ScalarBuffer::<u8>::new(values.clone(), offset, rows)),
        _ => return Err(unexpected(array)),
    })
}

fn widen<T: ArrowNativeType + Into<i64>>(values: &ScalarBuffer<T>) -> ScalarBuffer<i64> {
    values.iter().map(|&value| value.into()).collect()
}

fn floats(array: &ArrayRef) -> Result<ScalarBuffer<i64>> {
    // Adding zero turns -0.0 into 0.0.
    Ok(match array.data_type() {
        DataType::Float64 => {
            let one = |value: &f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
            array.as_primitive::<Float64Type>().values().iter().map(|value| one(value).to_bits() as i64).collect()
        }
        DataType::Float32 => {
            let one = |value: &f32| if value.is_nan() { f32::NAN } else { value + 0.0 };
            array.as_primitive::<Float32Type>().values().iter().map(|value| i64::from(one(value).to_bits())).collect()
        }
        DataType::Float16 => {
            let one = |bits: u16| match bits {
                0x8000 => 0,
                bits if bits & 0x7fff > 0x7c00 => 0x7e00,
                bits => bits,
            };
            let values = array.as_primitive::<Float16Type>().values();
            values.iter().map(|value| i64::from(one(value.to_bits()))).collect()
        }
        _ => return Err(unexpected(array)),
    })
}

/// Decimals that are carried in 64 or in 128 bits.
pub(super) fn wides(array: &ArrayRef) -> Result<ScalarBuffer<i128>> {
    match array.data_type() {
        DataType::Decimal128(..) => Ok(array.as_primitive::<Decimal128Type>().values().clone()),
        DataType::Int64 => {
            Ok(array.as_primitive::<Int64Type>().values().iter().map(|&value| i128::from(value)).collect())
        }
        _ => Err(unexpected(array)),
    }
}

/// An array of the carried type of `logical`, of the bits of its values.
pub(super) fn rebuild(
    kind: Kind,
    logical: &DataType,
    bits: impl ExactSizeIterator<Item = u64>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let carried = carried_type(logical);
    let rows = bits.len();
    let values: Buffer = match kind {
        Kind::Null => return Ok(arrow::array::new_null_array(&carried, rows)),
        Kind::Bool => return Ok(Arc::new(BooleanArray::new(bits.map(|bits| bits != 0).collect(), nulls))),
        Kind::Int(8) => bits.map(|bits| bits as u8).collect(),
        Kind::Int(16) | Kind::Float(16) => bits.map(|bits| bits as u16).collect(),
        Kind::Int(32) | Kind::Float(32) => bits.map(|bits| bits as u32).collect(),
        _ => bits.collect(),
    };
    let data = ArrayData::builder(carried).len(rows).nulls(nulls).add_buffer(values);
    Ok(make_array(data.build()?))
}

/// An array of wide decimals.
pub(super) fn rebuild_wide(logical: &DataType, values: Vec<i128>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let values = Decimal128Array::new(values.into(), nulls);
    let DataType::Decimal128(digits, scale) = carried_type(logical) else {
        return Err(Error::internal(format!("{logical} is no wide decimal")));
    };
    Ok(Arc::new(values.with_precision_and_scale(digits, scale)?))
}

/// An array of numbered values.
pub(super) fn rebuild_numbered(
    kind: Kind,
    logical: &DataType,
    numbers: impl ExactSizeIterator<Item = u32> + Clone,
    interner: &mut Interner,
) -> Result<ArrayRef> {
    let Kind::Fixed(width) = kind else {
        let bytes = interner.take(numbers);
        if kind == Kind::Binary {
            return Ok(Arc::new(bytes));
        }
        // SAFETY: every value was one of a text array.
        let texts: StringViewArray = unsafe { bytes.to_string_view_unchecked() };
        return Ok(Arc::new(texts));
    };
    let (mut values, mut valid) = (Vec::with_capacity(numbers.len() * width), Vec::with_capacity(numbers.len()));
    let rows = numbers.len();
    for number in numbers {
        let value = interner.value(number);
        valid.push(value.is_some());
        values.extend(value.unwrap_or_else(|| vec![0; width]));
    }
    interner.take(std::iter::empty());
    let nulls = Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0);
    let data = ArrayData::builder(carried_type(logical)).len(rows).nulls(nulls).add_buffer(Buffer::from_vec(values));
    Ok(make_array(data.align_buffers(true).build()?))
}
