//! Files made byte by byte, sound and damaged ones.

use std::fs;
use std::path::PathBuf;

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// 0 → 1 (weight 7), 0 → 2 (weight -1), 2 → 0 (weight 3).
fn triangle(weighted: bool, directed: bool) -> SerializedGraph {
    let out = Rows { offsets: vec![0, 2, 2, 3], targets: vec![1, 2, 0], weights: weighted.then(|| vec![7, -1, 3]) };
    let incoming =
        Rows { offsets: vec![0, 1, 2, 3], targets: vec![2, 0, 0], weights: weighted.then(|| vec![3, 7, -1]) };
    SerializedGraph { vertices: 3, out, incoming: directed.then_some(incoming) }
}

/// A file of words of 4 and of 8 bytes.
struct Bytes(Vec<u8>);

impl Bytes {
    fn header(directed: u8, edges: i64, vertices: i64) -> Self {
        Self(vec![directed]).long(&[edges, vertices])
    }

    fn long(mut self, words: &[i64]) -> Self {
        words.iter().for_each(|word| self.0.extend(word.to_le_bytes()));
        self
    }

    fn short(mut self, words: &[i32]) -> Self {
        words.iter().for_each(|word| self.0.extend(word.to_le_bytes()));
        self
    }
}

fn written(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn check_error(name: &str, bytes: &[u8], expected: &str) {
    let folder = folder();
    let path = written(&folder, name, bytes);
    let error = read(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("corrupt input: reading {}: {expected}", path.display()));
}

#[test]
fn what_was_written_is_read_back() {
    let folder = folder();
    let loops = SerializedGraph {
        vertices: 1,
        out: Rows { offsets: vec![0, 2], targets: vec![0, 0], weights: None },
        incoming: None,
    };
    let empty =
        SerializedGraph { vertices: 0, out: Rows { offsets: vec![0], targets: vec![], weights: None }, incoming: None };
    for (number, graph) in
        [triangle(false, false), triangle(false, true), triangle(true, false), triangle(true, true), loops, empty]
            .into_iter()
            .enumerate()
    {
        let suffix = if graph.out.weights.is_some() { "wsg" } else { "sg" };
        let path = folder.path().join(format!("{number}.{suffix}"));
        write(&path, &graph).unwrap();
        assert_eq!(read(&path).unwrap(), graph);
    }
}

#[test]
fn bytes_are_those_of_gap() {
    let folder = folder();
    let path = folder.path().join("a.wsg");
    write(&path, &triangle(true, true)).unwrap();
    let expected = Bytes::header(1, 3, 3)
        .long(&[0, 2, 2, 3])
        .short(&[1, 7, 2, -1, 0, 3])
        .long(&[0, 1, 2, 3])
        .short(&[2, 3, 0, 7, 0, -1]);
    assert_eq!(fs::read(&path).unwrap(), expected.0);
}

#[test]
fn more_than_a_block() {
    let edges = BLOCK + 17;
    let out = Rows {
        offsets: vec![0, edges / 2, edges],
        targets: (0..edges).map(|edge| u32::from(edge % (edges / 2) > edges / 4)).collect(),
        weights: Some((0..edges as i32).collect()),
    };
    let mut graph = SerializedGraph { vertices: 2, out, incoming: None };
    let folder = folder();
    graph.out.sort();
    write(&folder.path().join("a.wsg"), &graph).unwrap();
    assert_eq!(read(&folder.path().join("a.wsg")).unwrap(), graph);
    graph.out.weights = None;
    write(&folder.path().join("a.sg"), &graph).unwrap();
    assert_eq!(read(&folder.path().join("a.sg")).unwrap(), graph);
}

#[test]
fn rows_are_sorted() {
    let folder = folder();
    let bytes = Bytes::header(0, 4, 3).long(&[0, 3, 3, 4]);
    let path = written(&folder, "a.sg", &bytes.short(&[2, 0, 1, 2]).0);
    assert_eq!(read(&path).unwrap().out.targets, [0, 1, 2, 2]);
    let bytes = Bytes::header(0, 4, 3).long(&[0, 3, 3, 4]);
    let path = written(&folder, "a.wsg", &bytes.short(&[2, 20, 0, 9, 0, 5, 2, 21]).0);
    let out = read(&path).unwrap().out;
    assert_eq!((out.targets, out.weights), (vec![0, 0, 2, 2], Some(vec![5, 9, 20, 21])));
}

#[test]
fn every_cut_is_found() {
    for (directed, weighted) in [(false, false), (true, false), (true, true)] {
        let name = if weighted { "a.wsg" } else { "a.sg" };
        let source = folder();
        write(&source.path().join(name), &triangle(weighted, directed)).unwrap();
        let whole = fs::read(source.path().join(name)).unwrap();
        let folder = folder();
        for length in 0..whole.len() {
            let error = read(&written(&folder, name, &whole[..length])).unwrap_err();
            assert_eq!(error.kind(), bireme_engine::error::ErrorKind::Corrupt, "{length}: {error}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(read(&written(&folder, name, &longer)).unwrap_err().message().ends_with("it is damaged"));
    }
}

#[test]
fn nonsense_is_found() {
    check_error("a.sg", b"hello", "it has 5 bytes, fewer than a header: it was cut short");
    let text = b"# a text file, not a graph";
    check_error("a.sg", text, "its first byte is 35, not 0 or 1: it is no serialized graph");
    let header = |edges, vertices| Bytes::header(0, edges, vertices);
    check_error("a.sg", &header(-1, 3).0, "its header says that there are -1 edges");
    check_error("a.sg", &header(1, -3).0, "its header says that there are -3 vertices");
    check_error("a.sg", &header(1, (1 << 31) + 1).0, "its header says that there are 2147483649 vertices");
    check_error(
        "a.sg",
        &header(i64::MAX, 1 << 31).0,
        "its header promises 36893488164598972437 bytes, with 2147483648 vertices and 9223372036854775807 edges, but it has \
         17: it was cut short",
    );
    let rows = |offsets: &[i64]| header(2, 2).long(offsets).short(&[0, 1]).0;
    check_error(
        "a.sg",
        &rows(&[0, 3, 2]),
        "edges by source: the row of vertex 1 is said to begin at edge 3 and to end before edge 2",
    );
    check_error(
        "a.sg",
        &rows(&[1, 1, 2]),
        "edges by source: the rows are said to be edges 1 to 2, and there are 2 edges",
    );
    check_error(
        "a.sg",
        &rows(&[0, 1, 3]),
        "edges by source: the rows are said to be edges 0 to 3, and there are 2 edges",
    );
    check_error(
        "a.sg",
        &rows(&[0, -1, 2]),
        "edges by source: the row of vertex 1 is said to begin at edge 18446744073709551615 and to end before edge 2",
    );
    let targets = |targets| header(2, 2).long(&[0, 1, 2]).short(targets).0;
    check_error("a.sg", &targets(&[0, 2]), "edges by source: edge 1 is with vertex 2, and there are 2 vertices");
    check_error("a.sg", &targets(&[-1, 0]), "edges by source: edge 0 is with vertex -1, and there are 2 vertices");
    let no_vertices = header(2, 0).long(&[2]).short(&[0, 0]);
    check_error("a.sg", &no_vertices.0, "edges by source: there are no vertices, but 2 edges");
    let incoming = Bytes::header(1, 1, 2).long(&[0, 1, 1]).short(&[1]).long(&[0, 0, 1]).short(&[5]);
    check_error("a.sg", &incoming.0, "edges by target: edge 0 is with vertex 5, and there are 2 vertices");
}

#[test]
fn the_wrong_name_is_told() {
    let bytes = Bytes::header(0, 1, 1).long(&[0, 1]).short(&[0]).0;
    let promised = "its header promises 41 bytes, with 1 vertices and 1 edges, but it has 37";
    check_error("a.wsg", &bytes, &format!("{promised}: its edges have no weights: its name should end in .sg"));
    let bytes = Bytes::header(0, 1, 1).long(&[0, 1]).short(&[0, 0]).0;
    let promised = "its header promises 37 bytes, with 1 vertices and 1 edges, but it has 41";
    check_error("a.sg", &bytes, &format!("{promised}: its edges have weights: its name should end in .wsg"));
    let error = read(Path::new("a.bin")).unwrap_err();
    assert!(error.message().ends_with("the name of a serialized graph ends in .sg, or in .wsg if it has weights"));
}

#[test]
fn what_cannot_be_written_is_refused() {
    let folder = folder();
    let refused = |name: &str, graph: &SerializedGraph, expected: &str| {
        let path = folder.path().join(name);
        let there = path.exists();
        let error = write(&path, graph).unwrap_err();
        assert!(error.message().ends_with(expected), "{error}");
        assert_eq!(path.exists(), there);
    };
    let graph = triangle(false, true);
    refused("a.wsg", &graph, "a graph has weights if and only if the name of its file ends in .wsg");
    let mut bad = graph.clone();
    bad.out.targets[1] = 3;
    refused("a.sg", &bad, "edge 1 is with vertex 3, and there are 3 vertices");
    let mut bad = graph.clone();
    bad.vertices = 4;
    refused("a.sg", &bad, "4 offsets of 4 vertices, which have one more");
    let mut bad = graph.clone();
    bad.incoming.as_mut().unwrap().targets.push(0);
    refused("a.sg", &bad, "each edge has a target, a source and a weight, or none has one");
    write(&folder.path().join("a.sg"), &graph).unwrap();
    refused("a.sg", &graph, "it exists; choose another name or remove it first");
    assert!(read(folder.path()).is_err());
}
