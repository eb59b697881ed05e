//! `GlobalLimitExec`, `LocalLimitExec`.

use arrow::datatypes::SchemaRef;
use bireme_operators::pipeline::ir::Step;

use super::Fused;

impl Fused {
    /// Only `fetch` rows after `skip` others, of each rank.
    pub fn limit(mut self, skip: usize, fetch: Option<usize>, schema: SchemaRef) -> Self {
        if skip > 0 || fetch.is_some() {
            self.keeps_order |= self.sorted;
            self.steps.push(Step::Limit { skip, fetch });
        }
        self.schema = schema;
        self
    }
}
