//! A graph algorithm over a table of edges.
//!
//! ```text
//!   Graph: pagerank …                         vertex BIGINT, rank DOUBLE        vertices come back in the user's type
//!     Projection: CAST(follower AS BIGINT), CAST(followee AS BIGINT)            two columns of one type, or three with a weight
//!       the user's table or query
//! ```

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use bireme_operators::errors::to_datafusion;
use bireme_operators::graph::{Algorithm, EdgeColumns, Kept, vertex_type};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore, cast};

/// The node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GraphNode {
    edges: LogicalPlan,
    algorithm: Algorithm,
    columns: EdgeColumns,
    kept: Option<Kept>,
    schema: DFSchemaRef,
}

/// Which columns of a table are its edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeNames {
    /// Where edges start.
    pub from: String,
    /// Where they end.
    pub to: String,
    /// How long they are.
    pub weight: Option<String>,
    /// Whether each goes back as well.
    pub undirected: bool,
}

impl GraphNode {
    /// What is asked.
    pub fn algorithm(&self) -> &Algorithm {
        &self.algorithm
    }

    /// What the input's columns are.
    pub fn columns(&self) -> &EdgeColumns {
        &self.columns
    }

    /// Where the graph stays, if it does.
    pub fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }
}

/// What an algorithm says of the edges in a table; `kept` is where the graph stays, or is already.
///
/// # Errors
/// A column is missing or of a type that is none for vertices or weights; or the algorithm's options make no sense.
pub fn graph_plan(
    table: LogicalPlan,
    names: &EdgeNames,
    algorithm: Algorithm,
    kept: Option<Kept>,
) -> Result<LogicalPlan> {
    algorithm.check().map_err(to_datafusion)?;
    let function = algorithm.name();
    let from = column(&table, &names.from, function)?;
    let to = column(&table, &names.to, function)?;
    if from.0 == to.0 {
        return plan_err!("{function}: both ends of the edges are column {}; name two: src => …, dst => …", names.from);
    }
    let is_text = match (vertex_type(&from.1), vertex_type(&to.1)) {
        (Some(from), Some(to)) if from == to => from == DataType::Utf8View,
        (Some(_), Some(_)) => {
            return plan_err!(
                "{function}: column {} is {} and column {} is {}, so no vertex is in both; CAST one of them",
                names.from,
                from.1,
                names.to,
                to.1
            );
        }
        (None, _) => {
            return plan_err!("{function}: column {} is {}; vertices are integers or texts", names.from, from.1);
        }
        (_, None) => return plan_err!("{function}: column {} is {}; vertices are integers or texts", names.to, to.1),
    };
    let as_vertex = if is_text { DataType::Utf8View } else { DataType::Int64 };
    let cast_to = |(column, is): &(Column, DataType), wanted: &DataType, name: &str| {
        let column = Expr::Column(column.clone());
        if is == wanted { column.alias(name) } else { cast(column, wanted.clone()).alias(name) }
    };
    let mut exprs = vec![cast_to(&from, &as_vertex, "from"), cast_to(&to, &as_vertex, "to")];
    let mut weight = None;
    if let Some(name) = &names.weight {
        let found = column(&table, name, function)?;
        let wanted = match &found.1 {
            integer if integer.is_integer() => DataType::Int64,
            number if number.is_numeric() => DataType::Float64,
            other => return plan_err!("{function}: column {name} is {other}; the length of an edge is a number"),
        };
        exprs.push(cast_to(&found, &wanted, "weight"));
        weight = Some((name.clone(), wanted));
    } else if algorithm.takes_weights() {
        return plan_err!("{function} needs lengths of edges: weight => 'column'");
    }
    let edges = LogicalPlanBuilder::from(table).project(exprs)?.build()?;
    let native = algorithm.schema(&as_vertex, weight.as_ref().map(|(_, data_type)| data_type));
    let columns = EdgeColumns {
        ends: [names.from.clone(), names.to.clone()],
        text: is_text,
        weight,
        undirected: names.undirected,
    };
    let schema = Arc::new(DFSchema::try_from(Arc::clone(&native))?);
    let node = GraphNode { edges, algorithm, columns, kept, schema };
    let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
    // Vertices are called as the user calls them, if both columns do so in the same type.
    let user = if is_dictionary(&from.1) || from.1 != to.1 { &as_vertex } else { &from.1 };
    if *user == as_vertex {
        return Ok(plan);
    }
    let is_vertex = |name: &str| matches!(name, "vertex" | "parent" | "component" | "community");
    let exprs = native.fields().iter().map(|field| {
        let column = Expr::Column(Column::new_unqualified(field.name()));
        if is_vertex(field.name()) { cast(column, user.clone()).alias(field.name()) } else { column }
    });
    LogicalPlanBuilder::from(plan).project(exprs.collect::<Vec<_>>())?.build()
}

fn is_dictionary(of: &DataType) -> bool {
    matches!(of, DataType::Dictionary(..))
}

/// A column by its name, or else by that in lower case, with its type.
fn column(table: &LogicalPlan, name: &str, function: &str) -> Result<(Column, DataType)> {
    let schema = table.schema();
    let named = |wanted: &str| schema.iter().filter(|(_, field)| field.name() == wanted).collect::<Vec<_>>();
    let mut found = named(name);
    if found.is_empty() {
        found = named(&name.to_lowercase());
    }
    match found.as_slice() {
        [one] => Ok((Column::from(*one), one.1.data_type().clone())),
        [] => {
            let columns = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
            plan_err!("{function}: the edges have no column {name}; they have {columns}")
        }
        _ => {
            plan_err!("{function}: the edges have several columns {name}; name them apart in a query: (SELECT … AS …)")
        }
    }
}

/// Only equal nodes can be compared.
impl PartialOrd for GraphNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if self == other { Some(Ordering::Equal) } else { None }
    }
}

impl UserDefinedLogicalNodeCore for GraphNode {
    fn name(&self) -> &str {
        "Graph"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.edges]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Graph: {} of edges {}", self.algorithm, self.columns)?;
        self.kept.as_ref().map_or(Ok(()), |kept| write!(f, ", {kept}"))
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(edges) => Ok(Self { edges, ..self.clone() }),
            None => plan_err!("a graph has edges"),
        }
    }
}
