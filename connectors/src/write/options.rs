//! How to write files.

use std::path::Path;

use crate::options::FileFormatOptions;

/// What to write, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteOptions {
    /// The format.
    pub format: WriteFormat,
    /// What to do with a target that exists.
    pub mode: WriteMode,
    /// Columns that become `k=v` directories and leave the files.
    pub partition_by: Vec<String>,
    /// Whether the target is one file or a directory; by its name when not said (see [`Layout::of`]).
    pub layout: Option<Layout>,
    /// How many partition files a lane keeps open; the least recently used one is ended when there are more.
    pub open_files: usize,
}

impl WriteOptions {
    /// The defaults for a format: a new target, no partitions.
    pub fn new(format: WriteFormat) -> Self {
        Self { format, mode: WriteMode::Create, partition_by: Vec::new(), layout: None, open_files: 64 }
    }
}

/// What to do with a target that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// Refuse.
    Create,
    /// Replace it when the new files are complete.
    Overwrite,
    /// Put the new files beside the old ones.
    Append,
}

/// Whether a target is one file or a directory of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One file, written by one lane.
    SingleFile,
    /// A file for each lane.
    Directory,
}

impl Layout {
    /// One file if the name ends like a file of a known format (`out.csv`) and there is no directory of that name.
    pub fn of(path: &str) -> Self {
        let named_like_a_file = !path.ends_with('/') && FileFormatOptions::of_name(path).is_some();
        if named_like_a_file && !Path::new(path).is_dir() { Self::SingleFile } else { Self::Directory }
    }
}

/// The format of the files.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteFormat {
    /// Apache Parquet.
    Parquet(ParquetWriteOptions),
    /// Comma (or otherwise) separated values.
    Csv(CsvWriteOptions),
    /// One JSON object a line.
    Json(JsonWriteOptions),
    /// Arrow's file format.
    Ipc(IpcWriteOptions),
}

impl WriteFormat {
    /// The format a file name suggests, with default options.
    pub fn of_name(name: &str) -> Option<Self> {
        Some(match FileFormatOptions::of_name(name)? {
            FileFormatOptions::Parquet(_) => Self::Parquet(ParquetWriteOptions::default()),
            FileFormatOptions::Csv(options) => {
                Self::Csv(CsvWriteOptions { delimiter: options.delimiter, ..CsvWriteOptions::default() })
            }
            FileFormatOptions::Json(_) => Self::Json(JsonWriteOptions::default()),
            FileFormatOptions::Ipc(_) => Self::Ipc(IpcWriteOptions::default()),
        })
    }

    /// The ending of the files' names.
    pub fn extension(&self) -> &'static str {
        match self {
            Self::Parquet(_) => "parquet",
            Self::Csv(_) => "csv",
            Self::Json(_) => "json",
            Self::Ipc(_) => "arrow",
        }
    }
}

/// How to write Parquet files.
#[derive(Clone, Debug, PartialEq)]
pub struct ParquetWriteOptions {
    /// Rows of a row group: what a reader reads, or leaves out, at a time.
    pub row_group_rows: usize,
    /// A row group that holds this many bytes ends early, which bounds a lane's memory.
    pub row_group_bytes: usize,
    /// The compression of all columns.
    pub compression: ParquetCompression,
}

impl Default for ParquetWriteOptions {
    fn default() -> Self {
        Self { row_group_rows: 1 << 20, row_group_bytes: 128 << 20, compression: ParquetCompression::Snappy }
    }
}

/// The compression of Parquet columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParquetCompression {
    /// None.
    Uncompressed,
    /// Fast, and what most writers choose.
    Snappy,
    /// Fast.
    Lz4,
    /// Smaller; levels 1 to 22.
    Zstd(i32),
}

/// How to write CSV files.
#[derive(Clone, Debug, PartialEq)]
pub struct CsvWriteOptions {
    /// Whether each file starts with the column names.
    pub header: bool,
    /// The byte between two fields.
    pub delimiter: u8,
    /// The byte around fields that hold delimiters.
    pub quote: u8,
    /// The text for NULL.
    pub null_value: String,
}

impl Default for CsvWriteOptions {
    fn default() -> Self {
        Self { header: true, delimiter: b',', quote: b'"', null_value: String::new() }
    }
}

/// How to write JSON files.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonWriteOptions {
    /// Write `"a":null` rather than leaving the key out, so that a column of NULLs does not vanish.
    pub explicit_nulls: bool,
}

impl Default for JsonWriteOptions {
    fn default() -> Self {
        Self { explicit_nulls: true }
    }
}

/// How to write Arrow IPC files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IpcWriteOptions {
    /// Compress the buffers with LZ4. Uncompressed files can be mapped into memory.
    pub lz4: bool,
}
