//! `INSERT INTO`.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use bireme_connectors::memory_table::MemoryTable;
use bireme_engine::error::{Error, Result};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::DmlStatement;
use datafusion::logical_expr::dml::InsertOp;

use super::Session;
use crate::frame::DataFrame;

impl Session {
    pub(super) fn insert(&self, dml: &DmlStatement, operation: InsertOp) -> Result<DataFrame> {
        if operation != InsertOp::Append {
            return Err(Error::unsupported(format!("{operation}; INSERT INTO appends")));
        }
        let provider = source_as_provider(&dml.target).map_err(|error| self.explain_error(error))?;
        let table = (provider.as_ref() as &dyn std::any::Any).downcast_ref::<MemoryTable>().ok_or_else(|| {
            Error::unsupported(format!(
                "INSERT INTO `{}`: only tables made by CREATE TABLE take rows; use COPY (…) TO for files",
                dml.table_name
            ))
        })?;
        let (here, all) = self.fill(&dml.input)?;
        table.append(here, &all)?;
        self.counted(all.iter().map(|lane| lane.rows).sum())
    }

    /// The answer of a statement that wrote rows.
    pub(crate) fn counted(&self, rows: u64) -> Result<DataFrame> {
        let schema = Arc::new(Schema::new(vec![Field::new("count", DataType::UInt64, false)]));
        let batch = RecordBatch::try_new(schema, vec![Arc::new(UInt64Array::from(vec![rows]))])?;
        self.rows(batch)
    }
}
