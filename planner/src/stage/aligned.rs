//! Nodes with several inputs whose lanes belong together: lane `i` of the node reads lane `i` of every input.

use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_engine::stage::Pin;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::{Builder, Fragment, lane_count_bug, with_children};

impl Builder {
    pub(super) fn aligned(&mut self, node: &Arc<dyn ExecutionPlan>, mut parts: Vec<Fragment>) -> Result<Fragment> {
        let counts: Vec<usize> = parts.iter().map(|part| part.lanes.len()).collect();
        if counts.iter().any(|&count| count != node.output_partitioning().partition_count()) {
            return Err(lane_count_bug(node, &counts));
        }
        let mut lanes = vec![Pin::Free; counts[0]];
        for part in &mut parts {
            if lanes.iter().zip(&part.lanes).any(|(have, want)| conflicts(*have, *want)) {
                let free = vec![Pin::Free; part.lanes.len()];
                let moved = std::mem::replace(part, Fragment::nothing(Arc::clone(node)));
                *part = self.move_lanes(moved, free)?;
            }
            for (lane, pin) in lanes.iter_mut().zip(&part.lanes) {
                if *lane == Pin::Free {
                    *lane = *pin;
                }
            }
        }
        let templates = parts.iter().map(|part| Arc::clone(&part.template)).collect();
        let mut whole = Fragment::nothing(with_children(node, templates)?);
        whole.lanes = lanes;
        for part in parts {
            whole.absorb(part, 0);
        }
        Ok(whole)
    }
}

pub(super) fn conflicts(have: Pin, want: Pin) -> bool {
    matches!((have, want), (Pin::Rank(a), Pin::Rank(b)) if a != b)
}

impl Fragment {
    /// A fragment of only this template, without lanes or leaves.
    pub(super) fn nothing(template: Arc<dyn ExecutionPlan>) -> Self {
        Self {
            template,
            lanes: Vec::new(),
            inputs: Vec::new(),
            leaves: Default::default(),
            replayed: Default::default(),
        }
    }

    /// Takes over the inputs and leaves of a part whose first lane is lane `first` of this fragment.
    pub(super) fn absorb(&mut self, part: Fragment, first: usize) {
        use bireme_engine::stage::{Feed, StageInput};
        let shift = |lanes: Vec<usize>| lanes.into_iter().map(|lane| lane + first).collect::<Vec<_>>();
        self.inputs.extend(part.inputs.into_iter().map(|input| match input.feed {
            Feed::Lanes(lanes) => StageInput { exchange: input.exchange, feed: Feed::Lanes(shift(lanes)) },
            Feed::EveryRank => input,
        }));
        self.leaves.extend(part.leaves.into_iter().map(|(leaf, lanes)| (leaf, shift(lanes))));
        self.replayed.extend(part.replayed);
    }
}
