//! Columns whose values stand in directory names: `sales/year=2024/month=3/part-0.parquet`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use bireme_engine::{Error, Result};
use datafusion::common::ScalarValue;

use crate::location::{FoundFile, decode_percent};
use crate::options::FileFormatOptions;
use crate::snapshot::{PartitionColumn, PartitionKind};

/// The directory name that stands for NULL.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A file's partition columns: names and values.
type Pairs = Vec<(String, Option<String>)>;

/// A file's values of the partition columns.
pub(crate) type Values = Vec<Option<String>>;

/// The partition columns of the files and, file by file, their values.
///
/// # Errors
/// Files lie under different keys.
pub(crate) fn partitions(files: &[FoundFile], wanted: bool) -> Result<(Vec<PartitionColumn>, Vec<Values>)> {
    let pairs: Vec<Pairs> = files.iter().map(|file| if wanted { pairs_of(file) } else { Vec::new() }).collect();
    let keys = |pairs: &Pairs| pairs.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let names = pairs.first().map(keys).unwrap_or_default();
    if let Some(other) = pairs.iter().position(|pairs| keys(pairs) != names) {
        return Err(Error::user(format!(
            "{} lies under the partition columns [{}], but {} under [{}]; all files of a table need the same ones \
             (or switch the option `hive_partitions` off)",
            files[0].shown,
            names.join(", "),
            files[other].shown,
            keys(&pairs[other]).join(", ")
        )));
    }
    let values: Vec<Values> =
        pairs.into_iter().map(|pairs| pairs.into_iter().map(|(_, value)| value).collect()).collect();
    let column = |(place, name): (usize, String)| {
        let known = || values.iter().filter_map(move |values| values[place].as_deref());
        PartitionColumn { name, kind: kind_of(known), nullable: values.iter().any(|values| values[place].is_none()) }
    };
    let columns = names.into_iter().enumerate().map(column).collect();
    Ok((columns, values))
}

fn pairs_of(file: &FoundFile) -> Pairs {
    let decode = |text: &str| decode_percent(text).unwrap_or_else(|| text.to_string());
    let split = |part: &String| {
        let (key, value) = part.split_once('=')?;
        (!key.is_empty()).then(|| (decode(key), (value != NULL).then(|| decode(value))))
    };
    file.below.iter().filter_map(split).collect()
}

fn kind_of<'a, I: Iterator<Item = &'a str>>(values: impl Fn() -> I) -> PartitionKind {
    // `007` is a name, not a number: it must come out as it was written.
    let integer = |text: &str| text.parse::<i64>().is_ok_and(|number| number.to_string() == text);
    let date = |text: &str| text.len() == 10 && ScalarValue::try_from_string(text.into(), &DataType::Date32).is_ok();
    if values().next().is_none() {
        PartitionKind::Utf8
    } else if values().all(integer) {
        PartitionKind::Int64
    } else if values().all(date) {
        PartitionKind::Date32
    } else {
        PartitionKind::Utf8
    }
}

/// The files' columns without those that stand in the directory names too; the directory is right.
///
/// # Errors
/// The format's decoder cannot leave a column out.
pub(crate) fn without_partition_columns(
    format: &FileFormatOptions,
    schema: &SchemaRef,
    partitions: &[PartitionColumn],
    files: &[FoundFile],
) -> Result<SchemaRef> {
    let in_path = |name: &str| partitions.iter().any(|column| column.name == name);
    let Some(twice) = schema.fields().iter().find(|field| in_path(field.name())) else { return Ok(Arc::clone(schema)) };
    if matches!(format, FileFormatOptions::Csv(_) | FileFormatOptions::Ipc(_)) {
        return Err(Error::user(format!(
            "{}: column {} stands in the file and in its directory's name; switch the option `hive_partitions` off",
            files[0].shown,
            twice.name()
        )));
    }
    let fields: Vec<_> = schema.fields().iter().filter(|field| !in_path(field.name())).cloned().collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// The name of a directory for one value.
pub(crate) fn directory(column: &str, value: Option<&str>) -> String {
    match value {
        None => format!("{}={NULL}", encode(column)),
        Some(value) => format!("{}={}", encode(column), encode(value)),
    }
}

/// Characters that would take a path apart, or that other readers trip over, as `%2F`.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii_control() || " \"#%'*/:=?\\{}[]<>|^".contains(letter) {
            encoded.push_str(&format!("%{:02X}", u32::from(letter)));
        } else {
            encoded.push(letter);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test may end the test")]
    use std::time::UNIX_EPOCH;

    use super::*;

    fn file(below: &[&str]) -> FoundFile {
        FoundFile {
            key: "a".into(),
            shown: format!("{}/a", below.join("/")),
            size: 1,
            modified: UNIX_EPOCH,
            below: below.iter().map(ToString::to_string).collect(),
        }
    }

    fn kinds(paths: &[&[&str]]) -> Vec<(String, PartitionKind, bool)> {
        let files: Vec<_> = paths.iter().map(|below| file(below)).collect();
        let (columns, _) = partitions(&files, true).unwrap();
        columns.into_iter().map(|column| (column.name, column.kind, column.nullable)).collect()
    }

    #[test]
    fn types_of_partition_columns() {
        use PartitionKind::{Date32, Int64, Utf8};
        let null = format!("n={NULL}");
        let found =
            kinds(&[&["y=2024", "d=2024-02-29", "z=007", &null], &["y=-5", "plain", "d=1970-01-01", "z=8", "n=3"]]);
        let wanted = [("y", Int64, false), ("d", Date32, false), ("z", Utf8, false), ("n", Int64, true)];
        assert_eq!(found, wanted.map(|(name, kind, nullable)| (name.to_string(), kind, nullable)));
    }

    #[test]
    fn all_files_need_the_same_keys() {
        let error = partitions(&[file(&["y=1"]), file(&["m=1"])], true).unwrap_err();
        assert!(error.message().contains("[y]") && error.message().contains("[m]"), "{error}");
        assert_eq!(partitions(&[file(&["y=1"]), file(&["m=1"])], false).unwrap().0, []);
    }

    #[test]
    fn directory_names_round_trip() {
        for value in ["a/b", "x=y", "50%", "", "grün", "a b", "2024-01-01"] {
            let below = directory("k ey", Some(value));
            let (columns, values) = partitions(&[file(&[&below])], true).unwrap();
            assert_eq!((columns[0].name.as_str(), values[0][0].as_deref()), ("k ey", Some(value)), "{below}");
        }
        let (_, values) = partitions(&[file(&[&directory("k", None)])], true).unwrap();
        assert_eq!(values, [[None]]);
    }
}
