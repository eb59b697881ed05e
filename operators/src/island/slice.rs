//! Cuts a source down to some of its lanes.

use std::fmt;
use std::sync::Arc;

use bireme_engine::stage::Pin;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::ReplaceChildrenOptions;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr, PlanProperties,
    SendableRecordBatchStream,
};

/// Knows the sources of a session: where their lanes may run, and how to keep only some of them.
///
/// Law: the slices of a source over a partition of its lanes yield together exactly the rows of the source.
pub trait LeafSlicer: Send + Sync + fmt::Debug {
    /// Where each lane may run; its length is the source's partition count.
    fn pins(&self, leaf: &Arc<dyn ExecutionPlan>) -> Vec<Pin>;

    /// The source with only the given lanes (ascending), as partitions `0..lanes.len()`.
    ///
    /// # Errors
    /// The source cannot be rebuilt.
    fn slice(&self, leaf: &Arc<dyn ExecutionPlan>, lanes: &[usize]) -> Result<Arc<dyn ExecutionPlan>>;
}

/// Slices what DataFusion itself offers: file scans by their file groups, anything else by partition.
#[derive(Debug, Default)]
pub struct PlainLeaves;

impl LeafSlicer for PlainLeaves {
    fn pins(&self, leaf: &Arc<dyn ExecutionPlan>) -> Vec<Pin> {
        vec![Pin::Free; leaf.output_partitioning().partition_count()]
    }

    fn slice(&self, leaf: &Arc<dyn ExecutionPlan>, lanes: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
        if lanes.is_empty() {
            return Ok(Arc::new(EmptyExec::new(leaf.schema()).with_partitions(0)));
        }
        if let Some(scan) = file_scan(leaf) {
            // A scan of its own: DataFusion shares one queue of files among the lanes of a scan.
            let groups: Vec<FileGroup> = lanes.iter().filter_map(|&lane| scan.file_groups.get(lane).cloned()).collect();
            let scan = FileScanConfigBuilder::from(scan.clone()).with_file_groups(groups).build();
            return Ok(DataSourceExec::from_data_source(scan));
        }
        Ok(Arc::new(LaneSlice::new(Arc::clone(leaf), lanes.to_vec())))
    }
}

/// The file scan behind a leaf, if it is one.
pub fn file_scan(leaf: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    leaf.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

/// Some partitions of a source whose partitions know nothing of each other.
#[derive(Debug)]
struct LaneSlice {
    leaf: Arc<dyn ExecutionPlan>,
    lanes: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl LaneSlice {
    fn new(leaf: Arc<dyn ExecutionPlan>, lanes: Vec<usize>) -> Self {
        let mut properties = leaf.properties().as_ref().clone();
        properties.partitioning = Partitioning::UnknownPartitioning(lanes.len());
        Self { leaf, lanes, properties: Arc::new(properties) }
    }
}

impl DisplayAs for LaneSlice {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.leaf.fmt_as(kind, f)
    }
}

impl ExecutionPlan for LaneSlice {
    fn name(&self) -> &str {
        "LaneSlice"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
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

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.leaf.execute(self.lanes[partition], context)
    }

    fn metrics(&self) -> Option<datafusion::physical_plan::metrics::MetricsSet> {
        self.leaf.metrics()
    }
}
