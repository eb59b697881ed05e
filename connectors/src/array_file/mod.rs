//! Arrays that lie in files, in the formats of NumPy, Zarr, HDF5 and the Matrix Market.
//!
//! ```text
//!  a.npy   header │ elements ……………………………………………………        mapped: a range of rows is a slice of the mapping
//!  b.npz   zip:  x.npy (stored) │ y.npy (deflated) │ directory   x is mapped, y is unpacked into memory
//!  c.mtx   lines of text                                         parsed into coordinates, or a dense matrix
//!  d.zarr  a folder: metadata, a file a chunk                    chunks that meet a box are unpacked, side by side
//!  e.h5    datasets by name, in chunks or in one piece           a box is read by the library
//! ```
//!
//! - [`npy`]: one array a file; also written, by several ranks at once.
//! - [`npz`]: several arrays with names in a zip archive.
//! - [`matrix_market`]: sparse and dense matrices as text.
//! - `zarr`: one array a folder, cut into chunks; also written, by several ranks at once; with the feature `zarr`.
//! - `hdf5`: datasets of an HDF5 file, with the feature `hdf5`, which needs the library.
//! - `mapped`: a file in memory; `header`: what an NPY file says of itself; `elements`: bytes to numbers.
//!
//! What a file holds becomes one of five types:
//!
//! ```text
//!  f4 f8 i4 i8 b1   as they are             i1 i2 u1 u2   i32
//!  f2               f32                     u4            i64
//! ```
//!
//! Every one of these keeps its values exactly. Other dtypes are refused by name.
//!
//! This module knows neither tensors nor tables: it hands out buffers.

#[cfg(all(test, any(feature = "hdf5", feature = "zarr")))]
mod boxes;
mod elements;
#[cfg(feature = "hdf5")]
pub mod hdf5;
mod header;
mod mapped;
pub mod matrix_market;
pub mod npy;
pub mod npz;
#[cfg(feature = "zarr")]
pub mod zarr;

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::buffer::Buffer;
use bireme_engine::{Error, Result};

use self::elements::{Stored, check_bools};
use self::header::Header;
use self::mapped::Mapped;

/// Messages show so many bytes of a text that stands in a file.
const SHOWN: usize = 80;

/// What the elements of an array are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    /// 32-bit floats.
    F32,
    /// 64-bit floats.
    F64,
    /// 32-bit integers with a sign.
    I32,
    /// 64-bit integers with a sign.
    I64,
    /// Truth values, a byte each: 0 or 1.
    Bool,
}

impl FileType {
    /// How many bytes an element has.
    pub fn size(self) -> usize {
        match self {
            FileType::Bool => 1,
            FileType::F32 | FileType::I32 => 4,
            FileType::F64 | FileType::I64 => 8,
        }
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileType::F32 => "f32",
            FileType::F64 => "f64",
            FileType::I32 => "i32",
            FileType::I64 => "i64",
            FileType::Bool => "bool",
        })
    }
}

/// An array that lies in a file.
///
/// Its elements are read when they are asked for. Where the file holds them as they are wanted (the type is one of the
/// five, the bytes are in this machine's order, the rows lie one after the other, the address is aligned), what is
/// handed out is the mapping itself. [`ArrayFile::without_copy`] tells.
///
/// A mapped file must not be cut short while its elements are in use; see [`npy::open`].
///
/// ```
/// use bireme_connectors::array_file::FileType;
/// use bireme_connectors::array_file::npy::{self, NpyWriter};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a.npy");
/// let bytes: Vec<u8> = [1.5_f64, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|value| value.to_ne_bytes()).collect();
/// NpyWriter::create(&path, FileType::F64, &[3, 2])?.write_at(0, &bytes)?;
///
/// let array = npy::open(&path)?;
/// assert_eq!((array.dtype(), array.shape()), (FileType::F64, &[3, 2][..]));
/// assert!(array.without_copy());
/// assert_eq!(array.rows(1..3)?.typed_data::<f64>(), [3.0, 4.0, 5.0, 6.0]);
/// # Ok::<(), bireme_engine::Error>(())
/// ```
#[derive(Clone)]
pub struct ArrayFile {
    /// Its name in messages.
    shown: Arc<str>,
    stored: Stored,
    shape: Vec<usize>,
    fortran_order: bool,
    /// The elements as they are stored, all of them and nothing else.
    data: Buffer,
    /// The file that is mapped, if `data` lies in a mapping.
    file: Option<Arc<Mapped>>,
    checksum: Option<Checksum>,
}

/// A checksum that was not compared yet.
#[derive(Clone)]
struct Checksum {
    expected: u32,
    /// What it is taken of.
    bytes: Buffer,
}

impl ArrayFile {
    /// The array whose NPY file these bytes are.
    fn parse(shown: Arc<str>, bytes: &Buffer, file: Option<Arc<Mapped>>) -> Result<Self> {
        let parsed = header::parse(bytes).and_then(|header| {
            let data = elements_of(bytes, &header)?;
            Ok((header, data))
        });
        let (header, data) = parsed.map_err(|error| error.context(format!("reading {shown}")))?;
        let Header { stored, fortran_order, shape, start: _ } = header;
        Ok(Self { shown, stored, shape, fortran_order, data, file, checksum: None })
    }

    /// What its elements are once they are read.
    pub fn dtype(&self) -> FileType {
        self.stored.file_type()
    }

    /// How long its axes are. None for an array of one element without axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many elements it has.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the first axis is the one whose elements lie side by side in the file.
    pub fn fortran_order(&self) -> bool {
        self.fortran_order
    }

    /// Whether reading copies nothing. Otherwise, what is read takes [`FileType::size`] bytes an element.
    pub fn without_copy(&self) -> bool {
        self.rows_lie_in_order() && self.lies_as_wanted(&self.data)
    }

    /// All elements, row by row: the last axis is the one whose elements lie side by side.
    ///
    /// # Errors
    /// The file was changed after it was opened; its checksum differs (members of NPZ files have one); a truth value
    /// is neither 0 nor 1; memory ran out.
    pub fn row_major(&self) -> Result<Buffer> {
        let rows = 0..self.shape.first().copied().unwrap_or(1);
        self.read(rows, true).map_err(|error| self.reading(error))
    }

    /// The elements whose index along the first axis lies in a range, row by row.
    ///
    /// A part of a stored member of an NPZ file is handed out without its checksum being compared, because that takes
    /// reading all of it.
    ///
    /// # Errors
    /// There are no such rows; and those of [`ArrayFile::row_major`].
    pub fn rows(&self, rows: Range<usize>) -> Result<Buffer> {
        let Some(&all) = self.shape.first() else {
            let message = format!("{} has no axes, so it has no rows: read it as a whole", self.shown);
            return Err(Error::user(message));
        };
        if rows.start > rows.end || rows.end > all {
            let message = format!("rows {}..{} of {}, which has {all}", rows.start, rows.end, self.shown);
            return Err(Error::user(message));
        }
        let whole = rows == (0..all);
        self.read(rows, whole).map_err(|error| self.reading(error))
    }

    fn read(&self, rows: Range<usize>, whole: bool) -> Result<Buffer> {
        if let Some(file) = &self.file {
            file.check_unchanged()?;
        }
        if whole && let Some(checksum) = &self.checksum {
            checksum.check()?;
        }
        let row: usize = self.shape.iter().skip(1).product();
        let first = rows.start * row;
        let elements = if self.rows_lie_in_order() {
            let size = self.stored.size();
            let data = self.data.slice_with_length(first * size, rows.len() * row * size);
            if self.lies_as_wanted(&data) { data } else { self.stored.converted(&data)? }
        } else {
            self.stored.transposed(&self.data, &self.shape, rows)?
        };
        if self.dtype() == FileType::Bool {
            check_bools(&elements, first)?;
        }
        Ok(elements)
    }

    /// Arrays of one axis are both: in C's order and in Fortran's.
    fn rows_lie_in_order(&self) -> bool {
        !self.fortran_order || self.shape.len() < 2
    }

    fn lies_as_wanted(&self, data: &Buffer) -> bool {
        self.stored.is_as_wanted() && (data.is_empty() || data.as_ptr().align_offset(self.stored.size()) == 0)
    }

    fn reading(&self, error: Error) -> Error {
        error.context(format!("reading {}", self.shown))
    }
}

impl fmt::Debug for ArrayFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArrayFile({}, {}, {:?})", self.shown, self.dtype(), self.shape)
    }
}

impl Checksum {
    fn check(&self) -> Result<()> {
        check_crc(&self.bytes, self.expected)
    }
}

/// Compares the checksum of a zip archive's member.
fn check_crc(bytes: &[u8], expected: u32) -> Result<()> {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    if crc.sum() == expected {
        return Ok(());
    }
    Err(Error::corrupt(format!("its checksum is {:08x}, and the archive names {expected:08x}", crc.sum())))
}

/// The part of an NPY file that holds the elements, which must be just what the header promises.
fn elements_of(bytes: &Buffer, header: &Header) -> Result<Buffer> {
    let promised = bytes_of(header.stored.size(), &header.shape)?;
    let found = bytes.len() - header.start;
    if found < promised {
        return Err(Error::corrupt(format!(
            "its header promises {promised} bytes of elements, {} of shape {}, but {found} follow it: it was cut short",
            header.stored,
            shown_shape(&header.shape),
        )));
    }
    if found > promised {
        return Err(Error::corrupt(format!(
            "{} bytes follow after its last element, at byte {}: it is damaged, or holds several arrays one after the \
             other; save each in a file of its own, or all in an .npz",
            found - promised,
            header.start + promised,
        )));
    }
    Ok(bytes.slice_with_length(header.start, promised))
}

/// How many bytes an array has. Like NumPy, it refuses a shape whose axes other than the empty ones are too long.
fn bytes_of(size: usize, shape: &[usize]) -> Result<usize> {
    let filled = shape.iter().filter(|&&length| length > 0);
    let bytes = filled.copied().try_fold(size, usize::checked_mul).filter(|&bytes| isize::try_from(bytes).is_ok());
    match bytes {
        Some(_) if shape.contains(&0) => Ok(0),
        Some(bytes) => Ok(bytes),
        None => Err(Error::corrupt(format!("an array of shape {} is larger than any memory", shown_shape(shape)))),
    }
}

#[cfg(any(feature = "hdf5", feature = "zarr"))]
/// How many elements a box of indices has, which must be one of an array of this shape.
fn elements_of_box(ranges: &[Range<usize>], shape: &[usize], shown: &str) -> Result<usize> {
    let inside = |(range, &length): (&Range<usize>, &usize)| range.start <= range.end && range.end <= length;
    if ranges.len() != shape.len() || !ranges.iter().zip(shape).all(inside) {
        let message = format!("{} of {shown}, whose shape is {}", shown_box(ranges), shown_shape(shape));
        return Err(Error::user(message));
    }
    Ok(ranges.iter().map(ExactSizeIterator::len).product())
}

#[cfg(any(feature = "hdf5", feature = "zarr"))]
/// A box of indices as Python writes it.
fn shown_box(ranges: &[Range<usize>]) -> String {
    let ranges = ranges.iter().map(|range| format!("{}:{}", range.start, range.end)).collect::<Vec<_>>();
    format!("[{}]", ranges.join(", "))
}

/// A shape as Python writes it.
fn shown_shape(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        many => format!("({})", many.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// Text of a file in a message: not all of a long one, and nothing that a terminal would obey.
fn shown_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    let mut shown: String = text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect();
    if bytes.len() > SHOWN {
        shown.push('…');
    }
    shown
}

/// A vector that can hold so many values.
fn room<T>(values: usize) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(values).map_err(|_| {
        let bytes = values.saturating_mul(size_of::<T>());
        Error::resources(format!("no memory for {bytes} bytes of an array; read fewer rows at a time"))
    })?;
    Ok(vector)
}

/// Creates a file. One that exists is not written over: others may have mapped it, and would end with a signal once
/// it is cut short.
fn create_new(path: &Path) -> Result<File> {
    let file = File::options().read(true).write(true).create_new(true).open(path);
    file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::user(format!("{} exists; choose another name or remove it first", path.display()))
        }
        _ => Error::from(error).context(format!("creating {}", path.display())),
    })
}
