//! The inputs, as NumPy files that every engine reads.
//!
//! ```text
//!   a.npy   u + uᵀ + N·I     symmetric, its diagonal far larger than the rest of a row's cells      jacobi (as r, d), cg, pcg
//!   r.npy   a without its diagonal                                                                  jacobi
//!   d.npy   the diagonal                                                                            jacobi
//!   m.npy   the full matrix with 1/d on its diagonal                                                pcg
//!   b.npy   u                                                                                       jacobi, cg, pcg
//!   s.npy, k.npy, t.npy   prices and strikes in 1..101, years in 0.1..2.1                           black-scholes
//! ```
//!
//! `u` are numbers in 0..1: the i-th of a file is the i-th number of SplitMix64 under a seed of that file, so that no order
//! of writing changes them.

use std::fs::File;
use std::io::{BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use bireme::prelude::{Error, Result};

use super::{Program, Size};

/// Bytes that are read or written at once.
const BLOCK: usize = 1 << 20;

/// The file of an input.
pub(super) fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.npy"))
}

/// Writes what these programs read.
///
/// # Errors
/// A file cannot be written.
pub(super) fn write(folder: &Path, programs: &[Program], size: Size) -> Result<()> {
    let mut names = programs.iter().flat_map(|program| program.inputs()).copied().collect::<Vec<_>>();
    names.sort_unstable();
    names.dedup();
    names.into_iter().try_for_each(|name| write_one(&path(folder, name), name, size))
}

fn write_one(path: &Path, name: &str, Size { n, options }: Size) -> Result<()> {
    let order = n as f64;
    let cell = move |row: usize, column: usize| unit(0, row * n + column) + unit(0, column * n + row);
    let diagonal = move |row| cell(row, row) + order;
    match name {
        "a" => matrix(path, n, |row, column| if row == column { diagonal(row) } else { cell(row, column) }),
        "r" => matrix(path, n, |row, column| if row == column { 0.0 } else { cell(row, column) }),
        "m" => matrix(path, n, |row, column| if row == column { 1.0 / diagonal(row) } else { 0.0 }),
        "d" => vector(path, n, diagonal),
        "b" => vector(path, n, |at| unit(1, at)),
        "s" => vector(path, options, |at| unit(2, at) * 100.0 + 1.0),
        "k" => vector(path, options, |at| unit(3, at) * 100.0 + 1.0),
        "t" => vector(path, options, |at| unit(4, at) * 2.0 + 0.1),
        other => Err(Error::internal(format!("there is no input `{other}`"))),
    }
}

fn matrix(path: &Path, n: usize, cell: impl Fn(usize, usize) -> f64) -> Result<()> {
    let cells = (0..n).flat_map(|row| (0..n).map(move |column| (row, column)));
    npy(path, &format!("{n}, {n}"), cells.map(|(row, column)| cell(row, column)))
}

fn vector(path: &Path, length: usize, value: impl Fn(usize) -> f64) -> Result<()> {
    npy(path, &format!("{length},"), (0..length).map(value))
}

/// NumPy's format, version 1.0: a magic word, the header's length, the header as a Python literal, and the cells.
fn npy(path: &Path, shape: &str, values: impl Iterator<Item = f64>) -> Result<()> {
    let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}");
    let padding = 64 - (10 + header.len() + 1) % 64;
    header.extend(std::iter::repeat_n(' ', padding).chain(['\n']));
    let mut file = BufWriter::with_capacity(BLOCK, File::create(path)?);
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(header.len() as u16).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for value in values {
        file.write_all(&value.to_le_bytes())?;
    }
    Ok(file.flush()?)
}

/// Reads a file that [`write`] wrote into `cells`, whose memory the caller has chosen.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(path: &Path, mut cells: Vec<f64>) -> Result<Vec<f64>> {
    let failed = |error: std::io::Error| Error::from(error).context(format!("reading {}", path.display()));
    let mut file = File::open(path).map_err(failed)?;
    let mut start = [0; 10];
    file.read_exact(&mut start).map_err(failed)?;
    let header = u64::from(u16::from_le_bytes([start[8], start[9]]));
    std::io::copy(&mut (&mut file).take(header), &mut std::io::sink()).map_err(failed)?;
    let mut block = Vec::with_capacity(BLOCK);
    loop {
        block.clear();
        if (&mut file).take(BLOCK as u64).read_to_end(&mut block).map_err(failed)? == 0 {
            return Ok(cells);
        }
        cells.extend(block.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)));
    }
}

/// How many cells a file that [`write`] wrote has, at most.
///
/// # Errors
/// It is not there.
pub(super) fn most_cells(path: &Path) -> Result<usize> {
    let bytes = std::fs::metadata(path).map_err(|error| Error::from(error).context(format!("{}", path.display())))?;
    Ok((bytes.len() / 8) as usize)
}

/// In 0..1: number `at` of SplitMix64 under this seed.
pub(crate) fn unit(seed: u64, at: usize) -> f64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut bits = (seed << 56).wrapping_add(GOLDEN.wrapping_mul(at as u64 + 1));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &Program::ALL, Size { n: 3, options: 5 }).unwrap();
        let read = |name| read(&path(folder.path(), name), Vec::new()).unwrap();
        let (a, r, m, d) = (read("a"), read("r"), read("m"), read("d"));
        for row in 0..3 {
            for column in 0..3 {
                let at = row * 3 + column;
                assert_eq!(a[at].to_bits(), a[column * 3 + row].to_bits(), "symmetric");
                let (rest, inverse) = if row == column { (0.0, 1.0 / d[row]) } else { (a[at], 0.0) };
                assert_eq!((r[at].to_bits(), m[at].to_bits()), (f64::to_bits(rest), f64::to_bits(inverse)));
            }
            assert_eq!(a[row * 4].to_bits(), d[row].to_bits());
        }
        assert_eq!((read("b").len(), read("s").len()), (3, 5));
        assert!(read("t").iter().all(|years| (0.1..2.1).contains(years)));
        let bytes = std::fs::read(path(folder.path(), "b")).unwrap();
        assert_eq!((bytes.len() - 24) % 64, 0, "NumPy wants cells at multiples of 64 bytes");
    }
}
