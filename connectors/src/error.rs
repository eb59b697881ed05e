//! Errors of DataFusion, Arrow, Parquet and object stores, as errors with kinds.

use arrow::error::ArrowError;
use bireme_engine::{Error, ErrorKind};
use datafusion::error::DataFusionError;
use object_store::Error as StoreError;
use parquet::errors::ParquetError;

/// The same failure as an error with a kind. An error of ours that travelled inside comes out as it went in.
pub fn from_datafusion(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::External(cause) => from_any(cause.as_ref()),
        DataFusionError::Context(attempted, cause) => from_datafusion(cause).context(attempted),
        DataFusionError::Diagnostic(_, cause) => from_datafusion(cause),
        DataFusionError::Shared(cause) => from_datafusion(cause),
        DataFusionError::Collection(causes) => match causes.first() {
            Some(first) => from_datafusion(first),
            None => Error::internal("an empty collection of errors"),
        },
        DataFusionError::ArrowError(cause, _) => from_arrow(cause),
        DataFusionError::ParquetError(cause) => from_parquet(cause),
        DataFusionError::ObjectStore(cause) => from_store(cause),
        DataFusionError::IoError(cause) => from_io(cause),
        DataFusionError::ResourcesExhausted(message) => Error::resources(message.clone()),
        DataFusionError::NotImplemented(message) => Error::unsupported(message.clone()),
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::SchemaError(..) => Error::user(error.strip_backtrace()),
        DataFusionError::Execution(message) => Error::user(message.clone()),
        other => Error::internal(other.strip_backtrace()),
    }
}

/// An error of ours on its way through DataFusion; [`from_datafusion`] takes it out again.
pub fn to_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// An I/O error, with what was attempted in front.
pub(crate) fn io(error: &std::io::Error, attempted: impl std::fmt::Display) -> Error {
    from_io(error).context(attempted)
}

fn from_any(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
    if let Some(ours) = cause.downcast_ref::<Error>() {
        ours.clone()
    } else if let Some(cause) = cause.downcast_ref::<DataFusionError>() {
        from_datafusion(cause)
    } else if let Some(cause) = cause.downcast_ref::<ArrowError>() {
        from_arrow(cause)
    } else if let Some(cause) = cause.downcast_ref::<ParquetError>() {
        from_parquet(cause)
    } else if let Some(cause) = cause.downcast_ref::<StoreError>() {
        from_store(cause)
    } else if let Some(cause) = cause.downcast_ref::<std::io::Error>() {
        from_io(cause)
    } else {
        Error::internal(cause.to_string())
    }
}

fn from_arrow(cause: &ArrowError) -> Error {
    match cause {
        ArrowError::ExternalError(inner) => from_any(inner.as_ref()),
        ArrowError::IoError(message, inner) => from_io(inner).context(message),
        ArrowError::DivideByZero => Error::user("division by zero"),
        ArrowError::ArithmeticOverflow(message) => Error::user(format!("arithmetic overflow: {message}")),
        ArrowError::CastError(message) | ArrowError::ParseError(message) => Error::user(message.clone()),
        ArrowError::CsvError(message)
        | ArrowError::JsonError(message)
        | ArrowError::IpcError(message)
        | ArrowError::ParquetError(message) => Error::corrupt(message.clone()),
        ArrowError::NotYetImplemented(message) => Error::unsupported(message.clone()),
        other => Error::internal(other.to_string()),
    }
}

fn from_parquet(cause: &ParquetError) -> Error {
    match cause {
        ParquetError::General(message) | ParquetError::EOF(message) => Error::corrupt(message.clone()),
        ParquetError::NYI(message) => Error::unsupported(message.clone()),
        ParquetError::External(inner) => match from_any(inner.as_ref()) {
            unknown if unknown.kind() == ErrorKind::Internal => Error::corrupt(unknown.message()),
            known => known,
        },
        other => Error::corrupt(other.to_string()),
    }
}

fn from_store(cause: &StoreError) -> Error {
    match cause {
        StoreError::NotFound { path, .. } => Error::user(format!("there is no file {path}")),
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => Error::resources(cause.to_string()),
        StoreError::NotImplemented { .. } | StoreError::NotSupported { .. } => Error::unsupported(cause.to_string()),
        StoreError::InvalidPath { .. } => Error::user(cause.to_string()),
        StoreError::Generic { source, .. } => match io_cause(source.as_ref()) {
            Some(inner) => from_io(inner),
            None => Error::resources(cause.to_string()),
        },
        other => Error::resources(other.to_string()),
    }
}

fn io_cause<'a>(mut cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    loop {
        if let Some(inner) = cause.downcast_ref::<std::io::Error>() {
            return Some(inner);
        }
        cause = cause.source()?;
    }
}

fn from_io(cause: &std::io::Error) -> Error {
    match cause.get_ref().and_then(|inner| inner.downcast_ref::<DataFusionError>()) {
        Some(inner) => from_datafusion(inner),
        // The engine's conversion takes the error by value; a copy with the same kind and text says the same.
        None => Error::from(std::io::Error::new(cause.kind(), cause.to_string())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test may end the test")]
    use super::*;

    #[test]
    fn our_errors_survive_datafusion() {
        let ours = Error::corrupt("reading a.csv: line 3");
        let wrapped = DataFusionError::Context("scan".into(), Box::new(to_datafusion(ours.clone())));
        assert_eq!(from_datafusion(&wrapped), ours.context("scan"));
    }

    #[test]
    fn denied_is_a_matter_of_resources() {
        let cause = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let store = StoreError::Generic { store: "local", source: Box::new(cause) };
        assert_eq!(from_datafusion(&DataFusionError::from(store)).kind(), ErrorKind::Resources);
    }
}
