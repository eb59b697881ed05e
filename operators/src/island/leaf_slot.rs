//! The place in an island's template where a source stands.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execution_plan::ReplaceChildrenOptions;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, SendableRecordBatchStream,
};

/// A source with all of its lanes, numbered so that a run can put the slice of one rank in its place.
#[derive(Debug)]
pub struct LeafSlot {
    id: usize,
    leaf: Arc<dyn ExecutionPlan>,
}

impl LeafSlot {
    /// Marks `leaf` as the source number `id`.
    pub fn new(id: usize, leaf: Arc<dyn ExecutionPlan>) -> Self {
        Self { id, leaf }
    }

    /// Its number within the plan.
    pub fn id(&self) -> usize {
        self.id
    }

    /// The source as it was planned.
    pub fn leaf(&self) -> &Arc<dyn ExecutionPlan> {
        &self.leaf
    }
}

impl DisplayAs for LeafSlot {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.leaf.fmt_as(kind, f)
    }
}

impl ExecutionPlan for LeafSlot {
    fn name(&self) -> &str {
        "LeafSlot"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.leaf.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.leaf.apply_expressions(visit)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Err(internal_datafusion_err!("source {} of a template cannot be executed", self.id))
    }
}
