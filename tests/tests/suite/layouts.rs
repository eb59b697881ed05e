//! Where rows lie, how joins meet, and what ranks decide while they run: speed may differ, answers may not, and what lies well does
//! not move.

use bireme::mapper::{CostMapper, FixedMapper, JoinWay, RecordingMapper};
use bireme::prelude::*;
use bireme_tests::compare;

const KINDS: [&str; 8] = ["INNER", "LEFT", "RIGHT", "FULL", "LEFT SEMI", "LEFT ANTI", "RIGHT SEMI", "RIGHT ANTI"];

const TABLES: [&str; 3] = [
    // Nine of ten rows have one key.
    "CREATE TABLE skewed AS SELECT CASE WHEN value % 10 = 0 THEN value ELSE 7 END AS k, value AS v, value % 13 AS g FROM generate_series(1, 200000)",
    "CREATE TABLE names AS SELECT value AS k, CAST(value % 100 AS TEXT) AS name, value % 13 AS g FROM generate_series(1, 50000)",
    "CREATE TABLE holes AS SELECT CASE WHEN value % 4 = 0 THEN NULL ELSE value END AS k, value % 7 AS g FROM generate_series(1, 400)",
];

fn with_tables(session: Session) -> Session {
    for table in TABLES {
        session.sql(table).unwrap();
    }
    session
}

fn session(ranks: usize) -> SessionBuilder {
    Session::builder().threads(ranks).local_ranks(ranks).batch_rows(512)
}

fn rows(frame: &DataFrame) -> Vec<RecordBatch> {
    frame.collect().unwrap()
}

/// Bytes that an action sends to other ranks.
fn sent(session: &Session, action: impl FnOnce()) -> u64 {
    let before = session.progress().bytes_sent;
    action();
    session.progress().bytes_sent - before
}

#[test]
fn a_join_of_tables_that_are_kept_by_its_key_moves_nothing() {
    let session = with_tables(session(3).build().unwrap());
    let keep =
        |table: &str, key: &str| session.table(table).unwrap().repartition([col(key)]).unwrap().persist().unwrap();
    let (left, right) = (keep("skewed", "k").alias("a").unwrap(), keep("names", "k").alias("b").unwrap());
    for kind in
        [JoinType::Inner, JoinType::Left, JoinType::Right, JoinType::Full, JoinType::LeftSemi, JoinType::LeftAnti]
    {
        let joined = left.join(&right, kind, ["a.k"], ["b.k"]).unwrap();
        let moved = sent(&session, || drop(joined.collect_local().unwrap()));
        assert_eq!(moved, 0, "{kind}\n{}", joined.explain().unwrap());
        assert!(joined.explain().unwrap().contains("in place"));
    }
    // Groups by the key, and by more than the key; a window by the key.
    let joined = left.join(&right, JoinType::Inner, ["a.k"], ["b.k"]).unwrap();
    let by_key = joined.group_by([col("b.k"), col("name")]).unwrap().agg([sum(col("v")).alias("s")]).unwrap();
    assert_eq!(sent(&session, || drop(by_key.collect_local().unwrap())), 0, "{}", by_key.explain().unwrap());
    assert!(
        sent(&session, || drop(joined.group_by([col("name")]).unwrap().count().unwrap().collect_local().unwrap())) > 0
    );
    let expected = "SELECT b.k, name, SUM(v) AS s FROM skewed a JOIN names b ON a.k = b.k GROUP BY b.k, name";
    let alone = with_tables(Session::builder().threads(2).build().unwrap());
    assert_eq!(compare::difference(&rows(&by_key), &rows(&alone.sql(expected).unwrap()), false), None);
}

/// Rows that no native stage can make, and more threads than ranks.
#[test]
fn rows_of_islands_are_kept_by_a_key_too() {
    let session = Session::builder().threads(6).local_ranks(3).build().unwrap();
    let keep = |rows: usize, what: &str| {
        let query = format!("SELECT value AS k, {what} AS v FROM generate_series(1, {rows})");
        session.sql(&query).unwrap().repartition([col("k")]).unwrap().persist().unwrap()
    };
    let (left, right) = (keep(2000, "value % 7").alias("a").unwrap(), keep(3000, "value * 2").alias("b").unwrap());
    let joined = left.join(&right, JoinType::Inner, ["a.k"], ["b.k"]).unwrap();
    let text = joined.explain().unwrap();
    assert!(text.contains("in place"), "{text}");
    assert_eq!(sent(&session, || drop(joined.collect_local().unwrap())), 0, "{text}");
    let sums = joined.group_by([]).unwrap().agg([sum(col("b.v")), count_star()]).unwrap();
    let expected = session.sql("SELECT CAST(4002000 AS BIGINT), CAST(2000 AS BIGINT)").unwrap();
    assert_eq!(compare::difference(&rows(&sums), &rows(&expected), false), None);
}

#[test]
fn one_kept_side_is_enough_to_move_only_the_other() {
    let session = with_tables(session(3).build().unwrap());
    let kept = session.table("skewed").unwrap().repartition([col("k")]).unwrap().persist().unwrap().alias("a").unwrap();
    let small = session.table("holes").unwrap().alias("b").unwrap();
    let joined = kept.join(&small, JoinType::Full, ["a.k"], ["b.k"]).unwrap();
    let bytes = sent(&session, || drop(joined.collect_local().unwrap()));
    assert!(bytes > 0 && bytes < 20_000, "{bytes} bytes\n{}", joined.explain().unwrap());
}

#[test]
fn rows_that_are_added_take_the_layout_away() {
    let session = with_tables(session(3).build().unwrap());
    session.sql("CREATE TABLE counted AS SELECT k, COUNT(*) AS n FROM skewed GROUP BY k").unwrap();
    let again = "SELECT k, SUM(n) AS n FROM counted GROUP BY k";
    assert_eq!(sent(&session, || drop(session.sql(again).unwrap().collect_local().unwrap())), 0);
    session.sql("INSERT INTO counted SELECT k, 1 FROM skewed").unwrap();
    let frame = session.sql(again).unwrap();
    assert!(sent(&session, || drop(frame.collect_local().unwrap())) > 0);
    let alone = with_tables(Session::builder().threads(2).build().unwrap());
    let expected = "SELECT k, 2 * COUNT(*) AS n FROM skewed GROUP BY k";
    assert_eq!(compare::difference(&rows(&frame), &rows(&alone.sql(expected).unwrap()), false), None);
}

#[test]
fn however_joins_meet_the_answers_are_the_same() {
    let alone = with_tables(Session::builder().threads(2).build().unwrap());
    let ways = JoinWay::ALL.map(|way| with_tables(session(3).joins(way).build().unwrap()));
    let random = [1, 2, 3].map(|seed| with_tables(session(3).random_mapper(seed).build().unwrap()));
    for kind in KINDS {
        let columns = match kind {
            "LEFT SEMI" | "LEFT ANTI" => "a.k, a.g",
            "RIGHT SEMI" | "RIGHT ANTI" => "b.k, b.g",
            _ => "a.k, a.g, b.k AS bk, b.g AS bg",
        };
        for (left, right) in [("holes", "names"), ("names", "holes"), ("holes", "skewed")] {
            let join = format!("SELECT {columns} FROM {left} a {kind} JOIN {right} b ON a.k = b.k AND a.g < b.g + 5");
            // What is above a join may count on where its rows lie.
            let query = format!("SELECT k, g, COUNT(*) AS n FROM ({join}) GROUP BY k, g");
            let expected = rows(&alone.sql(&query).unwrap());
            for session in ways.iter().chain(&random) {
                let frame = session.sql(&query).unwrap();
                let difference = compare::difference(&rows(&frame), &expected, false);
                assert_eq!(difference, None, "{query}\n{}", frame.explain().unwrap());
            }
        }
    }
}

#[test]
fn over_however_many_lanes_groups_come_together_the_answers_are_the_same() {
    let queries = [
        "SELECT g, COUNT(*) AS n, SUM(v) AS s FROM skewed GROUP BY g ORDER BY g",
        "SELECT g, COUNT(DISTINCT k) AS n FROM skewed GROUP BY g",
        "SELECT k, g, row_number() OVER (PARTITION BY g ORDER BY k, v) AS n FROM skewed WHERE v % 50 = 0",
        // Two groupings that meet, with a third above them.
        "SELECT a.n % 3 AS c, COUNT(*) AS m FROM (SELECT k, COUNT(*) AS n FROM skewed GROUP BY k) a
         JOIN (SELECT k, MIN(name) AS name FROM names GROUP BY k) b ON a.k = b.k GROUP BY a.n % 3",
        // One that meets a table that has to come to it.
        "SELECT b.g, SUM(a.n) AS n FROM (SELECT k, COUNT(*) AS n FROM skewed GROUP BY k) a
         RIGHT JOIN holes b ON a.k = b.k GROUP BY b.g",
        "SELECT g, n FROM (SELECT g, COUNT(*) AS n FROM names GROUP BY g UNION ALL SELECT g, COUNT(*) FROM holes GROUP BY g)",
        "SELECT g FROM skewed INTERSECT SELECT g FROM holes",
    ];
    let alone = with_tables(Session::builder().threads(2).build().unwrap());
    for lanes in [1, 2, 3, 4, 9] {
        let session = with_tables(session(4).mapper(FixedMapper::lanes(lanes)).build().unwrap());
        for query in queries {
            let frame = session.sql(query).unwrap();
            let text = frame.explain().unwrap();
            let name = if lanes == 1 { "1 lane".to_owned() } else { format!("{} lanes", lanes.min(4)) };
            assert!(text.contains(&format!(": {name}")), "{text}");
            let difference = compare::difference(&rows(&frame), &rows(&alone.sql(query).unwrap()), false);
            assert_eq!(difference, None, "{query}\n{text}");
        }
        // Rows that lie by one key over different numbers of lanes; one part is read twice.
        let kept = session.sql("SELECT k, CAST(1 AS BIGINT) AS n FROM names").unwrap();
        let kept = kept.repartition([col("k")]).unwrap().persist().unwrap();
        let twice = session.sql("SELECT k, COUNT(*) AS n FROM skewed GROUP BY k").unwrap();
        let all = twice.union(&kept).unwrap().union(&twice).unwrap();
        let sums = all.group_by([col("k")]).unwrap().agg([sum(col("n")).alias("n")]).unwrap();
        let whole =
            "SELECT k, SUM(n) AS n FROM (SELECT k, 2 AS n FROM skewed UNION ALL SELECT k, 1 FROM names) GROUP BY k";
        let difference = compare::difference(&rows(&sums), &rows(&alone.sql(whole).unwrap()), false);
        assert_eq!(difference, None, "{}", sums.explain().unwrap());
        // What is kept in few lanes is all there, and can be grouped again.
        session.sql("CREATE TABLE kept AS SELECT k, g, COUNT(*) AS n FROM skewed GROUP BY k, g").unwrap();
        let again = "SELECT k, SUM(n) AS n FROM {} GROUP BY k";
        let (kept, whole) = (again.replace("{}", "kept"), again.replace("{}", "(SELECT k, 1 AS n FROM skewed)"));
        let difference =
            compare::difference(&rows(&session.sql(&kept).unwrap()), &rows(&alone.sql(&whole).unwrap()), false);
        assert_eq!(difference, None);
    }
}

#[test]
fn few_groups_come_to_one_lane_and_save_a_stage() {
    let session = with_tables(session(4).build().unwrap());
    session.sql("CREATE TABLE few AS SELECT * FROM names WHERE k % 100 = 0").unwrap();
    let query = "SELECT g, COUNT(*) AS n FROM (SELECT DISTINCT g, k % 2 AS odd FROM few) GROUP BY g ORDER BY g";
    let stages = |text: &str| text.lines().filter(|line| line.starts_with('s') && line.contains(" lanes")).count();
    let plan = || session.sql(query).unwrap().explain().unwrap();
    let few = plan();
    assert!(few.contains("1 lane ") && few.contains("rejected: 2 lanes"), "{few}");
    session.sql("SET bireme.group_lanes = 4").unwrap();
    let many = plan();
    assert!(many.contains(": 4 lanes") && stages(&many) > stages(&few), "{few}\n{many}");
    // Groups of which there are many, and those of tables that are kept, are made by all ranks.
    session.sql("SET bireme.group_lanes = auto").unwrap();
    let all = session.sql("SELECT k, COUNT(*) FROM skewed GROUP BY k").unwrap().explain().unwrap();
    assert!(all.contains("groups by k@0: 4 lanes"), "{all}");
    let error = session.sql("SET bireme.group_lanes = 0").unwrap_err().to_string();
    assert!(error.contains("a number from 1 on"), "{error}");
}

/// Rows that each rank reads in the stages that probe, as EXPLAIN ANALYZE shows them.
fn rows_in(text: &str, stage: &str) -> Vec<u64> {
    let lines = text.lines().filter(|line| line.starts_with(&format!("{stage} rank")));
    let field = |line: &str| line.split("rows_in=").nth(1)?.split(' ').next()?.parse().ok();
    lines.filter_map(field).collect()
}

#[test]
fn a_heavy_key_is_split_over_the_ranks() {
    let session = with_tables(session(4).mapper(FixedMapper::open(0)).build().unwrap());
    let query = "SELECT a.v, b.name FROM names b JOIN skewed a ON a.k = b.k";
    let frame = session.sql(query).unwrap();
    let text = frame.explain_analyze().unwrap();
    assert!(text.contains("decided=hash,split=1"), "{text}");
    let stage = text.lines().find(|line| line.starts_with("s2 rank")).map(|_| "s2").unwrap();
    let ranks = rows_in(&text, stage);
    let (most, mean) = (*ranks.iter().max().unwrap() as f64, ranks.iter().sum::<u64>() as f64 / ranks.len() as f64);
    assert!(ranks.len() == 4 && most / mean < 1.3, "{ranks:?}\n{text}");
    let alone = with_tables(Session::builder().threads(2).build().unwrap());
    assert_eq!(compare::difference(&rows(&frame), &rows(&alone.sql(query).unwrap()), false), None);
}

#[test]
fn a_build_side_that_turns_out_small_is_broadcast() {
    // Nobody can know how few rows pass.
    let query = "SELECT a.v, b.g FROM (SELECT * FROM names WHERE CAST(name AS INT) * k % 1000 = 999) b JOIN skewed a ON a.k = b.k";
    let session = with_tables(session(3).mapper(FixedMapper::open(1 << 20)).build().unwrap());
    let frame = session.sql(query).unwrap();
    let text = frame.explain_analyze().unwrap();
    assert!(text.contains("decided=broadcast"), "{text}");
    let alone = with_tables(Session::builder().threads(2).build().unwrap());
    assert_eq!(compare::difference(&rows(&frame), &rows(&alone.sql(query).unwrap()), false), None);
}

#[test]
fn what_was_decided_is_recorded_and_shown() {
    let recorder = RecordingMapper::new(std::sync::Arc::new(CostMapper));
    let session = with_tables(session(3).mapper(recorder.clone()).build().unwrap());
    drop(recorder.take());
    let text = session.sql("SELECT COUNT(*) FROM names a JOIN skewed b ON a.k = b.k").unwrap().explain().unwrap();
    let decisions = recorder.take();
    assert!(decisions.iter().any(|decision| decision.costs.len() > 1), "{decisions:?}");
    drop(session.sql("SELECT g, COUNT(*) FROM names GROUP BY g").unwrap().explain().unwrap());
    let groups = recorder.take();
    assert!(groups.iter().any(|decision| decision.about == "groups 0" && decision.costs.len() > 1), "{groups:?}");
    assert!(text.contains("== mapper ==") && text.contains("rejected:") && text.contains("predicted: "), "{text}");
    // SQL can say it, too.
    session.sql("SET bireme.joins = 'broadcast'").unwrap();
    let text = session.sql("SELECT COUNT(*) FROM names a JOIN skewed b ON a.k = b.k").unwrap().explain().unwrap();
    assert!(text.contains("broadcast build side"), "{text}");
    assert!(session.sql("SET bireme.joins = 'teleport'").unwrap_err().to_string().contains("`shuffle`"));
}

#[test]
fn a_plan_for_a_machine_that_is_not_here_can_be_seen_but_not_run() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "nodes = 128\nranks_per_node = 8\nthreads = 16\n").unwrap();
    let session = Session::builder().threads(1).plan_for(file.path()).unwrap().build().unwrap();
    session
        .register_path("lineitem", bireme_tests::tpch::data(0.01).join("lineitem.parquet").to_str().unwrap())
        .unwrap();
    let frame = session.sql("SELECT l_orderkey, SUM(l_quantity) FROM lineitem GROUP BY l_orderkey").unwrap();
    let text = frame.explain().unwrap();
    assert!(text.contains("lanes on ranks 0-1023") && text.contains("predicted: "), "{text}");
    assert!(frame.collect().unwrap_err().to_string().contains("explained, not run"));
}
