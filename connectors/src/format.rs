//! DataFusion's readers for our formats.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::config::{CsvOptions as DfCsvOptions, JsonOptions as DfJsonOptions};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;

use crate::options::{Compression, CsvOptions, FileFormatOptions, JsonOptions};

/// The reader of a format; what the options do not say, the session's configuration does.
pub(crate) fn file_format(
    format: &FileFormatOptions,
    compression: Compression,
    state: &dyn Session,
) -> Arc<dyn FileFormat> {
    match format {
        FileFormatOptions::Parquet(options) => {
            let mut parquet = state.default_table_options().parquet;
            parquet.global.binary_as_string |= options.binary_as_string;
            // Extension types of columns are metadata; who asks for columns drops the rest.
            parquet.global.skip_metadata = false;
            Arc::new(ParquetFormat::default().with_options(parquet))
        }
        FileFormatOptions::Csv(options) => {
            Arc::new(CsvFormat::default().with_options(csv_options(options, compression)))
        }
        FileFormatOptions::Json(options) => {
            Arc::new(JsonFormat::default().with_options(json_options(options, compression)))
        }
        FileFormatOptions::Ipc(_) => Arc::new(ArrowFormat),
    }
}

fn csv_options(options: &CsvOptions, compression: Compression) -> DfCsvOptions {
    DfCsvOptions {
        has_header: Some(options.header),
        delimiter: options.delimiter,
        quote: options.quote,
        escape: options.escape,
        comment: options.comment,
        newlines_in_values: Some(options.newlines_in_values),
        truncated_rows: Some(options.short_rows),
        schema_infer_max_rec: Some(options.infer_rows),
        null_regex: options.null_pattern(),
        compression: *compression.file_type().get_variant(),
        ..DfCsvOptions::default()
    }
}

fn json_options(options: &JsonOptions, compression: Compression) -> DfJsonOptions {
    DfJsonOptions {
        newline_delimited: !options.array,
        schema_infer_max_rec: Some(options.infer_rows),
        compression: *compression.file_type().get_variant(),
        ..DfJsonOptions::default()
    }
}
