//! Functions whose result is the value of another row: they only find out which.

use arrow::array::{Array, ArrayRef, UInt64Array, make_comparator};
use arrow::compute::{SortOptions, concat, take};
use bireme_engine::error::Result;

use super::WindowFrame;
use super::bounds::Bounds;

fn rows_of(column: &ArrayRef, rows: Vec<Option<u64>>) -> Result<ArrayRef> {
    Ok(take(column, &UInt64Array::from(rows), None)?)
}

/// The value `offset` rows behind; outside the partition `default`, or NULL.
pub(super) fn shifted(bounds: &Bounds, column: &ArrayRef, offset: i64, default: Option<ArrayRef>) -> Result<ArrayRef> {
    let outside = default.as_ref().map(|_| column.len() as u64);
    let mut rows = Vec::with_capacity(bounds.rows());
    for partition in bounds.partitions() {
        let inside = partition.start as i64..partition.end as i64;
        let place = |row: usize| (row as i64).checked_add(offset).filter(|row| inside.contains(row));
        rows.extend(partition.clone().map(|row| place(row).map_or(outside, |row| Some(row as u64))));
    }
    match default {
        None => rows_of(column, rows),
        // The default is one row more.
        Some(default) => rows_of(&concat(&[column.as_ref(), default.as_ref()])?, rows),
    }
}

pub(super) fn first(bounds: &Bounds, column: &ArrayRef) -> Result<ArrayRef> {
    let firsts = bounds.partitions().flat_map(|rows| std::iter::repeat_n(Some(rows.start as u64), rows.len()));
    rows_of(column, firsts.collect())
}

pub(super) fn last(bounds: &Bounds, frame: WindowFrame, column: &ArrayRef) -> Result<ArrayRef> {
    let mut rows = Vec::with_capacity(bounds.rows());
    for (_, groups) in bounds.frames(frame) {
        groups.for_each(|group| rows.resize(group.end, Some(group.end as u64 - 1)));
    }
    rows_of(column, rows)
}

/// The smallest value of the frame, or the largest.
pub(super) fn least(bounds: &Bounds, frame: WindowFrame, column: &ArrayRef, largest: bool) -> Result<ArrayRef> {
    let options = SortOptions { descending: largest, nulls_first: false };
    let compare = make_comparator(column.as_ref(), column.as_ref(), options)?;
    let nulls = column.logical_nulls();
    let is_valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let mut rows = Vec::with_capacity(bounds.rows());
    for (_, groups) in bounds.frames(frame) {
        let mut best = None;
        for group in groups {
            for row in group.clone().filter(|&row| is_valid(row)) {
                if best.is_none_or(|best| compare(row, best).is_lt()) {
                    best = Some(row);
                }
            }
            rows.resize(group.end, best.map(|best| best as u64));
        }
    }
    rows_of(column, rows)
}
