//! Which rows are new: a set of rows that grows.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use bireme_engine::error::Result;
use bireme_engine::hash::hash_columns;
use bireme_engine::morsel::{CHUNK_ROWS, Chunk, to_logical};
use rayon::prelude::*;

use super::keys::Keys;

/// Different rows, in parts by their hash, so that as many threads may look for new ones.
pub struct Distinct {
    types: Vec<DataType>,
    parts: Vec<Keys>,
}

impl Distinct {
    /// No rows yet, of columns of these logical types.
    ///
    /// # Errors
    /// There is no way to group by one of the types.
    pub fn new(types: &[DataType], parts: usize) -> Result<Self> {
        let keys = (0..parts.max(1)).map(|_| Keys::new(types.to_vec(), u64::MAX));
        Ok(Self { types: types.to_vec(), parts: keys.collect::<Result<_>>()? })
    }

    /// How many different rows there were.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Keys::len).sum()
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that it holds, in bytes.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(Keys::bytes).sum()
    }

    /// The rows that were not seen before, each once; from now on they were. NULLs are equal to each other.
    ///
    /// # Errors
    /// A column has another type, or there are more than 2^32 rows.
    pub fn keep_new(&mut self, chunks: &[Chunk]) -> Result<Vec<Chunk>> {
        let mut groups = Vec::new();
        if let [keys] = self.parts.as_mut_slice() {
            let new = chunks.iter().map(|chunk| keep_new(keys, chunk, &mut groups));
            return together(new.collect::<Result<_>>()?);
        }
        let (types, parts) = (&self.types, self.parts.len());
        let rows = chunks.par_iter().map(|chunk| rows_by_part(chunk, types, parts)).collect::<Result<Vec<_>>>()?;
        let new = self.parts.par_iter_mut().enumerate().map(|(part, keys)| {
            let mut groups = Vec::new();
            let chunks = chunks.iter().zip(&rows);
            let new = chunks.map(|(chunk, rows)| keep_new(keys, &only(chunk, &rows[part])?, &mut groups));
            together(new.collect::<Result<_>>()?)
        });
        Ok(new.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

impl fmt::Debug for Distinct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Distinct({} rows in {} parts)", self.len(), self.parts.len())
    }
}

fn keep_new(keys: &mut Keys, chunk: &Chunk, groups: &mut Vec<u32>) -> Result<Chunk> {
    let mut next = keys.len() as u32;
    groups.clear();
    keys.assign(&chunk.columns, chunk.rows, groups)?;
    // Groups are numbered in the order of their first rows.
    let mut new = Vec::new();
    for (row, &group) in (0_u32..).zip(groups.iter()) {
        if group == next {
            new.push(row);
            next += 1;
        }
    }
    let new = only(chunk, &new)?;
    let columns = new.columns.iter().map(plain_zeros).collect();
    Ok(Chunk::new(columns, new.rows))
}

/// Zeros without a sign: which of two equal values stays must not depend on who comes first.
fn plain_zeros(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float64 => {
            Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(|value| value + 0.0))
        }
        DataType::Float32 => {
            Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(|value| value + 0.0))
        }
        _ => Arc::clone(column),
    }
}

/// Larger chunks of the same rows, as far as columns come in the same form; none is empty.
fn together(chunks: Vec<Chunk>) -> Result<Vec<Chunk>> {
    let alike = |a: &Chunk, b: &Chunk| a.columns.iter().zip(&b.columns).all(|(a, b)| a.data_type() == b.data_type());
    let mut merged = Vec::new();
    let (mut group, mut rows) = (Vec::<Chunk>::new(), 0);
    for chunk in chunks.into_iter().filter(|chunk| chunk.rows > 0) {
        if group.first().is_some_and(|first| rows + chunk.rows > CHUNK_ROWS || !alike(first, &chunk)) {
            merged.push(one(std::mem::take(&mut group), rows)?);
            rows = 0;
        }
        rows += chunk.rows;
        group.push(chunk);
    }
    if !group.is_empty() {
        merged.push(one(group, rows)?);
    }
    Ok(merged)
}

/// One chunk of some.
fn one(chunks: Vec<Chunk>, rows: usize) -> Result<Chunk> {
    match chunks.as_slice() {
        [chunk] => Ok(chunk.clone()),
        chunks => {
            let width = chunks.first().map_or(0, |chunk| chunk.columns.len());
            let columns = (0..width)
                .map(|place| concat(&chunks.iter().map(|chunk| chunk.columns[place].as_ref()).collect::<Vec<_>>()));
            Ok(Chunk::new(columns.collect::<std::result::Result<_, _>>()?, rows))
        }
    }
}

/// Some rows of a chunk, ascending.
fn only(chunk: &Chunk, rows: &[u32]) -> Result<Chunk> {
    if rows.len() == chunk.rows {
        return Ok(chunk.clone());
    }
    let places = UInt32Array::from(rows.to_vec());
    let columns = chunk.columns.iter().map(|column| take(column, &places, None)).collect::<Result<_, _>>()?;
    Ok(Chunk::new(columns, rows.len()))
}

/// The rows of each part. Values are hashed as they are logically: what carries them may change from chunk to chunk.
fn rows_by_part(chunk: &Chunk, types: &[DataType], parts: usize) -> Result<Vec<Vec<u32>>> {
    let columns = chunk.columns.iter().zip(types).map(|(column, data_type)| to_logical(column, data_type));
    let mut hashes = Vec::new();
    hash_columns(&columns.collect::<Result<Vec<_>>>()?, chunk.rows, &mut hashes)?;
    let mut rows = vec![Vec::new(); parts];
    for (row, hash) in (0_u32..).zip(hashes) {
        // The upper half tells the rank.
        rows[(hash as u32 as usize * parts) >> 32].push(row);
    }
    Ok(rows)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use std::collections::HashSet;

    use arrow::array::{Array, Int64Array, StringViewArray};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    type Row = (Option<i64>, Option<String>);

    fn chunk(rows: &[Row]) -> Chunk {
        let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
        let texts: ArrayRef = Arc::new(rows.iter().map(|row| row.1.clone()).collect::<StringViewArray>());
        Chunk::new(vec![numbers, texts], rows.len())
    }

    fn rows(chunk: &Chunk) -> Vec<Row> {
        let (numbers, texts) = (chunk.columns[0].as_primitive::<Int64Type>(), chunk.columns[1].as_string_view());
        let number = |row| numbers.is_valid(row).then(|| numbers.value(row));
        let text = |row| texts.is_valid(row).then(|| texts.value(row).to_owned());
        (0..chunk.rows).map(|row| (number(row), text(row))).collect()
    }

    proptest! {
        #[test]
        fn rows_are_new_once(
            rounds in prop::collection::vec(prop::collection::vec(prop::collection::vec(
                (prop::option::of(-3_i64..40), prop::option::of("[ab]{0,2}|a long text of [0-9]")), 0..30), 0..4), 0..5),
            parts in 1_usize..4,
        ) {
            let mut distinct = Distinct::new(&[DataType::Int64, DataType::Utf8], parts).unwrap();
            let mut seen = HashSet::new();
            for round in rounds {
                let chunks = round.iter().map(|rows| chunk(rows)).collect::<Vec<_>>();
                let new = distinct.keep_new(&chunks).unwrap();
                prop_assert!(new.iter().all(|chunk| chunk.rows > 0));
                let mut new = new.iter().flat_map(rows).collect::<Vec<_>>();
                let mut expected = round.concat().into_iter().filter(|row| seen.insert(row.clone())).collect::<Vec<_>>();
                new.sort();
                expected.sort();
                prop_assert_eq!(new, expected);
            }
            prop_assert_eq!(distinct.len(), seen.len());
        }
    }
}
