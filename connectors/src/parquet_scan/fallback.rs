//! Column chunks that our decoders do not know, read by the `parquet` crate: odd types and odd encodings.
//!
//! Slow but right. Rows are decoded in order; what is not wanted is thrown away.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use bireme_engine::error::Error;
use bireme_engine::morsel::{CHUNK_ROWS, to_carried};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::column::join;
use super::damage::{Damage, Decoded};
use super::kind::Adapt;

/// A file that is read at offsets, so that threads may share it.
#[derive(Clone, Debug)]
pub(super) struct SharedFile {
    pub(super) file: Arc<File>,
    pub(super) size: u64,
}

/// Reads a shared file from an offset on.
pub(super) struct From {
    file: Arc<File>,
    at: u64,
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.size
    }
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl ChunkReader for SharedFile {
    type T = std::io::BufReader<From>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(std::io::BufReader::new(From { file: Arc::clone(&self.file), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<bytes::Bytes, ParquetError> {
        if start.saturating_add(length as u64) > self.size {
            return Err(ParquetError::EOF("the file ends too early".to_owned()));
        }
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, start)?;
        Ok(buffer.into())
    }
}

/// Runs code of the `parquet` crate, which may panic on damaged input.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> Decoded<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Damage::new(error.to_string())),
        Err(_) => Err(Damage::new("the file is damaged in a way that its reader did not expect")),
    }
}

/// A column chunk that the crate reads.
pub(super) struct Fallback {
    reader: ParquetRecordBatchReader,
    /// Rows that were decoded last, in carried form, and the row of the row group they start with.
    batch: Option<ArrayRef>,
    batch_row: usize,
    adapt: Option<Adapt>,
    pieces: Vec<ArrayRef>,
}

impl Fallback {
    pub(super) fn open(
        file: SharedFile,
        metadata: &Arc<ParquetMetaData>,
        row_group: usize,
        leaf: usize,
        adapt: Option<Adapt>,
    ) -> Decoded<Self> {
        let reader = guarded(|| {
            let arrow = ArrowReaderMetadata::try_new(Arc::clone(metadata), ArrowReaderOptions::new())?;
            let mask = ProjectionMask::leaves(arrow.parquet_schema(), [leaf]);
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, arrow)
                .with_row_groups(vec![row_group])
                .with_projection(mask)
                .with_batch_size(CHUNK_ROWS)
                .build()
        })?;
        Ok(Self { reader, batch: None, batch_row: 0, adapt, pieces: Vec::new() })
    }

    /// Decodes until the batch holds `row`.
    fn advance(&mut self, row: usize) -> Decoded<ArrayRef> {
        loop {
            if let Some(batch) = &self.batch {
                if row < self.batch_row {
                    return Err(Damage::internal("rows are asked for twice"));
                }
                if row < self.batch_row + batch.len() {
                    return Ok(Arc::clone(batch));
                }
                self.batch_row += batch.len();
            }
            let next = guarded(|| self.reader.next().transpose().map_err(ParquetError::from))?;
            let Some(next) = next.filter(|batch| batch.num_columns() == 1) else {
                return Err(Damage::new("a column has fewer rows than its row group"));
            };
            let carried = to_carried(next.column(0))?;
            self.batch = Some(match &self.adapt {
                Some(adapt) => adapt.apply(&carried)?,
                None => carried,
            });
        }
    }

    pub(super) fn add_range(&mut self, rows: Range<usize>) -> Decoded<()> {
        let mut at = rows.start;
        while at < rows.end {
            let batch = self.advance(at)?;
            let end = (self.batch_row + batch.len()).min(rows.end);
            self.pieces.push(batch.slice(at - self.batch_row, end - at));
            at = end;
        }
        Ok(())
    }

    pub(super) fn add_rows(&mut self, rows: &[u32]) -> Decoded<()> {
        let mut rest = rows;
        while let Some(&first) = rest.first() {
            let batch = self.advance(first as usize)?;
            let start = self.batch_row;
            let here = rest.partition_point(|&row| (row as usize) < start + batch.len());
            let (taken, behind) = rest.split_at(here);
            let places = taken.iter().map(|&row| row - start as u32).collect::<UInt32Array>();
            self.pieces.push(take(&batch, &places, None).map_err(Error::from)?);
            rest = behind;
        }
        Ok(())
    }

    pub(super) fn add_array(&mut self, array: ArrayRef) {
        self.pieces.push(array);
    }

    pub(super) fn finish(&mut self, carried: &DataType) -> Decoded<ArrayRef> {
        join(std::mem::take(&mut self.pieces), carried)
    }
}
