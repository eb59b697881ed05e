//! Text in pieces of every size: what is read must not depend on where the file is cut.

use std::fs;

use bireme_engine::error::ErrorKind;

use super::*;

/// Reads with pieces of many sizes and several threads; all must agree.
fn read_text(text: &[u8]) -> Result<EdgeList, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.el");
    fs::write(&path, text).unwrap();
    let expected = read(&path, 1);
    for piece in [1, 2, 3, 4, 5, 7, 11, 16, 50] {
        for threads in [1, 3] {
            assert_eq!(read_pieces(&path, threads, piece).map_err(|error| error.message().to_owned()), {
                let prefix = format!("reading {}: ", path.display());
                expected.as_ref().cloned().map_err(|error| error.message().strip_prefix(&prefix).unwrap().to_owned())
            });
        }
    }
    expected
}

fn check(text: &str, from: &[u64], to: &[u64], weights: Weights) {
    let expected = EdgeList { from: from.to_vec(), to: to.to_vec(), weights };
    assert_eq!(read_text(text.as_bytes()).unwrap(), expected, "{text}");
}

fn check_error(text: &str, expected: &str) {
    let error = read_text(text.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().ends_with(&format!(": {expected}")), "{error}");
}

#[test]
fn two_columns() {
    check("0 1\n7 3\n", &[0, 7], &[1, 3], Weights::None);
    check("0 1\n7 3", &[0, 7], &[1, 3], Weights::None);
    check("12345\t678\n", &[12345], &[678], Weights::None);
    check("  0   1 \t\r\n\n \n7\t3\r\n", &[0, 7], &[1, 3], Weights::None);
    check("18446744073709551615 0018446744073709551614\n", &[u64::MAX], &[u64::MAX - 1], Weights::None);
}

#[test]
fn three_columns() {
    check("0 1 5\n7 3 -2\n", &[0, 7], &[1, 3], Weights::Integers(vec![5, -2]));
    let extremes = "1 2 9223372036854775807\n3 4 -9223372036854775808\n";
    check(extremes, &[1, 3], &[2, 4], Weights::Integers(vec![i64::MAX, i64::MIN]));
    check("0 1 5\n7 3 0.25\n2 2 7\n", &[0, 7, 2], &[1, 3, 2], Weights::Floats(vec![5.0, 0.25, 7.0]));
    check("0 1 -1e3\n2 2 7\n", &[0, 2], &[1, 2], Weights::Floats(vec![-1000.0, 7.0]));
    check("0 1 9223372036854775808\n", &[0], &[1], Weights::Floats(vec![9_223_372_036_854_775_808.0]));
}

#[test]
fn comments_and_nothing() {
    check("", &[], &[], Weights::None);
    check("\n\n", &[], &[], Weights::None);
    check("# a\n% b 1 2\n  # c\n1 2\n#", &[1], &[2], Weights::None);
    check("# 1 2 3\n1 2\n# 1 2 3\n3 4\n", &[1, 3], &[2, 4], Weights::None);
}

#[test]
fn mistakes_name_their_line() {
    let from = "the vertex that an edge comes from";
    let to = "the vertex that an edge goes to";
    check_error("# a\n\n1 2\nx 2\n", &format!("line 4: 'x' is not {from}: a number from 0 to 2^64 - 1"));
    check_error("1 2\n3 -4\n", &format!("line 2: '-4' is not {to}: a number from 0 to 2^64 - 1"));
    check_error("1 2\n3 4.5\n", &format!("line 2: '4.5' is not {to}: a number from 0 to 2^64 - 1"));
    check_error(
        "1 18446744073709551616\n",
        &format!("line 1: '18446744073709551616' is not {to}: a number from 0 to 2^64 - 1"),
    );
    check_error("1 2\n3\n", &format!("line 2: {to} is missing"));
    check_error("1 2\n3", &format!("line 2: {to} is missing"));
    check_error("1 2 3\n1 2 x\n", "line 2: 'x' is not a weight");
    check_error("1 2 3\n1 2 nan\n", "line 2: 'nan' is not a weight");
    check_error("1 2 3 4\n", "line 1: '4' follows after three columns, where the line should end");
    check_error("1,2\n", &format!("line 1: '1,2' is not {from}: a number from 0 to 2^64 - 1"));
    let columns = "columns, the lines before have";
    let all = "either all edges have a weight, or none has one";
    check_error("1 2\n#\n3 4\n1 2 3\nx\n", &format!("line 4: it has 3 {columns} 2: {all}"));
    check_error("\n1 2 3\n1 2\n", &format!("line 3: it has 2 {columns} 3: {all}"));
    // Of two mistakes, the first one is said.
    check_error("1 2\ny 1\n1 2\nx 2\n", &format!("line 2: 'y' is not {from}: a number from 0 to 2^64 - 1"));
}

#[test]
fn messages_show_no_control_characters() {
    let long = format!("1 2\n\u{1b}[2J{}\n", "x".repeat(100));
    let error = read_text(long.as_bytes()).unwrap_err();
    assert!(error.message().contains(&format!("line 2: '\u{fffd}[2J{}…'", "x".repeat(36))), "{error}");
    read_text(b"1 2\n\xff\xfe 2\n").unwrap_err();
}

#[test]
fn a_line_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.el");
    fs::write(&path, vec![b'1'; 3 * LONGEST_LINE]).unwrap();
    let error = read(&path, 2).unwrap_err();
    assert!(error.message().ends_with("a line of more than 1048576 bytes: it is no text"), "{error}");
}

#[test]
fn many_pieces() {
    let edge = |edge: u64| (edge * 7919 % 100_003, edge.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let count = 200_000;
    let mut text = String::from("# many\n");
    for number in 0..count {
        let (from, to) = edge(number);
        text += &format!("{from}\t{to}\n");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.el");
    fs::write(&path, &text).unwrap();
    let expected = (0..count).map(edge).unzip();
    for threads in [1, 2, 5] {
        let edges = read(&path, threads).unwrap();
        assert_eq!((edges.from, edges.to), expected);
    }
    fs::write(&path, text + "oops").unwrap();
    assert!(read(&path, 3).unwrap_err().message().contains("line 200002: 'oops'"));
}

#[test]
fn there_is_no_such_file() {
    let error = read(Path::new("/nowhere/a.el"), 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(error.message().starts_with("reading /nowhere/a.el: "), "{error}");
}
