//! Layouts that a user has asked for.
//!
//! ```text
//! RepartitionExec: Hash([k], 8)         LayoutExec: Hash([k], 8)
//!   DataSourceExec: t            ──►      DataSourceExec: t
//! ```
//!
//! DataFusion takes every exchange out of a plan before it puts its own in. One that `repartition(...)` has put there is to stay, so
//! it goes by another name until stages are made.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};

/// The rule; before any exchange is DataFusion's.
#[derive(Debug)]
pub(super) struct UserLayouts;

impl PhysicalOptimizerRule for UserLayouts {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let keep = |node: Arc<dyn ExecutionPlan>| match node.downcast_ref::<RepartitionExec>() {
            Some(asked) if matches!(asked.partitioning(), Partitioning::Hash(..)) => {
                let layout = LayoutExec::new(Arc::clone(asked.input()), asked.partitioning().clone());
                Ok(Transformed::yes(Arc::new(layout) as Arc<dyn ExecutionPlan>))
            }
            _ => Ok(Transformed::no(node)),
        };
        plan.transform_up(keep).data()
    }

    fn name(&self) -> &str {
        "user_layouts"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Rows in lanes that a user has asked for. Stages make an exchange of it; it never runs.
#[derive(Debug)]
pub struct LayoutExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl LayoutExec {
    fn new(input: Arc<dyn ExecutionPlan>, partitioning: Partitioning) -> Self {
        let rows = EquivalenceProperties::new(input.schema());
        let properties = PlanProperties::new(rows, partitioning, EmissionType::Incremental, Boundedness::Bounded);
        Self { input, properties: Arc::new(properties) }
    }

    /// The exchange that it stands for.
    ///
    /// # Errors
    /// DataFusion makes none of this partitioning.
    pub fn exchange(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let partitioning = self.properties.output_partitioning().clone();
        Ok(Arc::new(RepartitionExec::try_new(Arc::clone(&self.input), partitioning)?))
    }
}

impl DisplayAs for LayoutExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayoutExec: {}", self.properties.output_partitioning())
    }
}

impl ExecutionPlan for LayoutExec {
    fn name(&self) -> &str {
        "LayoutExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let Partitioning::Hash(keys, _) = self.properties.output_partitioning() else {
            return Ok(TreeNodeRecursion::Continue);
        };
        for key in keys {
            if visit(key)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input, self.properties.output_partitioning().clone()))),
            _ => internal_err!("LayoutExec has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("LayoutExec was left in an island; it should have become an exchange")
    }
}
