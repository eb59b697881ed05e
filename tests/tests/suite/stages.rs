//! What goes wrong when DataFusion's plan is spread over ranks, point by point (docs/ARCHITECTURE.md, "Cutting").
//!
//! Each check runs on three local ranks with small data in many lanes, and compares with one rank.

use bireme::Session;
use bireme::mapper::JoinWay;
use bireme_tests::compare;

const TABLES: [&str; 4] = [
    "CREATE TABLE big AS SELECT value AS k, value % 97 AS g, CAST(value AS DOUBLE) / 3 AS v FROM generate_series(1, 20000)",
    "CREATE TABLE small AS SELECT value * 5 AS k, value % 3 AS g FROM generate_series(1, 300)",
    "CREATE TABLE holes AS SELECT CASE WHEN value % 4 = 0 THEN NULL ELSE value END AS k FROM generate_series(1, 50)",
    "CREATE TABLE empty AS SELECT value AS k FROM generate_series(1, 10) WHERE value > 100",
];

fn session(ranks: usize) -> Session {
    let session = Session::builder().threads(2 * ranks).local_ranks(ranks).batch_rows(512).build().unwrap();
    for table in TABLES {
        session.sql(table).unwrap();
    }
    session
}

/// The same rows on one rank and on three; and what the plan of three says.
fn check(query: &str) -> String {
    let alone = session(1).sql(query).unwrap().collect().unwrap();
    let three = session(3);
    let frame = three.sql(query).unwrap();
    let difference = compare::difference(&frame.collect().unwrap(), &alone, false);
    assert_eq!(difference, None, "{query}\n{}", frame.explain().unwrap());
    frame.explain().unwrap()
}

#[test]
fn unions_concatenate_lanes() {
    check("SELECT k FROM big UNION ALL SELECT k FROM small UNION ALL SELECT k FROM empty");
    check("SELECT k, COUNT(*) FROM (SELECT k FROM big UNION ALL SELECT k FROM small) GROUP BY k");
}

#[test]
fn collected_sides_are_replicated_only_where_that_is_right() {
    for kind in ["INNER", "LEFT", "RIGHT", "FULL", "LEFT SEMI", "LEFT ANTI", "RIGHT SEMI", "RIGHT ANTI"] {
        let columns = match kind {
            "LEFT SEMI" | "LEFT ANTI" => "a.k",
            "RIGHT SEMI" | "RIGHT ANTI" => "b.k",
            _ => "a.k, b.k",
        };
        for (left, right) in
            [("small", "big"), ("big", "small"), ("empty", "small"), ("small", "empty"), ("holes", "small")]
        {
            check(&format!("SELECT {columns} FROM {left} a {kind} JOIN {right} b ON a.k = b.k"));
        }
        // Without keys: nested loops.
        check(&format!("SELECT {columns} FROM holes a {kind} JOIN small b ON a.k * 7 < b.k"));
        check(&format!("SELECT {columns} FROM small a {kind} JOIN holes b ON a.k < b.k * 11"));
    }
}

#[test]
fn null_aware_anti_joins_run_on_one_rank() {
    let plan = check("SELECT k FROM big WHERE k NOT IN (SELECT k FROM small)");
    assert!(plan.contains("stage"), "{plan}");
    check("SELECT k FROM big WHERE k NOT IN (SELECT k FROM holes)");
    check("SELECT k FROM holes WHERE k NOT IN (SELECT k FROM small)");
    check("SELECT k FROM holes WHERE k NOT IN (SELECT k FROM empty)");
}

#[test]
fn scalar_subqueries_are_stages_that_others_wait_for() {
    let plan = check("SELECT COUNT(*) FROM big WHERE v > (SELECT AVG(v) FROM big) AND k < (SELECT MAX(k) FROM small)");
    assert!(plan.contains("scalar subquery from") && plan.contains(", after s"), "{plan}");
    check("SELECT g, (SELECT MAX(k) FROM small) AS m FROM big WHERE k = (SELECT MIN(k) FROM empty)");
    let error = session(3).sql("SELECT (SELECT k FROM small) AS k FROM big").unwrap().collect().unwrap_err();
    assert!(error.to_string().contains("more than one row"), "{error}");
}

#[test]
fn limits_move_onto_the_exchange_and_stop_producers() {
    let three = session(3);
    let frame = three.sql("SELECT k FROM big LIMIT 7").unwrap();
    assert_eq!(frame.count().unwrap(), 7);
    assert!(frame.explain().unwrap().contains("fetch=7"), "{}", frame.explain().unwrap());
    // 10^10 rows would take minutes: the limit must reach the sources.
    let endless = "SELECT a.value FROM generate_series(1, 100000) a CROSS JOIN generate_series(1, 100000) b LIMIT 3";
    assert_eq!(three.sql(endless).unwrap().count().unwrap(), 3);
    check("SELECT k FROM big ORDER BY k DESC LIMIT 9");
    check("SELECT k FROM big ORDER BY k LIMIT 9 OFFSET 9995");
    assert_eq!(three.sql("SELECT k FROM big LIMIT 0").unwrap().count().unwrap(), 0);
}

#[test]
fn one_hash_over_logical_values_everywhere() {
    // Dictionary, view and plain strings, and both zeros, must meet in one lane.
    check(
        "SELECT COUNT(*) FROM (SELECT arrow_cast('k' || CAST(g AS VARCHAR), 'Dictionary(Int32, Utf8)') AS s FROM big) a \
         JOIN (SELECT arrow_cast('k' || CAST(g AS VARCHAR), 'Utf8View') AS s FROM small) b ON a.s = b.s",
    );
    check("SELECT COUNT(*) FROM (SELECT -0.0 * k AS z FROM big) a JOIN (SELECT 0.0 AS z FROM small) b ON a.z = b.z");
}

#[test]
fn recursive_queries_read_tables_of_other_ranks() {
    let walk = "WITH RECURSIVE walk(k) AS (SELECT 5 UNION ALL SELECT s.k + 5 FROM walk JOIN small s ON walk.k = s.k \
                WHERE s.k < 200) SELECT k FROM walk";
    let plan = check(walk);
    assert!(plan.contains("rounds of pipeline") && !plan.contains("on rank 0"), "{plan}");
    // Only the largest row goes on: that has to be seen whole.
    let plan = check(
        "WITH RECURSIVE walk(k) AS (SELECT 5 UNION ALL SELECT max(s.k) + 5 FROM walk JOIN small s ON walk.k = s.k \
         HAVING max(s.k) < 200) SELECT k FROM walk",
    );
    assert!(plan.contains("RecursiveQueryExec runs on rank 0: its recursive term has a"), "{plan}");
}

#[test]
fn windows_grouping_sets_and_distinct_keep_their_lanes() {
    check("SELECT k, SUM(v) OVER (PARTITION BY g ORDER BY k) AS s FROM big");
    check("SELECT k, ROW_NUMBER() OVER (ORDER BY k) AS n FROM big");
    check("SELECT g, k % 5 AS f, COUNT(*) FROM big GROUP BY ROLLUP (g, k % 5)");
    check("SELECT COUNT(DISTINCT g), SUM(DISTINCT k % 11) FROM big");
    check("SELECT DISTINCT g FROM big");
    check("SELECT g FROM big INTERSECT SELECT g FROM small");
    check("SELECT k FROM small EXCEPT SELECT k FROM big");
}

#[test]
fn dynamic_filters_never_lose_rows_across_ranks() {
    // Every rank builds another part of the hash table; a filter from one of them must not reach the others' scans.
    check("SELECT COUNT(*), SUM(b.v) FROM small s JOIN big b ON s.k = b.k");
    check("SELECT s.k, b.v FROM small s JOIN big b ON s.k = b.k JOIN holes h ON h.k = s.k ORDER BY b.v LIMIT 3");
}

#[test]
fn joins_tell_scans_of_other_ranks_which_keys_have_partners() {
    let queries = [
        "SELECT COUNT(*), SUM(b.k) FROM small s JOIN big b ON s.k = b.k",
        "SELECT h.k, b.v FROM holes h LEFT JOIN big b ON h.k = b.k",
        "SELECT h.k, s.k FROM holes h FULL JOIN small s ON h.k = s.k",
        "SELECT b.k FROM big b WHERE EXISTS (SELECT 1 FROM holes h WHERE h.k = b.k)",
        "SELECT h.k FROM holes h WHERE NOT EXISTS (SELECT 1 FROM big b WHERE h.k = b.k AND b.v > 3)",
        "SELECT COUNT(*) FROM empty e JOIN big b ON e.k = b.k",
        "SELECT b.g, COUNT(*) FROM small s JOIN big b ON s.k = b.k AND s.g = b.g JOIN holes h ON h.k = b.g GROUP BY b.g",
        // What may fail stands between the scan and the join: no advice.
        "SELECT COUNT(*) FROM small s JOIN (SELECT k, 100 / (k - 19999) AS q FROM big WHERE k < 19999) b ON s.k = b.k",
    ];
    let prepared = |ranks: usize, seed: Option<u64>| {
        let builder = Session::builder().threads(2 * ranks).local_ranks(ranks).batch_rows(512);
        // A join whose sides both move has its scans in other stages.
        let builder = match seed {
            Some(seed) => builder.random_mapper(seed),
            None => builder.joins(JoinWay::Shuffle),
        };
        let session = builder.build().unwrap();
        TABLES.iter().for_each(|table| drop(session.sql(table).unwrap()));
        session
    };
    let (alone, mut advised) = (prepared(1, None), 0);
    for seed in [None, Some(1), Some(2), Some(3)] {
        let three = prepared(3, seed);
        for query in queries {
            let frame = three.sql(query).unwrap();
            let plan = frame.explain().unwrap();
            advised += usize::from(plan.contains(" advice to s"));
            let wanted = alone.sql(query).unwrap().collect().unwrap();
            for _ in 0..3 {
                let difference = compare::difference(&frame.collect().unwrap(), &wanted, false);
                assert_eq!(difference, None, "{query}\n{plan}");
            }
        }
    }
    assert!(advised >= 12, "only {advised} plans have advice");
}

#[test]
fn collect_and_count_agree_for_every_delivery() {
    let three = session(3);
    let frame = three.sql("SELECT k FROM big WHERE g = 5").unwrap();
    let rows = |batches: Vec<arrow::array::RecordBatch>| batches.iter().map(|batch| batch.num_rows()).sum::<usize>();
    let all = rows(frame.collect().unwrap());
    assert_eq!(all, rows(frame.collect_root().unwrap().unwrap()));
    assert_eq!(all, rows(frame.collect_local().unwrap()));
    assert_eq!(all as u64, frame.count().unwrap());
}

/// How often the stages of a plan read the table `big`.
fn scans_of_big(plan: &str) -> usize {
    let stages = plan.split("== stages ==").nth(1).unwrap();
    stages.lines().filter(|line| line.contains("scan ") && line.contains("20000 rows")).count()
}

#[test]
fn a_join_whose_columns_another_has_too_is_computed_once() {
    let join = "FROM big a JOIN small b ON a.k = b.k";
    let query = format!(
        "SELECT a.g, SUM(a.v) AS s {join} GROUP BY a.g HAVING SUM(a.v) > (SELECT SUM(a.v) / 200 {join}) ORDER BY a.g"
    );
    let plan = check(&query);
    assert_eq!(scans_of_big(&plan), 1, "{plan}");
    assert!(plan.contains("spooled"), "{plan}");
    // One rank at a time, the smaller one first and last.
    for (first, second) in [("SUM(a.v)", "SUM(a.v + a.g)"), ("SUM(a.v + a.g)", "SUM(a.v)")] {
        let session = session(1);
        let query = format!("SELECT {first} AS s {join} UNION ALL SELECT {second} {join}");
        let plan = session.sql(&query).unwrap().explain().unwrap();
        assert_eq!(scans_of_big(&plan), 1, "{plan}");
        let alone = [first, second].map(|sum| session.sql(&format!("SELECT {sum} AS s {join}")).unwrap().collect());
        let alone = alone.into_iter().flat_map(Result::unwrap).collect::<Vec<_>>();
        let together = session.sql(&query).unwrap().collect().unwrap();
        assert_eq!(compare::difference(&together, &alone, false), None, "{plan}");
    }
}

#[test]
fn joins_that_only_look_alike_are_computed_apart() {
    let join = "FROM big a JOIN small b ON a.k = b.k";
    let pairs = [
        [
            format!("SELECT COUNT(a.v) AS s {join} WHERE b.g = 1"),
            format!("SELECT COUNT(a.v) AS s {join} WHERE b.g = 2"),
        ],
        [format!("SELECT COUNT(a.v) AS s {join}"), format!("SELECT COUNT(a.v) AS s {join} AND a.g < b.g")],
        [
            format!("SELECT COUNT(a.v) AS s {join}"),
            "SELECT COUNT(a.v) AS s FROM big a JOIN small b ON a.k = b.g".into(),
        ],
        [
            format!("SELECT COUNT(a.v) AS s {join}"),
            format!("SELECT COUNT(a.v) AS s {}", join.replace("JOIN", "LEFT JOIN")),
        ],
    ];
    let session = session(1);
    for [first, second] in pairs {
        let query = format!("{first} UNION ALL {second}");
        let frame = session.sql(&query).unwrap();
        let plan = frame.explain().unwrap();
        assert_eq!(scans_of_big(&plan), 2, "{plan}");
        let alone = [first, second].map(|query| session.sql(&query).unwrap().collect().unwrap()).concat();
        assert_eq!(compare::difference(&frame.collect().unwrap(), &alone, false), None, "{plan}");
    }
}
