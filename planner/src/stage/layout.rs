//! Exchanges are inserted here, and only where the layout that is there does not satisfy the one that is asked for.
//!
//! DataFusion's exchanges are proposals. It plans as if all rows were where files happen to have them; what a fragment knows of its
//! rows ([`RowLayout`]) is more: a table may have been kept by its key, and rows that came by one key often serve another.

use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_engine::stage::{Feed, Pin, Route};
use bireme_operators::hash_partition::HashPartitioner;
use bireme_operators::pipeline::ir::Expr;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::fused::reads_unknown;
use super::{Builder, Part};
use crate::fuse::{Fused, RowLayout, lower};
use crate::place::cost::row_bytes;
use crate::place::{Decision, JoinSide, LanesDecision, LanesInput};

type Node = Arc<dyn ExecutionPlan>;
type Physical = Arc<dyn PhysicalExpr>;

impl Builder {
    /// Rows that are equal in `keys` in one lane: as they are if they are so, else by the hash of all keys, over as many lanes as the
    /// mapper says. `rows` are expected to be sent.
    pub(super) fn together(
        &mut self,
        fused: Fused,
        keys: &[Physical],
        rows: Option<f64>,
        about: &str,
    ) -> Result<Fused> {
        if fused.lanes.len() == 1 {
            return Ok(fused);
        }
        if keys.is_empty() {
            return self.gathered(fused);
        }
        if self.are_together(&fused, keys)? {
            return Ok(fused);
        }
        let sent = JoinSide::new(rows, row_bytes(&fused.types), fused.lanes.len());
        let LanesDecision { lanes, costs, .. } =
            self.mapper.lanes(&LanesInput::new(self.groupings, &self.cluster, sent, self.gathered));
        self.groupings += 1;
        let lanes = lanes.clamp(1, self.ranks);
        self.decisions.push(Decision::lanes(about.to_owned(), lanes, costs));
        if lanes == 1 {
            return self.gathered(fused);
        }
        self.by_hash(fused, keys, vec![Pin::Free; lanes])
    }

    /// Whether rows that are equal in `keys` are in one lane; whoever asks counts on it.
    pub(super) fn are_together(&mut self, fused: &Fused, keys: &[Physical]) -> Result<bool> {
        let together = fused.lanes.len() == 1 || fused.layout.serves(&lowered(fused, keys)?);
        if together && fused.lanes.len() > 1 {
            self.rely(fused);
        }
        Ok(together)
    }

    /// Somebody counts on where the rows lie: that is not to be decided anew while the plan runs.
    pub(super) fn rely(&mut self, fused: &Fused) {
        for &number in &fused.loose {
            self.adaptive[number].relied_on = true;
        }
    }

    /// Over an exchange, each row to the lane that these keys hash to; one lane a rank.
    pub(super) fn by_hash(&mut self, fused: Fused, keys: &[Physical], lanes: Vec<Pin>) -> Result<Fused> {
        let layout = RowLayout::hashed(lowered(&fused, keys)?);
        let route = Route::Hash(Arc::new(HashPartitioner::new(keys.to_vec())));
        let feed = Feed::Lanes((0..lanes.len()).collect());
        let mut fused = self.exchanged(fused, route, lanes, feed)?;
        fused.layout = layout;
        Ok(fused)
    }

    /// A node fused, without the exchange by hash that DataFusion proposes above it, unless it is an island's.
    pub(super) fn visit_where_it_lies(&mut self, node: &Node) -> Result<Fused> {
        if let Some(repartition) = node.downcast_ref::<RepartitionExec>()
            && let Partitioning::Hash(..) = repartition.partitioning()
        {
            return match self.visit(repartition.input())? {
                Part::Fused(mut fused) => {
                    fused.stands_for(node);
                    Ok(*fused)
                }
                // An island's rows have to travel anyway.
                Part::Island(child) => {
                    let sent = self.repartition(repartition, child)?;
                    self.visited(Part::Island(sent), node)
                }
            };
        }
        self.visit_fused(node)
    }

    /// What was made of a node, as a fused fragment.
    pub(super) fn visited(&mut self, part: Part, node: &Node) -> Result<Fused> {
        let island = matches!(part, Part::Island(_));
        let mut fused = self.as_fused(part)?;
        fused.stands_for(node);
        if island {
            fused.layout = self.layout_of_island(&fused, node)?;
        }
        Ok(fused)
    }

    /// Lanes of an island that were made by our hash: so many of them on each rank that those of a rank are its lane.
    fn layout_of_island(&self, fused: &Fused, node: &Node) -> Result<RowLayout> {
        match node.output_partitioning() {
            Partitioning::Hash(keys, count)
                if fused.lanes.len() == self.ranks && count % self.ranks == 0 && !keys.iter().any(reads_unknown) =>
            {
                Ok(RowLayout::hashed(lowered(fused, keys)?))
            }
            _ => Ok(RowLayout::default()),
        }
    }
}

/// Keys over the columns of a fragment's node.
pub(super) fn lowered(fused: &Fused, keys: &[Physical]) -> Result<Vec<Expr>> {
    keys.iter().map(|key| lower(key, &fused.schema)).collect()
}
