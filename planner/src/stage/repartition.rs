//! `RepartitionExec`: rows change their lane.

use std::sync::Arc;

use bireme_engine::error::{Error, Result};
use bireme_engine::stage::{Pin, Route};
use bireme_operators::errors::from_datafusion;
use bireme_operators::hash_partition::HashPartitioner;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;

use super::{Builder, Fragment, Part, received};

impl Builder {
    pub(super) fn repartition(&mut self, node: &RepartitionExec, child: Fragment) -> Result<Fragment> {
        let partitioning = node.partitioning().clone();
        let lanes = partitioning.partition_count();
        let route = match &partitioning {
            _ if lanes == 1 => Route::Gather,
            Partitioning::Hash(keys, _) => Route::Hash(Arc::new(HashPartitioner::new(keys.clone()))),
            // Batches stay on their rank, unless some rank would get none at all.
            Partitioning::RoundRobinBatch(_) if child.lanes.len() < self.ranks => Route::Spread,
            Partitioning::RoundRobinBatch(_) => Route::RoundRobin,
            other => return Err(Error::unsupported(format!("repartitioning by {other}"))),
        };
        let order = node.properties().output_ordering().filter(|_| node.preserve_order()).cloned();
        let rows = match order {
            Some(_) => EquivalenceProperties::new(node.schema()),
            None => node.properties().equivalence_properties().clone(),
        };
        let exchange = self.send(Part::Island(child), route, None)?;
        let mut fragment = received(exchange, rows, partitioning, vec![Pin::Free; lanes]);
        if let Some(order) = order {
            // An exchange mixes its producers; where their order was to be kept, it is made again.
            let sort = SortExec::new(order, fragment.template).with_preserve_partitioning(true);
            fragment.template = Arc::new(sort) as Arc<dyn ExecutionPlan>;
            fragment
                .template
                .check_invariants(datafusion::physical_plan::execution_plan::InvariantLevel::Always)
                .map_err(from_datafusion)?;
        }
        Ok(fragment)
    }
}
