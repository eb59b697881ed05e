//! Tables that are held in memory, lane by lane, on the ranks.
//!
//! A table made of a user's batches is *replicated*: every process holds all of it, and its lanes may run anywhere.
//! The result of `CREATE TABLE … AS` stays where it was computed: each lane is tied to the rank that holds it. Every
//! process knows all lanes with their rows and bytes, but holds the batches of its own alone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bincode::{Decode, Encode};
use bireme_engine::stage::{LaneSink, Pin, Sink};
use bireme_engine::{Error, Result};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, project_schema};
use datafusion::datasource::TableType;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions};
use parking_lot::{Mutex, RwLock};

use crate::error::to_datafusion;
use crate::tile_rows::TileRows;

/// What every process knows of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LaneInfo {
    /// The rank that holds it; `None` if every process does.
    pub rank: Option<usize>,
    /// Its rows.
    pub rows: u64,
    /// Its bytes in memory.
    pub bytes: u64,
}

impl LaneInfo {
    /// What there is to know of some batches.
    pub fn of(rank: Option<usize>, batches: &[RecordBatch]) -> Self {
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        let bytes = batches.iter().map(|batch| batch.get_array_memory_size() as u64).sum();
        Self { rank, rows, bytes }
    }
}

/// Batches by (rank, lane), as a [`MemorySink`] collects them.
pub type LaneBatches = BTreeMap<(usize, usize), Vec<RecordBatch>>;

#[derive(Clone, Debug)]
struct Lane {
    info: LaneInfo,
    /// `None`: another process holds them.
    rows: Option<LaneRows>,
}

/// The rows of a lane.
#[derive(Clone, Debug)]
pub enum LaneRows {
    /// As they were given.
    Batches(Arc<Vec<RecordBatch>>),
    /// Elements of an array.
    Tile(TileRows),
}

impl LaneRows {
    /// The rows with these columns, in batches of at most so many.
    fn batches(&self, schema: &SchemaRef, columns: Option<&[usize]>, most: usize) -> Result<Vec<RecordBatch>> {
        let most = most.max(1);
        let mut cut = Vec::new();
        match self {
            Self::Batches(batches) => {
                for batch in batches.iter() {
                    let batch = match columns {
                        Some(columns) => batch.project(columns)?,
                        None => batch.clone(),
                    };
                    let rows = batch.num_rows();
                    cut.extend((0..rows).step_by(most).map(|start| batch.slice(start, most.min(rows - start))));
                }
            }
            Self::Tile(tile) => {
                let all = (0..schema.fields().len()).collect::<Vec<_>>();
                for start in (0..tile.rows()).step_by(most) {
                    let rows = most.min(tile.rows() - start);
                    cut.push(tile.batch(schema, columns.unwrap_or(&all), start, rows)?);
                }
            }
        }
        Ok(cut)
    }
}

/// A table in memory.
#[derive(Debug)]
pub struct MemoryTable {
    schema: SchemaRef,
    /// What an INSERT that leaves a column out puts there, by column.
    defaults: BTreeMap<String, Expr>,
    held: RwLock<Held>,
}

/// A table's rows at some time.
#[derive(Clone, Debug, Default)]
struct Held {
    lanes: Arc<Vec<Lane>>,
    /// Lists of columns, each of which alone tells the rank of a row: the one that their values hash to.
    hashed_by: Arc<Vec<Vec<usize>>>,
}

impl MemoryTable {
    /// A table that every process holds whole; its rows are spread, in order, over at most `lanes` lanes.
    ///
    /// # Errors
    /// A batch does not fit the schema.
    pub fn replicated(schema: SchemaRef, batches: Vec<RecordBatch>, lanes: usize) -> Result<Self> {
        let batches = conform(&schema, batches)?;
        let spread = spread(&batches, lanes.max(1)).into_iter().map(|batches| Lane {
            info: LaneInfo::of(None, &batches),
            rows: Some(LaneRows::Batches(Arc::new(batches))),
        });
        let held = Held { lanes: Arc::new(spread.collect()), hashed_by: Arc::default() };
        Ok(Self { schema, defaults: BTreeMap::new(), held: RwLock::new(held) })
    }

    /// A table whose lanes lie on the ranks; see [`MemoryTable::append`] for the arguments.
    ///
    /// # Errors
    /// A batch does not fit the schema, or the lanes of this process and the list of all lanes disagree.
    pub fn partitioned(schema: SchemaRef, here: LaneBatches, all: &[LaneInfo]) -> Result<Self> {
        let table = Self { schema, defaults: BTreeMap::new(), held: RwLock::default() };
        table.append(here, all)?;
        Ok(table)
    }

    /// A table of the elements of an array. Each lane is known with the rank that holds it (`None`: every process does) and how many
    /// elements it has; those of this process are given.
    pub fn of_tiles(schema: SchemaRef, lanes: Vec<(Option<usize>, u64, Option<TileRows>)>) -> Self {
        let width = schema.fields().len() as u64 * 8;
        let lane = |(rank, rows, tile): (Option<usize>, u64, Option<TileRows>)| Lane {
            info: LaneInfo { rank, rows, bytes: rows * width },
            rows: tile.map(LaneRows::Tile),
        };
        let held = Held { lanes: Arc::new(lanes.into_iter().map(lane).collect()), hashed_by: Arc::default() };
        Self { schema, defaults: BTreeMap::new(), held: RwLock::new(held) }
    }

    /// The table with values for columns that an INSERT leaves out.
    #[must_use]
    pub fn with_defaults(mut self, defaults: BTreeMap<String, Expr>) -> Self {
        self.defaults = defaults;
        self
    }

    /// The table with what is known of where its rows are: lists of columns, each of which alone tells the rank of a row, as the one
    /// that their values hash to. Rows that are added later take this knowledge away.
    #[must_use]
    pub fn with_layout(self, hashed_by: Vec<Vec<usize>>) -> Self {
        self.held.write().hashed_by = Arc::new(hashed_by);
        self
    }

    /// Adds rows, after all ranks agreed that the action that made them succeeded. `here` is what the sinks of this
    /// process collected; `all` describes the lanes of all ranks, ascending by rank and within a rank by lane (each
    /// rank contributes [`lane_infos`] of its sink).
    ///
    /// # Errors
    /// A batch does not fit the schema, or `here` and `all` disagree.
    pub fn append(&self, here: LaneBatches, all: &[LaneInfo]) -> Result<()> {
        let added = self.added(here, all)?;
        let mut held = self.held.write();
        Arc::make_mut(&mut held.lanes).extend(added);
        held.hashed_by = Arc::default();
        Ok(())
    }

    /// Puts these rows in the place of all others, as [`MemoryTable::append`] adds them.
    ///
    /// # Errors
    /// As for [`MemoryTable::append`].
    pub fn overwrite(&self, here: LaneBatches, all: &[LaneInfo]) -> Result<()> {
        let added = self.added(here, all)?;
        *self.held.write() = Held { lanes: Arc::new(added), hashed_by: Arc::default() };
        Ok(())
    }

    /// What is known of the lanes.
    pub fn lanes(&self) -> Vec<LaneInfo> {
        self.held.read().lanes.iter().map(|lane| lane.info).collect()
    }

    fn added(&self, here: LaneBatches, all: &[LaneInfo]) -> Result<Vec<Lane>> {
        let mut by_rank: BTreeMap<usize, std::vec::IntoIter<Vec<RecordBatch>>> = BTreeMap::new();
        let mut grouped: BTreeMap<usize, Vec<Vec<RecordBatch>>> = BTreeMap::new();
        for ((rank, _), batches) in here {
            grouped.entry(rank).or_default().push(conform(&self.schema, batches)?);
        }
        by_rank.extend(grouped.into_iter().map(|(rank, lanes)| (rank, lanes.into_iter())));
        let mut added = Vec::new();
        for info in all {
            let held = info.rank.and_then(|rank| by_rank.get_mut(&rank));
            let batches = held.map(|lanes| {
                let next = lanes.next().filter(|batches| LaneInfo::of(None, batches).rows == info.rows);
                next.ok_or_else(|| {
                    Error::internal(format!("a lane of {} rows of rank {:?} is not here", info.rows, info.rank))
                })
            });
            let rows = batches.transpose()?.map(|batches| LaneRows::Batches(Arc::new(batches)));
            added.push(Lane { info: *info, rows });
        }
        if let Some((rank, _)) = by_rank.iter().find(|(_, lanes)| lanes.len() > 0) {
            return Err(Error::internal(format!("rank {rank} holds lanes that the list of all lanes does not have")));
        }
        added.retain(|lane| lane.info.rows > 0);
        Ok(added)
    }
}

/// Gives batches the table's schema: same types, the table's names and nullability.
fn conform(schema: &SchemaRef, batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    let rows = |batch: &RecordBatch| batch.num_rows() > 0;
    let dress = |batch: RecordBatch| {
        if batch.schema_ref() == schema {
            return Ok(batch);
        }
        let dressed = if schema.fields().is_empty() {
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(Arc::clone(schema), vec![], &options)
        } else {
            RecordBatch::try_new(Arc::clone(schema), batch.columns().to_vec())
        };
        dressed.map_err(|error| Error::user(format!("rows do not fit the columns of the table: {error}")))
    };
    batches.into_iter().filter(rows).map(dress).collect()
}

/// Cuts the rows into at most `lanes` runs of nearly equal length; at least one run, which may be empty.
fn spread(batches: &[RecordBatch], lanes: usize) -> Vec<Vec<RecordBatch>> {
    let total: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let lanes = lanes.min(total).max(1);
    let mut spread = vec![Vec::new(); lanes];
    let mut start = 0;
    for batch in batches {
        let end = start + batch.num_rows();
        for (lane, run) in spread.iter_mut().enumerate() {
            let (from, to) = ((lane * total / lanes).max(start), ((lane + 1) * total / lanes).min(end));
            if from < to {
                run.push(batch.slice(from - start, to - from));
            }
        }
        start = end;
    }
    spread
}

#[async_trait]
impl TableProvider for MemoryTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.defaults.get(column)
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(statistics_of(&self.schema, self.held.read().lanes.iter().map(|lane| &lane.info)))
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let mut held = self.held.read().clone();
        if held.lanes.is_empty() {
            // A plan node has at least one lane; an empty one may run anywhere.
            let info = LaneInfo { rank: None, rows: 0, bytes: 0 };
            let rows = Some(LaneRows::Batches(Arc::default()));
            held = Held { lanes: Arc::new(vec![Lane { info, rows }]), ..Held::default() };
        }
        let schema = project_schema(&self.schema, projection)?;
        Ok(Arc::new(MemoryScanExec::new(schema, projection.cloned(), held, limit)))
    }
}

fn statistics_of<'a>(schema: &SchemaRef, lanes: impl Iterator<Item = &'a LaneInfo>) -> Statistics {
    let (rows, bytes) = lanes.fold((0, 0), |(rows, bytes), lane| (rows + lane.rows, bytes + lane.bytes));
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = Precision::Exact(size(rows));
    statistics.total_byte_size = Precision::Inexact(size(bytes));
    statistics
}

/// Reads lanes of a [`MemoryTable`] as they were when the plan was made.
#[derive(Debug)]
pub struct MemoryScanExec {
    projection: Option<Vec<usize>>,
    held: Held,
    fetch: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl MemoryScanExec {
    fn new(schema: SchemaRef, projection: Option<Vec<usize>>, held: Held, fetch: Option<usize>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(held.lanes.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { projection, held, fetch, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }

    /// What is known of its lanes.
    pub fn lanes(&self) -> Vec<LaneInfo> {
        self.held.lanes.iter().map(|lane| lane.info).collect()
    }

    /// Lists of its columns, each of which alone tells the rank of a row; see [`MemoryTable::with_layout`].
    pub fn hashed_by(&self) -> Vec<Vec<usize>> {
        let place = |column: &usize| match &self.projection {
            Some(columns) => columns.iter().position(|known| known == column),
            None => Some(*column),
        };
        self.held.hashed_by.iter().filter_map(|list| list.iter().map(place).collect()).collect()
    }

    /// Where its lanes may run.
    pub fn pins(&self) -> Vec<Pin> {
        self.held.lanes.iter().map(|lane| lane.info.rank.map_or(Pin::Free, Pin::Rank)).collect()
    }

    /// The same scan of only the given lanes, in that order, for one rank to run.
    #[must_use]
    pub fn slice(&self, lanes: &[usize]) -> Arc<Self> {
        let kept = lanes.iter().filter_map(|&lane| self.held.lanes.get(lane).cloned()).collect();
        let held = Held { lanes: Arc::new(kept), hashed_by: Arc::default() };
        Arc::new(Self::new(self.schema(), self.projection.clone(), held, self.fetch))
    }

    /// The place of each of its columns among those of `whole`, if that reads the same lanes of the same table.
    pub fn columns_within(&self, whole: &Self) -> Option<Vec<usize>> {
        let same = Arc::ptr_eq(&self.held.lanes, &whole.held.lanes) && self.fetch == whole.fetch;
        let column = |scan: &Self, place: usize| scan.projection.as_ref().map_or(place, |columns| columns[place]);
        let width = |scan: &Self| scan.schema().fields().len();
        let place = |wanted: usize| (0..width(whole)).position(|place| column(whole, place) == column(self, wanted));
        same.then(|| (0..width(self)).map(place).collect()).flatten()
    }

    /// So many rows are enough.
    pub fn fetch_rows(&self) -> Option<usize> {
        self.fetch
    }

    /// The rows of one lane, if this process holds them, and which of their columns are the scan's.
    pub fn lane_rows(&self, lane: usize) -> (Option<LaneRows>, Vec<usize>) {
        let rows = self.held.lanes.get(lane).and_then(|lane| lane.rows.clone());
        (rows, self.projection.clone().unwrap_or_else(|| (0..self.schema().fields().len()).collect()))
    }

    /// The rows of one lane, cut to the session's batch size and to the fetch.
    fn batches(&self, lane: &LaneRows, batch_size: usize) -> DfResult<Vec<RecordBatch>> {
        let mut left = self.fetch.unwrap_or(usize::MAX);
        let all = lane.batches(&self.schema(), self.projection.as_deref(), batch_size).map_err(to_datafusion)?;
        let mut batches = Vec::with_capacity(all.len());
        for batch in all {
            if left == 0 {
                break;
            }
            let rows = batch.num_rows().min(left);
            left -= rows;
            batches.push(batch.slice(0, rows));
        }
        Ok(batches)
    }
}

impl DisplayAs for MemoryScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: u64 = self.held.lanes.iter().map(|lane| lane.info.rows).sum();
        let names = self.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>().join(", ");
        write!(f, "MemoryScanExec: lanes={}, rows={rows}, columns=[{names}]", self.held.lanes.len())?;
        match self.fetch {
            Some(fetch) => write!(f, ", fetch={fetch}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for MemoryScanExec {
    fn name(&self) -> &'static str {
        "MemoryScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let missing = |why: &str| {
            to_datafusion(Error::internal(format!("scanning lane {partition} of a table in memory: {why}")))
        };
        let lane = self.held.lanes.get(partition).ok_or_else(|| missing("there is no such lane"))?;
        let held = lane.rows.as_ref().ok_or_else(|| missing("another process holds it"))?;
        let batches = self.batches(held, context.session_config().batch_size())?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let counted = futures::stream::iter(batches.into_iter().map(move |batch| {
            metrics.record_output(batch.num_rows());
            Ok(batch)
        }));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), counted)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], args: &StatisticsArgs) -> DfResult<Arc<Statistics>> {
        let schema = self.schema();
        let statistics = match args.partition() {
            Some(lane) => statistics_of(&schema, self.held.lanes.get(lane).map(|lane| &lane.info).into_iter()),
            None => statistics_of(&schema, self.held.lanes.iter().map(|lane| &lane.info)),
        };
        let lanes = if args.partition().is_some() { 1 } else { self.held.lanes.len() };
        Ok(Arc::new(statistics.with_fetch(self.fetch, 0, lanes)?))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self::new(self.schema(), self.projection.clone(), self.held.clone(), limit)))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }
}

/// Collects the rows of an action, by rank and lane.
#[derive(Debug, Default)]
pub struct MemorySink {
    collected: Arc<Mutex<LaneBatches>>,
}

impl MemorySink {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes out what was collected.
    pub fn take(&self) -> LaneBatches {
        std::mem::take(&mut self.collected.lock())
    }
}

/// A rank's own batches as at most so many lanes of nearly equal length, without copying a row.
///
/// # Errors
/// A batch does not fit the schema.
pub fn local_lanes(schema: &SchemaRef, rank: usize, batches: Vec<RecordBatch>, lanes: usize) -> Result<LaneBatches> {
    let runs = spread(&conform(schema, batches)?, lanes.max(1)).into_iter().enumerate();
    Ok(runs.map(|(lane, batches)| ((rank, lane), batches)).collect())
}

/// What there is to tell other ranks about the lanes that one rank collected, ascending by lane.
pub fn lane_infos(collected: &LaneBatches, rank: usize) -> Vec<LaneInfo> {
    let mine = collected.iter().filter(|((owner, _), _)| *owner == rank);
    mine.map(|(_, batches)| LaneInfo::of(Some(rank), batches)).collect()
}

impl Sink for MemorySink {
    fn describe(&self) -> String {
        "table in memory".to_string()
    }

    fn open(&self, rank: usize, lane: usize) -> Result<Box<dyn LaneSink>> {
        Ok(Box::new(MemoryLane { place: (rank, lane), batches: Vec::new(), collected: Arc::clone(&self.collected) }))
    }
}

struct MemoryLane {
    place: (usize, usize),
    batches: Vec<RecordBatch>,
    collected: Arc<Mutex<LaneBatches>>,
}

impl LaneSink for MemoryLane {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() > 0 {
            self.batches.push(batch);
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.collected.lock().entry(self.place).or_default().extend(self.batches);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
