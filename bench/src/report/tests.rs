//! Reports of made-up contests.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;
use crate::machine::{Machine, Sources};
use crate::record::Summary;

fn record(queries: Vec<QueryRecord>) -> Record {
    let engine = |name, version: Option<&str>, missing: Option<&str>| EngineRecord {
        name,
        version: version.map(str::to_owned),
        note: None,
        missing: missing.map(str::to_owned),
        peak_bytes: version.map(|_| 512 << 20),
    };
    Record {
        benchmark: "tpch",
        scale: 1.0,
        data: "tpch".into(),
        threads: 2,
        memory_limit: None,
        runs: 2,
        date: "2026-01-02T03:04:05Z".into(),
        command: vec!["bireme-bench".into()],
        sources: Sources { commit: Some("abc".into()), dirty: true },
        machine: Machine { cpu: "CPU".into(), cores: 2, memory_bytes: 24 << 30, kernel: "6.1".into() },
        engines: vec![
            engine("us", Some("0.1"), None),
            engine("duckdb", Some("1.4"), None),
            engine("polars", Some("1.9"), None),
            engine("datafusion", None, Some("No module")),
        ],
        queries,
        summary: None,
    }
}

fn times(engine: &'static str, ms: &[f64]) -> Times {
    Times::new(engine, Ok(ms.to_vec()))
}

fn timed(query: &'static str, us: f64, duckdb: f64, polars: f64) -> QueryRecord {
    let engines = vec![
        times("us", &[us, us + 2.0]),
        times("duckdb", &[duckdb + 2.0, duckdb]),
        times("polars", &[polars, polars]),
    ];
    QueryRecord::new(query, Some(1), Vec::new(), engines)
}

/// Two queries that all answer, one that Polars fails, one with a disagreement.
fn contest() -> Record {
    let failed =
        vec![times("us", &[300.0]), times("duckdb", &[100.0]), Times::new("polars", Err("it cannot\nat all".into()))];
    let none = vec![times("us", &[]), times("duckdb", &[]), times("polars", &[])];
    record(vec![
        timed("q1", 100.0, 200.0, 400.0).planned(&[1.5, 2.0]),
        timed("q6", 400.0, 200.0, 100.0).planned(&[3.5, 2.5]),
        QueryRecord::new("q7", Some(4), Vec::new(), failed),
        QueryRecord::new("q9", Some(1), vec!["between us and duckdb: 1 rows\n  < row 0: 1".into()], none),
    ])
}

#[test]
fn lines_of_queries() {
    let lines = contest().queries.iter().map(query).collect::<Vec<_>>();
    assert_eq!(lines[0], "q1   us    100  duckdb    200  polars    400  ratio 0.50\n");
    assert_eq!(
        lines[2],
        "q7   us    300  duckdb    100  polars failed  ratio 3.00\n     polars failed: it cannot\n     at all\n"
    );
    assert_eq!(
        lines[3],
        "q9   us      -  duckdb      -  polars      -\n     DISAGREEMENT between us and duckdb: 1 rows\n       \
         < row 0: 1\n"
    );
}

#[test]
fn sums_are_over_common_queries_and_ratios_over_shared_ones() {
    let contest = contest();
    let summary: Summary = contest.summarise();
    assert_eq!(summary.common_queries, 2);
    let [us, duckdb, polars] = summary.engines.as_slice() else { unreachable!("three took part") };
    assert_eq!((us.answered, us.sum_ms, us.our_ratio), (3, Some(500.0), None));
    assert_eq!((duckdb.answered, duckdb.sum_ms, polars.answered), (3, Some(400.0), 2));
    let close = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-9, "{a:?} {b}");
    close(us.geometric_mean_ms, 200.0);
    close(duckdb.our_ratio, (0.5f64 * 2.0 * 3.0).cbrt());
    close(polars.our_ratio, 1.0);
    // To the best peer: 100/200, 400/100, 300/100.
    close(summary.ratio, 6f64.cbrt());
    assert_eq!(summary.worst, [("q6", 4.0), ("q7", 3.0), ("q1", 0.5)]);
    assert!(!contest.is_good(), "q9 disagrees");
}

#[test]
fn what_speaks_against_us() {
    assert!(record(vec![timed("q1", 1.0, 2.0, 3.0)]).is_good());
    let peer = QueryRecord::new("q1", None, Vec::new(), vec![Times::new("polars", Err("no".into()))]);
    assert!(record(vec![peer]).is_good());
    let ours = QueryRecord::new("q1", None, Vec::new(), vec![Times::new("us", Err("no".into()))]);
    assert!(!record(vec![ours]).is_good());
}

#[test]
fn header_and_summary_name_what_is_missing() {
    let contest = contest();
    let text = header(&contest);
    assert!(text.contains("CPU, 2 cores, 24.00 GiB, Linux 6.1"), "{text}");
    assert!(text.contains("commit abc with changes"), "{text}");
    assert!(text.contains("us 0.1, duckdb 1.4, polars 1.9\nmissing: datafusion: No module"), "{text}");
    let text = summary(&contest, &contest.summarise());
    assert!(text.contains("\nus                3/4        500      200         512 MiB\n"), "{text}");
    assert!(text.contains("geometric mean over 3 of 4 queries: 1.82; worst: q6 4.00, q7 3.00, q1 0.50."), "{text}");
    assert!(text.contains("Planning is part of our times: 4.00 ms over all queries, at most 2.50 ms (q6)."), "{text}");
    assert!(text.contains("DISAGREE in q9"), "{text}");
    assert!(text.contains("missing: datafusion"), "{text}");
}

#[test]
fn a_record_of_us_alone_has_no_ratios() {
    let mut alone = record(vec![QueryRecord::new("q1", Some(1), Vec::new(), vec![times("us", &[2.25])])]);
    alone.engines.truncate(1);
    let sums = alone.summarise();
    assert_eq!((sums.ratio, sums.ratio_queries, sums.common_queries), (None, 0, 1));
    assert_eq!(query(&alone.queries[0]), "q1   us   2.25\n");
    assert!(!summary(&alone, &sums).contains("best peer"));
    let json: serde_json::Value = serde_json::to_value(&alone).unwrap();
    assert_eq!(json["commit"], "abc");
    assert_eq!(json["queries"][0]["engines"][0]["ms"][0], 2.25);
}
