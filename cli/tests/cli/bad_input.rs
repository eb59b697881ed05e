//! Bad input: a clear error that names the thing, the right exit code, nothing half-written.

use std::fs;

use crate::program::{Folder, run, sql};

#[test]
fn command_lines() {
    run(&[]).fails(1, &["Usage"]);
    run(&["sing"]).fails(1, &["sing"]);
    run(&["sql", "--colour"]).fails(1, &["--colour"]);
    run(&["sql", "-c", "SELECT 1", "-f", "x.sql"]).fails(1, &["cannot be used with"]);
    sql("SELECT 1", &["--table", "nonsense"]).fails(1, &["NAME=PATH"]);
    sql("SELECT 1", &["--memory-limit", "lots"]).fails(1, &["lots", "MiB"]);
    sql("SELECT 1", &["--ranks", "0"]).fails(1, &["at least 1"]);
    sql("SELECT 1", &["--format", "xml"]).fails(1, &["xml", "ndjson"]);
    run(&["generate", "tpch", "--out", "x"]).fails(1, &["--scale"]);
}

#[test]
fn missing_files() {
    let folder = Folder::new();
    let missing = folder.path("missing.parquet");
    sql("SELECT * FROM t", &["--table", &format!("t={missing}")]).fails(1, &["missing.parquet"]);
    sql("SELECT * FROM t", &["--table", &format!("t={}", folder.path("*.parquet"))]).fails(1, &["*.parquet"]);
    sql("SELECT 1", &["--tables", &folder.path("nowhere")]).fails(1, &["nowhere"]);
    run(&["sql", "-f", &folder.path("missing.sql")]).fails(1, &["missing.sql"]);
    run(&["explain", "-f", &folder.path("missing.sql")]).fails(1, &["missing.sql"]);
    run(&["schema", &missing]).fails(1, &["missing.parquet"]);
}

#[test]
fn damaged_parquet_files() {
    let folder = Folder::new();
    let good = fs::read(folder.tpch("region")).unwrap();
    let mut page = good.clone();
    page[4..40].fill(0xff); // the first page's header
    let cases = [
        ("text.parquet", b"this is a text, and no Parquet file at all".to_vec()),
        ("empty.parquet", Vec::new()),
        ("truncated.parquet", good[..good.len() / 2].to_vec()),
        ("page.parquet", page),
    ];
    for (name, bytes) in cases {
        let table = format!("t={}", folder.file(name, bytes));
        sql("SELECT * FROM t", &["--table", &table]).fails(2, &[name]);
    }
}

#[test]
fn ragged_csv_names_the_line() {
    let folder = Folder::new();
    let path = folder.file("ragged.csv", "a,b\n1,2\n3,4,5\n6,7\n");
    sql("SELECT sum(b) FROM t", &["--table", &format!("t={path}")]).fails(2, &["ragged.csv", "line 3"]);
}

#[test]
fn files_whose_schemas_differ() {
    let folder = Folder::new();
    for (name, value) in [("one", "1"), ("two", "'text'")] {
        let path = folder.path(&format!("{name}.parquet"));
        sql(&format!("COPY (SELECT {value} AS a) TO '{path}'"), &[]).good();
    }
    let table = format!("t={}", folder.path("*.parquet"));
    let ran = sql("SELECT a FROM t", &["--table", &table]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("two.parquet") && ran.err.contains("column a"), "{ran:?}");
}

#[test]
fn syntax_errors_point_at_the_place() {
    let said = sql("SELECT 1 +\n  * 2", &[]).fails(1, &["line 2, column 3"]);
    let caret = said.trim_end().lines().last().unwrap();
    assert_eq!(caret.trim_start(), "^", "{said}");
    sql("SELECT 'open", &[]).fails(1, &["line 1"]);
}

#[test]
fn unknown_names_come_with_the_nearest() {
    let folder = Folder::new();
    let table = format!("orders={}", folder.file("orders.csv", "price,customer\n1,2\n"));
    sql("SELECT * FROM order", &["--table", &table]).fails(1, &["order"]);
    sql("SELECT * FROM ordrs", &["--table", &table]).fails(1, &["ordrs", "orders"]);
    sql("SELECT prise FROM orders", &["--table", &table]).fails(1, &["prise", "price"]);
    sql("SELECT no_such_function(1)", &[]).fails(1, &["no_such_function"]);
}

#[test]
fn values_that_do_not_fit() {
    sql("SELECT INTERVAL '1' DAY + true", &[]).fails(1, &["Boolean"]);
    sql("SELECT CAST(s AS INT) FROM (VALUES ('twelve')) AS t(s)", &[]).fails(1, &["twelve"]);
    sql("SELECT 1 / x FROM (VALUES (0)) AS t(x)", &[]).fails(1, &["ivi"]);
    sql("SELECT x + 1 FROM (VALUES (9223372036854775807)) AS t(x)", &[]).fails(1, &["verflow"]);
    let sum = "SELECT sum(x) FROM (VALUES (9223372036854775807), (1)) AS t(x)";
    sql(sum, &[]).fails(1, &["verflow"]);
    sql(sum, &["--ranks", "3"]).fails(1, &["verflow"]);
}

#[test]
fn output_that_exists() {
    let folder = Folder::new();
    let path = folder.path("out.csv");
    let copy = |value: i32, more: &[&str]| sql(&format!("COPY (SELECT {value} AS a) TO '{path}'"), more);
    copy(1, &["--format", "none"]).good();
    copy(2, &[]).fails(1, &["out.csv", "overwrite"]);
    let read = || sql("SELECT a FROM t", &["--format", "csv", "--table", &format!("t={path}")]).good();
    assert_eq!(read(), "a\n1\n", "what was there is still there");
    copy(3, &["--overwrite", "--format", "none"]).good();
    assert_eq!(read(), "a\n3\n");
    assert_eq!(folder.names(), ["out.csv"]);
}

#[test]
fn output_that_cannot_be_written_or_finished() {
    let folder = Folder::new();
    let file = folder.file("file", "no folder");
    let ran = sql(&format!("COPY (SELECT 1 AS a) TO '{file}/out.parquet'"), &[]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("out.parquet"), "{ran:?}");
    let failing = format!(
        "COPY (SELECT 10 / (x - 90000) AS a FROM generate_series(1, 100000) AS t(x)) TO '{}'",
        folder.path("half.parquet")
    );
    for ranks in ["1", "3"] {
        sql(&failing, &["--ranks", ranks]).fails(1, &["ivi"]);
        assert_eq!(folder.names(), ["file"], "nothing half-written");
    }
}

#[test]
fn csv_has_no_nested_values() {
    sql("SELECT make_array(1, 2) AS pair", &["--format", "csv"]).fails(1, &["pair", "--format json"]);
    assert_eq!(sql("SELECT make_array(1, 2) AS pair", &["--format", "ndjson"]).good(), "{\"pair\":[1,2]}\n");
}

/// Without MPI in it, the program must not run the whole job once per process.
#[cfg(not(feature = "mpi"))]
#[test]
fn started_under_mpirun_without_mpi() {
    let mut command = crate::program::bireme(&["sql", "-c", "SELECT 1"]);
    command.envs([("OMPI_COMM_WORLD_SIZE", "2"), ("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_LOCAL_RANK", "0")]);
    crate::program::Ran::from(command.output().unwrap()).fails(1, &["mpi"]);
}
