//! Schemas and batches as Arrow IPC bytes, for what ranks tell each other.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bireme_engine::{Error, Result};

/// A schema as the bytes of an empty IPC stream.
pub(crate) fn schema_bytes(schema: &Schema) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    writer.finish()?;
    Ok(writer.into_inner()?)
}

/// The schema of an IPC stream.
pub(crate) fn schema_from(bytes: &[u8]) -> Result<SchemaRef> {
    Ok(StreamReader::try_new(bytes, None)?.schema())
}

/// One batch as an IPC stream.
#[cfg(feature = "datafusion")]
pub(crate) fn batch_bytes(batch: &RecordBatch) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())?;
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner()?)
}

/// The batch of [`batch_bytes`].
#[cfg(feature = "datafusion")]
pub(crate) fn batch_from(bytes: &[u8]) -> Result<RecordBatch> {
    let mut reader = StreamReader::try_new(bytes, None)?;
    match reader.next() {
        Some(batch) => Ok(batch?),
        None => Err(Error::internal("an IPC stream that should hold one batch holds none")),
    }
}
