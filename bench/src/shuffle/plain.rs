//! The same work without exchanges: one call of MPI, partitioning in memory, DataFusion's repartition in one process.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use bireme::mpi::datatype::{Partition, PartitionMut};
use bireme::mpi::topology::{Communicator as _, SimpleCommunicator};
use bireme::mpi::traits::CommunicatorCollectives as _;
use bireme::prelude::{Error, Result};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan as _;
use datafusion::physical_plan::repartition::RepartitionExec;
use futures::StreamExt as _;

use super::staged::{ByKey, Load};

/// Buffers for one `MPI_Alltoallv`, in words of eight bytes.
pub(super) struct AllToAll {
    send: Vec<u64>,
    receive: Vec<u64>,
    to: [Vec<i32>; 2],
    from: [Vec<i32>; 2],
}

impl AllToAll {
    /// So many bytes of this rank, spread evenly over all ranks or nine tenths of them to rank 0.
    pub(super) fn new(world: &SimpleCommunicator, bytes: u64, skewed: bool) -> Result<Self> {
        let ranks = world.size() as u64;
        let words = bytes / 8;
        let share = |to: u64| match (skewed, to) {
            (false, _) => words / ranks,
            (true, 0) => words / 10 * 9 + words / 10 / ranks,
            (true, _) => words / 10 / ranks,
        };
        let counts = (0..ranks).map(|to| i32::try_from(share(to))).collect::<std::result::Result<Vec<i32>, _>>();
        let counts = counts.map_err(|_| Error::user("too many bytes for one call of MPI"))?;
        let mut from = vec![0_i32; counts.len()];
        world.all_to_all_into(&counts[..], &mut from[..]);
        let sum = |counts: &[i32]| counts.iter().map(|&count| count as usize).sum::<usize>();
        Ok(Self {
            send: (0..sum(&counts) as u64).collect(),
            receive: vec![0; sum(&from)],
            to: [counts.clone(), starts(&counts)],
            from: [from.clone(), starts(&from)],
        })
    }

    /// How long it takes.
    pub(super) fn run(&mut self, world: &SimpleCommunicator) -> Duration {
        let start = Instant::now();
        let send = Partition::new(&self.send[..], &self.to[0][..], &self.to[1][..]);
        let mut receive = PartitionMut::new(&mut self.receive[..], &self.from[0][..], &self.from[1][..]);
        world.all_to_all_varcount_into(&send, &mut receive);
        start.elapsed()
    }
}

fn starts(counts: &[i32]) -> Vec<i32> {
    let next = |start: &mut i32, count: &i32| {
        let here = *start;
        *start += count;
        Some(here)
    };
    counts.iter().scan(0, next).collect()
}

/// Hashes keys and gathers the rows of each rank, batch by batch, and drops them.
pub(super) fn partition(load: &Load, by: &ByKey, ranks: usize) -> Result<Duration> {
    let start = Instant::now();
    let (mut hashes, mut lanes) = (Vec::new(), Vec::new());
    for _ in 0..load.repeat {
        for batch in load.batches.iter() {
            by.ranks(batch.column(0), ranks, &mut hashes, &mut lanes)?;
            let mut rows = vec![Vec::with_capacity(batch.num_rows()); ranks];
            lanes.iter().zip(0_u32..).for_each(|(&lane, row)| rows[lane as usize].push(row));
            for rows in rows {
                black_box(take_record_batch(batch, &UInt32Array::from(rows))?);
            }
        }
    }
    Ok(start.elapsed())
}

/// `RepartitionExec` with as many partitions, each of them this rank's rows.
pub(super) fn datafusion(load: &Load, ranks: usize) -> Result<Duration> {
    let failed = |error: DataFusionError| Error::internal(format!("DataFusion's repartition: {error}"));
    let rows: Vec<RecordBatch> = (0..load.repeat).flat_map(|_| load.batches.iter().cloned()).collect();
    let partitions = vec![rows; ranks];
    let source = MemorySourceConfig::try_new_exec(&partitions, Arc::clone(&load.schema), None).map_err(failed)?;
    let key = Arc::new(Column::new(load.schema.field(0).name(), 0));
    let plan = RepartitionExec::try_new(source, Partitioning::Hash(vec![key], ranks)).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(ranks).build()?;
    let start = Instant::now();
    runtime.block_on(async {
        let context = Arc::new(TaskContext::default());
        let mut tasks = Vec::new();
        for partition in 0..ranks {
            let mut stream = plan.execute(partition, Arc::clone(&context)).map_err(failed)?;
            tasks.push(tokio::spawn(async move {
                while let Some(batch) = stream.next().await {
                    black_box(batch?);
                }
                Ok::<(), DataFusionError>(())
            }));
        }
        for task in tasks {
            task.await.map_err(|error| Error::internal(error.to_string()))?.map_err(failed)?;
        }
        Ok(start.elapsed())
    })
}
