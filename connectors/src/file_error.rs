//! What went wrong with a file while it was scanned, in words that name the file and the line.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bireme_engine::{Error, ErrorKind};
use datafusion::common::DataFusionError;
use datafusion::datasource::listing::PartitionedFile;
use object_store::ObjectStore;
use parquet::errors::ParquetError;

use crate::csv_problem::CsvProblem;
use crate::error::{from_datafusion, to_datafusion};
use crate::options::{Compression, CsvOptions, FileFormatOptions, JsonOptions};
use crate::snapshot::FileTag;
use crate::text_file::TextFile;
use crate::text_position::Dialect;

/// What the files of one scan have in common.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) format: FileFormatOptions,
    pub(crate) compression: Compression,
    /// The columns that are decoded.
    pub(crate) decoded: SchemaRef,
}

/// One file of a scan.
#[derive(Clone, Debug)]
pub(crate) struct NamedFile {
    scan: Arc<Scan>,
    file: Arc<PartitionedFile>,
}

impl NamedFile {
    pub(crate) fn new(scan: &Arc<Scan>, file: PartitionedFile) -> Self {
        Self { scan: Arc::clone(scan), file: Arc::new(file) }
    }

    /// The error with the file's name, if the file is to blame; an error of an expression stays as it is.
    pub(crate) fn explain(&self, error: DataFusionError) -> DataFusionError {
        if !is_of_the_file(&error) {
            return error;
        }
        let known = from_datafusion(&error);
        let kind = if known.kind() == ErrorKind::Internal { ErrorKind::Corrupt } else { known.kind() };
        to_datafusion(Error::new(kind, format!("reading {}: {}", self.shown(), known.message())))
    }

    /// The same, with the line for text files; reads the file again to find it.
    pub(crate) async fn explain_with_line(&self, error: DataFusionError) -> DataFusionError {
        let Some(message) = text_problem(&error) else { return self.explain(error) };
        match &self.scan.format {
            FileFormatOptions::Csv(options) => self.csv_error(options, &message).await,
            FileFormatOptions::Json(options) => self.json_error(options, &message).await,
            FileFormatOptions::Parquet(_) | FileFormatOptions::Ipc(_) => self.corrupt(message),
        }
    }

    async fn csv_error(&self, options: &CsvOptions, message: &str) -> DataFusionError {
        let Some(problem) = CsvProblem::parse(message) else { return self.corrupt(message) };
        match self.text().line_of_record(Dialect::from(options), problem.ordinal).await {
            Some(line) => self.corrupt(format!("line {line}: {}", problem.what)),
            None => self.corrupt(message),
        }
    }

    async fn json_error(&self, options: &JsonOptions, message: &str) -> DataFusionError {
        let bad = if options.array { None } else { self.text().first_bad_json(&self.scan.decoded).await };
        match bad {
            Some((line, problem)) => self.corrupt(format!("line {line}: {problem}")),
            None => self.corrupt(message),
        }
    }

    fn shown(&self) -> String {
        match self.file.extension::<FileTag>() {
            Some(tag) => tag.shown.to_string(),
            None => self.file.path().to_string(),
        }
    }

    fn text(&self) -> TextFile {
        TextFile {
            store: Arc::clone(&self.scan.store),
            key: self.file.path().clone(),
            compression: self.scan.compression,
            range_start: self.file.range().0,
        }
    }

    fn corrupt(&self, what: impl fmt::Display) -> DataFusionError {
        to_datafusion(Error::corrupt(format!("{}: {what}", self.shown())))
    }
}

/// The message of an error that a CSV or JSON decoder gave.
fn text_problem(error: &DataFusionError) -> Option<String> {
    let DataFusionError::ArrowError(cause, _) = error.find_root() else { return None };
    match cause.as_ref() {
        ArrowError::CsvError(message) | ArrowError::JsonError(message) => Some(message.clone()),
        // Casts in expressions fail with the same variant; the decoder's texts start like this.
        ArrowError::ParseError(message)
            if message.starts_with("Error while parsing value") || message.starts_with("Error parsing column") =>
        {
            Some(message.clone())
        }
        _ => None,
    }
}

fn is_of_the_file(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::ParquetError(_) | DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => true,
        DataFusionError::ArrowError(cause, _) => match cause.as_ref() {
            ArrowError::ParquetError(_) | ArrowError::IpcError(_) | ArrowError::IoError(..) => true,
            ArrowError::CsvError(_) | ArrowError::JsonError(_) => true,
            ArrowError::ExternalError(inner) => inner.is::<ParquetError>() || inner.is::<object_store::Error>(),
            _ => false,
        },
        DataFusionError::External(inner) => inner.is::<ParquetError>() || inner.is::<object_store::Error>(),
        _ => false,
    }
}
