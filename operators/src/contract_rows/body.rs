//! A contraction of two tables as the body of a stage.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bireme_engine::budget::Reservation;
use bireme_engine::error::{Error, Result};
use bireme_engine::exchange::{Flow, Inlet};
use bireme_engine::run::StageTask;
use bireme_engine::stage::{Body, ExchangeId};
use bireme_engine::workers::Workers;
use futures::FutureExt;
use futures::future::{BoxFuture, try_join};

use super::{Kernel, ROW_BYTES, TableContraction};

/// Collects both tables on each rank, and hands on their product.
#[derive(Debug)]
pub struct ContractBody {
    contraction: Arc<TableContraction>,
    left: ExchangeId,
    right: ExchangeId,
    workers: Arc<Workers>,
}

impl ContractBody {
    /// A body that contracts what comes over two exchanges.
    pub fn new(contraction: TableContraction, left: ExchangeId, right: ExchangeId, workers: Arc<Workers>) -> Self {
        Self { contraction: Arc::new(contraction), left, right, workers }
    }
}

impl Body for ContractBody {
    fn lines(&self) -> Vec<String> {
        vec![format!(
            "contract einsum(\"{}\") of {} and {}: product of matrices or row by row, as the rows are dense",
            self.contraction.notation(),
            self.left,
            self.right
        )]
    }

    fn run(&self, mut task: StageTask) -> BoxFuture<'static, Result<()>> {
        let (contraction, workers) = (Arc::clone(&self.contraction), Arc::clone(&self.workers));
        let mut inlets = |exchange| {
            let inlets = task.inlets.remove(&exchange).unwrap_or_default();
            inlets.into_iter().map(|(_, inlet)| inlet).collect::<Vec<_>>()
        };
        let (left, right) = (inlets(self.left), inlets(self.right));
        async move {
            let held = Arc::new(task.budget.reserve("contraction"));
            let (left, right) = try_join(collect(left, &held), collect(right, &held)).await?;
            let rows = left.iter().chain(&right).map(RecordBatch::num_rows).sum::<usize>();
            held.try_grow(rows * ROW_BYTES).map_err(|error| error.context("ordering tables for a contraction"))?;
            let mut outlets = std::mem::take(&mut task.outlets).into_iter();
            let mut outlet = outlets.next().ok_or_else(|| Error::internal("a contraction without an outlet"))?;
            let budget = task.budget.clone();
            let plan = Arc::clone(&contraction);
            let (rounds, done, boxes) = workers
                .run(move || {
                    let boxes = budget.reserve("boxes of a contraction");
                    let (rounds, done) = plan.prepare(&left, &right, |bytes| boxes.try_grow(bytes).is_ok())?;
                    Ok((Arc::<dyn super::Rounds>::from(rounds), done, boxes))
                })
                .await?;
            let name = match done.kernel {
                Kernel::Empty => "contractions_empty",
                Kernel::Dense => "contractions_dense",
                Kernel::Sparse => "contractions_sparse",
            };
            task.metrics.add(name, 1);
            'rounds: for number in 0..rounds.count() {
                let rounds = Arc::clone(&rounds);
                for batch in workers.run(move || rounds.round(number)).await? {
                    if outlet.push(batch).await? == Flow::Stop {
                        break 'rounds;
                    }
                }
            }
            drop((rounds, boxes, held));
            outlet.finish().await?;
            for other in outlets {
                other.finish().await?;
            }
            Ok(())
        }
        .boxed()
    }
}

/// All rows of some inlets, one inlet after the other.
async fn collect(inlets: Vec<Inlet>, held: &Reservation) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for mut inlet in inlets {
        while let Some(batch) = inlet.next().await {
            let batch = batch?;
            // Index and value columns are of eight bytes at most.
            let bytes = batch.num_rows() * batch.num_columns() * 8;
            held.try_grow(bytes).map_err(|error| error.context("collecting a table for a contraction"))?;
            batches.push(batch);
        }
    }
    Ok(batches)
}
