//! Text files as morsel sources: CSV, and JSON with one object a line.
//!
//! ```text
//!  morsels  |---------|---------|---------|      a large file is cut at any byte
//!  lines    |aaaa|bbbbbbb|cc|dddd|eeee|fff|      a morsel has the lines that start in it:  a b | c d e | f
//! ```
//!
//! A morsel reads on past its end to the end of its last line, and drops what comes before its first one. So neither
//! lanes nor morsels have to agree on where lines are. Files whose quoted fields may hold line ends, and compressed
//! ones, are one morsel each.
//!
//! Lines are parsed by Arrow's decoders, only the wanted columns of them, a chunk at a time. Predicates are tested on
//! chunks: text has no statistics.
//!
//! - `lines`: the bytes of a morsel; `decoder`: from bytes to columns; `reader`: from columns to chunks.
//! - `fault`: where in the file something went wrong.

mod decoder;
mod fault;
mod lines;
mod reader;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bireme_engine::morsel::{MorselReader, Scan, ScanRequest, Source};
use bireme_engine::{Error, Result};
use regex::Regex;

use self::reader::TextReader;
use crate::file_part::FilePart;
use crate::options::{Compression, CsvOptions};
use crate::passing::wanted;

/// Bytes of a morsel of a large file, about: tens of milliseconds of parsing.
const MORSEL_BYTES: u64 = 2 << 20;

/// Files of fewer bytes are one morsel each.
const SMALL_FILE: u64 = 8 << 20;

/// What the lines of the files are.
#[derive(Clone, Debug)]
pub enum TextFormat {
    /// Records of fields. Columns are found by position.
    Csv(CsvOptions),
    /// An object a line. Columns are found by name.
    Json,
}

/// A table of text files; see the module.
pub struct TextSource {
    table: Arc<TextTable>,
    parts: Vec<FilePart>,
    /// Bytes of a morsel, and of a file that is not cut.
    grain: (u64, u64),
}

/// What all files have in common.
struct TextTable {
    /// The columns of the files, then those that are constant in each.
    schema: SchemaRef,
    file_columns: usize,
    format: TextFormat,
    nulls: Option<Regex>,
    compression: Compression,
}

impl TextSource {
    /// A table whose first `file_columns` columns stand in the files; the others are constants of each part.
    ///
    /// # Errors
    /// The options cannot be used.
    pub fn new(
        parts: Vec<FilePart>,
        schema: SchemaRef,
        file_columns: usize,
        format: TextFormat,
        compression: Compression,
    ) -> Result<Self> {
        let nulls = match &format {
            TextFormat::Csv(options) => options.nulls()?,
            TextFormat::Json => None,
        };
        let table = Arc::new(TextTable { schema, file_columns, format, nulls, compression });
        Ok(Self { table, parts, grain: (MORSEL_BYTES, SMALL_FILE) })
    }

    /// Cuts every file into morsels of so many bytes, to test what happens at their ends.
    #[cfg(test)]
    fn with_morsels_of(mut self, bytes: u64) -> Self {
        self.grain = (bytes, 0);
        self
    }

    /// The morsels of one file.
    fn cut(&self, at: usize, part: &FilePart) -> impl Iterator<Item = Morsel> {
        let (grain, small) = self.grain;
        let whole = 0..part.size;
        let range = part.range.clone().unwrap_or(whole);
        // A file that lanes share has been cut already.
        let large = part.range.is_some() || part.size >= small;
        let length = range.end.saturating_sub(range.start);
        let count = if large && self.table.may_cut() { length.div_ceil(grain).max(1) } else { 1 };
        let size = part.size;
        let place =
            move |number: u64| range.start + (u128::from(length) * u128::from(number) / u128::from(count)) as u64;
        (0..count).map(move |number| {
            let end = place(number + 1);
            Morsel { part: at, start: place(number), end: (end < size).then_some(end) }
        })
    }
}

impl TextTable {
    fn may_cut(&self) -> bool {
        let lines_are_records = match &self.format {
            TextFormat::Csv(options) => !options.newlines_in_values,
            TextFormat::Json => true,
        };
        lines_are_records && self.compression == Compression::None
    }

    /// The columns of the files as they are decoded: text right into its carried form.
    fn decoded(&self) -> SchemaRef {
        let decoded = |field: &Arc<Field>| match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
            _ => Arc::clone(field),
        };
        Arc::new(Schema::new(self.schema.fields().iter().take(self.file_columns).map(decoded).collect::<Vec<_>>()))
    }
}

impl fmt::Debug for TextSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Source for TextSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.table.schema)
    }

    fn describe(&self) -> String {
        let format = match self.table.format {
            TextFormat::Csv(_) => "csv",
            TextFormat::Json => "json",
        };
        match self.parts.as_slice() {
            [] => format!("{format}: no files"),
            [one] => format!("{format}: {}", one.shown),
            [first, others @ ..] => format!("{format}: {} and {} more", first.shown, others.len()),
        }
    }

    fn open(&self, request: ScanRequest) -> Result<Arc<dyn Scan>> {
        let wanted = wanted(&request);
        let decoded = wanted.iter().copied().filter(|&place| place < self.table.file_columns).collect();
        let morsels = self.parts.iter().enumerate().flat_map(|(at, part)| self.cut(at, part)).collect();
        Ok(Arc::new(TextScan(Arc::new(Opened {
            table: Arc::clone(&self.table),
            columns: self.table.decoded(),
            parts: self.parts.clone(),
            request,
            decoded,
            morsels,
        }))))
    }
}

/// A scan that was opened. Files are opened when a morsel of them is read.
struct Opened {
    table: Arc<TextTable>,
    /// The columns of the files, with the types they are decoded as.
    columns: SchemaRef,
    parts: Vec<FilePart>,
    request: ScanRequest,
    /// The columns of the files that are decoded, as places in the schema, ascending.
    decoded: Vec<usize>,
    morsels: Vec<Morsel>,
}

/// The lines of a file that start in a range of its bytes.
#[derive(Clone, Copy, Debug)]
struct Morsel {
    part: usize,
    start: u64,
    /// `None`: the file's end.
    end: Option<u64>,
}

struct TextScan(Arc<Opened>);

impl fmt::Debug for TextScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextScan({} morsels)", self.0.morsels.len())
    }
}

impl Scan for TextScan {
    fn morsels(&self) -> usize {
        self.0.morsels.len()
    }

    fn read(&self, morsel: usize) -> Result<Box<dyn MorselReader>> {
        let Some(morsel) = self.0.morsels.get(morsel) else {
            return Err(Error::internal(format!("no morsel {morsel}")));
        };
        Ok(Box::new(TextReader::open(&self.0, *morsel)?))
    }
}
