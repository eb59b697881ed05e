//! A contest: every query, every engine in turn.
//!
//! A query starts with one warm-up of each engine, whose answers are compared. Then come the rounds, and in each round
//! every engine has one turn, so that whatever else slows the machine down meets all of them alike:
//!
//! ```text
//!   warm-up:  us → duckdb → polars → datafusion     answers compared, not timed
//!   round 1:  us → duckdb → polars → datafusion     a time each
//!   round 2:  …
//! ```

use std::fs;
use std::path::Path;

use bireme::prelude::{Error, Result};

use crate::answers::{self, Answer, Cell};
use crate::args::Tpch;
use crate::engine::{Engine, Failure};
use crate::machine::{self, Machine, Sources};
use crate::protocol::Done;
use crate::queries::Query;
use crate::record::{EngineRecord, QueryRecord, Record, Times};
use crate::worker::{TABLES, US};
use crate::{peers, report};

/// Suppliers at scale 1: the table that tells a scale with the fewest rows.
const SUPPLIERS: f64 = 10_000.0;

/// Runs a contest. The result says whether nothing speaks against us: answers agree, and we fail nowhere.
///
/// # Errors
/// The data is not there or of another scale, we do not start, peers cannot be installed, or a file cannot be written.
pub(crate) fn run(arguments: &Tpch) -> Result<bool> {
    let queries = arguments.queries()?;
    check_files(arguments)?;
    if arguments.install_peers {
        peers::install(&arguments.venv()?, &arguments.peers())?;
    }
    let (mut engines, mut record) = start(arguments)?;
    check_scale(&mut engines[0], arguments)?;
    report::print(&report::header(&record));
    for query in queries {
        let measured = measure(&mut engines, query, arguments)?;
        report::print(&report::query(&measured));
        record.queries.push(measured);
    }
    for engine in &engines {
        let place = record.engines.iter_mut().find(|other| other.name == engine.name);
        place.into_iter().for_each(|place| place.peak_bytes = engine.peak());
    }
    let summary = record.summarise();
    report::print(&report::summary(&record, &summary));
    record.summary = Some(summary);
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&record).map_err(|error| Error::internal(error.to_string()))?;
        write(path, &(text + "\n"))?;
    }
    Ok(record.is_good())
}

/// Says early, and with what helps, that there is no data.
fn check_files(arguments: &Tpch) -> Result<()> {
    let (data, scale) = (arguments.data.display(), arguments.scale);
    if !(scale.is_finite() && scale > 0.0) {
        return Err(Error::user(format!("--scale {scale}: a scale is a positive number")));
    }
    let absent = TABLES.iter().find(|table| !arguments.data.join(format!("{table}.parquet")).is_file());
    absent.map_or(Ok(()), |table| {
        Err(Error::user(format!(
            "{data} has no {table}.parquet; make the data with `bireme generate tpch --scale {scale} --out {data}`"
        )))
    })
}

/// A record under the wrong scale would mislead for years.
fn check_scale(us: &mut Engine, arguments: &Tpch) -> Result<()> {
    let counted = us.ask("scale", "select count(*) from supplier", true);
    let counted = counted.map_err(|failure| Error::user(failure).context("counting suppliers"))?;
    let suppliers = match counted.answer.as_ref().and_then(|answer| answer.rows.first()?.first()) {
        Some(&Cell::Integer(suppliers)) => suppliers as f64,
        other => return Err(Error::internal(format!("counting suppliers gave {other:?}"))),
    };
    let expected = arguments.scale * SUPPLIERS;
    if (suppliers - expected).abs() > 1.0 {
        let (data, scale) = (arguments.data.display(), arguments.scale);
        let there = suppliers / SUPPLIERS;
        return Err(Error::user(format!("{data} holds TPC-H at scale {there}, not {scale}")));
    }
    Ok(())
}

/// Starts us and the peers that there are. We come first.
fn start(arguments: &Tpch) -> Result<(Vec<Engine>, Record)> {
    let threads = arguments.threads();
    let data = fs::canonicalize(&arguments.data)?;
    let mut record = Record {
        benchmark: "tpch",
        scale: arguments.scale,
        data: data.display().to_string(),
        threads,
        memory_limit: arguments.memory_limit,
        runs: arguments.runs,
        date: machine::now(),
        command: std::env::args().collect(),
        sources: Sources::probe(),
        machine: Machine::probe(),
        engines: Vec::new(),
        queries: Vec::new(),
        summary: None,
    };
    let mut engines = vec![ourselves(arguments, &data, threads)?];
    let ready = engines[0].start().map_err(|failure| Error::user(failure).context("starting ourselves"))?;
    record.engines.push(engine_record(US, Ok(ready)));
    for peer in arguments.peers() {
        let (venv, data, limit) = (arguments.venv()?, data.clone(), arguments.memory_limit);
        let absent = peers::absent(&venv);
        let command = move || peers::command(peer, &venv, &data, threads, limit);
        let mut engine = Engine::new(peer.name(), arguments.timeout(), command);
        let started = absent.map_or_else(|| engine.start(), Err);
        let present = started.is_ok();
        record.engines.push(engine_record(peer.name(), started));
        if present {
            engines.push(engine);
        }
    }
    Ok((engines, record))
}

fn ourselves(arguments: &Tpch, data: &Path, threads: usize) -> Result<Engine> {
    let program = std::env::current_exe()?;
    let (data, limit) = (data.to_path_buf(), arguments.memory_limit);
    Ok(Engine::new(US, arguments.timeout(), move || {
        let mut command = std::process::Command::new(&program);
        command.arg("tpch-worker").arg("--data").arg(&data).arg("--threads").arg(threads.to_string());
        if let Some(bytes) = limit {
            command.arg("--memory-limit").arg(bytes.to_string());
        }
        command
    }))
}

fn engine_record(name: &'static str, started: Result<crate::protocol::Ready, Failure>) -> EngineRecord {
    let (version, note, missing) = match started {
        Ok(ready) => (Some(ready.version), ready.note, None),
        Err(missing) => (None, None, Some(missing)),
    };
    EngineRecord { name, version, note, missing, peak_bytes: None }
}

/// One query: warm-ups, comparison, rounds.
fn measure(engines: &mut [Engine], query: &Query, arguments: &Tpch) -> Result<QueryRecord> {
    let mut outcomes = engines.iter_mut().map(|engine| Outcome::warm_up(engine, query)).collect::<Vec<_>>();
    if let Some(folder) = &arguments.out_answers {
        outcomes.iter().try_for_each(|outcome| keep(folder, query, outcome))?;
    }
    let disagreements = disagreements(query, &outcomes);
    if disagreements.is_empty() {
        for _ in 0..arguments.runs {
            outcomes.iter_mut().zip(&mut *engines).for_each(|(outcome, engine)| outcome.round(engine, query));
        }
    }
    let rows = outcomes.iter().find_map(|outcome| Some(outcome.answer.as_ref()?.rows.len()));
    let planning = outcomes.iter().flat_map(|outcome| outcome.planning.clone()).collect::<Vec<_>>();
    let times = outcomes.into_iter().map(|outcome| Times::new(outcome.engine, outcome.rounds));
    Ok(QueryRecord::new(query.name, rows, disagreements, times.collect()).planned(&planning))
}

/// What one engine made of one query.
struct Outcome {
    engine: &'static str,
    /// Of the warm-up, if it went well.
    answer: Option<Answer>,
    /// The rounds so far, or what went wrong.
    rounds: Result<Vec<f64>, Failure>,
    /// The part of each round that was planning, where the engine says.
    planning: Vec<f64>,
}

impl Outcome {
    fn warm_up(engine: &mut Engine, query: &Query) -> Self {
        match engine.ask(query.name, query.sql, true) {
            Ok(Done { answer: Some(answer), .. }) => Self::begun(engine.name, Some(answer), Ok(Vec::new())),
            Ok(_) => Self::begun(engine.name, None, Err("it kept its answer to itself".into())),
            Err(failure) => Self::begun(engine.name, None, Err(failure)),
        }
    }

    fn begun(engine: &'static str, answer: Option<Answer>, rounds: Result<Vec<f64>, Failure>) -> Self {
        Self { engine, answer, rounds, planning: Vec::new() }
    }

    /// Another round, unless something went wrong before.
    fn round(&mut self, engine: &mut Engine, query: &Query) {
        let Ok(rounds) = &mut self.rounds else { return };
        let expected = self.answer.as_ref().map_or(0, |answer| answer.rows.len());
        match engine.ask(query.name, query.sql, false) {
            Ok(done) if done.rows == expected => {
                rounds.push(done.ms);
                self.planning.extend(done.planning_ms);
            }
            Ok(done) => {
                let other = format!("{} rows this time, {expected} before", done.rows);
                self.rounds = Err(other);
            }
            Err(failure) => self.rounds = Err(failure),
        }
    }
}

/// Answers that are out of order, or that differ from the first engine's that has one: ours, as a rule.
fn disagreements(query: &Query, outcomes: &[Outcome]) -> Vec<String> {
    let order = query.order();
    let mut found = Vec::new();
    let answered = outcomes.iter().filter_map(|outcome| Some((outcome.engine, outcome.answer.as_ref()?)));
    let answered = answered.collect::<Vec<_>>();
    for (engine, answer) in &answered {
        found.extend(answers::out_of_order(answer, &order).map(|wrong| format!("with the query by {engine}: {wrong}")));
    }
    if let Some(((first, reference), others)) = answered.split_first() {
        for (engine, answer) in others {
            let difference = answers::difference(reference, answer);
            found.extend(difference.map(|text| format!("between {first} (<) and {engine} (>): {text}")));
        }
    }
    found
}

/// Writes an answer where it can be looked at.
fn keep(folder: &Path, query: &Query, outcome: &Outcome) -> Result<()> {
    let Some(answer) = &outcome.answer else { return Ok(()) };
    let folder = folder.join(outcome.engine);
    fs::create_dir_all(&folder)
        .map_err(|error| Error::user(error.to_string()).context(format!("making {}", folder.display())))?;
    let text = serde_json::to_string(answer).map_err(|error| Error::internal(error.to_string()))?;
    write(&folder.join(format!("{}.json", query.name)), &text)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| Error::user(error.to_string()).context(format!("writing {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queries::ALL;

    fn outcome(engine: &'static str, rows: &[&str]) -> Outcome {
        let rows = rows.iter().map(|text| vec![Cell::Text((*text).to_owned()), Cell::Integer(1)]).collect();
        let columns = vec!["o_orderpriority".to_owned(), "order_count".to_owned()];
        Outcome::begun(engine, Some(Answer { columns, rows }), Ok(Vec::new()))
    }

    #[test]
    fn who_disagrees_with_whom() {
        let query = &ALL[3]; // ordered by o_orderpriority
        let failed = || Outcome::begun("polars", None, Err("no".into()));
        assert!(
            disagreements(query, &[outcome("us", &["a", "b"]), failed(), outcome("duckdb", &["a", "b"])]).is_empty()
        );
        let found = disagreements(query, &[failed(), outcome("us", &["a", "b"]), outcome("duckdb", &["b", "a"])]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("with the query by duckdb: rows are not in the order"), "{found:?}");
        let found = disagreements(query, &[outcome("us", &["a", "b"]), outcome("duckdb", &["a", "c"])]);
        assert!(found.len() == 1 && found[0].starts_with("between us (<) and duckdb (>)"), "{found:?}");
    }
}
