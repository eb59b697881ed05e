//! From bytes to columns, by Arrow's decoders.

use std::io;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::csv::ReaderBuilder as CsvReaderBuilder;
use arrow::csv::reader::Decoder as CsvDecoder;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder as JsonReaderBuilder;
use arrow::json::reader::Decoder as JsonDecoder;
use bireme_engine::morsel::CHUNK_ROWS;
use memchr::memchr_iter;

use super::lines::Lines;
use super::{Morsel, Opened, TextFormat};
use crate::options::CsvOptions;

/// Parses the lines of one morsel.
pub(super) enum TextDecoder {
    Csv { decoder: Box<CsvDecoder>, quote: u8, quotes: usize },
    Json(Box<JsonDecoder>),
}

impl TextDecoder {
    pub(super) fn new(scan: &Opened, morsel: &Morsel) -> Result<Self, ArrowError> {
        Ok(match &scan.table.format {
            TextFormat::Csv(options) => {
                Self::Csv { decoder: Box::new(csv(scan, options, morsel.start == 0)), quote: options.quote, quotes: 0 }
            }
            TextFormat::Json => {
                let schema = Arc::new(scan.columns.project(&scan.decoded)?);
                Self::Json(Box::new(JsonReaderBuilder::new(schema).with_batch_size(CHUNK_ROWS).build_decoder()?))
            }
        })
    }

    /// The next rows, a chunk of them at most; `None` at the end.
    pub(super) fn next(&mut self, lines: &mut Lines) -> Result<Option<RecordBatch>, TextError> {
        match self {
            Self::Csv { decoder, quote, quotes } => {
                loop {
                    // No bytes are news, too: they end the last record.
                    let bytes = lines.bytes()?;
                    let used = decoder.decode(bytes)?;
                    *quotes += memchr_iter(*quote, &bytes[..used]).count();
                    lines.consume(used);
                    if used == 0 || decoder.capacity() == 0 {
                        return Ok(decoder.flush()?);
                    }
                }
            }
            Self::Json(decoder) => loop {
                let bytes = lines.bytes()?;
                let read = bytes.len();
                let used = if read == 0 { 0 } else { decoder.decode(bytes)? };
                lines.consume(used);
                // The decoder stops when it has a chunk of rows.
                if read == 0 || used < read {
                    return Ok(decoder.flush()?);
                }
            },
        }
    }

    /// How many quotes were read, of a CSV file.
    pub(super) fn quotes(&self) -> usize {
        match self {
            Self::Csv { quotes, .. } => *quotes,
            Self::Json(_) => 0,
        }
    }
}

fn csv(scan: &Opened, options: &CsvOptions, from_the_start: bool) -> CsvDecoder {
    // Arrow carries a schema's metadata along into each batch; nobody asks for it.
    let schema = Arc::new(Schema::new(scan.columns.fields().clone()));
    let mut builder = CsvReaderBuilder::new(schema)
        .with_delimiter(options.delimiter)
        .with_quote(options.quote)
        .with_header(options.header && from_the_start)
        .with_truncated_rows(options.short_rows)
        .with_batch_size(CHUNK_ROWS)
        .with_projection(scan.decoded.clone());
    if let Some(escape) = options.escape {
        builder = builder.with_escape(escape);
    }
    if let Some(comment) = options.comment {
        builder = builder.with_comment(comment);
    }
    if let Some(nulls) = &scan.table.nulls {
        builder = builder.with_null_regex(nulls.clone());
    }
    builder.build_decoder()
}

/// What can go wrong.
pub(super) enum TextError {
    Io(io::Error),
    Lines(ArrowError),
}

impl From<io::Error> for TextError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ArrowError> for TextError {
    fn from(error: ArrowError) -> Self {
        Self::Lines(error)
    }
}
