//! Numbers, truth values, dates and times.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};
use bireme_engine::error::{Error, Result};
use chrono::{NaiveDate, NaiveDateTime};

use super::{Record, as_type};

macro_rules! numbers {
    ($($native:ty, $arrow:ty;)*) => {$(
        impl Record for $native {
            type Builder = Vec<$native>;
            type Column = ScalarBuffer<$native>;

            fn data_type() -> DataType {
                <$arrow>::DATA_TYPE
            }

            #[inline]
            fn put(&self, builder: &mut Vec<$native>) {
                builder.push(*self);
            }

            fn put_nothing(builder: &mut Vec<$native>) {
                builder.push(<$native>::default());
            }

            fn finish(builder: &mut Vec<$native>) -> ArrayRef {
                Arc::new(PrimitiveArray::<$arrow>::new(std::mem::take(builder).into(), None))
            }

            fn column(name: &str, array: &ArrayRef) -> Result<ScalarBuffer<$native>> {
                Ok(as_type(name, array, &<$arrow>::DATA_TYPE)?.as_primitive::<$arrow>().values().clone())
            }

            #[inline]
            fn get(column: &ScalarBuffer<$native>, row: usize) -> $native {
                column[row]
            }
        }
    )*};
}

numbers! {
    i8, Int8Type;
    i16, Int16Type;
    i32, Int32Type;
    i64, Int64Type;
    u8, UInt8Type;
    u16, UInt16Type;
    u32, UInt32Type;
    u64, UInt64Type;
    f32, Float32Type;
    f64, Float64Type;
}

/// Places and counts: 64 bits in tables.
impl Record for usize {
    type Builder = Vec<u64>;
    type Column = ScalarBuffer<u64>;

    fn data_type() -> DataType {
        DataType::UInt64
    }

    fn put(&self, builder: &mut Vec<u64>) {
        builder.push(*self as u64);
    }

    fn put_nothing(builder: &mut Vec<u64>) {
        builder.push(0);
    }

    fn finish(builder: &mut Vec<u64>) -> ArrayRef {
        u64::finish(builder)
    }

    fn column(name: &str, array: &ArrayRef) -> Result<ScalarBuffer<u64>> {
        let column = u64::column(name, array)?;
        match column.iter().find(|&&value| usize::try_from(value).is_err()) {
            Some(value) => {
                Err(Error::user(format!("column \"{name}\" has {value}, which is no place on this machine")))
            }
            None => Ok(column),
        }
    }

    fn get(column: &ScalarBuffer<u64>, row: usize) -> usize {
        column[row] as usize
    }
}

impl Record for bool {
    type Builder = Vec<bool>;
    type Column = BooleanBuffer;

    fn data_type() -> DataType {
        DataType::Boolean
    }

    fn put(&self, builder: &mut Vec<bool>) {
        builder.push(*self);
    }

    fn put_nothing(builder: &mut Vec<bool>) {
        builder.push(false);
    }

    fn finish(builder: &mut Vec<bool>) -> ArrayRef {
        Arc::new(BooleanArray::from(std::mem::take(builder)))
    }

    fn column(name: &str, array: &ArrayRef) -> Result<BooleanBuffer> {
        Ok(as_type(name, array, &DataType::Boolean)?.as_boolean().values().clone())
    }

    fn get(column: &BooleanBuffer, row: usize) -> bool {
        column.value(row)
    }
}

/// Characters are numbers of 32 bits in tables: their Unicode scalar values.
impl Record for char {
    type Builder = Vec<u32>;
    type Column = ScalarBuffer<u32>;

    fn data_type() -> DataType {
        DataType::UInt32
    }

    fn put(&self, builder: &mut Vec<u32>) {
        builder.push(u32::from(*self));
    }

    fn put_nothing(builder: &mut Vec<u32>) {
        builder.push(0);
    }

    fn finish(builder: &mut Vec<u32>) -> ArrayRef {
        u32::finish(builder)
    }

    fn column(name: &str, array: &ArrayRef) -> Result<ScalarBuffer<u32>> {
        let column = u32::column(name, array)?;
        match column.iter().find(|&&value| char::from_u32(value).is_none()) {
            Some(value) => Err(Error::user(format!("column \"{name}\" has {value}, which is no character"))),
            None => Ok(column),
        }
    }

    fn get(column: &ScalarBuffer<u32>, row: usize) -> char {
        char::from_u32(column[row]).unwrap_or(char::REPLACEMENT_CHARACTER)
    }
}

/// Nothing at all: a column of zeros.
impl Record for () {
    type Builder = Vec<u8>;
    type Column = ();

    fn data_type() -> DataType {
        DataType::UInt8
    }

    fn put(&self, builder: &mut Vec<u8>) {
        builder.push(0);
    }

    fn put_nothing(builder: &mut Vec<u8>) {
        builder.push(0);
    }

    fn finish(builder: &mut Vec<u8>) -> ArrayRef {
        u8::finish(builder)
    }

    fn column(_: &str, _: &ArrayRef) -> Result<()> {
        Ok(())
    }

    fn get((): &(), _: usize) {}
}

/// Days: `Date32`.
impl Record for NaiveDate {
    type Builder = Vec<i32>;
    type Column = ScalarBuffer<i32>;

    fn data_type() -> DataType {
        DataType::Date32
    }

    fn put(&self, builder: &mut Vec<i32>) {
        builder.push(Date32Type::from_naive_date(*self));
    }

    fn put_nothing(builder: &mut Vec<i32>) {
        builder.push(0);
    }

    fn finish(builder: &mut Vec<i32>) -> ArrayRef {
        Arc::new(PrimitiveArray::<Date32Type>::new(std::mem::take(builder).into(), None))
    }

    fn column(name: &str, array: &ArrayRef) -> Result<ScalarBuffer<i32>> {
        let column = as_type(name, array, &DataType::Date32)?.as_primitive::<Date32Type>().values().clone();
        match column.iter().find(|&&day| date32_to_datetime(day).is_none()) {
            Some(day) => Err(Error::user(format!("column \"{name}\" has a date {day} days from 1970, in no calendar"))),
            None => Ok(column),
        }
    }

    fn get(column: &ScalarBuffer<i32>, row: usize) -> NaiveDate {
        date32_to_datetime(column[row]).map(|time| time.date()).unwrap_or_default()
    }
}

/// Dates with times, without a time zone: `Timestamp` in microseconds. What is below a microsecond is lost in a column.
impl Record for NaiveDateTime {
    type Builder = Vec<i64>;
    type Column = ScalarBuffer<i64>;

    fn data_type() -> DataType {
        TimestampMicrosecondType::DATA_TYPE
    }

    fn put(&self, builder: &mut Vec<i64>) {
        builder.push(self.and_utc().timestamp_micros());
    }

    fn put_nothing(builder: &mut Vec<i64>) {
        builder.push(0);
    }

    fn finish(builder: &mut Vec<i64>) -> ArrayRef {
        Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(std::mem::take(builder).into(), None))
    }

    fn column(name: &str, array: &ArrayRef) -> Result<ScalarBuffer<i64>> {
        let array = as_type(name, array, &TimestampMicrosecondType::DATA_TYPE)?;
        let column = array.as_primitive::<TimestampMicrosecondType>().values().clone();
        match column.iter().find(|&&time| timestamp_us_to_datetime(time).is_none()) {
            Some(time) => Err(Error::user(format!("column \"{name}\" has a time {time} us from 1970, in no calendar"))),
            None => Ok(column),
        }
    }

    fn get(column: &ScalarBuffer<i64>, row: usize) -> NaiveDateTime {
        timestamp_us_to_datetime(column[row]).unwrap_or_default()
    }
}
