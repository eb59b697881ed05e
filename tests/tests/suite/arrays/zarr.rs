//! Arrays in Zarr folders, on one rank and on several.

use bireme::array::Element;
use bireme::prelude::*;

use super::files::{of_connectors, sessions};

/// Writes a Zarr array on some ranks and reads it on others.
fn zarr_round_trip<T: Element>(make: impl Fn(&Session) -> Array<T>) {
    let folder = tempfile::tempdir().unwrap();
    let expected = make(&sessions()[0]);
    for (number, writer) in sessions().iter().enumerate() {
        let path = folder.path().join(format!("{number}.zarr"));
        make(writer).save_zarr(&path).unwrap();
        for reader in sessions() {
            let read = reader.read_zarr::<T>(&path).unwrap();
            assert_eq!(read.shape(), expected.shape());
            assert_eq!(read.to_vec().unwrap(), expected.to_vec().unwrap());
        }
    }
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.count(), 3, "nothing else is left there");
}

#[test]
fn zarr_arrays_go_there_and_back_on_three_ranks() {
    zarr_round_trip(|session| session.random::<f64>([9000], 1));
    zarr_round_trip(|session| session.random::<f32>([130, 41], 2).t());
    zarr_round_trip(|session| session.random_integers([15, 30, 20], -9, 9, 3).slice("::2, 1:, ::-1").unwrap());
    zarr_round_trip(|session| session.random::<f64>([5, 2100], 4).gt(0.5));
    zarr_round_trip(|session| session.random::<f64>([100], 5).sum());
    zarr_round_trip(|session| session.zeros::<i64>([2, 0]));
}

#[test]
fn zarr_arrays_of_numpy_on_three_ranks() {
    for session in sessions() {
        let expected = session.read_npy::<i32>(of_connectors("zarr/v3_sharded.npy")).unwrap();
        let read = session.read_zarr::<i32>(of_connectors("zarr/v3_sharded.zarr")).unwrap();
        assert_eq!((read.shape(), read.to_vec().unwrap()), (expected.shape(), expected.to_vec().unwrap()));
        let error = session.read_zarr::<f64>(of_connectors("zarr/v3_sharded.zarr")).unwrap_err();
        assert!(error.message().contains("i32") && error.message().contains("f64"), "{error}");
    }
}

#[test]
fn a_damaged_chunk_fails_every_rank() {
    for session in sessions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.zarr");
        session.random::<f64>([9000], 1).save_zarr(&path).unwrap();
        std::fs::write(path.join("c/0"), b"no chunk").unwrap();
        let error = session.read_zarr::<f64>(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains("x.zarr/c/0"), "{error}");
        assert_eq!(session.ones::<f64>([3]).sum().item().unwrap(), 3.0, "the session goes on");
    }
}

#[test]
fn a_zarr_array_that_is_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.zarr");
    for session in sessions() {
        if !path.exists() {
            session.ones::<f64>([9000]).save_zarr(&path).unwrap();
        }
        let error = session.zeros::<f64>([3]).save_zarr(&path).unwrap_err();
        assert!(error.message().contains("exists"), "{error}");
        assert_eq!(session.read_zarr::<f64>(&path).unwrap().sum().item().unwrap(), 9000.0);
    }
    let session = Session::builder().threads(3).local_ranks(3).arrays_whole_below(1).overwrite(true).build().unwrap();
    session.zeros::<i64>([3]).save_zarr(&path).unwrap();
    assert_eq!(session.read_zarr::<i64>(&path).unwrap().to_vec().unwrap(), [0; 3]);
    // Folders of anything else are never removed.
    let precious = folder.path().join("precious");
    std::fs::create_dir(&precious).unwrap();
    std::fs::write(precious.join("thesis.tex"), b"...").unwrap();
    let error = session.zeros::<i64>([3]).save_zarr(&precious).unwrap_err();
    assert!(error.message().contains("is no Zarr array"), "{error}");
    assert!(precious.join("thesis.tex").exists());
}
