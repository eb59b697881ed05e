//! How to read files of each format. Every field may be left at its default.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};
use bireme_engine::{Error, Result};
#[cfg(feature = "datafusion")]
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use regex::Regex;

use crate::ipc;

/// The format of the files of a table, with what is needed to read them.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum FileFormatOptions {
    /// Apache Parquet.
    Parquet(ParquetOptions),
    /// Comma (or otherwise) separated values.
    Csv(CsvOptions),
    /// JSON: one object a line, or one array.
    Json(JsonOptions),
    /// Arrow's own file or stream format.
    Ipc(IpcOptions),
}

impl FileFormatOptions {
    /// The format a file name suggests, with default options: `a.csv.gz` is CSV.
    pub fn of_name(name: &str) -> Option<Self> {
        let (stem, _) = Compression::strip(name);
        let (_, extension) = stem.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "parquet" | "pq" => Some(Self::Parquet(ParquetOptions::default())),
            "csv" => Some(Self::Csv(CsvOptions::default())),
            "tsv" => Some(Self::Csv(CsvOptions { delimiter: b'\t', ..CsvOptions::default() })),
            "json" | "ndjson" | "jsonl" => Some(Self::Json(JsonOptions::default())),
            "arrow" | "ipc" | "feather" => Some(Self::Ipc(IpcOptions::default())),
            _ => None,
        }
    }

    /// The format's name in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Parquet(_) => "Parquet",
            Self::Csv(_) => "CSV",
            Self::Json(_) => "JSON",
            Self::Ipc(_) => "Arrow IPC",
        }
    }

    #[cfg(feature = "datafusion")]
    /// Whether a directory's files of this name belong to a table of this format.
    pub(crate) fn claims(&self, name: &str) -> bool {
        let (stem, _) = Compression::strip(name);
        let extension = stem.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
        let known: &[&str] = match self {
            Self::Parquet(_) => &["parquet", "pq"],
            Self::Csv(_) => &["csv", "tsv", "txt", "tbl"],
            Self::Json(_) => &["json", "ndjson", "jsonl"],
            Self::Ipc(_) => &["arrow", "ipc", "feather"],
        };
        known.contains(&extension.as_str())
    }

    /// Whether `k=v` directories become columns.
    pub fn hive_partitions(&self) -> bool {
        match self {
            Self::Parquet(options) => options.hive_partitions,
            Self::Csv(options) => options.hive_partitions,
            Self::Json(options) => options.hive_partitions,
            Self::Ipc(options) => options.hive_partitions,
        }
    }

    #[cfg(feature = "datafusion")]
    pub(crate) fn user_schema(&self) -> Option<&SchemaRef> {
        match self {
            Self::Csv(options) => options.schema.as_ref().map(|schema| &schema.0),
            Self::Json(options) => options.schema.as_ref().map(|schema| &schema.0),
            Self::Parquet(_) | Self::Ipc(_) => None,
        }
    }

    #[cfg(feature = "datafusion")]
    /// The compression of a file: as the options say, else by its name.
    pub(crate) fn compression_of(&self, name: &str) -> Compression {
        match self {
            Self::Csv(CsvOptions { compression: Some(said), .. })
            | Self::Json(JsonOptions { compression: Some(said), .. }) => *said,
            Self::Csv(_) | Self::Json(_) => Compression::strip(name).1,
            Self::Parquet(_) | Self::Ipc(_) => Compression::None,
        }
    }
}

/// How to read Parquet files.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ParquetOptions {
    /// Whether `k=v` directories become columns.
    pub hive_partitions: bool,
    /// Read binary columns as text: old writers left out the mark that tells the two apart.
    pub binary_as_string: bool,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        Self { hive_partitions: true, binary_as_string: false }
    }
}

/// How to read CSV files.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct CsvOptions {
    /// Whether the first line holds the column names.
    pub header: bool,
    /// The byte between two fields.
    pub delimiter: u8,
    /// The byte around fields that hold delimiters.
    pub quote: u8,
    /// The byte that escapes a quote inside a quoted field; without it, quotes are doubled.
    pub escape: Option<u8>,
    /// Lines that start with this byte are skipped.
    pub comment: Option<u8>,
    /// The text that stands for NULL, beside the empty field.
    pub null_value: Option<String>,
    /// How many rows of each file are read to find the columns' types.
    pub infer_rows: usize,
    /// The columns, when they are not to be found out.
    pub schema: Option<WireSchema>,
    /// The compression; by the file name (`.gz .bz2 .xz .zst`) when not said.
    pub compression: Option<Compression>,
    /// Whether quoted fields hold line ends. Such files are read whole, by one lane each.
    pub newlines_in_values: bool,
    /// Whether rows with fewer fields than columns are filled up with NULL instead of refused.
    pub short_rows: bool,
    /// Whether `k=v` directories become columns.
    pub hive_partitions: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            header: true,
            delimiter: b',',
            quote: b'"',
            escape: None,
            comment: None,
            null_value: None,
            infer_rows: 1000,
            schema: None,
            compression: None,
            newlines_in_values: false,
            short_rows: false,
            hive_partitions: true,
        }
    }
}

impl CsvOptions {
    /// The same with the columns said.
    #[must_use]
    pub fn with_schema(mut self, schema: impl Into<WireSchema>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// A pattern for the text that stands for NULL, and for the empty field; `None` if only the empty field does.
    pub(crate) fn null_pattern(&self) -> Option<String> {
        let text = self.null_value.as_ref().filter(|text| !text.is_empty())?;
        let mut pattern = String::from("^(");
        for letter in text.chars() {
            if r"\.+*?()|[]{}^$#&-~".contains(letter) {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        pattern.push_str(")?$");
        Some(pattern)
    }

    /// The same, ready to match.
    ///
    /// # Errors
    /// The text is too long for a pattern.
    pub(crate) fn nulls(&self) -> Result<Option<Regex>> {
        let compiled = self.null_pattern().map(|pattern| Regex::new(&pattern)).transpose();
        compiled.map_err(|error| Error::user(format!("the option `null_value` cannot be used: {error}")))
    }
}

/// How to read JSON files.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct JsonOptions {
    /// One array of objects instead of one object a line. Such files are read whole, by one lane each.
    pub array: bool,
    /// How many rows of each file are read to find the columns' types.
    pub infer_rows: usize,
    /// The columns, when they are not to be found out.
    pub schema: Option<WireSchema>,
    /// The compression; by the file name (`.gz .bz2 .xz .zst`) when not said.
    pub compression: Option<Compression>,
    /// Whether `k=v` directories become columns.
    pub hive_partitions: bool,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self { array: false, infer_rows: 1000, schema: None, compression: None, hive_partitions: true }
    }
}

impl JsonOptions {
    /// The same with the columns said.
    #[must_use]
    pub fn with_schema(mut self, schema: impl Into<WireSchema>) -> Self {
        self.schema = Some(schema.into());
        self
    }
}

/// How to read Arrow IPC files.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct IpcOptions {
    /// Whether `k=v` directories become columns.
    pub hive_partitions: bool,
}

impl Default for IpcOptions {
    fn default() -> Self {
        Self { hive_partitions: true }
    }
}

/// How a text file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// `.gz`
    Gzip,
    /// `.bz2`
    Bzip2,
    /// `.xz`
    Xz,
    /// `.zst`
    Zstd,
}

impl Compression {
    /// The name without its compression's ending, and the compression.
    pub fn strip(name: &str) -> (&str, Self) {
        let endings = [(".gz", Self::Gzip), (".bz2", Self::Bzip2), (".xz", Self::Xz), (".zst", Self::Zstd)];
        for (ending, compression) in endings {
            if let Some(stem) = name.strip_suffix(ending) {
                return (stem, compression);
            }
        }
        (name, Self::None)
    }

    #[cfg(feature = "datafusion")]
    pub(crate) fn file_type(self) -> FileCompressionType {
        match self {
            Self::None => FileCompressionType::UNCOMPRESSED,
            Self::Gzip => FileCompressionType::GZIP,
            Self::Bzip2 => FileCompressionType::BZIP2,
            Self::Xz => FileCompressionType::XZ,
            Self::Zstd => FileCompressionType::ZSTD,
        }
    }
}

/// A schema that can be sent to other ranks.
#[derive(Clone, Debug, PartialEq)]
pub struct WireSchema(pub SchemaRef);

impl From<SchemaRef> for WireSchema {
    fn from(schema: SchemaRef) -> Self {
        Self(schema)
    }
}

impl From<Schema> for WireSchema {
    fn from(schema: Schema) -> Self {
        Self(Arc::new(schema))
    }
}

impl Encode for WireSchema {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let bytes = ipc::schema_bytes(&self.0).map_err(|error| EncodeError::OtherString(error.to_string()))?;
        bytes.encode(encoder)
    }
}

impl<Context> Decode<Context> for WireSchema {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let bytes = Vec::<u8>::decode(decoder)?;
        let schema = ipc::schema_from(&bytes).map_err(|error| DecodeError::OtherString(error.to_string()))?;
        Ok(Self(schema))
    }
}

bincode::impl_borrow_decode!(WireSchema);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test may end the test")]
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn names_suggest_formats() {
        assert_eq!(FileFormatOptions::of_name("a/b.parquet").unwrap().name(), "Parquet");
        assert_eq!(FileFormatOptions::of_name("b.csv.gz").unwrap().name(), "CSV");
        let Some(FileFormatOptions::Csv(options)) = FileFormatOptions::of_name("b.TSV") else { panic!("not CSV") };
        assert_eq!(options.delimiter, b'\t');
        assert_eq!(FileFormatOptions::of_name("README"), None);
    }

    #[test]
    fn options_round_trip() {
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        let options =
            FileFormatOptions::Csv(CsvOptions { delimiter: b'|', ..CsvOptions::default() }.with_schema(schema));
        let bytes = bincode::encode_to_vec(&options, bincode::config::standard()).unwrap();
        let (back, _) =
            bincode::decode_from_slice::<FileFormatOptions, _>(&bytes, bincode::config::standard()).unwrap();
        assert_eq!(back, options);
    }
}
