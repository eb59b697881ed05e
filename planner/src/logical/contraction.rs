//! A product of two tensors, summed over the indices that the result lacks.
//!
//! Each input has index columns and, where it has values of its own, a last column with these. What they mean to each other is a
//! [`TableContraction`].

use std::cmp::Ordering;
use std::fmt;

use bireme_operators::contract_rows::TableContraction;
use datafusion::common::{DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// The node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Contraction {
    left: LogicalPlan,
    right: LogicalPlan,
    contraction: TableContraction,
    schema: DFSchemaRef,
}

impl Contraction {
    /// Of two plans with the columns that `contraction` speaks of; `schema` is that of the node it takes the place of.
    pub fn new(left: LogicalPlan, right: LogicalPlan, contraction: TableContraction, schema: DFSchemaRef) -> Self {
        Self { left, right, contraction, schema }
    }

    /// What the columns mean.
    pub fn contraction(&self) -> &TableContraction {
        &self.contraction
    }
}

/// Nodes have no order but that of their text.
impl PartialOrd for Contraction {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if self == other { Some(Ordering::Equal) } else { None }
    }
}

impl UserDefinedLogicalNodeCore for Contraction {
    fn name(&self) -> &str {
        "Contraction"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contraction: einsum(\"{}\")", self.contraction.notation())
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.pop()) {
            (Some(right), Some(left)) => Ok(Self { left, right, ..self.clone() }),
            _ => plan_err!("a contraction has two inputs"),
        }
    }
}
