//! Results as files.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub use bireme_connectors::write::{
    CsvWriteOptions, IpcWriteOptions, JsonWriteOptions, Layout, ParquetCompression, ParquetWriteOptions, WriteFormat,
    WriteMode, WriteOptions,
};
use bireme_connectors::write::{FileSink, Job, check_target, clear_dead_jobs};
use bireme_engine::error::{Error, Result};
use bireme_planner::Delivery;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::dml::CopyTo;

use crate::frame::DataFrame;
use crate::session::Session;

impl DataFrame {
    /// Writes Parquet: one file if the path ends in `.parquet`, else a directory with a file a lane. Nothing is visible
    /// before all of it is written. Returns the number of rows.
    ///
    /// # Errors
    /// The target exists (unless the session overwrites), cannot be written, or as [`DataFrame::collect`].
    pub fn write_parquet(&self, path: &str) -> Result<u64> {
        self.write(path, WriteOptions::new(WriteFormat::Parquet(ParquetWriteOptions::default())))
    }

    /// Writes CSV with a header; otherwise as [`DataFrame::write_parquet`].
    ///
    /// # Errors
    /// As [`DataFrame::write_parquet`].
    pub fn write_csv(&self, path: &str) -> Result<u64> {
        self.write(path, WriteOptions::new(WriteFormat::Csv(CsvWriteOptions::default())))
    }

    /// Writes JSON, one object a line; otherwise as [`DataFrame::write_parquet`].
    ///
    /// # Errors
    /// As [`DataFrame::write_parquet`].
    pub fn write_json(&self, path: &str) -> Result<u64> {
        self.write(path, WriteOptions::new(WriteFormat::Json(JsonWriteOptions::default())))
    }

    /// Writes Arrow IPC files; otherwise as [`DataFrame::write_parquet`].
    ///
    /// # Errors
    /// As [`DataFrame::write_parquet`].
    pub fn write_ipc(&self, path: &str) -> Result<u64> {
        self.write(path, WriteOptions::new(WriteFormat::Ipc(IpcWriteOptions::default())))
    }

    /// Writes files with options: format, partition columns, mode.
    ///
    /// # Errors
    /// As [`DataFrame::write_parquet`].
    pub fn write(&self, path: &str, options: WriteOptions) -> Result<u64> {
        self.session().write(self.program(), path, options)
    }
}

impl Session {
    /// `COPY (query) TO 'path' STORED AS … PARTITIONED BY (…) OPTIONS (…)`.
    pub(crate) fn copy(&self, copy: &CopyTo) -> Result<DataFrame> {
        let options = copy.options.iter().map(|(key, value)| (key.to_lowercase(), value.clone()));
        let mut options = CopyOptions { options: options.collect() };
        let format = options.format(&copy.file_type.get_ext())?;
        let mut write = WriteOptions::new(format);
        write.partition_by = copy.partition_by.clone();
        write.layout = match options.take(&["single_file_output"]).as_deref() {
            Some("true") => Some(Layout::SingleFile),
            Some("false") => Some(Layout::Directory),
            _ => None,
        };
        options.nothing_left()?;
        let rows = self.write(&copy.input, &copy.output_url, write)?;
        self.counted(rows)
    }

    /// Runs a query into files: every rank writes its lanes into a hidden job folder, and rank 0 moves them into place
    /// when all ranks have agreed that all went well. Where they do not, rank 0 takes the folder away; if a rank was lost it may
    /// be that one, so every survivor does.
    pub(crate) fn write(&self, program: &LogicalPlan, target: &str, mut options: WriteOptions) -> Result<u64> {
        if options.mode == WriteMode::Create && self.overwrites() {
            options.mode = WriteMode::Overwrite;
        }
        let mode = options.mode;
        let job = self.decide_on_root("check target", || {
            clear_dead_jobs(target)?;
            check_target(target, mode).map(|()| Job::next())
        })?;
        let schema = Arc::new(program.schema().as_arrow().clone());
        let sink = Arc::new(FileSink::new(target, schema, options, &job)?);
        let delivery = if sink.single_lane() { Delivery::Root } else { Delivery::Lanes };
        let leftovers = self.leftovers();
        let writing = leftovers.writing(&sink);
        let written = self.act(program, delivery, |_| Arc::clone(&sink) as _).and_then(|acted| {
            let rows = acted.iter().filter_map(|acted| {
                let last = acted.planned.placed.graph().stages.last()?.id;
                Some(acted.report.stage(last)?.rows)
            });
            let (files, rows) = self.sum_over_ranks("files written", (sink.files_written(), rows.sum::<u64>()))?;
            // From here on the files are rank 0's, which may be moving them: nobody else may take them away.
            drop(writing);
            self.decide_on_root("publish", || sink.publish(files))?;
            Ok(rows)
        });
        if written.is_err() && (self.is_root() || self.peers().lost().is_some()) {
            // The first error is the one to report; what could not be removed is said in the log.
            if let Err(error) = sink.abort() {
                tracing::warn!(%error, target, "removing an unfinished result");
            }
        }
        written
    }
}

/// The options of a COPY; what is understood is taken out.
struct CopyOptions {
    options: HashMap<String, String>,
}

impl CopyOptions {
    fn take(&mut self, names: &[&str]) -> Option<String> {
        names
            .iter()
            .find_map(|name| self.options.remove(*name).or_else(|| self.options.remove(&format!("format.{name}"))))
    }

    fn format(&mut self, kind: &str) -> Result<WriteFormat> {
        Ok(match kind.trim_start_matches('.').to_lowercase().as_str() {
            "parquet" => {
                let mut parquet = ParquetWriteOptions::default();
                if let Some(compression) = self.take(&["compression"]) {
                    parquet.compression = compression_of(&compression)?;
                }
                if let Some(rows) = self.take(&["max_row_group_size"]) {
                    parquet.row_group_rows = rows
                        .parse()
                        .map_err(|_| Error::user(format!("option max_row_group_size: `{rows}` is not a number")))?;
                }
                WriteFormat::Parquet(parquet)
            }
            "csv" | "tsv" => {
                let mut csv = CsvWriteOptions::default();
                if let Some(header) = self.take(&["has_header", "header"]) {
                    csv.header = header == "true";
                }
                if let Some(delimiter) = self.take(&["delimiter"]) {
                    csv.delimiter = match delimiter.as_bytes() {
                        [byte] => *byte,
                        b"\\t" => b'\t',
                        _ => {
                            return Err(Error::user(format!(
                                "option delimiter: expected one byte, found `{delimiter}`"
                            )));
                        }
                    };
                }
                if let Some(null) = self.take(&["null_value"]) {
                    csv.null_value = null;
                }
                WriteFormat::Csv(csv)
            }
            "json" | "ndjson" => WriteFormat::Json(JsonWriteOptions::default()),
            "arrow" | "ipc" => WriteFormat::Ipc(IpcWriteOptions::default()),
            other => {
                return Err(Error::unsupported(format!("COPY … STORED AS {other}; use PARQUET, CSV, JSON or ARROW")));
            }
        })
    }

    fn nothing_left(&self) -> Result<()> {
        let left = self.options.keys().collect::<std::collections::BTreeSet<_>>();
        match left.first() {
            None => Ok(()),
            Some(unknown) => Err(Error::user(format!("COPY has no option `{unknown}`"))),
        }
    }
}

fn compression_of(text: &str) -> Result<ParquetCompression> {
    let known: BTreeMap<&str, ParquetCompression> = BTreeMap::from([
        ("uncompressed", ParquetCompression::Uncompressed),
        ("none", ParquetCompression::Uncompressed),
        ("snappy", ParquetCompression::Snappy),
        ("lz4", ParquetCompression::Lz4),
        ("lz4_raw", ParquetCompression::Lz4),
        ("zstd", ParquetCompression::Zstd(3)),
    ]);
    let lower = text.to_lowercase();
    if let Some(level) = lower.strip_prefix("zstd(").and_then(|rest| rest.strip_suffix(')')?.parse().ok()) {
        return Ok(ParquetCompression::Zstd(level));
    }
    known.get(lower.as_str()).copied().ok_or_else(|| {
        Error::user(format!("option compression: `{text}`; use uncompressed, snappy, lz4 or zstd(level)"))
    })
}
