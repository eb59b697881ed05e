//! Parts of dates.
//!
//! The civil date of a day number by whole-number arithmetic, in the manner of Howard Hinnant's `civil_from_days`
//! (<https://howardhinnant.github.io/date_algorithms.html>): years that begin in March make the leap day the last one, and
//! the days of eras of 400 years are always 146097. No branches, so a register holds 16 dates.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int32Array};
use arrow::compute::{DatePart as ArrowPart, cast, date_part};
use arrow::datatypes::{DataType, Date32Type};
use bireme_engine::error::Result;

use super::simd::{extremes, map};
use super::value::Value;
use crate::pipeline::ir::DatePart;

/// Days from 1970 that every calendar agrees on; Arrow's ends at ±262 thousand years.
const DAYS: i32 = 90_000_000;

/// A part of dates or timestamps, as `Int32`.
pub(super) fn part(part: DatePart, value: &Value, logical: &DataType) -> Result<Value> {
    if let Some(dates) = value.array.as_primitive_opt::<Date32Type>() {
        let (first, last) = extremes(dates.values()).unwrap_or_default();
        if first >= -DAYS && last <= DAYS {
            let parts = match part {
                DatePart::Year => map(dates.values(), |day| civil(day).0),
                DatePart::Month => map(dates.values(), |day| civil(day).1),
                DatePart::Day => map(dates.values(), |day| civil(day).2),
            };
            return Ok(Value::new(Arc::new(Int32Array::new(parts.into(), dates.nulls().cloned())), value.scalar));
        }
    }
    let arrow_part = match part {
        DatePart::Year => ArrowPart::Year,
        DatePart::Month => ArrowPart::Month,
        DatePart::Day => ArrowPart::Day,
    };
    let parts = date_part(&value.logical(logical)?, arrow_part)?;
    let parts = if parts.data_type() == &DataType::Int32 { parts } else { cast(&parts, &DataType::Int32)? };
    Ok(Value::new(parts, value.scalar))
}

/// Year, month and day.
#[inline(always)]
fn civil(day: i32) -> (i32, i32, i32) {
    // Days from the first of March of a year that ends an era long before all dates, so that nothing is negative.
    const ERAS: u32 = 700;
    let days = day.wrapping_add(719_468).wrapping_add((ERAS * 146_097) as i32) as u32;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let january_or_february = u32::from(month >= 10);
    let year = (year_of_era + era * 400 + january_or_february) as i32 - (ERAS * 400) as i32;
    (year, (month + 3 - 12 * january_or_february) as i32, day as i32)
}
