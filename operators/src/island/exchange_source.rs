//! The leaf through which an island reads an exchange.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bireme_engine::exchange::Inlet;
use bireme_engine::stage::ExchangeId;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_datafusion_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, SendableRecordBatchStream,
};
use futures::{TryStreamExt, stream};
use parking_lot::Mutex;

use crate::errors::to_datafusion;

/// Reads the input lanes of one exchange.
///
/// In a planned template it stands for all input lanes and cannot be executed; [`ExchangeSource::bind`] makes the
/// instance of one run, whose partitions are the lanes that are read on this rank.
#[derive(Debug)]
pub struct ExchangeSource {
    exchange: ExchangeId,
    properties: Arc<PlanProperties>,
    broadcast: bool,
    lanes: Lanes,
}

enum Lanes {
    Template,
    /// Each inlet is taken by the one `execute` of its partition.
    Bound(Vec<Mutex<Option<Inlet>>>),
    /// Read to memory once, by whoever comes first, then repeated for every `execute` (under a recursive query).
    Replayed(Vec<Arc<tokio::sync::Mutex<Replay>>>),
}

enum Replay {
    Unread(Inlet),
    Read(Vec<RecordBatch>),
    Failed,
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lanes::Template => "template",
            Lanes::Bound(_) => "bound",
            Lanes::Replayed(_) => "replayed",
        })
    }
}

impl ExchangeSource {
    /// A template with the given properties of its rows and so many input lanes.
    pub fn new(exchange: ExchangeId, rows: EquivalenceProperties, partitioning: Partitioning) -> Self {
        let properties = PlanProperties::new(rows, partitioning, EmissionType::Incremental, Boundedness::Bounded)
            .with_scheduling_type(SchedulingType::Cooperative);
        Self { exchange, properties: Arc::new(properties), broadcast: false, lanes: Lanes::Template }
    }

    /// The same for an exchange that brings all rows to every rank.
    pub fn broadcast(exchange: ExchangeId, rows: EquivalenceProperties) -> Self {
        Self { broadcast: true, ..Self::new(exchange, rows, Partitioning::UnknownPartitioning(1)) }
    }

    /// Whether it reads a copy that every rank has.
    pub fn is_broadcast(&self) -> bool {
        self.broadcast
    }

    /// Which exchange it reads.
    pub fn exchange(&self) -> ExchangeId {
        self.exchange
    }

    /// The instance that reads these inlets; with `replay`, any number of times.
    pub fn bind(&self, inlets: Vec<Inlet>, replay: bool) -> Self {
        let partitioning = match &self.properties.partitioning {
            Partitioning::Hash(keys, _) => Partitioning::Hash(keys.clone(), inlets.len()),
            _ => Partitioning::UnknownPartitioning(inlets.len()),
        };
        let rows = self.properties.eq_properties.clone();
        let lanes = if replay {
            let replays = inlets.into_iter().map(|inlet| Arc::new(tokio::sync::Mutex::new(Replay::Unread(inlet))));
            Lanes::Replayed(replays.collect())
        } else {
            Lanes::Bound(inlets.into_iter().map(|inlet| Mutex::new(Some(inlet))).collect())
        };
        Self { lanes, broadcast: self.broadcast, ..Self::new(self.exchange, rows, partitioning) }
    }
}

impl DisplayAs for ExchangeSource {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read {}", self.exchange)
    }
}

impl ExecutionPlan for ExchangeSource {
    fn name(&self) -> &str {
        "ExchangeSource"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
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

    // A recursive query resets its recursive term before every round; what was read once stays read.
    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let missing = || internal_datafusion_err!("{} has no lane {partition} to read", self.exchange);
        let schema = self.schema();
        match &self.lanes {
            Lanes::Template => Err(internal_datafusion_err!("{} is a template and cannot be executed", self.exchange)),
            Lanes::Bound(inlets) => {
                let inlet = inlets.get(partition).and_then(|inlet| inlet.lock().take()).ok_or_else(missing)?;
                Ok(Box::pin(RecordBatchStreamAdapter::new(schema, inlet.map_err(to_datafusion))))
            }
            Lanes::Replayed(replays) => {
                let replay = Arc::clone(replays.get(partition).ok_or_else(missing)?);
                let batches =
                    stream::once(read_once(replay)).map_ok(|batches| stream::iter(batches.into_iter().map(Ok)));
                Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches.try_flatten())))
            }
        }
    }
}

async fn read_once(replay: Arc<tokio::sync::Mutex<Replay>>) -> Result<Vec<RecordBatch>> {
    let mut replay = replay.lock().await;
    match std::mem::replace(&mut *replay, Replay::Failed) {
        Replay::Unread(mut inlet) => {
            let mut batches = Vec::new();
            while let Some(batch) = inlet.next().await {
                batches.push(batch.map_err(to_datafusion)?);
            }
            *replay = Replay::Read(batches.clone());
            Ok(batches)
        }
        Replay::Read(batches) => {
            *replay = Replay::Read(batches.clone());
            Ok(batches)
        }
        Replay::Failed => Err(DataFusionError::Execution("an input of a recursive query failed before".into())),
    }
}
