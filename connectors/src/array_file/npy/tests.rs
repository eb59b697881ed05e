#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test may end the test")]
use std::fs;
use std::ops::Range;

use arrow::buffer::Buffer;
use arrow::datatypes::{ArrowNativeType, ToByteSlice as _};
use bireme_engine::ErrorKind;
use tempfile::TempDir;

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../fixtures/", $name))
    };
}

/// A file of these bytes, and the folder that it vanishes with.
fn file_of(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// A file in version 1.0 with this dictionary and these elements.
fn file(dictionary: &str, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(dictionary.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], dictionary.as_bytes(), data].concat()
}

fn bytes_of_values<T: ArrowNativeType>(values: &[T]) -> Vec<u8> {
    values.to_byte_slice().to_vec()
}

#[track_caller]
fn check_read<T: ArrowNativeType>(bytes: &[u8], dtype: FileType, shape: &[usize], without_copy: bool, expected: &[T]) {
    let (_folder, path) = file_of(bytes);
    let array = open(&path).unwrap();
    assert_eq!((array.dtype(), array.shape(), array.without_copy()), (dtype, shape, without_copy));
    assert_eq!(array.elements(), expected.len());
    assert_eq!(array.row_major().unwrap().typed_data::<T>(), expected);
    let Some(&all) = shape.first() else { return };
    let row = expected.len() / all.max(1);
    for start in 0..=all {
        for end in start..=all {
            let read = array.rows(start..end).unwrap();
            assert_eq!(read.typed_data::<T>(), &expected[start * row..end * row], "rows {start}..{end}");
        }
    }
}

#[track_caller]
fn check_refused(bytes: &[u8], kind: ErrorKind, part: &str) {
    let (_folder, path) = file_of(bytes);
    let error = open(&path).and_then(|array| array.row_major()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().starts_with(&format!("reading {}: ", path.display())), "{error}");
    assert!(error.message().contains(part), "{error} lacks {part:?}");
}

#[test]
fn files_that_numpy_wrote() {
    let quarters: Vec<f64> = (0..12).map(|value| f64::from(value) / 4.0).collect();
    let count: Vec<i32> = (0..24).collect();
    check_read(fixture!("f8_3x4.npy"), FileType::F64, &[3, 4], true, &quarters);
    check_read(fixture!("f8_3x4_fortran.npy"), FileType::F64, &[3, 4], false, &quarters);
    check_read(fixture!("i4_2x3x4_fortran.npy"), FileType::I32, &[2, 3, 4], false, &count);
    check_read(fixture!("i8_big_endian.npy"), FileType::I64, &[3], false, &[1_i64, -2, 1 << 62]);
    check_read(fixture!("f2.npy"), FileType::F32, &[3], false, &[1.5_f32, f32::NEG_INFINITY, 5.960_464_5e-8]);
    check_read(fixture!("u4_big_endian.npy"), FileType::I64, &[2], false, &[0_i64, (1 << 32) - 1]);
    check_read(fixture!("bool_2x2.npy"), FileType::Bool, &[2, 2], true, &[1_u8, 0, 0, 1]);
    check_read(fixture!("scalar.npy"), FileType::F32, &[], true, &[2.5_f32]);
    check_read::<i64>(fixture!("empty_0x3.npy"), FileType::I64, &[0, 3], true, &[]);
    check_read(fixture!("i4_version2.npy"), FileType::I32, &[2, 2], true, &[1, 2, 3, 4]);
    check_read(fixture!("i4_version3.npy"), FileType::I32, &[2, 2], true, &[1, 2, 3, 4]);
    check_refused(fixture!("complex.npy"), ErrorKind::Unsupported, "'<c16' is complex numbers");
    check_refused(fixture!("structured.npy"), ErrorKind::Unsupported, "[('key', '<i4'), ('value', '<f8')] has fields");
    check_refused(fixture!("text.npy"), ErrorKind::Unsupported, "'<U2' is texts");
    check_refused(fixture!("object.npy"), ErrorKind::Unsupported, "'|O' is Python objects");
}

#[test]
fn files_are_written_as_numpy_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, dtype, shape: &[usize], bytes: &[u8], expected: &[u8]| {
        let path = folder.path().join(name);
        NpyWriter::create(&path, dtype, shape).unwrap().write_at(0, bytes).unwrap();
        assert_eq!(fs::read(&path).unwrap(), expected, "{name}");
    };
    let quarters: Vec<f64> = (0..12).map(|value| f64::from(value) / 4.0).collect();
    check("a", FileType::F64, &[3, 4], &bytes_of_values(&quarters), fixture!("f8_3x4.npy"));
    check("b", FileType::Bool, &[2, 2], &[1, 0, 0, 1], fixture!("bool_2x2.npy"));
    check("c", FileType::F32, &[], &2.5_f32.to_ne_bytes(), fixture!("scalar.npy"));
    check("d", FileType::I64, &[0, 3], &[], fixture!("empty_0x3.npy"));
}

#[test]
fn every_cut_is_noticed() {
    for whole in [&fixture!("f8_3x4.npy")[..], fixture!("f8_3x4_fortran.npy"), fixture!("scalar.npy")] {
        for length in 0..whole.len() {
            check_refused(&whole[..length], ErrorKind::Corrupt, "cut short");
        }
    }
    let cut = &fixture!("f8_3x4.npy")[..128 + 90];
    check_refused(cut, ErrorKind::Corrupt, "promises 96 bytes of elements, <f8 of shape (3, 4), but 90 follow it");
}

#[test]
fn what_follows_the_elements_is_noticed() {
    let two = [&fixture!("f8_3x4.npy")[..], fixture!("scalar.npy")].concat();
    check_refused(&two, ErrorKind::Corrupt, "132 bytes follow after its last element, at byte 224");
}

#[test]
fn other_files_are_refused() {
    check_refused(fixture!("stored.npz"), ErrorKind::User, "read it as an .npz");
    check_refused(b"\x93NUMPX\x01\x00\x10\x00", ErrorKind::Corrupt, "it does not start with \\x93NUMPY");
    let folder = tempfile::tempdir().unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(error.kind() == ErrorKind::User && error.message().contains("is a folder"), "{error}");
    let error = open(&folder.path().join("none.npy")).unwrap_err();
    assert!(error.kind() == ErrorKind::User && error.message().contains("none.npy: No such file"), "{error}");
}

#[test]
fn shapes_that_overflow_are_refused() {
    for shape in [
        "(4294967296, 4294967296, 16)",
        "(9223372036854775808,)",
        "(0, 9223372036854775807, 4)",
        "(2305843009213693951, 4)",
    ] {
        let dictionary = format!("{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}}}");
        check_refused(&file(&dictionary, &[0; 64]), ErrorKind::Corrupt, "is larger than any memory");
    }
    let long = "{'descr': '|b1', 'fortran_order': False, 'shape': (9223372036854775807,)}";
    check_refused(&file(long, &[0; 64]), ErrorKind::Corrupt, "but 64 follow it");
    // No elements: read as NumPy reads it.
    let empty = "{'descr': '<i4', 'fortran_order': True, 'shape': (5, 0, 1000000)}";
    check_read::<i32>(&file(empty, &[]), FileType::I32, &[5, 0, 1_000_000], false, &[]);
}

#[test]
fn bad_truth_values_are_found_where_they_are_read() {
    let dictionary = "{'descr': '|b1', 'fortran_order': False, 'shape': (3, 2)}";
    check_refused(
        &file(dictionary, &[1, 0, 1, 7, 1, 1]),
        ErrorKind::Corrupt,
        "element 3, counted row by row from 0, is 7",
    );
    let (_folder, path) = file_of(&file(dictionary, &[1, 0, 1, 7, 1, 1]));
    let array = open(&path).unwrap();
    assert_eq!(array.rows(2..3).unwrap().as_slice(), [1, 1]);
    assert!(array.rows(1..3).unwrap_err().message().contains("element 3,"));
    // In Fortran's order, the same byte is element (0, 1).
    let fortran = file(&dictionary.replace("False", "True"), &[1, 0, 1, 7, 1, 1]);
    check_refused(&fortran, ErrorKind::Corrupt, "element 1,");
}

#[test]
fn elements_that_are_not_aligned_are_copied() {
    let dictionary = "{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}";
    for spaces in 0..4 {
        let bytes = file(&format!("{dictionary}{:spaces$}", ""), &bytes_of_values(&[5_i32, 6]));
        let aligned = (bytes.len() - 8).is_multiple_of(4);
        check_read(&bytes, FileType::I32, &[2], aligned, &[5_i32, 6]);
    }
}

#[test]
fn a_mapping_is_handed_out_without_a_copy() {
    let (_folder, path) = file_of(fixture!("f8_3x4.npy"));
    let array = open(&path).unwrap();
    let (whole, part) = (array.row_major().unwrap(), array.rows(1..2).unwrap());
    assert_eq!(whole.as_ptr() as usize + 32, part.as_ptr() as usize);
    drop(array); // the mapping lives as long as a buffer of it
    assert_eq!(part.typed_data::<f64>(), [1.0, 1.25, 1.5, 1.75]);
}

#[test]
fn rows_that_are_not_there() {
    let (_folder, path) = file_of(fixture!("f8_3x4.npy"));
    let array = open(&path).unwrap();
    for (rows, part) in
        [(2..4, "rows 2..4 of "), (4..4, "rows 4..4 of "), (Range { start: 2, end: 1 }, "rows 2..1 of ")]
    {
        let error = array.rows(rows).unwrap_err();
        assert!(error.kind() == ErrorKind::User && error.message().starts_with(part), "{error}");
    }
    let (_folder, path) = file_of(fixture!("scalar.npy"));
    assert!(open(&path).unwrap().rows(0..1).unwrap_err().message().contains("has no axes"));
}

#[test]
fn a_file_that_was_changed_is_noticed() {
    let (_folder, path) = file_of(fixture!("f8_3x4.npy"));
    let array = open(&path).unwrap();
    let file = File::options().append(true).open(&path).unwrap();
    file.set_len(300).unwrap();
    let error = array.rows(0..1).unwrap_err();
    assert!(error.kind() == ErrorKind::User && error.message().contains("open it again"), "{error}");
}

#[test]
fn ranks_write_their_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let values: Vec<i64> = (0..7 * 1000).map(|value| value * value).collect();
    NpyWriter::create(&path, FileType::I64, &[7, 1000]).unwrap();
    std::thread::scope(|scope| {
        for rank in 0..7 {
            let (path, values) = (&path, &values);
            scope.spawn(move || {
                let writer = NpyWriter::open_existing(path).unwrap();
                assert_eq!((writer.dtype(), writer.shape()), (FileType::I64, &[7, 1000][..]));
                writer.write_at(rank * 1000, &bytes_of_values(&values[rank * 1000..][..1000])).unwrap();
            });
        }
    });
    assert_eq!(open(&path).unwrap().row_major().unwrap().typed_data::<i64>(), values);
}

#[test]
fn what_was_not_written_is_zero() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let writer = NpyWriter::create(&path, FileType::I32, &[4]).unwrap();
    writer.write_at(1, &9_i32.to_ne_bytes()).unwrap();
    writer.write_at(4, &[]).unwrap();
    assert_eq!(open(&path).unwrap().row_major().unwrap().typed_data::<i32>(), [0, 9, 0, 0]);
}

#[test]
fn wrong_writes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let writer = NpyWriter::create(&path, FileType::Bool, &[2, 2]).unwrap();
    let before = fs::read(&path).unwrap();
    let check = |result: Result<()>, part: &str| {
        let error = result.unwrap_err();
        assert!(error.kind() == ErrorKind::User && error.message().contains(part), "{error} lacks {part:?}");
        assert!(error.message().contains(folder.path().to_str().unwrap()), "{error}");
    };
    check(writer.write_at(3, &[1, 1]), "it has 4 elements, shape (2, 2)");
    check(writer.write_at(usize::MAX, &[1]), "it has 4 elements");
    check(writer.write_at(0, &[1, 3]), "element 1, counted row by row from 0, is 3");
    check(NpyWriter::create(&path, FileType::I32, &[1]).map(drop), "a.npy exists");
    assert_eq!(fs::read(&path).unwrap(), before);

    let other = folder.path().join("b.npy");
    check(NpyWriter::create(&other, FileType::I32, &[usize::MAX, 4]).map(drop), "is larger than any memory");
    check(NpyWriter::create(&other, FileType::I32, &[1; 33]).map(drop), "an array of 33 axes");
    assert!(!other.exists());
    check(NpyWriter::open_existing(&other).map(drop), "No such file");
    let writer = NpyWriter::create(&other, FileType::I32, &[2]).unwrap();
    check(writer.write_at(0, &[0; 5]), "an element of i32 has 4 bytes");
}

#[test]
fn only_our_files_are_written_to() {
    let check = |bytes: &[u8], part: &str| {
        let (_folder, path) = file_of(bytes);
        let error = NpyWriter::open_existing(&path).unwrap_err();
        assert!(error.message().contains("to write a part of it") && error.message().contains(part), "{error}");
    };
    check(fixture!("f8_3x4_fortran.npy"), "it holds <f8 column by column");
    check(fixture!("i8_big_endian.npy"), "it holds >i8 row by row");
    check(fixture!("f2.npy"), "it holds <f2 row by row");
    check(fixture!("complex.npy"), "complex");
    check(&fixture!("f8_3x4.npy")[..200], "it has 200 bytes, and its header promises 224");
    check(b"", "cut short");
}

/// Whatever a damaged file holds, reading it ends with an array or with an error.
#[test]
fn no_changed_byte_ends_the_process() {
    let mut errors = 0;
    for whole in [&fixture!("i4_2x3x4_fortran.npy")[..], fixture!("structured.npy")] {
        for place in 0..whole.len() {
            for change in [1, 2, 0x10, 0x80, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[place] ^= change;
                let array = ArrayFile::parse("a".into(), &Buffer::from_vec(bytes), None);
                errors += usize::from(array.and_then(|array| array.row_major()).is_err());
            }
        }
    }
    assert!(errors > 500, "{errors} changes were noticed");
}
