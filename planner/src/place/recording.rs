//! Decides as another mapper does, and keeps a list of it.

use std::sync::Arc;

use bireme_engine::stage::StageGraph;
use parking_lot::Mutex;

use super::{Decision, JoinDecision, JoinInput, LanesDecision, LanesInput, Mapper, costs, lanes_costs};

/// Writes down what another mapper decides, with what the ways it rejected would have cost. Clones share the list.
#[derive(Clone, Debug)]
pub struct RecordingMapper {
    inner: Arc<dyn Mapper>,
    log: Arc<Mutex<Vec<Decision>>>,
}

impl RecordingMapper {
    /// Records what `inner` decides.
    pub fn new(inner: Arc<dyn Mapper>) -> Self {
        Self { inner, log: Arc::default() }
    }

    /// Takes what was decided since it was last asked, in order.
    pub fn take(&self) -> Vec<Decision> {
        std::mem::take(&mut self.log.lock())
    }
}

impl Mapper for RecordingMapper {
    fn join(&self, input: &JoinInput<'_>) -> JoinDecision {
        let decision = self.inner.join(input);
        let costs = if decision.costs.is_empty() { costs(input) } else { decision.costs.clone() };
        self.log.lock().push(Decision::join(format!("join {}", input.number), decision.way, costs));
        decision
    }

    fn lanes(&self, input: &LanesInput<'_>) -> LanesDecision {
        let decision = self.inner.lanes(input);
        let costs = if decision.costs.is_empty() { lanes_costs(input) } else { decision.costs.clone() };
        self.log.lock().push(Decision::lanes(format!("groups {}", input.number), decision.lanes, costs));
        decision
    }

    fn place(&self, graph: &StageGraph, ranks: usize) -> Vec<Vec<usize>> {
        self.inner.place(graph, ranks)
    }
}
