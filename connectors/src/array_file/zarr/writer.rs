//! Zarr arrays that are being written.
//!
//! ```text
//!  rank 0   create: zarr.json   write_rows(0, …)      ┐
//!  rank 1   open_existing       write_rows(1000, …)   ├ any order, at the same time: no two write the same chunk
//!  rank 2   open_existing       write_rows(2000, …)   ┘
//! ```
//!
//! Version 3, chunks of whole rows, Zstandard with its checksum. A row that is longer than a chunk should be is cut along the
//! axes behind the first.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bireme_engine::{Error, Result};
use zarrs::array::codec::ZstdCodec;
use zarrs::array::{
    Array, ArrayBuilder, ArrayBytes, ArrayMetadataOptions, ArraySubset, DataType, FillValue, data_type,
};
use zarrs::filesystem::FilesystemStore;

use super::{FileType, ROOT, ZarrArray, check_bools, io, problem};
use crate::array_file::{bytes_of, shown_shape};

/// Bytes of a chunk before it is packed. Zarr's own advice is at least 1 MB; readers on object stores like more.
const CHUNK: usize = 16 << 20;

/// What Zstandard takes for a good balance.
const LEVEL: i32 = 3;

/// A Zarr array that is being written, row by row.
///
/// What was not written yet reads as zeros.
#[derive(Debug)]
pub struct ZarrWriter {
    array: Array<FilesystemStore>,
    path: PathBuf,
    dtype: FileType,
    shape: Vec<usize>,
    chunk_shape: Vec<usize>,
}

impl ZarrWriter {
    /// Creates an array of this shape, without chunks. Writers whose rows begin at multiples of `rows` share no chunk: `rows` are
    /// a whole number of chunks, or all of the array.
    ///
    /// # Errors
    /// There is a file or folder of that name, or it cannot be created; the array is too large for any memory; `rows` is 0.
    pub fn create(path: &Path, dtype: FileType, shape: &[usize], rows: usize) -> Result<Self> {
        let attempted = |error: Error| error.context(format!("creating {}", path.display()));
        Self::new(path, dtype, shape, rows).map_err(attempted)
    }

    fn new(path: &Path, dtype: FileType, shape: &[usize], rows: usize) -> Result<Self> {
        // Whoever asks for such an array made a mistake; no file is damaged.
        bytes_of(dtype.size(), shape).map_err(|error| Error::user(error.message()))?;
        if rows == 0 {
            return Err(Error::user("a chunk needs at least one row"));
        }
        fs::create_dir(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::user("it exists; choose another name or remove it first"),
            _ => Error::from(error),
        })?;
        let store = FilesystemStore::new(path).map_err(|error| Error::user(error.to_string()))?;
        let chunk_shape = chunk_shape(dtype.size(), shape, rows);
        let (data_type, zero) = type_of(dtype);
        let wide = |lengths: &[usize]| lengths.iter().map(|&length| length as u64).collect::<Vec<_>>();
        let array = ArrayBuilder::new(wide(shape), wide(&chunk_shape), data_type, zero)
            .bytes_to_bytes_codecs(vec![Arc::new(ZstdCodec::new(LEVEL, true))])
            .build(Arc::new(store), ROOT)
            .map_err(|error| Error::internal(error.to_string()))?;
        // Without the name and version of the library among the attributes.
        let options = ArrayMetadataOptions::default().with_include_zarrs_metadata(false);
        array.store_metadata_opt(&options).map_err(problem::of_storage)?;
        Ok(Self { array, path: path.to_path_buf(), dtype, shape: shape.to_vec(), chunk_shape })
    }

    /// Opens an array that [`ZarrWriter::create`] made, to write a part of it.
    ///
    /// # Errors
    /// There is no such array; it is not such an array.
    pub fn open_existing(path: &Path) -> Result<Self> {
        let attempted = |error: Error| error.context(format!("opening {} to write a part of it", path.display()));
        let ZarrArray { array, path, stored, shape, chunk_shape } = ZarrArray::open(path).map_err(attempted)?;
        Ok(Self { array, path, dtype: stored.file_type(), shape, chunk_shape })
    }

    /// How long the axes of a chunk are.
    pub fn chunk_shape(&self) -> &[usize] {
        &self.chunk_shape
    }

    /// Writes whole rows, in this machine's order of bytes, from this one on, which must be the first of a chunk; the last
    /// one must be the last of a chunk or of the array. Several writers may write at the same time, each its own rows.
    ///
    /// # Errors
    /// There are no such rows, or they are no whole chunks; the bytes are no whole rows, or no truth values; the disk is full.
    pub fn write_rows(&self, first_row: usize, bytes: &[u8]) -> Result<()> {
        let attempted =
            |error: Error| error.context(format!("writing rows from {first_row} on to {}", self.path.display()));
        self.write(first_row, bytes).map_err(attempted)
    }

    fn write(&self, first: usize, bytes: &[u8]) -> Result<()> {
        let rows = self.shape.first().copied().unwrap_or(1);
        let chunk_rows = self.chunk_shape.first().copied().unwrap_or(1);
        let row = self.shape.iter().skip(1).product::<usize>() * self.dtype.size();
        let last = first.checked_add(bytes.len().checked_div(row).unwrap_or(0)).filter(|&last| last <= rows);
        let Some(last) = last.filter(|_| row == 0 || bytes.len().is_multiple_of(row)) else {
            let message =
                format!("{} bytes are no rows of an array of shape {}", bytes.len(), shown_shape(&self.shape));
            return Err(Error::user(message));
        };
        if bytes.is_empty() {
            return Ok(());
        }
        if !first.is_multiple_of(chunk_rows) || last != rows && !last.is_multiple_of(chunk_rows) {
            let message = format!("rows {first}..{last} are no whole chunks, which have {chunk_rows} rows each");
            return Err(Error::user(message));
        }
        if self.dtype == FileType::Bool {
            check_bools(bytes, 0).map_err(|error| Error::user(error.message()))?;
        }
        let mut ranges = self.shape.iter().map(|&length| 0..length as u64).collect::<Vec<_>>();
        if let Some(rows) = ranges.first_mut() {
            *rows = first as u64..last as u64;
        }
        let subset = ArraySubset::new_with_ranges(&ranges);
        self.array.store_array_subset(&subset, ArrayBytes::new_flen(bytes)).map_err(problem::of_writing)
    }
}

/// Whole rows where they are short enough, in at most [`CHUNK`] bytes: as many as divide `rows`, if there are more than that.
fn chunk_shape(size: usize, shape: &[usize], rows: usize) -> Vec<usize> {
    let mut chunk: Vec<usize> = shape.iter().map(|&length| length.max(1)).collect();
    let Some((first, behind)) = chunk.split_first_mut() else { return chunk };
    // Rows are cut from the second axis on, until one fits.
    let mut row = behind.iter().product::<usize>() * size;
    for length in behind {
        if row <= CHUNK {
            break;
        }
        let rest = row / *length;
        *length = (CHUNK / rest).max(1);
        row = rest * *length;
    }
    let most = (CHUNK / row).clamp(1, rows);
    *first = match rows >= *first {
        true => most.min(*first),
        false => (1..=most).rev().find(|&some| rows.is_multiple_of(some)).unwrap_or(1),
    };
    chunk
}

fn type_of(dtype: FileType) -> (DataType, FillValue) {
    match dtype {
        FileType::F32 => (data_type::float32(), FillValue::from(0.0_f32)),
        FileType::F64 => (data_type::float64(), FillValue::from(0.0_f64)),
        FileType::I32 => (data_type::int32(), FillValue::from(0_i32)),
        FileType::I64 => (data_type::int64(), FillValue::from(0_i64)),
        FileType::Bool => (data_type::bool(), FillValue::from(false)),
    }
}
