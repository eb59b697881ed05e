//! Datasets of HDF5 files, read by the HDF5 library.
//!
//! ```text
//!  e.h5   /            ┌───┬───┬─┐
//!         ├ run/u      │   │▒▒▒│▒│   a box of indices is a hyperslab of the file: the library reads the chunks that it meets,
//!         └ mask       ├───┼───┼─┤   undoes their filters, turns numbers into those of this machine, and puts them into
//!                      │   │▒▒▒│▒│   memory row by row.
//!                      └───┴───┴─┘
//! ```
//!
//! Source: the HDF5 file format specification 3.0 and the reference of H5S and H5D (<https://support.hdfgroup.org/documentation>).
//! Filters are those of the library that is installed: gzip always, szip mostly, others where their plugins are.
//!
//! The library runs one call at a time in a process, so ranks that are threads wait for each other here, and chunks are
//! unpacked by one thread. Ranks that are processes do not. While a file is open, the library holds a shared lock on it; on
//! file systems without locks, set `HDF5_USE_FILE_LOCKING=FALSE`.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;

use arrow::buffer::Buffer;
use arrow::datatypes::ArrowNativeType;
use bireme_engine::{Error, Result};
use hdf5_metno::types::{FloatSize, H5Type, IntSize, TypeDescriptor};
use hdf5_metno::{Dataset, File, Hyperslab, MinorErrorCode, SliceOrIndex};
use ndarray::IxDyn;

use super::elements::check_bools;
use super::{FileType, bytes_of, elements_of_box, room, shown_box, shown_text};

#[cfg(test)]
mod tests;

/// Groups with more datasets than this are not listed in full.
const LISTED: usize = 20;

/// A dataset of an HDF5 file that is open for reading.
///
/// Integers and floats become the nearest of the five types that holds all their values: those of 8 and 16 bits, and
/// unsigned ones of 32 bits, are widened. What `h5py` writes for truth values is read as such.
///
/// ```no_run
/// use bireme_connectors::array_file::hdf5;
///
/// let dataset = hdf5::open("simulation.h5".as_ref(), "run/u")?;
/// let corner = dataset.read(&[0..10, 0..10])?;
/// # Ok::<(), bireme_engine::Error>(())
/// ```
pub struct Hdf5Dataset {
    dataset: Dataset,
    /// Its name in messages.
    shown: String,
    dtype: FileType,
    shape: Vec<usize>,
}

/// Opens a dataset by its name, with the names of the groups that it is in: `run/u`.
///
/// # Errors
/// There is no such file or dataset (the message names those that are there); it is no HDF5 file, or damaged; its type is not
/// read.
pub fn open(path: &Path, name: &str) -> Result<Hdf5Dataset> {
    let shown = format!("{name} of {}", path.display());
    let opened = opened(path, name).and_then(|dataset| {
        let dtype = dtype_of(&dataset)?;
        let shape = shape_of(&dataset)?;
        bytes_of(dtype.size(), &shape)?;
        Ok((dataset, dtype, shape))
    });
    let (dataset, dtype, shape) = opened.map_err(|error| error.context(format!("opening dataset {shown}")))?;
    Ok(Hdf5Dataset { dataset, shown, dtype, shape })
}

impl Hdf5Dataset {
    /// What its elements are once they are read.
    pub fn dtype(&self) -> FileType {
        self.dtype
    }

    /// How long its axes are. None for a dataset of one element without axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements of a box of indices, one range an axis, row by row.
    ///
    /// # Errors
    /// There are no such indices; the file is damaged; a filter is not installed; a truth value is neither 0 nor 1; memory ran
    /// out.
    pub fn read(&self, ranges: &[Range<usize>]) -> Result<Buffer> {
        let elements = elements_of_box(ranges, &self.shape, &self.shown)?;
        let read = match self.dtype {
            FileType::F32 => self.read_as::<f32>(ranges, elements),
            FileType::F64 => self.read_as::<f64>(ranges, elements),
            FileType::I32 => self.read_as::<i32>(ranges, elements),
            FileType::I64 => self.read_as::<i64>(ranges, elements),
            // Not as `bool`: a byte of the file may be neither 0 nor 1, and a `bool` must not.
            FileType::Bool => self.read_as::<u8>(ranges, elements).and_then(|read| {
                check_bools(&read, 0)?;
                Ok(read)
            }),
        };
        read.map_err(|error| error.context(format!("reading {} of {}", shown_box(ranges), self.shown)))
    }

    fn read_as<T: H5Type + ArrowNativeType>(&self, ranges: &[Range<usize>], elements: usize) -> Result<Buffer> {
        drop(room::<T>(elements)?); // asked for first, since the library's binding cannot fail
        if elements == 0 {
            return Ok(Buffer::from_vec(Vec::<T>::new()));
        }
        if ranges.is_empty() {
            return Ok(Buffer::from_vec(vec![
                self.dataset.read_scalar::<T>().map_err(|error| self.of_reading(&error))?,
            ]));
        }
        let axis = |range: &Range<usize>| SliceOrIndex::SliceCount {
            start: range.start,
            step: 1,
            count: range.len(),
            block: 1,
        };
        let slab = Hyperslab::from(ranges.iter().map(axis).collect::<Vec<_>>());
        let read = self.dataset.read_slice::<T, _, IxDyn>(slab).map_err(|error| self.of_reading(&error))?;
        Ok(Buffer::from_vec(read.into_raw_vec_and_offset().0))
    }

    /// The library says of a filter that it lacks what its search for plugins came across, so the filters are asked.
    fn of_reading(&self, error: &hdf5_metno::Error) -> Error {
        match self.dataset.filters().iter().find(|filter| !filter.is_available()) {
            Some(filter) => Error::unsupported(format!(
                "its chunks went through filter {}, which is not installed; HDF5_PLUGIN_PATH names the folder of plugins, or \
                 write the file with gzip",
                filter.id(),
            )),
            None => Error::corrupt(error.to_string()),
        }
    }
}

impl fmt::Debug for Hdf5Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hdf5Dataset({}, {}, {:?})", self.shown, self.dtype, self.shape)
    }
}

fn opened(path: &Path, name: &str) -> Result<Dataset> {
    // The library's own words for a missing file are long.
    if !fs::metadata(path)?.is_file() {
        return Err(Error::user("it is no file"));
    }
    fs::File::open(path)?;
    let file = File::open(path).map_err(|error| {
        if error.contains_minor(MinorErrorCode::NotHdf5) {
            Error::corrupt("it is no HDF5 file, or its head is damaged")
        } else {
            Error::corrupt(error.to_string())
        }
    })?;
    if name.contains('\0') {
        return Err(Error::user("the name of a dataset has no NUL in it"));
    }
    file.dataset(name).map_err(|error| match unknown(&file, name) {
        Some(unknown) => unknown,
        None => Error::corrupt(error.to_string()),
    })
}

/// The error for a name that is none of a dataset; `None` if there is one of that name.
fn unknown(file: &File, name: &str) -> Option<Error> {
    let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
    let folder = if folder.is_empty() { "/" } else { folder };
    let Ok(group) = file.group(folder) else {
        return Some(Error::user(format!("there is no group {}", shown_text(folder.as_bytes()))));
    };
    let listed = |group: &hdf5_metno::Group| {
        let all = group.datasets().unwrap_or_default();
        let names = all.iter().take(LISTED).map(|dataset| dataset.name().trim_start_matches('/').to_owned());
        let names = names.collect::<Vec<_>>().join(", ");
        match all.len() {
            0 => "no datasets".to_owned(),
            many if many > LISTED => format!("{names}, and {} more", many - LISTED),
            _ => names,
        }
    };
    if let Ok(inner) = file.group(name) {
        return Some(Error::user(format!("it is a group, and has {}", listed(&inner))));
    }
    (!group.link_exists(last))
        .then(|| Error::user(format!("there is none of that name; group {folder} has {}", listed(&group))))
}

fn dtype_of(dataset: &Dataset) -> Result<FileType> {
    let described = dataset.dtype().and_then(|dtype| dtype.to_descriptor());
    let described = described.map_err(|error| Error::unsupported(format!("its type: {error}")))?;
    match described {
        TypeDescriptor::Float(FloatSize::U4) => Ok(FileType::F32),
        TypeDescriptor::Float(FloatSize::U8) => Ok(FileType::F64),
        TypeDescriptor::Integer(IntSize::U8) | TypeDescriptor::Unsigned(IntSize::U4) => Ok(FileType::I64),
        TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(IntSize::U1 | IntSize::U2) => Ok(FileType::I32),
        TypeDescriptor::Boolean => Ok(FileType::Bool),
        other => Err(Error::unsupported(format!(
            "its type {other} is not one that Bireme reads; convert it to 32-bit or 64-bit numbers with a sign, or to truth values",
        ))),
    }
}

fn shape_of(dataset: &Dataset) -> Result<Vec<usize>> {
    let space = dataset.space().map_err(|error| Error::corrupt(error.to_string()))?;
    if space.is_null() {
        return Err(Error::unsupported("it has a type and no elements at all"));
    }
    Ok(space.shape())
}
