//! What is wrong with a file, before it is known which file and column it is.

use std::borrow::Cow;

use bireme_engine::error::{Error, ErrorKind};

/// A failure below the level that knows the names of files and columns.
#[derive(Debug)]
pub(super) struct Damage {
    kind: ErrorKind,
    what: Cow<'static, str>,
}

/// The result of decoding.
pub(super) type Decoded<T> = Result<T, Damage>;

impl Damage {
    /// The input is damaged.
    pub(super) fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: ErrorKind::Corrupt, what: what.into() }
    }

    /// No memory for a buffer of this size.
    pub(super) fn memory(bytes: usize) -> Self {
        Self { kind: ErrorKind::Resources, what: format!("a buffer of {bytes} bytes cannot be had").into() }
    }

    /// A bug of ours.
    pub(super) fn internal(what: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: ErrorKind::Internal, what: what.into() }
    }

    /// The error, with what was being read.
    pub(super) fn of(self, what: &str, file: &std::path::Path) -> Error {
        Error::new(self.kind, format!("reading {what} of {}: {}", file.display(), self.what))
    }
}

impl From<Error> for Damage {
    fn from(error: Error) -> Self {
        Self { kind: error.kind(), what: error.message().to_owned().into() }
    }
}
