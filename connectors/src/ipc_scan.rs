//! Arrow IPC files as morsel sources: mapped into memory, so that columns need not be copied.
//!
//! ```text
//!  file      ARROW1 │ dictionaries │ batch │ batch │ batch │ footer: schema, where batches are │ ARROW1
//!  morsels                         |───────────────|───────|
//!  batch     buffers that are aligned and not compressed become arrays as they lie; others are copied
//! ```
//!
//! Batches have no statistics: predicates are tested on chunks. Values are checked as they are mapped (texts are UTF-8,
//! offsets lie inside), so that damage is an error.
//!
//! - `mapped`: a file in memory; `tight`: arrays that account for their own rows only.

mod mapped;
#[cfg(test)]
mod tests;
mod tight;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, SchemaRef};
use bireme_engine::morsel::{CHUNK_ROWS, Chunk, MorselReader, Scan, ScanRequest, Source, to_carried};
use bireme_engine::{Error, Result};

use self::mapped::MappedFile;
use self::tight::tight;
use crate::file_part::{FilePart, repeated};
use crate::passing::{passing, wanted};

/// Small batches share a morsel of about so many bytes.
const MORSEL_BYTES: u64 = 1 << 20;

/// A table of Arrow IPC files; see the module.
pub struct IpcSource {
    parts: Vec<FilePart>,
    schema: SchemaRef,
    file_columns: usize,
}

impl IpcSource {
    /// A table whose first `file_columns` columns stand in the files, in this order; the others are constants of each
    /// part.
    pub fn new(parts: Vec<FilePart>, schema: SchemaRef, file_columns: usize) -> Self {
        Self { parts, schema, file_columns }
    }
}

impl fmt::Debug for IpcSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Source for IpcSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn describe(&self) -> String {
        match self.parts.as_slice() {
            [] => "arrow: no files".to_owned(),
            [one] => format!("arrow: {}", one.shown),
            [first, others @ ..] => format!("arrow: {} and {} more", first.shown, others.len()),
        }
    }

    fn open(&self, request: ScanRequest) -> Result<Arc<dyn Scan>> {
        let decoded: Vec<usize> = wanted(&request).into_iter().filter(|&place| place < self.file_columns).collect();
        let mut opened = Opened { files: Vec::new(), morsels: Vec::new(), request, decoded };
        for part in &self.parts {
            let file = MappedFile::open(part, &self.schema, &opened.decoded)?;
            opened.add(file);
        }
        Ok(Arc::new(IpcScan(Arc::new(opened))))
    }
}

struct Opened {
    files: Vec<MappedFile>,
    morsels: Vec<Morsel>,
    request: ScanRequest,
    /// The columns of the files that are decoded, as places in the schema, ascending.
    decoded: Vec<usize>,
}

/// Some batches of a file.
#[derive(Clone, Debug)]
struct Morsel {
    file: usize,
    batches: Range<usize>,
}

impl Opened {
    /// Adds a file with its morsels.
    fn add(&mut self, file: MappedFile) {
        let mut bytes = 0;
        let mut start = 0;
        for batch in 0..file.batches() {
            bytes += file.bytes_of(batch);
            if bytes >= MORSEL_BYTES || batch + 1 == file.batches() {
                self.morsels.push(Morsel { file: self.files.len(), batches: start..batch + 1 });
                (bytes, start) = (0, batch + 1);
            }
        }
        self.files.push(file);
    }
}

struct IpcScan(Arc<Opened>);

impl fmt::Debug for IpcScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IpcScan({} morsels)", self.0.morsels.len())
    }
}

impl Scan for IpcScan {
    fn morsels(&self) -> usize {
        self.0.morsels.len()
    }

    fn read(&self, morsel: usize) -> Result<Box<dyn MorselReader>> {
        let Some(morsel) = self.0.morsels.get(morsel).cloned() else {
            return Err(Error::internal(format!("no morsel {morsel}")));
        };
        Ok(Box::new(IpcReader { scan: Arc::clone(&self.0), morsel, columns: Vec::new(), rows: 0, row: 0 }))
    }
}

struct IpcReader {
    scan: Arc<Opened>,
    morsel: Morsel,
    /// The decoded columns of the batch that is being handed out, its rows, and the next of them.
    columns: Vec<ArrayRef>,
    rows: usize,
    row: usize,
}

impl IpcReader {
    /// Reads the next batch of the morsel; false if that was all.
    fn load(&mut self) -> Result<bool> {
        let Some(number) = self.morsel.batches.next() else { return Ok(false) };
        let file = &self.scan.files[self.morsel.file];
        let bytes = file.bytes_of(number);
        file.part.read.fetch_add(bytes, Ordering::Relaxed);
        if let Some(metrics) = &self.scan.request.metrics {
            metrics.add("bytes_scanned", bytes);
        }
        let batch = file.read(number)?;
        // The values of a dictionary are brought into their carried form once a batch, not once a chunk.
        let columns = batch.columns().iter().map(|column| match column.data_type() {
            DataType::Dictionary(..) => to_carried(column),
            _ => Ok(Arc::clone(column)),
        });
        self.columns = columns.collect::<Result<_>>()?;
        (self.rows, self.row) = (batch.num_rows(), 0);
        Ok(true)
    }

    fn chunk(&self, rows: Range<usize>) -> Result<Chunk> {
        let scan = &self.scan;
        let constants = &scan.files[self.morsel.file].part.constants;
        passing(&scan.request, rows.len(), |place| {
            if let Some(value) = constants.value(place) {
                return repeated(value, rows.len());
            }
            match scan.decoded.binary_search(&place) {
                Ok(at) => to_carried(&tight(&self.columns[at].slice(rows.start, rows.len()))?),
                Err(_) => Err(Error::internal(format!("column {place} was not decoded"))),
            }
        })
    }
}

impl MorselReader for IpcReader {
    fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            if self.row == self.rows {
                if !self.load()? {
                    return Ok(None);
                }
                continue;
            }
            let rows = self.row..self.rows.min(self.row + CHUNK_ROWS);
            self.row = rows.end;
            let chunk = self.chunk(rows)?;
            if chunk.rows > 0 {
                return Ok(Some(chunk));
            }
        }
    }
}
