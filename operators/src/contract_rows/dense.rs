//! A product of boxes.

use std::marker::PhantomData;
use std::ops::Range;

use arrow::array::RecordBatch;
use bireme_engine::error::Result;
use rayon::prelude::*;

use super::bits::Bits;
use super::code::{Coded, Part};
use super::writer::{Group, Writer};
use super::{Rounds, Value};
use crate::contract::{Einsum, Epilogue, View, contract_pair};

/// All groups that there could be, with their sums.
#[derive(Debug)]
pub struct Product {
    pub batch: usize,
    pub rows: usize,
    pub cols: usize,
    pub sums: Vec<f64>,
    /// Which groups there are, a row of bits for each batch and row; `None`: all.
    pub exist: Option<Bits>,
    /// Which sums are not NULL; `None`: all.
    pub valid: Option<Bits>,
}

/// A table in a box.
struct Filled {
    values: Vec<f64>,
    /// Cells that have a row: of each batch and own number a row of bits over the summed ones.
    seen: Bits,
    /// Cells that have a value, if some rows have none.
    valid: Option<Bits>,
    cells: usize,
    largest: f64,
}

/// The product; `None` if it would not be exact.
pub fn product<V: Value>(extents: [usize; 4], left: &Coded<V>, right: &Coded<V>) -> Option<Product> {
    let [batch, rows, summed, cols] = extents;
    let (one, other) = rayon::join(
        || fill(left, [batch, rows, summed], |batch, own, key| (batch * rows + own) * summed + key),
        || fill(right, [batch, cols, summed], |batch, own, key| (batch * summed + key) * cols + own),
    );
    let complete = one.cells == batch * rows * summed && other.cells == batch * summed * cols;
    // A NULL is a zero in its box.
    let no_zeros = complete && one.valid.is_none() && other.valid.is_none();
    if !V::is_exact(one.largest, other.largest, summed as f64, no_zeros) {
        return None;
    }
    let mut sums = vec![0.0; batch * rows * cols];
    let einsum = Einsum::parse("bmk,bkn->bmn").ok()?;
    let (a, b) = (
        View::contiguous(&one.values, &[batch, rows, summed]),
        View::contiguous(&other.values, &[batch, summed, cols]),
    );
    contract_pair(&einsum, &a.ok()?, &b.ok()?, Epilogue::REPLACE, &mut sums).ok()?;
    let exist = (!complete).then(|| Bits::meet(&one.seen, &other.seen, batch, rows, cols));
    let valid = (one.valid.is_some() || other.valid.is_some()).then(|| {
        let (a, b) = (one.valid.as_ref().unwrap_or(&one.seen), other.valid.as_ref().unwrap_or(&other.seen));
        Bits::meet(a, b, batch, rows, cols)
    });
    Some(Product { batch, rows, cols, sums, exist, valid })
}

fn fill<V: Value>(
    table: &Coded<V>,
    [batch, own, summed]: [usize; 3],
    place: impl Fn(usize, usize, usize) -> usize,
) -> Filled {
    let mut values = vec![0.0; batch * own * summed];
    let mut seen = Bits::new(batch * own, summed);
    let mut valid = table.nulls.then(|| Bits::new(batch * own, summed));
    let mut largest = 0.0_f64;
    for part in &table.parts {
        let Part { batch: batches, own: owns, summed: keys, values: column, valid: there } = part;
        for (row, &value) in column.iter().enumerate() {
            let (batch, number, key) = (batches[row] as usize, owns[row] as usize, keys[row] as usize);
            seen.set(batch * own + number, key);
            if there.as_ref().is_some_and(|there| !there[row]) {
                continue;
            }
            if let Some(valid) = &mut valid {
                valid.set(batch * own + number, key);
            }
            let value = value.to_float();
            values[place(batch, number, key)] += value;
            let size = value.abs();
            // NaN is larger than anything here.
            largest = if size <= largest || largest.is_nan() { largest } else { size };
        }
    }
    let cells = seen.count();
    // As if all rows that share a cell with others shared the same one.
    let shared = (table.len() - cells + 1) as f64;
    if largest.is_nan() {
        largest = f64::INFINITY;
    }
    Filled { values, seen, valid, cells, largest: largest * shared }
}

/// Groups that a round makes, about.
const OF_A_ROUND: usize = 2 << 20;

/// Groups that a batch has, about.
const OF_A_BATCH: usize = 64 << 10;

/// The groups that there are of a product.
pub struct Groups<V> {
    product: Product,
    writer: Writer,
    /// Rows of the product in a round, and in a batch.
    round_rows: usize,
    batch_rows: usize,
    values: PhantomData<fn() -> V>,
}

impl<V: Value> Groups<V> {
    pub fn new(product: Product, writer: Writer) -> Self {
        let cols = product.cols.max(1);
        let (round_rows, batch_rows) = ((OF_A_ROUND / cols).max(1), (OF_A_BATCH / cols).max(1));
        Self { product, writer, round_rows, batch_rows, values: PhantomData }
    }

    /// The groups of some rows.
    fn of(&self, rows: Range<usize>) -> Group<V> {
        let Product { rows: of_batch, cols, sums, exist, valid, .. } = &self.product;
        let most = rows.len() * cols;
        let count = exist.as_ref().map_or(most, |exist| rows.clone().map(|row| exist.count_row(row)).sum());
        let mut group = Group::with_capacity(count, valid.is_some());
        for row in rows {
            let (number, batch) = ((row % of_batch) as u32, (row / of_batch) as u32);
            let sums = &sums[row * cols..][..*cols];
            match exist {
                None => {
                    group.cols.extend(0..*cols as u32);
                    group.sums.extend(sums.iter().map(|&sum| V::from_float(sum)));
                }
                Some(exist) => {
                    for col in (0..*cols).filter(|&col| exist.get(row, col)) {
                        group.cols.push(col as u32);
                        group.sums.push(V::from_float(sums[col]));
                    }
                }
            }
            if let (Some(all), Some(valid)) = (&mut group.valid, valid) {
                let new = &group.cols[all.len()..];
                all.extend(new.iter().map(|&col| valid.get(row, col as usize)));
            }
            group.batch.resize(group.cols.len(), batch);
            group.rows.resize(group.cols.len(), number);
        }
        group
    }
}

impl<V: Value> Rounds for Groups<V> {
    fn count(&self) -> usize {
        (self.product.batch * self.product.rows).div_ceil(self.round_rows)
    }

    fn round(&self, number: usize) -> Result<Vec<RecordBatch>> {
        let end = (self.product.batch * self.product.rows).min((number + 1) * self.round_rows);
        let starts = (number * self.round_rows..end).step_by(self.batch_rows).collect::<Vec<_>>();
        let batch = |&start: &usize| self.writer.write(self.of(start..end.min(start + self.batch_rows)));
        starts.par_iter().map(batch).collect()
    }
}
