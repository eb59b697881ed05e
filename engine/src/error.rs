//! Errors with kinds.
//!
//! A message says what was attempted, on what, and what to try. The kind decides the exit code and whether a retry can
//! help; it travels with the message, so that every rank of a job reports the same failure.

use std::fmt;

use bincode::{Decode, Encode};

/// What sort of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum ErrorKind {
    /// The user asked for something that cannot be: a typo, a missing file, a type mismatch.
    User,
    /// The request is sound, but Bireme does not do it (yet).
    Unsupported,
    /// Memory, disk space, permissions or file handles ran out.
    Resources,
    /// The input is damaged.
    Corrupt,
    /// Another rank is gone or does not answer.
    PeerLost,
    /// The user stopped the job.
    Cancelled,
    /// A bug of ours.
    Internal,
}

impl ErrorKind {
    /// The words with which a message of this kind starts.
    pub fn label(self) -> &'static str {
        match self {
            ErrorKind::User => "error",
            ErrorKind::Unsupported => "not supported",
            ErrorKind::Resources => "out of resources",
            ErrorKind::Corrupt => "corrupt input",
            ErrorKind::PeerLost => "peer lost",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::Internal => "internal error (a bug in bireme)",
        }
    }
}

/// An error of any part of Bireme; cheap to clone, and `Encode` so that it can reach every rank.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// The result of anything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The user's mistake.
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::User, message)
    }

    /// Something Bireme does not do.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Memory, disk or handles ran out.
    pub fn resources(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Resources, message)
    }

    /// Damaged input.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// A rank that is gone.
    pub fn peer_lost(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::PeerLost, message)
    }

    /// The user's stop.
    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Cancelled, message)
    }

    /// A bug of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// What sort of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message without the kind's label.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Puts what was being attempted in front: `reading a.parquet: …`.
    #[must_use]
    pub fn context(mut self, attempted: impl fmt::Display) -> Self {
        self.message = format!("{attempted}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.label(), self.message)
    }
}

// `fn main() -> Result<()>` prints errors with Debug; users should read the same sentence there.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        use arrow::error::ArrowError;
        match error {
            ArrowError::IoError(message, cause) => Error::from(cause).context(message),
            ArrowError::ExternalError(cause) => match cause.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(other) => Error::internal(other.to_string()),
            },
            ArrowError::DivideByZero => Error::user("division by zero"),
            ArrowError::ArithmeticOverflow(message) => Error::user(format!("arithmetic overflow: {message}")),
            ArrowError::CastError(message) => Error::user(message),
            ArrowError::ParseError(message) | ArrowError::CsvError(message) | ArrowError::JsonError(message) => {
                Error::corrupt(message)
            }
            ArrowError::IpcError(message) | ArrowError::ParquetError(message) => Error::corrupt(message),
            ArrowError::NotYetImplemented(message) => Error::unsupported(message),
            ArrowError::OffsetOverflowError(size) => Error::resources(format!(
                "a string or list column of one batch needs {size} bytes, past its 32-bit offsets; use a smaller batch size"
            )),
            other => Error::internal(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        match error.kind() {
            Io::NotFound => Error::user(error.to_string()),
            Io::StorageFull | Io::QuotaExceeded | Io::PermissionDenied | Io::OutOfMemory | Io::ReadOnlyFilesystem => {
                Error::resources(error.to_string())
            }
            Io::UnexpectedEof | Io::InvalidData => Error::corrupt(error.to_string()),
            _ => Error::resources(error.to_string()),
        }
    }
}
