//! EXPLAIN ANALYZE: estimated beside actual rows, line by line.
//!
//! `UPDATE_GOLDEN=1 cargo test --release --workspace --features mpi --test suite -- analyze` refreshes the golden text.

use std::fs;

use bireme::Session;
use bireme_tests::tpch;

fn session(ranks: usize) -> Session {
    let session = Session::builder().threads(ranks).local_ranks(ranks).build().unwrap();
    session.register_directory(tpch::data(0.1).to_str().unwrap()).unwrap();
    session
}

/// What the run says of a query, from the first stage on.
fn run_of(session: &Session, query: &str) -> String {
    let text = session.sql(query).unwrap().explain_analyze().unwrap();
    text.split_once("== run ==\n").unwrap().1.to_owned()
}

/// The number that follows a name in the line of the run that holds `words`.
fn number(run: &str, words: &str, name: &str) -> f64 {
    let line = run.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("no `{words}` in\n{run}"));
    let (_, rest) = line.split_once(&format!(" {name}=")).unwrap_or_else(|| panic!("no `{name}` in {line}"));
    let digits = rest.chars().take_while(|letter| letter.is_ascii_digit() || *letter == '.').collect::<String>();
    digits.parse().unwrap()
}

/// The numbers of each rank, which follow in brackets.
fn of_ranks(run: &str, words: &str, name: &str) -> Vec<u64> {
    let line = run.lines().find(|line| line.contains(words)).unwrap();
    let (_, rest) = line.split_once(&format!(" {name}=")).unwrap();
    let (_, rest) = rest.split_once('(').unwrap();
    let (ranks, _) = rest.split_once(')').unwrap();
    ranks.split(' ').map(|rank| rank.parse().unwrap()).collect()
}

#[test]
fn the_rows_of_a_scan_are_estimated_exactly() {
    let run = run_of(&session(1), "SELECT o_orderkey FROM orders");
    assert_eq!(number(&run, "of parquet orders", "est"), 150_000.0, "{run}");
    assert_eq!(number(&run, "of parquet orders", "rows"), 150_000.0, "{run}");
    assert_eq!(number(&run, "  output", "rows"), 150_000.0, "{run}");
}

#[test]
fn the_rows_of_filters_and_groups_are_counted() {
    let session = session(3);
    session.sql("CREATE TABLE t AS SELECT value AS k, value % 97 AS g FROM generate_series(1, 20000)").unwrap();
    // One that the scan tests, and one that may fail and so stays behind it.
    let run = run_of(&session, "SELECT g, count(*) FROM t WHERE k > 9700 AND 100 / (g + 1) >= 50 GROUP BY g");
    assert_eq!(number(&run, "where [(#0 > 9700)]", "rows"), 10_300.0, "{run}");
    let kept = (9701..=20_000).filter(|value| value % 97 < 2).count();
    assert_eq!(number(&run, "filter ", "rows"), kept as f64, "{run}");
    assert_eq!(of_ranks(&run, "filter ", "rows").iter().sum::<u64>(), kept as u64, "{run}");
    assert_eq!(of_ranks(&run, "filter ", "rows").len(), 3, "{run}");
    // Each rank sends its states of two groups at most, and two groups are left.
    let output = run.lines().rfind(|line| line.contains("slot 0  --")).unwrap();
    assert!(output.contains(" rows=2 "), "{run}");
}

#[test]
fn what_is_broadcast_is_expected_on_every_rank() {
    let session = session(3);
    session.sql("SET datafusion.optimizer.repartition_file_min_size = 1024").unwrap();
    let run = run_of(&session, "SELECT c_name, n_name FROM customer JOIN nation ON c_nationkey = n_nationkey");
    assert_eq!(of_ranks(&run, "exchange x0  --", "rows"), [25; 3], "{run}");
    assert_eq!(number(&run, "exchange x0  --", "est"), 75.0, "{run}");
    assert_eq!(number(&run, "  probe ", "est"), 15_000.0, "{run}");
    assert_eq!(of_ranks(&run, "  probe ", "rows").iter().sum::<u64>(), 15_000, "{run}");
}

#[test]
fn each_branch_of_a_union_is_counted_by_itself() {
    for ranks in [1, 3] {
        let session = session(ranks);
        session.sql("CREATE TABLE t AS SELECT value AS k FROM generate_series(1, 1000)").unwrap();
        session.sql("CREATE TABLE u AS SELECT value AS k FROM generate_series(1, 500)").unwrap();
        let run = run_of(&session, "SELECT k FROM t UNION ALL SELECT k + 1 FROM u WHERE 100 / k >= 1");
        // Several ranks get the branches from stages of their own: what comes has passed the filter.
        let filtered = number(&run, "  filter ", "est");
        let (rows, expected) = if ranks == 1 { (500.0, 500.0) } else { (100.0, filtered) };
        assert_eq!(number(&run, ": union", "rows"), 1100.0, "{run}");
        assert_eq!(number(&run, ": union", "est"), 1000.0 + filtered, "{run}");
        assert_eq!(number(&run, "branch 0: ", "rows"), 1000.0, "{run}");
        assert_eq!(number(&run, "branch 0: ", "est"), 1000.0, "{run}");
        assert_eq!(number(&run, "branch 1: ", "rows"), rows, "{run}");
        assert_eq!(number(&run, "branch 1: ", "est"), expected, "{run}");
        assert_eq!(number(&run, "  filter ", "rows"), 100.0, "{run}");
    }
}

#[test]
fn the_run_of_a_join_is_as_it_was() {
    let query = "SELECT o_orderpriority, count(*) AS c FROM orders JOIN lineitem ON o_orderkey = l_orderkey \
                 WHERE o_orderdate < DATE '1993-01-01' AND l_shipmode = 'MAIL' GROUP BY o_orderpriority \
                 ORDER BY c DESC LIMIT 3";
    let text = masked(&run_of(&session(1), query));
    let path = bireme_tests::root().join("tests/golden/analyze_join.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), text, "{text}");
}

/// Times and memory differ from run to run.
fn masked(run: &str) -> String {
    let mask = |word: &str| match word.split_once('=') {
        Some((name, value)) if value.ends_with("ms") || name == "peak_memory" => format!("{name}=*"),
        _ => word.to_owned(),
    };
    let lines = run.lines().map(|line| line.split(' ').map(mask).collect::<Vec<_>>().join(" "));
    lines.map(|line| line + "\n").collect()
}

/// DataFusion's physical plan and the logical one are walked down side by side; where they part, estimates are missing.
#[test]
fn every_scan_and_join_of_tpch_has_an_estimate() {
    for ranks in [1, 3] {
        let session = session(ranks);
        for number in 1..=22 {
            for statement in tpch::query(number) {
                if ["create view", "drop view"].iter().any(|words| statement.to_lowercase().contains(words)) {
                    session.sql(&statement).unwrap();
                    continue;
                }
                let run = run_of(&session, &statement);
                let counted = run.lines().filter(|line| line.contains("  --")).collect::<Vec<_>>();
                assert!(!counted.is_empty(), "query {number}:\n{run}");
                for line in counted {
                    let estimated = [": scan ", "  probe ", "  filter "].iter().any(|words| line.contains(words));
                    // A scan whose filter is tested in part behind it stands for no node.
                    let part = line.contains(" where ") && run.contains("    filter ");
                    assert!(!estimated || part || line.contains(" est="), "query {number} on {ranks} ranks: {line}");
                }
            }
        }
    }
}
