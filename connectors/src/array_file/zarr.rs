//! Zarr arrays, versions 2 and 3: a folder each, in which every chunk is a file.
//!
//! ```text
//!  a.zarr/zarr.json   shape 5 × 7, chunks of 2 × 3, float64, [bytes, zstd]      version 2: .zarray, and chunks 0.0, 0.1, …
//!  a.zarr/c/0/0       ┌───┬───┬─┐
//!  a.zarr/c/0/1       │0,0│0,1│…│  rows 1..3, columns 2..4 meet the chunks 0,0  0,1  1,0  1,1:
//!  a.zarr/c/1/0       ├───┼───┼─┤  these four are unpacked, side by side, each into its part of the result.
//!  …                  │1,0│1,1│…│  A chunk without a file holds the fill value.
//!                     └───┴───┴─┘
//! ```
//!
//! Source: the Zarr core specification 3.0 and the storage specification 2 (<https://zarr-specs.readthedocs.io>). The formats
//! are decoded by `zarrs`: gzip, zlib, Zstandard, CRC-32C, transposed axes, shards (of which only the inner chunks that are wanted
//! are read), either order of bytes. Blosc is not among them, see the workspace's Cargo.toml.
//!
//! Chunks are unpacked on rayon's pool of the process, or on the pool of the worker that asks.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::buffer::{Buffer, MutableBuffer};
use bireme_engine::{Error, Result};
use unsafe_cell_slice::UnsafeCellSlice;
use zarrs::array::{Array, ArrayBytesDecodeIntoTarget, ArrayBytesFixedDisjointView, ArrayError, ArraySubset};
use zarrs::filesystem::FilesystemStore;
use zarrs::plugin::{ExtensionName as _, ZarrVersion};

use super::elements::{Stored, check_bools};
use super::{FileType, bytes_of, elements_of_box, room, shown_box, shown_text};

mod problem;
#[cfg(test)]
mod tests;
mod writer;

pub use writer::ZarrWriter;

/// Where an array lies in its folder.
const ROOT: &str = "/";

/// A Zarr array that is open for reading.
///
/// ```
/// use bireme_connectors::array_file::FileType;
/// use bireme_connectors::array_file::zarr::{self, ZarrWriter};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a.zarr");
/// let bytes: Vec<u8> = [1.5_f64, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|value| value.to_ne_bytes()).collect();
/// ZarrWriter::create(&path, FileType::F64, &[3, 2], 2)?.write_rows(0, &bytes)?;
///
/// let array = zarr::open(&path)?;
/// assert_eq!((array.dtype(), array.shape(), array.chunk_shape()), (FileType::F64, &[3, 2][..], &[2, 2][..]));
/// assert_eq!(array.read(&[1..3, 0..1])?.typed_data::<f64>(), [3.0, 5.0]);
/// # Ok::<(), bireme_engine::Error>(())
/// ```
pub struct ZarrArray {
    array: Array<FilesystemStore>,
    path: PathBuf,
    stored: Stored,
    shape: Vec<usize>,
    chunk_shape: Vec<usize>,
}

/// Opens a Zarr array by reading its metadata. Chunks are read when they are asked for: nobody notices if another program
/// writes them meanwhile, so an array is to be left alone while it is in use.
///
/// # Errors
/// There is no such folder, or no array in it (a group holds arrays in folders of its own); its metadata are damaged; its dtype or
/// one of its codecs is not read.
pub fn open(path: &Path) -> Result<ZarrArray> {
    ZarrArray::open(path).map_err(|error| error.context(format!("opening {}", path.display())))
}

impl ZarrArray {
    fn open(path: &Path) -> Result<Self> {
        if !fs::metadata(path)?.is_dir() {
            return Err(Error::user("it is no folder, and a Zarr array is one; zip archives must be unpacked first"));
        }
        let store = FilesystemStore::new(path).map_err(|error| Error::user(error.to_string()))?;
        let store = Arc::new(store);
        let array = Array::open(Arc::clone(&store), ROOT).map_err(|error| problem::of_opening(error, &store))?;
        let stored = stored(&array)?;
        let shape = lengths(array.shape())?;
        bytes_of(stored.size(), &shape)?;
        let chunk_shape = chunk_shape(&array, stored.size())?;
        Ok(Self { array, path: path.to_path_buf(), stored, shape, chunk_shape })
    }

    /// What its elements are once they are read.
    pub fn dtype(&self) -> FileType {
        self.stored.file_type()
    }

    /// How long its axes are. None for an array of one element without axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How long the axes of a chunk are. Those at the end of an axis may reach beyond it.
    pub fn chunk_shape(&self) -> &[usize] {
        &self.chunk_shape
    }

    /// The elements of a box of indices, one range an axis, row by row. Only chunks that meet the box are read.
    ///
    /// CRC-32C is compared where a whole chunk is read, or a whole inner chunk of a shard; checksums of gzip, zlib and Zstandard always.
    ///
    /// It takes what the box takes in memory, and one chunk a thread; for types that are widened, the box as it is stored
    /// as well.
    ///
    /// # Errors
    /// There are no such indices; a chunk cannot be read or is damaged (the message names it); a truth value is neither 0
    /// nor 1; memory ran out.
    pub fn read(&self, ranges: &[Range<usize>]) -> Result<Buffer> {
        let elements = elements_of_box(ranges, &self.shape, &self.path.display().to_string())?;
        let attempted =
            |error: Error| error.context(format!("reading {} of {}", shown_box(ranges), self.path.display()));
        self.read_box(ranges, elements).map_err(attempted)
    }

    fn read_box(&self, ranges: &[Range<usize>], elements: usize) -> Result<Buffer> {
        let bytes = elements * self.stored.size();
        drop(room::<u8>(bytes)?); // asked for first, since the next line cannot fail
        let mut buffer = MutableBuffer::from_len_zeroed(bytes);
        if elements > 0 {
            let subset = subset_of(ranges);
            self.decode(&subset, buffer.as_slice_mut()).map_err(|error| self.blamed(error, &subset))?;
        }
        let buffer = Buffer::from(buffer);
        if self.dtype() == FileType::Bool {
            check_bools(&buffer, 0)?;
        }
        if self.stored.is_as_wanted() { Ok(buffer) } else { self.stored.converted(&buffer) }
    }

    /// Unpacks a box into bytes that are as many as it has.
    fn decode(&self, subset: &ArraySubset, bytes: &mut [u8]) -> Result<(), ArrayError> {
        let shape = subset.shape().to_vec();
        // SAFETY: it is the only view of these bytes, which are borrowed for as long as it lives.
        let view = unsafe {
            ArrayBytesFixedDisjointView::new(
                UnsafeCellSlice::new(bytes),
                self.stored.size(),
                &shape,
                ArraySubset::new_with_shape(shape.clone()),
            )
        };
        let mut view = view?;
        self.array.retrieve_array_subset_into(subset, ArrayBytesDecodeIntoTarget::Fixed(&mut view))
    }

    /// The error with the chunk that it comes from, which is found by reading all of them again, one by one.
    fn blamed(&self, error: ArrayError, subset: &ArraySubset) -> Error {
        let chunks = self.array.chunks_in_array_subset(subset).ok().flatten().map(|chunks| chunks.indices());
        let failure = |chunk: &[u64]| {
            let part = self.array.chunk_subset(chunk).ok()?.overlap(subset).ok()?;
            let mut bytes = vec![0; part.num_elements_usize() * self.stored.size()];
            self.decode(&part, &mut bytes).err()
        };
        for chunk in chunks.iter().flatten() {
            if let Some(error) = failure(&chunk) {
                let file = self.path.join(self.array.chunk_key(&chunk).as_str());
                return problem::of_reading(error).context(format!("chunk {}", file.display()));
            }
        }
        problem::of_reading(error)
    }
}

impl fmt::Debug for ZarrArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZarrArray({}, {}, {:?})", self.path.display(), self.dtype(), self.shape)
    }
}

/// What elements are once they are unpacked.
fn stored(array: &Array<FilesystemStore>) -> Result<Stored> {
    let name = array.data_type().name(ZarrVersion::V3).unwrap_or_default();
    Stored::of_zarr(&name).ok_or_else(|| problem::of_dtype(&name))
}

fn lengths(shape: &[u64]) -> Result<Vec<usize>> {
    let length = |&length: &u64| usize::try_from(length).ok();
    let all = shape.iter().map(length).collect::<Option<Vec<usize>>>();
    all.ok_or_else(|| Error::corrupt(format!("an array of shape {shape:?} is larger than any memory")))
}

/// The shape of the first chunk, which is that of all where the grid is regular.
fn chunk_shape(array: &Array<FilesystemStore>, size: usize) -> Result<Vec<usize>> {
    let first = vec![0; array.dimensionality()];
    // Empty arrays have no chunk.
    if array.shape().contains(&0) {
        return lengths(array.shape());
    }
    let chunk = array.chunk_shape(&first).map_err(problem::of_reading)?;
    let chunk = lengths(&chunk.iter().map(|length| length.get()).collect::<Vec<_>>())?;
    bytes_of(size, &chunk).map_err(|error| error.context("its chunks"))?;
    Ok(chunk)
}

fn subset_of(ranges: &[Range<usize>]) -> ArraySubset {
    let ranges = ranges.iter().map(|range| range.start as u64..range.end as u64).collect::<Vec<_>>();
    ArraySubset::new_with_ranges(&ranges)
}
