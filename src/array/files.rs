//! Arrays in files.

use std::path::{Path, PathBuf};

use arrow::buffer::Buffer;
#[cfg(feature = "hdf5")]
use bireme_connectors::array_file::hdf5::{self, Hdf5Dataset};
use bireme_connectors::array_file::matrix_market::{self, Matrix};
use bireme_connectors::array_file::npy::{self, NpyWriter};
use bireme_connectors::array_file::npz::NpzFile;
use bireme_connectors::array_file::{ArrayFile, FileType};
use bireme_engine::error::{Error, Result};
use bireme_operators::array::{DType, Region, Tile};

use super::action::by_rows;
use super::{Array, Element};
use crate::session::Session;

impl Session {
    /// An NPY file. It is mapped into memory: what a rank does not need of it is not read. Types that Bireme lacks come as the nearest
    /// that it has.
    ///
    /// # Errors
    /// There is no such file, it is no NPY file, or its elements are of another type than `T`; the message says which.
    pub fn read_npy<T: Element>(&self, path: impl AsRef<Path>) -> Result<Array<T>> {
        let path = path.as_ref();
        self.array_of_file(npy::open(path), &path.display().to_string())
    }

    /// A member of an NPZ file, by name.
    ///
    /// # Errors
    /// There is no such file or member, or as [`Session::read_npy`].
    pub fn read_npz<T: Element>(&self, path: impl AsRef<Path>, name: &str) -> Result<Array<T>> {
        let path = path.as_ref();
        let file = NpzFile::open(path).and_then(|file| file.array(name));
        self.array_of_file(file, &format!("{} ({name})", path.display()))
    }

    /// A dataset of an HDF5 file, by its name in it: `run/u`. Each rank reads its part. Types that Bireme lacks come as the nearest that
    /// it has. It needs the feature `hdf5`.
    ///
    /// # Errors
    /// There is no such file or dataset, or as [`Session::read_npy`].
    #[cfg(feature = "hdf5")]
    pub fn read_hdf5<T: Element>(&self, path: impl AsRef<Path>, dataset: &str) -> Result<Array<T>> {
        let path = path.as_ref();
        self.array_of_file(hdf5::open(path, dataset), &format!("{} ({dataset})", path.display()))
    }

    /// A matrix in a Matrix Market file, dense: entries that the file does not have are 0, and those that it has twice add up.
    ///
    /// # Errors
    /// There is no such file, it is no Matrix Market file of real numbers, or the dense matrix does not fit into memory.
    pub fn read_matrix_market(&self, path: impl AsRef<Path>) -> Result<Array<f64>> {
        match matrix_market::read(path.as_ref())? {
            Matrix::Dense(dense) => self.array(dense.values, [dense.rows, dense.columns]),
            Matrix::Coordinate(sparse) => {
                let shape = [sparse.rows, sparse.columns];
                let mut values = vec![0.0; bireme_planner::array::elements(&shape)?];
                for ((row, column), value) in sparse.row.iter().zip(&sparse.column).zip(&sparse.values) {
                    values[*row as usize * sparse.columns + *column as usize] += value;
                }
                self.array(values, shape)
            }
        }
    }

    pub(super) fn array_of_file<T: Element>(&self, file: Result<impl InFile>, name: &str) -> Result<Array<T>> {
        // A rank that cannot read it tells the others, and all must see the same array.
        let seen = file.as_ref().map(|file| (file.dtype().to_string(), file.shape().to_vec()));
        let all = self.on_all_ranks("open an array file", &seen.map_err(Clone::clone))?;
        let all = all.into_iter().collect::<Result<Vec<(String, Vec<usize>)>>>()?;
        if let Some(other) = all.iter().position(|one| *one != all[0]) {
            return Err(Error::user(format!(
                "{name} is not the same everywhere: rank 0 sees {:?}, rank {other} {:?}",
                all[0], all[other]
            )));
        }
        let file = file?;
        let dtype = of_file(file.dtype());
        if dtype != T::DTYPE {
            let wanted = T::DTYPE;
            return Err(Error::user(format!("{name} holds {dtype}, not {wanted}: read it as {dtype} and use astype")));
        }
        let shape = file.shape().to_vec();
        bireme_planner::array::elements(&shape)?;
        let array = Array::of_parts(self, shape, |region: &Region| file.part(region));
        // Damage may concern the part of one rank only. The others hear of it before they wait for that rank.
        let read = array.as_ref().map(|_| ()).map_err(Clone::clone);
        let all = self.on_all_ranks("read an array file", &read)?;
        all.into_iter().collect::<Result<Vec<()>>>()?;
        array
    }
}

/// An array in a file of any format.
pub(super) trait InFile {
    fn dtype(&self) -> FileType;

    fn shape(&self) -> &[usize];

    /// The elements of a region that has all indices along every axis but the first.
    fn part(&self, region: &Region) -> Result<Buffer>;
}

impl InFile for ArrayFile {
    fn dtype(&self) -> FileType {
        self.dtype()
    }

    fn shape(&self) -> &[usize] {
        self.shape()
    }

    fn part(&self, region: &Region) -> Result<Buffer> {
        match region.ranges() {
            [] => self.row_major(),
            [rows, ..] => self.rows(rows.clone()),
        }
    }
}

#[cfg(feature = "hdf5")]
impl InFile for Hdf5Dataset {
    fn dtype(&self) -> FileType {
        self.dtype()
    }

    fn shape(&self) -> &[usize] {
        self.shape()
    }

    fn part(&self, region: &Region) -> Result<Buffer> {
        self.read(region.ranges())
    }
}

pub(super) fn of_file(dtype: FileType) -> DType {
    match dtype {
        FileType::Bool => DType::Bool,
        FileType::I32 => DType::I32,
        FileType::I64 => DType::I64,
        FileType::F32 => DType::F32,
        FileType::F64 => DType::F64,
    }
}

pub(super) fn to_file(dtype: DType) -> FileType {
    match dtype {
        DType::Bool => FileType::Bool,
        DType::I32 => FileType::I32,
        DType::I64 => FileType::I64,
        DType::F32 => FileType::F32,
        DType::F64 => FileType::F64,
    }
}

impl<T: Element> Array<T> {
    /// Computes the array and writes it as an NPY file; each rank writes its part. The file appears when it is whole. Ranks on several
    /// hosts need a file system that they share.
    ///
    /// # Errors
    /// The file exists (unless the session overwrites), or cannot be written; and as [`Array::compute`].
    pub fn save_npy(&self, path: impl AsRef<Path>) -> Result<()> {
        self.compute()?;
        let create = |hidden: &Path| NpyWriter::create(hidden, to_file(T::DTYPE), self.shape()).map(drop);
        self.save(path.as_ref(), "an NPY file", create, |hidden, tiles| {
            let writer = NpyWriter::open_existing(hidden)?;
            let behind = self.shape().iter().skip(1).product::<usize>();
            self.for_parts(tiles, |first_row, bytes| writer.write_at(first_row * behind, bytes))
        })
    }

    /// Writes under a hidden name, which rank 0 creates, and gives it its own when every rank has written its part.
    pub(super) fn save(
        &self,
        path: &Path,
        what: &str,
        create: impl FnOnce(&Path) -> Result<()>,
        write: impl FnOnce(&Path, Vec<Tile>) -> Result<()>,
    ) -> Result<()> {
        let session = self.session();
        let hidden = hidden_beside(path)?;
        let create = || {
            if path.exists() && !session.overwrites() {
                return Err(Error::user(format!("{} exists: remove it, or let the session overwrite", path.display())));
            }
            remove(&hidden)?;
            create(&hidden)
        };
        session.decide_on_root(&format!("create {what}"), create)?;
        // An action, which all ranks do or none.
        let tiles = by_rows(session, &self.node)?;
        let written = write(&hidden, tiles);
        let all = session.sum_over_ranks(&format!("write {what}"), (u64::from(written.is_err()), 0))?;
        let publish = || match (&written, all.0) {
            (Ok(()), 0) => {
                // A folder cannot be renamed over another one.
                if hidden.is_dir() {
                    remove(path)?;
                }
                Ok(std::fs::rename(&hidden, path)?)
            }
            _ => remove(&hidden),
        };
        session.decide_on_root(&format!("publish {what}"), publish)?;
        written?;
        match all.0 {
            0 => Ok(()),
            ranks => Err(Error::resources(format!("{ranks} other ranks could not write {}", path.display()))),
        }
    }

    /// The parts that ranks of this process have to write: the first row of each, and its bytes.
    pub(super) fn for_parts(&self, tiles: Vec<Tile>, mut write: impl FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
        let session = self.session();
        for (rank, tile) in session.local_ranks().iter().zip(tiles) {
            // What every rank has, the first one writes.
            if !session.places().cuts(self.shape()) && rank.number > 0 {
                continue;
            }
            let first_row = tile.indices.ranges().first().map_or(0, |rows| rows.start);
            write(first_row, &tile.data.as_slice()[..tile.bytes()])?;
        }
        Ok(())
    }
}

/// Removes a file, or a folder with all that is in it, if it is there.
fn remove(path: &Path) -> Result<()> {
    match (path.is_dir(), path.exists()) {
        (true, _) => Ok(std::fs::remove_dir_all(path)?),
        (false, true) => Ok(std::fs::remove_file(path)?),
        (false, false) => Ok(()),
    }
}

fn hidden_beside(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| Error::user(format!("{} is no file name", path.display())))?;
    Ok(path.with_file_name(format!(".{}.bireme", name.to_string_lossy())))
}
