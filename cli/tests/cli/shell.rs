//! Statements and commands of the shell, through a pipe.

use crate::program::{Folder, run_with_input};

#[test]
fn statements_from_a_pipe() {
    let input = "SELECT 1 AS a; SELECT\n  ';' AS b -- not; yet\n;\n\nSELECT 3 AS c";
    assert_eq!(run_with_input(&["sql", "--format", "csv"], input).good(), "a\n1\nb\n;\nc\n3\n");
    assert_eq!(run_with_input(&["sql"], "").good(), "");
    assert_eq!(run_with_input(&["sql"], "-- nothing but a comment\n").good(), "");
}

#[test]
fn a_pipe_is_a_script() {
    let ran = run_with_input(&["sql", "--format", "csv"], "SELECT 1 AS a;\nSELECT nothing;\nSELECT 3 AS c;\n");
    assert_eq!((ran.code, ran.out.as_str()), (1, "a\n1\n"), "{ran:?}");
    assert!(ran.err.contains("nothing"), "{ran:?}");
}

#[test]
fn commands_of_the_shell() {
    let folder = Folder::new();
    let table = format!("people={}", folder.file("people.csv", "name,age\nAda,36\n"));
    let shell = |input: &str| run_with_input(&["sql", "--format", "csv", "--table", &table], input);
    let help = shell("\\?\n").good();
    assert!(["\\d", "\\timing", "\\q"].iter().all(|command| help.contains(command)), "{help}");
    assert_eq!(shell("CREATE VIEW v AS SELECT 1 AS a;\n\\d\n").good(), "people\nv\n");
    let columns = shell("\\d people\n").good();
    assert!(columns.starts_with("column,type,nullable\nname,"), "{columns}");
    assert_eq!(shell("SELECT 1 AS a;\n\\q\nSELECT 2 AS b;\n").good(), "a\n1\n");
    shell("\\d peoples\n").fails(1, &["peoples", "people"]);
    shell("\\dance\n").fails(1, &["\\dance", "\\?"]);
    let timed = shell("\\timing\nSELECT 1;\n\\timing\nSELECT 2;\n");
    assert_eq!(timed.err.matches("time_ms ").count(), 1, "{timed:?}");
}
