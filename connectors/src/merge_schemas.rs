//! One schema for many files.
//!
//! Columns are matched by name; one that a file lacks is NULL there. Types must be the same: a query that reads
//! numbers from one file and text from another is a mistake found too late. What was only guessed from the first rows
//! of a text file may widen: nothing to anything, integers to floats.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bireme_engine::{Error, Result};

use crate::options::FileFormatOptions;

/// The columns of all files together; `names[i]` is the file of `schemas[i]`.
///
/// # Errors
/// Two files disagree; the message names both, the column and the types.
pub(crate) fn merge(format: &FileFormatOptions, names: &[&str], schemas: &[SchemaRef]) -> Result<SchemaRef> {
    let Some(first) = schemas.first() else { return Err(Error::internal("no schema to merge")) };
    // Each column with the first file that has it.
    let mut columns: Vec<(Field, usize)> = first.fields().iter().map(|field| (field.as_ref().clone(), 0)).collect();
    for (place, schema) in schemas.iter().enumerate().skip(1) {
        if by_position(format) {
            same_columns(format, (names[0], first), (names[place], schema))?;
        }
        for field in schema.fields() {
            let Some((known, origin)) = columns.iter_mut().find(|(known, _)| known.name() == field.name()) else {
                columns.push((field.as_ref().clone().with_nullable(true), place));
                continue;
            };
            let conflict = || type_conflict(format, (names[*origin], known), (names[place], field));
            let wider = widen(guessed(format), known.data_type(), field.data_type()).ok_or_else(conflict)?;
            let nullable = known.is_nullable() || field.is_nullable();
            *known = known.clone().with_data_type(wider).with_nullable(nullable);
            // An extension type is the table's only if all files say so.
            if known.metadata() != field.metadata() {
                known.set_metadata(HashMap::new());
            }
        }
        for (known, _) in &mut columns {
            if schema.column_with_name(known.name()).is_none() {
                known.set_nullable(true);
            }
        }
    }
    let fields = columns.into_iter().map(|(field, _)| if guessed(format) { settle(field) } else { field });
    Ok(SchemaRef::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// Formats whose decoders take the n-th column of a file for the n-th column of the table.
fn by_position(format: &FileFormatOptions) -> bool {
    matches!(format, FileFormatOptions::Csv(_) | FileFormatOptions::Ipc(_))
}

/// Formats whose types were found by looking at the first rows.
fn guessed(format: &FileFormatOptions) -> bool {
    matches!(format, FileFormatOptions::Csv(_) | FileFormatOptions::Json(_))
}

fn same_columns(format: &FileFormatOptions, left: (&str, &Schema), right: (&str, &Schema)) -> Result<()> {
    let names = |schema: &Schema| schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    let (ours, theirs) = (names(left.1), names(right.1));
    if ours == theirs {
        return Ok(());
    }
    let place = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    let show = |columns: &[String]| columns.get(place).map_or("missing".to_string(), Clone::clone);
    Err(Error::user(format!(
        "{} and {} have different columns: column {} is {} in the first and {} in the second; \
         {} files of one table need the same columns in the same order",
        left.0,
        right.0,
        place + 1,
        show(&ours),
        show(&theirs),
        format.name()
    )))
}

fn widen(guessed: bool, left: &DataType, right: &DataType) -> Option<DataType> {
    match (left, right) {
        _ if left == right => Some(left.clone()),
        _ if !guessed => None,
        (DataType::Null, other) | (other, DataType::Null) => Some(other.clone()),
        (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => Some(DataType::Float64),
        (DataType::List(ours), DataType::List(theirs)) => {
            let item = widen(guessed, ours.data_type(), theirs.data_type())?;
            Some(DataType::List(ours.as_ref().clone().with_data_type(item).into()))
        }
        (DataType::Struct(ours), DataType::Struct(theirs)) => {
            let mut fields: Vec<Field> = ours.iter().map(|field| field.as_ref().clone()).collect();
            for field in theirs {
                match fields.iter_mut().find(|known| known.name() == field.name()) {
                    Some(known) => known.set_data_type(widen(guessed, known.data_type(), field.data_type())?),
                    None => fields.push(field.as_ref().clone()),
                }
            }
            Some(DataType::Struct(fields.into()))
        }
        _ => None,
    }
}

/// A column that held no value in the rows that were looked at may hold any later: it is text.
fn settle(field: Field) -> Field {
    let settled = settled(field.data_type());
    field.with_data_type(settled)
}

fn settled(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Null => DataType::Utf8,
        DataType::List(item) => DataType::List(settle(item.as_ref().clone()).into()),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| settle(field.as_ref().clone())).collect())
        }
        other => other.clone(),
    }
}

fn type_conflict(format: &FileFormatOptions, left: (&str, &Field), right: (&str, &Field)) -> Error {
    let advice = if guessed(format) {
        "say the columns with the option `schema`"
    } else {
        "read them as two tables and cast the column"
    };
    Error::user(format!(
        "{} and {} disagree about column {}: it is {} in the first and {} in the second; {advice}",
        left.0,
        right.0,
        left.1.name(),
        left.1.data_type(),
        right.1.data_type()
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test may end the test")]
    use super::*;
    use crate::options::{CsvOptions, JsonOptions, ParquetOptions};

    fn schema(columns: &[(&str, DataType, bool)]) -> SchemaRef {
        let fields = columns.iter().map(|(name, data_type, nullable)| Field::new(*name, data_type.clone(), *nullable));
        SchemaRef::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    #[test]
    fn missing_columns_become_nullable() {
        let format = FileFormatOptions::Parquet(ParquetOptions::default());
        let left = schema(&[("a", DataType::Int64, false), ("b", DataType::Utf8, false)]);
        let right = schema(&[("c", DataType::Date32, false), ("a", DataType::Int64, false)]);
        let merged = merge(&format, &["x", "y"], &[left, right]).unwrap();
        let wanted =
            schema(&[("a", DataType::Int64, false), ("b", DataType::Utf8, true), ("c", DataType::Date32, true)]);
        assert_eq!(merged, wanted);
    }

    #[test]
    fn an_extension_type_is_kept_if_all_files_say_it() {
        let parquet = FileFormatOptions::Parquet(ParquetOptions::default());
        let shaped = |text: &str| {
            let metadata = HashMap::from([("ARROW:extension:metadata".to_owned(), text.to_owned())]);
            SchemaRef::new(Schema::new(vec![Field::new("a", DataType::Int64, false).with_metadata(metadata)]))
        };
        let same = merge(&parquet, &["x", "y"], &[shaped("1"), shaped("1")]).unwrap();
        assert_eq!(same, shaped("1"));
        for other in [shaped("2"), schema(&[("a", DataType::Int64, false)])] {
            let differing = merge(&parquet, &["x", "y"], &[shaped("1"), other]).unwrap();
            assert_eq!(differing, schema(&[("a", DataType::Int64, false)]));
        }
    }

    #[test]
    fn conflicts_name_files_column_and_types() {
        let format = FileFormatOptions::Parquet(ParquetOptions::default());
        let schemas = [schema(&[("a", DataType::Int64, true)]), schema(&[("a", DataType::Utf8, true)])];
        let error = merge(&format, &["x.parquet", "y.parquet"], &schemas).unwrap_err();
        for part in ["x.parquet", "y.parquet", "column a", "Int64", "Utf8"] {
            assert!(error.message().contains(part), "{error}");
        }
    }

    #[test]
    fn guesses_widen() {
        let json = FileFormatOptions::Json(JsonOptions::default());
        let left = schema(&[("a", DataType::Int64, true), ("b", DataType::Null, true), ("c", DataType::Null, true)]);
        let right = schema(&[("a", DataType::Float64, true), ("b", DataType::Boolean, true)]);
        let merged = merge(&json, &["x", "y"], &[left, right]).unwrap();
        let wanted = [("a", DataType::Float64, true), ("b", DataType::Boolean, true), ("c", DataType::Utf8, true)];
        assert_eq!(merged, schema(&wanted));
    }

    #[test]
    fn csv_columns_stand_in_the_same_order() {
        let csv = FileFormatOptions::Csv(CsvOptions::default());
        let schemas = [schema(&[("a", DataType::Int64, true)]), schema(&[("b", DataType::Int64, true)])];
        let error = merge(&csv, &["x.csv", "y.csv"], &schemas).unwrap_err();
        assert!(error.message().contains("column 1 is a in the first and b in the second"), "{error}");
    }
}
