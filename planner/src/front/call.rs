//! A call of a table function, with its arguments planned.

use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{self, FunctionArg, FunctionArgExpr, TableFactor};

use super::TableFunction;
use super::names::{argument_name, spoken};

/// The arguments of a call.
#[derive(Debug)]
pub(super) struct Call {
    /// In the order in which they are written.
    pub arguments: Vec<Argument>,
}

/// One argument.
#[derive(Debug)]
pub(super) struct Argument {
    /// What stands before `=>`.
    pub name: Option<String>,
    pub value: Argued,
}

/// What an argument is.
#[derive(Debug)]
pub(super) enum Argued {
    /// A table, with the words for it in messages.
    Table { spoken: String, plan: LogicalPlan },
    /// An expression without columns.
    Value(Expr),
}

impl Call {
    /// Plans the arguments of a call; names of tables are queries already.
    ///
    /// # Errors
    /// An argument is no table where one is taken, or cannot be planned.
    pub fn plan(
        function: &dyn TableFunction,
        arguments: &[FunctionArg],
        context: &mut dyn RelationPlannerContext,
    ) -> Result<Self> {
        let planned = arguments.iter().enumerate().map(|(place, argument)| {
            let name = argument_name(argument);
            let (FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg)) =
                argument;
            let FunctionArgExpr::Expr(expr) = arg else {
                return plan_err!("{}: `{arg}` is no argument", function.name());
            };
            let value = match expr {
                ast::Expr::Subquery(query) if function.takes_table(place, name.as_deref()) => {
                    let relation =
                        TableFactor::Derived { lateral: false, subquery: query.clone(), alias: None, sample: None };
                    Argued::Table { spoken: spoken(query), plan: context.plan(relation)? }
                }
                other if function.takes_table(place, name.as_deref()) => {
                    return plan_err!(
                        "{}: argument {} is a table: its name as a text or a query in parentheses, not `{other}`",
                        function.name(),
                        place + 1
                    );
                }
                other => Argued::Value(context.sql_to_expr(other.clone(), &DFSchema::empty())?),
            };
            Ok(Argument { name, value })
        });
        Ok(Self { arguments: planned.collect::<Result<_>>()? })
    }
}

impl Argued {
    /// The text that the argument is, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Argued::Value(Expr::Literal(
                ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)),
                _,
            )) => Some(text),
            _ => None,
        }
    }
}
