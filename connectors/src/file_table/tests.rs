#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a failed test may end the test; a skipped one says so")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type};
use arrow::util::pretty::pretty_format_batches;
use bireme_engine::{Error, ErrorKind};
use datafusion::prelude::{SessionConfig, SessionContext};
use parquet::arrow::ArrowWriter;

use super::*;
use crate::error::from_datafusion;
use crate::file_scan::{scan_of, slice_scan, verify_files};
use crate::options::{CsvOptions, IpcOptions, JsonOptions, ParquetOptions};
use crate::store::{ReadCounters, register_stores};
use crate::{discover, pins_of};

/// A session of `lanes` lanes that cuts files of any size.
fn session(lanes: usize) -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(lanes);
    config.options_mut().optimizer.repartition_file_min_size = 1;
    config.options_mut().execution.enable_file_stream_work_stealing = false;
    SessionContext::new_with_config(config)
}

fn counted(context: &SessionContext) -> Arc<ReadCounters> {
    register_stores(&context.runtime_env(), &[]).unwrap()
}

async fn table(context: &SessionContext, path: &str, format: FileFormatOptions) -> Result<FileTable> {
    let snapshot = discover(&[path.to_string()], &format, &context.state()).await?;
    // What another rank would get.
    let bytes = bincode::encode_to_vec(&snapshot, bincode::config::standard()).unwrap();
    FileTable::try_new(bincode::decode_from_slice(&bytes, bincode::config::standard()).unwrap().0)
}

async fn register(context: &SessionContext, path: &str, format: FileFormatOptions) -> Result<()> {
    let table = table(context, path, format).await?;
    context.register_table("t", Arc::new(table)).unwrap();
    Ok(())
}

async fn sql(context: &SessionContext, text: &str) -> Result<String> {
    let frame = context.sql(text).await.map_err(|error| from_datafusion(&error))?;
    let batches = frame.collect().await.map_err(|error| from_datafusion(&error))?;
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

/// The values of a query's first row.
async fn row(context: &SessionContext, text: &str) -> Vec<String> {
    let printed = sql(context, text).await.unwrap();
    let line = printed.lines().nth(3).unwrap_or_default();
    line.trim_matches('|').split('|').map(|value| value.trim().to_string()).collect()
}

fn csv() -> FileFormatOptions {
    FileFormatOptions::Csv(CsvOptions::default())
}

fn parquet() -> FileFormatOptions {
    FileFormatOptions::Parquet(ParquetOptions::default())
}

fn write_parquet(path: &Path, columns: &[(&str, ArrayRef)]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let batch = RecordBatch::try_from_iter(columns.iter().map(|(name, array)| (*name, Arc::clone(array)))).unwrap();
    let properties =
        parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(100)).build();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn numbers(range: std::ops::Range<i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(range))
}

fn message(error: &Error) -> String {
    error.to_string()
}

fn text(directory: &Path) -> String {
    directory.display().to_string()
}

#[tokio::test]
async fn parquet_lanes_read_every_row_once() {
    let directory = tempfile::tempdir().unwrap();
    write_parquet(&directory.path().join("a.parquet"), &[("a", numbers(0..1000))]);
    write_parquet(&directory.path().join("b.parquet"), &[("a", numbers(1000..1100)), ("b", numbers(0..100))]);
    for lanes in [1, 2, 3, 8] {
        let context = session(lanes);
        register(&context, &text(directory.path()), parquet()).await.unwrap();
        assert_eq!(
            row(&context, "SELECT COUNT(*), SUM(a), COUNT(b) FROM t WHERE a >= 0").await,
            ["1100", "604450", "100"]
        );
        let plan = context.sql("SELECT a FROM t").await.unwrap().create_physical_plan().await.unwrap();
        let config = scan_of(plan.as_ref()).unwrap();
        assert_eq!(config.file_groups.len(), lanes);
        let mut sum = 0;
        for lane in 0..lanes {
            let slice = slice_scan(plan.as_ref(), &[lane]).unwrap();
            let batches = datafusion::physical_plan::collect(slice, context.task_ctx()).await.unwrap();
            sum += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        }
        assert_eq!(sum, 1100);
    }
}

#[tokio::test]
async fn planning_knows_rows_and_bounds() {
    let directory = tempfile::tempdir().unwrap();
    write_parquet(&directory.path().join("a.parquet"), &[("a", numbers(5..15))]);
    let context = session(2);
    register(&context, &text(directory.path()), parquet()).await.unwrap();
    let plan =
        context.sql("SELECT COUNT(*), MIN(a), MAX(a) FROM t").await.unwrap().create_physical_plan().await.unwrap();
    let printed = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
    assert!(!printed.contains("DataSourceExec"), "answered by the footer: {printed}");
    assert_eq!(row(&context, "SELECT COUNT(*), MIN(a), MAX(a) FROM t").await, ["10", "5", "14"]);
}

#[tokio::test]
async fn filters_and_projections_reach_the_decoder() {
    let directory = tempfile::tempdir().unwrap();
    let columns = [("a", numbers(0..1000)), ("b", numbers(0..1000)), ("c", numbers(0..1000))];
    write_parquet(&directory.path().join("a.parquet"), &columns);
    let context = session(1);
    let counters = counted(&context);
    register(&context, &text(directory.path()), parquet()).await.unwrap();
    let plan = context.sql("SELECT b + 1 FROM t WHERE a > 950").await.unwrap().create_physical_plan().await.unwrap();
    let printed = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
    assert!(printed.contains("pruning_predicate="), "{printed}");
    counters.reset();
    assert_eq!(row(&context, "SELECT COUNT(*), SUM(b) FROM t WHERE a > 950").await, ["49", "47775"]);
    let all = fs::metadata(directory.path().join("a.parquet")).unwrap().len();
    assert!(counters.total() > 0 && counters.total() < all / 2, "{} of {all} bytes read", counters.total());
}

#[tokio::test]
async fn hive_directories_become_columns_and_prune() {
    let directory = tempfile::tempdir().unwrap();
    for (year, month, range) in [(2023, "1", 0..10), (2023, "2", 10..20), (2024, "1", 20..30)] {
        let path = directory.path().join(format!("year={year}/month={month}/a.parquet"));
        write_parquet(&path, &[("a", numbers(range))]);
    }
    write_parquet(
        &directory.path().join("year=__HIVE_DEFAULT_PARTITION__/month=1/a.parquet"),
        &[("a", numbers(30..31))],
    );
    let context = session(4);
    register(&context, &text(directory.path()), parquet()).await.unwrap();
    assert_eq!(row(&context, "SELECT SUM(a), SUM(month) FROM t WHERE year = 2023").await, ["190", "30"]);
    assert_eq!(row(&context, "SELECT SUM(a) FROM t WHERE year IS NULL").await, ["30"]);
    assert_eq!(row(&context, "SELECT SUM(a) FROM t WHERE year IS NULL OR a < 5").await, ["40"]);
    assert_eq!(row(&context, "SELECT COUNT(*), SUM(year) FROM t WHERE a >= 0").await, ["31", "60700"]);
    for (filter, files) in [("year = 2024", 1), ("month = 1", 3), ("year > 2022 AND month = 2", 1), ("year = 1999", 0)]
    {
        let query = format!("SELECT a FROM t WHERE {filter}");
        let plan = context.sql(&query).await.unwrap().create_physical_plan().await.unwrap();
        let groups = scan_of(plan.as_ref()).map_or(&[][..], |scan| &scan.file_groups);
        let paths: BTreeSet<_> = groups.iter().flat_map(FileGroup::iter).map(PartitionedFile::path).collect();
        let found = paths.len();
        assert_eq!(found, files, "{filter}");
    }
    let off = FileFormatOptions::Parquet(ParquetOptions { hive_partitions: false, ..ParquetOptions::default() });
    assert_eq!(table(&context, &text(directory.path()), off).await.unwrap().schema().fields().len(), 1);
}

#[tokio::test]
async fn csv_json_and_ipc_in_any_number_of_lanes() {
    let directory = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..500).map(|number| format!("{number},name {number}")).collect();
    fs::write(directory.path().join("a.csv"), format!("a,b\n{}\n", lines.join("\n"))).unwrap();
    let lines: Vec<String> = (0..500).map(|number| format!("{{\"a\":{number},\"b\":\"name {number}\"}}")).collect();
    fs::write(directory.path().join("a.json"), lines.join("\n")).unwrap();
    fs::write(directory.path().join("array.json"), format!("[{}]", lines.join(",\n"))).unwrap();
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..500).map(|number| format!("name {number}"))));
    let batch = RecordBatch::try_from_iter([("a", numbers(0..500)), ("b", names)]).unwrap();
    let file = fs::File::create(directory.path().join("a.arrow")).unwrap();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(file, &batch.schema()).unwrap();
    for start in (0..500).step_by(50) {
        writer.write(&batch.slice(start, 50)).unwrap();
    }
    writer.finish().unwrap();
    let file = fs::File::create(directory.path().join("stream.arrow")).unwrap();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(file, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();

    let json = |array| FileFormatOptions::Json(JsonOptions { array, ..JsonOptions::default() });
    let ipc = || FileFormatOptions::Ipc(IpcOptions::default());
    for lanes in [1, 2, 3, 7] {
        for (name, format, cut) in [
            ("a.csv", csv(), true),
            ("a.json", json(false), true),
            ("array.json", json(true), false),
            ("a.arrow", ipc(), true),
            ("stream.arrow", ipc(), false),
        ] {
            let context = session(lanes);
            register(&context, &format!("{}/{name}", text(directory.path())), format).await.unwrap();
            let found = row(&context, "SELECT COUNT(*), SUM(a), COUNT(DISTINCT b), MAX(length(b)) FROM t").await;
            assert_eq!(found, ["500", "124750", "500", "8"], "{name} in {lanes} lanes");
            let plan = context.sql("SELECT a FROM t").await.unwrap().create_physical_plan().await.unwrap();
            assert_eq!(scan_of(plan.as_ref()).unwrap().file_groups.len(), if cut { lanes } else { 1 }, "{name}");
        }
    }
}

#[tokio::test]
async fn the_line_of_a_ragged_row_is_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ragged.csv");
    let mut lines: Vec<String> = (0..400).map(|number| format!("{number},x")).collect();
    // Lines 1 (header) and the blank and quoted ones count.
    lines[10] = String::new();
    lines[200] = "7,\"y\"".into();
    lines[321] = "1,2,3".into();
    fs::write(&path, format!("a,b\n{}\n", lines.join("\n"))).unwrap();
    let format = || FileFormatOptions::Csv(CsvOptions { infer_rows: 5, ..CsvOptions::default() });
    for lanes in [1, 2, 5] {
        let context = session(lanes);
        register(&context, path.to_str().unwrap(), format()).await.unwrap();
        let error = sql(&context, "SELECT SUM(a) FROM t").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let wanted = format!("{}: line 323: 3 fields instead of 2", path.display());
        assert!(message(&error).contains(&wanted), "{lanes} lanes: {error}");
    }
    lines[321] = "wrong,2".into();
    fs::write(&path, format!("a,b\n{}\n", lines.join("\n"))).unwrap();
    for lanes in [1, 3] {
        let context = session(lanes);
        register(&context, path.to_str().unwrap(), format()).await.unwrap();
        let error = sql(&context, "SELECT SUM(a) FROM t").await.unwrap_err();
        let wanted = format!("{}: line 323: cannot read 'wrong' as type 'Int64' for column 0", path.display());
        assert!(message(&error).contains(&wanted), "{lanes} lanes: {error}");
    }
    // Seen already when the columns are found out.
    lines[0] = "1".into();
    fs::write(&path, format!("a,b\n{}\n", lines.join("\n"))).unwrap();
    let error = register(&session(1), path.to_str().unwrap(), csv()).await.unwrap_err();
    assert!(message(&error).contains("line 2: 1 fields instead of 2"), "{error}");
}

#[tokio::test]
async fn the_line_of_bad_json_is_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.json");
    let mut lines: Vec<String> = (0..400).map(|number| format!("{{\"a\":{number}}}")).collect();
    lines[300] = "{\"a\":\"x\"}".into();
    fs::write(&path, lines.join("\n")).unwrap();
    let format = || FileFormatOptions::Json(JsonOptions { infer_rows: 5, ..JsonOptions::default() });
    for lanes in [1, 4] {
        let context = session(lanes);
        register(&context, path.to_str().unwrap(), format()).await.unwrap();
        let error = sql(&context, "SELECT SUM(a) FROM t").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(message(&error).contains("bad.json: line 301: "), "{error}");
    }
    lines[2] = "{\"a\":".into();
    fs::write(&path, lines.join("\n")).unwrap();
    let error = register(&session(1), path.to_str().unwrap(), format()).await.unwrap_err();
    assert!(message(&error).contains("bad.json: line 3: "), "{error}");
}

#[tokio::test]
async fn damaged_parquet_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    write_parquet(&path, &[("a", numbers(0..1000))]);
    let whole = fs::read(&path).unwrap();
    for (bytes, wanted) in [
        (&b"a,b\n1,2\n"[..], "is not a Parquet file"),
        (&whole[..whole.len() / 2], "is a truncated Parquet file"),
        (&b""[..], "is empty"),
        (&b"PAR1\0\0\0\0PAR1"[..], "footer"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = register(&session(1), path.to_str().unwrap(), parquet()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(message(&error).contains("a.parquet") && message(&error).contains(wanted), "{error}");
    }
    // A corrupt page is found when it is read.
    let mut corrupt = whole.clone();
    for byte in &mut corrupt[4..60] {
        *byte = 0xff;
    }
    fs::write(&path, &corrupt).unwrap();
    let context = session(1);
    register(&context, path.to_str().unwrap(), parquet()).await.unwrap();
    let error = sql(&context, "SELECT SUM(a) FROM t WHERE a >= 0").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(message(&error).contains("a.parquet"), "{error}");
}

#[tokio::test]
async fn an_expressions_error_is_not_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    write_parquet(&path, &[("a", numbers(0..10))]);
    let context = session(1);
    register(&context, path.to_str().unwrap(), parquet()).await.unwrap();
    let error = sql(&context, "SELECT 1 / a FROM t").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(!message(&error).contains("a.parquet"), "{error}");
}

#[tokio::test]
async fn schemas_that_differ_name_both_files() {
    let directory = tempfile::tempdir().unwrap();
    write_parquet(&directory.path().join("a.parquet"), &[("a", numbers(0..10))]);
    let names: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    write_parquet(&directory.path().join("b.parquet"), &[("a", names)]);
    let error = register(&session(1), &text(directory.path()), parquet()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    for part in ["a.parquet", "b.parquet", "column a", "Int64"] {
        assert!(message(&error).contains(part), "{error}");
    }
}

#[tokio::test]
async fn said_columns_nulls_and_delimiters() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    fs::write(&path, "# made by hand\n1|NA|x\n2||NA\n").unwrap();
    let fields = [("n", DataType::Int64), ("v", DataType::Float64), ("s", DataType::Utf8)];
    let schema = Schema::new(fields.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec());
    let options = CsvOptions {
        header: false,
        delimiter: b'|',
        comment: Some(b'#'),
        null_value: Some("NA".into()),
        ..CsvOptions::default()
    };
    for options in [options.clone().with_schema(schema), options] {
        let context = session(1);
        register(&context, path.to_str().unwrap(), FileFormatOptions::Csv(options)).await.unwrap();
        let printed = sql(&context, "SELECT * FROM t").await.unwrap();
        assert!(!printed.contains("NA") && printed.contains("| 2 "), "{printed}");
    }
}

#[tokio::test]
async fn every_byte_is_read_once() {
    let directory = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..2000).map(|number| format!("{number},name {number}")).collect();
    for name in ["a.csv", "b.csv", "c.csv"] {
        fs::write(directory.path().join(name), format!("a,b\n{}\n", lines.join("\n"))).unwrap();
    }
    let mut config = SessionConfig::new().with_target_partitions(3);
    config.options_mut().optimizer.repartition_file_min_size = 1 << 20;
    let context = SessionContext::new_with_config(config);
    let counters = counted(&context);
    register(&context, &text(directory.path()), csv()).await.unwrap();
    counters.reset();
    assert_eq!(row(&context, "SELECT COUNT(*) FROM t").await, ["6000"]);
    for (path, bytes) in counters.per_file() {
        assert_eq!(bytes, fs::metadata(&path).unwrap().len(), "{path}");
    }
    assert_eq!(counters.per_file().len(), 3);
}

#[tokio::test]
async fn ranks_that_see_other_files_say_so() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["a.csv", "b.csv"] {
        fs::write(directory.path().join(name), "a\n1\n").unwrap();
    }
    let context = session(1);
    register(&context, &text(directory.path()), csv()).await.unwrap();
    let plan = context.sql("SELECT a FROM t").await.unwrap().create_physical_plan().await.unwrap();
    let config = scan_of(plan.as_ref()).unwrap();
    let runtime = context.runtime_env();
    verify_files(&runtime, config, &[0], 1).await.unwrap();
    fs::write(directory.path().join("b.csv"), "a\n12\n").unwrap();
    let error = verify_files(&runtime, config, &[0], 1).await.unwrap_err();
    assert!(
        message(&error).contains("rank 1 sees") && message(&error).contains("with 5 bytes, rank 0 saw 4"),
        "{error}"
    );
    fs::remove_file(directory.path().join("b.csv")).unwrap();
    let error = verify_files(&runtime, config, &[0], 1).await.unwrap_err();
    assert!(message(&error).contains("rank 1 does not see"), "{error}");
}

#[tokio::test]
async fn local_files_are_tied_to_their_rank() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.csv"), "a\n1\n").unwrap();
    let context = session(2);
    register(&context, &format!("local://{}/*.csv", text(directory.path())), csv()).await.unwrap();
    let plan = context.sql("SELECT a FROM t").await.unwrap().create_physical_plan().await.unwrap();
    let pins = pins_of(&scan_of(plan.as_ref()).unwrap().file_groups);
    assert_eq!(pins, [bireme_engine::stage::Pin::Rank(0); 2]);
    let batches = datafusion::physical_plan::collect(plan, context.task_ctx()).await.unwrap();
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 1);
}

#[tokio::test]
async fn compressed_text_files() {
    use crate::options::Compression;
    let directory = tempfile::tempdir().unwrap();
    let good: String = (0..300).map(|number| format!("{number},x\n")).collect();
    let bad = format!("a,b\n{good}1,2,3\n{good}");
    let good = format!("a,b\n{good}");
    for (ending, compression) in
        [("gz", Compression::Gzip), ("bz2", Compression::Bzip2), ("xz", Compression::Xz), ("zst", Compression::Zstd)]
    {
        for (name, text, ok) in [("good", &good, true), ("bad", &bad, false)] {
            let bytes = bytes::Bytes::from(text.clone());
            let plain = futures::stream::iter([Ok(bytes)]);
            let packed = compression.file_type().convert_to_compress_stream(Box::pin(plain)).unwrap();
            let packed: Vec<bytes::Bytes> = futures::TryStreamExt::try_collect(packed).await.unwrap();
            let path = directory.path().join(format!("{name}.csv.{ending}"));
            fs::write(&path, packed.concat()).unwrap();
            let context = session(4);
            let format = FileFormatOptions::Csv(CsvOptions { infer_rows: 10, ..CsvOptions::default() });
            register(&context, path.to_str().unwrap(), format).await.unwrap();
            let found = sql(&context, "SELECT COUNT(*), SUM(a) FROM t").await;
            match found {
                Ok(found) => assert!(ok && found.contains("| 300      | 44850    |"), "{name}.{ending}: {found}"),
                Err(error) => {
                    assert!(!ok && message(&error).contains("line 302: 3 fields"), "{name}.{ending}: {error}")
                }
            }
        }
    }
}

#[tokio::test]
async fn empty_files() {
    let directory = tempfile::tempdir().unwrap();
    let json = || FileFormatOptions::Json(JsonOptions::default());
    for (name, format, wanted) in [
        ("a.csv", csv(), "a.csv is empty: a header line was expected"),
        ("a.json", json(), "a.json is empty, so its columns are not known"),
        ("a.parquet", parquet(), "a.parquet is empty"),
    ] {
        fs::write(directory.path().join(name), "").unwrap();
        let path = format!("{}/{name}", text(directory.path()));
        let error = register(&session(1), &path, format).await.unwrap_err();
        assert!(message(&error).contains(wanted), "{error}");
    }
    fs::write(directory.path().join("b.json"), "{\"a\":1}\n").unwrap();
    let context = session(2);
    register(&context, &format!("{}/*.json", text(directory.path())), json()).await.unwrap();
    assert_eq!(row(&context, "SELECT COUNT(*), SUM(a) FROM t").await, ["1", "1"]);
    fs::write(directory.path().join("a.csv"), "a,b\n").unwrap();
    let context = session(2);
    register(&context, &format!("{}/a.csv", text(directory.path())), csv()).await.unwrap();
    assert_eq!(row(&context, "SELECT COUNT(*), COUNT(a) FROM t").await, ["0", "0"]);
}

#[tokio::test]
async fn a_file_nobody_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    fs::write(&path, "a\n1\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&path).is_ok() {
        eprintln!("skipped: this user may read every file");
        return;
    }
    let error = register(&session(1), path.to_str().unwrap(), csv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Resources);
    assert!(message(&error).contains("a.csv"), "{error}");
}
