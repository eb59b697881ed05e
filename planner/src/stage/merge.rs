//! `SortPreservingMergeExec`: sorted lanes into one sorted lane.
//!
//! The merge itself stays: it runs behind an exchange that keeps the lanes apart, so that it sees every sorted run.

use std::collections::BTreeSet;
use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_engine::stage::{Feed, Pin, Route, StageInput};
use bireme_operators::island::ExchangeSource;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::gather::limited;
use super::{Builder, Fragment, Part, with_children};

impl Builder {
    pub(super) fn merge(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        merge: &SortPreservingMergeExec,
        child: Fragment,
    ) -> Result<Fragment> {
        let child = limited(child, merge.fetch());
        let lanes = child.lanes.len();
        if lanes == 1 {
            // Nothing to merge; the limit below has taken over the fetch.
            return Ok(child);
        }
        let rows = child.template.equivalence_properties().clone();
        let exchange = self.send(Part::Island(child), Route::Keep, None)?;
        let source = ExchangeSource::new(exchange, rows, Partitioning::UnknownPartitioning(lanes));
        Ok(Fragment {
            template: with_children(node, vec![Arc::new(source)])?,
            lanes: vec![Pin::Free],
            inputs: vec![StageInput { exchange, feed: Feed::Lanes(vec![0; lanes]) }],
            leaves: Default::default(),
            replayed: BTreeSet::new(),
        })
    }
}
