//! What went wrong with a file, in words that name it and the line. The file is read again to find that.

use std::io;
use std::ops::ControlFlow;

use arrow::error::ArrowError;
use bireme_engine::{Error, Result};

use super::decoder::TextError;
use super::lines::Lines;
use super::{Morsel, Opened, TextFormat};
use crate::csv_problem::CsvProblem;
use crate::options::{Compression, CsvOptions};
use crate::text_position::{BadJsonSearch, Dialect, RecordScanner, RecordSearch, Search};

impl Opened {
    /// The error that ended the reading of a morsel.
    pub(super) fn explain(&self, morsel: &Morsel, error: TextError) -> Error {
        let message = match error {
            TextError::Io(error) => return self.explain_io(morsel, error),
            TextError::Lines(ArrowError::CsvError(message) | ArrowError::JsonError(message)) => message,
            TextError::Lines(ArrowError::NotYetImplemented(message)) => return self.unsupported(morsel, message),
            TextError::Lines(ArrowError::ParseError(message)) if message.starts_with("Unsupported") => {
                return self.unsupported(morsel, message);
            }
            TextError::Lines(ArrowError::ParseError(message)) => message,
            TextError::Lines(other) => return Error::from(other).context(format!("reading {}", self.shown(morsel))),
        };
        let found = match &self.table.format {
            TextFormat::Csv(options) => {
                // Half of a record is not what is wrong.
                let ends = [Some(morsel.start).filter(|&start| start > 0), morsel.end];
                let broken = ends.into_iter().flatten().find_map(|end| self.open_quote(morsel, options, 0, end));
                if broken.is_some() {
                    return self.broken_quote(morsel, broken);
                }
                self.csv_line(morsel, options, &message)
            }
            TextFormat::Json => self.json_line(morsel),
        };
        match found {
            Some((line, what)) => self.corrupt(morsel, format!("line {line}: {what}")),
            None => self.corrupt(morsel, message),
        }
    }

    /// Refuses a quoted field that goes on past the end of a morsel: the next one began inside of it. A morsel that
    /// begins at a record ends at one, or this says so; so the first one vouches for the second, and on to the last.
    ///
    /// Counting `quotes` costs little, and only where their number is odd (or they may be escaped), the morsel is read
    /// again to know for certain. A stray quote in a field without quotes may hide another.
    ///
    /// # Errors
    /// The user did not say that quoted fields hold line ends.
    pub(super) fn check_end(&self, morsel: &Morsel, quotes: usize) -> Result<()> {
        let (TextFormat::Csv(options), Some(end)) = (&self.table.format, morsel.end) else { return Ok(()) };
        let suspicious = quotes % 2 == 1 || options.escape.is_some() && quotes > 0;
        if !suspicious || self.open_quote(morsel, options, morsel.start, end).is_none() {
            return Ok(());
        }
        Err(self.broken_quote(morsel, self.open_quote(morsel, options, 0, end)))
    }

    /// The line of the record whose quoted field goes on past the lines that start in `start..end`, counted from the
    /// first of them.
    fn open_quote(&self, morsel: &Morsel, options: &CsvOptions, start: u64, end: u64) -> Option<u64> {
        let mut lines = Lines::open(self, &Morsel { start, end: Some(end), ..*morsel }).ok()?;
        let mut scanner = RecordScanner::new(Dialect::from(options), 1);
        loop {
            let bytes = lines.bytes().ok()?;
            if bytes.is_empty() {
                return scanner.open_quote();
            }
            let _ = scanner.push(bytes, &mut |_| ControlFlow::Continue(()));
            let used = bytes.len();
            lines.consume(used);
        }
    }

    fn broken_quote(&self, morsel: &Morsel, line: Option<u64>) -> Error {
        let place = line.map_or(String::new(), |line| format!(" line {line}:"));
        Error::user(format!(
            "{}:{place} a quoted field holds a line end; set the option `newlines_in_values` to read such files",
            self.shown(morsel)
        ))
    }

    fn csv_line(&self, morsel: &Morsel, options: &CsvOptions, message: &str) -> Option<(u64, String)> {
        let problem = CsvProblem::parse(message)?;
        let wanted = |record: crate::text_position::Record| record.ordinal >= problem.ordinal;
        let mut search = RecordSearch::new(Dialect::from(options), morsel.start, wanted);
        self.search(morsel, &mut search);
        Some((search.found?.line, problem.what))
    }

    fn json_line(&self, morsel: &Morsel) -> Option<(u64, String)> {
        let schema = self.columns.project(&self.decoded).ok()?;
        let mut search = BadJsonSearch::new(schema.into(), morsel.start);
        self.search(morsel, &mut search);
        search.found
    }

    /// Hands the file's bytes to a search, from its start.
    fn search(&self, morsel: &Morsel, search: &mut impl Search) {
        let whole = Morsel { start: 0, end: None, ..*morsel };
        let Ok(mut lines) = Lines::open(self, &whole) else { return };
        while let Ok(bytes) = lines.bytes() {
            if bytes.is_empty() {
                search.finish();
                return;
            }
            if search.push(bytes).is_break() {
                return;
            }
            let used = bytes.len();
            lines.consume(used);
        }
    }

    fn explain_io(&self, morsel: &Morsel, error: io::Error) -> Error {
        // What no system call said is said by a decompressor, of the bytes it was given.
        let damaged = self.table.compression != Compression::None && error.raw_os_error().is_none();
        if damaged && error.kind() != io::ErrorKind::Unsupported {
            return self.corrupt(morsel, format!("the compressed text is damaged: {error}"));
        }
        Error::from(error).context(format!("reading {}", self.shown(morsel)))
    }

    fn unsupported(&self, morsel: &Morsel, message: String) -> Error {
        Error::unsupported(message).context(format!("reading {}", self.shown(morsel)))
    }

    fn corrupt(&self, morsel: &Morsel, what: String) -> Error {
        Error::corrupt(what).context(self.shown(morsel))
    }

    fn shown(&self, morsel: &Morsel) -> &str {
        &self.parts[morsel.part].shown
    }
}
