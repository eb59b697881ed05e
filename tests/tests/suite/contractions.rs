//! Joins that run as products of tensors: the same rows as joins that do not, whatever is in the tables.

use bireme::prelude::*;
use bireme_tests::compare;

/// A random table of three indices and two values, one of which is a BIGINT: duplicates, NULLs, negative and huge indices.
fn table(name: &str, seed: u64, rows: u64, extent: u64, offset: i64, nulls: bool) -> String {
    let hash = |salt: u64| format!("((value * 2654435761 + {}) % 1000003)", (seed * 7919 + salt * 104_729) % 1_000_003);
    let holes = |salt: u64, value: String| {
        if nulls { format!("CASE WHEN {} % 9 = 0 THEN NULL ELSE {value} END", hash(salt + 50)) } else { value }
    };
    let index =
        |salt: u64| holes(salt, format!("{} % {extent} * {} + {offset}", hash(salt), 1 + offset.unsigned_abs() % 5));
    let value = |salt: u64| format!("{} % 17 - 8", hash(salt));
    format!(
        "CREATE TABLE {name} AS SELECT {} AS i, CAST({} AS INT) AS k, {} AS b, {} AS v, {} AS w FROM generate_series(1, {rows})",
        index(1),
        if offset.unsigned_abs() > 1 << 30 { holes(2, format!("{} % {extent}", hash(2))) } else { index(2) },
        index(3),
        holes(4, format!("CAST({} AS DOUBLE) * 0.25", value(4))),
        holes(5, value(5)),
    )
}

/// Queries that are contractions, and how many of their aggregates become some.
const QUERIES: [(&str, usize); 21] = [
    ("SELECT a.i, c.i AS j, SUM(a.v * c.v) AS v FROM a JOIN c ON a.k = c.k GROUP BY a.i, c.i", 1),
    ("SELECT c.i AS j, a.i, SUM(c.v * a.v) AS v FROM c JOIN a ON c.k = a.k GROUP BY c.i, a.i", 1),
    ("SELECT a.i, SUM(a.v * c.v) AS v FROM a JOIN c ON a.k = c.k GROUP BY a.i", 1),
    ("SELECT SUM(a.v * c.v) AS v, a.i FROM a, c WHERE a.k = c.k AND a.b = c.b GROUP BY a.i", 1),
    (
        "SELECT a.b, a.i, c.i AS j, SUM(a.v * c.v) AS v FROM a JOIN c ON a.b = c.b AND a.k = c.k GROUP BY a.b, a.i, c.i",
        1,
    ),
    ("SELECT a.k, SUM(a.v * c.v) AS v FROM a JOIN c ON a.k = c.k GROUP BY a.k", 1),
    (
        "SELECT a.i, a.b, c.i AS j, c.b AS d, SUM(a.v * c.v) AS v FROM a JOIN c ON a.k = c.k GROUP BY a.i, a.b, c.i, c.b",
        1,
    ),
    ("SELECT a.i, c.i AS j, SUM(2.0 * a.v * c.v * c.v) AS v FROM a JOIN c ON a.k = c.k GROUP BY a.i, c.i", 1),
    ("SELECT a.i, c.i AS j, SUM(c.v) AS v FROM a JOIN c ON a.k = c.k GROUP BY a.i, c.i", 0),
    ("SELECT a.i, c.i AS j, COUNT(*) AS n FROM a JOIN c ON a.k = c.k GROUP BY a.i, c.i", 0),
    ("SELECT a.i, c.i AS j, SUM(a.w * c.w) AS w FROM a JOIN c ON a.k = c.k GROUP BY a.i, c.i", 1),
    ("SELECT a.i, c.b AS j, SUM(a.w) AS w FROM a JOIN c ON a.k = c.k GROUP BY a.i, c.b", 0),
    (
        "WITH m AS (SELECT i AS r, k, v AS x FROM a WHERE i < 3 AND v > -1), n AS (SELECT k, i AS s, v AS y FROM c) \
         SELECT r, s, SUM(x * y) AS z FROM m JOIN n USING (k) GROUP BY r, s HAVING SUM(x * y) > 0 ORDER BY z DESC, r, s LIMIT 7",
        1,
    ),
    (
        "SELECT a.i, d.i AS l, SUM(a.v * c.v * d.v) AS v FROM a JOIN c ON a.k = c.k JOIN d ON c.b = d.b GROUP BY a.i, d.i",
        2,
    ),
    ("SELECT x.i, y.i AS j, SUM(x.v * y.v) AS v FROM a x JOIN a y ON x.k = y.k GROUP BY x.i, y.i", 1),
    (
        "SELECT a.i, c.i AS j, SUM((a.v - 1.0) * CAST(c.w AS DOUBLE)) AS v FROM a JOIN c ON a.k = c.k GROUP BY a.i, c.i",
        1,
    ),
    // What is none: the sum of another thing, beside another one, of another join, without groups, of what might fail for rows that
    // have no partner.
    ("SELECT a.i % 3 AS i, c.i AS j, SUM(a.v * c.v) AS v FROM a JOIN c ON a.k = c.k GROUP BY a.i % 3, c.i", 0),
    ("SELECT a.i, SUM(a.v + c.v) AS v FROM a JOIN c ON a.k = c.k GROUP BY a.i", 0),
    ("SELECT a.i, SUM(a.v * c.v) AS v, AVG(a.v) AS m FROM a JOIN c ON a.k = c.k GROUP BY a.i", 0),
    ("SELECT a.i, SUM(a.v * c.v) AS v FROM a LEFT JOIN c ON a.k = c.k GROUP BY a.i", 0),
    ("SELECT SUM(a.v * c.v) AS v FROM a JOIN c ON a.k = c.k", 0),
];

fn session(ranks: usize, tables: &[String]) -> Session {
    let session = Session::builder().threads(ranks.max(2)).local_ranks(ranks).batch_rows(256).build().unwrap();
    tables.iter().for_each(|table| drop(session.sql(table).unwrap()));
    session
}

#[test]
fn contractions_have_the_rows_of_joins() {
    let kinds: [(u64, u64, i64, bool); 6] = [
        (400, 6, 0, false),
        (300, 7, -3, true),
        (150, 11, 0, false),
        (200, 5, 1 << 40, true),
        (0, 5, 0, false),
        (1000, 9, -(1 << 33), false),
    ];
    for (seed, (rows, extent, offset, nulls)) in kinds.into_iter().enumerate() {
        let seed = seed as u64;
        let tables = ["a", "c", "d"].into_iter().enumerate().map(|(at, name)| {
            table(name, seed * 3 + at as u64, rows.saturating_sub(30 * at as u64), extent, offset, nulls)
        });
        let tables = tables.collect::<Vec<_>>();
        let alone = session(1, &tables);
        let several = session(3, &tables);
        let plain = session(1, &tables);
        plain.sql("SET bireme.contractions = false").unwrap();
        for (query, found) in QUERIES {
            let expected = plain.sql(query).unwrap();
            assert!(!expected.explain().unwrap().contains("Contraction"), "{query}");
            let expected = expected.collect().unwrap();
            for session in [&alone, &several] {
                let frame = session.sql(query).unwrap();
                let plan = frame.explain().unwrap();
                // Tables without rows are known to be empty: nothing is left to contract.
                if rows > 0 {
                    assert_eq!(plan.matches("Contraction: einsum").count(), found, "{query}\n{plan}");
                }
                let difference = compare::difference(&frame.collect().unwrap(), &expected, query.contains("ORDER BY"));
                assert_eq!(difference, None, "{query}\n{}\n{plan}", tables.join("\n"));
            }
        }
    }
}

#[test]
fn what_rows_show_decides_the_kernel() {
    let session = Session::builder().threads(2).build().unwrap();
    let full = "SELECT value / 40 AS i, value % 40 AS k, CAST(value AS DOUBLE) AS v FROM generate_series(0, 1599)";
    let thin = "SELECT value * 7919 % 3000 AS i, value * 104729 % 3000 AS k, CAST(value AS DOUBLE) AS v FROM generate_series(1, 2000)";
    for (name, rows) in [("full", full), ("thin", thin)] {
        session.sql(&format!("CREATE TABLE {name} AS {rows}")).unwrap();
    }
    for (name, kernel) in [("full", "contractions_dense=1"), ("thin", "contractions_sparse=1")] {
        let query = format!(
            "SELECT x.i, y.k AS j, SUM(x.v * y.v) AS v FROM {name} x JOIN {name} y ON x.k = y.i GROUP BY x.i, y.k"
        );
        let report = session.sql(&query).unwrap().explain_analyze().unwrap();
        assert!(report.contains(kernel), "{report}");
    }
}

/// Counts, and sums of one table's values, where statistics tell that the join has many more rows than its tables.
#[test]
fn joins_that_multiply_rows_are_counted_as_products() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.parquet").to_str().unwrap().to_owned();
    let with_table = |ranks: usize, contractions: bool| {
        let session = session(ranks, &[]);
        session.register_path("t", &file).unwrap();
        session.sql(&format!("SET bireme.contractions = {contractions}")).unwrap();
        session
    };
    let rows =
        "SELECT value % 50 AS i, value * 7 % 20 AS k, CAST(value % 9 AS DOUBLE) AS v FROM generate_series(1, 3000)";
    session(1, &[]).sql(rows).unwrap().write_parquet(&file).unwrap();
    let plain = with_table(1, false);
    for sum in ["COUNT(*)", "SUM(x.v)"] {
        let query = format!("SELECT x.i, y.i AS j, {sum} AS n FROM t x JOIN t y ON x.k = y.k GROUP BY x.i, y.i");
        let expected = plain.sql(&query).unwrap().collect().unwrap();
        for session in [with_table(1, true), with_table(3, true)] {
            let frame = session.sql(&query).unwrap();
            let plan = frame.explain().unwrap();
            assert!(plan.contains("Contraction: einsum"), "{query}\n{plan}");
            assert_eq!(compare::difference(&frame.collect().unwrap(), &expected, false), None, "{query}");
        }
    }
}

#[test]
fn sums_of_integers_that_do_not_fit_are_errors() {
    let session = Session::builder().threads(2).build().unwrap();
    session
        .sql("CREATE TABLE t AS SELECT 0 AS i, value AS k, 4611686018427387904 AS w FROM generate_series(1, 4)")
        .unwrap();
    session
        .sql("CREATE TABLE u AS SELECT value AS k, 0 AS j, CAST(1 AS BIGINT) AS w FROM generate_series(1, 4)")
        .unwrap();
    for switch in ["true", "false"] {
        session.sql(&format!("SET bireme.contractions = {switch}")).unwrap();
        let sum = |rows: u64| {
            let query = format!(
                "SELECT i, j, SUM(t.w * u.w) AS w FROM t JOIN u ON t.k = u.k WHERE t.k <= {rows} GROUP BY i, j"
            );
            session.sql(&query).and_then(|frame| frame.collect())
        };
        assert_eq!(sum(1).unwrap()[0].num_rows(), 1);
        assert!(sum(2).unwrap_err().message().to_lowercase().contains("overflow"), "{switch}");
    }
}

#[test]
fn tables_that_do_not_fit_stay_joins() {
    let query = "SELECT t.i, t.k AS j, SUM(t.v * u.v) AS v FROM t JOIN t u ON t.k = u.i GROUP BY t.i, t.k";
    let plan = |session: Session| {
        let rows =
            "SELECT value % 1000 AS i, value % 997 AS k, CAST(value AS DOUBLE) AS v FROM generate_series(1, 200000)";
        session.sql(&format!("CREATE TABLE t AS {rows}")).unwrap();
        session.sql(query).unwrap().explain().unwrap()
    };
    assert!(!plan(Session::builder().threads(2).memory_limit(32 << 20).build().unwrap()).contains("Contraction"));
    assert!(plan(Session::builder().threads(2).build().unwrap()).contains("Contraction"));
}
