//! One file that is being written.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::csv::WriterBuilder as CsvWriterBuilder;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter as IpcWriter, IpcWriteOptions as ArrowIpcOptions};
use arrow::json::WriterBuilder as JsonWriterBuilder;
use arrow::json::writer::{LineDelimited, Writer as JsonWriter};
use bireme_engine::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::options::{ParquetCompression, ParquetWriteOptions, WriteFormat};
use crate::error;

/// Bytes that gather before they go to the file system.
const BUFFER: usize = 256 << 10;

/// A file of one format, open for writing.
pub(crate) struct Encoder {
    path: PathBuf,
    encoder: Kind,
    /// Formats tell I/O errors in words of their own; this is what the file system said.
    failure: Failure,
}

enum Kind {
    Parquet(ArrowWriter<Output>),
    Csv(arrow::csv::Writer<Output>),
    Json(JsonWriter<Output, LineDelimited>),
    Ipc(IpcWriter<Output>, SchemaRef),
}

type Failure = Arc<Mutex<Option<io::Error>>>;
type Output = BufWriter<Remember<File>>;

impl Encoder {
    /// Creates the file.
    pub(crate) fn create(path: &Path, schema: &SchemaRef, format: &WriteFormat) -> Result<Self> {
        let file = File::create(path).map_err(|cause| error::io(&cause, format!("creating {}", path.display())))?;
        let failure = Failure::default();
        let output = BufWriter::with_capacity(BUFFER, Remember { inner: file, failure: Arc::clone(&failure) });
        let encoder = match format {
            WriteFormat::Parquet(options) => parquet_writer(output, schema, options),
            WriteFormat::Csv(options) => Ok(Kind::Csv(
                CsvWriterBuilder::new()
                    .with_header(options.header)
                    .with_delimiter(options.delimiter)
                    .with_quote(options.quote)
                    .with_null(options.null_value.clone())
                    .build(output),
            )),
            WriteFormat::Json(options) => {
                let builder = JsonWriterBuilder::new().with_explicit_nulls(options.explicit_nulls);
                Ok(Kind::Json(builder.build::<_, LineDelimited>(output)))
            }
            WriteFormat::Ipc(options) => ipc_writer(output, schema, options.lz4),
        };
        let encoder = encoder.map_err(|error| named(path, &failure, error))?;
        let mut created = Self { path: path.to_path_buf(), encoder, failure };
        // A CSV file of no rows has its header all the same.
        created.write(&RecordBatch::new_empty(Arc::clone(schema)))?;
        Ok(created)
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let written = match &mut self.encoder {
            Kind::Parquet(writer) => writer.write(batch).map_err(from_parquet),
            Kind::Csv(writer) => writer.write(batch).map_err(Error::from),
            Kind::Json(writer) => writer.write(batch).map_err(Error::from),
            Kind::Ipc(_, _) if batch.num_rows() == 0 => Ok(()),
            Kind::Ipc(writer, schema) => plain(batch, schema).and_then(|batch| Ok(writer.write(&batch)?)),
        };
        written.map_err(|error| named(&self.path, &self.failure, error))
    }

    /// Ends the file: footer, buffers, and the file system's word that it took them.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { path, encoder, failure } = self;
        let output = match encoder {
            Kind::Parquet(writer) => writer.into_inner().map_err(from_parquet),
            Kind::Csv(writer) => Ok(writer.into_inner()),
            Kind::Json(mut writer) => writer.finish().map(|()| writer.into_inner()).map_err(Error::from),
            Kind::Ipc(writer, _) => writer.into_inner().map_err(Error::from),
        };
        let ended = output.and_then(|mut output| Ok(output.flush()?));
        ended.map_err(|error| named(&path, &failure, error))
    }
}

fn named(path: &Path, failure: &Failure, error: Error) -> Error {
    let attempted = format!("writing {}", path.display());
    match failure.lock().take() {
        Some(cause) => error::io(&cause, attempted),
        // The rows came from us: what cannot be encoded is not a damaged input.
        None if error.kind() == ErrorKind::Corrupt => Error::unsupported(error.message()).context(attempted),
        None => error.context(attempted),
    }
}

fn parquet_writer(output: Output, schema: &SchemaRef, options: &ParquetWriteOptions) -> Result<Kind> {
    let compression = match options.compression {
        ParquetCompression::Uncompressed => Compression::UNCOMPRESSED,
        ParquetCompression::Snappy => Compression::SNAPPY,
        ParquetCompression::Lz4 => Compression::LZ4_RAW,
        ParquetCompression::Zstd(level) => {
            let level = ZstdLevel::try_new(level);
            Compression::ZSTD(level.map_err(|error| Error::user(format!("zstd compression: {error}")))?)
        }
    };
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(options.row_group_rows.max(1)))
        .set_max_row_group_bytes(Some(options.row_group_bytes.max(1)))
        .set_created_by(concat!("bireme ", env!("CARGO_PKG_VERSION")).to_string())
        .build();
    let writer = ArrowWriter::try_new(output, Arc::clone(schema), Some(properties));
    Ok(Kind::Parquet(writer.map_err(from_parquet)?))
}

fn ipc_writer(output: Output, schema: &SchemaRef, lz4: bool) -> Result<Kind> {
    let options = ArrowIpcOptions::default().try_with_compression(lz4.then_some(CompressionType::LZ4_FRAME))?;
    let schema = plain_schema(schema);
    let writer = IpcWriter::try_new_with_options(output, &schema, options)?;
    Ok(Kind::Ipc(writer, schema))
}

/// A file has one dictionary for a column, batches have one each: the file holds the values instead.
fn plain_schema(schema: &SchemaRef) -> SchemaRef {
    let plain = |field: &Field| match field.data_type() {
        DataType::Dictionary(_, values) => field.clone().with_data_type(values.as_ref().clone()),
        _ => field.clone(),
    };
    Arc::new(Schema::new(schema.fields().iter().map(|field| plain(field)).collect::<Vec<_>>()))
}

fn plain(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

fn from_parquet(error: parquet::errors::ParquetError) -> Error {
    error::from_datafusion(&error.into())
}

/// Remembers the first thing that went wrong.
struct Remember<W> {
    inner: W,
    failure: Failure,
}

impl<W> Remember<W> {
    fn note<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if let Err(cause) = &done
            && cause.kind() != io::ErrorKind::Interrupted
        {
            self.failure.lock().get_or_insert_with(|| io::Error::new(cause.kind(), cause.to_string()));
        }
        done
    }
}

impl<W: Write> Write for Remember<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = self.inner.write(bytes);
        self.note(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.inner.flush();
        self.note(done)
    }
}
