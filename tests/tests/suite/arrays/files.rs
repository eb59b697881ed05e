//! Arrays in NPY files: what NumPy wrote, and what it would have written. Arrays in Zarr folders and HDF5 files on several ranks; the
//! formats themselves are tested where they are read.

use std::path::PathBuf;

use bireme::array::Element;
use bireme::prelude::*;

use super::cut_over;

fn fixture(name: &str) -> PathBuf {
    bireme_tests::root().join("tests/fixtures/arrays").join(name)
}

pub(super) fn sessions() -> [Session; 3] {
    [Session::builder().threads(2).build().unwrap(), cut_over(3, 1), cut_over(3, 1 << 16)]
}

/// What NumPy wrote reads as itself, and is written byte for byte as NumPy writes it.
fn same_bytes<T: Element>(session: &Session, name: &str, shape: &[usize]) {
    let folder = tempfile::tempdir().unwrap();
    let read = session.read_npy::<T>(fixture(name)).unwrap();
    assert_eq!(read.shape(), shape, "{name}");
    let path = folder.path().join("x.npy");
    read.save_npy(&path).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), std::fs::read(fixture(name)).unwrap(), "{name}");
}

#[test]
fn files_are_those_of_numpy() {
    for session in sessions() {
        same_bytes::<f64>(&session, "f64.npy", &[3, 4]);
        same_bytes::<f32>(&session, "f32.npy", &[3, 4]);
        same_bytes::<i64>(&session, "i64.npy", &[3, 4]);
        same_bytes::<i32>(&session, "i32.npy", &[3, 4]);
        same_bytes::<bool>(&session, "bool.npy", &[3, 4]);
        same_bytes::<f64>(&session, "scalar.npy", &[]);
        same_bytes::<i32>(&session, "empty.npy", &[0, 3]);
        // Inputs by rule, as make.py made them.
        let mut inputs = super::Inputs::default();
        let mut input =
            |word: &str| super::run(&session, &mut inputs, &[word], false).unwrap().value.elements().unwrap();
        let read = super::Value::from(session.read_npy::<f32>(fixture("fortran.npy")).unwrap());
        assert_eq!(read.elements().unwrap(), input("f32:5x3x2:n:2"));
        let read = super::Value::from(session.read_npy::<i64>(fixture("big_endian.npy")).unwrap());
        assert_eq!(read.elements().unwrap(), input("i64:2x3:w:3"));
    }
}

/// Writes on some ranks and reads on others.
fn round_trip<T: Element>(make: impl Fn(&Session) -> Array<T>) {
    let folder = tempfile::tempdir().unwrap();
    let expected = make(&sessions()[0]);
    for (number, writer) in sessions().iter().enumerate() {
        let path = folder.path().join(format!("{number}.npy"));
        make(writer).save_npy(&path).unwrap();
        for reader in sessions() {
            let read = reader.read_npy::<T>(&path).unwrap();
            assert_eq!(read.shape(), expected.shape());
            assert_eq!(read.to_vec().unwrap(), expected.to_vec().unwrap());
        }
    }
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.count(), 3, "nothing else is left there");
}

#[test]
fn files_go_there_and_back_on_three_ranks() {
    round_trip(|session| session.random::<f64>([9000], 1));
    round_trip(|session| session.random::<f32>([130, 41], 2).t());
    round_trip(|session| session.random_integers([15, 30, 20], -9, 9, 3).slice("::2, 1:, ::-1").unwrap());
    round_trip(|session| session.random::<f64>([5, 2100], 4).gt(0.5));
    round_trip(|session| session.arange(0, 70, 1).reshape([70, 1]).unwrap());
    round_trip(|session| session.random::<f64>([100], 5).sum());
    round_trip(|session| session.zeros::<i64>([2, 0]));
}

#[test]
fn a_file_that_is_there_stays() {
    for session in sessions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        session.ones::<f64>([9000]).save_npy(&path).unwrap();
        let error = session.zeros::<f64>([3]).save_npy(&path).unwrap_err();
        assert!(error.message().contains("exists"), "{error}");
        assert_eq!(session.read_npy::<f64>(&path).unwrap().sum().item().unwrap(), 9000.0);
        // A mapping of what was there does not change with the file.
        let error = session.read_npy::<i64>(&path).unwrap_err();
        assert!(error.message().contains("f64") && error.message().contains("i64"), "{error}");
        let error = session.read_npy::<f64>(folder.path().join("y.npy")).unwrap_err();
        assert!(error.message().contains("y.npy"), "{error}");
        std::fs::write(folder.path().join("z.npy"), b"no array").unwrap();
        let error = session.read_npy::<f64>(folder.path().join("z.npy")).unwrap_err();
        assert!(error.message().contains("z.npy"), "{error}");
        let error = session.ones::<f64>([3]).save_npy(folder.path().join("no/such/x.npy"));
        assert!(error.is_err());
        assert_eq!(session.ones::<f64>([3]).sum().item().unwrap(), 3.0, "the session goes on");
    }
    let session = Session::builder().threads(3).local_ranks(3).arrays_whole_below(1).overwrite(true).build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    session.ones::<f64>([9000]).save_npy(&path).unwrap();
    session.zeros::<i64>([3]).save_npy(&path).unwrap();
    assert_eq!(session.read_npy::<i64>(&path).unwrap().to_vec().unwrap(), [0; 3]);
}

#[cfg(any(feature = "hdf5", feature = "zarr"))]
pub(super) fn of_connectors(name: &str) -> PathBuf {
    bireme_tests::root().join("connectors/src/array_file/fixtures").join(name)
}

#[cfg(feature = "hdf5")]
#[test]
fn hdf5_datasets_on_three_ranks() {
    for session in sessions() {
        let read = session.read_hdf5::<i32>(of_connectors("hdf5.h5"), "run/gzip").unwrap();
        assert_eq!(read.shape(), [5, 7]);
        assert_eq!(read.to_vec().unwrap(), (0..35).map(|place| place * 3 - 20).collect::<Vec<i32>>());
        let error = session.read_hdf5::<f64>(of_connectors("hdf5.h5"), "run/gzip").unwrap_err();
        assert!(error.message().contains("i32") && error.message().contains("f64"), "{error}");
        let error = session.read_hdf5::<i32>(of_connectors("hdf5_damaged.h5"), "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}
