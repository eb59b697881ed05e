//! Random tables, cut into chunks of mixed forms.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Int32Array, Int64Array, LargeStringArray,
    PrimitiveArray, StringArray, StructArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, Float64Type, Int64Type, IntervalUnit, TimeUnit, i256};
use bireme_engine::morsel::{Chunk, carried_type, to_carried};

/// Numbers that look random, the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Logical types to sort by.
pub(crate) fn types() -> Vec<DataType> {
    use DataType::*;
    let dictionary = |key, value| Dictionary(Box::new(key), Box::new(value));
    vec![
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Date32,
        Date64,
        Time32(TimeUnit::Second),
        Time64(TimeUnit::Nanosecond),
        Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Duration(TimeUnit::Millisecond),
        Decimal32(7, 2),
        Decimal64(18, 4),
        Decimal128(15, 2),
        Decimal128(38, 3),
        Decimal128(25, 0),
        Decimal256(60, 1),
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        BinaryView,
        dictionary(Int16, Utf8),
        dictionary(UInt32, LargeUtf8),
        dictionary(Int32, Int64),
        FixedSizeBinary(3),
        Interval(IntervalUnit::DayTime),
        Struct(vec![Field::new("a", Int32, true), Field::new("b", Utf8, true)].into()),
        Null,
    ]
}

/// A column of this type, with or without NULLs or of nothing else, with few or many different values.
pub(crate) fn column(data_type: &DataType, rows: usize, random: &mut Random) -> ArrayRef {
    let nulls = [0, 0, 10, 2, 0, 10, 2, 1][random.below(8) as usize];
    let is_null = |random: &mut Random| nulls > 0 && random.below(nulls) == 0;
    let spread = [1, 3, 100, u64::MAX][random.below(4) as usize];
    let numbers =
        |random: &mut Random| (0..rows).map(|_| (!is_null(random)).then(|| random.below(spread))).collect::<Vec<_>>();
    match data_type {
        DataType::Null => new_null_array(data_type, rows),
        DataType::Boolean => {
            Arc::new(numbers(random).into_iter().map(|number| number.map(|n| n % 2 == 1)).collect::<BooleanArray>())
        }
        DataType::Float64 => {
            let value = |number: u64| {
                let odd = [0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, -1.5];
                if number.is_multiple_of(3) { odd[(number / 3) as usize % 8] } else { f64::from_bits(number) }
            };
            let values = numbers(random).into_iter().map(|number| number.map(value));
            Arc::new(values.collect::<PrimitiveArray<Float64Type>>())
        }
        DataType::Float16 | DataType::Float32 => cast(&column(&DataType::Float64, rows, random), data_type).unwrap(),
        DataType::Decimal32(digits, _)
        | DataType::Decimal64(digits, _)
        | DataType::Decimal128(digits, _)
        | DataType::Decimal256(digits, _) => {
            let limit = 10_i128.pow(u32::from(*digits).min(38)) - 1;
            let value = |number: u64| match number % 5 {
                0 => limit,
                1 => -limit,
                2 => i128::from(number) % limit,
                _ => -(i128::from(number).pow(2) % limit),
            };
            let values = numbers(random).into_iter().map(|number| number.map(value)).collect::<Vec<_>>();
            decimals(values, data_type)
        }
        DataType::FixedSizeBinary(_) => {
            let values = numbers(random).into_iter().map(|n| n.map(|n| [n as u8, (n >> 8) as u8, (n >> 16) as u8]));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 3).unwrap())
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| column(field.data_type(), rows, random)).collect();
            Arc::new(StructArray::new(fields.clone(), columns, None))
        }
        DataType::Interval(_) => {
            let days = numbers(random).into_iter().map(|n| n.map(|n| n as i32)).collect::<Vec<_>>();
            let texts = days.into_iter().map(|day| day.map(|day| format!("{} days", day % 1000)));
            cast(&texts.collect::<StringArray>(), data_type).unwrap()
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Binary | DataType::BinaryView => {
            let style = random.below(4);
            let texts = numbers(random).into_iter().map(|number| number.map(|number| text(style, number)));
            cast(&texts.collect::<LargeStringArray>(), data_type).unwrap()
        }
        DataType::Dictionary(key, values) if **values == DataType::Int64 => {
            let few = numbers(random).into_iter().map(|n| n.map(|n| (n % 100) as i64)).collect::<Int64Array>();
            cast(&few, &DataType::Dictionary(key.clone(), values.clone())).unwrap()
        }
        DataType::Dictionary(..) => {
            let texts = numbers(random).into_iter().map(|number| number.map(|number| text(2, number % 100)));
            cast(&texts.collect::<StringArray>(), data_type).unwrap()
        }
        number => {
            let wide = numbers(random).into_iter().map(|number| number.map(|number| number as i64));
            from_bits(wide.collect(), number)
        }
    }
}

fn text(style: u64, number: u64) -> String {
    match style {
        // Of a length, after a common start.
        0 => format!("Customer#{:09}", number % 1_000_000_000),
        // Short ones, some of which end in zeros.
        1 => "a\0b\0\0"[..(number % 6) as usize].repeat(1 + (number >> 8) as usize % 3),
        // Longer than a level.
        2 => format!("{}{}", "long common text ".repeat((number % 4) as usize), number),
        _ => format!("{}{}", char::from(b'a' + (number % 26) as u8), number >> 40),
    }
}

/// Numbers of a type, with the same lower bits.
fn from_bits(numbers: Vec<Option<i64>>, data_type: &DataType) -> ArrayRef {
    fn of<T: ArrowPrimitiveType>(numbers: &[Option<i64>], value: impl Fn(i64) -> T::Native) -> PrimitiveArray<T> {
        numbers.iter().map(|number| number.map(&value)).collect()
    }
    use arrow::datatypes::*;
    let array: ArrayRef = match data_type.primitive_width() {
        Some(1) => Arc::new(of::<Int8Type>(&numbers, |number| number as i8)),
        Some(2) => Arc::new(of::<Int16Type>(&numbers, |number| number as i16)),
        Some(4) => Arc::new(of::<Int32Type>(&numbers, |number| number as i32)),
        _ => Arc::new(of::<Int64Type>(&numbers, |number| number)),
    };
    let data = array.to_data().into_builder().data_type(data_type.clone()).build().unwrap();
    arrow::array::make_array(data)
}

fn decimals(values: Vec<Option<i128>>, data_type: &DataType) -> ArrayRef {
    if let DataType::Decimal256(digits, scale) = data_type {
        let values = values.into_iter().map(|value| value.map(i256::from_i128));
        let wide = values.collect::<PrimitiveArray<arrow::datatypes::Decimal256Type>>();
        return Arc::new(wide.with_precision_and_scale(*digits, *scale).unwrap());
    }
    let (DataType::Decimal32(digits, scale) | DataType::Decimal64(digits, scale) | DataType::Decimal128(digits, scale)) =
        data_type
    else {
        unreachable!()
    };
    let wide = Decimal128Array::from(values).with_precision_and_scale(*digits, *scale).unwrap();
    cast(&wide, data_type).unwrap()
}

/// The rows in chunks of up to so many, each column of a chunk in a form that it may have.
pub(crate) fn chunks(columns: &[ArrayRef], chunk_rows: usize, random: &mut Random) -> Vec<Chunk> {
    let rows = columns[0].len();
    let mut chunks = Vec::new();
    let mut start = 0;
    let whole = columns.iter().map(|column| other_form(to_carried(column).unwrap(), random)).collect::<Vec<_>>();
    while start < rows {
        let len = (1 + random.below(chunk_rows as u64) as usize).min(rows - start);
        let carried = columns.iter().zip(&whole).map(|(column, whole)| match random.below(2) {
            0 => whole.slice(start, len),
            _ => other_form(to_carried(&column.slice(start, len)).unwrap(), random),
        });
        chunks.push(Chunk::new(carried.collect(), len));
        start += len;
    }
    // A pipeline may send none.
    chunks.push(Chunk::new(columns.iter().map(|column| to_carried(&column.slice(0, 0)).unwrap()).collect(), 0));
    chunks
}

fn other_form(array: ArrayRef, random: &mut Random) -> ArrayRef {
    if random.below(2) == 0 {
        return array;
    }
    match array.data_type() {
        same @ (DataType::Utf8View | DataType::BinaryView) => {
            let form = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(same.clone()));
            cast(&array, &form).unwrap()
        }
        DataType::Dictionary(..) => cast(&array, &carried_type(array.data_type())).unwrap(),
        DataType::Decimal128(_, scale) => {
            let values = array.as_primitive::<Decimal128Type>();
            if values.iter().flatten().any(|value| i64::try_from(value).is_err()) {
                // Another label does not matter.
                let other = values.clone().with_precision_and_scale(38, *scale).unwrap();
                return Arc::new(other);
            }
            Arc::new(values.iter().map(|value| value.map(|value| value as i64)).collect::<PrimitiveArray<Int64Type>>())
        }
        DataType::Int32 => Arc::new(array.as_primitive::<arrow::datatypes::Int32Type>().iter().collect::<Int32Array>()),
        _ => array,
    }
}
