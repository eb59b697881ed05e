#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test may end the test")]
use std::fs;

use bireme_engine::ErrorKind;
use tempfile::TempDir;

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../fixtures/", $name))
    };
}

fn file_of(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// Reads all arrays.
fn read_all(path: &Path) -> Result<Vec<Buffer>> {
    let file = NpzFile::open(path)?;
    file.names().map(|name| file.array(name)?.row_major()).collect()
}

#[track_caller]
fn check_refused(bytes: &[u8], kind: ErrorKind, part: &str) {
    let (_folder, path) = file_of(bytes);
    let error = read_all(&path).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(path.to_str().unwrap()), "{error}");
    assert!(error.message().contains(part), "{error} lacks {part:?}");
}

/// Where a text stands for the last time: names stand in the directory after they stand before their members.
fn last(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).rposition(|window| window == text).unwrap()
}

#[test]
fn stored_members_that_numpy_wrote() {
    let (_folder, path) = file_of(fixture!("stored.npz"));
    let file = NpzFile::open(&path).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["x", "flags"]);
    let x = file.array("x").unwrap();
    assert_eq!((x.dtype(), x.shape()), (FileType::F64, &[3, 4][..]));
    let quarters: Vec<f64> = (0..12).map(|value| f64::from(value) / 4.0).collect();
    assert_eq!(x.row_major().unwrap().typed_data::<f64>(), quarters);
    assert_eq!(x.rows(1..2).unwrap().typed_data::<f64>(), &quarters[4..8]);
    assert_eq!(file.array("flags.npy").unwrap().row_major().unwrap().as_slice(), [1, 0]);
}

#[test]
fn deflated_members_that_numpy_wrote() {
    let (_folder, path) = file_of(fixture!("deflated.npz"));
    let file = NpzFile::open(&path).unwrap();
    let x = file.array("x").unwrap();
    assert_eq!((x.dtype(), x.shape()), (FileType::F32, &[100, 10][..]));
    assert_eq!(x.row_major().unwrap().typed_data::<f32>(), [0.5; 1000]);
    assert_eq!(file.array("n").unwrap().rows(3..5).unwrap().typed_data::<i64>(), [3, 4]);
}

#[test]
fn unknown_names_and_methods() {
    let (_folder, path) = file_of(fixture!("stored.npz"));
    let error = NpzFile::open(&path).unwrap().array("y").unwrap_err();
    assert!(error.kind() == ErrorKind::User && error.message().ends_with("it has x, flags"), "{error}");

    let (_folder, path) = file_of(fixture!("bzip2.npz"));
    let file = NpzFile::open(&path).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["x"]);
    let error = file.array("x").unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("packed with method 12"), "{error}");

    let mut encrypted = fixture!("stored.npz").to_vec();
    let flags = last(&encrypted, b"PK\x01\x02") + 8;
    encrypted[flags] |= 1;
    check_refused(&encrypted, ErrorKind::Unsupported, "flags of ");
}

#[test]
fn every_cut_is_noticed() {
    for whole in [&fixture!("stored.npz")[..], fixture!("deflated.npz")] {
        for length in 0..whole.len() {
            check_refused(&whole[..length], ErrorKind::Corrupt, "it is no zip archive, or was cut short");
        }
    }
}

#[test]
fn what_follows_the_archive_is_noticed() {
    check_refused(&[&fixture!("stored.npz")[..], b"more"].concat(), ErrorKind::Corrupt, "4 bytes follow");
    check_refused(fixture!("scalar.npy"), ErrorKind::User, "read it as an .npy");
}

#[test]
fn changed_bytes_are_noticed_by_the_checksum() {
    let mut bytes = fixture!("stored.npz").to_vec();
    let two = last(&bytes, &2.0_f64.to_le_bytes()); // element 8 of x, in row 2
    bytes[two] ^= 1;
    check_refused(&bytes, ErrorKind::Corrupt, "its checksum is");
    let (_folder, path) = file_of(&bytes);
    let array = NpzFile::open(&path).unwrap().array("x").unwrap();
    assert!(array.rows(0..3).is_err() && array.rows(0..2).is_ok());

    let mut bytes = fixture!("deflated.npz").to_vec();
    let crc = last(&bytes, b"PK\x01\x02") + 16;
    bytes[crc] ^= 1;
    check_refused(&bytes, ErrorKind::Corrupt, "n of ");
    bytes[crc] ^= 1;
    let (_folder, path) = file_of(&bytes);
    assert_eq!(read_all(&path).unwrap().len(), 2);
}

#[test]
fn promised_sizes_are_compared() {
    let change = |bytes: &[u8], add: i32| {
        let mut bytes = bytes.to_vec();
        let place = last(&bytes, b"PK\x01\x02") + 24;
        let size = i32::from_le_bytes(*bytes[place..].first_chunk().unwrap());
        bytes[place..place + 4].copy_from_slice(&(size + add).to_le_bytes());
        bytes
    };
    check_refused(
        &change(fixture!("stored.npz"), 1),
        ErrorKind::Corrupt,
        "it has 130 bytes where the archive promises 131",
    );
    check_refused(&change(fixture!("deflated.npz"), -1), ErrorKind::Corrupt, "unpacks to more than the 167 bytes");
    check_refused(
        &change(fixture!("deflated.npz"), 1),
        ErrorKind::Corrupt,
        "it has 168 bytes where the archive promises 169",
    );
    // Memory is not taken for what cannot be.
    check_refused(&change(fixture!("deflated.npz"), 1 << 30), ErrorKind::Corrupt, "cannot be the packed form");
}

#[test]
fn two_arrays_of_one_name_are_refused() {
    let mut bytes = fixture!("deflated.npz").to_vec();
    let name = last(&bytes, b"n.npy");
    bytes[name] = b'x';
    check_refused(&bytes, ErrorKind::Corrupt, "it has two arrays named x");
}

#[test]
fn written_files_are_read_back_without_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    let mut writer = NpzWriter::create(&path).unwrap();
    let names = ["a", "bc", "def", "layer/0.weight", "größe"];
    for (index, name) in names.iter().enumerate() {
        let values: Vec<u8> = (0..index as i64 * 3).flat_map(|value| (value - 1).to_ne_bytes()).collect();
        writer.add(name, FileType::I64, &[index, 3], &values).unwrap();
    }
    writer.add("scalar", FileType::Bool, &[], &[1]).unwrap();
    writer.finish().unwrap();

    let file = NpzFile::open(&path).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), [&names[..], &["scalar"]].concat());
    for (index, name) in names.iter().enumerate() {
        let array = file.array(name).unwrap();
        assert!(array.without_copy(), "{name}");
        assert_eq!(array.shape(), [index, 3]);
        let expected: Vec<i64> = (0..index as i64 * 3).map(|value| value - 1).collect();
        assert_eq!(array.row_major().unwrap().typed_data::<i64>(), expected);
    }
    assert_eq!(file.array("scalar").unwrap().row_major().unwrap().as_slice(), [1]);
}

#[test]
fn wrong_arrays_are_refused_and_leave_the_file_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    let mut writer = NpzWriter::create(&path).unwrap();
    writer.add("a", FileType::Bool, &[2], &[1, 0]).unwrap();
    let mut check = |name: &str, dtype, shape: &[usize], bytes: &[u8], part: &str| {
        let error = writer.add(name, dtype, shape, bytes).unwrap_err();
        assert!(error.kind() == ErrorKind::User && error.message().contains(part), "{error} lacks {part:?}");
        assert!(error.message().starts_with(&format!("adding array {name} to ")), "{error}");
    };
    check("a", FileType::Bool, &[2], &[1, 0], "of that name already");
    check("b", FileType::F32, &[2], &[0; 7], "shape (2,) of f32 has 8 bytes, and 7 were given");
    check("b", FileType::Bool, &[2], &[0, 9], "element 1,");
    check("b", FileType::I64, &[usize::MAX], &[], "larger than any memory");
    check("b", FileType::Bool, &[1; 33], &[0], "33 axes");
    for name in ["", "/b", "b/", "../b", "b//c", "b\\c", "b\0"] {
        check(name, FileType::Bool, &[1], &[0], "its name is none for a file");
    }
    writer.finish().unwrap();
    assert_eq!(NpzFile::open(&path).unwrap().names().collect::<Vec<_>>(), ["a"]);
    assert!(NpzWriter::create(&path).unwrap_err().message().contains("a.npz exists"));
}

#[test]
fn a_file_without_an_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    let mut writer = NpzWriter::create(&path).unwrap();
    writer.add("a", FileType::Bool, &[2], &[1, 0]).unwrap();
    drop(writer);
    assert!(NpzFile::open(&path).unwrap_err().message().contains("cut short"));
}

/// Whatever a damaged file holds, reading it ends with an array or with an error.
#[test]
fn no_changed_byte_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    let mut errors = 0;
    for whole in [&fixture!("stored.npz")[..], fixture!("deflated.npz")] {
        for place in 0..whole.len() {
            for change in [1, 0x80, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[place] ^= change;
                fs::write(&path, bytes).unwrap();
                errors += usize::from(read_all(&path).is_err());
            }
        }
    }
    assert!(errors > 1000, "{errors} changes were noticed");
}
