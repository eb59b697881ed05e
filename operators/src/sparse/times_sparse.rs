//! Two sparse operands, with axes in any order: a product of sparse matrices once indices are flattened.
//!
//! ```text
//!   ij,jk->ik         rows i, inner j, columns k
//!   bij,bjk->bik      rows bi, inner bj, columns k         a batch is a part of both: only its own rows meet
//!   ijk,jkl->il       rows i, inner jk, columns l
//!   ij,ij->           one row, inner ij, one column
//! ```
//!
//! An index of one operand alone that the result lacks needs nothing: entries that differ in it are equal, and equal entries add up.
//! The operand that has the result's first index is the left one, so that the result comes sorted where it can.

use std::borrow::Cow;

use bireme_engine::error::Result;

use super::csr::{Rows, rows_of};
use super::number::Number;
use super::numbering::Numbering;
use super::operand::{Entries, Output};
use super::regroup::{regroup, starts_of};
use super::{Coordinates, spgemm};
use crate::contract::Extents;

/// Rows for each entry up to which empty ones are kept.
const ROWS_AN_ENTRY: usize = 4;

pub(super) fn run<T: Number>(
    left: Entries<'_, T>,
    right: Entries<'_, T>,
    output: &[char],
    extents: &Extents,
) -> Result<Output<T>> {
    let first = output.first();
    if first.is_some_and(|letter| !left.letters.contains(letter)) {
        return run(right, left, output, extents);
    }
    let in_left = |letter: &char| left.letters.contains(letter);
    let rows: Vec<char> = output.iter().copied().filter(in_left).collect();
    let columns: Vec<char> = output.iter().copied().filter(|letter| !in_left(letter)).collect();
    let inner: Vec<char> = right.letters.iter().copied().filter(in_left).collect();
    let rows = Numbering::new(&left, &rows, extents, ROWS_AN_ENTRY)?;
    let inner = Numbering::new(&right, &inner, extents, ROWS_AN_ENTRY)?;
    let columns = Numbering::new(&right, &columns, extents, usize::MAX)?;
    let (row_of, _) = rows.numbers(&left, extents)?;
    let (inner_of, some_alone) = inner.numbers(&left, extents)?;
    let left = if some_alone {
        let met: Vec<usize> = (0..left.len()).filter(|&entry| inner_of[entry] != u32::MAX).collect();
        let of = |list: &[u32]| Cow::Owned(met.iter().map(|&entry| list[entry]).collect::<Vec<_>>());
        let values = Cow::Owned(met.iter().map(|&entry| left.values[entry]).collect());
        ByRow::new(of(&row_of), rows.count(), of(&inner_of), values)?
    } else {
        ByRow::new(row_of, rows.count(), inner_of, Cow::Borrowed(&left.values))?
    };
    let (row_of, column_of) = (inner.numbers(&right, extents)?.0, columns.numbers(&right, extents)?.0);
    let right = ByRow::new(row_of, inner.count(), column_of, Cow::Borrowed(&right.values))?;
    let product = spgemm::run(&left.view(inner.count()), &right.view(columns.count()))?;
    if output.is_empty() {
        return Ok(Output::Dense(Vec::new(), vec![product.values().first().copied().unwrap_or(T::ZERO)]));
    }
    let (starts, column_of, values) = product.into_parts();
    let mut lists = rows.indices(rows_of(&starts)?);
    lists.extend(columns.indices(column_of));
    let sorted = lists.iter().map(|list| list.0).eq(output.iter().copied());
    lists.sort_by_key(|list| output.iter().position(|&letter| letter == list.0));
    let (shape, indices) = (extents.shape(output), lists.into_iter().map(|list| list.1).collect());
    Ok(Output::Sparse(match sorted {
        true => Coordinates::from_sorted(shape, indices, values),
        false => Coordinates::new(&shape, indices, values)?,
    }))
}

/// Entries by rows.
struct ByRow<'a, T: Clone> {
    starts: Vec<usize>,
    indices: Cow<'a, [u32]>,
    values: Cow<'a, [T]>,
}

impl<'a, T: Number> ByRow<'a, T> {
    fn new(row_of: Cow<'_, [u32]>, rows: usize, indices: Cow<'a, [u32]>, values: Cow<'a, [T]>) -> Result<Self> {
        if row_of.is_sorted() {
            return Ok(Self { starts: starts_of(&row_of, rows)?, indices, values });
        }
        let grouped = regroup(&row_of, rows, &indices, &values)?;
        Ok(Self { starts: grouped.starts, indices: Cow::Owned(grouped.indices), values: Cow::Owned(grouped.values) })
    }

    fn view(&self, columns: usize) -> Rows<'_, T> {
        Rows { columns, starts: &self.starts, indices: &self.indices, values: &self.values }
    }
}
