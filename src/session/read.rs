//! Files as DataFrames.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bireme_connectors::discover;
use bireme_connectors::file_table::FileTable;
use bireme_connectors::location::Location;
use bireme_connectors::options::{CsvOptions, FileFormatOptions, IpcOptions, JsonOptions, ParquetOptions};
use bireme_connectors::snapshot::{HostSnapshot, TableSnapshot};
use bireme_connectors::store::register_store;
use bireme_engine::error::{Error, Result};
use bireme_engine::machine::host_id;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};

use super::Session;
use crate::frame::DataFrame;

impl Session {
    /// Parquet files: a file, a directory, or a glob, on a file system, under `local://` (each host's own disk), or in an
    /// object store (feature `cloud`). Directories named `k=v` become columns.
    ///
    /// # Errors
    /// No such file, a file that is not Parquet or is cut off, files whose columns differ; the message names the file.
    pub fn read_parquet(&self, path: &str) -> Result<DataFrame> {
        self.read_parquet_with(path, ParquetOptions::default())
    }

    /// [`Session::read_parquet`] with options.
    ///
    /// # Errors
    /// As [`Session::read_parquet`].
    pub fn read_parquet_with(&self, path: &str, options: ParquetOptions) -> Result<DataFrame> {
        self.read_as(path, FileFormatOptions::Parquet(options))
    }

    /// CSV files with a header, commas and double quotes; column types are found from the first rows.
    ///
    /// # Errors
    /// As [`Session::read_parquet`]; ragged rows are found when the query runs, with their line.
    pub fn read_csv(&self, path: &str) -> Result<DataFrame> {
        match FileFormatOptions::of_name(path) {
            // `.tsv` says another delimiter.
            Some(FileFormatOptions::Csv(options)) => self.read_csv_with(path, options),
            _ => self.read_csv_with(path, CsvOptions::default()),
        }
    }

    /// [`Session::read_csv`] with options.
    ///
    /// # Errors
    /// As [`Session::read_csv`].
    pub fn read_csv_with(&self, path: &str, options: CsvOptions) -> Result<DataFrame> {
        self.read_as(path, FileFormatOptions::Csv(options))
    }

    /// JSON files: one object a line, or one array of objects.
    ///
    /// # Errors
    /// As [`Session::read_parquet`].
    pub fn read_json(&self, path: &str) -> Result<DataFrame> {
        self.read_json_with(path, JsonOptions::default())
    }

    /// [`Session::read_json`] with options.
    ///
    /// # Errors
    /// As [`Session::read_parquet`].
    pub fn read_json_with(&self, path: &str, options: JsonOptions) -> Result<DataFrame> {
        self.read_as(path, FileFormatOptions::Json(options))
    }

    /// Arrow IPC files, in the file or the stream format.
    ///
    /// # Errors
    /// As [`Session::read_parquet`].
    pub fn read_ipc(&self, path: &str) -> Result<DataFrame> {
        self.read_as(path, FileFormatOptions::Ipc(IpcOptions::default()))
    }

    /// Files of the format that their names suggest.
    ///
    /// # Errors
    /// As [`Session::read_parquet`], and the name suggests no format.
    pub fn read(&self, path: &str) -> Result<DataFrame> {
        let table = self.file_table(&[path.to_owned()], None)?;
        self.scan(path, table)
    }

    fn read_as(&self, path: &str, format: FileFormatOptions) -> Result<DataFrame> {
        let table = self.file_table(&[path.to_owned()], Some(format))?;
        self.scan(path, table)
    }

    pub(crate) fn scan(&self, path: &str, table: Arc<dyn TableProvider>) -> Result<DataFrame> {
        let name = self.anonymous_name(path);
        let plan = LogicalPlanBuilder::scan(name.as_str(), provider_as_source(table), None)
            .and_then(LogicalPlanBuilder::build);
        let plan = plan.map_err(|error| self.explain_error(error))?;
        Ok(self.frame(datafusion::dataframe::DataFrame::new(self.inner.context.state(), plan)))
    }

    /// The file's own name, so that `col("orders.o_orderkey")` works; numbered if that is not a plain word.
    fn anonymous_name(&self, path: &str) -> String {
        let stem = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = stem.split('.').next().unwrap_or_default().to_lowercase();
        let word = !stem.is_empty() && stem.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
        if word { stem } else { format!("table_{}", self.inner.tables.fetch_add(1, Ordering::Relaxed)) }
    }

    /// A table over files, the same on every rank: rank 0 looks at the files and tells the others what it saw.
    pub(super) fn file_table(
        &self,
        paths: &[String],
        format: Option<FileFormatOptions>,
    ) -> Result<Arc<dyn TableProvider>> {
        let locations = paths.iter().map(|path| Location::parse(path)).collect::<Result<Vec<_>>>()?;
        for location in &locations {
            self.open_store(location)?;
        }
        let look = || {
            let format = match &format {
                Some(format) => format.clone(),
                None => format_of(paths)?,
            };
            let state = self.inner.context.state();
            self.inner.ranks[0].runtime.block_on(discover(paths, &format, &state))
        };
        let own_disks = locations.iter().any(Location::own_disk);
        let snapshot =
            if own_disks { self.look_on_every_host(look)? } else { self.decide_on_root("look at files", look)? };
        Ok(Arc::new(FileTable::try_new(snapshot)?))
    }

    /// One rank of each host looks at its disk; the hosts' files together are the table.
    fn look_on_every_host(&self, look: impl FnOnce() -> Result<TableSnapshot>) -> Result<TableSnapshot> {
        let rank = match self.inner.ranks.as_slice() {
            [rank] if rank.control.ranks() > 1 => rank,
            ranks => {
                let ranks = (0..ranks.len() as u32).collect();
                return TableSnapshot::merge_hosts(vec![HostSnapshot { ranks, snapshot: look()? }]);
            }
        };
        let hosts = rank.control.all_gather_values("hosts", &host_id())?;
        let neighbours = (0..hosts.len()).filter(|&other| hosts[other] == hosts[rank.number]);
        let ranks = neighbours.map(|rank| rank as u32).collect::<Vec<_>>();
        let first = ranks.first() == Some(&(rank.number as u32));
        let ours = if first { Some(look().map(|snapshot| HostSnapshot { ranks, snapshot })) } else { None };
        let all = rank.control.all_gather_values("files on hosts", &ours)?;
        TableSnapshot::merge_hosts(all.into_iter().flatten().collect::<Result<Vec<_>>>()?)
    }

    fn open_store(&self, location: &Location) -> Result<()> {
        let url = location.store_url();
        if url.starts_with("file:") {
            return Ok(());
        }
        let url = url::Url::parse(&url).map_err(|error| Error::user(format!("{url}: {error}")))?;
        let first = &self.inner.ranks[0];
        register_store(&self.inner.context.runtime_env(), &url, &first.reads)?;
        for rank in &self.inner.ranks {
            register_store(rank.runtime.environment(), &url, &rank.reads)?;
        }
        Ok(())
    }
}

/// The format of the first path, by its name or by what the directory holds.
fn format_of(paths: &[String]) -> Result<FileFormatOptions> {
    let path = paths.first().map(String::as_str).unwrap_or_default();
    if let Some(format) = FileFormatOptions::of_name(path) {
        return Ok(format);
    }
    let local = Location::parse(path)?.local_path().map(Path::to_path_buf);
    if let Some(found) = local.as_deref().filter(|path| path.is_dir()).and_then(first_format) {
        return Ok(found);
    }
    match local {
        Some(local) if !local.exists() && !path.contains(['*', '?', '[']) => {
            Err(Error::user(format!("{path}: no such file or directory")))
        }
        _ => Err(Error::user(format!(
            "{path}: the name does not tell the format; use .parquet, .csv, .tsv, .json, .ndjson or .arrow, or read_parquet \
             and the like"
        ))),
    }
}

fn first_format(directory: &Path) -> Option<FileFormatOptions> {
    let mut entries = std::fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    entries.sort();
    entries.iter().find_map(|path| {
        let name = path.file_name()?.to_string_lossy();
        match name.starts_with(['.', '_']) {
            true => None,
            false if path.is_dir() => first_format(path),
            false => FileFormatOptions::of_name(&name),
        }
    })
}

/// The bytes of all files that a program reads.
pub(super) fn bytes_of(program: &LogicalPlan) -> u64 {
    let mut bytes = 0;
    let visited = program.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
            && let Some(table) = (provider.as_ref() as &dyn std::any::Any).downcast_ref::<FileTable>()
        {
            bytes += table.snapshot().total_bytes();
        }
        Ok(TreeNodeRecursion::Continue)
    });
    // Only for a progress bar: what could not be visited does not count.
    visited.map_or(0, |_| bytes)
}
