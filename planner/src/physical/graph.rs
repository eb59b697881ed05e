//! Graph algorithms in physical plans. They never run there: stages make a body of each.

use std::fmt;
use std::sync::Arc;

use bireme_operators::graph::{Algorithm, EdgeColumns, Kept};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err, not_impl_err};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::UserDefinedLogicalNodeCore;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties, SendableRecordBatchStream,
};

use crate::logical::GraphNode;

/// A table of edges and what is asked of it.
#[derive(Debug)]
pub struct GraphExec {
    edges: Arc<dyn ExecutionPlan>,
    algorithm: Algorithm,
    columns: EdgeColumns,
    kept: Option<Kept>,
    properties: Arc<PlanProperties>,
}

impl GraphExec {
    pub(super) fn new(edges: Arc<dyn ExecutionPlan>, node: &GraphNode) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(node.schema().as_arrow().clone())),
            Partitioning::UnknownPartitioning(edges.output_partitioning().partition_count()),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            edges,
            algorithm: node.algorithm().clone(),
            columns: node.columns().clone(),
            kept: node.kept().cloned(),
            properties: Arc::new(properties),
        }
    }

    /// The table.
    pub fn edges(&self) -> &Arc<dyn ExecutionPlan> {
        &self.edges
    }

    /// What is asked.
    pub fn algorithm(&self) -> &Algorithm {
        &self.algorithm
    }

    /// What the table's columns are.
    pub fn columns(&self) -> &EdgeColumns {
        &self.columns
    }

    /// Where the graph stays, if it does.
    pub fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }
}

impl DisplayAs for GraphExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GraphExec: {} of edges {}", self.algorithm, self.columns)?;
        self.kept.as_ref().map_or(Ok(()), |kept| write!(f, ", {kept}"))
    }
}

impl ExecutionPlan for GraphExec {
    fn name(&self) -> &str {
        "GraphExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.edges]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(edges) = children.pop() else { return internal_err!("GraphExec has one table of edges") };
        let properties = self.properties.as_ref().clone();
        let lanes = Partitioning::UnknownPartitioning(edges.output_partitioning().partition_count());
        Ok(Arc::new(Self {
            edges,
            algorithm: self.algorithm.clone(),
            columns: self.columns.clone(),
            kept: self.kept.clone(),
            properties: Arc::new(properties.with_partitioning(lanes)),
        }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        not_impl_err!("{} inside a recursive query; put its answer into a table first", self.algorithm.name())
    }
}
