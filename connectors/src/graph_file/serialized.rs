//! Serialized graphs of the GAP benchmark: `.sg`, and `.wsg` with weights.
//!
//! Numbers are little-endian. A graph whose edges go both ways has one block of rows; one whose edges go one way has a second
//! one, of the edges by target.
//!
//! ```text
//!  bytes   1           8         8            8 · (vertices + 1)   4 · edges    (.sg: targets)
//!                                                                  8 · edges    (.wsg: a target and its weight, side by side)
//!        ┌───────────┬─────────┬────────────┬────────────────────┬─────────────────────────────┐┌─────────┬───────────┐
//!        │ one way?  │ edges   │ vertices   │ offsets of rows    │ targets, row by row         ││ offsets │ sources   │
//!        └───────────┴─────────┴────────────┴────────────────────┴─────────────────────────────┘└─────────┴───────────┘
//! ```
//!
//! Everything is checked but what takes more than one look at an edge: that edges which are said to go both ways do, and that the
//! second block turns the edges of the first one around, is the writer's word.
//!
//! Source: `writer.h` and `reader.h` of <https://github.com/sbeamer/gapbs>.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use bireme_engine::error::{Error, Result};

use super::{create_new, open, room};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests stop at the first surprise")]
mod tests;

/// How many bytes come before the first block.
const HEADER: u128 = 17;

/// So many bytes are read or written at a time: they lie in cache while they are turned into numbers.
const BLOCK: usize = 1 << 18;

/// What a serialized graph holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerializedGraph {
    /// How many vertices there are; they are numbered from 0.
    pub vertices: usize,
    /// Edges by source.
    pub out: Rows,
    /// Edges by target. None if each edge goes both ways: then `out` holds both.
    pub incoming: Option<Rows>,
}

/// The neighbours of all vertices: those of `v` are `targets[offsets[v]..offsets[v + 1]]`, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Where each row begins, and where the last one ends.
    pub offsets: Vec<usize>,
    /// The other ends of the edges.
    pub targets: Vec<u32>,
    /// The weight of each edge, if there are weights.
    pub weights: Option<Vec<i32>>,
}

/// Reads a serialized graph; it has weights if the name ends in `.wsg`. Rows that do not ascend are sorted.
///
/// ```
/// use bireme_connectors::graph_file::serialized::{self, Rows, SerializedGraph};
///
/// let out = Rows { offsets: vec![0, 2, 3, 4], targets: vec![1, 2, 0, 0], weights: None };
/// let graph = SerializedGraph { vertices: 3, out, incoming: None };
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a.sg");
/// serialized::write(&path, &graph)?;
/// assert_eq!(serialized::read(&path)?, graph);
/// # Ok::<(), bireme_engine::Error>(())
/// ```
///
/// # Errors
/// There is no such file; its name ends in neither; it is damaged: too short, too long, or with numbers that cannot be; memory
/// ran out.
pub fn read(path: &Path) -> Result<SerializedGraph> {
    let parsed = weighted(path).and_then(|weighted| {
        let (mut file, bytes) = open(path)?;
        parse(&mut file, bytes, weighted)
    });
    parsed.map_err(|error| error.context(format!("reading {}", path.display())))
}

/// Writes a serialized graph, which must have weights if and only if the name ends in `.wsg`.
///
/// # Errors
/// The file exists or cannot be created; the graph is not what [`SerializedGraph`] says; the disk is full.
pub fn write(path: &Path, graph: &SerializedGraph) -> Result<()> {
    let written = weighted(path).and_then(|weighted| {
        check(graph, weighted)?;
        write_blocks(&mut create_new(path)?, graph)
    });
    written.map_err(|error| error.context(format!("writing {}", path.display())))
}

fn weighted(path: &Path) -> Result<bool> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("sg") => Ok(false),
        Some("wsg") => Ok(true),
        _ => Err(Error::user("the name of a serialized graph ends in .sg, or in .wsg if it has weights")),
    }
}

fn parse(file: &mut File, bytes: u64, weighted: bool) -> Result<SerializedGraph> {
    let header = Header::read(file, bytes, weighted)?;
    let out = Rows::read(file, &header).map_err(|error| error.context("edges by source"))?;
    let mut incoming = None;
    if header.directed {
        incoming = Some(Rows::read(file, &header).map_err(|error| error.context("edges by target"))?);
    }
    Ok(SerializedGraph { vertices: header.vertices, out, incoming })
}

/// What comes first, after a comparison with the length of the file.
struct Header {
    directed: bool,
    weighted: bool,
    edges: usize,
    vertices: usize,
}

impl Header {
    fn read(file: &mut File, bytes: u64, weighted: bool) -> Result<Self> {
        if u128::from(bytes) < HEADER {
            return Err(Error::corrupt(format!("it has {bytes} bytes, fewer than a header: it was cut short")));
        }
        let mut directed = [0; 1];
        file.read_exact(&mut directed)?;
        let directed = match directed {
            [0] => false,
            [1] => true,
            [byte] => {
                let message = format!("its first byte is {byte}, not 0 or 1: it is no serialized graph");
                return Err(Error::corrupt(message));
            }
        };
        let edges = size(file, "edges", i64::MAX)?;
        // Vertices are 32-bit numbers with a sign.
        let vertices = size(file, "vertices", 1 << 31)?;
        let header = Self { directed, weighted, edges, vertices };
        header.check_length(bytes)?;
        Ok(header)
    }

    fn check_length(&self, found: u64) -> Result<()> {
        let promised = |weighted: bool| {
            let edge = if weighted { 8 } else { 4 };
            let block = 8 * (self.vertices as u128 + 1) + edge * self.edges as u128;
            HEADER + if self.directed { 2 * block } else { block }
        };
        let (found, expected) = (u128::from(found), promised(self.weighted));
        if found == expected {
            return Ok(());
        }
        let why = if found == promised(!self.weighted) && self.weighted {
            "its edges have no weights: its name should end in .sg"
        } else if found == promised(!self.weighted) {
            "its edges have weights: its name should end in .wsg"
        } else if found < expected {
            "it was cut short"
        } else {
            "it is damaged"
        };
        let Self { edges, vertices, .. } = self;
        Err(Error::corrupt(format!(
            "its header promises {expected} bytes, with {vertices} vertices and {edges} edges, but it has {found}: {why}"
        )))
    }
}

fn size(file: &mut File, what: &str, most: i64) -> Result<usize> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes)?;
    let size = i64::from_le_bytes(bytes);
    if size > most || size < 0 {
        return Err(Error::corrupt(format!("its header says that there are {size} {what}")));
    }
    usize::try_from(size).map_err(|_| Error::resources(format!("{size} {what} are more than memory holds")))
}

impl Rows {
    fn read(file: &mut File, header: &Header) -> Result<Self> {
        let offsets = read_offsets(file, header)?;
        let mut targets: Vec<u32> = room(header.edges)?;
        let weights = if header.weighted {
            let mut weights = room(header.edges)?;
            words(file, header.edges, |edges: &[[u8; 8]]| {
                targets.extend(edges.iter().map(|&[a, b, c, d, ..]| u32::from_le_bytes([a, b, c, d])));
                weights.extend(edges.iter().map(|&[.., a, b, c, d]| i32::from_le_bytes([a, b, c, d])));
                check_targets(&targets, edges.len(), header.vertices)
            })?;
            Some(weights)
        } else {
            words(file, header.edges, |edges: &[[u8; 4]]| {
                targets.extend(edges.iter().map(|&edge| u32::from_le_bytes(edge)));
                check_targets(&targets, edges.len(), header.vertices)
            })?;
            None
        };
        let mut rows = Self { offsets, targets, weights };
        rows.sort();
        Ok(rows)
    }

    /// GAP writes rows that ascend; other programs may not.
    fn sort(&mut self) {
        for row in self.offsets.windows(2).map(|ends| ends[0]..ends[1]) {
            let targets = &mut self.targets[row.clone()];
            if targets.is_sorted() {
                continue;
            }
            let Some(weights) = &mut self.weights else {
                targets.sort_unstable();
                continue;
            };
            let weights = &mut weights[row];
            let mut edges = targets.iter().copied().zip(weights.iter().copied()).collect::<Vec<_>>();
            edges.sort_unstable();
            for ((edge, target), weight) in edges.into_iter().zip(targets).zip(weights) {
                (*target, *weight) = edge;
            }
        }
    }
}

fn read_offsets(file: &mut File, header: &Header) -> Result<Vec<usize>> {
    let mut offsets: Vec<usize> = room(header.vertices + 1)?;
    words(file, header.vertices + 1, |words: &[[u8; 8]]| {
        // One that has no place in memory is one too large.
        offsets.extend(words.iter().map(|&word| usize::try_from(i64::from_le_bytes(word)).unwrap_or(usize::MAX)));
        Ok(())
    })?;
    check_offsets(&offsets, header.vertices, header.edges).map_err(Error::corrupt)?;
    Ok(offsets)
}

fn check_offsets(offsets: &[usize], vertices: usize, edges: usize) -> Result<(), String> {
    if offsets.len() != vertices + 1 {
        return Err(format!("{} offsets of {vertices} vertices, which have one more", offsets.len()));
    }
    if let Some(vertex) = offsets.windows(2).position(|ends| ends[0] > ends[1]) {
        let (start, end) = (offsets[vertex], offsets[vertex + 1]);
        return Err(format!(
            "the row of vertex {vertex} is said to begin at edge {start} and to end before edge {end}"
        ));
    }
    match offsets {
        [0, .., last] | [last @ 0] if *last == edges => Ok(()),
        [first, .., last] => {
            Err(format!("the rows are said to be edges {first} to {last}, and there are {edges} edges"))
        }
        _ => Err(format!("there are no vertices, but {edges} edges")),
    }
}

/// Checks the last targets.
fn check_targets(targets: &[u32], last: usize, vertices: usize) -> Result<()> {
    let first = targets.len() - last;
    let largest = targets[first..].iter().fold(0, |largest, &target| target.max(largest));
    if (largest as usize) < vertices || last == 0 {
        return Ok(());
    }
    let wrong = targets[first..].iter().position(|&target| target as usize >= vertices).unwrap_or_default();
    let target = targets[first + wrong].cast_signed();
    Err(Error::corrupt(format!("edge {} is with vertex {target}, and there are {vertices} vertices", first + wrong)))
}

/// Reads so many words of `N` bytes, and calls with some at a time.
fn words<const N: usize>(file: &mut File, count: usize, mut each: impl FnMut(&[[u8; N]]) -> Result<()>) -> Result<()> {
    let mut block = vec![0; BLOCK.min(count.saturating_mul(N))];
    let mut left = count;
    while left > 0 {
        let now = left.min(BLOCK / N);
        let bytes = &mut block[..now * N];
        file.read_exact(bytes)?;
        each(bytes.as_chunks().0)?;
        left -= now;
    }
    Ok(())
}

fn check(graph: &SerializedGraph, weighted: bool) -> Result<()> {
    let edges = graph.out.targets.len();
    if graph.vertices > 1 << 31 {
        return Err(Error::unsupported(format!("{} vertices; the format holds up to 2^31", graph.vertices)));
    }
    for rows in std::iter::once(&graph.out).chain(&graph.incoming) {
        if rows.weights.is_some() != weighted {
            return Err(Error::user("a graph has weights if and only if the name of its file ends in .wsg"));
        }
        if rows.weights.as_ref().is_some_and(|weights| weights.len() != rows.targets.len())
            || rows.targets.len() != edges
        {
            return Err(Error::user("each edge has a target, a source and a weight, or none has one"));
        }
        check_offsets(&rows.offsets, graph.vertices, edges).map_err(Error::user)?;
        check_targets(&rows.targets, edges, graph.vertices).map_err(|error| Error::user(error.message()))?;
    }
    Ok(())
}

fn write_blocks(file: &mut File, graph: &SerializedGraph) -> Result<()> {
    file.write_all(&[u8::from(graph.incoming.is_some())])?;
    file.write_all(&(graph.out.targets.len() as i64).to_le_bytes())?;
    file.write_all(&(graph.vertices as i64).to_le_bytes())?;
    let mut bytes = Vec::with_capacity(BLOCK);
    for rows in std::iter::once(&graph.out).chain(&graph.incoming) {
        write_words(file, &mut bytes, rows.offsets.iter().map(|&offset| (offset as i64).to_le_bytes()))?;
        let targets = rows.targets.iter().map(|target| target.to_le_bytes());
        let Some(weights) = &rows.weights else {
            write_words(file, &mut bytes, targets)?;
            continue;
        };
        let weights = weights.iter().map(|weight| weight.to_le_bytes());
        let edges = targets.zip(weights).map(|([a, b, c, d], [e, f, g, h])| [a, b, c, d, e, f, g, h]);
        write_words(file, &mut bytes, edges)?;
    }
    Ok(())
}

fn write_words<const N: usize>(
    file: &mut File,
    bytes: &mut Vec<u8>,
    mut words: impl ExactSizeIterator<Item = [u8; N]>,
) -> Result<()> {
    while words.len() > 0 {
        bytes.clear();
        words.by_ref().take(BLOCK / N).for_each(|word| bytes.extend_from_slice(&word));
        file.write_all(bytes)?;
    }
    Ok(())
}
