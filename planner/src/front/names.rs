//! Names of tables among the arguments of table functions.
//!
//! ```text
//!  einsum('ik,kj->ij', 'a', s.b)   ──►   einsum('ik,kj->ij', (SELECT * FROM a), (SELECT * FROM s.b))
//! ```
//!
//! A text is read as a name is in `FROM`: letters become small unless they are in double quotes, dots part catalog, schema and table,
//! and a common table expression of that name comes first. A query in parentheses stays as it is.

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, ObjectName, Query, SetExpr, TableFactor, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{TableFunction, named};

/// Makes queries of the tables that a statement's table functions name, so that DataFusion finds them.
///
/// # Errors
/// A text that should name a table is no name.
pub fn name_tables(statement: &mut Statement) -> Result<()> {
    let flow = match statement {
        Statement::Statement(statement) => statement.visit(&mut Names),
        Statement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => query.visit(&mut Names),
            CopyToSource::Relation(_) => ControlFlow::Continue(()),
        },
        Statement::Explain(explain) => return name_tables(&mut explain.statement),
        Statement::CreateExternalTable(_) | Statement::Reset(_) => ControlFlow::Continue(()),
    };
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Names;

impl VisitorMut for Names {
    type Break = DataFusionError;

    // Before what is inside: a query that is made here has a relation that is to be seen.
    fn pre_visit_table_factor(&mut self, relation: &mut TableFactor) -> ControlFlow<DataFusionError> {
        let (name, arguments) = match relation {
            TableFactor::Table { name, args: Some(args), .. } => (name, &mut args.args),
            TableFactor::Function { name, args, .. } => (name, args),
            _ => return ControlFlow::Continue(()),
        };
        let Some(function) = named(name) else { return ControlFlow::Continue(()) };
        for (place, argument) in arguments.iter_mut().enumerate() {
            if let Err(error) = name_table(function, place, argument) {
                return ControlFlow::Break(error);
            }
        }
        ControlFlow::Continue(())
    }
}

fn name_table(function: &dyn TableFunction, place: usize, argument: &mut FunctionArg) -> Result<()> {
    let name = argument_name(argument);
    if !function.takes_table(place, name.as_deref()) {
        return Ok(());
    }
    let (FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg)) = argument;
    let FunctionArgExpr::Expr(expr) = arg else { return Ok(()) };
    let table = match expr {
        Expr::Identifier(name) => ObjectName::from(vec![name.clone()]),
        Expr::CompoundIdentifier(names) => ObjectName::from(names.clone()),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => table_name(function, text)?,
            _ => return Ok(()),
        },
        _ => return Ok(()),
    };
    let query = Parser::new(&GenericDialect {}).try_with_sql(&format!("{READS}{table}"))?.parse_query()?;
    *expr = Expr::Subquery(query);
    Ok(())
}

const READS: &str = "SELECT * FROM ";

/// The name of an argument, `src` in `src => 'follower'`.
pub(super) fn argument_name(argument: &FunctionArg) -> Option<String> {
    match argument {
        FunctionArg::Named { name, .. } => Some(name.value.to_lowercase()),
        FunctionArg::ExprNamed { name: Expr::Identifier(name), .. } => Some(name.value.to_lowercase()),
        FunctionArg::ExprNamed { name, .. } => Some(name.to_string()),
        FunctionArg::Unnamed(_) => None,
    }
}

fn table_name(function: &dyn TableFunction, text: &str) -> Result<ObjectName> {
    let dialect = GenericDialect {};
    let parsed = Parser::new(&dialect).try_with_sql(text).and_then(|mut parser| {
        let name = parser.parse_object_name(true)?;
        parser.expect_token(&Token::EOF)?;
        Ok(name)
    });
    match parsed {
        Ok(name) => Ok(name),
        Err(_) => plan_err!(
            "{}: `{text}` is no name of a table; other than letters, digits and underscores stand in double quotes, and a query in parentheses: (SELECT …)",
            function.name()
        ),
    }
}

/// How messages speak of a table that is an argument: by its name, if it is a plain one.
pub(super) fn spoken(query: &Query) -> String {
    let text = query.to_string();
    let plain = matches!(query.body.as_ref(), SetExpr::Select(_));
    match text.strip_prefix(READS) {
        Some(name) if plain && Parser::new(&GenericDialect {}).try_with_sql(name).is_ok_and(is_name) => name.to_owned(),
        _ => format!("({text})"),
    }
}

fn is_name(mut parser: Parser<'_>) -> bool {
    parser.parse_object_name(true).is_ok() && parser.peek_token().token == Token::EOF
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop where it fails")]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::*;

    fn named_tables(text: &str) -> Result<String> {
        let mut statement = DFParser::parse_sql(text)?.pop_front().unwrap();
        name_tables(&mut statement)?;
        Ok(statement.to_string())
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(named_tables(text).unwrap(), expected);
    }

    #[test]
    fn texts_and_names_become_queries() {
        let made = "SELECT * FROM einsum('ik,kj->ij', (SELECT * FROM a), (SELECT * FROM s.\"B c\"))";
        check("SELECT * FROM einsum('ik,kj->ij', 'a', 's.\"B c\"')", made);
        check("SELECT * FROM EINSUM('i->', a) AS x", "SELECT * FROM EINSUM('i->', (SELECT * FROM a)) AS x");
        let nested = "SELECT * FROM einsum('i->', (SELECT * FROM einsum('ik->i', (SELECT * FROM a))))";
        check("SELECT * FROM einsum('i->', (SELECT * FROM einsum('ik->i', 'a')))", nested);
        check("EXPLAIN SELECT * FROM einsum('i->', 'a')", "EXPLAIN SELECT * FROM einsum('i->', (SELECT * FROM a))");
    }

    #[test]
    fn the_rest_of_a_statement_stays() {
        for text in ["SELECT * FROM generate_series(1, 3)", "SELECT einsum('a') FROM einsum", "DROP TABLE einsum"] {
            check(text, text);
        }
    }

    #[test]
    fn what_is_no_name_is_an_error() {
        let error = named_tables("SELECT * FROM einsum('i->', 'a WHERE true')").unwrap_err().to_string();
        assert!(error.contains("einsum: `a WHERE true` is no name of a table"), "{error}");
    }
}
