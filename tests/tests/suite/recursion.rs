//! Recursive queries in rounds: against graph algorithms, on any number of ranks, and with little memory.

use bireme::prelude::*;
use bireme_tests::compare;

/// A graph of some thousand vertices, in which walks go on for a while.
const EDGES: &str = "CREATE TABLE edges AS SELECT value % 4001 AS a, (value * value * 7919 + value % 13) % 4001 AS b \
                     FROM generate_series(1, 7000)";

fn session(builder: SessionBuilder) -> Session {
    let session = builder.batch_rows(512).build().unwrap();
    session.sql(EDGES).unwrap();
    session
}

fn ranks(count: usize) -> SessionBuilder {
    Session::builder().threads(count.max(2)).local_ranks(count)
}

/// What is reached from a vertex, and in how few steps.
const REACHED: &str = "WITH RECURSIVE reached AS (SELECT 17 AS v, 0 AS d \
                       UNION SELECT e.b, r.d + 1 FROM reached r JOIN edges e ON e.a = r.v WHERE r.d < 60) \
                       SELECT v, MIN(d) AS d FROM reached GROUP BY v";

#[test]
fn walks_reach_what_a_search_reaches() {
    for count in [1, 2, 3, 4] {
        let session = session(ranks(count));
        let expected = session.sql("SELECT vertex AS v, depth AS d FROM bfs('edges', source => 17)").unwrap();
        let expected = expected.collect().unwrap();
        assert!(expected.iter().map(RecordBatch::num_rows).sum::<usize>() > 1000);
        let found = session.sql(REACHED).unwrap();
        let difference = compare::difference(&found.collect().unwrap(), &expected, false);
        assert_eq!(difference, None, "{count} ranks\n{}", found.explain().unwrap());
    }
}

/// Texts, NULLs, dates and decimals tell rows apart, on whatever rank they meet.
#[test]
fn rows_of_any_type_count_once() {
    let query = "WITH RECURSIVE seen AS (SELECT 1 AS n, 'text of a long row 1' AS t, CAST(1 AS DECIMAL(30, 2)) AS d, \
                 DATE '2020-01-01' AS day, CAST(NULL AS DOUBLE) AS f UNION \
                 SELECT e.b % 50, 'text of a long row ' || (e.b % 7), CAST(e.b % 3 AS DECIMAL(30, 2)), \
                 DATE '2020-01-01' + CAST(e.b % 2 AS INT), CASE WHEN e.b % 5 > 0 THEN (e.b % 5) * -0.0 END \
                 FROM seen s JOIN edges e ON e.a = s.n) SELECT * FROM seen";
    let expected = session(ranks(1)).sql(query).unwrap().collect().unwrap();
    let rows = expected.iter().map(RecordBatch::num_rows).sum::<usize>();
    assert!(rows > 10);
    let distinct = format!("SELECT DISTINCT * FROM ({query})");
    assert_eq!(session(ranks(1)).sql(&distinct).unwrap().count().unwrap(), rows as u64);
    for count in [2, 3, 5] {
        let found = session(ranks(count)).sql(query).unwrap().collect().unwrap();
        assert_eq!(compare::difference(&found, &expected, false), None, "{count} ranks");
    }
}

/// As often as it comes: the number of walks of each length, by hand.
#[test]
fn rows_count_as_often_as_they_come() {
    let query = "WITH RECURSIVE walk AS (SELECT a AS v, 1 AS d FROM edges WHERE a < 40 UNION ALL \
                 SELECT e.b, w.d + 1 FROM walk w JOIN edges e ON e.a = w.v WHERE w.d < 6) \
                 SELECT d, COUNT(*) AS walks, SUM(v) AS sum FROM walk GROUP BY d ORDER BY d";
    let mut from = "SELECT a AS v FROM edges WHERE a < 40".to_owned();
    let mut rounds = Vec::new();
    for d in 1..=6 {
        rounds.push(format!("SELECT {d} AS d, COUNT(*) AS walks, SUM(v) AS sum FROM ({from})"));
        from = format!("SELECT e.b AS v FROM ({from}) w JOIN edges e ON e.a = w.v");
    }
    for count in [1, 3] {
        let session = session(ranks(count));
        let expected = session.sql(&format!("SELECT * FROM ({}) ORDER BY d", rounds.join(" UNION ALL "))).unwrap();
        let found = session.sql(query).unwrap().collect().unwrap();
        let difference = compare::difference(&found, &expected.collect().unwrap(), true);
        assert_eq!(difference, None, "{count} ranks");
    }
}

/// A build side on disk is probed in every round.
#[test]
fn build_sides_that_do_not_fit_are_probed_again() {
    let load = "CREATE TABLE wide AS SELECT value AS a, value + 1 AS b, 'filling that nobody needs ' || value AS t \
                FROM generate_series(1, 150000)";
    let query = "WITH RECURSIVE walk AS (SELECT 1 AS v, '' AS t UNION ALL SELECT w.b, w.t FROM walk JOIN wide w ON w.a = walk.v \
                 WHERE walk.v < 8) SELECT COUNT(*) AS n, MAX(v) AS v, MAX(t) AS t FROM walk";
    for count in [1, 2] {
        let session = session(ranks(count).memory_limit(7 << 20));
        session.sql(load).unwrap();
        let text = session.sql(query).unwrap().explain_analyze().unwrap();
        assert!(text.contains("spilled"), "{text}");
        let found = session.sql(query).unwrap().collect().unwrap();
        let expected = session.sql("SELECT 8 AS n, 8 AS v, 'filling that nobody needs 7' AS t").unwrap();
        assert_eq!(compare::difference(&found, &expected.collect().unwrap(), false), None, "{count} ranks");
    }
}

/// A limit has enough, and ranks that never had a row learn of it.
#[test]
fn endless_walks_end_when_nobody_wants_more() {
    for count in [1, 2, 4] {
        let session = session(ranks(count));
        session.sql("CREATE TABLE cycle AS SELECT * FROM (VALUES (1, 2), (2, 1)) AS c(a, b)").unwrap();
        let walks = [
            "WITH RECURSIVE t AS (SELECT 1 AS v UNION ALL SELECT v FROM t) SELECT v FROM t LIMIT 10",
            "WITH RECURSIVE t AS (SELECT 1 AS v UNION ALL SELECT c.b FROM t JOIN cycle c ON c.a = t.v) SELECT v FROM t LIMIT 10",
            "WITH RECURSIVE t AS (SELECT 1 AS v UNION ALL SELECT v + 1 FROM t) SELECT v FROM t WHERE v % 5 = 0 LIMIT 10",
        ];
        for walk in walks {
            let rows = session.sql(walk).unwrap().collect().unwrap();
            assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 10, "{walk} on {count} ranks");
        }
    }
}

#[test]
fn rows_that_do_not_fit_are_an_error() {
    let session = session(ranks(1).memory_limit(4 << 20));
    let query = "WITH RECURSIVE n AS (SELECT 1 AS v UNION SELECT n.v * 2 + e.a % 2 FROM n CROSS JOIN edges e WHERE n.v < 100000000) \
                 SELECT COUNT(*) FROM n";
    let error = session.sql(query).unwrap().collect().unwrap_err();
    assert!(error.message().contains("recursive query") && error.message().contains("memory"), "{error}");
}

#[test]
fn explain_shows_rounds_and_what_they_send() {
    let session = session(ranks(3));
    let text = session.sql(REACHED).unwrap().explain_analyze().unwrap();
    for word in ["rounds of pipeline 1: new rows of", "(UNION), by hash(v@0)", "round_bytes", "rounds="] {
        assert!(text.contains(word), "{word}: {text}");
    }
}
