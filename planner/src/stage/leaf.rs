//! Sources: kept as numbered slots.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bireme_engine::stage::Pin;
use bireme_operators::island::LeafSlot;
use datafusion::physical_plan::ExecutionPlan;

use super::{Builder, Fragment};

impl Builder {
    pub(super) fn leaf(&mut self, leaf: &Arc<dyn ExecutionPlan>) -> Fragment {
        let id = self.leaves;
        self.leaves += 1;
        let mut lanes = self.world.slicer.pins(leaf);
        let parts = lanes.len();
        // A source without any lane (an empty table) still answers, with no rows, in one lane.
        if lanes.is_empty() {
            lanes.push(Pin::Free);
        }
        Fragment {
            template: Arc::new(LeafSlot::new(id, Arc::clone(leaf))),
            lanes,
            inputs: Vec::new(),
            leaves: BTreeMap::from([(id, (0..parts).collect())]),
            replayed: BTreeSet::new(),
        }
    }
}
