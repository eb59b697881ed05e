//! Batches in memory as a source of morsels.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use bireme_engine::Result;
use bireme_engine::morsel::{CHUNK_ROWS, Chunk, MorselReader, Scan, ScanRequest, Source, to_carried};

use crate::passing::passing;
use crate::tile_rows::TileRows;

/// Rows of a morsel: enough work to be worth handing out, little enough that workers end together.
const MORSEL_ROWS: usize = 8 * CHUNK_ROWS;

/// Batches of one schema, and elements of arrays.
pub struct MemorySource {
    schema: SchemaRef,
    runs: Vec<Rows>,
    limit: Option<usize>,
}

/// Rows that are read in one go.
#[derive(Clone)]
enum Rows {
    Batch(RecordBatch),
    /// Elements of an array, of which only these columns are meant.
    Tile(TileRows, Arc<Vec<usize>>, Range<usize>),
}

impl Rows {
    fn len(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.num_rows(),
            Self::Tile(_, _, rows) => rows.len(),
        }
    }

    fn slice(&self, start: usize, rows: usize) -> Self {
        match self {
            Self::Batch(batch) => Self::Batch(batch.slice(start, rows)),
            Self::Tile(tile, columns, all) => {
                Self::Tile(tile.clone(), Arc::clone(columns), all.start + start..all.start + start + rows)
            }
        }
    }

    fn column(&self, place: usize) -> ArrayRef {
        match self {
            Self::Batch(batch) => Arc::clone(batch.column(place)),
            Self::Tile(tile, columns, rows) => tile.column(columns[place], rows.start, rows.len()),
        }
    }
}

impl MemorySource {
    /// A source of these batches, of which the first `limit` rows are enough.
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>, limit: Option<usize>) -> Self {
        Self { schema, runs: batches.into_iter().map(Rows::Batch).collect(), limit }
    }

    /// The source with these columns of an array's elements behind the rows that it has.
    #[must_use]
    pub fn with_tile(mut self, tile: TileRows, columns: Vec<usize>) -> Self {
        let rows = 0..tile.rows();
        self.runs.push(Rows::Tile(tile, Arc::new(columns), rows));
        self
    }
}

impl fmt::Debug for MemorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Source for MemorySource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn describe(&self) -> String {
        let rows = self.runs.iter().map(Rows::len).sum::<usize>();
        format!("memory ({rows} rows)")
    }

    fn open(&self, request: ScanRequest) -> Result<Arc<dyn Scan>> {
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut morsels = Vec::new();
        for run in &self.runs {
            let rows = run.len().min(left);
            left -= rows;
            for start in (0..rows).step_by(MORSEL_ROWS) {
                morsels.push(run.slice(start, MORSEL_ROWS.min(rows - start)));
            }
        }
        Ok(Arc::new(MemoryScan { morsels, request }))
    }
}

struct MemoryScan {
    morsels: Vec<Rows>,
    request: ScanRequest,
}

impl fmt::Debug for MemoryScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryScan({} morsels)", self.morsels.len())
    }
}

impl Scan for MemoryScan {
    fn morsels(&self) -> usize {
        self.morsels.len()
    }

    fn read(&self, morsel: usize) -> Result<Box<dyn MorselReader>> {
        Ok(Box::new(MemoryReader { rows: self.morsels[morsel].clone(), next: 0, request: self.request.clone() }))
    }
}

struct MemoryReader {
    rows: Rows,
    next: usize,
    request: ScanRequest,
}

impl MorselReader for MemoryReader {
    fn next(&mut self) -> Result<Option<Chunk>> {
        while self.next < self.rows.len() {
            let rows = (self.rows.len() - self.next).min(CHUNK_ROWS);
            let piece = self.rows.slice(self.next, rows);
            self.next += rows;
            let chunk = passing(&self.request, rows, |place| to_carried(&piece.column(place)))?;
            if chunk.rows > 0 {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use arrow::array::{ArrayRef, AsArray, BooleanArray, Int32Array};
    use arrow::datatypes::Int32Type;
    use bireme_engine::morsel::{ColumnRange, Predicate, Verdict};

    use super::*;

    #[derive(Debug)]
    struct Even;

    impl Predicate for Even {
        fn describe(&self) -> String {
            "even".into()
        }

        fn columns(&self) -> &[usize] {
            &[0]
        }

        fn judge(&self, _: &[ColumnRange]) -> Verdict {
            Verdict::Some
        }

        fn test(&self, columns: &[ArrayRef], _: usize) -> Result<BooleanArray> {
            Ok(columns[0].as_primitive::<Int32Type>().iter().map(|value| value.map(|value| value % 2 == 0)).collect())
        }
    }

    #[test]
    fn rows_that_pass_come_once_and_in_order() {
        let rows = MORSEL_ROWS as i32 + 10;
        let column: ArrayRef = Arc::new(Int32Array::from_iter_values(0..rows));
        let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let source = MemorySource::new(batch.schema(), vec![batch.clone(), batch], Some(rows as usize + 5));
        let request = ScanRequest { projection: vec![0], predicates: vec![Arc::new(Even)], ..ScanRequest::default() };
        let scan = source.open(request).unwrap();
        let mut values = Vec::new();
        for morsel in 0..scan.morsels() {
            let mut reader = scan.read(morsel).unwrap();
            while let Some(chunk) = reader.next().unwrap() {
                assert!(chunk.rows <= CHUNK_ROWS);
                values.extend(chunk.columns[0].as_primitive::<Int32Type>().values().iter().copied());
            }
        }
        let expected = (0..rows).chain(0..5).filter(|value| value % 2 == 0).collect::<Vec<_>>();
        assert_eq!(values, expected);
    }
}
