//! The front of a program: table functions of SQL that are plans of their own.
//!
//! DataFusion's own table functions are given values and make a table. Ours are given tables and make a plan, so they stand where
//! DataFusion lets others plan relations. A file here is one function or a family; what it needs of its arguments is read for it:
//!
//! ```text
//!  FROM einsum('ik,kj->ij', 'a', 'b')                             the statement, as written
//!  FROM einsum('ik,kj->ij', (SELECT * FROM a), (SELECT * FROM b)) [`name_tables`]: names are queries now. DataFusion looks up
//! the
//!                                                                 tables of a statement before it plans, and sees none in a text
//!  einsum: "ik,kj->ij", plan of a, plan of b                      [`table_functions`]: arguments are planned
//!  Aggregate over Join over a and b                               [`einsum`]: the plan takes the call's place
//! ```
//!
//! From there on nothing knows of the function: rules, statistics and EXPLAIN see joins and groups, or a graph's node
//! ([`graph`]).

mod call;
mod einsum;
mod graph;
mod names;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{FunctionArg, ObjectName, TableFactor};

use call::Call;
use einsum::EinsumOfTables;
use graph::GraphFunction;
pub use names::name_tables;

/// A function of tables that is a plan.
trait TableFunction: std::fmt::Debug + Send + Sync {
    /// Its name in SQL, in lower case.
    fn name(&self) -> &'static str;

    /// Whether an argument is a table: by its place, from 0, or by its name.
    fn takes_table(&self, place: usize, name: Option<&str>) -> bool;

    /// The rows of the function. The columns' qualifiers do not count: the result has the function's name or its alias.
    fn plan(&self, call: Call) -> Result<LogicalPlan>;
}

/// All of them.
const FUNCTIONS: [&dyn TableFunction; 10] = [
    &EinsumOfTables,
    &GraphFunction("pagerank"),
    &GraphFunction("bfs"),
    &GraphFunction("sssp"),
    &GraphFunction("components"),
    &GraphFunction("strong_components"),
    &GraphFunction("triangles"),
    &GraphFunction("core"),
    &GraphFunction("betweenness"),
    &GraphFunction("communities"),
];

/// What plans calls of table functions, for a session's state. Statements go through [`name_tables`] before they are planned.
pub fn table_functions() -> Vec<Arc<dyn RelationPlanner>> {
    vec![Arc::new(TableFunctions)]
}

/// Plans calls of the functions above and leaves all other relations alone.
#[derive(Debug)]
struct TableFunctions;

impl RelationPlanner for TableFunctions {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some((function, arguments)) = called(&relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let call = Call::plan(function, arguments, context)?;
        let plan = LogicalPlanBuilder::from(function.plan(call)?).alias(function.name())?.build()?;
        let alias = match relation {
            TableFactor::Table { alias, .. } | TableFactor::Function { alias, .. } => alias,
            _ => None,
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

/// The function that a relation calls, if it is one of ours, and its arguments.
fn called(relation: &TableFactor) -> Option<(&'static dyn TableFunction, &[FunctionArg])> {
    match relation {
        TableFactor::Table { name, args: Some(args), .. } => Some((named(name)?, &args.args)),
        TableFactor::Function { name, args, .. } => Some((named(name)?, args)),
        _ => None,
    }
}

fn named(name: &ObjectName) -> Option<&'static dyn TableFunction> {
    let [part] = name.0.as_slice() else { return None };
    let name = &part.as_ident()?.value;
    FUNCTIONS.into_iter().find(|function| function.name().eq_ignore_ascii_case(name))
}
