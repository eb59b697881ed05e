//! `INSERT INTO`: more rows for a table in memory, more files for a directory.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use bireme_connectors::memory_table::MemoryTable;
use bireme_connectors::options::FileFormatOptions;
use bireme_connectors::write::{
    CsvWriteOptions, IpcWriteOptions, JsonWriteOptions, Layout, ParquetWriteOptions, WriteFormat, WriteMode,
    WriteOptions,
};
use bireme_engine::error::{Error, Result};
use datafusion::common::TableReference;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::DmlStatement;
use datafusion::logical_expr::dml::InsertOp;

use super::Session;
use super::create::Filled;
use crate::frame::DataFrame;

/// Where the files of an external table are, so that an INSERT can add some and look again.
#[derive(Clone, Debug)]
pub(super) struct External {
    pub locations: Vec<String>,
    pub format: FileFormatOptions,
    pub partition_by: Vec<String>,
}

impl Session {
    pub(super) fn insert(&self, dml: &DmlStatement, operation: InsertOp) -> Result<DataFrame> {
        if operation != InsertOp::Append {
            return Err(Error::unsupported(format!("{operation}; INSERT INTO appends")));
        }
        let external = self.inner.externals.lock().get(&full_name(&dml.table_name)).cloned();
        if let Some(external) = external {
            return self.insert_files(dml, &external);
        }
        let provider = source_as_provider(&dml.target).map_err(|error| self.explain_error(error))?;
        let table = (provider.as_ref() as &dyn Any).downcast_ref::<MemoryTable>().ok_or_else(|| {
            Error::unsupported(format!(
                "INSERT INTO `{}`: only tables of CREATE TABLE and CREATE EXTERNAL TABLE take rows",
                dml.table_name
            ))
        })?;
        let Filled { here, all, .. } = self.fill(&dml.input)?;
        table.append(here, &all)?;
        self.counted(all.iter().map(|lane| lane.rows).sum())
    }

    /// Adds files to the table's directory, then looks at the directory again.
    fn insert_files(&self, dml: &DmlStatement, external: &External) -> Result<DataFrame> {
        let [directory] = external.locations.as_slice() else {
            return Err(Error::unsupported(format!("INSERT INTO `{}`: it has several locations", dml.table_name)));
        };
        let is_directory = directory.ends_with('/') || Path::new(directory).is_dir();
        if !is_directory {
            return Err(Error::unsupported(format!(
                "INSERT INTO `{}`: {directory} is not a directory; only directories take more files",
                dml.table_name
            )));
        }
        let there = self.decide_on_root("look at a directory", || Ok(Path::new(directory).is_dir()))?;
        let mut options = WriteOptions::new(write_format(&external.format));
        options.mode = if there { WriteMode::Append } else { WriteMode::Create };
        options.layout = Some(Layout::Directory);
        options.partition_by = external.partition_by.clone();
        let rows = self.write(&dml.input, directory, options)?;
        let table = self.file_table(&external.locations, Some(external.format.clone()))?;
        self.replace(&dml.table_name, table)?;
        self.inner.externals.lock().insert(full_name(&dml.table_name), external.clone());
        self.counted(rows)
    }

    /// The answer of a statement that wrote rows.
    pub(crate) fn counted(&self, rows: u64) -> Result<DataFrame> {
        let schema = Arc::new(Schema::new(vec![Field::new("count", DataType::UInt64, false)]));
        let batch = RecordBatch::try_new(schema, vec![Arc::new(UInt64Array::from(vec![rows]))])?;
        self.rows(batch)
    }
}

/// The name under which a table is known, whatever schema it was written with.
pub(super) fn full_name(name: &TableReference) -> String {
    name.clone().resolve("bireme", "public").to_string()
}

fn write_format(read: &FileFormatOptions) -> WriteFormat {
    match read {
        FileFormatOptions::Parquet(_) => WriteFormat::Parquet(ParquetWriteOptions::default()),
        FileFormatOptions::Csv(csv) => WriteFormat::Csv(CsvWriteOptions {
            header: csv.header,
            delimiter: csv.delimiter,
            quote: csv.quote,
            ..CsvWriteOptions::default()
        }),
        FileFormatOptions::Json(_) => WriteFormat::Json(JsonWriteOptions::default()),
        FileFormatOptions::Ipc(_) => WriteFormat::Ipc(IpcWriteOptions::default()),
    }
}
