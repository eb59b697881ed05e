//! A sparse matrix times a sparse one: `c[i,:] = Σ_k a[i,k] · b[k,:]`.
//!
//! Row by row: the rows of `b` that a row of `a` names are scaled and added up in an [`accumulator`](super::accumulator), so the cost
//! is the number of products, not of elements. One pass: rows of the result go into buffers of tasks, which are copied to their
//! places and given back one after the other, since a pass that only counts (the "symbolic" one) would read `b` as often as the
//! product itself. What is in use is the result and, for each thread, one accumulator and the buffer it copies.
//!
//! Tasks have about equally many products, which the rows' lengths give beforehand. A row is never cut: one row with most of the
//! products is one thread's work. What is added up in which order is the pattern's alone.
//!
//! F. G. Gustavson: Two fast algorithms for sparse matrices: multiplication and permuted transposition, ACM TOMS 4 (1978).

use std::ops::Range;

use bireme_engine::error::{Error, Result};
use parking_lot::Mutex;
use rayon::prelude::*;

use super::Csr;
use super::accumulator::{Accumulator, Narrow, Wide};
use super::csr::Rows;
use super::number::{Number, overflow, zeros};
use crate::expr::simd::{prefetch, vectorized};

/// Columns up to which an array of sums is used whatever is in the row.
const WIDE: usize = 1 << 21;

/// For more columns: one product for so many of them at least.
const SPARSEST: usize = 32;

/// Products of a task, at least and at most.
const PRODUCTS: Range<usize> = 1 << 15..1 << 22;

/// Entries of `a` between a prefetch of a row of `b` and its use: rows are short and anywhere, so reading them is most of the work.
const AHEAD: usize = 8;

/// The product of two sparse matrices, with sorted columns, on the rayon pool that it is called in.
///
/// Sums that are 0 stay in the result: its pattern is that of the operands.
///
/// ```
/// use bireme_operators::sparse::{Coordinates, Csr, spgemm};
///
/// let a = Csr::new(Coordinates::from_dense(&[2, 2], &[1, 2, 0, 3])?)?;
/// let square = spgemm(&a, &a)?.into_coordinates()?;
/// assert_eq!(square.to_dense()?, [1, 8, 0, 9]);
/// # Ok::<(), bireme_engine::error::Error>(())
/// ```
///
/// # Errors
///
/// A user's error if `a` has not as many columns as `b` has rows, or a sum of integers does not fit its type; out of resources if the
/// result cannot be allocated.
///
/// Source: Gustavson (1978).
pub fn spgemm<T: Number>(a: &Csr<T>, b: &Csr<T>) -> Result<Csr<T>> {
    if a.columns() != b.rows() {
        return Err(Error::user(format!(
            "a sparse matrix of shape [{}, {}] cannot be multiplied by one of shape [{}, {}]",
            a.rows(),
            a.columns(),
            b.rows(),
            b.columns()
        )));
    }
    run(&a.view(), &b.view())
}

pub(super) fn run<T: Number>(a: &Rows<'_, T>, b: &Rows<'_, T>) -> Result<Csr<T>> {
    let tasks = tasks(a, b);
    let idle = Mutex::new(Vec::new());
    let run = |rows: Range<usize>| {
        let mut sums = idle.lock().pop().unwrap_or_else(|| Sums { wide: None, narrow: Narrow::new() });
        let made = vectorized(
            #[inline(always)]
            || sums.rows(a, b, rows),
        );
        idle.lock().push(sums);
        made
    };
    let made: Option<Vec<Piece<T>>> = tasks.into_par_iter().map(run).collect();
    drop(idle);
    join(a.rows(), b.columns, made.ok_or_else(|| overflow::<T>("a product of sparse matrices"))?)
}

/// Rows of the result.
struct Piece<T> {
    /// Where each row ends.
    ends: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<T>,
}

/// The accumulators of a thread.
struct Sums<T: Number> {
    wide: Option<Wide<T::Sum>>,
    narrow: Narrow<T::Sum>,
}

impl<T: Number> Sums<T> {
    #[inline(always)]
    fn rows(&mut self, a: &Rows<'_, T>, b: &Rows<'_, T>, rows: Range<usize>) -> Option<Piece<T>> {
        let mut piece = Piece { ends: Vec::with_capacity(rows.len()), columns: Vec::new(), values: Vec::new() };
        for row in rows {
            let products = products(a, b, row);
            if b.columns <= WIDE || products >= b.columns / SPARSEST {
                let wide = self.wide.get_or_insert_with(|| Wide::new(b.columns));
                one_row(wide, a, b, row, &mut piece)?;
            } else if products > 0 {
                self.narrow.reserve(products);
                one_row(&mut self.narrow, a, b, row, &mut piece)?;
            }
            piece.ends.push(piece.columns.len());
        }
        Some(piece)
    }
}

#[inline(always)]
fn one_row<T: Number>(
    sums: &mut impl Accumulator<T>,
    a: &Rows<'_, T>,
    b: &Rows<'_, T>,
    row: usize,
    piece: &mut Piece<T>,
) -> Option<()> {
    let entries = a.range(row);
    let (inner, factors) = a.at(entries.clone());
    for ((&inner, &factor), entry) in inner.iter().zip(factors).zip(entries) {
        if let Some(&later) = a.indices.get(entry + AHEAD) {
            let start = b.starts[later as usize];
            prefetch(b.indices, start);
            prefetch(b.values, start);
        }
        let (columns, values) = b.at(b.range(inner as usize));
        for (&column, &value) in columns.iter().zip(values) {
            sums.add_product(column, factor, value);
        }
    }
    sums.drain(&mut piece.columns, &mut piece.values)
}

/// How many products a row of the result is made of.
#[inline(always)]
fn products<T: Number>(a: &Rows<'_, T>, b: &Rows<'_, T>, row: usize) -> usize {
    a.indices[a.range(row)].iter().map(|&inner| b.range(inner as usize).len()).sum()
}

/// Rows in pieces of about equally many products.
fn tasks<T: Number>(a: &Rows<'_, T>, b: &Rows<'_, T>) -> Vec<Range<usize>> {
    // A row costs something even if it is empty.
    let costs: Vec<usize> =
        (0..a.rows()).into_par_iter().with_min_len(1 << 12).map(|row| 1 + products(a, b, row)).collect();
    let all: usize = costs.iter().sum();
    let of_a_task = (all / (16 * rayon::current_num_threads())).clamp(PRODUCTS.start, PRODUCTS.end);
    let (mut tasks, mut from, mut cost) = (Vec::new(), 0, 0);
    for (row, one) in costs.into_iter().enumerate() {
        cost += one;
        if cost >= of_a_task {
            tasks.push(from..row + 1);
            (from, cost) = (row + 1, 0);
        }
    }
    if from < a.rows() {
        tasks.push(from..a.rows());
    }
    tasks
}

/// One matrix of all pieces.
fn join<T: Number>(rows: usize, columns: usize, pieces: Vec<Piece<T>>) -> Result<Csr<T>> {
    let entries = pieces.iter().map(|piece| piece.columns.len()).sum();
    let mut starts = Vec::with_capacity(rows + 1);
    starts.push(0);
    for piece in &pieces {
        let before = starts[starts.len() - 1];
        starts.extend(piece.ends.iter().map(|end| before + end));
    }
    // Fresh pages, which become memory when they are written: that is when the pieces' memory goes.
    let mut all = (zeros::<u32>(entries, "a sparse product")?, zeros::<T>(entries, "a sparse product")?);
    let mut rest = (&mut all.0[..], &mut all.1[..]);
    let mut copies = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let length = piece.columns.len();
        let indices = rest.0.split_off_mut(..length).unwrap_or_default();
        let values = rest.1.split_off_mut(..length).unwrap_or_default();
        copies.push((piece, indices, values));
    }
    copies.into_par_iter().for_each(|(piece, indices, values)| {
        indices.copy_from_slice(&piece.columns);
        values.copy_from_slice(&piece.values);
    });
    Ok(Csr::from_parts(columns, starts, all.0, all.1))
}
