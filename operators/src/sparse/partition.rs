//! The division of rows among tasks, so that neither one heavy row nor a million empty ones hold anybody up.
//!
//! Reading an entry and finishing a row are a step each, and every task has as many steps: the merge of entries with row ends, cut
//! into equal pieces (D. Merrill, M. Garland: Merge-based parallel sparse matrix-vector multiplication, SC 2016). A row that is cut
//! is summed in pieces, and the pieces are added up in order afterwards:
//!
//! ```text
//!   rows      |--0--|--------------1--------------|2|3|----4----|
//!   parts     |- - - - -|- - - - -|- - - - -|- - - - - -|- - - -|
//!              first 0,   last 1    last 1    first 1,    first 4
//!              last 1                         2, 3, last 4
//! ```
//!
//! Where parts begin depends on the pattern alone, so sums have the same bits on any number of threads.

use std::ops::Range;

use bireme_engine::error::Result;
use rayon::prelude::*;

use super::number::{Number, overflow};

/// A piece of the work: the rows that end in it, and the entries in it.
///
/// The entries of its first row may have begun earlier; entries behind its last row's end belong to the row after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub rows: Range<usize>,
    pub entries: Range<usize>,
}

/// Cuts rows into parts of `steps` steps.
pub(super) fn parts(starts: &[usize], steps: usize) -> Vec<Part> {
    let (rows, entries) = (starts.len() - 1, starts[starts.len() - 1]);
    let row_at = |step: usize| {
        // How many rows have ended after so many steps; `ends` grows strictly.
        let (mut low, mut high) = (0, rows);
        while low < high {
            let middle = low.midpoint(high);
            if starts[middle + 1] + middle < step { low = middle + 1 } else { high = middle }
        }
        low
    };
    let all = rows + entries;
    let cuts = (0..=all.div_ceil(steps)).map(|number| {
        let step = all.min(number * steps);
        let row = row_at(step);
        (row, step - row)
    });
    let cuts: Vec<(usize, usize)> = cuts.collect();
    cuts.windows(2).map(|pair| Part { rows: pair[0].0..pair[1].0, entries: pair[0].1..pair[1].1 }).collect()
}

/// The sums of a part that others may have to add to: one of each column.
#[derive(Clone, Debug)]
pub(super) struct Seam<S> {
    /// Of its first row, if it has one.
    pub first: Vec<S>,
    /// Of the entries behind its last row.
    pub last: Vec<S>,
}

/// Runs `body` for all parts, which are given their rows of `out` (of `width` elements each) but for the first one, which goes to
/// the seam; and writes that row then. `body` says whether all sums fit.
pub(super) fn for_parts<T: Number>(
    starts: &[usize],
    steps: usize,
    width: usize,
    out: &mut [T],
    what: &str,
    body: impl Fn(&Part, &mut [T], &mut Seam<T::Sum>) -> Option<()> + Sync,
) -> Result<()> {
    let parts = parts(starts, steps);
    let mut rest = &mut *out;
    let tasks: Vec<(&Part, &mut [T])> =
        parts.iter().map(|part| (part, rest.split_off_mut(..part.rows.len() * width).unwrap_or_default())).collect();
    let run = |(part, rows): (&Part, &mut [T])| {
        let mut seam = Seam { first: vec![T::Sum::default(); width], last: vec![T::Sum::default(); width] };
        body(part, rows, &mut seam).map(|()| seam)
    };
    let seams: Option<Vec<Seam<T::Sum>>> =
        if tasks.len() < 2 { tasks.into_iter().map(run).collect() } else { tasks.into_par_iter().map(run).collect() };
    let seams = seams.ok_or_else(|| overflow::<T>(what))?;
    let mut running = vec![T::Sum::default(); width];
    for (part, seam) in parts.iter().zip(seams) {
        if part.rows.is_empty() {
            running.iter_mut().zip(seam.last).for_each(|(sum, piece)| T::add(sum, piece));
            continue;
        }
        let row = &mut out[part.rows.start * width..][..width];
        for ((slot, sum), piece) in row.iter_mut().zip(running).zip(seam.first) {
            let mut sum = sum;
            T::add(&mut sum, piece);
            *slot = T::finish(sum).ok_or_else(|| overflow::<T>(what))?;
        }
        running = seam.last;
    }
    Ok(())
}
