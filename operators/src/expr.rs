//! Evaluates the expressions of the pipeline language on chunks.
//!
//! An [`Expr`] is compiled once into a tree of nodes and then evaluated chunk by chunk, a column at a time: 8192 rows of a
//! column are 64 KiB, so what one step writes the next one reads from the cache. Values stay in carried form throughout
//! (see [`Chunk`]): decimals are 64-bit integers as long as that can be proven to be enough, texts are views or
//! codes of a dictionary, literals are one value and never a column.
//!
//! ```text
//!   l_extendedprice * (1 - l_discount)                  Evaluator       chunk ─► column
//!   l_shipmode in ('MAIL', 'SHIP') and l_quantity < 24  Filter          chunk ─► fewer rows
//!   the same, over a source's columns                   ExprPredicate   statistics ─► none, some, all; columns ─► bits
//! ```
//! Cost: comparisons, sums and products run at a few tenths of a nanosecond a row; functions of a dictionary column are
//! computed once for each value, then a row costs a load. What has no kernel here goes through Arrow's on logical arrays.
//!
//! Meaning: that of DataFusion, with overflow of integers and decimals an error. A part that can fail is not evaluated on
//! rows that an earlier part of a conjunction, disjunction or `CASE` has decided.

mod arithmetic;
mod case;
mod cast;
mod compare;
mod date;
mod decimal;
mod dictionary;
mod filter;
mod gather;
mod judge;
mod like;
mod list;
mod node;
mod predicate;
mod search;
pub(crate) mod simd;
mod text;
mod value;
mod views;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::Chunk;

pub use filter::{Filter, Selected};
pub use gather::{compact, indices, take};
pub use predicate::ExprPredicate;

use crate::pipeline::ir::Expr;
use node::{Kind, Node};
use value::Rows;

/// An expression that is ready to be evaluated. It may be used by several threads.
#[derive(Debug)]
pub struct Evaluator {
    node: Node,
}

impl Evaluator {
    /// Compiles an expression over the columns of chunks. Constants are folded; those that fail do so when a row
    /// reaches them. Calls without arguments are evaluated here.
    ///
    /// # Errors
    /// The expression is not sound, or a call without arguments fails.
    pub fn new(expr: &Expr) -> Result<Self> {
        Ok(Self { node: Node::new(expr)? })
    }

    /// Its values on the rows of a chunk, in carried form.
    ///
    /// # Errors
    /// It fails on a row.
    pub fn evaluate(&self, chunk: &Chunk) -> Result<ArrayRef> {
        let values = self.node.evaluate(&Rows::new(&chunk.columns, chunk.rows))?.into_array(chunk.rows)?;
        if values.len() != chunk.rows {
            return Err(Error::internal(format!("{} values of an expression on {} rows", values.len(), chunk.rows)));
        }
        Ok(values)
    }

    /// Whether it is one value, known beforehand.
    pub fn is_constant(&self) -> bool {
        matches!(self.node.kind(), Kind::Constant(_))
    }

    /// The column that it passes on, if it does nothing else.
    pub fn as_column(&self) -> Option<usize> {
        match self.node.kind() {
            Kind::Column(place) => Some(*place),
            _ => None,
        }
    }

    /// The logical type of its values.
    pub fn data_type(&self) -> &DataType {
        self.node.data_type()
    }
}

#[cfg(test)]
pub(crate) mod tests;
