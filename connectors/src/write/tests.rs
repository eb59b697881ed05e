#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a failed test may end the test; a skipped one says so")]
#![allow(clippy::single_range_in_vec_init, reason = "the rows of each lane are a range; often there is one lane")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use bireme_engine::stage::Sink;
use bireme_engine::{ErrorKind, Result};
use datafusion::prelude::SessionContext;

use super::encode::Encoder;
use super::*;
use crate::discover;
use crate::file_table::FileTable;
use crate::options::FileFormatOptions;

fn schema() -> SchemaRef {
    let fields = [("a", DataType::Int64), ("k", DataType::Utf8), ("b", DataType::Utf8)];
    Arc::new(Schema::new(fields.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec()))
}

fn batch(range: std::ops::Range<i64>) -> RecordBatch {
    let keys = range.clone().map(|value| (value % 5 != 4).then(|| format!("k/{}", value % 5)));
    let names = range.clone().map(|value| (value % 7 != 0).then(|| format!("n{value}")));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(range)),
        Arc::new(keys.collect::<StringArray>()),
        Arc::new(names.collect::<StringArray>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn formats() -> [WriteFormat; 4] {
    ["a.parquet", "a.csv", "a.json", "a.arrow"].map(|name| WriteFormat::of_name(name).unwrap())
}

fn write(sink: &FileSink, lanes: &[std::ops::Range<i64>]) -> Result<()> {
    for (lane, range) in lanes.iter().enumerate() {
        let mut part = sink.open(0, lane)?;
        for start in (range.start..range.end).step_by(10) {
            part.write(batch(start..(start + 10).min(range.end)))?;
        }
        part.close()?;
    }
    Ok(())
}

async fn read(path: &Path, extension: &str, query: &str) -> String {
    let context = SessionContext::new();
    let format = FileFormatOptions::of_name(&format!("x.{extension}")).unwrap();
    let snapshot = discover(&[path.display().to_string()], &format, &context.state()).await.unwrap();
    context.register_table("t", Arc::new(FileTable::try_new(snapshot).unwrap())).unwrap();
    let batches = context.sql(query).await.unwrap().collect().await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        target::parts(directory).unwrap().iter().map(|path| path.display().to_string()).collect();
    names.sort();
    names
}

const COUNTS: &str = "SELECT COUNT(*) AS rows, SUM(a) AS sum, COUNT(k) AS keys, COUNT(b) AS names FROM t";
const ROWS_0_TO_100: &str = "| 100  | 4950 | 80   | 85    |";

#[tokio::test]
async fn every_format_comes_back() {
    for format in formats() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("out");
        let sink =
            FileSink::new(target.to_str().unwrap(), schema(), WriteOptions::new(format.clone()), &Job::named("7f"))
                .unwrap();
        write(&sink, &[0..40, 40..40, 40..100]).unwrap();
        assert!(!target.exists(), "nothing is seen before it is published");
        assert_eq!(sink.publish(sink.files_written()).unwrap(), 2);
        let extension = format.extension();
        assert_eq!(names(&target), [format!("part-00000-7f.{extension}"), format!("part-00002-7f.{extension}")]);
        assert_eq!(names(directory.path()).len(), 2, "the job's folder is gone");
        let printed = read(&target, extension, COUNTS).await;
        assert!(printed.contains(ROWS_0_TO_100), "{extension}: {printed}");
    }
}

#[tokio::test]
async fn one_file_when_the_name_says_so() {
    for format in formats() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join(format!("out.{}", format.extension()));
        let sink =
            FileSink::new(target.to_str().unwrap(), schema(), WriteOptions::new(format.clone()), &Job::named("7f"))
                .unwrap();
        assert!(sink.single_lane());
        write(&sink, &[0..100]).unwrap();
        sink.publish(1).unwrap();
        assert!(target.is_file());
        let printed = read(&target, format.extension(), COUNTS).await;
        assert!(printed.contains(ROWS_0_TO_100), "{printed}");
        assert_eq!(names(directory.path()).len(), 1);
    }
}

#[tokio::test]
async fn partitions_become_directories() {
    for (format, open_files) in formats().into_iter().zip([64, 2, 1, 3]) {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("out");
        let mut options = WriteOptions::new(format.clone());
        options.partition_by = vec!["k".into()];
        options.open_files = open_files;
        let sink = FileSink::new(target.to_str().unwrap(), schema(), options, &Job::named("7f")).unwrap();
        write(&sink, &[0..50, 50..100]).unwrap();
        sink.publish(sink.files_written()).unwrap();
        let found = names(&target);
        assert!(found.iter().any(|name| name.starts_with("k=k%2F3/part-00001")), "{found:?}");
        assert!(found.iter().any(|name| name.starts_with("k=__HIVE_DEFAULT_PARTITION__/")), "{found:?}");
        let printed = read(&target, format.extension(), COUNTS).await;
        assert!(printed.contains(ROWS_0_TO_100), "{printed}");
        let printed = read(&target, format.extension(), "SELECT SUM(a) AS sum FROM t WHERE k = 'k/3'").await;
        assert!(printed.contains("| 1010 |"), "{printed}");
    }
}

#[tokio::test]
async fn nothing_is_left_of_what_failed() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("deep/er/out");
    for format in formats() {
        let sink =
            FileSink::new(target.to_str().unwrap(), schema(), WriteOptions::new(format), &Job::named("7f")).unwrap();
        let mut part = sink.open(0, 0).unwrap();
        part.write(batch(0..10)).unwrap();
        assert_eq!(names(directory.path()).len(), 1);
        drop(part);
        assert_eq!(names(directory.path()).len(), 0, "a lane that is dropped takes its file away");
        write(&sink, &[0..10]).unwrap();
        sink.abort().unwrap();
        sink.abort().unwrap();
        assert!(fs::read_dir(directory.path()).unwrap().next().is_none(), "an aborted job leaves nothing");
    }
}

#[test]
fn existing_targets() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::create_dir(path("empty")).unwrap();
    fs::create_dir(path("table")).unwrap();
    fs::write(path("table/part-0.csv"), "a\n1\n").unwrap();
    fs::create_dir(path("home")).unwrap();
    fs::write(path("home/letter.doc"), "x").unwrap();
    fs::write(path("one.csv"), "a\n1\n").unwrap();
    use WriteMode::{Append, Create, Overwrite};
    for (name, mode, allowed) in [
        ("new", Create, true),
        ("new/deeper", Create, true),
        ("empty", Create, true),
        ("table", Create, false),
        ("table", Overwrite, true),
        ("table", Append, true),
        ("home", Overwrite, false),
        ("one.csv", Create, false),
        ("one.csv", Overwrite, true),
        ("one.csv", Append, false),
        ("one.csv/below", Create, false),
    ] {
        let checked = check_target(&path(name), mode);
        assert_eq!(checked.is_ok(), allowed, "{name} {mode:?}: {checked:?}");
    }
    let refused = check_target(&path("table"), Create).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::User);
    assert!(refused.message().contains("table exists") && refused.message().contains("--overwrite"), "{refused}");
}

#[tokio::test]
async fn overwrite_and_append() {
    for format in formats() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("out");
        for (mode, job, range, wanted) in [
            (WriteMode::Create, "j1", 0..10, "| 10   |"),
            (WriteMode::Append, "j2", 10..30, "| 30   |"),
            (WriteMode::Overwrite, "j3", 0..5, "| 5    |"),
        ] {
            let mut options = WriteOptions::new(format.clone());
            options.mode = mode;
            check_target(target.to_str().unwrap(), mode).unwrap();
            let sink = FileSink::new(target.to_str().unwrap(), schema(), options, &Job::named(job)).unwrap();
            write(&sink, &[range]).unwrap();
            sink.publish(1).unwrap();
            let printed = read(&target, format.extension(), COUNTS).await;
            assert!(printed.contains(wanted), "{mode:?}: {printed}");
            assert!(
                names(directory.path()).iter().all(|name| !name.contains(".bireme")),
                "{:?}",
                names(directory.path())
            );
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("out");
    fs::create_dir(&target).unwrap();
    let sink =
        FileSink::new(target.to_str().unwrap(), schema(), WriteOptions::new(formats()[1].clone()), &Job::named("j"))
            .unwrap();
    write(&sink, &[0..5]).unwrap();
    fs::write(target.join("late.csv"), "x").unwrap();
    assert_eq!(sink.publish(1).unwrap_err().kind(), ErrorKind::User);
    assert_eq!(names(&target), ["late.csv"]);
}

#[tokio::test]
async fn a_result_without_rows_keeps_its_columns() {
    for format in formats() {
        for (name, partition_by) in [("out", vec![]), ("out", vec!["k".to_string()]), ("single", vec![])] {
            let directory = tempfile::tempdir().unwrap();
            let extension = format.extension();
            let name = if name == "single" { format!("single.{extension}") } else { name.to_string() };
            let target = directory.path().join(name);
            let mut options = WriteOptions::new(format.clone());
            options.partition_by = partition_by;
            let sink = FileSink::new(target.to_str().unwrap(), schema(), options, &Job::named("7f")).unwrap();
            write(&sink, &[0..0]).unwrap();
            assert_eq!(sink.publish(0).unwrap(), 1);
            if extension == "json" {
                continue; // An empty JSON file tells no columns.
            }
            let printed =
                read(&target, extension, "SELECT COUNT(*) AS rows, COUNT(a), COUNT(k), COUNT(b) FROM t").await;
            assert!(printed.contains("| 0    |"), "{extension}: {printed}");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("single.csv");
    let sink =
        FileSink::new(target.to_str().unwrap(), schema(), WriteOptions::new(formats()[1].clone()), &Job::named("7f"))
            .unwrap();
    sink.publish(0).unwrap();
    assert_eq!(fs::read_to_string(target).unwrap(), "a,k,b\n");
}

#[test]
fn what_cannot_be_written_is_refused_before() {
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let nested: SchemaRef = Arc::new(Schema::new(vec![Field::new("tags", DataType::List(item), true)]));
    let csv = WriteOptions::new(formats()[1].clone());
    let error = FileSink::new("/tmp/x", nested, csv.clone(), &Job::named("j")).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("column tags"), "{error}");
    let mut options = csv;
    options.partition_by = vec!["kk".into()];
    let error = FileSink::new("/tmp/x", schema(), options.clone(), &Job::named("j")).unwrap_err();
    assert!(error.message().contains("did you mean k?"), "{error}");
    assert!(FileSink::new("/tmp/x.csv", schema(), options, &Job::named("j")).is_err());
}

#[test]
fn a_full_disk_names_the_file() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        eprintln!("skipped: there is no /dev/full here");
        return;
    }
    for format in formats() {
        let write = || {
            let mut encoder = Encoder::create(full, &schema(), &format)?;
            encoder.write(&batch(0..1000))?;
            encoder.finish()
        };
        let error = write().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Resources, "{error}");
        assert!(error.message().contains("/dev/full"), "{error}");
    }
}

#[test]
fn missing_parts_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("out");
    let sink =
        FileSink::new(target.to_str().unwrap(), schema(), WriteOptions::new(formats()[0].clone()), &Job::named("7f"))
            .unwrap();
    write(&sink, &[0..5]).unwrap();
    let error = sink.publish(3).unwrap_err();
    assert!(error.message().contains("rank 0 sees 1 of 3 files"), "{error}");
    sink.abort().unwrap();
    assert_eq!(sink.describe(), format!("parquet files in {}", target.display()));
}
