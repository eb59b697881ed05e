//! `bireme explain`: shows the plans of queries, level by level.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{RecordBatch, StringArray};
use bireme::prelude::{Error, Result, Session};
use clap::Args;

use super::sql;
use crate::format::Format;
use crate::output::Output;
use crate::statements::{Runner, first_word};
use crate::{interrupt, options, report};

const EXAMPLES: &str = "\
Statements that queries need (CREATE VIEW, CREATE EXTERNAL TABLE, SET) run; statements that write files are refused.

Examples:
  bireme explain --tables tpch -f q3.sql
  bireme explain --tables tpch --ranks 3 -c 'SELECT l_returnflag, count(*) FROM lineitem GROUP BY 1'
  bireme explain --analyze --tables tpch -f q3.sql   # runs it: expected and actual rows, time and spill, line by line
  bireme explain --machine cluster.toml --tables tpch -f q3.sql   # as on that machine, with predicted times
  srun -N 4 --ntasks-per-node 2 bireme explain --tables tpch -f q3.sql";

/// What was typed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Runs the query and shows what came of each stage and line: expected and actual rows, bytes, time and spill
    #[arg(long)]
    analyze: bool,
    /// Plans for the machine that this file (TOML) describes, which need not be here
    #[arg(long, value_name = "FILE", conflicts_with_all = ["analyze", "ranks"])]
    machine: Option<PathBuf>,
    #[command(flatten)]
    sql: sql::Arguments,
}

/// Runs it.
pub(super) fn run(arguments: Arguments) -> Result<()> {
    let Some(statements) = arguments.sql.statements.statements()? else {
        return Err(Error::user("there is nothing to explain; give a query with -c or a file with -f"));
    };
    let session = arguments.sql.engine.open_for(arguments.sql.overwrite, arguments.machine.as_deref())?;
    let done = arguments.sql.tables.register(&session).and_then(|()| explain_all(&arguments, &session, &statements));
    options::close_after(&session, done)
}

fn explain_all(arguments: &Arguments, session: &Session, statements: &[String]) -> Result<()> {
    let mut runner = Runner {
        session: session.clone(),
        output: Output::stdout(),
        format: arguments.sql.format,
        timing: arguments.sql.timing,
        stop_when_closed: !arguments.sql.engine.several_processes(session),
    };
    for statement in statements {
        if runner.finished() {
            break;
        }
        interrupt::check()?;
        match first_word(statement).as_str() {
            "EXPLAIN" => runner.run(statement)?,
            word @ ("COPY" | "INSERT" | "UPDATE" | "DELETE") => {
                return Err(Error::user(format!("{word} would be run, not explained; explain the query inside it")));
            }
            _ => explain(arguments, &mut runner, statement)?,
        }
    }
    Ok(())
}

/// Shows one query's plan; a statement that is no query has run already and shows nothing.
fn explain(arguments: &Arguments, runner: &mut Runner, statement: &str) -> Result<()> {
    let started = Instant::now();
    let frame = runner.session.sql(statement)?;
    if !frame.is_query() {
        return Ok(());
    }
    let plan = if arguments.analyze { frame.explain_analyze()? } else { frame.explain()? };
    if !runner.session.is_root() {
        return Ok(());
    }
    match runner.format {
        Format::Table => runner.output.line(plan.trim_end())?,
        other => {
            let column = Arc::new(StringArray::from(vec![plan])) as _;
            let batch = RecordBatch::try_from_iter([("plan", column)])?;
            runner.output.rows(other, &batch.schema(), std::slice::from_ref(&batch))?;
        }
    }
    if runner.timing {
        report::line(format_args!("time_ms {:.3}", started.elapsed().as_secs_f64() * 1e3));
    }
    Ok(())
}
