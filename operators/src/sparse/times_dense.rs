//! A sparse operand times a dense one, with axes in any order.
//!
//! Every such product is rows of entries times a matrix, once its indices are flattened by what they do:
//!
//! ```text
//!   abk,kc->abc       rows ab, inner k, columns c                        SpMM
//!   bij,bjk->bik      rows bi, inner bj (its row's b), columns k         SpMM: a batch costs nothing
//!   ij,j->i           rows i, inner j, one column                        SpMV
//!   ij->i             rows i, inner nothing: times the number 1          SpMV
//! ```
//!
//! *Rows* are the result's indices that the sparse operand has, *columns* its others, *inner* those that both operands have. An index that the
//! sparse operand alone has and the result lacks is summed by itself: its entries are all in the row. One of the dense operand alone is
//! summed first. Entries whose rows' indices come first are rows already; others are moved there.

use std::borrow::Cow;

use bireme_engine::error::{Error, Result};
use rayon::prelude::*;

use super::csr::Rows;
use super::einsum::Named;
use super::matrix::Matrix;
use super::number::{Number, overflow, zeros};
use super::operand::{Entries, Output};
use super::regroup::{regroup, starts_of};
use super::{Coordinates, spmm, spmv};
use crate::contract::{Einsum, Epilogue, Extents, View, contract};

pub(super) fn run<T: Number>(
    entries: Entries<'_, T>,
    dense: &Named<'_, T>,
    output: &[char],
    extents: &Extents,
) -> Result<Output<T>> {
    let of_sparse = |letter: &char| entries.letters.contains(letter);
    if output.len() == entries.letters.len() && output.iter().all(of_sparse) {
        return sampled(&entries, dense, output, extents).map(Output::Sparse);
    }
    let rows: Vec<char> = output.iter().copied().filter(of_sparse).collect();
    let columns: Vec<char> = output.iter().copied().filter(|letter| !of_sparse(letter)).collect();
    let mut inner: Vec<char> =
        entries.letters.iter().copied().filter(|letter| dense.letters.contains(letter)).collect();
    // In the order of the dense operand, if that is a matrix of rows as it lies.
    let as_it_lies: Vec<char> = dense.letters.iter().copied().filter(|letter| inner.contains(letter)).collect();
    if as_it_lies.len() == inner.len() {
        inner = as_it_lies;
    }
    let of_row = extents.elements(&columns)?;
    let mut out = zeros(extents.elements(&rows)?.saturating_mul(of_row), "the result of a product")?;
    if !out.is_empty() {
        let grouped = ByRow::new(&entries, &rows, &inner, extents)?;
        let copy;
        let view = match in_place(dense, &inner, &columns, of_row)? {
            Some(view) => view,
            None => {
                copy = dense.arranged(&[&inner[..], &columns].concat(), extents)?;
                View::contiguous(&copy, &[extents.elements(&inner)?, of_row])?
            }
        };
        match (of_row, view.strides()[0]) {
            (1, 1) => spmv::run(&grouped.view(), view.data().get(view.offset()..).unwrap_or(&[]), &mut out)?,
            _ => spmm::run(&grouped.view(), &Matrix::new(&view)?, &mut out)?,
        }
    }
    let made = [&rows[..], &columns].concat();
    Ok(Output::Dense(extents.shape(output), in_order(out, &made, output, extents)?))
}

/// The dense operand as a matrix of `inner` by `columns`, if its axes lie so.
pub(super) fn in_place<'a, T: Number>(
    dense: &Named<'a, T>,
    inner: &[char],
    columns: &[char],
    of_row: usize,
) -> Result<Option<View<'a, T>>> {
    if dense.letters != [inner, columns].concat() {
        return Ok(None);
    }
    let (shape, strides) = (dense.view.shape(), dense.view.strides());
    // The stride of several axes as one; of none, 1.
    let fused = |axes: std::ops::Range<usize>| {
        let mut whole: Option<(usize, isize)> = None;
        for axis in axes.rev().filter(|&axis| shape[axis] != 1) {
            whole = match whole {
                None => Some((shape[axis], strides[axis])),
                Some((extent, stride)) if strides[axis] == extent as isize * stride => {
                    Some((extent * shape[axis], stride))
                }
                Some(_) => return None,
            };
        }
        Some(whole.unwrap_or((1, 1)))
    };
    let (Some((rows, down)), Some((_, along))) = (fused(0..inner.len()), fused(inner.len()..shape.len())) else {
        return Ok(None);
    };
    View::new(dense.view.data(), &[rows, of_row], &[down, along], dense.view.offset()).map(Some)
}

/// An array with its axes in another order.
pub(super) fn in_order<T: Number>(array: Vec<T>, made: &[char], output: &[char], extents: &Extents) -> Result<Vec<T>> {
    if made == output || array.is_empty() {
        return Ok(array);
    }
    let mut out = zeros(array.len(), "the result of a product")?;
    let einsum = Einsum::new(vec![made.to_vec()], output.to_vec())?;
    contract(&einsum, &[View::contiguous(&array, &extents.shape(made))?], Epilogue::REPLACE, &mut out)?;
    Ok(out)
}

/// Each value times an element of the dense operand: the pattern stays.
fn sampled<T: Number>(
    entries: &Entries<'_, T>,
    dense: &Named<'_, T>,
    output: &[char],
    extents: &Extents,
) -> Result<Coordinates<T>> {
    let shared: Vec<char> = entries.letters.iter().copied().filter(|letter| dense.letters.contains(letter)).collect();
    let indices = output.iter().map(|&letter| entries.of(letter).unwrap_or(&[]).to_vec()).collect();
    let values = if dense.letters.is_empty() {
        let factor = dense.view.at(&[]).unwrap_or(T::ZERO);
        entries.values.par_iter().with_min_len(1 << 12).map(|&value| T::times(value, factor)).collect()
    } else {
        let factors = dense.arranged(&shared, extents)?;
        let product = |entry: usize| {
            let place = shared.iter().fold(0, |place, &letter| {
                place * extents.of(letter) + entries.of(letter).map_or(0, |list| list[entry] as usize)
            });
            T::times(entries.values[entry], factors[place])
        };
        (0..entries.len()).into_par_iter().with_min_len(1 << 12).map(product).collect::<Option<Vec<T>>>()
    };
    let values = values.ok_or_else(|| overflow::<T>("an element-wise product"))?;
    Coordinates::new(&extents.shape(output), indices, values)
}

/// Entries by flattened rows, with flattened inner indices.
#[derive(Clone, Debug)]
struct ByRow<'a, T: Clone> {
    columns: usize,
    starts: Cow<'a, [usize]>,
    indices: Cow<'a, [u32]>,
    values: Cow<'a, [T]>,
}

impl<'a, T: Number> ByRow<'a, T> {
    fn new(entries: &'a Entries<'_, T>, rows: &[char], inner: &[char], extents: &Extents) -> Result<Self> {
        let columns = extents.elements(inner)?;
        let indices = flattened(entries, inner, extents)?;
        let number = extents.elements(rows)?;
        if entries.letters.starts_with(rows) {
            let starts = match (entries.starts, rows) {
                (Some(starts), [_]) => Cow::Borrowed(starts),
                _ => Cow::Owned(starts_of(&flattened(entries, rows, extents)?, number)?),
            };
            return Ok(Self { columns, starts, indices, values: Cow::Borrowed(&entries.values) });
        }
        let row_of = flattened(entries, rows, extents)?;
        let grouped = regroup(&row_of, number, &indices, &entries.values)?;
        Ok(Self {
            columns,
            starts: Cow::Owned(grouped.starts),
            indices: Cow::Owned(grouped.indices),
            values: Cow::Owned(grouped.values),
        })
    }

    fn view(&self) -> Rows<'_, T> {
        Rows { columns: self.columns, starts: &self.starts, indices: &self.indices, values: &self.values }
    }
}

/// Of each entry the number of its indices, row-major.
pub(super) fn flattened<'a, T: Number>(
    entries: &'a Entries<'_, T>,
    letters: &[char],
    extents: &Extents,
) -> Result<Cow<'a, [u32]>> {
    if let &[letter] = letters
        && let Some(list) = entries.of(letter)
    {
        return Ok(Cow::Borrowed(list));
    }
    let all = extents.elements(letters)?;
    if all > 1 << 32 {
        return Err(Error::unsupported(format!(
            "the axes \"{}\" of a sparse operand, of shape {:?}, have {all} indices together, more than 2^32",
            letters.iter().collect::<String>(),
            extents.shape(letters)
        )));
    }
    let lists: Vec<(usize, &[u32])> =
        letters.iter().map(|&letter| (extents.of(letter), entries.of(letter).unwrap_or(&[]))).collect();
    let number =
        |entry: usize| lists.iter().fold(0, |number, (extent, list)| number * extent + list[entry] as usize) as u32;
    Ok(Cow::Owned((0..entries.len()).into_par_iter().with_min_len(1 << 12).map(number).collect()))
}
