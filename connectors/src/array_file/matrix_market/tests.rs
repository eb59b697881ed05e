#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test may end the test")]
use bireme_engine::ErrorKind;

use super::*;

fn sparse(text: &str) -> (usize, usize, Vec<(i64, i64, f64)>) {
    let Matrix::Coordinate(matrix) = parse(text.as_bytes()).unwrap() else { panic!("{text} is dense") };
    let places = matrix.row.iter().zip(&matrix.column).zip(&matrix.values);
    (matrix.rows, matrix.columns, places.map(|((&row, &column), &value)| (row, column, value)).collect())
}

fn dense_values(text: &str) -> Vec<f64> {
    let Matrix::Dense(matrix) = parse(text.as_bytes()).unwrap() else { panic!("{text} is sparse") };
    assert_eq!(matrix.values.len(), matrix.rows * matrix.columns);
    matrix.values
}

fn check_error(text: &str, kind: ErrorKind, part: &str) {
    let error = parse(text.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(part), "{error} lacks {part:?}");
}

#[test]
fn coordinates_in_all_symmetries() {
    let general =
        "%%MatrixMarket matrix coordinate real general\n% made by hand\n\n2 3 3\n1 1 1.5\n2 3 -2e3\n\n% more\n1 1 4\n";
    assert_eq!(sparse(general), (2, 3, vec![(0, 0, 1.5), (1, 2, -2000.0), (0, 0, 4.0)]));
    let symmetric = "%%matrixmarket MATRIX Coordinate Integer Symmetric\r\n2 2 2\r\n1 1 7\r\n2 1 -8";
    assert_eq!(sparse(symmetric), (2, 2, vec![(0, 0, 7.0), (1, 0, -8.0), (0, 1, -8.0)]));
    let skew = "%%MatrixMarket matrix coordinate real skew-symmetric\n2 2 1\n2 1 1.0D+01\n";
    assert_eq!(sparse(skew), (2, 2, vec![(1, 0, 10.0), (0, 1, -10.0)]));
    let pattern = "%%MatrixMarket matrix coordinate pattern symmetric\n3 3 2\n 3   2 \n\t2 2\n";
    assert_eq!(sparse(pattern), (3, 3, vec![(2, 1, 1.0), (1, 2, 1.0), (1, 1, 1.0)]));
    assert_eq!(sparse("%%MatrixMarket matrix coordinate real general\n0 5 0\n"), (0, 5, vec![]));
    assert_eq!(sparse("%%MatrixMarket matrix coordinate pattern general\n1 1 1\n1 1"), (1, 1, vec![(0, 0, 1.0)]));
}

#[test]
fn arrays_in_all_symmetries() {
    let general = "%%MatrixMarket matrix array real general\n2 3\n1\n2\n3\n4\n5\n6\n";
    assert_eq!(dense_values(general), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    let symmetric = "%%MatrixMarket matrix array integer symmetric\n3 3\n1\n2\n3\n4\n5\n6\n";
    assert_eq!(dense_values(symmetric), [1.0, 2.0, 3.0, 2.0, 4.0, 5.0, 3.0, 5.0, 6.0]);
    let skew = "%%MatrixMarket matrix array real skew-symmetric\n3 3\n1\n2\n3\n";
    assert_eq!(dense_values(skew), [0.0, -1.0, -2.0, 1.0, 0.0, -3.0, 2.0, 3.0, 0.0]);
    assert!(dense_values("%%MatrixMarket matrix array real general\n0 7\n").is_empty());
    assert_eq!(dense_values("%%MatrixMarket matrix array real skew-symmetric\n1 1\n"), [0.0]);
}

#[test]
fn numbers_as_c_and_fortran_write_them() {
    for (text, value) in [("5.", 5.0), (".5", 0.5), ("+1", 1.0), ("1d2", 100.0), ("-inf", f64::NEG_INFINITY)] {
        assert_eq!(real(text.as_bytes()), Some(value), "{text}");
    }
    assert!(real(b"NaN").is_some_and(f64::is_nan));
    for text in ["1e999", "1,5", "0x10", "one", "1e", "\u{661}"] {
        assert_eq!(real(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn files_that_scipy_wrote() {
    let general = include_str!("../fixtures/scipy_general.mtx");
    assert_eq!(sparse(general), (3, 4, vec![(0, 0, 1.5), (0, 3, -0.1), (2, 1, 1e300), (2, 3, 2.0)]));
    let symmetric = include_str!("../fixtures/scipy_symmetric.mtx");
    assert_eq!(sparse(symmetric), (3, 3, vec![(0, 0, 4.0), (1, 0, -1.0), (0, 1, -1.0), (2, 2, 9.0)]));
    let array = include_str!("../fixtures/scipy_array.mtx");
    assert_eq!(dense_values(array), [1.25, -2.0, 3.0, 4.0, 5.0, 6.5]);
}

#[test]
fn errors_name_the_line() {
    use ErrorKind::{Corrupt, Unsupported};
    let real = |rest: &str| format!("%%MatrixMarket matrix coordinate real general\n{rest}");
    let check = |rest: &str, part: &str| check_error(&real(rest), Corrupt, part);
    check("2 2\n1 1 1\n", "line 2: expected the numbers of rows, columns and entries, not '2 2'");
    check("2 2 -1\n", "line 2: expected the numbers");
    check("99999999999999999999 2 1\n1 1 1\n", "line 2: expected the numbers");
    check("18446744073709551615 2 1\n1 1 1\n", "line 2: expected the numbers");
    check("2 2 2\n1 1 1\n", "line 2: 2 lines should follow, but 6 bytes do: it was cut short");
    check("2 2 2\n% a long comment\n1 1 1\n", "line 4: the file ends before entry 2 of 2: it was cut short");
    check("2 2 9223372036854775807\n1 1 1\n", "line 2: 9223372036854775807 lines should follow");
    check("2 2 1\n\n3 1 1\n", "line 4: row '3' is not one of 1 to 2");
    check("2 2 1\n1 0 1\n", "line 3: column '0' is not one of 1 to 2");
    check("2 2 1\n1 x 1\n", "line 3: column 'x'");
    check("2 2 1\n1 1\n", "line 3: the value is missing");
    check("2 2 1\n    1\n", "line 3: the column is missing");
    check("2 2 1\n1 1 1e999\n", "line 3: '1e999' is not a number that");
    check("2 2 1\n1 1 1 2\n", "line 3: '2' follows where the line should end");
    check("2 2 1\n1 1 1\n2 2 2\n", "line 4: '2 2 2' follows after the 1 lines");
    check("", "line 1: the file ends before the numbers of rows");

    let other = |banner: &str, rest: &str| format!("%%MatrixMarket matrix {banner}\n{rest}");
    check_error("", Corrupt, "line 1: a Matrix Market file starts with");
    check_error("%MatrixMarket matrix array real general\n", Corrupt, "line 1: a Matrix Market file starts");
    check_error("%%MatrixMarket vector array real general\n", Unsupported, "line 1: it holds a vector");
    check_error(
        &other("coordinate complex general", "1 1 1\n1 1 1 1\n"),
        Unsupported,
        "line 1: its values are complex",
    );
    check_error(&other("array real hermitian", "1 1\n1\n"), Unsupported, "line 1: it is Hermitian");
    check_error(&other("elements real general", ""), Corrupt, "unknown format 'elements'");
    check_error(&other("array double general", ""), Corrupt, "unknown values 'double'");
    check_error(&other("array real lower", ""), Corrupt, "unknown symmetry 'lower'");
    check_error(&other("array pattern general", ""), Corrupt, "it is no pattern");
    check_error(&other("coordinate pattern skew-symmetric", ""), Corrupt, "it is not skew");
    check_error(&other("coordinate real symmetric", "2 3 0\n"), Corrupt, "line 2: 2 × 3: a symmetric matrix");
    check_error(
        &other("coordinate real symmetric", "2 2 1\n1 2 5\n"),
        Corrupt,
        "line 3: (1, 2) lies above the diagonal",
    );
    check_error(&other("coordinate real skew-symmetric", "2 2 1\n2 2 5\n"), Corrupt, "line 3: (2, 2): the diagonal");
    check_error(&other("coordinate integer general", "1 1 1\n1 1 1.5\n"), Corrupt, "line 3: '1.5' is not an integer");
    check_error(
        &other("coordinate integer general", "1 1 1\n1 1 9007199254740993\n"),
        Unsupported,
        "line 3: integer 9007199254740993",
    );
    check_error(&other("coordinate pattern general", "1 1 1\n1 1 1\n"), Corrupt, "line 3: '1' follows");
    check_error(&other("array real general", "3000000000 9000000000\n"), Corrupt, "line 2: 3000000000 × 9000000000");
    check_error(&other("array real general", "2 2\n1\n2\n3\n"), Corrupt, "line 2: 4 lines should follow");
    check_error(
        &other("array real general", "2 2\n1\n2\n3000\n"),
        Corrupt,
        "line 5: the file ends before value 4 of 4",
    );
}

#[test]
fn written_files_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mtx");
    let values = vec![0.1, -0.0, 5e-324, f64::MAX, f64::INFINITY, 1.0 / 3.0, 123_456_789.0];
    let matrix = CoordinateMatrix { rows: 7, columns: 9, row: (0..7).collect(), column: (2..9).collect(), values };
    write(&path, &matrix).unwrap();
    let Matrix::Coordinate(back) = read(&path).unwrap() else { panic!("it is dense") };
    assert_eq!(back, matrix);
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back.values), bits(&matrix.values));

    let error = write(&path, &matrix).unwrap_err();
    assert!(error.message().contains("a.mtx exists"), "{error}");
    let other = folder.path().join("b.mtx");
    let error = write(&other, &CoordinateMatrix { rows: 6, ..matrix.clone() }).unwrap_err();
    assert!(error.message().contains("entry 6 stands at (6, 8), outside of a matrix of 6 × 9"), "{error}");
    let error = write(&other, &CoordinateMatrix { values: vec![], ..matrix }).unwrap_err();
    assert!(error.message().contains("an entry has one of each"), "{error}");
    assert!(!other.exists());
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mtx");
    assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::User);
    std::fs::write(&path, "").unwrap();
    let error = read(&path).unwrap_err();
    assert!(error.message().starts_with(&format!("reading {}: line 1:", path.display())), "{error}");
}

/// Whatever a damaged file holds, reading it ends with a matrix or with an error.
#[test]
fn no_changed_byte_ends_the_process() {
    let mut errors = 0;
    for whole in [&include_bytes!("../fixtures/scipy_symmetric.mtx")[..], include_bytes!("../fixtures/scipy_array.mtx")]
    {
        for place in 0..whole.len() {
            for byte in 0..=255 {
                let mut bytes = whole.to_vec();
                bytes[place] = byte;
                errors += usize::from(parse(&bytes).is_err());
            }
        }
    }
    assert!(errors > 10_000, "{errors} changes were noticed");
}
