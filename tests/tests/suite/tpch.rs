//! The 22 TPC-H queries, equal to plain DataFusion on one thread, however many ranks there are and wherever lanes run.

use std::path::PathBuf;
use std::sync::OnceLock;

use arrow::array::RecordBatch;
use bireme::{Session, SessionBuilder};
use bireme_tests::{compare, oracle, tpch};

const SCALE: f64 = 0.1;

fn data() -> PathBuf {
    static DATA: OnceLock<PathBuf> = OnceLock::new();
    DATA.get_or_init(|| tpch::data(SCALE)).clone()
}

fn expected(number: usize) -> Vec<RecordBatch> {
    static EXPECTED: OnceLock<Vec<Vec<RecordBatch>>> = OnceLock::new();
    let all = EXPECTED
        .get_or_init(|| (1..=22).map(|number| oracle::run(&data(), &tpch::TABLES, &tpch::query(number))).collect());
    all[number - 1].clone()
}

fn check_all(builder: SessionBuilder) {
    let session = builder.build().unwrap();
    session.register_directory(data().to_str().unwrap()).unwrap();
    let failures = (1..=22).filter_map(|number| {
        let ours = run(&session, &tpch::query(number));
        let failure = match ours {
            Err(error) => Some(error.to_string()),
            Ok(rows) => compare::difference(&rows, &expected(number), false),
        };
        failure.map(|why| format!("q{number}: {why}"))
    });
    let failures = failures.collect::<Vec<_>>();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The rows of the script's query, in order.
fn run(session: &Session, statements: &[String]) -> bireme::Result<Vec<RecordBatch>> {
    let mut rows = Vec::new();
    for statement in statements {
        let frame = session.sql(statement)?;
        let batches = frame.collect()?;
        if frame.is_query() {
            rows = batches;
        }
    }
    Ok(rows)
}

#[test]
fn one_rank() {
    check_all(Session::builder().threads(2));
}

#[test]
fn three_local_ranks() {
    check_all(Session::builder().threads(3).local_ranks(3));
}

#[test]
fn three_local_ranks_placed_at_random() {
    check_all(Session::builder().threads(6).local_ranks(3).random_mapper(7));
}

#[test]
fn under_a_memory_limit() {
    // Joins are sorted and merged under a limit. DataFusion's sorts reserve 10 MiB each for their merge, and q21 has ten
    // of them at once, so much less is an error that says so.
    check_all(Session::builder().threads(2).memory_limit(160 << 20));
}

/// Order matters where SQL orders: q1's keys come sorted.
#[test]
fn ordered_results_keep_their_order() {
    for ranks in [1, 3] {
        let session = Session::builder().threads(3).local_ranks(ranks).build().unwrap();
        session.register_directory(data().to_str().unwrap()).unwrap();
        for number in [1, 4, 12, 22] {
            let ours = run(&session, &tpch::query(number)).unwrap();
            assert_eq!(compare::difference(&ours, &expected(number), true), None, "q{number} on {ranks} ranks");
        }
    }
}
