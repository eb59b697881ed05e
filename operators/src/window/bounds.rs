//! Where partitions and peers begin.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt64Array, make_comparator};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{SortOptions, concat, take};
use bireme_engine::error::Result;

use super::WindowFrame;

/// Partitions, and within them peers, as their first rows; then the number of rows.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    pub(super) partitions: Vec<usize>,
    pub(super) peers: Vec<usize>,
    /// Whether the first partition began with rows that are gone.
    pub(super) continues: bool,
}

/// What a call knows of the rows of a partition that are gone.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) rows: u64,
    /// Groups of peers.
    pub(super) groups: u64,
    /// Rows that counted, and their sum: whole numbers as `carry * 2^128 + sum`, floats as `float`.
    pub(super) count: u64,
    pub(super) sum: i128,
    pub(super) carry: i128,
    pub(super) float: f64,
    /// The best value, the first one, or the last few.
    pub(super) values: Option<ArrayRef>,
}

impl State {
    /// Goes on with a partition, or begins it.
    pub(super) fn enter(&mut self, bounds: &Bounds, partition: &Range<usize>) {
        if partition.start > 0 || !bounds.continues {
            *self = Self::default();
        }
    }

    /// The rows of a column behind the values that are kept of a partition which goes on, and how many these are.
    pub(super) fn before(&mut self, bounds: &Bounds, column: &ArrayRef) -> Result<(ArrayRef, usize)> {
        match self.values.take().filter(|_| bounds.continues) {
            Some(values) => Ok((concat(&[values.as_ref(), column.as_ref()])?, values.len())),
            None => Ok((Arc::clone(column), 0)),
        }
    }

    /// Keeps some rows of a column, but not the column.
    pub(super) fn keep(&mut self, column: &ArrayRef, rows: Range<usize>) -> Result<()> {
        let places = UInt64Array::from_iter_values(rows.start as u64..rows.end as u64);
        self.values = (!rows.is_empty()).then(|| take(column, &places, None)).transpose()?;
        Ok(())
    }
}

impl Bounds {
    pub(super) fn rows(&self) -> usize {
        self.partitions.last().copied().unwrap_or(0)
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.partitions.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// Each partition with the groups of rows that have the same frame: a frame ends where its group does.
    pub(super) fn frames(
        &self,
        frame: WindowFrame,
    ) -> impl Iterator<Item = (Range<usize>, impl Iterator<Item = Range<usize>>)> {
        let mut peer = 0;
        self.partitions().map(move |partition| {
            let first = peer;
            while self.peers[peer] < partition.end {
                peer += 1;
            }
            let peers = &self.peers[first..=peer];
            let groups = match frame {
                WindowFrame::Partition => 1,
                WindowFrame::Rows => partition.len(),
                WindowFrame::Range => peers.len() - 1,
            };
            let start = partition.start;
            let group = move |group: usize| match frame {
                WindowFrame::Partition => start..peers[peers.len() - 1],
                WindowFrame::Rows => start + group..start + group + 1,
                WindowFrame::Range => peers[group]..peers[group + 1],
            };
            (partition, (0..groups).map(group))
        })
    }
}

/// Marks rows that differ from the one before them in this column; the first is compared with `before`, one row.
pub(super) fn mark_changes(column: &ArrayRef, before: Option<&ArrayRef>, changed: &mut [bool]) -> Result<()> {
    let rows = column.len();
    if let Some(before) = before
        && differ(before, &column.slice(0, 1))?.next() == Some(true)
    {
        changed[0] = true;
    }
    if rows > 1 {
        let changes = differ(&column.slice(0, rows - 1), &column.slice(1, rows - 1))?;
        changed[1..].iter_mut().zip(changes).for_each(|(changed, change)| *changed |= change);
    }
    Ok(())
}

fn differ(a: &ArrayRef, b: &ArrayRef) -> Result<Box<dyn Iterator<Item = bool>>> {
    let rows = a.len();
    if a.data_type().is_nested() || a.data_type().is_null() {
        let compare = make_comparator(a.as_ref(), b.as_ref(), SortOptions::default())?;
        return Ok(Box::new((0..rows).map(move |row| compare(row, row).is_ne())));
    }
    let changes = distinct(a, b)?;
    Ok(Box::new((0..rows).map(move |row| changes.value(row))))
}
