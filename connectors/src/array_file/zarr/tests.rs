#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test may end the test")]
#![allow(clippy::single_range_in_vec_init, clippy::reversed_empty_ranges, reason = "boxes are slices of ranges")]
use bireme_engine::ErrorKind;
use tempfile::TempDir;

use super::*;
use crate::array_file::{boxes, npy};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/array_file/fixtures/zarr")
}

/// An array of the fixtures that may be changed, and the folder that it vanishes with.
fn copied(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    copy(&fixtures().join(name), &path);
    (folder, path)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.as_ref().unwrap().file_name()));
        if from.is_dir() { copy(&from, &to) } else { assert!(fs::copy(from, to).is_ok()) }
    }
}

/// All files in a folder, at any depth.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

fn whole(shape: &[usize]) -> Vec<Range<usize>> {
    shape.iter().map(|&length| 0..length).collect()
}

/// Every box of the array is what NumPy saw in it.
#[track_caller]
fn check_read(name: &str, dtype: FileType, shape: &[usize], chunk_shape: &[usize]) {
    let array = open(&fixtures().join(format!("{name}.zarr"))).unwrap();
    assert_eq!((array.dtype(), array.shape(), array.chunk_shape()), (dtype, shape, chunk_shape), "{name}");
    let expected = npy::open(&fixtures().join(format!("{name}.npy"))).unwrap();
    assert_eq!((expected.dtype(), expected.shape()), (dtype, shape), "{name}");
    let expected = expected.row_major().unwrap();
    for ranges in boxes::all(shape) {
        let read = array.read(&ranges).unwrap();
        assert_eq!(read.as_slice(), boxes::cut(&expected, dtype.size(), shape, &ranges), "{name} {ranges:?}");
        assert_eq!(read.as_ptr().align_offset(dtype.size()), 0, "{name} {ranges:?}");
    }
}

#[test]
fn every_box_is_what_numpy_sees() {
    check_read("v3_zstd", FileType::F64, &[5, 7], &[2, 3]);
    check_read("v3_plain", FileType::I32, &[5, 7], &[2, 3]);
    check_read("v3_gzip_crc", FileType::I64, &[7], &[3]);
    check_read("v3_turned", FileType::F32, &[2, 3, 5], &[2, 2, 2]);
    check_read("v3_holes", FileType::I64, &[6, 5], &[2, 2]);
    check_read("v3_holes_nan", FileType::F64, &[4], &[2]);
    check_read("v3_sharded", FileType::I32, &[9, 8], &[4, 8]);
    check_read("v3_bool", FileType::Bool, &[3, 5], &[2, 2]);
    check_read("v3_dots", FileType::F32, &[3, 4], &[2, 2]);
    check_read("v3_scalar", FileType::F64, &[], &[]);
    check_read("v3_empty", FileType::I64, &[0, 3], &[0, 3]);
    check_read("v3_u2", FileType::I32, &[9], &[4]);
    check_read("v3_f2", FileType::F32, &[9], &[4]);
    check_read("v3_i1", FileType::I32, &[9], &[4]);
    check_read("v3_u4", FileType::I64, &[9], &[4]);
    check_read("v2_gzip_columns", FileType::I32, &[5, 7], &[2, 3]);
    check_read("v2_zlib_big_endian", FileType::I64, &[5], &[2]);
    check_read("v2_zstd_slashes", FileType::F64, &[4, 6], &[3, 4]);
    check_read("v2_holes", FileType::F32, &[6, 4], &[2, 3]);
    check_read("v2_no_fill", FileType::I32, &[4], &[2]);
    check_read("v2_bool", FileType::Bool, &[7], &[4]);
}

#[track_caller]
fn check_refused(path: &Path, kind: ErrorKind, part: &str) {
    let error = open(path).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().starts_with(&format!("opening {}: ", path.display())), "{error}");
    assert!(error.message().contains(part), "{error} lacks {part:?}");
}

#[test]
fn refusals_name_the_reason() {
    let fixture = |name: &str| fixtures().join(name);
    check_refused(&fixture("complex.zarr"), ErrorKind::Unsupported, "its dtype complex128 is not one");
    check_refused(&fixture("u8.zarr"), ErrorKind::Unsupported, "its dtype uint64 is not one");
    check_refused(&fixture("text.zarr"), ErrorKind::Unsupported, "fixed_length_utf32");
    check_refused(&fixture("v2_blosc.zarr"), ErrorKind::Unsupported, "blosc");
    check_refused(&fixture("v3_blosc.zarr"), ErrorKind::Unsupported, "write it with gzip or zstd");
    check_refused(&fixture("v2_group.zarr"), ErrorKind::User, "it is a group, and has pressure, temperature: name");
    check_refused(&fixture("v3_group.zarr"), ErrorKind::User, "it is a group, and has pressure, temperature: name");
    check_refused(&fixture("v3_zstd.npy"), ErrorKind::User, "it is no folder");
    check_refused(&fixture("nothing.zarr"), ErrorKind::User, "No such file");
    let empty = tempfile::tempdir().unwrap();
    check_refused(empty.path(), ErrorKind::User, "no Zarr array is there");
    let (_folder, path) = copied("v3_zstd.zarr");
    fs::write(path.join("zarr.json"), "{\"zarr_format\": 3").unwrap();
    check_refused(&path, ErrorKind::Corrupt, "zarr.json");
    let huge = fs::read_to_string(fixture("v3_zstd.zarr/zarr.json")).unwrap().replacen("5,", "5000000000000000000,", 1);
    fs::write(path.join("zarr.json"), huge).unwrap();
    check_refused(&path, ErrorKind::Corrupt, "larger than any memory");
}

#[test]
fn boxes_that_are_not_there() {
    let array = open(&fixtures().join("v3_zstd.zarr")).unwrap();
    for ranges in
        [&[0..6, 0..7][..], &[0..5], &[0..5, 0..7, 0..1], &[0..5, 8..8], &[3..2, 0..7], &[0..5, 0..usize::MAX]]
    {
        let error = array.read(ranges).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User);
        assert!(error.message().contains("v3_zstd.zarr, whose shape is (5, 7)"), "{error}");
    }
}

/// A chunk with another byte, or one that is cut short, is named; boxes that do not meet it are read.
#[track_caller]
fn check_damage(name: &str, chunk: &str, hit: &[Range<usize>], missed: &[Range<usize>], damage: impl Fn(&mut Vec<u8>)) {
    let (_folder, path) = copied(name);
    let file = path.join(chunk);
    let mut bytes = fs::read(&file).unwrap();
    damage(&mut bytes);
    fs::write(&file, bytes).unwrap();
    let array = open(&path).unwrap();
    array.read(missed).unwrap();
    for ranges in [hit.to_vec(), whole(array.shape())] {
        let error = array.read(&ranges).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let start = format!("reading {} of {}: chunk {}: ", shown_box(&ranges), path.display(), file.display());
        assert!(error.message().starts_with(&start), "{error} does not start with {start}");
    }
}

#[test]
fn damaged_chunks_are_named() {
    let last = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
    let shorter = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1);
    let none = |bytes: &mut Vec<u8>| bytes.clear();
    check_damage("v3_zstd.zarr", "c/1/1", &[2..3, 4..6], &[0..5, 0..3], shorter);
    check_damage("v3_zstd.zarr", "c/0/2", &[0..2, 0..7], &[2..5, 0..7], none);
    check_damage("v3_plain.zarr", "c/1/1", &[3..4, 5..6], &[0..5, 0..3], shorter);
    check_damage("v3_gzip_crc.zarr", "c/1", &[3..6], &[0..3], last); // all of the chunk
    check_damage("v3_turned.zarr", "c/0/1/1", &[0..2, 2..3, 2..3], &[0..2, 0..2, 0..5], none);
    check_damage("v2_gzip_columns.zarr", "0.1", &[0..1, 3..4], &[2..5, 0..7], shorter);
    check_damage("v3_sharded.zarr", "c/0/0", &[0..1, 4..5], &[4..9, 0..8], last); // the checksum of a shard's index
}

#[test]
fn what_cannot_be_read_is_not_called_damaged() {
    let (_folder, path) = copied("v3_plain.zarr");
    fs::remove_file(path.join("c/0/0")).unwrap();
    std::os::unix::fs::symlink("0", path.join("c/0/0")).unwrap(); // in a circle
    let error = open(&path).unwrap().read(&[0..1, 0..1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Resources, "{error}");
}

/// Damage anywhere is an error or another value, and never the end of the process.
#[test]
fn any_damage_is_survived() {
    let (mut errors, mut values) = (0, 0);
    for name in ["v3_zstd.zarr", "v3_gzip_crc.zarr", "v3_sharded.zarr", "v3_turned.zarr", "v2_zlib_big_endian.zarr"] {
        let (_folder, path) = copied(name);
        for file in files(&path) {
            let bytes = fs::read(&file).unwrap();
            let json = bytes.first() == Some(&b'{');
            let places = (0..bytes.len()).step_by(if json { 7 } else { 1 });
            for place in places {
                let mut flipped = bytes.clone();
                flipped[place] = match bytes[place] {
                    b'0'..=b'8' if json => b'9',
                    byte if json => byte ^ 0x0f,
                    byte => !byte,
                };
                for damaged in [&flipped[..], &bytes[..place]] {
                    fs::write(&file, damaged).unwrap();
                    // A fill value or a length may have become another one.
                    let small = |array: &ZarrArray| array.shape().iter().product::<usize>() < 1 << 20;
                    match open(&path).and_then(|array| {
                        if small(&array) { array.read(&whole(array.shape())) } else { array.read(&whole(&[])) }
                    }) {
                        Ok(_) => values += 1,
                        Err(_) => errors += 1,
                    }
                }
            }
            fs::write(&file, bytes).unwrap();
        }
    }
    assert!(errors > 1000 && values > 100, "{errors} errors, {values} values");
}

#[test]
fn truth_values_are_0_and_1() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(fixtures().join("v3_plain.zarr/zarr.json")).unwrap();
    let text = text.replace("int32", "bool").replace("\"fill_value\": 0", "\"fill_value\": false");
    fs::write(folder.path().join("zarr.json"), text).unwrap();
    fs::create_dir_all(folder.path().join("c/0")).unwrap();
    fs::write(folder.path().join("c/0/0"), [1, 0, 1, 0, 2, 0]).unwrap();
    let array = open(folder.path()).unwrap();
    assert_eq!(array.read(&[0..1, 0..4]).unwrap().as_slice(), [1, 0, 1, 0]);
    let error = array.read(&[1..2, 0..4]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("element 1, counted row by row from 0, is 2"), "{error}");
}

/// Writes an array in parts, from the last to the first, and reads it back.
#[track_caller]
fn check_written(dtype: FileType, shape: &[usize], rows: usize, chunk_shape: &[usize]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.zarr");
    let row = shape.iter().skip(1).product::<usize>() * dtype.size();
    let count = shape.first().copied().unwrap_or(1);
    let bytes: Vec<u8> =
        (0..count * row).map(|place| (place * 7 % 251) as u8 & if dtype == FileType::Bool { 1 } else { 255 }).collect();
    let writer = ZarrWriter::create(&path, dtype, shape, rows).unwrap();
    assert_eq!(writer.chunk_shape(), chunk_shape);
    for first in (0..count).step_by(rows).rev() {
        let part = &bytes[first * row..count.min(first + rows) * row];
        ZarrWriter::open_existing(&path).unwrap().write_rows(first, part).unwrap();
    }
    let array = open(&path).unwrap();
    assert_eq!((array.dtype(), array.shape()), (dtype, shape));
    assert!(array.read(&whole(shape)).unwrap().as_slice() == bytes, "{shape:?}");
}

#[test]
fn what_is_written_is_read_back() {
    check_written(FileType::F64, &[5, 7], 2, &[2, 7]);
    check_written(FileType::F32, &[5, 3, 4], 5, &[5, 3, 4]);
    check_written(FileType::I32, &[7], 3, &[3]);
    check_written(FileType::I64, &[], 1, &[]);
    check_written(FileType::Bool, &[6, 5], 4, &[4, 5]);
    check_written(FileType::I64, &[0, 3], 1, &[1, 3]);
    check_written(FileType::I64, &[4, 0], 2, &[2, 1]);
    // Chunks of at most 16 MiB: some rows, or a part of one.
    check_written(FileType::F64, &[6, 1 << 20], 6, &[2, 1 << 20]);
    check_written(FileType::F32, &[2, 3, 3 << 20], 2, &[1, 1, 3 << 20]);
}

/// Other programs read it by this text.
#[test]
fn metadata_that_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.zarr");
    ZarrWriter::create(&path, FileType::F64, &[5, 7], 2).unwrap();
    let text = fs::read_to_string(path.join("zarr.json")).unwrap().split_whitespace().collect::<String>();
    let expected = [
        r#"{"zarr_format":3,"node_type":"array","shape":[5,7],"data_type":"float64","#,
        r#""chunk_grid":{"name":"regular","configuration":{"chunk_shape":[2,7]}},"#,
        r#""chunk_key_encoding":{"name":"default","configuration":{"separator":"/"}},"fill_value":0.0,"#,
        r#""codecs":[{"name":"bytes","configuration":{"endian":"little"}},"#,
        r#"{"name":"zstd","configuration":{"level":3,"checksum":true}}]}"#,
    ];
    assert_eq!(text, expected.concat());
}

#[test]
fn writers_refuse_what_is_no_whole_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.zarr");
    let writer = ZarrWriter::create(&path, FileType::I32, &[5, 2], 2).unwrap();
    for (first, bytes, part) in [
        (1, 8, "rows 1..2 are no whole chunks, which have 2 rows each"),
        (0, 8, "rows 0..1 are no whole chunks"),
        (4, 16, "16 bytes are no rows of an array of shape (5, 2)"),
        (0, 12, "12 bytes are no rows"),
        (usize::MAX, 8, "8 bytes are no rows"),
    ] {
        let error = writer.write_rows(first, &vec![0; bytes]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User);
        assert!(error.message().contains(part), "{error} lacks {part:?}");
    }
    writer.write_rows(4, &[1; 8]).unwrap();
    assert_eq!(open(&path).unwrap().read(&[3..5, 0..2]).unwrap().typed_data::<i32>(), [0, 0, 0x0101_0101, 0x0101_0101]);

    let again = ZarrWriter::create(&path, FileType::I32, &[5, 2], 2).unwrap_err();
    assert!(again.kind() == ErrorKind::User && again.message().contains("it exists"), "{again}");
    for (shape, rows) in [(&[usize::MAX, 2][..], 2), (&[5, 2], 0)] {
        let error = ZarrWriter::create(&folder.path().join("b.zarr"), FileType::I32, shape, rows).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User, "{error}");
        assert!(!folder.path().join("b.zarr").exists());
    }
    let flags = ZarrWriter::create(&folder.path().join("c.zarr"), FileType::Bool, &[2], 2).unwrap();
    let error = flags.write_rows(0, &[1, 2]).unwrap_err();
    assert!(error.kind() == ErrorKind::User && error.message().contains("element 1"), "{error}");
}
