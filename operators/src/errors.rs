//! DataFusion's errors as Bireme's, and back.
//!
//! DataFusion wraps errors in errors: context, sharing between consumers, arrow's and parquet's own types, and
//! strings of other errors with their prefixes. The innermost cause decides the kind; of the words only those stay
//! that help. An error of ours that travels through DataFusion (as [`DataFusionError::External`]) comes out as it
//! went in.

use std::error::Error as StdError;

use arrow::error::ArrowError;
use bireme_engine::error::{Error, ErrorKind};
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::object_store;
use datafusion::parquet::errors::ParquetError;
use datafusion::sql::sqlparser::parser::ParserError;

/// Puts an error of ours into DataFusion's type; [`from_datafusion`] takes it out again unchanged.
pub fn to_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Turns an error of DataFusion into one with a kind and a clean message of one line.
pub fn from_datafusion(error: DataFusionError) -> Error {
    datafusion_cause(&error)
}

fn datafusion_cause(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::ArrowError(error, _) => arrow_cause(error),
        DataFusionError::ParquetError(error) => parquet_cause(error),
        DataFusionError::ObjectStore(error) => object_store_cause(error),
        DataFusionError::IoError(error) => io_cause(error),
        DataFusionError::SQL(error, _) => sql_cause(error),
        DataFusionError::NotImplemented(text) => Error::unsupported(clean(text)),
        DataFusionError::Plan(text) | DataFusionError::Configuration(text) => planning_cause(text),
        DataFusionError::SchemaError(error, _) => schema_cause(error),
        DataFusionError::Execution(text) => execution_cause(text),
        DataFusionError::ExecutionJoin(error) if error.is_cancelled() => {
            Error::cancelled("a task of the query was stopped")
        }
        DataFusionError::ExecutionJoin(error) => Error::internal(clean(&error.to_string())),
        DataFusionError::ResourcesExhausted(text) => Error::resources(clean(text)),
        DataFusionError::External(error) => other_cause(error.as_ref()),
        DataFusionError::Diagnostic(_, error) => datafusion_cause(error),
        DataFusionError::Shared(error) => datafusion_cause(error),
        DataFusionError::Context(context, error) => with_context(datafusion_cause(error), context),
        DataFusionError::Collection(errors) => all_causes(errors),
        DataFusionError::Internal(text) | DataFusionError::Substrait(text) | DataFusionError::Ffi(text) => {
            internal_cause(text)
        }
    }
}

/// Which rule of the optimiser or which expression was at work helps with bugs; users are better off without.
fn with_context(error: Error, context: &str) -> Error {
    if error.kind() == ErrorKind::Internal { error.context(clean(context)) } else { error }
}

/// The kind of the first, the words of all.
fn all_causes(errors: &[DataFusionError]) -> Error {
    let errors: Vec<Error> = errors.iter().map(datafusion_cause).collect();
    let kind = errors.first().map_or(ErrorKind::Internal, Error::kind);
    let mut messages: Vec<&str> = errors.iter().map(Error::message).collect();
    messages.dedup();
    Error::new(kind, messages.join("; "))
}

/// An error behind `dyn Error`.
fn other_cause(error: &(dyn StdError + Send + Sync + 'static)) -> Error {
    known_cause(error).unwrap_or_else(|| {
        // Boxed again on the way, or with the cause as source: look behind.
        let mut source = error.source();
        while let Some(inner) = source {
            if let Some(known) = known_cause(inner) {
                return known;
            }
            source = inner.source();
        }
        let text = clean(&error.to_string());
        if is_full_disk(&text) { Error::resources(text) } else { Error::internal(text) }
    })
}

fn known_cause(error: &(dyn StdError + 'static)) -> Option<Error> {
    if let Some(ours) = error.downcast_ref::<Error>() {
        return Some(ours.clone());
    }
    if let Some(error) = error.downcast_ref::<DataFusionError>() {
        return Some(datafusion_cause(error));
    }
    if let Some(error) = error.downcast_ref::<std::sync::Arc<DataFusionError>>() {
        return Some(datafusion_cause(error));
    }
    if let Some(error) = error.downcast_ref::<ArrowError>() {
        return Some(arrow_cause(error));
    }
    if let Some(error) = error.downcast_ref::<ParquetError>() {
        return Some(parquet_cause(error));
    }
    if let Some(error) = error.downcast_ref::<object_store::Error>() {
        return Some(object_store_cause(error));
    }
    error.downcast_ref::<std::io::Error>().map(io_cause)
}

fn arrow_cause(error: &ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(cause) => other_cause(cause.as_ref()),
        ArrowError::IoError(text, cause) => {
            let cause = io_cause(cause);
            let message = clean(text);
            // The text usually is the cause's.
            if message.contains(cause.message()) { Error::new(cause.kind(), message) } else { cause.context(message) }
        }
        ArrowError::DivideByZero => Error::user(DIVISION_BY_ZERO),
        ArrowError::ArithmeticOverflow(text) => overflow(text),
        // A text that is no date, in a query; what cannot be parsed in a file is reported by its reader, with the file.
        ArrowError::CastError(text) | ArrowError::ParseError(text) => Error::user(clean(text)),
        ArrowError::CsvError(text)
        | ArrowError::JsonError(text)
        | ArrowError::AvroError(text)
        | ArrowError::IpcError(text)
        | ArrowError::ParquetError(text) => corrupt_unless_full(text),
        ArrowError::NotYetImplemented(text) => Error::unsupported(clean(text)),
        ArrowError::MemoryError(text) => Error::resources(clean(text)),
        ArrowError::OffsetOverflowError(size) => Error::resources(format!(
            "a text or list column of one batch needs {size} bytes, past its 32-bit offsets; use a smaller batch size"
        )),
        ArrowError::DictionaryKeyOverflowError => Error::resources(
            "a dictionary column has more distinct values than its keys can count; cast it to a plain type",
        ),
        ArrowError::ComputeError(text) => execution_cause(text),
        ArrowError::InvalidArgumentError(text) if is_out_of_range(text) => overflow(text),
        ArrowError::InvalidArgumentError(_)
        | ArrowError::SchemaError(_)
        | ArrowError::CDataInterface(_)
        | ArrowError::RunEndIndexOverflowError => Error::internal(clean(&error.to_string())),
    }
}

const DIVISION_BY_ZERO: &str = "division by zero; use NULLIF(divisor, 0) to get NULL instead";

/// Decimals past their precision come as invalid arguments.
fn is_out_of_range(text: &str) -> bool {
    ["too large to store", "too small to store", "out of range", "verflow"].iter().any(|sign| text.contains(sign))
}

fn overflow(text: &str) -> Error {
    let text = clean(text);
    let what = text.strip_prefix("Overflow happened on: ").unwrap_or(&text);
    let advice = if what.contains("; ") { "" } else { "; cast to a wider type, such as DECIMAL(38,0)" };
    Error::user(format!("arithmetic overflow: {what}{advice}"))
}

fn corrupt_unless_full(text: &str) -> Error {
    let text = clean(text);
    if is_full_disk(&text) { Error::resources(text) } else { Error::corrupt(text) }
}

fn is_full_disk(text: &str) -> bool {
    ["No space left on device", "Disk quota exceeded", "Too many open files"].iter().any(|sign| text.contains(sign))
}

fn parquet_cause(error: &ParquetError) -> Error {
    match error {
        ParquetError::External(cause) => other_cause(cause.as_ref()),
        ParquetError::NYI(text) => Error::unsupported(clean(text)),
        ParquetError::General(text) | ParquetError::EOF(text) | ParquetError::ArrowError(text) => {
            corrupt_unless_full(text)
        }
        other => Error::corrupt(clean(&other.to_string())),
    }
}

fn object_store_cause(error: &object_store::Error) -> Error {
    use object_store::Error as Store;
    match error {
        Store::NotFound { path, .. } => Error::user(format!("no such file: {path}")),
        Store::AlreadyExists { path, .. } => Error::user(format!("{path} exists already")),
        Store::PermissionDenied { path, .. } => Error::resources(format!("no permission for {path}")),
        Store::Unauthenticated { .. } | Store::InvalidPath { .. } | Store::UnknownConfigurationKey { .. } => {
            Error::user(clean(&error.to_string()))
        }
        Store::NotSupported { .. } | Store::NotImplemented { .. } => Error::unsupported(clean(&error.to_string())),
        Store::Generic { source, .. } => {
            // Its own words name the operation and the path.
            let cause = other_cause(source.as_ref());
            let kind = if cause.kind() == ErrorKind::Internal { ErrorKind::Resources } else { cause.kind() };
            Error::new(kind, clean(&error.to_string()))
        }
        other => Error::resources(clean(&other.to_string())),
    }
}

fn io_cause(error: &std::io::Error) -> Error {
    match error.get_ref().and_then(|inner| known_cause(inner)) {
        Some(known) => known,
        // `io::Error` cannot be cloned: kind and words are what counts.
        None => Error::from(std::io::Error::new(error.kind(), clean(&error.to_string()))),
    }
}

fn sql_cause(error: &ParserError) -> Error {
    match error {
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => {
            Error::user(format!("SQL syntax: {}", clean(text)))
        }
        ParserError::RecursionLimitExceeded => {
            Error::user("SQL syntax: the statement is nested too deeply; split it with common table expressions")
        }
    }
}

fn schema_cause(error: &SchemaError) -> Error {
    Error::user(clean(&error.to_string()))
}

fn planning_cause(text: &str) -> Error {
    let stated = clean(text);
    if stated.contains("not implemented") || stated.contains("not supported yet") {
        Error::unsupported(stated)
    } else {
        Error::user(stated)
    }
}

fn execution_cause(text: &str) -> Error {
    let stated = clean(text);
    let lower = stated.to_lowercase();
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        Error::user(DIVISION_BY_ZERO)
    } else if lower.contains("returned more than one row") {
        Error::user("a scalar subquery returned more than one row; add LIMIT 1 or an aggregate to it")
    } else if is_full_disk(&stated) {
        Error::resources(stated)
    } else if lower.contains("overflow") {
        overflow(&stated)
    } else {
        Error::user(stated)
    }
}

/// Some mistakes of users reach DataFusion's internal checks first.
fn internal_cause(text: &str) -> Error {
    Error::internal(clean(text))
}

/// One line without backtrace, without pleas to report bugs elsewhere, and without the prefixes of wrapped errors.
fn clean(text: &str) -> String {
    let text = text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or(text);
    let text = text.split("This issue was likely caused by a bug in DataFusion").next().unwrap_or(text);
    let joined = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let mut rest = joined.as_str();
    while let Some(shorter) = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = shorter.trim_start();
    }
    rest.to_owned()
}

/// What DataFusion, arrow and parquet put in front of the words of an error.
const PREFIXES: &[&str] = &[
    "Error during planning: ",
    "Execution error: ",
    "Internal error: ",
    "Schema error: ",
    "SQL error: ",
    "This feature is not implemented: ",
    "Invalid or Unsupported Configuration: ",
    "Resources exhausted: ",
    "External error: ",
    "External: ",
    "ExecutionJoin error: ",
    "Object Store error: ",
    "IO error: ",
    "Io error: ",
    "Arrow error: ",
    "Arrow: ",
    "Parquet error: ",
    "Parquet argument error: ",
    "EOF: ",
    "Csv error: ",
    "Json error: ",
    "Ipc error: ",
    "Parser error: ",
    "Cast error: ",
    "Compute error: ",
    "Schema error: ",
    "Invalid argument error: ",
    "Not yet implemented: ",
    "Arithmetic overflow: ",
    "caused by ",
];

#[cfg(test)]
#[allow(clippy::panic, reason = "a failed expectation ends the test")]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn check(error: DataFusionError, kind: ErrorKind, message: &str) {
        let found = from_datafusion(error);
        assert_eq!((found.kind(), found.message()), (kind, message));
    }

    #[test]
    fn our_errors_survive_the_trip_through_any_wrapper() {
        let ours = || Error::peer_lost("rank 3 is gone");
        let wrappers: Vec<fn(DataFusionError) -> DataFusionError> = vec![
            |error| error,
            |error| error.context("reading"),
            |error| DataFusionError::Shared(Arc::new(error)),
            |error| DataFusionError::External(Box::new(error)),
            |error| DataFusionError::from(ArrowError::ExternalError(Box::new(error))),
            |error| DataFusionError::from(ParquetError::External(Box::new(error))),
            |error| DataFusionError::IoError(std::io::Error::other(error)),
            |error| DataFusionError::Collection(vec![error]),
        ];
        for outer in &wrappers {
            for inner in &wrappers {
                check(outer(inner(to_datafusion(ours()))), ErrorKind::PeerLost, "rank 3 is gone");
            }
        }
        let shared = Arc::new(to_datafusion(ours()));
        check(DataFusionError::External(Box::new(shared)), ErrorKind::PeerLost, "rank 3 is gone");
    }

    #[test]
    fn mistakes_of_users() {
        use ErrorKind::User;
        check(DataFusionError::Plan("table 'x' not found".into()), User, "table 'x' not found");
        check(
            DataFusionError::Plan("Error during planning: Arrow error: Cast error: no".into()).context("type_coercion"),
            User,
            "no",
        );
        check(ArrowError::DivideByZero.into(), User, DIVISION_BY_ZERO);
        check(
            ArrowError::ArithmeticOverflow("Overflow happened on: 9223372036854775807 + 1".into()).into(),
            User,
            "arithmetic overflow: 9223372036854775807 + 1; cast to a wider type, such as DECIMAL(38,0)",
        );
        check(
            ArrowError::ArithmeticOverflow("SUM(x) = 9 does not fit in Int64; cast it".into()).into(),
            User,
            "arithmetic overflow: SUM(x) = 9 does not fit in Int64; cast it",
        );
        check(
            DataFusionError::Execution("Scalar subquery returned more than one row".into()),
            User,
            "a scalar subquery returned more than one row; add LIMIT 1 or an aggregate to it",
        );
        check(
            ArrowError::CastError("Cannot cast string 'a' to Int64".into()).into(),
            User,
            "Cannot cast string 'a' to Int64",
        );
        let syntax = ParserError::ParserError("Expected: an expression, found: FROM at Line: 1, Column: 8".into());
        check(
            DataFusionError::SQL(Box::new(syntax), Some("\n\nbacktrace: 0: main".into())),
            User,
            "SQL syntax: Expected: an expression, found: FROM at Line: 1, Column: 8",
        );
    }

    #[test]
    fn messages_are_one_line_without_backtraces() {
        let text = format!("Optimizer failed\ncaused by\nno{}\n 0: main", DataFusionError::BACK_TRACE_SEP);
        check(DataFusionError::Plan(text), ErrorKind::User, "Optimizer failed caused by no");
        let bug = DataFusionError::External(DataFusionError::Internal("index 3 of 2".into()).to_string().into());
        check(bug, ErrorKind::Internal, "index 3 of 2.");
        check(DataFusionError::Internal("bad".into()).context("rule x"), ErrorKind::Internal, "rule x: bad");
    }

    #[test]
    fn input_machine_and_gaps() {
        use ErrorKind::{Cancelled, Corrupt, Resources, Unsupported, User};
        check(
            ParquetError::General("Invalid Parquet file. Corrupt footer".into()).into(),
            Corrupt,
            "Invalid Parquet file. Corrupt footer",
        );
        check(
            ArrowError::CsvError("incorrect number of fields for line 3".into()).into(),
            Corrupt,
            "incorrect number of fields for line 3",
        );
        check(ArrowError::ParseError("Error parsing 'x'".into()).into(), User, "Error parsing 'x'");
        check(DataFusionError::ResourcesExhausted("no memory".into()), Resources, "no memory");
        check(DataFusionError::NotImplemented("PIVOT".into()), Unsupported, "PIVOT");
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let words = full.to_string();
        check(DataFusionError::IoError(full), Resources, &words);
        check(
            ParquetError::General("External: No space left on device (os error 28)".into()).into(),
            Resources,
            "No space left on device (os error 28)",
        );
        let missing = object_store::Error::NotFound { path: "data/a.parquet".into(), source: "os error 2".into() };
        check(ParquetError::External(Box::new(missing)).into(), User, "no such file: data/a.parquet");
        check(to_datafusion(Error::cancelled("stopped")), Cancelled, "stopped");
    }
}
