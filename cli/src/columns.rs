//! The columns of a table, as rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use bireme::prelude::Result;

/// One row a column: its name, its type, and whether it can be NULL.
///
/// # Errors
/// None that a schema can cause.
pub(crate) fn describe(schema: &Schema) -> Result<RecordBatch> {
    let fields = schema.fields();
    let names = StringArray::from_iter_values(fields.iter().map(|field| field.name()));
    let types = StringArray::from_iter_values(fields.iter().map(|field| field.data_type().to_string()));
    let nullable = BooleanArray::from_iter(fields.iter().map(|field| Some(field.is_nullable())));
    let columns: [(&str, ArrayRef); 3] =
        [("column", Arc::new(names)), ("type", Arc::new(types)), ("nullable", Arc::new(nullable))];
    Ok(RecordBatch::try_from_iter(columns)?)
}
