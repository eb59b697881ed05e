//! Ourselves as a child: two tables in memory, and questions from standard input.

use std::io::{BufRead as _, stdin};
use std::time::Instant;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use bireme::prelude::{Error, Result, Session};

use super::{KERNEL, SqlTensorWorker};
use crate::answers::{Answer, Cell};
use crate::protocol::{Done, Ready, Reply, Request};
use crate::worker::{US, say};

/// Answers until there are no more questions.
///
/// # Errors
/// The session does not start, a table cannot be read, or the parent talks nonsense or is gone.
pub(crate) fn run(arguments: &SqlTensorWorker) -> Result<()> {
    let session = Session::builder().threads(arguments.threads).build()?;
    for table in ["a", "b"] {
        let path = arguments.data.join(format!("{table}.parquet"));
        session.register_path(&format!("file_{table}"), &path.to_string_lossy())?;
        session.sql(&format!("CREATE TABLE {table} AS SELECT * FROM file_{table}"))?;
    }
    if arguments.no_contractions {
        session.sql("SET bireme.contractions = false")?;
    }
    say(&Ready { engine: US.into(), version: env!("CARGO_PKG_VERSION").into(), note: None })?;
    for line in stdin().lock().lines() {
        let request = serde_json::from_str(&line?).map_err(|error| Error::internal(format!("a request: {error}")))?;
        say(&answer(&session, &request).unwrap_or_else(|error| Reply::Failed { error: error.to_string() }))?;
    }
    session.close()
}

fn answer(session: &Session, request: &Request) -> Result<Reply> {
    if request.query == KERNEL {
        return kernel(session, &request.sql);
    }
    let started = Instant::now();
    let batches = session.sql(&request.sql)?.collect()?;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    let sum = |batch: &RecordBatch| -> f64 { batch.column(2).as_primitive::<Float64Type>().values().iter().sum() };
    let answer = request.answer.then(|| Answer {
        columns: vec!["rows".into(), "sum".into()],
        rows: vec![vec![Cell::Integer(rows as i64), Cell::Float(batches.iter().map(sum).sum())]],
    });
    Ok(Reply::Done(Done { ms, rows, planning_ms: None, answer }))
}

/// Which way the product goes, as EXPLAIN ANALYZE counts it.
fn kernel(session: &Session, sql: &str) -> Result<Reply> {
    let report = session.sql(sql)?.explain_analyze()?;
    let ways =
        [("contractions_dense=", "dense"), ("contractions_sparse=", "row by row"), ("contractions_empty=", "empty")];
    let names = ways.iter().filter(|(counter, _)| report.contains(counter)).map(|(_, name)| *name);
    let name = names.collect::<Vec<_>>().join(" and ");
    let rows = vec![vec![Cell::Text(if name.is_empty() { "join".into() } else { name })]];
    Ok(Reply::Done(Done { ms: 0.0, rows: 0, planning_ms: None, answer: Some(Answer { columns: Vec::new(), rows }) }))
}
