//! An Arrow IPC file in memory.
//!
//! Mapped bytes are the file's own. A file that is cut short while it is mapped ends the process (SIGBUS) when the
//! missing part is touched, and one that is written over may change values that were checked already. So a file is
//! compared with what the table knows of it (size, time of change) when it is opened, and again before each batch is
//! read; what is left is a change in the instant between. Programs that replace a file by renaming a new one over it,
//! as ours does, never disturb those who have mapped the old one.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::{Block, Footer, root_as_footer};
use bireme_engine::{Error, Result};
use bytes::Bytes;
use memmap2::Mmap;

use crate::file_part::FilePart;

/// The footer's length and the magic bytes, with which a file ends.
const TAIL: usize = 10;

/// A file with its batches.
pub(super) struct MappedFile {
    pub(super) part: FilePart,
    file: File,
    modified: Option<SystemTime>,
    bytes: Buffer,
    decoder: FileDecoder,
    batches: Vec<Block>,
}

impl MappedFile {
    /// Maps a file, to read these columns of it. Its schema must begin with the table's file columns.
    pub(super) fn open(part: &FilePart, table: &SchemaRef, columns: &[usize]) -> Result<Self> {
        let attempted = || format!("opening {}", part.shown);
        let file = File::open(&part.path).map_err(|error| Error::from(error).context(attempted()))?;
        let here = file.metadata().map_err(|error| Error::from(error).context(attempted()))?;
        let modified = here.modified().ok();
        if here.len() != part.size || part.modified.is_some() && part.modified != modified {
            return Err(changed(part));
        }
        // SAFETY: the map is read only. The file may be changed by others all the same; the head of this file says
        // what is done about that, and what cannot be.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::from(error).context(attempted()))?;
        let bytes = Buffer::from(Bytes::from_owner(map));
        let parsed = guarded(|| parse(&bytes, part, table, columns));
        let (decoder, batches) = parsed.map_err(|error| corrupt(part, &error))?;
        Ok(Self { part: part.clone(), file, modified, bytes, decoder, batches })
    }

    pub(super) fn batches(&self) -> usize {
        self.batches.len()
    }

    /// How long a batch is in the file, all of its columns together.
    pub(super) fn bytes_of(&self, batch: usize) -> u64 {
        let block = &self.batches[batch];
        block.bodyLength().max(0) as u64 + block.metaDataLength().max(0) as u64
    }

    /// The wanted columns of a batch.
    pub(super) fn read(&self, batch: usize) -> Result<RecordBatch> {
        let here =
            self.file.metadata().map_err(|error| Error::from(error).context(format!("reading {}", self.part.shown)))?;
        if here.len() != self.part.size || here.modified().ok() != self.modified {
            return Err(changed(&self.part));
        }
        let block = &self.batches[batch];
        let read = guarded(|| {
            let bytes = block_bytes(&self.bytes, block)?;
            let read = self.decoder.read_record_batch(block, &bytes)?;
            read.ok_or_else(|| ArrowError::IpcError("a batch is empty where the footer names one".to_owned()))
        });
        read.map_err(|error| corrupt(&self.part, &error).context(format!("batch {}", batch + 1)))
    }
}

/// What a file says of itself: how to decode its batches, and where those are that start in the part's range.
fn parse(
    bytes: &Buffer,
    part: &FilePart,
    table: &SchemaRef,
    columns: &[usize],
) -> Result<(FileDecoder, Vec<Block>), ArrowError> {
    let damaged = |what: &str| ArrowError::IpcError(what.to_owned());
    let body = bytes.len().checked_sub(TAIL).ok_or_else(|| damaged("it is too short for an Arrow IPC file"))?;
    let mut tail = [0; TAIL];
    tail.copy_from_slice(&bytes[body..]);
    let length = read_footer_length(tail)?;
    let start = body.checked_sub(length).ok_or_else(|| damaged("its footer is longer than the file"))?;
    // In memory of its own: flat buffers are read where they are aligned.
    let footer = bytes[start..body].to_vec();
    let footer = root_as_footer(&footer).map_err(|error| damaged(&format!("its footer is damaged: {error}")))?;

    let schema = schema_of(&footer)?;
    check_columns(&schema, table, columns)?;
    let mut decoder = FileDecoder::new(Arc::new(schema), footer.version()).with_projection(columns.to_vec());
    for block in footer.dictionaries().iter().flatten() {
        decoder.read_dictionary(block, &block_bytes(bytes, block)?)?;
    }
    let batches = footer.recordBatches().ok_or_else(|| damaged("its footer names no batches"))?;
    let ours = |block: &Block| match &part.range {
        None => true,
        Some(range) => u64::try_from(block.offset()).is_ok_and(|offset| range.contains(&offset)),
    };
    Ok((decoder, batches.iter().copied().filter(ours).collect()))
}

fn schema_of(footer: &Footer<'_>) -> Result<Schema, ArrowError> {
    let schema = footer.schema().ok_or_else(|| ArrowError::IpcError("its footer has no schema".to_owned()))?;
    if !schema.endianness().equals_to_target_endianness() {
        return Err(ArrowError::NotYetImplemented("its bytes are in another order than this machine's".to_owned()));
    }
    Ok(fb_to_schema(schema))
}

/// Columns are found by position.
fn check_columns(file: &Schema, table: &Schema, columns: &[usize]) -> Result<(), ArrowError> {
    for &place in columns {
        let wanted = table.field(place);
        let same = file
            .fields()
            .get(place)
            .is_some_and(|have| have.name() == wanted.name() && have.data_type().equals_datatype(wanted.data_type()));
        if !same {
            let message = format!("column {} is not {} of type {}", place + 1, wanted.name(), wanted.data_type());
            return Err(ArrowError::IpcError(message));
        }
    }
    Ok(())
}

fn block_bytes(bytes: &Buffer, block: &Block) -> Result<Buffer, ArrowError> {
    let range = || {
        let start = usize::try_from(block.offset()).ok()?;
        let metadata = usize::try_from(block.metaDataLength()).ok().filter(|&length| length >= 8)?;
        let length = metadata.checked_add(usize::try_from(block.bodyLength()).ok()?)?;
        (start.checked_add(length)? <= bytes.len()).then_some((start, length))
    };
    let (start, length) = range().ok_or_else(|| ArrowError::IpcError("a batch lies outside of the file".to_owned()))?;
    Ok(bytes.slice_with_length(start, length))
}

/// Runs Arrow's code, which may panic on damaged input.
fn guarded<T>(work: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(ArrowError::IpcError("the file is damaged in a way that its reader did not expect".to_owned()))
    })
}

fn corrupt(part: &FilePart, error: &ArrowError) -> Error {
    match error {
        ArrowError::NotYetImplemented(message) => {
            Error::unsupported(message).context(format!("reading {}", part.shown))
        }
        ArrowError::IpcError(message) | ArrowError::ParseError(message) | ArrowError::InvalidArgumentError(message) => {
            Error::corrupt(message).context(format!("reading {}", part.shown))
        }
        other => Error::corrupt(other.to_string()).context(format!("reading {}", part.shown)),
    }
}

fn changed(part: &FilePart) -> Error {
    Error::user(format!("{} was changed after the table looked at it: register the table again", part.shown))
}
