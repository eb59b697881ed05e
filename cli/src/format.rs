//! How rows are written: a table for people, CSV, JSON and newline-delimited JSON for programs.
//!
//! Values look as arrow writes them. A statement without columns (DDL) writes nothing in any format.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::SchemaRef;
use arrow::json::writer::{JsonArray, JsonFormat, LineDelimited, WriterBuilder};
use arrow::util::pretty::pretty_format_batches_with_schema;
use bireme::prelude::{Error, Result};
use clap::ValueEnum;

/// A form in which rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A drawn table and the number of rows
    #[default]
    Table,
    /// Comma-separated values with a header
    Csv,
    /// One array of objects
    Json,
    /// One object a line
    Ndjson,
    /// Nothing: the query runs and its rows are thrown away
    None,
}

/// Writes the rows of one result.
///
/// # Errors
/// The format has no form for a column, or `to` fails.
pub(crate) fn write(format: Format, schema: &SchemaRef, batches: &[RecordBatch], to: &mut dyn Write) -> Result<()> {
    if schema.fields().is_empty() && batches.iter().all(|batch| batch.num_rows() == 0) {
        return Ok(());
    }
    match format {
        Format::Table => write_table(schema, batches, to),
        Format::Csv => write_csv(schema, batches, to),
        Format::Json => {
            write_json::<JsonArray>(batches, to)?;
            Ok(writeln!(to)?)
        }
        Format::Ndjson => write_json::<LineDelimited>(batches, to),
        Format::None => Ok(()),
    }
}

fn write_table(schema: &SchemaRef, batches: &[RecordBatch], to: &mut dyn Write) -> Result<()> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let table = pretty_format_batches_with_schema(schema.clone(), batches)?;
    writeln!(to, "{table}")?;
    writeln!(to, "({rows} row{})", if rows == 1 { "" } else { "s" })?;
    Ok(())
}

fn write_csv(schema: &SchemaRef, batches: &[RecordBatch], to: &mut dyn Write) -> Result<()> {
    if let Some(field) = schema.fields().iter().find(|field| field.data_type().is_nested()) {
        return Err(Error::user(format!(
            "writing CSV: column `{}` is a {}, and CSV has no nested values; use --format json or --format table",
            field.name(),
            field.data_type()
        )));
    }
    let mut writer = csv::WriterBuilder::new().with_header(true).build(to);
    // The header is written with the first batch: an empty one sees to it that there is one.
    writer.write(&RecordBatch::new_empty(schema.clone()))?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(())
}

fn write_json<F: JsonFormat>(batches: &[RecordBatch], to: &mut dyn Write) -> Result<()> {
    // A NULL is written, not left out: every row shows the same columns.
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, F>(to);
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may fail by panicking

    use std::sync::Arc;

    use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    fn rows() -> (SchemaRef, Vec<RecordBatch>) {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("i", Arc::new(Int64Array::from(vec![Some(1), None]))),
            ("f", Arc::new(Float64Array::from(vec![0.5, -2.0]))),
            ("d", Arc::new(Decimal128Array::from(vec![150, 7]).with_precision_and_scale(15, 2).unwrap())),
            ("t", Arc::new(Date32Array::from(vec![0, 19_000]))),
            ("s", Arc::new(StringArray::from(vec!["a,b", "say \"x\""]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        (batch.schema(), vec![batch])
    }

    fn written(format: Format, schema: &SchemaRef, batches: &[RecordBatch]) -> String {
        let mut bytes = Vec::new();
        write(format, schema, batches, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn each_format() {
        let (schema, batches) = rows();
        assert_eq!(
            written(Format::Csv, &schema, &batches),
            "i,f,d,t,s\n1,0.5,1.50,1970-01-01,\"a,b\"\n,-2.0,0.07,2022-01-08,\"say \"\"x\"\"\"\n"
        );
        let first = r#"{"i":1,"f":0.5,"d":1.50,"t":"1970-01-01","s":"a,b"}"#;
        let second = r#"{"i":null,"f":-2.0,"d":0.07,"t":"2022-01-08","s":"say \"x\""}"#;
        assert_eq!(written(Format::Json, &schema, &batches), format!("[{first},{second}]\n"));
        assert_eq!(written(Format::Ndjson, &schema, &batches), format!("{first}\n{second}\n"));
        let table = written(Format::Table, &schema, &batches);
        assert!(table.contains("| 1 | 0.5  | 1.50 | 1970-01-01 | a,b     |"), "{table}");
        assert!(table.ends_with("(2 rows)\n"), "{table}");
        assert_eq!(written(Format::None, &schema, &batches), "");
    }

    #[test]
    fn no_rows_still_show_columns() {
        let (schema, _) = rows();
        assert_eq!(written(Format::Csv, &schema, &[]), "i,f,d,t,s\n");
        assert_eq!(written(Format::Json, &schema, &[]), "[]\n");
        assert_eq!(written(Format::Ndjson, &schema, &[]), "");
        let table = written(Format::Table, &schema, &[]);
        assert!(table.contains("| i | f | d | t | s |") && table.ends_with("(0 rows)\n"), "{table}");
    }

    #[test]
    fn no_columns_show_nothing() {
        let schema = Arc::new(Schema::empty());
        for format in Format::value_variants() {
            assert_eq!(written(*format, &schema, &[]), "");
        }
    }

    #[test]
    fn csv_refuses_nested_columns_by_name() {
        let list = DataType::new_list(DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![Field::new("inner", list, true)]));
        let list = arrow::array::ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)])]);
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(list)]).unwrap();
        let error = write(Format::Csv, &schema, &[batch], &mut Vec::new()).unwrap_err();
        assert!(error.message().contains("`inner`"), "{error}");
    }
}
