//! Where in a text file a record stands: only asked after something went wrong.
//!
//! Decoders count records from where they began to read. A user looks for a line of the file: blank lines and comments
//! count too, a quoted field may hold line ends, and a lane that reads a byte range did not see what comes before it.
//! So the file is read again, slowly, up to the record in question.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::json::ReaderBuilder;

use crate::options::CsvOptions;

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

    /// The line of the record that is being read, if what was scanned ends inside of a quoted field.
    pub(crate) fn open_quote(&self) -> Option<u64> {
        matches!(self.state, State::Quoted | State::Escaped).then_some(self.start_line)
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

/// A search through the bytes of a text file.
pub(crate) trait Search {
    /// Looks at more bytes; breaks off when it has found what it looks for.
    fn push(&mut self, bytes: &[u8]) -> ControlFlow<()>;

    /// The end of the file.
    fn finish(&mut self);
}

/// Looks for the first record that is as wanted, from where a reader began.
pub(crate) struct RecordSearch<W> {
    dialect: Dialect,
    skip: SkipToRange,
    scanner: Option<RecordScanner>,
    wanted: W,
    pub(crate) found: Option<Record>,
}

impl<W: FnMut(Record) -> bool> RecordSearch<W> {
    pub(crate) fn new(dialect: Dialect, range_start: u64, wanted: W) -> Self {
        Self { dialect, skip: SkipToRange::new(range_start), scanner: None, wanted, found: None }
    }
}

impl<W: FnMut(Record) -> bool> Search for RecordSearch<W> {
    fn push(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let Some(rest) = self.skip.rest(bytes) else { return ControlFlow::Continue(()) };
        let scanner = self.scanner.get_or_insert_with(|| RecordScanner::new(self.dialect, self.skip.line));
        scanner.push(rest, &mut |record| note(record, &mut self.wanted, &mut self.found))
    }

    fn finish(&mut self) {
        if let Some(scanner) = &mut self.scanner {
            let _ = scanner.finish(&mut |record| note(record, &mut self.wanted, &mut self.found));
        }
    }
}

fn note(record: Record, wanted: &mut impl FnMut(Record) -> bool, found: &mut Option<Record>) -> ControlFlow<()> {
    if !wanted(record) {
        return ControlFlow::Continue(());
    }
    *found = Some(record);
    ControlFlow::Break(())
}

/// Looks for the first line, from where a reader began, that is not an object of the given schema.
pub(crate) struct BadJsonSearch {
    schema: SchemaRef,
    skip: SkipToRange,
    line: Option<u64>,
    pending: Vec<u8>,
    /// The line, and what is wrong with it.
    pub(crate) found: Option<(u64, String)>,
}

impl BadJsonSearch {
    pub(crate) fn new(schema: SchemaRef, range_start: u64) -> Self {
        Self { schema, skip: SkipToRange::new(range_start), line: None, pending: Vec::new(), found: None }
    }

    fn check(&mut self, number: u64) -> ControlFlow<()> {
        let parsed = parse_json(&self.schema, &self.pending);
        self.pending.clear();
        match parsed {
            Ok(()) => ControlFlow::Continue(()),
            Err(problem) => {
                self.found = Some((number, problem));
                ControlFlow::Break(())
            }
        }
    }
}

impl Search for BadJsonSearch {
    fn push(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let Some(mut rest) = self.skip.rest(bytes) else { return ControlFlow::Continue(()) };
        let mut number = self.line.unwrap_or(self.skip.line);
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            self.pending.extend_from_slice(&rest[..end]);
            self.check(number)?;
            number += 1;
            rest = &rest[end + 1..];
        }
        self.pending.extend_from_slice(rest);
        self.line = Some(number);
        ControlFlow::Continue(())
    }

    fn finish(&mut self) {
        if let Some(number) = self.line {
            let _ = self.check(number);
        }
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
}
