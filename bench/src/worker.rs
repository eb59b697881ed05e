//! Ourselves as a child: a session, the tables of a folder, and questions from standard input until it ends.

use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::time::Instant;

use bireme::prelude::{DataFrame, Error, RecordBatch, Result, Session};
use serde::Serialize;

use crate::answers::Answer;
use crate::args::Worker;
use crate::protocol::{Done, Ready, Reply, Request};

/// The tables of TPC-H, each a file `DIR/NAME.parquet`.
pub(crate) const TABLES: [&str; 8] =
    ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];

/// Our name in reports.
pub(crate) const US: &str = "us";

/// Answers until there are no more questions.
///
/// # Errors
/// The session does not start, a table cannot be read, or the parent talks nonsense or is gone. A query that fails is a
/// reply.
pub(crate) fn run(arguments: &Worker) -> Result<()> {
    let mut builder = Session::builder().threads(arguments.threads);
    if let Some(bytes) = arguments.memory_limit {
        builder = builder.memory_limit(bytes);
    }
    let session = builder.build()?;
    for table in TABLES {
        let path = arguments.data.join(format!("{table}.parquet"));
        session.register_path(table, &path.to_string_lossy())?;
    }
    say(&Ready { engine: US.into(), version: env!("CARGO_PKG_VERSION").into(), note: None })?;
    for line in stdin().lock().lines() {
        let request = serde_json::from_str(&line?).map_err(|error| Error::internal(format!("a request: {error}")))?;
        say(&answer(&session, &request).unwrap_or_else(|error| Reply::Failed { error: error.to_string() }))?;
    }
    session.close()
}

/// Times one question: from its text to its rows.
fn answer(session: &Session, request: &Request) -> Result<Reply> {
    let planned_before = session.progress().planning;
    let started = Instant::now();
    let result = ask(session, &request.sql);
    let elapsed = started.elapsed().as_secs_f64() * 1e3;
    let (frame, batches) = match result {
        Ok(result) => result,
        Err(error) => {
            // The next try makes the view of q15 anew.
            let _ = session.sql("DROP VIEW IF EXISTS revenue0");
            return Err(error);
        }
    };
    let planning = session.progress().planning - planned_before;
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let names = || frame.schema().fields().iter().map(|field| field.name().clone()).collect();
    let answer = request.answer.then(|| Answer::from_batches(names(), &batches)).transpose()?;
    Ok(Reply::Done(Done { ms: elapsed, rows, planning_ms: Some(planning.as_secs_f64() * 1e3), answer }))
}

/// Runs the statements of a text, and gives the rows of the one that is a query.
fn ask(session: &Session, text: &str) -> Result<(DataFrame, Vec<RecordBatch>)> {
    query(session, text, |frame| Ok((frame.clone(), frame.collect()?)))
}

/// Runs the statements of a text, of which one is a query: what `answer` makes of that.
///
/// # Errors
/// A statement fails, or none is a query.
pub(crate) fn query<T>(session: &Session, text: &str, answer: impl Fn(&DataFrame) -> Result<T>) -> Result<T> {
    let mut answered = None;
    for statement in bireme::sql::split(text)? {
        let frame = session.sql(&statement)?;
        if frame.is_query() {
            answered = Some(answer(&frame)?);
        }
    }
    answered.ok_or_else(|| Error::user("the text asks nothing"))
}

/// Says something to the parent, on a line.
///
/// # Errors
/// Nobody listens.
pub(crate) fn say(what: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(what).map_err(|error| Error::internal(format!("a reply: {error}")))?;
    let mut output = stdout().lock();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}
