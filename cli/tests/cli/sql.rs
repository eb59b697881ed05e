//! `bireme sql` and `bireme explain` on good input.

use crate::program::{Folder, run, sql};

const QUERY: &str =
    "SELECT * FROM (VALUES (1, 'a,b', 0.5, DATE '2024-02-29'), (NULL, 'c', NULL, NULL)) AS t(i, s, f, d) ORDER BY s";

#[test]
fn each_format() {
    let with = |format: &str| sql(QUERY, &["--format", format]).good();
    assert_eq!(with("csv"), "i,s,f,d\n1,\"a,b\",0.5,2024-02-29\n,c,,\n");
    let first = r#"{"i":1,"s":"a,b","f":0.5,"d":"2024-02-29"}"#;
    let second = r#"{"i":null,"s":"c","f":null,"d":null}"#;
    assert_eq!(with("json"), format!("[{first},{second}]\n"));
    assert_eq!(with("ndjson"), format!("{first}\n{second}\n"));
    assert_eq!(with("none"), "");
    let table = with("table");
    assert!(table.contains("| i | s   | f   | d          |") && table.ends_with("(2 rows)\n"), "{table}");
    assert_eq!(sql(QUERY, &[]).good(), table, "tables are the default");
}

#[test]
fn empty_results_keep_their_columns() {
    let query = "SELECT 1 AS one, 'x' AS s WHERE false";
    assert_eq!(sql(query, &["--format", "csv"]).good(), "one,s\n");
    assert_eq!(sql(query, &["--format", "json"]).good(), "[]\n");
    assert_eq!(sql(query, &["--format", "ndjson"]).good(), "");
    assert!(sql(query, &[]).good().ends_with("(0 rows)\n"));
}

#[test]
fn scripts_run_statement_by_statement() {
    let folder = Folder::new();
    let script = folder.file(
        "script.sql",
        "-- a comment; with a semicolon\nCREATE VIEW v AS SELECT ';' AS s;\nSELECT s FROM v;\nSELECT 2 AS two",
    );
    assert_eq!(run(&["sql", "-f", &script, "--format", "csv"]).good(), "s\n;\ntwo\n2\n");
}

#[test]
fn a_script_stops_at_the_first_failure() {
    let ran = sql("SELECT 1 AS a; SELECT nothing; SELECT 3 AS c", &["--format", "csv"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "a\n1\n"), "{ran:?}");
    assert_eq!(ran.err.matches("error: ").count(), 1, "said once: {ran:?}");
}

#[test]
fn timing_is_one_line_a_statement() {
    let ran = sql("SELECT 1; SELECT 2", &["--timing", "--format", "none"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
    let lines = ran.err.lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 2, "{ran:?}");
    for line in lines {
        let milliseconds = line.strip_prefix("time_ms ").unwrap().parse::<f64>().unwrap();
        assert!((0.0..60_000.0).contains(&milliseconds), "{line}");
    }
}

#[test]
fn files_and_folders_become_tables() {
    let folder = Folder::new();
    folder.file("people.csv", "name,age\nAda,36\nAlan,41\n");
    folder.file("visits/one.csv", "name,place\nAda,Turin\n");
    folder.file("visits/two.csv", "name,place\nAlan,Princeton\n");
    let query = "SELECT p.age, v.place FROM people p JOIN visits v ON p.name = v.name ORDER BY p.age";
    let expected = "age,place\n36,Turin\n41,Princeton\n";
    let tables = folder.path("");
    assert_eq!(sql(query, &["--tables", &tables, "--format", "csv"]).good(), expected);
    let people = format!("people={}", folder.path("people.csv"));
    let visits = format!("visits={}", folder.path("visits/*.csv"));
    assert_eq!(sql(query, &["--table", &people, "--table", &visits, "--format", "csv"]).good(), expected);
}

#[test]
fn ranks_threads_memory_and_mappers_never_change_answers() {
    let folder = Folder::new();
    folder.tpch("lineitem");
    let query = "SELECT l_returnflag, l_linestatus, count(*) AS n, sum(l_quantity) AS q FROM lineitem \
                 GROUP BY 1, 2 ORDER BY 1, 2";
    let tables = folder.path("");
    let with = |more: &[&str]| sql(query, &[&["--tables", &tables, "--format", "csv"], more].concat()).good();
    let expected = with(&["--threads", "1"]);
    assert_eq!(expected.lines().count(), 5, "{expected}");
    assert_eq!(with(&["--ranks", "3"]), expected);
    assert_eq!(with(&["--ranks", "3", "--random-mapper", "7"]), expected);
    assert_eq!(with(&["--ranks", "2", "--threads", "2", "--batch-rows", "100"]), expected);
    let temp = Folder::new();
    assert_eq!(with(&["--memory-limit", "64MiB", "--temp-dir", &temp.path("")]), expected);
    assert!(temp.names().is_empty(), "a temporary file is left: {:?}", temp.names());
}

#[test]
fn copy_writes_and_reads_back() {
    let folder = Folder::new();
    let path = folder.path("out.parquet");
    sql(&format!("COPY (SELECT 1 AS a UNION ALL SELECT 2) TO '{path}'"), &["--format", "none"]).good();
    let table = format!("t={path}");
    assert_eq!(sql("SELECT sum(a) AS s FROM t", &["--table", &table, "--format", "csv"]).good(), "s\n3\n");
}

#[test]
fn explain_shows_every_level() {
    let folder = Folder::new();
    folder.tpch("lineitem");
    let tables = folder.path("");
    let explain = |more: &[&str]| {
        let query = "SELECT l_returnflag, count(*) AS n FROM lineitem GROUP BY 1";
        run(&[&["explain", "--tables", &tables, "--ranks", "2", "-c", query], more].concat()).good()
    };
    let plan = explain(&[]);
    for word in ["stage s0", "pipeline 0: scan", "lineitem", "== placement =="] {
        assert!(plan.contains(word), "`{word}` is missing:\n{plan}");
    }
    assert_ne!(explain(&["--analyze"]), plan);
    let rows = explain(&["--format", "ndjson"]);
    assert!(rows.starts_with("{\"plan\":") && rows.lines().count() == 1, "{rows}");
}

#[test]
fn explain_runs_what_a_query_needs_and_refuses_to_write() {
    let view = "CREATE VIEW v AS SELECT 1 AS a; SELECT a FROM v";
    assert!(run(&["explain", "-c", view]).good().contains("stage s0"));
    let folder = Folder::new();
    let copy = format!("COPY (SELECT 1 AS a) TO '{}'", folder.path("x.csv"));
    run(&["explain", "-c", &copy]).fails(1, &["COPY"]);
    assert!(folder.names().is_empty());
    run(&["explain"]).fails(1, &["-c"]);
}
