//! What one rank found out about a table of files, for all ranks to plan with.
//!
//! Two ranks that list a directory at different moments may see different files. So rank 0 alone looks
//! ([`crate::discover()`]) and sends this snapshot to the others; planning reads nothing else.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use bincode::{Decode, Encode};
use bireme_engine::{Error, Result};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::table_schema::TableSchema;
use object_store::ObjectMeta;
use object_store::path::Path;

use crate::error::from_datafusion;
use crate::ipc;
use crate::options::{Compression, FileFormatOptions, WireSchema};

/// A table of files as one rank saw it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct TableSnapshot {
    /// The format and how to read it.
    pub format: FileFormatOptions,
    /// The object store of all files, such as `file:///` or `s3://bucket`.
    pub store: String,
    /// The columns that stand in the files.
    pub file_schema: WireSchema,
    /// The columns that stand in directory names.
    pub partition_columns: Vec<PartitionColumn>,
    /// How the (text) files are compressed.
    pub compression: Compression,
    /// Arrow's stream format instead of its file format.
    pub ipc_stream: bool,
    /// The files, in the order in which they are read.
    pub files: Vec<FileEntry>,
    /// Rows, bytes, and each column's smallest and largest value, file by file.
    pub statistics: FileStatistics,
}

/// One file of a table.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FileEntry {
    /// The key in the object store.
    pub key: String,
    /// The name in messages.
    pub shown: String,
    /// Bytes.
    pub size: u64,
    /// When it was last changed: nanoseconds since 1970.
    pub modified_ns: i64,
    /// The values of the partition columns; `None` is NULL.
    pub partition_values: Vec<Option<String>>,
    /// The rank on whose host it lies; `None` if every rank sees it.
    pub pin: Option<u32>,
}

/// A column whose values stand in directory names: `year=2024/`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PartitionColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: PartitionKind,
    /// Whether a file has NULL.
    pub nullable: bool,
}

/// The type of a partition column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PartitionKind {
    /// All values are integers.
    Int64,
    /// All values are dates.
    Date32,
    /// Anything else.
    Utf8,
}

impl PartitionColumn {
    /// As an Arrow field.
    pub fn field(&self) -> FieldRef {
        let data_type = match self.kind {
            PartitionKind::Int64 => DataType::Int64,
            PartitionKind::Date32 => DataType::Date32,
            PartitionKind::Utf8 => DataType::Utf8,
        };
        Arc::new(Field::new(&self.name, data_type, self.nullable))
    }

    fn value(&self, text: Option<&String>) -> Result<ScalarValue> {
        let data_type = self.field().data_type().clone();
        let value = match text {
            None => ScalarValue::try_from(&data_type),
            Some(text) => ScalarValue::try_from_string(text.clone(), &data_type),
        };
        value.map_err(|error| from_datafusion(&error).context(format!("partition {}={text:?}", self.name)))
    }
}

/// What a [`PartitionedFile`] carries through the plan: its name in messages and the rank it is tied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTag {
    /// The name in messages.
    pub shown: Arc<str>,
    /// The rank on whose host it lies.
    pub pin: Option<u32>,
}

impl TableSnapshot {
    /// The columns of the files and of their directories.
    pub fn table_schema(&self) -> TableSchema {
        let partitions: Vec<FieldRef> = self.partition_columns.iter().map(PartitionColumn::field).collect();
        TableSchema::builder(Arc::clone(&self.file_schema.0)).with_table_partition_cols(partitions).build()
    }

    /// All columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(self.table_schema().table_schema())
    }

    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// The files as DataFusion plans them, each whole, with statistics, partition values and [`FileTag`].
    ///
    /// # Errors
    /// The snapshot is damaged.
    pub fn partitioned_files(&self) -> Result<Vec<PartitionedFile>> {
        let statistics = self.statistics.decode(&self.file_schema.0, self.files.len())?;
        self.files.iter().zip(statistics).map(|(file, statistics)| self.partitioned_file(file, statistics)).collect()
    }

    fn partitioned_file(&self, file: &FileEntry, mut statistics: Statistics) -> Result<PartitionedFile> {
        let location = Path::parse(&file.key)
            .map_err(|cause| Error::internal(format!("{}: key {} is not a path: {cause}", file.shown, file.key)))?;
        let mut planned = PartitionedFile::new_from_meta(ObjectMeta {
            location,
            last_modified: file.modified().into(),
            size: file.size,
            e_tag: None,
            version: None,
        });
        let values = self.partition_columns.iter().zip(&file.partition_values);
        planned.partition_values = values.map(|(column, text)| column.value(text.as_ref())).collect::<Result<_>>()?;
        let partition_statistics =
            planned.partition_values.iter().map(|value| partition_statistics(value, &statistics));
        let partition_statistics: Vec<_> = partition_statistics.collect();
        statistics.column_statistics.extend(partition_statistics);
        planned.statistics = Some(Arc::new(statistics));
        Ok(planned.with_extension(FileTag { shown: file.shown.as_str().into(), pin: file.pin }))
    }

    /// One snapshot from those of several hosts, each taken by one rank of its host: every file is tied to a rank of
    /// the host it lies on, so that the ranks of a host share its bytes evenly.
    ///
    /// # Errors
    /// The hosts disagree about the table's columns or format.
    pub fn merge_hosts(parts: Vec<HostSnapshot>) -> Result<Self> {
        let mut parts = parts.into_iter().filter(|part| !part.ranks.is_empty());
        let Some(first) = parts.next() else { return Err(Error::internal("no host to take a snapshot from")) };
        let first_rank = first.ranks[0];
        let cols = first.snapshot.file_schema.0.fields().len();
        let mut merged = first.pinned();
        for part in parts {
            let rank = part.ranks[0];
            let part = part.pinned();
            if part.file_schema != merged.file_schema || part.partition_columns != merged.partition_columns {
                return Err(Error::user(format!(
                    "the local:// files on the host of rank {rank} have other columns than those on the host of rank \
                     {first_rank}: {} against {}",
                    columns_text(&part.file_schema.0),
                    columns_text(&merged.file_schema.0)
                )));
            }
            if part.compression != merged.compression || part.ipc_stream != merged.ipc_stream {
                return Err(Error::user(format!(
                    "the local:// files on the hosts of ranks {first_rank} and {rank} differ in compression or layout"
                )));
            }
            let (here, there) = (merged.files.len(), part.files.len());
            merged.statistics =
                merged.statistics.concat(part.statistics, &merged.file_schema.0, cols, (here, there))?;
            merged.files.extend(part.files);
        }
        Ok(merged)
    }
}

/// What one rank saw on its host's own disk.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct HostSnapshot {
    /// The ranks on that host, ascending.
    pub ranks: Vec<u32>,
    /// What was seen.
    pub snapshot: TableSnapshot,
}

impl HostSnapshot {
    /// Ties each file to the rank of this host that has the fewest bytes so far.
    fn pinned(mut self) -> TableSnapshot {
        let mut loads: Vec<(u64, u32)> = self.ranks.iter().map(|&rank| (0, rank)).collect();
        for file in &mut self.snapshot.files {
            if let Some(least) = loads.iter_mut().min() {
                least.0 += file.size.max(1);
                file.pin = Some(least.1);
            }
        }
        self.snapshot
    }
}

impl FileEntry {
    pub(crate) fn modified(&self) -> SystemTime {
        let distance = Duration::from_nanos(self.modified_ns.unsigned_abs());
        if self.modified_ns < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }
}

pub(crate) fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanoseconds| -nanoseconds),
    }
}

pub(crate) fn columns_text(schema: &Schema) -> String {
    let columns = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
    format!("({})", columns.collect::<Vec<_>>().join(", "))
}

/// Unlike `PartitionedFile::with_statistics`, right for NULL partitions too.
fn partition_statistics(value: &ScalarValue, file: &Statistics) -> ColumnStatistics {
    let mut statistics = ColumnStatistics::new_unknown();
    if value.is_null() {
        statistics.null_count = file.num_rows;
        return statistics;
    }
    statistics.null_count = Precision::Exact(0);
    statistics.min_value = Precision::Exact(value.clone());
    statistics.max_value = Precision::Exact(value.clone());
    statistics.distinct_count = Precision::Exact(1);
    statistics
}

/// Statistics of files, in a form that can be sent.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct FileStatistics {
    /// Rows, output bytes: one pair a file.
    sizes: Vec<(Count, Count)>,
    /// NULLs, distinct values, bytes: file by file, column by column.
    columns: Vec<(Count, Count, Count)>,
    /// Whether the smallest and the largest value are exact: file by file, column by column.
    exact: Vec<(bool, bool)>,
    /// An IPC stream of one batch with a row a file: the columns' smallest, then their largest values; NULL is unknown.
    bounds: Vec<u8>,
}

/// A number that is known, estimated or unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
enum Count {
    #[default]
    Unknown,
    Estimated(u64),
    Exact(u64),
}

impl From<&Precision<usize>> for Count {
    fn from(number: &Precision<usize>) -> Self {
        match number {
            Precision::Exact(number) => Self::Exact(*number as u64),
            Precision::Inexact(number) => Self::Estimated(*number as u64),
            Precision::Absent => Self::Unknown,
        }
    }
}

impl From<Count> for Precision<usize> {
    fn from(count: Count) -> Self {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        match count {
            Count::Exact(number) => Self::Exact(size(number)),
            Count::Estimated(number) => Self::Inexact(size(number)),
            Count::Unknown => Self::Absent,
        }
    }
}

impl FileStatistics {
    /// Packs the statistics of each file (over the file schema's columns).
    ///
    /// # Errors
    /// A value cannot be put into its column's type.
    pub fn encode(schema: &SchemaRef, files: &[Statistics]) -> Result<Self> {
        let mut packed = Self::default();
        for file in files {
            packed.sizes.push(((&file.num_rows).into(), (&file.total_byte_size).into()));
            for place in 0..schema.fields().len() {
                let unknown = ColumnStatistics::new_unknown();
                let column = file.column_statistics.get(place).unwrap_or(&unknown);
                let counts = [&column.null_count, &column.distinct_count, &column.byte_size].map(Count::from);
                packed.columns.push((counts[0], counts[1], counts[2]));
                let exact = |bound: &Precision<ScalarValue>| bound.is_exact() == Some(true);
                packed.exact.push((exact(&column.min_value), exact(&column.max_value)));
            }
        }
        let smallest = bounds(schema, files, "min", |column| &column.min_value)?;
        let largest = bounds(schema, files, "max", |column| &column.max_value)?;
        let batch = match RecordBatch::try_from_iter_with_nullable(smallest.into_iter().chain(largest)) {
            Ok(batch) if !files.is_empty() && !schema.fields().is_empty() => batch,
            _ => return Ok(packed),
        };
        packed.bounds = ipc::batch_bytes(&batch)?;
        Ok(packed)
    }

    /// Unpacks the statistics of `files` files.
    ///
    /// # Errors
    /// The bytes are damaged.
    pub fn decode(&self, schema: &SchemaRef, files: usize) -> Result<Vec<Statistics>> {
        let columns = schema.fields().len();
        if self.sizes.len() != files || self.columns.len() != files * columns || self.exact.len() != files * columns {
            return Ok(vec![Statistics::new_unknown(schema); files]);
        }
        let bounds = if self.bounds.is_empty() { None } else { Some(ipc::batch_from(&self.bounds)?) };
        let bound = |file: usize, place: usize, exact: bool| -> Result<Precision<ScalarValue>> {
            let Some(batch) = &bounds else { return Ok(Precision::Absent) };
            let array = batch.column(place);
            if array.is_null(file) || array.data_type() == &DataType::Null {
                return Ok(Precision::Absent);
            }
            let value = ScalarValue::try_from_array(array, file).map_err(|error| from_datafusion(&error))?;
            Ok(if exact { Precision::Exact(value) } else { Precision::Inexact(value) })
        };
        let unpack = |file: usize| -> Result<Statistics> {
            let mut statistics = Statistics::new_unknown(schema);
            statistics.num_rows = self.sizes[file].0.into();
            statistics.total_byte_size = self.sizes[file].1.into();
            for (place, column) in statistics.column_statistics.iter_mut().enumerate() {
                let (nulls, distinct, bytes) = self.columns[file * columns + place];
                let (min_exact, max_exact) = self.exact[file * columns + place];
                column.null_count = nulls.into();
                column.distinct_count = distinct.into();
                column.byte_size = bytes.into();
                column.min_value = bound(file, place, min_exact)?;
                column.max_value = bound(file, columns + place, max_exact)?;
            }
            Ok(statistics)
        };
        (0..files).map(unpack).collect()
    }

    fn concat(self, other: Self, schema: &SchemaRef, columns: usize, files: (usize, usize)) -> Result<Self> {
        debug_assert_eq!(columns, schema.fields().len());
        let mut all = self.decode(schema, files.0)?;
        all.extend(other.decode(schema, files.1)?);
        Self::encode(schema, &all)
    }
}

fn bounds(
    schema: &SchemaRef,
    files: &[Statistics],
    prefix: &str,
    pick: impl Fn(&ColumnStatistics) -> &Precision<ScalarValue>,
) -> Result<Vec<(String, ArrayRef, bool)>> {
    let mut columns = Vec::new();
    for (place, field) in schema.fields().iter().enumerate() {
        let data_type = field.data_type();
        let unknown = || ScalarValue::try_from(data_type).unwrap_or(ScalarValue::Null);
        let value = |file: &Statistics| {
            let known = file.column_statistics.get(place).and_then(|column| pick(column).get_value().cloned());
            known.and_then(|value| value.cast_to(data_type).ok()).unwrap_or_else(unknown)
        };
        // Nested types have no bounds, and an array of them may not even be possible.
        let array = match ScalarValue::iter_to_array(files.iter().map(value)) {
            Ok(array) => array,
            Err(_) => arrow::array::new_null_array(&DataType::Null, files.len()),
        };
        columns.push((format!("{prefix}{place}"), array, true));
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test may end the test")]
    use super::*;
    use crate::options::{CsvOptions, ParquetOptions};

    fn schema() -> SchemaRef {
        let item = Arc::new(Field::new("item", DataType::Int32, true));
        Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8View, true),
            Field::new("tags", DataType::List(item), true),
        ]))
    }

    fn statistics(low: i64, high: i64) -> Statistics {
        let mut statistics = Statistics::new_unknown(&schema());
        statistics.num_rows = Precision::Exact(10);
        statistics.total_byte_size = Precision::Inexact(1000);
        statistics.column_statistics[0].min_value = Precision::Exact(ScalarValue::Int64(Some(low)));
        statistics.column_statistics[0].max_value = Precision::Inexact(ScalarValue::Int64(Some(high)));
        statistics.column_statistics[0].null_count = Precision::Exact(0);
        statistics.column_statistics[1].min_value = Precision::Exact(ScalarValue::Utf8View(Some("a".into())));
        statistics
    }

    fn snapshot(files: &[(&str, Statistics)]) -> TableSnapshot {
        let entry = |name: &&str| FileEntry {
            key: format!("data/{name}"),
            shown: format!("/data/{name}"),
            size: 100,
            modified_ns: 1_700_000_000_123_456_789,
            partition_values: vec![Some("2024".into()), None],
            pin: None,
        };
        let kinds = [("year", PartitionKind::Int64, false), ("day", PartitionKind::Date32, true)];
        let columns = kinds.map(|(name, kind, nullable)| PartitionColumn { name: name.into(), kind, nullable });
        let statistics: Vec<_> = files.iter().map(|(_, statistics)| statistics.clone()).collect();
        TableSnapshot {
            format: FileFormatOptions::Parquet(ParquetOptions::default()),
            store: "file:///".into(),
            file_schema: schema().into(),
            partition_columns: columns.to_vec(),
            compression: Compression::None,
            ipc_stream: false,
            files: files.iter().map(|(name, _)| entry(name)).collect(),
            statistics: FileStatistics::encode(&schema(), &statistics).unwrap(),
        }
    }

    #[test]
    fn round_trip() {
        let before = snapshot(&[("a", statistics(1, 5)), ("b", Statistics::new_unknown(&schema()))]);
        let bytes = bincode::encode_to_vec(&before, bincode::config::standard()).unwrap();
        let (after, _) = bincode::decode_from_slice::<TableSnapshot, _>(&bytes, bincode::config::standard()).unwrap();
        assert_eq!(after, before);
        let files = after.partitioned_files().unwrap();
        let first = files[0].statistics.as_ref().unwrap();
        assert_eq!(first.column_statistics[..3], statistics(1, 5).column_statistics[..]);
        assert_eq!(first.num_rows, Precision::Exact(10));
        assert_eq!(first.column_statistics[3].min_value, Precision::Exact(ScalarValue::Int64(Some(2024))));
        assert_eq!(first.column_statistics[4].null_count, Precision::Exact(10));
        assert_eq!(files[1].statistics.as_ref().unwrap().num_rows, Precision::Absent);
        assert_eq!(files[0].partition_values, [ScalarValue::Int64(Some(2024)), ScalarValue::Date32(None)]);
        assert_eq!(nanoseconds(after.files[0].modified()), 1_700_000_000_123_456_789);
        assert_eq!(files[0].extension::<FileTag>().unwrap().shown.as_ref(), "/data/a");
    }

    #[test]
    fn hosts_share_their_files_among_their_ranks() {
        let left = snapshot(&[("a", statistics(1, 2)), ("b", statistics(3, 4)), ("c", statistics(5, 6))]);
        let right = snapshot(&[("a", statistics(7, 8))]);
        let host = |ranks: &[u32], snapshot: &TableSnapshot| HostSnapshot {
            ranks: ranks.to_vec(),
            snapshot: snapshot.clone(),
        };
        let merged = TableSnapshot::merge_hosts(vec![host(&[0, 1], &left), host(&[2], &right)]).unwrap();
        let pins: Vec<_> = merged.files.iter().map(|file| file.pin).collect();
        assert_eq!(pins, [Some(0), Some(1), Some(0), Some(2)]);
        let last = merged.partitioned_files().unwrap().pop().unwrap();
        assert_eq!(last.statistics.unwrap().column_statistics[0], statistics(7, 8).column_statistics[0]);
        let mut other = right;
        other.file_schema = Schema::new(vec![Field::new("id", DataType::Utf8, true)]).into();
        let error = TableSnapshot::merge_hosts(vec![host(&[0], &left), host(&[1], &other)]).unwrap_err();
        assert!(error.message().contains("id Utf8"), "{error}");
    }

    #[test]
    fn csv_options_travel() {
        let mut before = snapshot(&[]);
        before.format = FileFormatOptions::Csv(CsvOptions::default().with_schema(schema()));
        let bytes = bincode::encode_to_vec(&before, bincode::config::standard()).unwrap();
        let (after, _) = bincode::decode_from_slice::<TableSnapshot, _>(&bytes, bincode::config::standard()).unwrap();
        assert_eq!(after, before);
    }
}
