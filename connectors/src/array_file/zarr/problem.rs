//! Errors of `zarrs` as ours: of which kind they are, and what to try.

use std::path::PathBuf;
use std::sync::Arc;

use zarrs::array::codec::api::CodecError;
use zarrs::array::{ArrayCreateError, ArrayError};
use zarrs::filesystem::FilesystemStore;
use zarrs::group::Group;
use zarrs::plugin::PluginCreateError;
use zarrs::storage::StorageError;

use super::{Error, ROOT, io, shown_text};

/// Groups with more arrays than this are not listed in full.
const LISTED: usize = 20;

/// An array could not be opened.
pub(super) fn of_opening(error: ArrayCreateError, store: &Arc<FilesystemStore>) -> Error {
    match error {
        ArrayCreateError::MissingMetadata | ArrayCreateError::StorageError(StorageError::InvalidMetadata(..))
            if let Some(error) = of_group(store) =>
        {
            error
        }
        ArrayCreateError::MissingMetadata => {
            Error::user("no Zarr array is there: it has neither zarr.json nor .zarray")
        }
        ArrayCreateError::StorageError(error) => of_storage(error),
        ArrayCreateError::DataTypeCreateError(PluginCreateError::Unsupported(error)) => of_dtype(&error.to_string()),
        ArrayCreateError::CodecsCreateError(PluginCreateError::Unsupported(error)) => Error::unsupported(format!(
            "{}; write it with gzip or zstd, or without compression",
            shown_text(error.to_string().as_bytes()),
        )),
        ArrayCreateError::StorageTransformersCreateError(PluginCreateError::Unsupported(_))
        | ArrayCreateError::ChunkGridCreateError(PluginCreateError::Unsupported(_))
        | ArrayCreateError::ChunkKeyEncodingCreateError(PluginCreateError::Unsupported(_))
        | ArrayCreateError::AdditionalFieldUnsupportedError(_)
        | ArrayCreateError::UnsupportedZarrV2Array(_) => Error::unsupported(error.to_string()),
        damaged => Error::corrupt(format!("its metadata: {damaged}")),
    }
}

/// A dtype that is not read.
pub(super) fn of_dtype(name: &str) -> Error {
    Error::unsupported(format!(
        "its dtype {} is not one that Bireme reads; convert it to float32, float64, int32, int64 or bool",
        shown_text(name.as_bytes()),
    ))
}

/// Chunks could not be read. What is not the disk's fault is damage: everything else was looked at when the array was opened.
pub(super) fn of_reading(error: ArrayError) -> Error {
    match error {
        ArrayError::StorageError(error) | ArrayError::CodecError(CodecError::StorageError(error)) => of_storage(error),
        damaged => Error::corrupt(damaged.to_string()),
    }
}

/// Something could not be written.
pub(super) fn of_writing(error: ArrayError) -> Error {
    match error {
        ArrayError::StorageError(error) | ArrayError::CodecError(CodecError::StorageError(error)) => of_storage(error),
        other => Error::internal(other.to_string()),
    }
}

pub(super) fn of_storage(error: StorageError) -> Error {
    match error {
        StorageError::IOError(error) => io::Error::new(error.kind(), error.to_string()).into(),
        damaged => Error::corrupt(damaged.to_string()),
    }
}

/// A folder that holds arrays and is none.
fn of_group(store: &Arc<FilesystemStore>) -> Option<Error> {
    let arrays = Group::open(Arc::clone(store), ROOT).ok()?.child_array_paths().unwrap_or_default();
    let mut names: Vec<PathBuf> = arrays.iter().map(|path| path.as_path().to_path_buf()).collect();
    names.sort();
    let shown = names.iter().take(LISTED).map(|path| path.display().to_string()).collect::<Vec<_>>();
    let shown = shown.iter().map(|name| name.trim_start_matches('/')).collect::<Vec<_>>().join(", ");
    let shown = match names.len() {
        0 => "no arrays".to_owned(),
        many if many > LISTED => format!("{shown}, and {} more", many - LISTED),
        _ => shown,
    };
    Some(Error::user(format!("it is a group, and has {shown}: name the folder of one of its arrays")))
}
