//! The checks that run under `mpirun`: TPC-H against the oracle, the SQL suite, one copy of every side effect, tables that are
//! kept.
//!
//! `mpirun -n 2 bireme-mpi-suite [tpch] [slt] [effects] [kept]`; every rank runs it all, rank 0 reports. Exits non-zero if a check
//! fails on any rank. `mpirun -n 2 bireme-mpi-suite failures` makes planning fail on rank 1, for its whole session;
//! `mpirun -n 2 bireme-mpi-suite guests` uses MPI itself, and makes mistakes with it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program"
)]

mod guests;

use std::process::ExitCode;

use bireme::Fault;
use bireme::prelude::*;
use bireme_tests::{compare, oracle, slt, tpch};

fn main() -> ExitCode {
    std::env::set_current_dir(bireme_tests::root()).expect("the repository exists");
    let wanted = std::env::args().skip(1).collect::<Vec<_>>();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if wanted.iter().any(|wanted| wanted == "guests") {
        let failed = guests::run();
        failed.iter().for_each(|failure| eprintln!("{failure}"));
        return if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let failing = wanted.iter().any(|wanted| wanted == "failures");
    let builder = Session::builder().threads(2);
    let builder = if failing { builder.fault(Fault::Planning(1)) } else { builder };
    let session = builder.build().expect("a session");
    assert!(session.ranks() > 1, "this program is for mpirun; cargo test covers one process");
    let mut checks = Checks { session, passed: 0, failed: 0 };
    if wants("tpch") {
        tpch_queries(&mut checks);
    }
    if wants("slt") {
        sql_suite(&mut checks);
    }
    if wants("effects") {
        effects(&mut checks);
    }
    if wants("kept") {
        kept_tables(&mut checks);
    }
    if failing {
        planning_failure(&mut checks);
    }
    if checks.session.is_root() {
        println!("mpi suite on {} ranks: {} passed, {} failed", checks.session.ranks(), checks.passed, checks.failed);
    }
    checks.session.close().expect("all ranks end together");
    if checks.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Checks {
    session: Session,
    passed: usize,
    failed: usize,
}

impl Checks {
    fn check(&mut self, name: &str, failure: Option<String>) {
        match failure {
            None => self.passed += 1,
            Some(why) => {
                self.failed += 1;
                eprintln!("rank {}: {name}: {why}", self.session.rank());
            }
        }
    }
}

fn tpch_queries(checks: &mut Checks) {
    let directory = tpch::data(0.1);
    let path = directory.to_str().expect("a UTF-8 path");
    checks.session.register_directory(path).expect("the tables are there");
    for number in 1..=22 {
        let statements = tpch::query(number);
        let mut rows = Ok(Vec::new());
        for statement in &statements {
            match checks.session.sql(statement).and_then(|frame| Ok((frame.is_query(), frame.collect()?))) {
                Ok((true, batches)) => rows = Ok(batches),
                Ok((false, _)) => {}
                Err(error) => rows = Err(error),
            }
        }
        // Every rank has every row, so every rank checks them.
        let failure = match rows {
            Err(error) => Some(error.to_string()),
            Ok(rows) => compare::difference(&rows, &oracle::run(&directory, &tpch::TABLES, &statements), false),
        };
        checks.check(&format!("q{number}"), failure);
    }
}

fn sql_suite(checks: &mut Checks) {
    for file in slt::files() {
        let session = checks.session.clone();
        // A fresh session for each file would start MPI twice; dropping what the last one left does as well.
        for table in session.tables() {
            let quoted = table.split('.').map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join(".");
            if session.sql(&format!("DROP VIEW IF EXISTS {quoted}")).is_err() || session.tables().contains(&table) {
                session.sql(&format!("DROP TABLE {quoted}")).expect("a table can be dropped");
            }
        }
        let result = slt::run(&file, || session.clone());
        checks.check(&file.display().to_string(), result.err());
    }
}

/// Every rank ends with the cause of the one that could not plan, and none waits for it.
fn planning_failure(checks: &mut Checks) {
    let ended = checks.session.sql("SELECT 1").and_then(|frame| frame.collect());
    let failure = match ended {
        Err(error) if error.to_string().contains("made to fail on rank 1") => None,
        other => Some(format!("expected the cause of rank 1, got {other:?}")),
    };
    checks.check("planning fails on rank 1", failure);
}

/// Tables that are kept by the key that they are joined on, and what is grouped by it, send nothing.
fn kept_tables(checks: &mut Checks) {
    let session = checks.session.clone();
    let numbers = |rows: u64, what: &str| format!("SELECT value AS k, {what} AS v FROM generate_series(1, {rows})");
    let keep = |query: &str| session.sql(query)?.repartition([col("k")])?.persist();
    let run = || -> bireme::Result<Option<String>> {
        let (left, right) = (keep(&numbers(20_000, "value % 7"))?, keep(&numbers(30_000, "value * 2"))?);
        let joined = left.alias("a")?.join(&right.alias("b")?, JoinType::Inner, ["a.k"], ["b.k"])?;
        let grouped = joined.group_by([col("a.k")])?.agg([sum(col("b.v")).alias("s")])?;
        let before = session.progress().bytes_sent;
        let rows = grouped.collect_local()?.iter().map(RecordBatch::num_rows).sum::<usize>();
        let moved = session.progress().bytes_sent - before;
        // Every rank has a part, and the parts are the whole.
        let whole = grouped.group_by([])?.agg([sum(col("s")), count_star()])?.collect()?;
        let wanted = session.sql("SELECT CAST(400020000 AS BIGINT) AS s, CAST(20000 AS BIGINT) AS n")?.collect()?;
        let wrong = compare::difference(&whole, &wanted, false);
        let idle = rows == 0 || rows >= 20_000;
        let plan = grouped.explain_analyze()?;
        Ok(wrong.or((moved > 0 || idle).then(|| format!("{rows} rows here, {moved} bytes were sent\n{plan}"))))
    };
    let failure = run().unwrap_or_else(|error| Some(error.to_string()));
    checks.check("kept tables", failure);
}

/// What must happen once for the whole job.
fn effects(checks: &mut Checks) {
    let session = checks.session.clone();
    let scratch = std::env::var("BIREME_SLT_SCRATCH").unwrap_or_else(|_| "/tmp".to_owned());
    let target = format!("{scratch}/effects.parquet");
    let _ = session.sql("DROP TABLE IF EXISTS numbers");
    session.sql("CREATE TABLE numbers AS SELECT value AS n FROM generate_series(1, 1000)").expect("a table");
    let copied = session.sql(&format!("COPY (SELECT * FROM numbers) TO '{target}'")).and_then(|frame| frame.collect());
    checks.check("copy", copied.err().map(|error| error.to_string()));
    let read = session.read_parquet(&target).and_then(|frame| frame.count());
    let failure = match read {
        Ok(1000) => None,
        other => Some(format!("read back {other:?} rows, expected 1000")),
    };
    checks.check("copy is published once", failure);
    let again = session.sql(&format!("COPY (SELECT * FROM numbers) TO '{target}'"));
    let refused = again.is_err_and(|error| error.to_string().contains("exists"));
    checks.check("an existing target is refused", (!refused).then(|| "it was not".to_owned()));
}
