//! Functions of a row's place alone.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, UInt64Array};
use arrow::datatypes::DataType;

use super::WindowFrame;
use super::bounds::{Bounds, State};

/// Numbers that are never NULL, in the type of a call's result.
pub(super) fn whole(numbers: Vec<u64>, data_type: &DataType) -> ArrayRef {
    match data_type {
        DataType::UInt64 => Arc::new(UInt64Array::from(numbers)),
        _ => Arc::new(numbers.into_iter().map(|number| number as i64).collect::<Int64Array>()),
    }
}

pub(super) fn row_number(bounds: &Bounds, state: &mut State, data_type: &DataType) -> ArrayRef {
    let mut numbers = Vec::with_capacity(bounds.rows());
    for partition in bounds.partitions() {
        state.enter(bounds, &partition);
        let before = state.rows;
        state.rows += partition.len() as u64;
        numbers.extend(before + 1..=state.rows);
    }
    whole(numbers, data_type)
}

pub(super) fn rank(bounds: &Bounds, state: &mut State, data_type: &DataType) -> ArrayRef {
    whole(ranks(bounds, state, |place, _| place), data_type)
}

pub(super) fn dense_rank(bounds: &Bounds, state: &mut State, data_type: &DataType) -> ArrayRef {
    whole(ranks(bounds, state, |_, group| group), data_type)
}

/// A number of each row, from its first peer's place in the partition and the number of its group, both from 1.
fn ranks(bounds: &Bounds, state: &mut State, number: impl Fn(u64, u64) -> u64) -> Vec<u64> {
    let mut ranks = Vec::with_capacity(bounds.rows());
    for (partition, groups) in bounds.frames(WindowFrame::Range) {
        state.enter(bounds, &partition);
        for peers in groups {
            state.groups += 1;
            ranks.resize(peers.end, number(state.rows + 1, state.groups));
            state.rows += peers.len() as u64;
        }
    }
    ranks
}

pub(super) fn percent_rank(bounds: &Bounds) -> ArrayRef {
    shares(bounds, |before, _, rows| if rows > 1 { before as f64 / (rows - 1) as f64 } else { 0.0 })
}

pub(super) fn cume_dist(bounds: &Bounds) -> ArrayRef {
    shares(bounds, |_, until, rows| until as f64 / rows as f64)
}

/// A share of each row: from the rows before its first peer, those until its last, and all of the partition.
fn shares(bounds: &Bounds, share: impl Fn(usize, usize, usize) -> f64) -> ArrayRef {
    let mut shares = Vec::with_capacity(bounds.rows());
    for (partition, groups) in bounds.frames(WindowFrame::Range) {
        for peers in groups {
            let share = share(peers.start - partition.start, peers.end - partition.start, partition.len());
            shares.resize(peers.end, share);
        }
    }
    Arc::new(Float64Array::from(shares))
}

pub(super) fn ntile(bounds: &Bounds, parts: u64, data_type: &DataType) -> ArrayRef {
    let mut numbers = Vec::with_capacity(bounds.rows());
    for partition in bounds.partitions() {
        let rows = partition.len() as u64;
        let (short, longer) = (rows / parts, rows % parts);
        for part in 1..=parts.min(rows) {
            let length = short + u64::from(part <= longer);
            numbers.extend(std::iter::repeat_n(part, length as usize));
        }
    }
    whole(numbers, data_type)
}
