//! One SQL statement.

use bireme_engine::error::{Error, Result};
use bireme_planner::{explain, front};
use datafusion::logical_expr::{DdlStatement, LogicalPlan, Statement as Command, WriteOp};
use datafusion::sql::parser::{ExplainStatement, Statement};

use super::insert::full_name;
use super::{Session, analyze};
use crate::frame::DataFrame;
use crate::sql::parse;

pub(super) fn run(session: &Session, text: &str) -> Result<DataFrame> {
    match session.planning(|| parse(text))? {
        Statement::Explain(explained) => explain_statement(session, explained),
        statement => run_plan(session, plan(session, statement)?),
    }
}

fn plan(session: &Session, mut statement: Statement) -> Result<LogicalPlan> {
    front::name_tables(&mut statement).map_err(|error| session.explain_error(error))?;
    let state = session.inner.context.state();
    session.planning(|| session.wait(state.statement_to_plan(statement)))
}

fn run_plan(session: &Session, plan: LogicalPlan) -> Result<DataFrame> {
    match plan {
        LogicalPlan::Ddl(DdlStatement::CreateExternalTable(create)) => session.create_external_table(&create),
        LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => session.create_table_as(&create),
        LogicalPlan::Dml(dml) => match &dml.op {
            WriteOp::Insert(operation) => session.insert(&dml, *operation),
            other => Err(Error::unsupported(format!("{other}: tables can be created, inserted into and dropped"))),
        },
        LogicalPlan::Copy(copy) => session.copy(&copy),
        // Commands that only change this process's catalog and settings; every rank runs them.
        plan @ (LogicalPlan::Ddl(_)
        | LogicalPlan::Statement(
            Command::SetVariable(_) | Command::ResetVariable(_) | Command::Prepare(_) | Command::Deallocate(_),
        )) => {
            if let LogicalPlan::Ddl(DdlStatement::DropTable(dropped)) = &plan {
                session.inner.externals.lock().remove(&full_name(&dropped.name));
            }
            session.wait(session.inner.context.execute_logical_plan(plan))?;
            session.nothing()
        }
        LogicalPlan::Statement(Command::Execute(_)) => {
            let lazy = session.wait(session.inner.context.execute_logical_plan(plan))?;
            Ok(session.frame(lazy))
        }
        LogicalPlan::Statement(other) => Err(Error::unsupported(format!("{}", other.display()))),
        query => Ok(session.frame(datafusion::dataframe::DataFrame::new(session.inner.context.state(), query))),
    }
}

/// `EXPLAIN` answers with a table of the levels; `EXPLAIN ANALYZE` also runs the query.
fn explain_statement(session: &Session, explained: ExplainStatement) -> Result<DataFrame> {
    let program = plan(session, *explained.statement)?;
    match &program {
        LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_) => {
            return Err(Error::unsupported("EXPLAIN of anything but a query; explain the query inside it"));
        }
        _ => {}
    }
    if !explained.options.analyze {
        return session.rows(explain::rows(&session.plan(&program)?)?);
    }
    let (planned, reports) = session.analyze(&program)?;
    let levels = planned.levels();
    let run = analyze::text(&planned, &reports);
    let rows = bireme_planner::plan::LEVELS.into_iter().zip(levels.iter().map(|level| level.trim_end()));
    session.rows(explain::batch(rows.chain([("run", run.trim_end())]))?)
}
