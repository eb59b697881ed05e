//! Subtrees that are not cut: they run in one place, with DataFusion's own exchanges inside.
//!
//! A recursive query comes here if its recursive term needs to see all rows of a round ([`super::recursion`]): it executes the
//! term anew in every round, over exchanges of its own that live for one round. Sources of which other ranks hold a part are
//! brought over first, and what was brought is kept for all rounds.

use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_engine::stage::{Feed, Pin, Route, StageInput};
use bireme_operators::island::ExchangeSource;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::{Builder, Fragment, Part, with_children};

impl Builder {
    pub(super) fn whole(&mut self, node: &Arc<dyn ExecutionPlan>, why: &str) -> Result<Fragment> {
        let mut fragment = Fragment::nothing(Arc::clone(node));
        fragment.template = self.bring_sources(node, &mut fragment)?;
        fragment.lanes = vec![Pin::Rank(0); node.output_partitioning().partition_count()];
        if self.ranks > 1 {
            self.graph.notes.push(format!("{} runs on rank 0: {why}", node.name()));
        }
        Ok(fragment)
    }

    fn bring_sources(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        fragment: &mut Fragment,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let children = node.children().into_iter().cloned().collect::<Vec<_>>();
        if !children.is_empty() {
            let brought =
                children.iter().map(|child| self.bring_sources(child, fragment)).collect::<Result<Vec<_>>>()?;
            let same = brought.iter().zip(&children).all(|(new, old)| Arc::ptr_eq(new, old));
            return if same { Ok(Arc::clone(node)) } else { with_children(node, brought) };
        }
        let pins = self.world.slicer.pins(node);
        if !pins.iter().any(|pin| matches!(pin, Pin::Rank(rank) if *rank != 0)) {
            return Ok(Arc::clone(node));
        }
        let rows = node.equivalence_properties().clone();
        let leaf = self.leaf(node);
        let exchange = self.send(Part::Island(leaf), Route::Keep, None)?;
        fragment.inputs.push(StageInput { exchange, feed: Feed::Lanes(vec![0; pins.len()]) });
        fragment.replayed.insert(exchange);
        Ok(Arc::new(ExchangeSource::new(exchange, rows, Partitioning::UnknownPartitioning(pins.len()))))
    }
}
