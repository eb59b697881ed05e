//! NPY files: one array each.
//!
//! The format is described in `header`. Reading maps the file. Writing goes by places, so that the ranks of a job each
//! write their part of one file:
//!
//! ```text
//!  rank 0   create: header, full length   write_at(0, …)      ┐
//!  rank 1            open_existing        write_at(1000, …)   ├ any order, at the same time
//!  rank 2            open_existing        write_at(2000, …)   ┘
//! ```

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bireme_engine::{Error, Result};

use super::elements::{Stored, check_bools};
use super::mapped::Mapped;
use super::{ArrayFile, FileType, bytes_of, create_new, header, shown_shape};

#[cfg(test)]
mod tests;

/// As long as the longest header of version 1.0, which is the one that we write.
const HEADER: usize = 10 + u16::MAX as usize;

/// Opens an NPY file by mapping it: its elements are read when they are asked for.
///
/// The file must not be cut short while the array, or a buffer that it handed out, is in use: the process would end
/// with a signal. A file that was changed is noticed when more of it is read. Replace files by renaming new ones over
/// them.
///
/// # Errors
/// There is no such file; it is no NPY file, or damaged; its dtype is not read.
pub fn open(path: &Path) -> Result<ArrayFile> {
    let file = Arc::new(Mapped::open(path)?);
    ArrayFile::parse(Arc::clone(file.shown()), file.bytes(), Some(Arc::clone(&file)))
}

/// An NPY file that is being written, in version 1.0, row by row. NumPy loads it without pickle.
///
/// What was not written yet reads as zeros.
///
/// ```
/// use bireme_connectors::array_file::FileType;
/// use bireme_connectors::array_file::npy::{self, NpyWriter};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a.npy");
/// let first = NpyWriter::create(&path, FileType::I32, &[4])?;
/// let other = NpyWriter::open_existing(&path)?; // on another rank, once the file is there
/// other.write_at(2, &[3_i32, 4].map(i32::to_ne_bytes).concat())?;
/// first.write_at(0, &[1_i32, 2].map(i32::to_ne_bytes).concat())?;
/// assert_eq!(npy::open(&path)?.row_major()?.typed_data::<i32>(), [1, 2, 3, 4]);
/// # Ok::<(), bireme_engine::Error>(())
/// ```
#[derive(Debug)]
pub struct NpyWriter {
    file: File,
    path: PathBuf,
    dtype: FileType,
    shape: Vec<usize>,
    /// Where the elements start.
    start: u64,
    elements: usize,
}

impl NpyWriter {
    /// Creates a file of this shape in its full length.
    ///
    /// # Errors
    /// The file exists or cannot be created; the array is too large for the disk's format, or has too many axes.
    pub fn create(path: &Path, dtype: FileType, shape: &[usize]) -> Result<Self> {
        let attempted = || format!("creating {}", path.display());
        let parts = bytes_of(dtype.size(), shape).and_then(|bytes| Ok((bytes, header::format(dtype, shape)?)));
        // Whoever asks for such an array made a mistake; no file is damaged.
        let (bytes, header) = parts.map_err(|error| Error::user(error.message()).context(attempted()))?;
        let file = create_new(path)?;
        let start = header.len() as u64;
        let filled = file.set_len(start + bytes as u64).and_then(|()| file.write_all_at(&header, 0));
        filled.map_err(|error| Error::from(error).context(attempted()))?;
        let shape = shape.to_vec();
        Ok(Self { file, path: path.to_path_buf(), dtype, shape, start, elements: bytes / dtype.size() })
    }

    /// Opens a file that [`NpyWriter::create`] made, to write a part of it.
    ///
    /// # Errors
    /// There is no such file; it is not such a file, or has another length than its header says.
    pub fn open_existing(path: &Path) -> Result<Self> {
        let attempted = || format!("opening {} to write a part of it", path.display());
        let io = |error: std::io::Error| Error::from(error).context(attempted());
        let file = File::options().read(true).write(true).open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut bytes = vec![0; HEADER.min(usize::try_from(length).unwrap_or(HEADER))];
        file.read_exact_at(&mut bytes, 0).map_err(io)?;

        let header = header::parse(&bytes).map_err(|error| error.context(attempted()))?;
        let dtype = header.stored.file_type();
        if header.stored != Stored::native(dtype) || header.fortran_order {
            let order = if header.fortran_order { "column by column" } else { "row by row" };
            let message = format!("it holds {} {order}; only files that Bireme created are written to", header.stored);
            return Err(Error::user(message).context(attempted()));
        }
        let promised = bytes_of(dtype.size(), &header.shape).map_err(|error| error.context(attempted()))?;
        let start = header.start as u64;
        if length != start + promised as u64 {
            let message = format!("it has {length} bytes, and its header promises {}", start + promised as u64);
            return Err(Error::corrupt(message).context(attempted()));
        }
        let elements = promised / dtype.size();
        Ok(Self { file, path: path.to_path_buf(), dtype, shape: header.shape, start, elements })
    }

    /// What the elements are.
    pub fn dtype(&self) -> FileType {
        self.dtype
    }

    /// How long the axes are.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Writes elements, in this machine's order of bytes, from this place on. Elements are counted row by row. Several
    /// writers may write at the same time, each its own elements.
    ///
    /// # Errors
    /// There are no such elements; the bytes are not whole elements, or no truth values; the disk is full.
    pub fn write_at(&self, first_element: usize, bytes: &[u8]) -> Result<()> {
        let size = self.dtype.size();
        let count = bytes.len() / size;
        let attempted =
            || format!("writing {} bytes at element {first_element} of {}", bytes.len(), self.path.display());
        if !bytes.len().is_multiple_of(size) {
            let message = format!("an element of {} has {size} bytes", self.dtype);
            return Err(Error::user(message).context(attempted()));
        }
        if first_element.checked_add(count).is_none_or(|end| end > self.elements) {
            let message = format!("it has {} elements, shape {}", self.elements, shown_shape(&self.shape));
            return Err(Error::user(message).context(attempted()));
        }
        if self.dtype == FileType::Bool {
            check_bools(bytes, first_element).map_err(|error| Error::user(error.message()).context(attempted()))?;
        }
        let place = self.start + (first_element * size) as u64;
        self.file.write_all_at(bytes, place).map_err(|error| Error::from(error).context(attempted()))
    }
}
