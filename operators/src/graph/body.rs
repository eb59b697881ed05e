//! A graph algorithm as the body of a stage, with one lane on each rank.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bireme_engine::error::{Error, Result};
use bireme_engine::exchange::{Flow, batch_bytes};
use bireme_engine::run::StageTask;
use bireme_engine::stage::{Body, ExchangeId};
use bireme_engine::workers::Workers;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::algorithm::Algorithm;
use super::answer::answer;
use super::between::{Cut, Cutting};
use super::edges::{EdgeColumns, Held};
use super::keep::Kept;
use super::talk::Talk;
use crate::accelerator::Accelerator;

/// Rows of a batch of the answer.
const ROWS: usize = 1 << 16;

/// Reads edges where they lie, and hands on what an algorithm says of each vertex.
#[derive(Debug)]
pub struct GraphBody {
    algorithm: Algorithm,
    columns: EdgeColumns,
    schema: SchemaRef,
    edges: ExchangeId,
    kept: Option<Kept>,
    cutting: Cutting,
    workers: Arc<Workers>,
    accelerator: Option<Accelerator>,
}

impl GraphBody {
    /// Of edges that come over an exchange, or were kept before; `schema` is that of the answer.
    pub fn new(
        algorithm: Algorithm,
        columns: EdgeColumns,
        schema: SchemaRef,
        edges: ExchangeId,
        kept: Option<Kept>,
        cutting: Cutting,
        workers: Arc<Workers>,
    ) -> Self {
        Self { algorithm, columns, schema, edges, kept, cutting, workers, accelerator: None }
    }

    /// The same body, whose algorithm runs on a device if it has kernels.
    #[must_use]
    pub fn on(self, accelerator: Option<Accelerator>) -> Self {
        Self { accelerator, ..self }
    }
}

impl Body for GraphBody {
    fn lines(&self) -> Vec<String> {
        let kept = self.kept.as_ref().map(|kept| format!(", {kept}")).unwrap_or_default();
        let mut lines = vec![format!("{} of edges {} from {}{kept}", self.algorithm, self.columns, self.edges)];
        lines.push(self.algorithm.between_ranks().to_owned());
        if self.algorithm.value_bytes().is_some() {
            lines.push(match self.cutting {
                Cutting::Auto => "between ranks edges are cut as costs least".to_owned(),
                cutting => format!("between ranks edges are cut {cutting}"),
            });
        }
        if self.accelerator.is_some() {
            lines.push(match self.algorithm.why_no_kernel(false) {
                None => "kernels on one rank".to_owned(),
                Some(why) => format!("on the CPU: {why}"),
            });
        }
        lines
    }

    fn feeds_back(&self) -> bool {
        true
    }

    fn run(&self, mut task: StageTask) -> BoxFuture<'static, Result<()>> {
        let (algorithm, columns, schema) = (self.algorithm.clone(), self.columns.clone(), Arc::clone(&self.schema));
        let (kept, cutting, workers) = (self.kept.clone(), self.cutting, Arc::clone(&self.workers));
        let accelerator = self.accelerator.clone();
        let inlets = task.inlets.remove(&self.edges).unwrap_or_default();
        async move {
            let feedback = task.feedback.take().ok_or_else(|| Error::internal("a graph without rounds"))?;
            let mut talk = Talk::new(feedback, workers, task.cancel.clone());
            let memory = task.budget.reserve("graph");
            let mut batches = Vec::new();
            for (_, mut inlet) in inlets {
                while let Some(batch) = inlet.next().await {
                    let batch = batch?;
                    let bytes = batch_bytes(&batch) as usize;
                    memory.try_grow(bytes).map_err(|error| error.context("reading edges"))?;
                    batches.push(batch);
                }
            }
            let mut known = kept.as_ref().and_then(|kept| kept.get(task.rank));
            // An action that failed may have left some ranks with it, and others without.
            if kept.is_some() && talk.sums(&[u64::from(known.is_some())]).await?[0] < talk.ranks() as u64 {
                known = None;
            }
            let held = match known {
                Some(held) => held,
                None => Arc::new(Held::read(batches, &columns, &mut talk).await?),
            };
            // Rows, their adjacency in the forms that the algorithm wants, and values: about three times the edges.
            let own = held.edges.from.len();
            let edges = match algorithm.is_whole_on_each_rank() {
                true => talk.sums(&[own as u64]).await?[0] as usize,
                false => own,
            };
            memory.resize(3 * held.bytes(edges)).map_err(|error| error.context("holding a graph"))?;
            let cut = match algorithm.value_bytes() {
                Some(bytes) if talk.ranks() > 1 => {
                    let choice = Cut::choose(cutting, bytes, &held, &mut talk).await?;
                    if talk.place() == 0 {
                        choice.count(&task.metrics);
                    }
                    choice.cut
                }
                _ => Cut::by_target(talk.ranks()),
            };
            let columns = answer(&algorithm, &held, cut, &mut talk, accelerator).await?;
            if let Some(kept) = &kept {
                let bytes = held.bytes(held.edges.from.len());
                kept.set(task.rank, &held, || {
                    let memory = task.budget.reserve("kept graph");
                    memory.try_grow(bytes).map_err(|error| error.context("keeping a graph"))?;
                    Ok(memory)
                })?;
            }
            let whole = RecordBatch::try_new(schema, columns)?;
            let mut outlets = task.outlets.into_iter();
            let mut outlet = outlets.next().ok_or_else(|| Error::internal("a graph without an outlet"))?;
            for first in (0..whole.num_rows()).step_by(ROWS) {
                let batch = whole.slice(first, ROWS.min(whole.num_rows() - first));
                if outlet.push(batch).await? == Flow::Stop {
                    break;
                }
            }
            outlet.finish().await?;
            for other in outlets {
                other.finish().await?;
            }
            Ok(())
        }
        .boxed()
    }
}
