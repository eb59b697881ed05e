//! EXPLAIN: a plan's levels as the rows of a table.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bireme_engine::error::Result;

use crate::place::milliseconds;
use crate::plan::{LEVELS, Planned};

/// The columns of EXPLAIN.
pub fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![text("plan_type"), text("plan")]))
}

/// One row a level, and one of what the mapper says.
///
/// # Errors
/// None that a user could cause.
pub fn rows(planned: &Planned) -> Result<RecordBatch> {
    let levels = planned.levels();
    let plans = levels.iter().map(|text| text.trim_end());
    let mapper = mapper(planned);
    batch(LEVELS.iter().copied().zip(plans).chain([("mapper", mapper.trim_end())]))
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
    let titled = titled.chain([format!("== mapper ==\n{}", mapper(planned))]);
    titled.collect::<Vec<_>>().join("\n")
}

/// What the mapper has decided, and how long each stage is expected to take.
///
/// No level of the plan: the same plan is the same whatever is expected of it.
pub fn mapper(planned: &Planned) -> String {
    let mut text = String::new();
    for decision in &planned.decisions {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{decision}");
    }
    let prediction = planned.prediction();
    for time in &prediction.stages {
        let rows = time.rows.map(|rows| format!(" rows={rows:.0}")).unwrap_or_default();
        let (compute, transfer) = (milliseconds(time.compute), milliseconds(time.transfer));
        let _ = writeln!(text, "{}: compute={compute} transfer={transfer}{rows}", time.stage);
    }
    let _ = writeln!(text, "predicted: {}", milliseconds(prediction.total()));
    text
}
