//! `ScalarSubqueryExec`: single values that other stages wait for.
//!
//! DataFusion would run the subqueries when the node is first polled, once per copy of the plan. Here each becomes stages
//! of its own: its rows are gathered in one lane and broadcast, so that every rank sees the same bits; a stage whose
//! expressions read the value starts after it has arrived.

use std::collections::BTreeSet;
use std::sync::Arc;

use bireme_engine::error::{Error, Result};
use bireme_engine::stage::{Feed, Output, Pin, Route, Stage, StageId, StageInput};
use bireme_operators::errors::from_datafusion;
use bireme_operators::island::ScalarBody;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::physical_planning_context::ScalarSubqueryResults;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;

use super::{Builder, Part};
use crate::plan::Discard;

/// A subquery and the stage that delivers it.
pub(super) struct Scalar {
    results: ScalarSubqueryResults,
    stage: StageId,
}

impl Builder {
    pub(super) fn subqueries(&mut self, node: &ScalarSubqueryExec) -> Result<Part> {
        for link in node.subqueries() {
            let schema = link.plan.schema();
            let field = schema.fields().first().ok_or_else(|| Error::internal("a scalar subquery without a column"))?;
            let rows = self.visit(&link.plan)?;
            // One lane in, one copy on each rank out: more than two rows need not travel to find that they are too many.
            let exchange = self.send(rows, Route::Broadcast, Some(2))?;
            let body = ScalarBody::new(exchange, field.data_type().clone(), link.index, node.results().clone());
            let stage = self.push(Stage {
                id: StageId(0),
                body: Arc::new(body),
                lanes: (0..self.ranks).map(Pin::Rank).collect(),
                inputs: vec![StageInput { exchange, feed: Feed::EveryRank }],
                outputs: vec![Output::Sink(Arc::new(Discard))],
                advice: Vec::new(),
                after: Vec::new(),
            });
            self.scalars.push(Scalar { results: node.results().clone(), stage });
        }
        self.visit(node.input())
    }

    /// The stages that deliver the values which expressions in `template` read.
    pub(super) fn scalars_read_by(&self, template: &Arc<dyn ExecutionPlan>) -> Result<Vec<StageId>> {
        if self.scalars.is_empty() {
            return Ok(Vec::new());
        }
        let mut read = BTreeSet::new();
        template
            .apply(|node| node.apply_expressions(&mut |root| self.note_scalars(root, &mut read)))
            .map_err(from_datafusion)?;
        Ok(read.into_iter().collect())
    }

    /// The stages that deliver the values which these expressions read.
    pub(super) fn scalars_read_in(&self, expressions: &[Arc<dyn PhysicalExpr>]) -> Result<Vec<StageId>> {
        let mut read = BTreeSet::new();
        for root in expressions {
            self.note_scalars(root, &mut read).map_err(from_datafusion)?;
        }
        Ok(read.into_iter().collect())
    }

    fn note_scalars(
        &self,
        root: &Arc<dyn PhysicalExpr>,
        read: &mut BTreeSet<StageId>,
    ) -> datafusion::common::Result<TreeNodeRecursion> {
        root.apply(|expr| {
            if let Some(scalar) = expr.downcast_ref::<ScalarSubqueryExpr>() {
                let known = self.scalars.iter();
                let delivered = known.filter(|known| ScalarSubqueryResults::ptr_eq(&known.results, scalar.results()));
                read.extend(delivered.map(|known| known.stage));
            }
            Ok(TreeNodeRecursion::Continue)
        })
    }
}
