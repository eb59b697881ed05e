//! `CoalescePartitionsExec`: all lanes into one, in any order.

use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_engine::stage::{Pin, Route};
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::limit::LocalLimitExec;

use super::{Builder, Fragment, Part, received};

impl Builder {
    pub(super) fn gather(&mut self, node: &CoalescePartitionsExec, child: Fragment) -> Result<Fragment> {
        let fetch = node.fetch();
        let child = limited(child, fetch);
        if child.lanes.len() == 1 {
            return Ok(child);
        }
        let rows = node.properties().equivalence_properties().clone();
        let exchange = self.send(Part::Island(child), Route::Gather, fetch)?;
        Ok(received(exchange, rows, Partitioning::UnknownPartitioning(1), vec![Pin::Free]))
    }
}

/// No lane needs to send more rows than the exchange will let through.
pub(super) fn limited(fragment: Fragment, fetch: Option<usize>) -> Fragment {
    match fetch {
        Some(rows) if fragment.template.fetch().is_none_or(|already| already > rows) => {
            let limit = LocalLimitExec::new(Arc::clone(&fragment.template), rows);
            Fragment { template: Arc::new(limit), ..fragment }
        }
        _ => fragment,
    }
}
