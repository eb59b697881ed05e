//! `SortExec`, `SortPreservingMergeExec`.
//!
//! On one rank all lanes are one, so a merge of sorted lanes has nothing left to do. Between ranks rows are gathered
//! unsorted, unless each rank needs to send only its first few, and sorted where they arrive.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::SortOptions;
use bireme_engine::error::Result;
use bireme_operators::pipeline::ir::{Expr, Sink, SlotId, SortKey, SortSpec};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};

use super::Fused;
use super::expr::lower;

impl Fused {
    /// Sorts the rows of each rank, or takes the first `fetch` of them.
    pub fn sort(self, order: &LexOrdering, fetch: Option<usize>, slot: SlotId) -> Result<Self> {
        self.sort_by(order, fetch, slot)
    }

    /// Sorts the rows of each rank by these; without any they come in some order, which then stays.
    pub fn sort_by(mut self, order: &[PhysicalSortExpr], fetch: Option<usize>, slot: SlotId) -> Result<Self> {
        let schema = Arc::clone(&self.schema);
        let mut keys = order.iter().map(|key| lower(&key.expr, &schema)).collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            keys.push(Expr::literal(Arc::new(BooleanArray::from(vec![true]))));
        }
        self.expressions.extend(order.iter().map(|key| Arc::clone(&key.expr)));
        let columns = self.types.len();
        let places = self.places(keys);
        let options = order.iter().map(|key| key.options).chain(std::iter::repeat(SortOptions::default()));
        let keys = places.into_iter().zip(options).map(|(column, options)| SortKey {
            column,
            descending: options.descending,
            nulls_first: options.nulls_first,
        });
        let spec = SortSpec { keys: keys.collect(), fetch };
        let types = self.types.clone();
        let layout = self.layout.clone();
        self.sink(Sink::Sort(slot, spec), slot, types);
        self.layout = layout;
        if self.types.len() > columns {
            let kept = self.columns().into_iter().take(columns).collect();
            self.project(kept, schema);
        }
        self.sorted = true;
        Ok(self)
    }
}
