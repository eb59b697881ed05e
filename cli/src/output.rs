//! Standard output: results only, buffered, and quiet when its reader goes away.

use std::io::{self, BufWriter, ErrorKind as Io, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bireme::prelude::{Error, Result};

use crate::format::{self, Format};

/// Where results go.
pub(crate) struct Output {
    to: BufWriter<Pipe>,
}

/// Standard output that swallows everything once nobody reads it.
///
/// `bireme sql … | head` is no failure. The writers above do not all keep the cause of an error apart from its text, so
/// it is decided here, beneath them.
struct Pipe {
    to: Box<dyn Write>,
    closed: bool,
    failure: Option<Error>,
}

impl Output {
    /// Results to standard output.
    pub(crate) fn stdout() -> Self {
        Self::to(Box::new(io::stdout()))
    }

    fn to(to: Box<dyn Write>) -> Self {
        Self { to: BufWriter::with_capacity(1 << 16, Pipe { to, closed: false, failure: None }) }
    }

    /// Whether the reader has gone away: what is written from now on goes nowhere.
    pub(crate) fn is_closed(&self) -> bool {
        self.to.get_ref().closed
    }

    /// Writes text and a line's end.
    ///
    /// # Errors
    /// The output cannot be written, for another reason than that its reader went away.
    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        let written = writeln!(self.to, "{text}").and_then(|()| self.to.flush());
        self.settle(written.map_err(Error::from))
    }

    /// Writes the rows of one result.
    ///
    /// # Errors
    /// The format has no form for a column, or the output cannot be written.
    pub(crate) fn rows(&mut self, format: Format, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<()> {
        let written = format::write(format, schema, batches, &mut self.to);
        let flushed = self.to.flush().map_err(Error::from);
        self.settle(written.and(flushed))
    }

    /// The cause that the pipe saw comes before what a writer made of it.
    fn settle(&mut self, written: Result<()>) -> Result<()> {
        match self.to.get_mut().failure.take() {
            Some(failure) => Err(failure.context("writing to standard output")),
            None => written,
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Ok(bytes.len());
        }
        match self.to.write(bytes) {
            Err(error) if error.kind() == Io::BrokenPipe => {
                self.closed = true;
                Ok(bytes.len())
            }
            Err(error) if error.kind() != Io::Interrupted => {
                let kind = error.kind();
                self.failure.get_or_insert(Error::from(error));
                Err(io::Error::from(kind))
            }
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        match self.to.flush() {
            Err(error) if error.kind() == Io::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail by panicking

    use super::*;

    /// Fails with the given kind after some bytes.
    struct Fails(usize, Io);

    impl Write for Fails {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::from(self.1));
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let mut output = Output::to(Box::new(Fails(3, Io::BrokenPipe)));
        output.line("more than three bytes").unwrap();
        assert!(output.is_closed());
        output.line("and more").unwrap();
    }

    #[test]
    fn a_full_disk_is_a_failure() {
        let mut output = Output::to(Box::new(Fails(3, Io::StorageFull)));
        let error = output.line("more than three bytes").unwrap_err();
        assert!(error.message().starts_with("writing to standard output"), "{error}");
        assert!(!output.is_closed());
    }
}
