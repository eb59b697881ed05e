//! Arrays as tables, and tables as arrays.

use bireme::prelude::*;
use bireme_tests::compare::{Cell, cells};

use super::cut_over;

fn sessions() -> [Session; 3] {
    [Session::builder().threads(2).build().unwrap(), cut_over(3, 1), cut_over(3, 1 << 16)]
}

/// Rows as numbers, sorted; NULL is NaN, true is 1.
fn rows(frame: &DataFrame) -> Vec<Vec<f64>> {
    let number = |cell: Cell| match cell {
        Cell::Float(value) => value,
        Cell::Text(text) if text == "true" => 1.0,
        Cell::Text(text) if text == "false" => 0.0,
        Cell::Text(text) => text.parse().unwrap_or(f64::NAN),
    };
    let mut rows = cells(&frame.collect().unwrap());
    let mut rows = rows.drain(..).map(|row| row.into_iter().map(number).collect::<Vec<_>>()).collect::<Vec<_>>();
    rows.sort_by(|one, other| one.partial_cmp(other).unwrap());
    rows
}

fn query(session: &Session, text: &str) -> Vec<Vec<f64>> {
    rows(&session.sql(text).unwrap())
}

#[test]
fn sums_by_index_are_sums_along_axes() {
    for session in sessions() {
        for shape in [[3, 4], [130, 41], [5, 2100], [1, 7], [0, 3]] {
            let a = session.random_integers(shape, -9, 10, 1).astype::<f64>();
            session.register_array("a", &a, ["i", "k"], "v").unwrap();
            for (axis, index) in [(1, "i"), (0, "k")] {
                let sums = query(&session, &format!("SELECT {index}, SUM(v) AS s FROM a GROUP BY {index}"));
                let expected = a.sum_axis(axis).to_vec().unwrap();
                let expected = expected.into_iter().enumerate().map(|(at, sum)| vec![at as f64, sum]);
                // Without rows there are no groups, and arrays have zeros.
                let expected = expected.filter(|_| a.size() > 0).collect::<Vec<_>>();
                assert_eq!(sums, expected, "{shape:?} by {index}");
            }
            let all = a.to_vec().unwrap();
            let every = query(&session, "SELECT i, k, v FROM a");
            let wanted = all.iter().enumerate().map(|(at, &v)| vec![(at / shape[1]) as f64, (at % shape[1]) as f64, v]);
            assert_eq!(every, wanted.collect::<Vec<_>>(), "{shape:?}");
            let some = query(&session, "SELECT COUNT(*), MAX(v) FROM a WHERE i >= 1 AND k < 3 AND v > 0");
            let kept = |at: &usize| at / shape[1] >= 1 && at % shape[1] < 3 && all[*at] > 0.0;
            let kept = (0..all.len()).filter(kept).map(|at| all[at]).collect::<Vec<_>>();
            let most = kept.iter().copied().fold(f64::NAN, f64::max);
            assert_eq!(some[0][0], kept.len() as f64, "{shape:?}");
            assert!(some[0][1] == most || most.is_nan(), "{shape:?}");
            session.sql("DROP TABLE a").unwrap();
        }
    }
}

#[test]
fn joins_on_indices_are_products() {
    for session in sessions() {
        let a = session.random_integers([130, 41], -3, 4, 1).astype::<f64>();
        let b = session.random_integers([41, 6], -3, 4, 2).astype::<f64>();
        session.register_array("a", &a, ["i", "k"], "v").unwrap();
        session.register_array("b", &b, ["k", "j"], "v").unwrap();
        let frame =
            session.sql("SELECT a.i, b.j, SUM(a.v * b.v) AS v FROM a JOIN b ON a.k = b.k GROUP BY a.i, b.j").unwrap();
        let expected = a.dot(&b).unwrap().to_vec().unwrap();
        let expected = expected.into_iter().enumerate().map(|(at, v)| vec![(at / 6) as f64, (at % 6) as f64, v]);
        assert_eq!(rows(&frame), expected.collect::<Vec<_>>());
        assert!(frame.explain().unwrap().contains("Contraction"), "{}", frame.explain().unwrap());
        let again = frame.to_array::<f64>(["i", "j"], "v", [130, 6]).unwrap();
        assert!(again.equal(a.dot(&b).unwrap()).all().item().unwrap());
    }
}

#[test]
fn tables_have_the_types_of_arrays() {
    for session in sessions() {
        session.register_array("f", &session.full([2], 1.5_f32), ["i"], "v").unwrap();
        session.register_array("n", &session.full([2, 1, 3], -7_i32), ["i", "j", "k"], "v").unwrap();
        session.register_array("b", &session.arange(0, 9000, 1).gt(10), ["i"], "v").unwrap();
        session.register_array("s", &session.arange(0_i64, 9000, 1).sum(), Vec::<String>::new(), "v").unwrap();
        assert_eq!(query(&session, "SELECT i, v FROM f"), [[0.0, 1.5], [1.0, 1.5]]);
        assert_eq!(
            query(&session, "SELECT i, j, k, v FROM n WHERE k = 2"),
            [[0.0, 0.0, 2.0, -7.0], [1.0, 0.0, 2.0, -7.0]]
        );
        assert_eq!(query(&session, "SELECT v, COUNT(*) FROM b GROUP BY v"), [[0.0, 11.0], [1.0, 8989.0]]);
        assert_eq!(query(&session, "SELECT v FROM s"), [[f64::from(9000 * 8999 / 2)]]);
        let field =
            |table: &str| session.sql(&format!("SELECT v FROM {table}")).unwrap().schema().field(0).data_type().clone();
        let types = ["f", "n", "b", "s"].map(field);
        assert_eq!(types, [DataType::Float32, DataType::Int32, DataType::Boolean, DataType::Int64]);
        let frame = session.arange(0.0, 4.0, 1.0).to_dataframe(["at"], "value").unwrap();
        assert_eq!(rows(&frame), [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]);
    }
}

#[test]
fn names_of_columns_are_checked() {
    let session = Session::builder().threads(2).build().unwrap();
    let a = session.zeros::<f64>([2, 3]);
    for (dims, value, part) in [
        (vec!["i"], "v", "[2, 3]"),
        (vec!["i", "k", "l"], "v", "[2, 3]"),
        (vec!["i", "i"], "v", "`i`"),
        (vec!["i", "v"], "v", "`v`"),
    ] {
        let error = session.register_array("a", &a, dims, value).unwrap_err();
        assert!(error.message().contains(part), "{error}");
    }
    session.register_array("a", &a, ["i", "k"], "v").unwrap();
    let error = session.register_array("a", &a, ["i", "k"], "v").unwrap_err();
    assert!(error.message().contains('a'), "{error}");
    assert_eq!(query(&session, "SELECT COUNT(*) FROM a"), [[6.0]]);
}

#[test]
fn rows_become_elements() {
    for session in sessions() {
        let frame = |text: &str| session.sql(text).unwrap();
        let values = "SELECT * FROM (VALUES (0, 1, 2.5), (1, 0, 4.0), (0, 1, 0.25), (1, 2, -1.0)) AS t(i, k, v)";
        // Twice the same indices add up; what is not there is 0.
        let array = frame(values).to_array::<f64>(["i", "k"], "v", [2, 3]).unwrap();
        assert_eq!(array.to_vec().unwrap(), [0.0, 2.75, 0.0, 4.0, 0.0, -1.0]);
        assert_eq!(
            frame(values).to_array::<f64>(["k", "i"], "v", [3, 2]).unwrap().to_vec().unwrap(),
            array.t().to_vec().unwrap()
        );
        assert_eq!(frame(values).to_array::<f64>(["k"], "v", [4]).unwrap().to_vec().unwrap(), [4.0, 2.75, -1.0, 0.0]);
        assert_eq!(frame(values).to_array::<f64>([] as [&str; 0], "v", []).unwrap().item().unwrap(), 5.75);
        // Casts of columns.
        assert_eq!(frame(values).to_array::<f32>(["i"], "v", [2]).unwrap().to_vec().unwrap(), [2.75_f32, 3.0]);
        let numbers = "SELECT CAST(value % 7 AS SMALLINT) AS i, CAST(value AS INT) AS v FROM generate_series(0, 9999)";
        let sums = (0..7_i64).map(|at| (at..10_000).step_by(7).sum::<i64>()).collect::<Vec<_>>();
        assert_eq!(frame(numbers).to_array::<i64>(["i"], "v", [7]).unwrap().to_vec().unwrap(), sums);
        assert_eq!(
            frame(numbers).to_array::<f64>(["i"], "v", [7]).unwrap().to_vec().unwrap(),
            sums.iter().map(|&sum| sum as f64).collect::<Vec<_>>()
        );
        let empty = format!("{values} WHERE v > 100");
        assert_eq!(frame(&empty).to_array::<f64>(["i", "k"], "v", [2, 3]).unwrap().to_vec().unwrap(), [0.0; 6]);
        assert_eq!(frame(&empty).to_array::<f64>(["i", "k"], "v", [2, 0]).unwrap().shape(), [2, 0]);
    }
}

#[test]
fn rows_that_are_no_elements_are_errors() {
    for session in sessions() {
        let fails = |text: &str, dims: &[&str], value: &str, shape: &[usize], parts: &[&str]| {
            let error = session.sql(text).unwrap().to_array::<f64>(dims, value, shape).unwrap_err();
            for part in parts {
                assert!(error.message().contains(part), "`{part}` is not in: {error}");
            }
        };
        let table = |rows: &str| format!("SELECT * FROM (VALUES {rows}) AS t(i, v)");
        fails(&table("(0, 1.0), (2, 1.0)"), &["i"], "v", &[2], &["column i", "2"]);
        fails(&table("(0, 1.0), (-1, 1.0)"), &["i"], "v", &[2], &["column i", "-1"]);
        fails(&table("(0, 1.0), (NULL, 1.0)"), &["i"], "v", &[2], &["column i", "NULL"]);
        fails(&table("(0, 1.0), (1, NULL)"), &["i"], "v", &[2], &["column v", "NULL"]);
        fails(&table("('x', 1.0)"), &["i"], "v", &[2], &["column i"]);
        fails(&table("(0, 'x')"), &["i"], "v", &[2], &["column v"]);
        fails(&table("(0, 1.0)"), &["k"], "v", &[2], &["k"]);
        fails(&table("(0, 1.0)"), &["i"], "w", &[2], &["w"]);
        fails(&table("(0, 1.0)"), &["i", "i"], "v", &[2], &["[2]"]);
        assert_eq!(session.ones::<f64>([9000]).sum().item().unwrap(), 9000.0, "the session goes on");
    }
}

/// An index of 0.5 is none.
#[test]
fn indices_are_whole_numbers() {
    let session = Session::builder().threads(2).build().unwrap();
    let frame = session.sql("SELECT * FROM (VALUES (0.5, 1.0), (1.0, 2.0)) AS t(i, v)").unwrap();
    assert!(frame.to_array::<f64>(["i"], "v", [2]).is_err());
}

#[test]
fn tables_over_npy_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let path = path.to_str().unwrap();
    sessions()[0].random_integers([130, 41], -9, 10, 1).astype::<f64>().save_npy(path).unwrap();
    for session in sessions() {
        let create = |name: &str, location: &str, options: &str| {
            session.sql(&format!("CREATE EXTERNAL TABLE {name} STORED AS NPY LOCATION '{location}' {options}"))
        };
        create("a", path, "OPTIONS (dims 'i,k', value 'v')").unwrap();
        let a = session.read_npy::<f64>(path).unwrap();
        let expected = a.sum_axis(1).to_vec().unwrap().into_iter().enumerate().map(|(at, sum)| vec![at as f64, sum]);
        assert_eq!(query(&session, "SELECT i, SUM(v) FROM a GROUP BY i"), expected.collect::<Vec<_>>());
        assert_eq!(query(&session, "SELECT MAX(i), MAX(k), COUNT(*) FROM a"), [[129.0, 40.0, 5330.0]]);
        create("b", path, "OPTIONS (dims 'x, y')").unwrap();
        assert_eq!(query(&session, "SELECT SUM(value) FROM b"), [[a.sum().item().unwrap()]]);
        // Together with other tables.
        session.sql("CREATE TABLE w AS SELECT value AS k, value % 3 AS weight FROM generate_series(0, 40)").unwrap();
        let weights = session.array((0..41_i64).map(|at| (at % 3) as f64).collect::<Vec<_>>(), [41]).unwrap();
        let joined = query(&session, "SELECT a.i, SUM(a.v * w.weight) FROM a JOIN w ON a.k = w.k GROUP BY a.i");
        let expected = a.dot(&weights).unwrap().to_vec().unwrap().into_iter().enumerate();
        assert_eq!(joined, expected.map(|(at, sum)| vec![at as f64, sum]).collect::<Vec<_>>());
        for (name, location, options, part) in [
            ("c", path, "", "dims"),
            ("c", path, "OPTIONS (dims 'i')", "[130, 41]"),
            ("c", path, "OPTIONS (dims 'i,i')", "`i`"),
            ("c", path, "OPTIONS (dims 'i,k', colour 'red')", "colour"),
            ("c", "/nowhere/x.npy", "OPTIONS (dims 'i,k')", "/nowhere/x.npy"),
        ] {
            let error = create(name, location, options).map(drop).unwrap_err();
            assert!(error.message().contains(part), "`{part}` is not in: {error}");
        }
        assert!(create("a", path, "OPTIONS (dims 'i,k')").is_err(), "the table is there");
    }
}
