#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test may end the test")]
#![allow(clippy::single_range_in_vec_init, clippy::reversed_empty_ranges, reason = "boxes are slices of ranges")]
use std::path::PathBuf;

use arrow::datatypes::ToByteSlice as _;
use bireme_engine::ErrorKind;

use super::*;
use crate::array_file::boxes;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/array_file/fixtures").join(name)
}

/// Every box of a dataset is cut out of these elements.
#[track_caller]
fn check_read<T: ArrowNativeType>(name: &str, dtype: FileType, shape: &[usize], expected: &[T]) {
    let dataset = open(&fixture("hdf5.h5"), name).unwrap();
    assert_eq!((dataset.dtype(), dataset.shape()), (dtype, shape), "{name}");
    for ranges in boxes::all(shape) {
        let read = dataset.read(&ranges).unwrap();
        let wanted = boxes::cut(expected.to_byte_slice(), dtype.size(), shape, &ranges);
        assert_eq!(read.as_slice(), wanted, "{name} {ranges:?}");
    }
}

/// The values of make_hdf5.py.
fn count(elements: i32) -> Vec<i32> {
    (0..elements).map(|place| place * 3 - 20).collect()
}

#[test]
fn every_box_is_what_numpy_wrote() {
    let mapped = |elements: i32, value: fn(i32) -> f64| count(elements).into_iter().map(value).collect::<Vec<f64>>();
    check_read("contiguous", FileType::F64, &[5, 7], &mapped(35, |value| f64::from(value) / 4.0));
    check_read("run/gzip", FileType::I32, &[5, 7], &count(35));
    check_read("/run/gzip", FileType::I32, &[5, 7], &count(35));
    let cube: Vec<f32> = count(60).into_iter().map(|value| value as f32).collect();
    check_read("run/cube", FileType::F32, &[3, 4, 5], &cube);
    let holes = count(30).into_iter().enumerate().map(|(place, value)| (place / 5, place % 5, value));
    let holes = holes.map(|(row, column, value)| if row < 2 && (2..4).contains(&column) { value.into() } else { -7 });
    check_read("run/holes", FileType::I64, &[6, 5], &holes.collect::<Vec<i64>>());
    let large: Vec<i64> = count(5).into_iter().map(|value| i64::from(value) * 10_i64.pow(17)).collect();
    check_read("big_endian", FileType::I64, &[5], &large);
    let mask: Vec<u8> = count(15).into_iter().map(|value| u8::from(value % 2 == 0)).collect();
    check_read("mask", FileType::Bool, &[3, 5], &mask);
    check_read("u4", FileType::I64, &[2], &[0_i64, (1 << 32) - 1]);
    check_read("i1", FileType::I32, &[9], &count(9));
    check_read("scalar", FileType::F64, &[], &[2.5_f64]);
    check_read::<i64>("empty", FileType::I64, &[0, 3], &[]);
}

#[track_caller]
fn check_refused(path: &Path, name: &str, kind: ErrorKind, part: &str) {
    let error = open(path, name).and_then(|dataset| dataset.read(&[0..8])).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(&format!("{name} of {}: ", path.display())), "{error}");
    assert!(error.message().contains(part), "{error} lacks {part:?}");
}

#[test]
fn refusals_name_the_reason() {
    let path = fixture("hdf5.h5");
    check_refused(&path, "null", ErrorKind::Unsupported, "no elements at all");
    check_refused(&path, "u8", ErrorKind::Unsupported, "its type uint64 is not one");
    check_refused(&path, "complex", ErrorKind::Unsupported, "its type");
    check_refused(&path, "text", ErrorKind::Unsupported, "its type");
    check_refused(&path, "run", ErrorKind::User, "it is a group, and has run/cube, run/gzip, run/holes");
    check_refused(&path, "run/x", ErrorKind::User, "there is none of that name; group run has run/cube, run/gzip");
    check_refused(&path, "walk/x", ErrorKind::User, "there is no group walk");
    check_refused(&path, "x", ErrorKind::User, "there is none of that name; group / has big_endian, ");
    check_refused(&path, "", ErrorKind::User, "there is none of that name");
    check_refused(&path, "a\0b", ErrorKind::User, "NUL");
    check_refused(&path, "lzf", ErrorKind::Unsupported, "filter 32000, which is not installed");
    check_refused(&fixture("nothing.h5"), "x", ErrorKind::User, "No such file");
    check_refused(&fixture("zarr"), "x", ErrorKind::User, "it is no file");
    check_refused(&fixture("f2.npy"), "x", ErrorKind::Corrupt, "it is no HDF5 file");
    check_refused(&fixture("hdf5_damaged.h5"), "x", ErrorKind::Corrupt, "reading [0:8]");
}

#[test]
fn a_damaged_chunk_does_not_concern_the_others() {
    let dataset = open(&fixture("hdf5_damaged.h5"), "x").unwrap();
    assert_eq!(dataset.read(&[1..4]).unwrap().typed_data::<i32>(), [-17, -14, -11]);
    assert_eq!(dataset.read(&[3..5]).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn boxes_that_are_not_there() {
    let dataset = open(&fixture("hdf5.h5"), "run/gzip").unwrap();
    for ranges in [&[0..6, 0..7][..], &[0..5], &[3..2, 0..7], &[0..5, 0..usize::MAX]] {
        let error = dataset.read(ranges).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User);
        assert!(error.message().contains("run/gzip of ") && error.message().contains("(5, 7)"), "{error}");
    }
}
