//! Functions whose result is the value of another row: they only find out which.

use arrow::array::{Array, ArrayRef, UInt64Array, make_comparator};
use arrow::compute::{SortOptions, concat, take};
use bireme_engine::error::Result;
use bireme_engine::morsel::CHUNK_ROWS;

use super::WindowFrame;
use super::bounds::{Bounds, State};

fn rows_of(column: &ArrayRef, rows: Vec<Option<u64>>) -> Result<ArrayRef> {
    Ok(take(column, &UInt64Array::from(rows), None)?)
}

/// The value `offset` rows behind; outside the partition `default`, or NULL. Rows before these are known if `offset` is
/// not positive, and at least `-CHUNK_ROWS`.
pub(super) fn shifted(
    bounds: &Bounds,
    state: &mut State,
    column: &ArrayRef,
    offset: i64,
    default: Option<ArrayRef>,
) -> Result<ArrayRef> {
    let (column, known) = state.before(bounds, column)?;
    let outside = default.as_ref().map(|_| column.len() as u64);
    let mut rows = Vec::with_capacity(bounds.rows());
    let mut inside = 0..0;
    for partition in bounds.partitions() {
        let first = if partition.start == 0 { 0 } else { partition.start + known };
        inside = first as i64..(partition.end + known) as i64;
        let place = |row: usize| ((row + known) as i64).checked_add(offset).filter(|row| inside.contains(row));
        rows.extend(partition.clone().map(|row| place(row).map_or(outside, |row| Some(row as u64))));
    }
    if (-(CHUNK_ROWS as i64)..0).contains(&offset) {
        state.keep(&column, inside.start.max(inside.end + offset) as usize..inside.end as usize)?;
    }
    match default {
        None => rows_of(&column, rows),
        // The default is one row more.
        Some(default) => rows_of(&concat(&[column.as_ref(), default.as_ref()])?, rows),
    }
}

pub(super) fn first(bounds: &Bounds, state: &mut State, column: &ArrayRef) -> Result<ArrayRef> {
    let (column, known) = state.before(bounds, column)?;
    let mut rows = Vec::with_capacity(bounds.rows());
    let mut first = 0;
    for partition in bounds.partitions() {
        first = if partition.start == 0 { 0 } else { partition.start + known };
        rows.resize(partition.end, Some(first as u64));
    }
    state.keep(&column, first..first + 1)?;
    rows_of(&column, rows)
}

pub(super) fn last(bounds: &Bounds, frame: WindowFrame, column: &ArrayRef) -> Result<ArrayRef> {
    let mut rows = Vec::with_capacity(bounds.rows());
    for (_, groups) in bounds.frames(frame) {
        groups.for_each(|group| rows.resize(group.end, Some(group.end as u64 - 1)));
    }
    rows_of(column, rows)
}

/// The smallest value of the frame, or the largest.
pub(super) fn least(
    bounds: &Bounds,
    state: &mut State,
    frame: WindowFrame,
    column: &ArrayRef,
    largest: bool,
) -> Result<ArrayRef> {
    let (column, known) = state.before(bounds, column)?;
    let options = SortOptions { descending: largest, nulls_first: false };
    let compare = make_comparator(column.as_ref(), column.as_ref(), options)?;
    let nulls = column.logical_nulls();
    let is_valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let mut rows = Vec::with_capacity(bounds.rows());
    let mut best = None;
    for (partition, groups) in bounds.frames(frame) {
        best = (partition.start == 0 && known > 0).then_some(0);
        for group in groups {
            for row in (group.start + known..group.end + known).filter(|&row| is_valid(row)) {
                if best.is_none_or(|best| compare(row, best).is_lt()) {
                    best = Some(row);
                }
            }
            rows.resize(group.end, best.map(|best| best as u64));
        }
    }
    state.keep(&column, best.map_or(0..0, |best| best..best + 1))?;
    rows_of(&column, rows)
}
