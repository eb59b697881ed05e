//! Where in a text file a record stands: only asked after something went wrong.
//!
//! Decoders count records from where they began to read. A user looks for a line of the file: blank lines and comments
//! count too, a quoted field may hold line ends, and a lane that reads a byte range did not see what comes before it.
//! So the file is read again, slowly, up to the record in question.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::json::ReaderBuilder;
use datafusion::common::DataFusionError;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::options::{Compression, CsvOptions};

/// A record of a CSV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// From 1; a header is a record too.
    pub(crate) ordinal: u64,
    /// The line on which it starts, from 1.
    pub(crate) line: u64,
    pub(crate) fields: usize,
}

/// The bytes that shape a CSV file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quote: u8,
    pub(crate) escape: Option<u8>,
    pub(crate) comment: Option<u8>,
}

impl From<&CsvOptions> for Dialect {
    fn from(options: &CsvOptions) -> Self {
        Self { delimiter: options.delimiter, quote: options.quote, escape: options.escape, comment: options.comment }
    }
}

/// Splits CSV text into records as the decoder does, but keeps count of lines.
#[derive(Debug)]
pub(crate) struct RecordScanner {
    dialect: Dialect,
    state: State,
    line: u64,
    ordinal: u64,
    /// The record that is being read.
    start_line: u64,
    fields: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    RecordStart,
    Comment,
    FieldStart,
    Field,
    Quoted,
    /// After the escape byte inside a quoted field.
    Escaped,
    /// After a quote inside a quoted field: its end, or half of a doubled quote.
    QuoteInQuoted,
}

impl RecordScanner {
    pub(crate) fn new(dialect: Dialect, first_line: u64) -> Self {
        Self { dialect, state: State::RecordStart, line: first_line, ordinal: 0, start_line: first_line, fields: 0 }
    }

    /// Scans more bytes; calls `found` at the end of each record.
    pub(crate) fn push(&mut self, bytes: &[u8], found: &mut dyn FnMut(Record) -> ControlFlow<()>) -> ControlFlow<()> {
        for &byte in bytes {
            let ended = self.step(byte);
            if byte == b'\n' {
                self.line += 1;
            }
            if ended {
                self.end_record(found)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The end of the file: a last record needs no line end.
    pub(crate) fn finish(&mut self, found: &mut dyn FnMut(Record) -> ControlFlow<()>) -> ControlFlow<()> {
        match self.state {
            State::RecordStart | State::Comment => ControlFlow::Continue(()),
            _ => self.end_record(found),
        }
    }

    fn end_record(&mut self, found: &mut dyn FnMut(Record) -> ControlFlow<()>) -> ControlFlow<()> {
        self.ordinal += 1;
        self.state = State::RecordStart;
        found(Record { ordinal: self.ordinal, line: self.start_line, fields: self.fields })
    }

    /// Whether the byte ends a record.
    fn step(&mut self, byte: u8) -> bool {
        let line_end = matches!(byte, b'\n' | b'\r');
        match self.state {
            State::RecordStart if line_end => return false,
            State::RecordStart if Some(byte) == self.dialect.comment => self.state = State::Comment,
            State::Comment if byte == b'\n' => self.state = State::RecordStart,
            State::Comment => {}
            State::RecordStart => {
                self.start_line = self.line;
                self.fields = 1;
                self.field_start(byte);
            }
            State::FieldStart if line_end => return true,
            State::FieldStart => self.field_start(byte),
            State::Field | State::QuoteInQuoted if line_end => return true,
            State::QuoteInQuoted if byte == self.dialect.quote && self.dialect.escape.is_none() => {
                self.state = State::Quoted;
            }
            State::Field | State::QuoteInQuoted if byte == self.dialect.delimiter => {
                self.fields += 1;
                self.state = State::FieldStart;
            }
            State::Field | State::QuoteInQuoted => self.state = State::Field,
            State::Quoted if Some(byte) == self.dialect.escape => self.state = State::Escaped,
            State::Quoted if byte == self.dialect.quote => self.state = State::QuoteInQuoted,
            State::Quoted => {}
            State::Escaped => self.state = State::Quoted,
        }
        false
    }

    fn field_start(&mut self, byte: u8) {
        if byte == self.dialect.quote {
            self.state = State::Quoted;
        } else if byte == self.dialect.delimiter {
            self.fields += 1;
            self.state = State::FieldStart;
        } else {
            self.state = State::Field;
        }
    }
}

/// A text file that can be read again.
#[derive(Clone, Debug)]
pub(crate) struct TextFile {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) key: Path,
    pub(crate) compression: Compression,
    /// Where the reader began that reports the error.
    pub(crate) range_start: u64,
}

impl TextFile {
    /// The line of a reader's n-th record (from 1).
    pub(crate) async fn line_of_record(&self, dialect: Dialect, ordinal: u64) -> Option<u64> {
        let record = self.find_record(dialect, |record| record.ordinal >= ordinal).await?;
        Some(record.line)
    }

    /// The first record that is as wanted.
    pub(crate) async fn find_record(&self, dialect: Dialect, wanted: impl Fn(Record) -> bool) -> Option<Record> {
        let mut scanner: Option<RecordScanner> = None;
        let mut found = None;
        let mut check = |record: Record| {
            if wanted(record) {
                found = Some(record);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let mut skip = SkipToRange::new(self.range_start);
        let whole = self.chunks(|chunk| {
            let Some(rest) = skip.rest(chunk) else { return ControlFlow::Continue(()) };
            let scanner = scanner.get_or_insert_with(|| RecordScanner::new(dialect, skip.line));
            scanner.push(rest, &mut check)
        });
        let complete = whole.await?;
        if let (true, Some(scanner)) = (complete, &mut scanner) {
            let _ = scanner.finish(&mut check);
        }
        found
    }

    /// The first line, from where the reader began, that is not an object of the given schema, and what is wrong.
    pub(crate) async fn first_bad_json(&self, schema: &SchemaRef) -> Option<(u64, String)> {
        let mut skip = SkipToRange::new(self.range_start);
        let mut line: Option<u64> = None;
        let mut pending = Vec::new();
        let mut found = None;
        let mut check = |number: u64, text: &[u8]| match parse_json(schema, text) {
            Ok(()) => ControlFlow::Continue(()),
            Err(problem) => {
                found = Some((number, problem));
                ControlFlow::Break(())
            }
        };
        let whole = self.chunks(|chunk| {
            let Some(mut rest) = skip.rest(chunk) else { return ControlFlow::Continue(()) };
            let number = line.get_or_insert(skip.line);
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                pending.extend_from_slice(&rest[..end]);
                check(*number, &pending)?;
                pending.clear();
                *number += 1;
                rest = &rest[end + 1..];
            }
            pending.extend_from_slice(rest);
            ControlFlow::Continue(())
        });
        let complete = whole.await?;
        if let (true, Some(number)) = (complete, line) {
            let _ = check(number, &pending);
        }
        found
    }

    /// Calls `each` on the uncompressed bytes. `Some(false)` if it broke off, `None` if the file cannot be read.
    async fn chunks(&self, mut each: impl FnMut(&[u8]) -> ControlFlow<()>) -> Option<bool> {
        let result = self.store.get(&self.key).await.ok()?;
        let bytes = result.into_stream().map(|chunk| chunk.map_err(DataFusionError::from)).boxed();
        let mut plain = self.compression.file_type().convert_stream(bytes).ok()?;
        while let Some(chunk) = plain.next().await {
            if each(&chunk.ok()?).is_break() {
                return Some(false);
            }
        }
        Some(true)
    }
}

/// Drops what comes before the first whole line of a byte range, and counts the lines that were dropped.
///
/// A reader of the range `start..` begins after the first line end at or after `start - 1`.
#[derive(Debug)]
struct SkipToRange {
    /// Bytes up to the one before the range.
    before: u64,
    /// The number of the line at which the rest begins.
    line: u64,
    arrived: bool,
}

impl SkipToRange {
    fn new(range_start: u64) -> Self {
        Self { before: range_start.saturating_sub(1), line: 1, arrived: range_start == 0 }
    }

    fn rest<'a>(&mut self, chunk: &'a [u8]) -> Option<&'a [u8]> {
        if self.arrived {
            return Some(chunk);
        }
        let skipped = usize::try_from(self.before).unwrap_or(usize::MAX).min(chunk.len());
        self.before -= skipped as u64;
        self.line += chunk[..skipped].iter().filter(|&&byte| byte == b'\n').count() as u64;
        if self.before > 0 {
            return None;
        }
        let end = skipped + chunk[skipped..].iter().position(|&byte| byte == b'\n')?;
        self.line += 1;
        self.arrived = true;
        Some(&chunk[end + 1..])
    }
}

fn parse_json(schema: &SchemaRef, line: &[u8]) -> Result<(), String> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let parse = || {
        let mut decoder = ReaderBuilder::new(Arc::clone(schema)).build_decoder()?;
        decoder.decode(line)?;
        decoder.flush()
    };
    parse().map(|_| ()).map_err(|error| {
        let text = error.to_string();
        text.strip_prefix("Json error: ").unwrap_or(&text).to_string()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test may end the test")]
    use arrow::datatypes::{DataType, Field, Schema};
    use futures::executor::block_on;
    use object_store::memory::InMemory;

    use super::*;

    const DIALECT: Dialect = Dialect { delimiter: b',', quote: b'"', escape: None, comment: Some(b'#') };

    fn records(text: &str) -> Vec<(u64, usize)> {
        let mut records = Vec::new();
        let mut scanner = RecordScanner::new(DIALECT, 1);
        let mut push = |record: Record| {
            records.push((record.line, record.fields));
            ControlFlow::Continue(())
        };
        // One byte at a time: no state may be lost between chunks.
        for byte in text.as_bytes() {
            let _ = scanner.push(&[*byte], &mut push);
        }
        let _ = scanner.finish(&mut push);
        records
    }

    #[test]
    fn lines_of_records() {
        assert_eq!(records("a,b\n1,2\n"), [(1, 2), (2, 2)]);
        assert_eq!(records("a,b\r\n1,2"), [(1, 2), (2, 2)]);
        assert_eq!(records("\n# note\na,b\n\n\n1,2,3\n"), [(3, 2), (6, 3)]);
        assert_eq!(records("a,\"x\ny\"\"z,\"\n1,\n,\n"), [(1, 2), (3, 2), (4, 2)]);
    }

    fn file(text: &str, range_start: u64) -> TextFile {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let key = Path::from("a");
        block_on(store.put(&key, text.to_string().into())).unwrap();
        TextFile { store, key, compression: Compression::None, range_start }
    }

    #[test]
    fn a_range_counts_the_lines_before_it() {
        let text = "a,b\n1,2\n3,4\n5,6\n7,8\n";
        for start in 0..text.len() as u64 {
            let lines_before = match start {
                0 => 0,
                _ => text.as_bytes()[..start as usize - 1].iter().filter(|&&byte| byte == b'\n').count() as u64 + 1,
            };
            let line = block_on(file(text, start).line_of_record(DIALECT, 1));
            let wanted = (lines_before < 5).then_some(lines_before + 1);
            assert_eq!(line, wanted, "from byte {start}");
        }
        let ragged = block_on(file("a,b\n1,2\n3\n", 0).find_record(DIALECT, |record| record.fields != 2));
        assert_eq!(ragged, Some(Record { ordinal: 3, line: 3, fields: 1 }));
    }

    #[test]
    fn the_first_bad_json_line() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let text = "{\"a\":1}\n\n{\"a\":\"x\"}\n{\"a\"\n";
        let (line, problem) = block_on(file(text, 0).first_bad_json(&schema)).unwrap();
        assert_eq!(line, 3);
        assert!(problem.contains('x'), "{problem}");
        let (line, _) = block_on(file(text, 12).first_bad_json(&schema)).unwrap();
        assert_eq!(line, 4);
    }
}
