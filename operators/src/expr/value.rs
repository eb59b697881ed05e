//! What a part of an expression is while it is computed: a column of rows or one value for all of them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, DictionaryArray, Int64Array, NullArray, UInt32Array,
    new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::take;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{carried_type, to_carried, to_logical};

use super::gather;

/// The columns that an expression is evaluated on.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    columns: Columns<'a>,
    /// How many rows.
    pub rows: usize,
}

#[derive(Clone, Copy)]
enum Columns<'a> {
    All(&'a [ArrayRef]),
    /// Stands for whichever column is asked for, of an expression that reads only one.
    One(&'a ArrayRef),
}

impl<'a> Rows<'a> {
    pub fn new(columns: &'a [ArrayRef], rows: usize) -> Self {
        Self { columns: Columns::All(columns), rows }
    }

    pub fn of_one(column: &'a ArrayRef) -> Self {
        Self { columns: Columns::One(column), rows: column.len() }
    }

    pub fn column(&self, place: usize) -> Result<&'a ArrayRef> {
        match self.columns {
            Columns::One(column) => Ok(column),
            Columns::All(columns) => columns
                .get(place)
                .ok_or_else(|| Error::internal(format!("column {place} of a chunk that has {}", columns.len()))),
        }
    }

    /// The columns at `places`, only the rows of `wanted`; columns elsewhere must not be read.
    pub fn gathered(&self, places: &[usize], wanted: &[u32]) -> Result<Vec<ArrayRef>> {
        let width = places.iter().max().map_or(0, |last| last + 1);
        let nothing: ArrayRef = Arc::new(NullArray::new(0));
        let mut columns = vec![nothing; width];
        for &place in places {
            columns[place] = gather::take_array(self.column(place)?, wanted)?;
        }
        Ok(columns)
    }
}

/// A column in carried form, or one value for all rows.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// Of as many rows as are evaluated, or of one.
    pub array: ArrayRef,
    /// Whether it is one value for all rows.
    pub scalar: bool,
    /// What the values of an `Int64Array` of decimals are known to lie between, those behind NULLs aside.
    pub range: Option<(i64, i64)>,
}

impl Value {
    pub fn column(array: ArrayRef) -> Self {
        Self { array, scalar: false, range: None }
    }

    pub fn scalar(array: ArrayRef) -> Self {
        Self { array, scalar: true, range: None }
    }

    /// A result that is one value if all that it was computed from was.
    pub fn new(array: ArrayRef, scalar: bool) -> Self {
        Self { array, scalar, range: None }
    }

    pub fn boolean(values: BooleanBuffer, nulls: Option<NullBuffer>, scalar: bool) -> Self {
        Self::new(Arc::new(BooleanArray::new(values, nulls)), scalar)
    }

    /// NULL for all rows.
    pub fn null(logical: &DataType) -> Self {
        Self::scalar(new_null_array(&carried_type(logical), 1))
    }

    /// Whether it is NULL for all rows because it is one value, and that is NULL.
    pub fn is_null_scalar(&self) -> bool {
        self.scalar && (self.array.is_null(0) || self.array.data_type() == &DataType::Null)
    }

    /// The array with one entry a row.
    pub fn into_array(self, rows: usize) -> Result<ArrayRef> {
        if !self.scalar || rows == 1 {
            return Ok(self.array);
        }
        Ok(take(&self.array, &UInt32Array::from(vec![0; rows]), None)?)
    }

    /// The array in logical form, of one row if it is one value.
    pub fn logical(&self, data_type: &DataType) -> Result<ArrayRef> {
        to_logical(&self.array, data_type)
    }

    /// Back from an array in logical form.
    pub fn from_logical(array: &ArrayRef, scalar: bool) -> Result<Self> {
        Ok(Self::new(to_carried(array)?, scalar))
    }

    /// Without a dictionary.
    pub fn flat(mut self) -> Result<Self> {
        self.array = flat(&self.array)?;
        Ok(self)
    }

    /// Bits and NULLs of a truth value.
    pub fn as_boolean(&self) -> Result<&BooleanArray> {
        self.array
            .as_boolean_opt()
            .ok_or_else(|| Error::internal(format!("a truth value is of type {}", self.array.data_type())))
    }
}

/// Whether arrays of a type are a carried form of a logical type. All columns and results of calls are checked, so that
/// kernels may rely on it.
pub(super) fn is_carried(have: &DataType, logical: &DataType) -> bool {
    let plain = carried_type(logical);
    match have {
        have if *have == plain => true,
        DataType::Dictionary(keys, values) => {
            keys.as_ref() == &DataType::UInt32
                && values.as_ref() == &plain
                && matches!(plain, DataType::Utf8View | DataType::BinaryView)
        }
        DataType::Int64 | DataType::Decimal128(..) => matches!(plain, DataType::Decimal128(..)),
        _ => false,
    }
}

/// An array without a dictionary.
pub(super) fn flat(array: &ArrayRef) -> Result<ArrayRef> {
    let Some(dictionary) = array.as_any().downcast_ref::<DictionaryArray<UInt32Type>>() else {
        return Ok(Arc::clone(array));
    };
    gather::decode(dictionary)
}

/// Native values of a column, or one.
#[derive(Clone, Copy)]
pub(super) enum Operand<'a, T> {
    Slice(&'a [T]),
    Scalar(T),
}

impl<'a, T: Copy> Operand<'a, T> {
    pub fn new(slice: &'a [T], scalar: bool) -> Self {
        match slice.first() {
            Some(&value) if scalar => Operand::Scalar(value),
            _ => Operand::Slice(slice),
        }
    }
}

/// NULLs of either.
pub(super) fn union_nulls(left: &Value, right: &Value) -> Option<NullBuffer> {
    // A scalar that is NULL was dealt with before.
    let of = |value: &Value| if value.scalar && value.array.len() == 1 { None } else { value.array.nulls().cloned() };
    if left.scalar && right.scalar {
        return NullBuffer::union(left.array.nulls(), right.array.nulls());
    }
    NullBuffer::union(of(left).as_ref(), of(right).as_ref())
}

fn values_of<T: ArrowPrimitiveType>(array: &ArrayRef) -> Option<&[T::Native]> {
    array.as_primitive_opt::<T>().map(|array| array.values().as_ref())
}

/// The values of a fixed-width column as they are in memory.
pub(super) enum Natives<'a> {
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
}

/// The integers behind integers, dates, times, timestamps, durations and narrow decimals; they order alike.
pub(super) fn natives(array: &ArrayRef) -> Option<Natives<'_>> {
    Some(match array.data_type() {
        DataType::Int8 => Natives::I8(values_of::<Int8Type>(array)?),
        DataType::Int16 => Natives::I16(values_of::<Int16Type>(array)?),
        DataType::Int32 => Natives::I32(values_of::<Int32Type>(array)?),
        DataType::Int64 => Natives::I64(values_of::<Int64Type>(array)?),
        DataType::UInt8 => Natives::U8(values_of::<UInt8Type>(array)?),
        DataType::UInt16 => Natives::U16(values_of::<UInt16Type>(array)?),
        DataType::UInt32 => Natives::U32(values_of::<UInt32Type>(array)?),
        DataType::UInt64 => Natives::U64(values_of::<UInt64Type>(array)?),
        DataType::Date32 => Natives::I32(values_of::<Date32Type>(array)?),
        DataType::Date64 => Natives::I64(values_of::<Date64Type>(array)?),
        DataType::Time32(TimeUnit::Second) => Natives::I32(values_of::<Time32SecondType>(array)?),
        DataType::Time32(_) => Natives::I32(values_of::<Time32MillisecondType>(array)?),
        DataType::Time64(TimeUnit::Microsecond) => Natives::I64(values_of::<Time64MicrosecondType>(array)?),
        DataType::Time64(_) => Natives::I64(values_of::<Time64NanosecondType>(array)?),
        DataType::Timestamp(unit, _) => Natives::I64(match unit {
            TimeUnit::Second => values_of::<TimestampSecondType>(array)?,
            TimeUnit::Millisecond => values_of::<TimestampMillisecondType>(array)?,
            TimeUnit::Microsecond => values_of::<TimestampMicrosecondType>(array)?,
            TimeUnit::Nanosecond => values_of::<TimestampNanosecondType>(array)?,
        }),
        DataType::Duration(unit) => Natives::I64(match unit {
            TimeUnit::Second => values_of::<DurationSecondType>(array)?,
            TimeUnit::Millisecond => values_of::<DurationMillisecondType>(array)?,
            TimeUnit::Microsecond => values_of::<DurationMicrosecondType>(array)?,
            TimeUnit::Nanosecond => values_of::<DurationNanosecondType>(array)?,
        }),
        _ => return None,
    })
}

/// Digits and scale of a decimal that is carried as unscaled integers of at most 128 bits.
pub(super) fn decimal_digits(data_type: &DataType) -> Option<(u8, i8)> {
    match data_type {
        DataType::Decimal128(digits, scale) => Some((*digits, *scale)),
        _ => None,
    }
}

/// A decimal column's unscaled values in 128 bits.
pub(super) fn wide(array: &ArrayRef) -> Result<Decimal128Array> {
    if let Some(narrow) = array.as_primitive_opt::<Int64Type>() {
        let values = narrow.values().iter().map(|&value| i128::from(value)).collect();
        return Ok(Decimal128Array::new(values, narrow.nulls().cloned()));
    }
    array
        .as_primitive_opt::<Decimal128Type>()
        .cloned()
        .ok_or_else(|| Error::internal(format!("a decimal is carried as {}", array.data_type())))
}

/// Whether decimals of so many digits always fit 64 bits and are carried so.
pub(super) fn is_narrow(digits: u8) -> bool {
    digits <= 18
}

/// 128-bit values in the form that a decimal type is carried in. A narrow type's value that does not fit 64 bits had
/// digits past its type before.
pub(super) fn carry_wide(values: Decimal128Array, digits: u8, scale: i8) -> Result<ArrayRef> {
    if !is_narrow(digits) {
        return Ok(Arc::new(values.with_precision_and_scale(digits, scale)?));
    }
    let mut narrow = Vec::with_capacity(values.len());
    for (row, &value) in values.values().iter().enumerate() {
        match i64::try_from(value) {
            Ok(value) => narrow.push(value),
            Err(_) if values.is_null(row) => narrow.push(0),
            Err(_) => {
                return Err(Error::user(format!("arithmetic overflow: {value} as Decimal128({digits}, {scale})")));
            }
        }
    }
    Ok(Arc::new(Int64Array::new(narrow.into(), values.nulls().cloned())))
}

/// Which rows are true: neither false nor NULL.
pub(super) fn truths(array: &BooleanArray) -> BooleanBuffer {
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        Some(nulls) => array.values() & nulls.inner(),
        None => array.values().clone(),
    }
}
