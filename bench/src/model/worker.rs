//! One rank of a job, or the only one: a session that plans and runs each case.

use std::io::Write as _;
use std::time::Instant;

use bireme::prelude::{DataFrame, Error, Result, Session, col};

use super::{Job, Measured, ModelWorker, Size};
use crate::queries;
use crate::worker::{TABLES, query};

/// Shuffles: what is sent of `lineitem`, beside its order key.
const SHUFFLES: [(&str, &[&str]); 3] = [
    ("keys", &[]),
    (
        "numbers",
        &["l_partkey", "l_suppkey", "l_linenumber", "l_quantity", "l_extendedprice", "l_discount", "l_shipdate"],
    ),
    ("texts", &["l_comment"]),
];

/// Measures as a rank; rank 0 prints the job as a line of JSON.
///
/// # Errors
/// The session does not start, a table cannot be read, a query fails.
pub(crate) fn run(arguments: &ModelWorker) -> Result<()> {
    let size = &arguments.size;
    let session = Session::builder().threads(arguments.threads).build()?;
    for table in TABLES {
        session.register_path(table, &size.data.join(format!("{table}.parquet")).to_string_lossy())?;
    }
    let cases = measure_all(&session, size)?;
    if session.is_root() {
        let job = Job { machine: session.cluster().clone(), cases };
        let line = serde_json::to_string(&job).map_err(|error| Error::internal(error.to_string()))?;
        writeln!(std::io::stdout(), "{line}")?;
    }
    session.close()
}

fn measure_all(session: &Session, size: &Size) -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for asked in queries::ALL.iter().filter(|asked| size.wants(asked.name)) {
        measured.push(query(session, asked.sql, |frame| measure(session, asked.name, frame, size.runs))?);
    }
    for (name, columns) in SHUFFLES.iter().filter(|(name, _)| size.wants(name)) {
        let columns = [&["l_orderkey"], *columns].concat();
        let frame = session.table("lineitem")?.select_columns(columns)?.repartition([col("l_orderkey")])?;
        measured.push(measure(session, name, &frame, size.runs)?);
    }
    Ok(measured)
}

fn measure(session: &Session, case: &str, frame: &DataFrame, runs: u32) -> Result<Measured> {
    let expected = frame.prediction()?;
    let mut taken = f64::INFINITY;
    for round in 0..=runs {
        let planned_before = session.progress().planning;
        let started = Instant::now();
        frame.run()?;
        let planning = session.progress().planning - planned_before;
        if round > 0 {
            taken = taken.min((started.elapsed() - planning).as_secs_f64());
        }
    }
    Ok(Measured {
        case: case.to_owned(),
        expected_ms: expected.total() * 1e3,
        taken_ms: taken * 1e3,
        transfer_ms: expected.stages.iter().map(|stage| stage.transfer).sum::<f64>() * 1e3,
        work: expected.work().amounts().map(|(kind, amount)| (kind.name().to_owned(), amount)).collect(),
    })
}
