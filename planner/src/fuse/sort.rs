//! `SortExec`, `SortPreservingMergeExec`.
//!
//! On one rank all lanes are one, so a merge of sorted lanes has nothing left to do. Between ranks rows are gathered
//! unsorted, unless each rank needs to send only its first few, and sorted where they arrive.

use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_operators::pipeline::ir::{Sink, SlotId, SortKey, SortSpec};
use datafusion::physical_expr::LexOrdering;

use super::Fused;
use super::expr::lower;

impl Fused {
    /// Sorts the rows of each rank, or takes the first `fetch` of them.
    pub fn sort(mut self, order: &LexOrdering, fetch: Option<usize>, slot: SlotId) -> Result<Self> {
        let schema = Arc::clone(&self.schema);
        let keys = order.iter().map(|key| lower(&key.expr, &schema)).collect::<Result<Vec<_>>>()?;
        self.expressions.extend(order.iter().map(|key| Arc::clone(&key.expr)));
        let columns = self.types.len();
        let places = self.places(keys);
        let keys = places.into_iter().zip(order.iter()).map(|(column, key)| SortKey {
            column,
            descending: key.options.descending,
            nulls_first: key.options.nulls_first,
        });
        let spec = SortSpec { keys: keys.collect(), fetch };
        let types = self.types.clone();
        self.sink(Sink::Sort(slot, spec), slot, types);
        if self.types.len() > columns {
            let kept = self.columns().into_iter().take(columns).collect();
            self.project(kept, schema);
        }
        self.sorted = true;
        Ok(self)
    }
}
