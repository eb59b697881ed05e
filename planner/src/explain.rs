//! EXPLAIN: a plan's levels as the rows of a table.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bireme_engine::error::Result;

use crate::plan::{LEVELS, Planned};

/// The columns of EXPLAIN.
pub fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![text("plan_type"), text("plan")]))
}

/// One row a level.
///
/// # Errors
/// None that a user could cause.
pub fn rows(planned: &Planned) -> Result<RecordBatch> {
    let levels = planned.levels();
    let plans = levels.iter().map(|text| text.trim_end());
    batch(LEVELS.iter().copied().zip(plans))
}

/// EXPLAIN's table from its rows.
///
/// # Errors
/// None that a user could cause.
pub fn batch<'a>(rows: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<RecordBatch> {
    let (types, plans): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let columns = [types, plans].map(|column| Arc::new(StringArray::from(column)) as _);
    Ok(RecordBatch::try_new(schema(), columns.into())?)
}

/// The same as text: each level under its name.
pub fn text(planned: &Planned) -> String {
    let levels = planned.levels();
    let titled = LEVELS.iter().zip(&levels).map(|(name, level)| format!("== {name} ==\n{}\n", level.trim_end()));
    titled.collect::<Vec<_>>().join("\n")
}
