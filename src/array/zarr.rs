//! Arrays in Zarr folders.

use std::path::Path;

use arrow::buffer::Buffer;
use bireme_connectors::array_file::FileType;
use bireme_connectors::array_file::zarr::{self, ZarrArray, ZarrWriter};
use bireme_engine::error::{Error, Result};
use bireme_operators::array::Region;
use bireme_planner::array::Places;

use super::files::{InFile, to_file};
use super::{Array, Element};
use crate::session::Session;

impl Session {
    /// A Zarr array, of version 2 or 3, in the folder of this name: each rank reads the chunks that its part meets. Types that Bireme lacks
    /// come as the nearest that it has. Ranks on several hosts need a file system that they share.
    ///
    /// # Errors
    /// There is no Zarr array in that folder, a chunk is damaged, or its elements are of another type than `T`; the message says which.
    pub fn read_zarr<T: Element>(&self, path: impl AsRef<Path>) -> Result<Array<T>> {
        let path = path.as_ref();
        self.array_of_file(zarr::open(path), &path.display().to_string())
    }
}

impl InFile for ZarrArray {
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

impl<T: Element> Array<T> {
    /// Computes the array and writes it as a Zarr array of version 3, in a folder of this name: chunks of whole rows, at most 16 MiB each,
    /// packed with Zstandard. Each rank writes the chunks of its rows; where these do not divide well over ranks, chunks are smaller. The
    /// folder appears when it is whole. Ranks on several hosts need a file system that they share.
    ///
    /// # Errors
    /// Something of that name exists (unless the session overwrites, and it is a Zarr array), or it cannot be written; and as
    /// [`Array::compute`].
    pub fn save_zarr(&self, path: impl AsRef<Path>) -> Result<()> {
        self.compute()?;
        let path = path.as_ref();
        let create = |hidden: &Path| {
            if path.exists() && !is_zarr(path) {
                let message =
                    format!("{} is no Zarr array: it is not overwritten with one, remove it first", path.display());
                return Err(Error::user(message));
            }
            let rows = rows_between_cuts(&self.session().places(), self.shape());
            ZarrWriter::create(hidden, to_file(T::DTYPE), self.shape(), rows).map(drop)
        };
        self.save(path, "a Zarr array", create, |hidden, tiles| {
            let writer = ZarrWriter::open_existing(hidden)?;
            self.for_parts(tiles, |first_row, bytes| writer.write_rows(first_row, bytes))
        })
    }
}

/// The rows of every rank begin at a multiple of so many; all rows, if one rank has them.
fn rows_between_cuts(places: &Places, shape: &[usize]) -> usize {
    let starts = (0..places.ranks).map(|rank| places.rows(shape, rank)).filter(|rows| !rows.is_empty());
    let common = starts.fold(0, |common, rows| greatest_common_divisor(common, rows.start));
    if common > 0 { common } else { shape.first().copied().unwrap_or(1).max(1) }
}

fn greatest_common_divisor(mut one: usize, mut other: usize) -> usize {
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one
}

fn is_zarr(path: &Path) -> bool {
    ["zarr.json", ".zarray"].iter().any(|name| path.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_begin_at_multiples_of_chunks() {
        for (ranks, shape) in [
            (1, &[9000][..]),
            (3, &[9000]),
            (3, &[10, 100_000]),
            (7, &[1000, 300]),
            (5, &[3, 9]),
            (3, &[]),
            (3, &[0, 2]),
        ] {
            let places = Places { ranks, whole_below: 1 };
            let rows = rows_between_cuts(&places, shape);
            assert!(rows > 0);
            let all = shape.first().copied().unwrap_or(1);
            for rank in 0..ranks {
                let start = places.rows(shape, rank).start;
                assert!(start.is_multiple_of(rows) || start == all, "{ranks} ranks, {shape:?}: {start} and {rows}");
            }
        }
        assert_eq!(rows_between_cuts(&Places { ranks: 3, whole_below: 1 << 30 }, &[9000]), 9000);
        assert_eq!(rows_between_cuts(&Places { ranks: 2, whole_below: 1 }, &[4096 * 4]), 4096 * 2);
    }
}
