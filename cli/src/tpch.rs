//! TPC-H tables as Parquet files.
//!
//! Each table is cut into parts of about [`ROWS_PER_PART`] rows; a part becomes a row group. Threads make and encode
//! parts, one thread appends them in order:
//!
//! ```text
//!   thread 0: parts 0 3 6 … ──channel of 1──┐
//!   thread 1: parts 1 4 7 … ──channel of 1──┼──► parts 0 1 2 3 … ──► one file a table
//!   thread 2: parts 2 5 8 … ──channel of 1──┘
//! ```
//!
//! So memory holds at most two encoded parts a thread and one more, however large the scale, and the bytes of a file
//! depend on the scale only: where parts are cut and in which order they are written never depends on the threads.
//! Files are written under temporary names and get theirs when all of them are complete.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bireme::prelude::{Error, Result};
use clap::ValueEnum;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use tempfile::NamedTempFile;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow, SupplierArrow,
};

use crate::{interrupt, progress};

/// About so many rows are in a row group: enough to compress well, few enough to scan a table on many cores.
const ROWS_PER_PART: f64 = 250_000.0;
/// Below this, suppliers run out and the data's own rules break.
const SMALLEST_SCALE: f64 = 0.001;
/// The largest scale the TPC-H specification knows.
const LARGEST_SCALE: f64 = 100_000.0;

/// A table of TPC-H.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Table {
    Customer,
    Lineitem,
    Nation,
    Orders,
    Part,
    Partsupp,
    Region,
    Supplier,
}

/// What to generate.
pub(crate) struct Generation {
    /// 1 is about one gigabyte of text.
    pub(crate) scale: f64,
    /// Which tables.
    pub(crate) tables: Vec<Table>,
    /// The folder that gets one file a table.
    pub(crate) out: PathBuf,
    /// Replaces files that are there.
    pub(crate) overwrite: bool,
    /// How many threads make parts.
    pub(crate) threads: usize,
}

/// A file that was written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) table: Table,
    pub(crate) path: PathBuf,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Generation {
    /// Writes the files.
    ///
    /// # Errors
    /// The scale is out of range, a file is there already, or a file cannot be written. Then no file is left behind.
    pub(crate) fn run(&self) -> Result<Vec<Written>> {
        self.check()?;
        let created = self.create_folder()?;
        let written = self.write_files();
        if written.is_err() && created {
            // The folder is ours and empty; should it not be, it stays.
            let _ = fs::remove_dir(&self.out);
        }
        written
    }

    fn check(&self) -> Result<()> {
        if !(SMALLEST_SCALE..=LARGEST_SCALE).contains(&self.scale) {
            return Err(Error::user(format!(
                "generating TPC-H at scale {}: the scale lies between {SMALLEST_SCALE} and {LARGEST_SCALE}",
                self.scale
            )));
        }
        if self.overwrite {
            return Ok(());
        }
        match self.tables.iter().map(|table| self.path(*table)).find(|path| path.exists()) {
            Some(path) => Err(exists(&path)),
            None => Ok(()),
        }
    }

    /// Makes the folder if it is not there, and says whether it did.
    fn create_folder(&self) -> Result<bool> {
        if self.out.is_dir() {
            return Ok(false);
        }
        fs::create_dir_all(&self.out).map_err(|error| at(&self.out, error))?;
        Ok(true)
    }

    fn path(&self, table: Table) -> PathBuf {
        self.out.join(format!("{}.parquet", table.name()))
    }

    fn write_files(&self) -> Result<Vec<Written>> {
        let (mut files, factories): (Vec<_>, Vec<_>) = self
            .tables
            .iter()
            .map(|table| TableFile::create(*table, &self.out))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .unzip();
        let parts = self.parts();
        let threads = self.threads.clamp(1, parts.len().max(1));
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| sync_channel(1)).unzip();
        thread::scope(|scope| {
            for (worker, sender) in senders.into_iter().enumerate() {
                let (parts, factories) = (&parts, &factories);
                scope.spawn(move || self.make_parts(parts.iter().skip(worker).step_by(threads), factories, &sender));
            }
            // Moved in, so that the channels close and the workers stop when appending fails.
            append_parts(&parts, &mut files, receivers)
        })?;
        let finished = files.into_iter().map(TableFile::finish).collect::<Result<Vec<_>>>()?;
        finished.into_iter().map(|file| self.publish(file)).collect()
    }

    /// All parts, in the order in which they are written.
    fn parts(&self) -> Vec<Part> {
        let of_table = |(file, table): (usize, Table)| {
            let count = table.parts(self.scale);
            (1..=count).map(move |number| Part { file, table, number, count })
        };
        self.tables.iter().copied().enumerate().flat_map(of_table).collect()
    }

    /// A worker: makes its parts until they end, one fails or nobody takes them any more.
    fn make_parts<'a>(
        &self,
        parts: impl Iterator<Item = &'a Part>,
        factories: &[ArrowRowGroupWriterFactory],
        sender: &SyncSender<Result<Encoded>>,
    ) {
        for part in parts {
            let encoded = part.encode(self.scale, &factories[part.file]);
            let failed = encoded.is_err();
            if sender.send(encoded).is_err() || failed {
                return;
            }
        }
    }

    /// Gives a complete file its name.
    fn publish(&self, file: Finished) -> Result<Written> {
        let path = self.path(file.table);
        let bytes = file.temporary.as_file().metadata().map_err(|error| at(&path, error))?.len();
        if self.overwrite {
            file.temporary.persist(&path).map_err(|error| at(&path, error.error))?;
        } else {
            file.temporary.persist_noclobber(&path).map_err(|error| match error.error.kind() {
                std::io::ErrorKind::AlreadyExists => exists(&path),
                _ => at(&path, error.error),
            })?;
        }
        Ok(Written { table: file.table, path, rows: file.rows, bytes })
    }
}

/// One row group to be.
struct Part {
    /// Which of the files.
    file: usize,
    table: Table,
    /// From 1.
    number: i32,
    count: i32,
}

/// The columns of a part, encoded and compressed.
struct Encoded {
    columns: Vec<ArrowColumnChunk>,
    rows: u64,
}

impl Part {
    fn encode(&self, scale: f64, factory: &ArrowRowGroupWriterFactory) -> Result<Encoded> {
        let mut columns = factory.create_column_writers(self.number as usize - 1).map_err(from_parquet)?;
        let mut rows = 0;
        for batch in self.table.batches(scale, self.number, self.count) {
            interrupt::check()?;
            let batch = batch?;
            rows += batch.num_rows() as u64;
            // Every column of TPC-H is flat: it has one leaf.
            for ((column, array), field) in columns.iter_mut().zip(batch.columns()).zip(batch.schema().fields()) {
                for leaf in compute_leaves(field, array).map_err(from_parquet)? {
                    column.write(&leaf).map_err(from_parquet)?;
                }
            }
        }
        let columns = columns.into_iter().map(|column| column.close().map_err(from_parquet));
        Ok(Encoded { columns: columns.collect::<Result<_>>()?, rows })
    }
}

/// Takes the parts in order and appends each to its file.
fn append_parts(parts: &[Part], files: &mut [TableFile], receivers: Vec<Receiver<Result<Encoded>>>) -> Result<()> {
    let bar = progress::steps(parts.len() as u64, "generating");
    for (index, part) in parts.iter().enumerate() {
        bar.set_message(format!("generating {}", part.table.name()));
        interrupt::check()?;
        let encoded = receivers[index % receivers.len()]
            .recv()
            .map_err(|_| Error::internal(format!("the thread that made {} ended early", part.table.name())))??;
        files[part.file].append(encoded)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// A file on its way.
struct TableFile {
    table: Table,
    temporary: NamedTempFile,
    writer: SerializedFileWriter<BufWriter<File>>,
    rows: u64,
}

/// A file that is complete but has no name yet.
struct Finished {
    table: Table,
    temporary: NamedTempFile,
    rows: u64,
}

impl TableFile {
    fn create(table: Table, folder: &Path) -> Result<(Self, ArrowRowGroupWriterFactory)> {
        let temporary = temporary_file(table, folder).map_err(|error| at(folder, error))?;
        let file = temporary.as_file().try_clone().map_err(|error| at(folder, error))?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        // Without arrow's own schema in it, a reader sees plain strings and chooses how to hold them.
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer =
            ArrowWriter::try_new_with_options(BufWriter::with_capacity(1 << 20, file), table.schema(), options);
        let (writer, factory) = writer.and_then(ArrowWriter::into_serialized_writer).map_err(from_parquet)?;
        Ok((Self { table, temporary, writer, rows: 0 }, factory))
    }

    fn append(&mut self, encoded: Encoded) -> Result<()> {
        let appended = self.writer.next_row_group().and_then(|mut group| {
            for column in encoded.columns {
                column.append_to_row_group(&mut group)?;
            }
            group.close().map(|_| ())
        });
        appended.map_err(|error| from_parquet(error).context(format!("writing {}", self.table.name())))?;
        self.rows += encoded.rows;
        Ok(())
    }

    fn finish(self) -> Result<Finished> {
        let writing = || format!("writing {}", self.table.name());
        let buffer = self.writer.into_inner().map_err(|error| from_parquet(error).context(writing()))?;
        buffer.into_inner().map_err(|error| Error::from(error.into_error()).context(writing()))?;
        Ok(Finished { table: self.table, temporary: self.temporary, rows: self.rows })
    }
}

/// A file beside its later name that vanishes unless it is published. Its mode is that of ordinary files.
fn temporary_file(table: Table, folder: &Path) -> std::io::Result<NamedTempFile> {
    let prefix = format!(".{}.", table.name());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666)); // the umask takes its share
    }
    builder.tempfile_in(folder)
}

impl Table {
    /// Its name in SQL.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Customer => "customer",
            Table::Lineitem => "lineitem",
            Table::Nation => "nation",
            Table::Orders => "orders",
            Table::Part => "part",
            Table::Partsupp => "partsupp",
            Table::Region => "region",
            Table::Supplier => "supplier",
        }
    }

    /// Into how many parts it is cut at a scale: a matter of the scale alone.
    fn parts(self, scale: f64) -> i32 {
        let rows = match self {
            Table::Customer => 150_000.0,
            Table::Lineitem => 6_000_000.0,
            Table::Orders => 1_500_000.0,
            Table::Part => 200_000.0,
            Table::Partsupp => 800_000.0,
            Table::Supplier => 10_000.0,
            // These two do not grow, and their generators know no parts.
            Table::Nation | Table::Region => return 1,
        };
        (rows * scale / ROWS_PER_PART).ceil().max(1.0) as i32
    }

    fn schema(self) -> SchemaRef {
        match self {
            Table::Customer => CustomerArrow::schema_ref(),
            Table::Lineitem => LineItemArrow::schema_ref(),
            Table::Nation => NationArrow::schema_ref(),
            Table::Orders => OrderArrow::schema_ref(),
            Table::Part => PartArrow::schema_ref(),
            Table::Partsupp => PartSuppArrow::schema_ref(),
            Table::Region => RegionArrow::schema_ref(),
            Table::Supplier => SupplierArrow::schema_ref(),
        }
    }

    /// The rows of one part; parts are numbered from 1.
    fn batches(self, scale: f64, part: i32, parts: i32) -> Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>> {
        match self {
            Table::Customer => Box::new(CustomerArrow::new(CustomerGenerator::new(scale, part, parts))),
            Table::Lineitem => Box::new(LineItemArrow::new(LineItemGenerator::new(scale, part, parts))),
            Table::Nation => Box::new(NationArrow::new(NationGenerator::new(scale, part, parts))),
            Table::Orders => Box::new(OrderArrow::new(OrderGenerator::new(scale, part, parts))),
            Table::Part => Box::new(PartArrow::new(PartGenerator::new(scale, part, parts))),
            Table::Partsupp => Box::new(PartSuppArrow::new(PartSuppGenerator::new(scale, part, parts))),
            Table::Region => Box::new(RegionArrow::new(RegionGenerator::new(scale, part, parts))),
            Table::Supplier => Box::new(SupplierArrow::new(SupplierGenerator::new(scale, part, parts))),
        }
    }
}

fn exists(path: &Path) -> Error {
    Error::user(format!("writing {}: it exists already; pass --overwrite to replace it", path.display()))
}

/// What went wrong with a path that the user named. A path that cannot be is the user's mistake.
fn at(path: &Path, error: std::io::Error) -> Error {
    use std::io::ErrorKind as Io;
    let writing = format!("writing {}", path.display());
    match error.kind() {
        Io::NotFound | Io::NotADirectory | Io::IsADirectory | Io::AlreadyExists | Io::InvalidFilename => {
            Error::user(error.to_string()).context(writing)
        }
        _ => Error::from(error).context(writing),
    }
}

/// Keeps an I/O error's kind on its way through the Parquet writer.
fn from_parquet(error: ParquetError) -> Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<std::io::Error>() {
            Ok(io) => Error::from(*io),
            Err(other) => Error::internal(other.to_string()),
        },
        other => Error::internal(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail by panicking

    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn generate(scale: f64, threads: usize, out: &Path, overwrite: bool) -> Result<Vec<Written>> {
        let tables = Table::value_variants().to_vec();
        Generation { scale, tables, out: out.into(), overwrite, threads }.run()
    }

    #[test]
    fn threads_never_change_a_byte() {
        let folder = tempfile::tempdir().unwrap();
        let (one, three) = (folder.path().join("one"), folder.path().join("three"));
        // 0.2 cuts lineitem into five parts.
        let tables = vec![Table::Lineitem, Table::Nation, Table::Supplier];
        for (threads, out) in [(1, &one), (3, &three)] {
            Generation { scale: 0.2, tables: tables.clone(), out: out.clone(), overwrite: false, threads }
                .run()
                .unwrap();
        }
        for table in tables {
            let name = format!("{}.parquet", table.name());
            assert!(fs::read(one.join(&name)).unwrap() == fs::read(three.join(&name)).unwrap(), "{name}");
        }
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(File::open(one.join("lineitem.parquet")).unwrap()).unwrap();
        assert_eq!(builder.metadata().num_row_groups(), 5);
    }

    #[test]
    fn rows_are_those_of_the_generator() {
        let folder = tempfile::tempdir().unwrap();
        for written in generate(0.01, 2, folder.path(), false).unwrap() {
            let file = File::open(&written.path).unwrap();
            let read = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
            let expected: usize = written.table.batches(0.01, 1, 1).map(|batch| batch.unwrap().num_rows()).sum();
            let rows: usize = read.map(|batch| batch.unwrap().num_rows()).sum();
            assert_eq!((rows, written.rows), (expected, expected as u64), "{}", written.table.name());
        }
    }

    #[test]
    fn refuses_what_cannot_be_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        for scale in [0.0, -1.0, 1e-9, 1e9, f64::NAN, f64::INFINITY] {
            assert_eq!(generate(scale, 1, &out, false).unwrap_err().kind(), bireme::prelude::ErrorKind::User);
        }
        assert!(!out.exists());
        fs::write(folder.path().join("nation.parquet"), "mine").unwrap();
        let error = generate(0.001, 1, folder.path(), false).unwrap_err();
        assert!(error.message().contains("nation.parquet") && error.message().contains("--overwrite"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        generate(0.001, 1, folder.path(), true).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 8);
    }
}
