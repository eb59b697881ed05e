//! Where partitions and peers begin.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, make_comparator};
use arrow::compute::SortOptions;
use arrow::compute::kernels::cmp::distinct;
use bireme_engine::error::Result;

use super::WindowFrame;

/// Partitions, and within them peers, as their first rows; then the number of rows.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    pub(super) partitions: Vec<usize>,
    pub(super) peers: Vec<usize>,
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
