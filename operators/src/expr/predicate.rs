//! Conditions that a source tests while it reads.

use std::fmt;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use bireme_engine::error::Result;
use bireme_engine::morsel::{ColumnRange, Predicate, Verdict};

use super::filter::Filter;
use super::judge::judge;
use super::node::{Kind, Node};
use super::value::{Rows, flat};
use crate::pipeline::ir::{CompareOp, Expr};

/// An expression over a source's columns, as a predicate of its scan.
pub struct ExprPredicate {
    expr: Expr,
    columns: Vec<usize>,
    filter: Filter,
    /// Rows are tested elsewhere.
    only_prunes: bool,
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
        Ok(Self { expr, columns, filter, only_prunes: false })
    }

    /// The same condition where a later step tests rows: only what statistics tell to be false is left out.
    ///
    /// # Errors
    /// As [`ExprPredicate::new`].
    pub fn pruning(expr: Expr) -> Result<Self> {
        Ok(Self { only_prunes: true, ..Self::new(expr)? })
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

    fn values(&self) -> Option<ArrayRef> {
        if self.columns.len() != 1 {
            return None;
        }
        self.filter.conjuncts().iter().find_map(named_values)
    }

    fn test(&self, columns: &[ArrayRef], rows: usize) -> Result<BooleanArray> {
        if self.only_prunes {
            return Ok(BooleanArray::new(BooleanBuffer::new_set(rows), None));
        }
        let selected = self.filter.select_rows(&Rows::new(columns, rows))?;
        Ok(BooleanArray::new(selected.into_bits(rows), None))
    }
}

/// The values that a column must have one of: `c = 1`, `c IN (1, 2)`.
fn named_values(node: &Node) -> Option<ArrayRef> {
    match node.kind() {
        Kind::Compare(CompareOp::Equal, left, right) if alike(left.data_type(), right.data_type()) => {
            match (left.kind(), right.kind()) {
                (Kind::Column(_), Kind::Constant(value)) | (Kind::Constant(value), Kind::Column(_)) => {
                    flat(&value.array).ok()
                }
                _ => None,
            }
        }
        Kind::In { value, list, negated: false, .. } if matches!(value.kind(), Kind::Column(_)) => flat(list).ok(),
        _ => None,
    }
}

/// Whether equal values of the two types are carried alike.
fn alike(left: &DataType, right: &DataType) -> bool {
    let text = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    match (left, right) {
        (DataType::Dictionary(_, values), other) | (other, DataType::Dictionary(_, values)) => alike(values, other),
        _ => left == right || text(left) && text(right),
    }
}
