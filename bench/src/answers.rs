//! Answers of engines, as rows of cells that keep what a comparison needs to know: is a number exact, and if not, how
//! far its digits go.

mod compare;

use std::fmt;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::{Deserialize, Serialize};

pub(crate) use compare::{difference, out_of_order};

/// The rows of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Names, as the engine gives them: engines differ where a query gives none.
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Float(f64),
    /// Digits after the point say how exact it is: `1.50` is known to the hundredth.
    Decimal {
        d: String,
    },
    /// Text, truth values, and dates as ISO text.
    Text(String),
}

impl Answer {
    /// Our own rows.
    ///
    /// # Errors
    /// A column is of a type that has no text.
    pub(crate) fn from_batches(columns: Vec<String>, batches: &[RecordBatch]) -> Result<Self, ArrowError> {
        let mut rows = Vec::new();
        for batch in batches {
            let first = rows.len();
            rows.resize_with(first + batch.num_rows(), || Vec::with_capacity(columns.len()));
            for column in batch.columns() {
                append_column(column.as_ref(), &mut rows[first..])?;
            }
        }
        Ok(Self { columns, rows })
    }
}

/// Adds a column's values to the ends of the rows.
fn append_column(column: &dyn Array, rows: &mut [Vec<Cell>]) -> Result<(), ArrowError> {
    let kind = match column.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    let formatter = ArrayFormatter::try_new(column, &FormatOptions::default())?;
    for (index, row) in rows.iter_mut().enumerate() {
        let text = || formatter.value(index).to_string();
        row.push(if column.is_null(index) { Cell::Null } else { Cell::from_text(kind, text()) });
    }
    Ok(())
}

impl Cell {
    /// A value of a type, from the text arrow writes for it.
    fn from_text(kind: &DataType, text: String) -> Self {
        match kind {
            kind if kind.is_integer() => text.parse().map_or_else(|_| Cell::Decimal { d: text }, Cell::Integer),
            kind if kind.is_floating() => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Cell::Float(value),
                _ => Cell::Decimal { d: text }, // JSON has no infinities
            },
            kind if kind.is_decimal() => Cell::Decimal { d: text },
            DataType::Timestamp(..) => Cell::Text(text.strip_suffix("T00:00:00").unwrap_or(&text).to_owned()),
            _ => Cell::Text(text),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Null => f.write_str("NULL"),
            Cell::Integer(value) => write!(f, "{value}"),
            Cell::Float(value) => write!(f, "{value}"),
            Cell::Decimal { d } => f.write_str(d),
            Cell::Text(text) => write!(f, "{text:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::sync::Arc;

    use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Float64Array, Int32Array, StringArray};

    use super::*;

    #[test]
    fn our_rows_as_the_script_would_write_them() {
        let decimals = Decimal128Array::from(vec![Some(150), None]).with_precision_and_scale(15, 2).unwrap();
        let columns: [(&str, ArrayRef); 5] = [
            ("i", Arc::new(Int32Array::from(vec![7, -7]))),
            ("f", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
            ("d", Arc::new(decimals)),
            ("s", Arc::new(StringArray::from(vec!["a", "12"]))),
            ("t", Arc::new(Date32Array::from(vec![0, 9131]))),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
        let names = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        let answer = Answer::from_batches(names, &[batch.clone(), batch.slice(1, 1)]).unwrap();
        let second = r#"[-7,{"d":"NaN"},null,"12","1995-01-01"]"#;
        let expected = format!(
            r#"{{"columns":["i","f","d","s","t"],"rows":[[7,0.5,{{"d":"1.50"}},"a","1970-01-01"],{second},{second}]}}"#
        );
        assert_eq!(serde_json::to_string(&answer).unwrap(), expected);
        assert_eq!(serde_json::from_str::<Answer>(&expected).unwrap(), answer);
    }
}
