//! From the statistics of a table to the first estimates of its columns.
//!
//! Without distinct counts a column's range and the table's rows have to do:
//!
//! ```text
//!  range ≥ rows   p_partkey 1..200000, 200000 rows     a key beyond doubt: the rows fill the range
//!                 o_orderkey 1..6000000, 1.5 M rows    perhaps a key: a value a row, until a join knows more
//!  range < rows   l_partkey 1..200000, 6 M rows        no key: range · (1 − e^(−rows/range)) values, as if drawn
//!  text           Clerk#000000001 .. Clerk#000001000   numbers with a name in front: as their numbers
//!                 A .. R                               letters: a code of a few values
//!                 otherwise                            a code of some values when compared, a key when joined
//! ```

use arrow::datatypes::{DataType, FieldRef, Fields};
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};

use super::{ColumnEstimate, Estimate, UNKNOWN_ROWS};

/// Distinct values of a column about which nothing is known but that it is compared with literals, which is mostly
/// done to columns of codes.
pub(super) const UNKNOWN_VALUES: f64 = 50.0;

/// The estimate of a whole table. Its columns' `source` is still to be set.
pub(super) fn table(statistics: Option<Statistics>, fields: &Fields) -> Estimate {
    let known = statistics.as_ref().and_then(|known| known.num_rows.get_value());
    let rows = known.map_or(UNKNOWN_ROWS, |&rows| rows as f64);
    let counted = statistics.as_ref().is_some_and(|known| known.num_rows.is_exact().unwrap_or(false));
    let described = statistics.as_ref().map_or(&[][..], |known| known.column_statistics.as_slice());
    let describe = |(place, field): (usize, &FieldRef)| {
        let unknown = || unknown(rows, field.data_type());
        let mut column = described.get(place).map_or_else(unknown, |column| column_of(column, rows, field.data_type()));
        column.most = column.most.min(if counted { rows.max(1.0) } else { f64::INFINITY });
        column
    };
    Estimate { rows, columns: fields.iter().enumerate().map(describe).collect() }
}

/// A column of which only the type is known.
pub(super) fn unknown(rows: f64, data_type: &DataType) -> ColumnEstimate {
    let values = if matches!(data_type, DataType::Boolean) { 2.0 } else { UNKNOWN_VALUES };
    ColumnEstimate {
        ndv: values.min(rows).max(1.0),
        domain: rows.max(1.0),
        most: if matches!(data_type, DataType::Boolean) { 2.0 } else { f64::INFINITY },
        certain: false,
        min: None,
        max: None,
        nulls: 0.0,
        source: 0,
        source_rows: rows.max(1.0),
    }
}

fn column_of(column: &ColumnStatistics, rows: f64, data_type: &DataType) -> ColumnEstimate {
    let mut estimate = unknown(rows, data_type);
    let (min, max) = (column.min_value.get_value(), column.max_value.get_value());
    estimate.min = min.and_then(position);
    estimate.max = max.and_then(position);
    if let Some(&nulls) = column.null_count.get_value() {
        estimate.nulls = if rows > 0.0 { (nulls as f64 / rows).clamp(0.0, 1.0) } else { 0.0 };
    }
    let filled = (rows * (1.0 - estimate.nulls)).max(1.0);
    if let Some(values) = min.zip(max).and_then(|(min, max)| Values::between(min, max)) {
        let (count, certain) = values.among(filled);
        (estimate.ndv, estimate.domain, estimate.certain) = (count, count, certain);
    }
    if let Some((min, max)) = min.zip(max) {
        estimate.most = estimate.most.min(room(min, max));
    }
    if let Some(&distinct) = column.distinct_count.get_value() {
        let exact = column.distinct_count.is_exact().unwrap_or(false);
        estimate.most = if exact { distinct as f64 } else { estimate.most };
        let distinct = (distinct as f64).clamp(1.0, filled);
        (estimate.ndv, estimate.domain, estimate.certain) = (distinct, distinct, exact);
    }
    estimate
}

/// How many values a column's bounds leave room for.
#[derive(Debug, PartialEq)]
enum Values {
    /// So many; they may number the rows.
    Numbered(f64),
    /// So many measures or dates; they number nothing.
    Measured(f64),
    /// A code of about so many values.
    Code(f64),
}

impl Values {
    fn between(min: &ScalarValue, max: &ScalarValue) -> Option<Self> {
        if let (Some(Some(min)), Some(Some(max))) = (min.try_as_str(), max.try_as_str()) {
            return of_text(min, max);
        }
        let width = position(max)? - position(min)?;
        if width < 0.0 {
            return None;
        }
        let steps = match min {
            ScalarValue::Decimal32(_, _, scale)
            | ScalarValue::Decimal64(_, _, scale)
            | ScalarValue::Decimal128(_, _, scale) => width * 10f64.powi(i32::from(*scale)) + 1.0,
            ScalarValue::Boolean(_) => return Some(Self::Code(width + 1.0)),
            ScalarValue::Date32(_) | ScalarValue::Date64(_) => width + 1.0,
            _ if min.data_type().is_integer() => return Some(Self::Numbered(width + 1.0)),
            // Floats and timestamps: as many as there are rows, but for one value alone.
            _ if width == 0.0 => 1.0,
            _ => f64::INFINITY,
        };
        Some(Self::Measured(steps))
    }

    /// How many there are among so many rows, and whether that is certain.
    fn among(&self, rows: f64) -> (f64, bool) {
        match *self {
            Self::Numbered(range) if range >= rows => (rows, range == rows),
            Self::Numbered(range) | Self::Measured(range) => (drawn(range, rows), false),
            Self::Code(values) => (values.min(rows), false),
        }
    }
}

/// No more values than these are between two: of whole numbers, decimals, days and truth values. Of others, such as texts and floats,
/// there may be any number.
fn room(min: &ScalarValue, max: &ScalarValue) -> f64 {
    let data_type = min.data_type();
    let scale = match data_type {
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
            i32::from(scale)
        }
        DataType::Boolean | DataType::Date32 => 0,
        _ if data_type.is_integer() => 0,
        _ => return f64::INFINITY,
    };
    match (position(min), position(max)) {
        (Some(low), Some(high)) if high >= low => {
            // Far from 0 neighbours are one as doubles: so many of them may hide in each end.
            let blurred = low.abs().max(high.abs()) * f64::EPSILON * 2.0;
            (high - low + blurred) * 10_f64.powi(scale) + 1.0
        }
        _ => f64::INFINITY,
    }
}

/// Different values among so many draws from a range.
fn drawn(range: f64, draws: f64) -> f64 {
    if range.is_finite() { (range * -(-draws / range).exp_m1()).clamp(1.0, draws) } else { draws }
}

fn of_text(min: &str, max: &str) -> Option<Values> {
    let shared = min.bytes().zip(max.bytes()).take_while(|(low, high)| low == high).count();
    let (low, high) = (min.as_bytes().get(shared..)?, max.as_bytes().get(shared..)?);
    if low.is_empty() && high.is_empty() {
        return Some(Values::Code(1.0));
    }
    if low.len() != high.len() {
        return None;
    }
    if let (Some(low), Some(high)) = (number(low), number(high)) {
        return (high >= low).then_some(Values::Numbered(high - low + 1.0));
    }
    // Letters that stand for something are few and far between: F, O and P; A, N and R.
    let letters = |text: &[u8]| text.len() == 1 && text[0].is_ascii_alphabetic();
    let range = || f64::from(high[0]) - f64::from(low[0]) + 1.0;
    (min.len() == 1 && letters(low) && letters(high)).then(|| Values::Code((range() / 4.0).max(2.0)))
}

/// The number that these digits write, if they are digits.
fn number(digits: &[u8]) -> Option<f64> {
    let digit = |number: f64, &byte: &u8| byte.is_ascii_digit().then(|| number * 10.0 + f64::from(byte - b'0'));
    digits.iter().try_fold(0.0, digit)
}

/// Where a value lies on the line of numbers: decimals by their value, moments in days since 1970.
pub(super) fn position(value: &ScalarValue) -> Option<f64> {
    const DAY: f64 = 86_400.0;
    let scaled = |value: f64, scale: i8| value / 10f64.powi(i32::from(scale));
    match value {
        ScalarValue::Boolean(value) => value.map(|value| f64::from(u8::from(value))),
        ScalarValue::Int8(value) => value.map(f64::from),
        ScalarValue::Int16(value) => value.map(f64::from),
        ScalarValue::Int32(value) | ScalarValue::Date32(value) => value.map(f64::from),
        ScalarValue::Int64(value) => value.map(|value| value as f64),
        ScalarValue::UInt8(value) => value.map(f64::from),
        ScalarValue::UInt16(value) => value.map(f64::from),
        ScalarValue::UInt32(value) => value.map(f64::from),
        ScalarValue::UInt64(value) => value.map(|value| value as f64),
        ScalarValue::Float32(value) => value.map(f64::from).filter(|value| value.is_finite()),
        ScalarValue::Float64(value) => value.filter(|value| value.is_finite()),
        ScalarValue::Decimal32(value, _, scale) => value.map(|value| scaled(f64::from(value), *scale)),
        ScalarValue::Decimal64(value, _, scale) => value.map(|value| scaled(value as f64, *scale)),
        ScalarValue::Decimal128(value, _, scale) => value.map(|value| scaled(value as f64, *scale)),
        ScalarValue::Date64(value) => value.map(|value| value as f64 / (DAY * 1e3)),
        ScalarValue::TimestampSecond(value, _) => value.map(|value| value as f64 / DAY),
        ScalarValue::TimestampMillisecond(value, _) => value.map(|value| value as f64 / (DAY * 1e3)),
        ScalarValue::TimestampMicrosecond(value, _) => value.map(|value| value as f64 / (DAY * 1e6)),
        ScalarValue::TimestampNanosecond(value, _) => value.map(|value| value as f64 / (DAY * 1e9)),
        ScalarValue::Dictionary(_, value) => position(value),
        _ => None,
    }
}
