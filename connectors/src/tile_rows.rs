//! The rows of a dense array: one for each element, with its indices and its value.
//!
//! Nothing of them is kept but the elements. Index columns are made when they are read, a batch at a time.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use bireme_engine::{Error, Result};

/// A part of an array as rows, row-major: index columns (`i64`), then the value.
#[derive(Clone)]
pub struct TileRows {
    ranges: Vec<Range<usize>>,
    values: ArrayRef,
}

impl TileRows {
    /// The rows of the elements in a box of indices.
    ///
    /// # Errors
    /// There are not as many values as indices: always a bug of ours.
    pub fn new(ranges: Vec<Range<usize>>, values: ArrayRef) -> Result<Self> {
        let elements = ranges.iter().map(ExactSizeIterator::len).product::<usize>();
        if elements != values.len() {
            return Err(Error::internal(format!("{} values for {elements} indices", values.len())));
        }
        Ok(Self { ranges, values })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.values.len()
    }

    /// A column of some rows: an index, or behind the indices the value.
    pub fn column(&self, column: usize, start: usize, rows: usize) -> ArrayRef {
        let Some(range) = self.ranges.get(column) else { return self.values.slice(start, rows) };
        let behind = self.ranges[column + 1..].iter().map(ExactSizeIterator::len).product::<usize>().max(1);
        let extent = range.len().max(1);
        let (mut index, mut left) = (start / behind % extent, behind - start % behind);
        let mut indices = Vec::with_capacity(rows);
        while indices.len() < rows {
            let run = left.min(rows - indices.len());
            indices.resize(indices.len() + run, (range.start + index) as i64);
            index = if index + 1 == extent { 0 } else { index + 1 };
            left = behind;
        }
        Arc::new(Int64Array::from(indices))
    }

    /// Some rows as a batch of `schema`, which has these columns of the rows.
    ///
    /// # Errors
    /// The schema is of other columns: always a bug of ours.
    pub fn batch(&self, schema: &SchemaRef, columns: &[usize], start: usize, rows: usize) -> Result<RecordBatch> {
        let columns = columns.iter().map(|&column| self.column(column, start, rows)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }
}

impl fmt::Debug for TileRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TileRows({:?})", self.ranges)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use arrow::array::{AsArray, Float64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn indices_are_those_of_the_elements_wherever_one_begins() {
        let ranges = vec![2..5, 0..4, 7..9];
        let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..24).map(f64::from)));
        let rows = TileRows::new(ranges, values).unwrap();
        let slow = |row: usize| [2 + row / 8, row / 2 % 4, 7 + row % 2].map(|index| index as i64);
        for start in 0..24 {
            for count in 0..=24 - start {
                for column in 0..3 {
                    let made = rows.column(column, start, count);
                    let expected = (start..start + count).map(|row| slow(row)[column]).collect::<Vec<_>>();
                    assert_eq!(
                        made.as_primitive::<Int64Type>().values(),
                        expected.as_slice(),
                        "{start} {count} {column}"
                    );
                }
                assert_eq!(rows.column(3, start, count).len(), count);
            }
        }
    }
}
