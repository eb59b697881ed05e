//! Conditions that a source tests while it reads.

use std::fmt;

use arrow::array::{ArrayRef, BooleanArray};
use bireme_engine::error::Result;
use bireme_engine::morsel::{ColumnRange, Predicate, Verdict};

use super::filter::Filter;
use super::judge::judge;
use super::value::Rows;
use crate::pipeline::ir::Expr;

/// An expression over a source's columns, as a predicate of its scan.
pub struct ExprPredicate {
    expr: Expr,
    columns: Vec<usize>,
    filter: Filter,
}

impl ExprPredicate {
    /// A condition over the columns of a source.
    ///
    /// # Errors
    /// The expression is not sound, or a value that is known beforehand cannot be computed.
    pub fn new(expr: Expr) -> Result<Self> {
        let columns = expr.columns();
        let place = |column: usize| columns.partition_point(|&other| other < column);
        let filter = Filter::new(&expr.with_columns(&place))?;
        Ok(Self { expr, columns, filter })
    }
}

impl fmt::Debug for ExprPredicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExprPredicate({})", self.expr)
    }
}

impl Predicate for ExprPredicate {
    fn describe(&self) -> String {
        self.expr.to_string()
    }

    fn columns(&self) -> &[usize] {
        &self.columns
    }

    fn judge(&self, ranges: &[ColumnRange]) -> Verdict {
        judge(self.filter.conjuncts(), ranges)
    }

    fn test(&self, columns: &[ArrayRef], rows: usize) -> Result<BooleanArray> {
        let selected = self.filter.select_rows(&Rows::new(columns, rows))?;
        Ok(BooleanArray::new(selected.into_bits(rows), None))
    }
}
