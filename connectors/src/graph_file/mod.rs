//! Graphs that lie in files, in the formats of the GAP benchmark and of the Stanford collection (SNAP).
//!
//! ```text
//!  a.sg a.wsg   adjacency by rows, binary          read in one go, and written
//!  b.el b.wel   an edge a line, text               parsed by several threads
//! ```
//!
//! - [`serialized`]: adjacency, with or without weights.
//! - [`edge_list`]: edges, with or without weights.
//!
//! This module knows no graphs: it hands out vectors.

pub mod edge_list;
pub mod serialized;

use std::fs::File;
use std::io;
use std::path::Path;

use bireme_engine::error::{Error, Result};

/// Opens a file, and tells how many bytes it has.
fn open(path: &Path) -> Result<(File, u64)> {
    let file = File::open(path)?;
    let here = file.metadata()?;
    if !here.is_file() {
        return Err(Error::user("it is a folder, a pipe or a device; graphs are read from files: copy it to one"));
    }
    Ok((file, here.len()))
}

/// Creates a file; one that exists is not written over.
fn create_new(path: &Path) -> Result<File> {
    File::create_new(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::user("it exists; choose another name or remove it first"),
        _ => Error::from(error),
    })
}

/// A vector that can hold so many values.
fn room<T>(values: usize) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(values).map_err(|_| {
        let bytes = values.saturating_mul(size_of::<T>());
        Error::resources(format!("no memory for {bytes} bytes of a graph; use a machine with more"))
    })?;
    Ok(vector)
}
