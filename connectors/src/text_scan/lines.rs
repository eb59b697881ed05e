//! The bytes of the lines that start in a range of a file.
//!
//! ```text
//!  range           |start            end|
//!  file     aaaa\nbbbbbb\ncc\ndddddddddddd\neee        read from start - 1: a line that starts at start is ours
//!                 dropped|cc\ndddddddddddd\n|
//! ```

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bireme_engine::metrics::StageMetrics;
use memchr::memchr;

use super::{Morsel, Opened};
use crate::options::Compression;

/// Bytes that are read at once, and those past the range's end, where the last line goes on.
const BUFFER: u64 = 128 << 10;
const BEYOND: u64 = 4 << 10;

/// Reads the lines of a morsel; what they say is not looked at.
pub(super) struct Lines {
    input: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// The part of the buffer that waits for the parser.
    ready: Range<usize>,
    /// Where in the (uncompressed) file the next read begins.
    at: u64,
    /// Lines that start here or later are not ours.
    end: Option<u64>,
    done: bool,
}

impl Lines {
    pub(super) fn open(scan: &Opened, morsel: &Morsel) -> io::Result<Self> {
        let part = &scan.parts[morsel.part];
        let mut file = File::open(&part.path)?;
        // The byte before the range tells whether a line starts with the range.
        let at = morsel.start.saturating_sub(1);
        if at > 0 {
            file.seek(SeekFrom::Start(at))?;
        }
        // What was added to the file since its size was noted is not part of the table.
        let counted = Counted { file, read: Arc::clone(&part.read), metrics: scan.request.metrics.clone() };
        let input = uncompressed(counted.take(part.size.saturating_sub(at)), scan.table.compression)?;
        let mut lines = Self { input, buffer: Vec::new(), ready: 0..0, at, end: morsel.end, done: false };
        if morsel.start > 0 {
            lines.skip_line()?;
        }
        Ok(lines)
    }

    /// The next bytes; none at the end.
    pub(super) fn bytes(&mut self) -> io::Result<&[u8]> {
        if self.ready.is_empty() && !self.done {
            self.fill()?;
            self.limit();
        }
        Ok(&self.buffer[self.ready.clone()])
    }

    /// Marks so many of the bytes as used.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.ready.start = (self.ready.start + bytes).min(self.ready.end);
    }

    fn fill(&mut self) -> io::Result<()> {
        let wanted = self.end.map_or(BUFFER, |end| end.saturating_sub(self.at).saturating_add(BEYOND));
        self.buffer.resize(wanted.min(BUFFER) as usize, 0);
        let read = loop {
            match self.input.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.at += read as u64;
        self.ready = 0..read;
        self.done = read == 0;
        Ok(())
    }

    /// Ends with the line that holds the range's last byte, if the end of that line is at hand.
    fn limit(&mut self) {
        let Some(end) = self.end.filter(|&end| self.at >= end) else { return };
        let first = self.at - self.ready.len() as u64;
        let from = self.ready.start + (end - 1).saturating_sub(first) as usize;
        if let Some(line_end) = memchr(b'\n', &self.buffer[from..self.ready.end]) {
            self.ready.end = from + line_end + 1;
            self.done = true;
        }
    }

    /// Drops the rest of a line that is not ours.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            self.fill()?;
            if let Some(line_end) = memchr(b'\n', &self.buffer[self.ready.clone()]) {
                self.consume(line_end + 1);
                break;
            }
            self.consume(self.ready.len());
            if self.done || self.end.is_some_and(|end| self.at >= end) {
                break;
            }
        }
        let first = self.at - self.ready.len() as u64;
        if self.end.is_some_and(|end| first >= end) {
            self.consume(self.ready.len());
            self.done = true;
        }
        self.limit();
        Ok(())
    }
}

/// A file of which it is counted what is read.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
    metrics: Option<Arc<StageMetrics>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        if let Some(metrics) = &self.metrics {
            metrics.add("bytes_scanned", read as u64);
        }
        Ok(read)
    }
}

/// The same bytes as `DataFusion` makes of a compressed file.
#[cfg(feature = "datafusion")]
fn uncompressed(input: impl Read + Send + 'static, compression: Compression) -> io::Result<Box<dyn Read + Send>> {
    compression.file_type().convert_read(input).map_err(io::Error::other)
}

/// Decompression comes with `DataFusion`.
#[cfg(not(feature = "datafusion"))]
fn uncompressed(input: impl Read + Send + 'static, compression: Compression) -> io::Result<Box<dyn Read + Send>> {
    match compression {
        Compression::None => Ok(Box::new(input)),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}
