//! The other commands, help, and output that nobody reads to its end.

use std::fs;
use std::process::Command;

use crate::program::{Folder, bireme, run};

#[test]
fn help_has_examples_everywhere() {
    let commands: [&[&str]; 8] =
        [&[], &["sql"], &["explain"], &["schema"], &["generate"], &["generate", "tpch"], &["machine"], &["demo"]];
    for command in commands {
        let help = run(&[command, &["--help"]].concat()).good();
        assert!(help.contains("Example") && help.contains("bireme "), "{command:?}: {help}");
        assert!(!help.contains("random-mapper"), "{command:?}: {help}");
    }
    assert!(run(&["--version"]).good().starts_with("bireme "));
}

#[test]
fn generate_writes_each_table_once() {
    let folder = Folder::new();
    let out = folder.path("tpch");
    let generate = |more: &[&str]| run(&[&["generate", "tpch", "--scale", "0.001", "--out", &out], more].concat());
    let summary = generate(&[]).good();
    let names = || {
        let entries = fs::read_dir(&out).unwrap();
        let mut names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
        names.sort();
        names
    };
    let tables = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];
    assert_eq!(names(), tables.map(|table| format!("{table}.parquet")));
    assert!(tables.iter().all(|table| summary.contains(table)), "{summary}");
    let before = fs::read(format!("{out}/orders.parquet")).unwrap();
    generate(&["--tables", "orders"]).fails(1, &["orders.parquet", "--overwrite"]);
    generate(&["--tables", "orders", "--overwrite", "--threads", "3"]).good();
    assert!(fs::read(format!("{out}/orders.parquet")).unwrap() == before, "the same scale gives the same bytes");
    assert_eq!(names().len(), 8);
}

#[test]
fn generate_refuses_what_cannot_be() {
    let folder = Folder::new();
    let out = folder.path("out");
    for scale in ["0", "1e9", "nan", "x"] {
        run(&["generate", "tpch", "--scale", scale, "--out", &out]).fails(1, &["scale"]);
    }
    run(&["generate", "tpch", "--scale=-1", "--out", &out]).fails(1, &["scale"]);
    run(&["generate", "tpch", "--scale", "0.001", "--out", &out, "--tables", "lineitems"]).fails(1, &["lineitems"]);
    let file = folder.file("file", "no folder");
    run(&["generate", "tpch", "--scale", "0.001", "--out", &format!("{file}/out")]).fails(1, &["file/out"]);
    assert_eq!(folder.names(), ["file"]);
}

#[test]
fn schema_shows_columns() {
    let folder = Folder::new();
    let path = folder.tpch("lineitem");
    let shown = run(&["schema", &path, "--format", "csv"]).good();
    assert!(shown.starts_with("column,type,nullable\nl_orderkey,Int64,"), "{shown}");
    assert!(shown.contains("l_extendedprice,\"Decimal128(15, 2)\","), "{shown}");
    assert_eq!(shown.lines().count(), 17, "{shown}");
}

#[test]
fn machine_tells_what_it_is() {
    let shown = run(&["machine", "--ranks", "2"]).good();
    assert!(shown.contains("rank") && shown.contains("core"), "{shown}");
}

#[test]
fn demo_runs_five_queries_and_explains_one() {
    let folder = Folder::new();
    let ran = run(&["demo", "--scale", "0.002", "--temp-dir", &folder.path("")]);
    assert_eq!(ran.err, "", "no bar where there is no terminal");
    let shown = ran.good();
    for word in ["Q1,", "Q3,", "Q5,", "Q6,", "Q12,", "stage s0", "Times:"] {
        assert!(shown.contains(word), "`{word}` is missing:\n{shown}");
    }
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

#[test]
fn a_reader_may_stop_early() {
    let program = bireme(&[]).get_program().to_string_lossy().into_owned();
    let query = "SELECT x FROM generate_series(1, 300000) AS t(x)";
    for format in ["table", "csv", "json", "ndjson"] {
        let line = format!("set -o pipefail; '{program}' sql --format {format} -c '{query}; {query}' | head -n 1");
        let output = Command::new("bash").args(["-c", &line]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{format}: {output:?}");
    }
    let line = format!("set -o pipefail; '{program}' sql --help | head -n 1");
    assert!(Command::new("bash").args(["-c", &line]).output().unwrap().status.success());
}
