//! Looks at the files of a table, once, on one rank: which there are, which columns they have, what is in them.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{Fields, Schema, SchemaRef};
use bireme_engine::{Error, ErrorKind, Result};
use datafusion::catalog::Session;
use datafusion::common::Statistics;
use datafusion::datasource::file_format::FileFormat;
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::error::from_datafusion;
use crate::format::file_format;
use crate::hive;
use crate::location::{FoundFile, Location};
use crate::merge_schemas::merge;
use crate::options::{Compression, CsvOptions, FileFormatOptions, JsonOptions};
use crate::snapshot::{FileEntry, FileStatistics, TableSnapshot, nanoseconds};
use crate::text_file::TextFile;
use crate::text_position::Dialect;

/// How keys of a field's metadata begin that say what its values mean.
const EXTENSION_KEYS: &str = "ARROW:extension:";

/// Finds the files under `paths`, their columns and statistics.
///
/// Runs on rank 0 only; the other ranks get the snapshot. For `local://` paths it runs on one rank of every host, and
/// [`TableSnapshot::merge_hosts`] joins what they saw; on its own such a snapshot ties its files to rank 0.
///
/// # Errors
/// No file, a file that is empty, unreadable or not of this format, or files whose columns differ; the message names
/// the file.
pub async fn discover(paths: &[String], format: &FileFormatOptions, state: &dyn Session) -> Result<TableSnapshot> {
    let locations: Vec<Location> = paths.iter().map(|path| Location::parse(path)).collect::<Result<_>>()?;
    let store_url = one_store(paths, &locations)?;
    let store = open_store(state, &store_url)?;
    let (files, own_disk) = list(&locations, format, &store).await?;
    let compression = one_compression(format, &files)?;

    let looker = Looker { format, compression, state, store };
    looker.refuse_empty(&files)?;
    let (partition_columns, partition_values) = hive::partitions(&files, format.hive_partitions())?;
    let (file_schema, ipc_stream) = looker.columns(&files).await?;
    let file_schema = hive::without_partition_columns(format, &file_schema, &partition_columns, &files)?;
    let statistics = looker.statistics(&file_schema, &files).await?;

    let details = partition_values.into_iter().zip(own_disk);
    let entries = files.into_iter().zip(details).map(|(file, (partition_values, own_disk))| FileEntry {
        key: file.key.to_string(),
        shown: file.shown,
        size: file.size,
        modified_ns: nanoseconds(file.modified),
        partition_values,
        pin: own_disk.then_some(0),
    });
    Ok(TableSnapshot {
        format: format.clone(),
        store: store_url,
        statistics: FileStatistics::encode(&file_schema, &statistics)?,
        file_schema: file_schema.into(),
        partition_columns,
        compression,
        ipc_stream,
        files: entries.collect(),
    })
}

fn one_store(paths: &[String], locations: &[Location]) -> Result<String> {
    let Some(first) = locations.first() else { return Err(Error::user("a table needs at least one path")) };
    let url = first.store_url();
    match locations.iter().position(|location| location.store_url() != url) {
        None => Ok(url),
        Some(other) => Err(Error::unsupported(format!(
            "{} and {} lie in different stores; make two tables of them and unite them with UNION ALL",
            paths[0], paths[other]
        ))),
    }
}

fn open_store(state: &dyn Session, url: &str) -> Result<Arc<dyn ObjectStore>> {
    let url = ObjectStoreUrl::parse(url).map_err(|error| from_datafusion(&error))?;
    state.runtime_env().object_store(&url).map_err(|error| from_datafusion(&error).context(format!("opening {url}")))
}

/// The files of all locations in order, each once, and whether its disk is a host's own.
async fn list(
    locations: &[Location],
    format: &FileFormatOptions,
    store: &Arc<dyn ObjectStore>,
) -> Result<(Vec<FoundFile>, Vec<bool>)> {
    let mut seen = HashSet::new();
    let (mut files, mut own_disk) = (Vec::new(), Vec::new());
    for location in locations {
        for file in location.list(store, &|name| format.claims(name)).await? {
            if seen.insert(file.key.clone()) {
                files.push(file);
                own_disk.push(location.own_disk());
            }
        }
    }
    Ok((files, own_disk))
}

fn one_compression(format: &FileFormatOptions, files: &[FoundFile]) -> Result<Compression> {
    let of = |file: &FoundFile| format.compression_of(&file.shown);
    let first = &files[0];
    match files.iter().find(|file| of(file) != of(first)) {
        None => Ok(of(first)),
        Some(other) => Err(Error::unsupported(format!(
            "{} and {} are compressed differently; the files of one table are compressed alike",
            first.shown, other.shown
        ))),
    }
}

/// What is needed to look into files.
struct Looker<'a> {
    format: &'a FileFormatOptions,
    compression: Compression,
    state: &'a dyn Session,
    store: Arc<dyn ObjectStore>,
}

impl Looker<'_> {
    /// Where the file tells its columns, a file without a byte is damaged.
    fn refuse_empty(&self, files: &[FoundFile]) -> Result<()> {
        let wants = match self.format {
            FileFormatOptions::Parquet(_) => "a Parquet file starts and ends with PAR1",
            FileFormatOptions::Ipc(_) => "an Arrow IPC file starts with a schema",
            FileFormatOptions::Csv(CsvOptions { header: true, schema: None, .. }) => "a header line was expected",
            FileFormatOptions::Csv(_) | FileFormatOptions::Json(_) => return self.refuse_all_empty(files),
        };
        match files.iter().find(|file| file.size == 0) {
            None => Ok(()),
            Some(file) => Err(Error::corrupt(format!("{} is empty: {wants}", file.shown))),
        }
    }

    fn refuse_all_empty(&self, files: &[FoundFile]) -> Result<()> {
        if self.format.user_schema().is_some() || files.iter().any(|file| file.size > 0) {
            return Ok(());
        }
        Err(Error::user(format!(
            "{} is empty, so its columns are not known; say them with the option `schema`",
            files[0].shown
        )))
    }

    /// The columns of all files together, and whether they are Arrow streams.
    async fn columns(&self, files: &[FoundFile]) -> Result<(SchemaRef, bool)> {
        if let Some(schema) = self.format.user_schema() {
            return Ok((Arc::clone(schema), false));
        }
        let files: Vec<&FoundFile> = files.iter().filter(|file| file.size > 0).collect();
        let looks: Vec<_> = files.iter().map(|file| self.columns_of(file)).collect();
        let schemas: Vec<SchemaRef> = futures::stream::iter(looks).buffered(self.concurrency()).try_collect().await?;
        let names: Vec<&str> = files.iter().map(|file| file.shown.as_str()).collect();
        let merged = merge(self.format, &names, &schemas)?;
        let stream = matches!(self.format, FileFormatOptions::Ipc(_)) && self.all_streams(&files).await?;
        Ok((merged, stream))
    }

    async fn columns_of(&self, file: &FoundFile) -> Result<SchemaRef> {
        let metas = [object_meta(file)];
        let inferred = match self.file_format().infer_schema(self.state, &self.store, &metas).await {
            Ok(schema) => schema,
            Err(error) => return Err(self.why(file, from_datafusion(&error)).await),
        };
        let mut names = HashSet::new();
        if let Some(twice) = inferred.fields().iter().find(|field| !names.insert(field.name().as_str())) {
            return Err(Error::user(format!("{} has two columns named {}", file.shown, twice.name())));
        }
        if inferred.fields().is_empty() {
            return Err(Error::user(format!("{} has no columns", file.shown)));
        }
        // What writers noted about themselves differs from file to file and means nothing here; extension types, such as shapes of
        // tensors, do.
        let fields = inferred.fields().iter().map(|field| {
            let mut metadata = field.metadata().clone();
            metadata.retain(|key, _| key.starts_with(EXTENSION_KEYS));
            Arc::new(field.as_ref().clone().with_metadata(metadata))
        });
        Ok(Arc::new(Schema::new(fields.collect::<Fields>())))
    }

    /// Says what is wrong with a file whose columns could not be read.
    async fn why(&self, file: &FoundFile, error: Error) -> Error {
        if matches!(error.kind(), ErrorKind::Resources | ErrorKind::Unsupported) {
            return error.context(format!("reading {}", file.shown));
        }
        match self.format {
            FileFormatOptions::Parquet(_) => self.why_not_parquet(file, &error).await,
            FileFormatOptions::Csv(options) => self.why_not_csv(file, options, &error).await,
            FileFormatOptions::Json(options) => self.why_not_json(file, options, &error).await,
            FileFormatOptions::Ipc(_) => {
                let message = error.message();
                Error::corrupt(format!("{} is not an Arrow IPC file, or a truncated one: {message}", file.shown))
            }
        }
    }

    async fn why_not_parquet(&self, file: &FoundFile, error: &Error) -> Error {
        let name = &file.shown;
        let (start, end) =
            match futures::join!(self.bytes(file, 0, 4), self.bytes(file, file.size.saturating_sub(4), 4)) {
                (Ok(start), Ok(end)) => (start, end),
                (Err(unreadable), _) | (_, Err(unreadable)) => return unreadable,
            };
        let message = if start != b"PAR1" {
            format!("{name} is not a Parquet file: it does not start with PAR1")
        } else if end != b"PAR1" {
            format!("{name} is a truncated Parquet file: it does not end with PAR1; copy or write it again")
        } else {
            format!("{name}: the footer of the Parquet file is damaged: {}", error.message())
        };
        Error::corrupt(message)
    }

    async fn why_not_csv(&self, file: &FoundFile, options: &CsvOptions, error: &Error) -> Error {
        let text = self.text(file);
        let dialect = Dialect::from(options);
        let first = text.find_record(dialect, |record| record.ordinal == 1).await;
        let columns = first.map_or(0, |record| record.fields);
        match text.find_record(dialect, |record| record.fields != columns).await {
            Some(record) => Error::corrupt(format!(
                "{}: line {}: {} fields instead of {columns} as on the first line",
                file.shown, record.line, record.fields
            )),
            None => Error::corrupt(format!("{}: not a CSV file: {}", file.shown, error.message())),
        }
    }

    async fn why_not_json(&self, file: &FoundFile, options: &JsonOptions, error: &Error) -> Error {
        let any = Arc::new(Schema::empty());
        let bad = if options.array { None } else { self.text(file).first_bad_json(&any).await };
        match bad {
            Some((line, problem)) => Error::corrupt(format!("{}: line {line}: {problem}", file.shown)),
            None => Error::corrupt(format!("{}: not a JSON file: {}", file.shown, error.message())),
        }
    }

    async fn bytes(&self, file: &FoundFile, from: u64, count: u64) -> Result<Vec<u8>> {
        let range = from..(from + count).min(file.size);
        match self.store.get_range(&file.key, range).await {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(cause) => Err(from_datafusion(&cause.into()).context(format!("reading {}", file.shown))),
        }
    }

    async fn all_streams(&self, files: &[&FoundFile]) -> Result<bool> {
        let first = self.bytes(files[0], 0, 6).await? != b"ARROW1";
        for file in &files[1..] {
            if (self.bytes(file, 0, 6).await? != b"ARROW1") != first {
                return Err(Error::unsupported(format!(
                    "{} and {}: one is in Arrow's file format, the other in its stream format",
                    files[0].shown, file.shown
                )));
            }
        }
        Ok(first)
    }

    async fn statistics(&self, schema: &SchemaRef, files: &[FoundFile]) -> Result<Vec<Statistics>> {
        if !matches!(self.format, FileFormatOptions::Parquet(_)) {
            return Ok(vec![Statistics::new_unknown(schema); files.len()]);
        }
        let looks: Vec<_> = files.iter().map(|file| self.statistics_of(file, schema)).collect();
        futures::stream::iter(looks).buffered(self.concurrency()).try_collect().await
    }

    async fn statistics_of(&self, file: &FoundFile, schema: &SchemaRef) -> Result<Statistics> {
        let meta = object_meta(file);
        let found = self.file_format().infer_stats(self.state, &self.store, Arc::clone(schema), &meta).await;
        found.map_err(|error| from_datafusion(&error).context(format!("reading the footer of {}", file.shown)))
    }

    fn file_format(&self) -> Arc<dyn FileFormat> {
        file_format(self.format, self.compression, self.state)
    }

    fn text(&self, file: &FoundFile) -> TextFile {
        TextFile {
            store: Arc::clone(&self.store),
            key: file.key.clone(),
            compression: self.compression,
            range_start: 0,
        }
    }

    fn concurrency(&self) -> usize {
        self.state.config_options().execution.meta_fetch_concurrency.get()
    }
}

fn object_meta(file: &FoundFile) -> ObjectMeta {
    ObjectMeta {
        location: file.key.clone(),
        last_modified: file.modified.into(),
        size: file.size,
        e_tag: None,
        version: None,
    }
}
