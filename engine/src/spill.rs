//! Batches on disk.
//!
//! A [`SpillFile`] is appended to and read at the places that appending returned, so one file serves a queue (read back
//! in order) and a sort (many runs). The file is unlinked as soon as it is open: it vanishes with its process, whatever
//! ends it. Batches are written as they would go over the wire, see [`crate::wire`]:
//!
//! ```text
//!   [u32 header length][header: batch header, buffer lengths (bincode)][buffer 0][buffer 1]…
//! ```

use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::SchemaRef;
use bincode::{Decode, Encode};

use crate::budget::Bytes;
use crate::error::{Error, Result};
use crate::wire::{self, BatchHeader};

/// Batches of one schema in an unnamed file.
#[derive(Debug)]
pub struct SpillFile {
    file: File,
    directory: PathBuf,
    schema: SchemaRef,
    /// Where the next batch goes.
    end: u64,
    /// All bytes ever written.
    written: u64,
    slots: Vec<Slot>,
}

/// Where a batch lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    start: u64,
    len: u64,
}

#[derive(Encode, Decode)]
struct Header {
    batch: BatchHeader,
    lengths: Vec<u64>,
}

impl SpillFile {
    /// An empty file in the given directory, without a name.
    ///
    /// # Errors
    /// It cannot be created there.
    pub fn create(directory: &Path, schema: SchemaRef) -> Result<Self> {
        let file = tempfile::tempfile_in(directory).map_err(|error| {
            Error::from(error)
                .context(format!("creating a spill file in {} (choose another with --temp-dir)", directory.display()))
        })?;
        Ok(Self { file, directory: directory.to_owned(), schema, end: 0, written: 0, slots: Vec::new() })
    }

    /// Appends a batch.
    ///
    /// # Errors
    /// The disk is full or fails; the message names the directory.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<Slot> {
        let (header, buffers) = wire::encode(batch);
        let slot = self.append_encoded(header, &buffers)?;
        self.slots.push(slot);
        Ok(slot)
    }

    /// Appends a batch that is encoded already.
    ///
    /// # Errors
    /// The disk is full or fails; the message names the directory.
    pub(crate) fn append_encoded(&mut self, batch: BatchHeader, buffers: &[Buffer]) -> Result<Slot> {
        let lengths = buffers.iter().map(|buffer| buffer.len() as u64).collect();
        let header = wire_encode(&Header { batch, lengths })?;
        let prefix = u32::try_from(header.len())
            .map_err(|_| Error::internal("a spilled batch has a header of more than 4 GiB"))?
            .to_le_bytes();
        let mut parts = vec![prefix.as_slice(), header.as_slice()];
        parts.extend(buffers.iter().map(Buffer::as_slice));
        let len = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        self.write_parts(&parts).map_err(|error| self.failure("writing", len, error))?;
        let slot = Slot { start: self.end, len };
        self.end += len;
        self.written += len;
        Ok(slot)
    }

    /// Reads a batch back.
    ///
    /// # Errors
    /// The disk fails.
    pub fn read(&self, slot: Slot) -> Result<RecordBatch> {
        let (header, buffers) = self.read_encoded(slot)?;
        wire::decode(&self.schema, header, buffers)
    }

    fn read_encoded(&self, slot: Slot) -> Result<(BatchHeader, Vec<Buffer>)> {
        let fail = |error: io::Error| self.failure("reading back", slot.len, error);
        let mut prefix = [0; 4];
        self.file.read_exact_at(&mut prefix, slot.start).map_err(fail)?;
        let mut header = vec![0; u32::from_le_bytes(prefix) as usize];
        self.file.read_exact_at(&mut header, slot.start + 4).map_err(fail)?;
        let mut place = slot.start + 4 + header.len() as u64;
        let Header { batch, lengths } = wire_decode(&header)?;
        let mut buffers = Vec::with_capacity(lengths.len());
        for length in lengths {
            // Zeroed and then overwritten: cheaper than a mistake with uninitialised memory; aligned as Arrow likes it.
            let mut buffer = MutableBuffer::from_len_zeroed(length as usize);
            self.file.read_exact_at(buffer.as_slice_mut(), place).map_err(fail)?;
            place += length;
            buffers.push(buffer.into());
        }
        Ok((batch, buffers))
    }

    /// Reads everything back that [`SpillFile::append`] wrote, in order, one batch at a time.
    pub fn batches(&self) -> impl Iterator<Item = Result<RecordBatch>> + '_ {
        self.slots.iter().map(|&slot| self.read(slot))
    }

    /// Gives the disk space back; every slot is void after it.
    ///
    /// # Errors
    /// The disk fails.
    pub fn clear(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|error| self.failure("truncating", self.end, error))?;
        self.end = 0;
        self.slots.clear();
        Ok(())
    }

    /// All bytes ever written to it.
    pub fn bytes_written(&self) -> u64 {
        self.written
    }

    /// What the batches look like.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    // Positioned by hand and not by the file's own cursor, so that a failed write leaves no hole behind the next one.
    fn write_parts(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        use std::io::Seek as _;
        self.file.seek(io::SeekFrom::Start(self.end))?;
        let mut slices =
            parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect::<Vec<_>>();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            match self.file.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn failure(&self, attempted: &str, bytes: u64, error: io::Error) -> Error {
        Error::resources(format!(
            "{attempted} {} in a spill file in {}: {error}; free space there, choose another directory with \
             --temp-dir, or raise --memory-limit",
            Bytes(bytes as usize),
            self.directory.display()
        ))
    }
}

fn wire_encode<T: Encode>(value: &T) -> Result<Vec<u8>> {
    bincode::encode_to_vec(value, bincode::config::standard())
        .map_err(|error| Error::internal(format!("encoding a spill header: {error}")))
}

fn wire_decode<T: Decode<()>>(bytes: &[u8]) -> Result<T> {
    let (value, _) = bincode::decode_from_slice(bytes, bincode::config::standard())
        .map_err(|error| Error::corrupt(format!("decoding the header of a spilled batch: {error}")))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, StringArray};

    use super::*;

    fn batch(numbers: &[i32], texts: &[&str]) -> RecordBatch {
        let columns: [(_, ArrayRef); 2] =
            [("a", Arc::new(Int32Array::from(numbers.to_vec()))), ("b", Arc::new(StringArray::from(texts.to_vec())))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn reads_back_what_was_written_in_any_order() {
        let directory = tempfile::tempdir().unwrap();
        let one = batch(&[1, 2, 3], &["x", "yy", "zzz"]);
        let two = batch(&[4], &[""]);
        let mut file = SpillFile::create(directory.path(), one.schema()).unwrap();
        let slots = [file.append(&one).unwrap(), file.append(&two).unwrap(), file.append(&one.slice(1, 2)).unwrap()];
        assert_eq!(file.read(slots[1]).unwrap(), two);
        let all = file.batches().collect::<Result<Vec<_>>>().unwrap();
        assert_eq!(all, [one.clone(), two, one.slice(1, 2)]);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the file has no name");

        let written = file.bytes_written();
        file.clear().unwrap();
        let again = file.append(&one).unwrap();
        assert_eq!(file.read(again).unwrap(), one);
        assert!(file.bytes_written() > written);
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let schema = batch(&[1], &["x"]).schema();
        let error = SpillFile::create(Path::new("/no/such/place"), schema).unwrap_err();
        assert!(error.message().contains("/no/such/place") && error.message().contains("--temp-dir"), "{error}");
    }
}
