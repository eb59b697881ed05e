//! Contractions in physical plans. They never run there: stages make a body of each.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bireme_operators::contract_rows::TableContraction;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties, SendableRecordBatchStream,
};

/// Two tables and what their columns mean to each other.
#[derive(Debug)]
pub struct ContractionExec {
    inputs: [Arc<dyn ExecutionPlan>; 2],
    contraction: TableContraction,
    properties: Arc<PlanProperties>,
}

impl ContractionExec {
    pub(super) fn new(inputs: [Arc<dyn ExecutionPlan>; 2], contraction: TableContraction) -> Self {
        let lanes = inputs.iter().map(|input| input.output_partitioning().partition_count()).max().unwrap_or(1);
        let schema: SchemaRef = Arc::clone(&contraction.schema);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(lanes),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { inputs, contraction, properties: Arc::new(properties) }
    }

    /// The left and the right table.
    pub fn inputs(&self) -> &[Arc<dyn ExecutionPlan>; 2] {
        &self.inputs
    }

    /// What their columns mean to each other.
    pub fn contraction(&self) -> &TableContraction {
        &self.contraction
    }
}

impl DisplayAs for ContractionExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContractionExec: einsum(\"{}\")", self.contraction.notation())
    }
}

impl ExecutionPlan for ContractionExec {
    fn name(&self) -> &str {
        "ContractionExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; 2]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 2]>::try_from(children) {
            Ok(inputs) => Ok(Arc::new(Self::new(inputs, self.contraction.clone()))),
            Err(_) => internal_err!("ContractionExec has two inputs"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("ContractionExec was left in an island; it should have become a stage")
    }
}
