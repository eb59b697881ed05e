//! DataFusion's expressions as functions on chunks, for what the pipeline language lacks.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use bireme_engine::error::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;

use crate::errors::from_datafusion;
use crate::pipeline::ir::BatchFunction;

/// An expression over some columns of its input.
#[derive(Debug)]
pub struct PhysicalCall {
    /// Over a batch of only its columns.
    expr: Arc<dyn PhysicalExpr>,
    columns: Vec<usize>,
    schema: SchemaRef,
    data_type: DataType,
}

impl PhysicalCall {
    /// The expression over rows of `input`.
    ///
    /// # Errors
    /// It has no type there.
    pub fn new(expr: &Arc<dyn PhysicalExpr>, input: &Schema) -> Result<Self> {
        let mut columns = collect_columns(expr).into_iter().map(|column| column.index()).collect::<Vec<_>>();
        columns.sort_unstable();
        columns.dedup();
        let data_type = expr.data_type(input).map_err(from_datafusion)?;
        // Whatever a source promises about NULLs, a call must not fail on it.
        let fields = columns.iter().map(|&place| input.field(place));
        // Metadata stay: shapes of tensors are there.
        let fields = fields.map(|field| field.clone().with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let moved = Arc::clone(expr).transform(|node| {
            let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
            let place = columns.iter().position(|&place| place == column.index()).unwrap_or(0);
            let moved: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column.name(), place));
            Ok(Transformed::yes(moved))
        });
        let expr = moved.map_err(from_datafusion)?.data;
        Ok(Self { expr, columns, schema, data_type })
    }

    /// The columns of the input that it reads: its arguments.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// The type of its values.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }
}

impl BatchFunction for PhysicalCall {
    fn describe(&self, arguments: &[String]) -> String {
        // The expression's own text names its columns; the arguments say where they stand now.
        match arguments {
            [] => self.expr.to_string(),
            arguments => format!("{}[{}]", self.expr, arguments.join(", ")),
        }
    }

    fn evaluate(&self, arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arguments.to_vec(), &options)?;
        self.expr.evaluate(&batch).and_then(|value| value.into_array(rows)).map_err(from_datafusion)
    }
}
