//! The part of one lane: a file, or a file for each partition.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, SortField};
use bireme_engine::stage::LaneSink;
use bireme_engine::{Error, Result};

use super::encode::Encoder;
use super::job::Job;
use super::options::WriteFormat;
use crate::{error, hive};

/// What all lanes of a sink share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) stage: PathBuf,
    pub(crate) job: Job,
    pub(crate) format: WriteFormat,
    /// The columns of the files.
    pub(crate) file_schema: SchemaRef,
    /// The places of the files' columns in the rows that arrive.
    pub(crate) file_columns: Vec<usize>,
    /// The names and places of the columns that become directories.
    pub(crate) partitions: Vec<(String, usize)>,
    pub(crate) open_files: usize,
    /// Files that this process has ended.
    pub(crate) ended: AtomicU64,
}

/// Writes what one lane gets. Files appear with their first row.
pub(crate) struct FileLane {
    shared: Arc<Shared>,
    lane: usize,
    /// The open files by directory; `""` without partitions.
    open: HashMap<String, OpenFile>,
    /// How often each directory was begun: a partition that was ended early goes on in another file.
    begun: HashMap<String, usize>,
    /// All files of this lane, to take away if it does not end well.
    paths: Vec<PathBuf>,
    clock: u64,
    closed: bool,
}

struct OpenFile {
    encoder: Encoder,
    last_used: u64,
}

impl FileLane {
    pub(crate) fn new(shared: Arc<Shared>, lane: usize) -> Self {
        let (open, begun, paths) = (HashMap::new(), HashMap::new(), Vec::new());
        Self { shared, lane, open, begun, paths, clock: 0, closed: false }
    }

    fn append(&mut self, directory: &str, batch: &RecordBatch) -> Result<()> {
        self.clock += 1;
        if let Some(file) = self.open.get_mut(directory) {
            file.last_used = self.clock;
            return file.encoder.write(batch);
        }
        self.end_least_used()?;
        let mut encoder = self.begin(directory)?;
        encoder.write(batch)?;
        self.open.insert(directory.to_string(), OpenFile { encoder, last_used: self.clock });
        Ok(())
    }

    fn begin(&mut self, directory: &str) -> Result<Encoder> {
        let folder = self.shared.stage.join(directory);
        std::fs::create_dir_all(&folder)
            .map_err(|cause| error::io(&cause, format!("creating {}", folder.display())))?;
        let times = self.begun.entry(directory.to_string()).or_default();
        let path = folder.join(part_name(self.lane, *times, &self.shared.job, &self.shared.format));
        *times += 1;
        self.paths.push(path.clone());
        Encoder::create(&path, &self.shared.file_schema, &self.shared.format)
    }

    fn end_least_used(&mut self) -> Result<()> {
        if self.open.len() < self.shared.open_files.max(1) {
            return Ok(());
        }
        let least = self.open.iter().min_by_key(|(_, file)| file.last_used).map(|(directory, _)| directory.clone());
        match least.and_then(|directory| self.open.remove(&directory)) {
            Some(file) => self.end(file),
            None => Ok(()),
        }
    }

    fn end(&self, file: OpenFile) -> Result<()> {
        file.encoder.finish()?;
        self.shared.ended.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// `part-00003-7f3a.parquet`
pub(crate) fn part_name(lane: usize, times: usize, job: &Job, format: &WriteFormat) -> String {
    let again = if times == 0 { String::new() } else { format!("-{times}") };
    format!("part-{lane:05}{again}-{job}.{}", format.extension())
}

impl LaneSink for FileLane {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.shared.partitions.is_empty() {
            let batch = dress(&self.shared, batch.columns().to_vec(), batch.num_rows())?;
            return self.append("", &batch);
        }
        for (directory, rows) in split(&self.shared, &batch)? {
            let columns = self.shared.file_columns.iter().map(|&place| take(batch.column(place), &rows, None));
            let part = dress(&self.shared, columns.collect::<Result<_, _>>()?, rows.len())?;
            self.append(&directory, &part)?;
        }
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        for (_, file) in std::mem::take(&mut self.open) {
            self.end(file)?;
        }
        self.closed = true;
        Ok(())
    }
}

impl Drop for FileLane {
    fn drop(&mut self) {
        if !self.closed {
            self.open.clear();
            for path in &self.paths {
                // It may not be there, and there is nobody to tell; the job's folder is removed as well.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// Batches may differ from the plan's schema in nullability; files say what the plan says.
fn dress(shared: &Shared, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let dressed = RecordBatch::try_new_with_options(Arc::clone(&shared.file_schema), columns, &options);
    dressed
        .map_err(|error| Error::internal(format!("rows do not fit the columns of {}: {error}", shared.stage.display())))
}

/// The rows of each partition, in the order in which the partitions first appear.
fn split(shared: &Shared, batch: &RecordBatch) -> Result<Vec<(String, UInt32Array)>> {
    let columns = shared.partitions.iter().map(|(_, place)| cast(batch.column(*place), &DataType::Utf8));
    let values: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
    let converter = RowConverter::new(vec![SortField::new(DataType::Utf8); values.len()])?;
    let keys = converter.convert_columns(&values)?;
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    let mut groups: Vec<(usize, Vec<u32>)> = Vec::new();
    for row in 0..batch.num_rows() {
        let place = *places.entry(keys.row(row).data()).or_insert(groups.len());
        if place == groups.len() {
            groups.push((row, Vec::new()));
        }
        groups[place].1.push(u32::try_from(row).map_err(|_| Error::internal("a batch of more than 2^32 rows"))?);
    }
    let directory = |row: usize| {
        let names = shared.partitions.iter().zip(&values).map(|((name, _), values)| {
            let values = values.as_string::<i32>();
            hive::directory(name, values.is_valid(row).then(|| values.value(row)))
        });
        names.collect::<Vec<_>>().join("/")
    };
    Ok(groups.into_iter().map(|(first, rows)| (directory(first), UInt32Array::from(rows))).collect())
}

/// Writes a file of no rows.
pub(crate) fn write_empty(path: &Path, schema: &SchemaRef, format: &WriteFormat) -> Result<()> {
    Encoder::create(path, schema, format)?.finish()
}
