//! Stages of datasets: what a rank does, then what it gives to the others.
//!
//! ```text
//!   stage n     drives a chain over its partitions, on all workers; then sends what belongs to other ranks
//!   stage n+1   takes what others have sent; whatever is behind it begins when it has ended
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use bireme_engine::error::{Error, Result};
use bireme_engine::run::StageTask;
use bireme_engine::stage::Body;
use bireme_engine::workers::Workers;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::record::{Record, schema};
use super::run::Run;

/// What a rank does in a stage.
pub type Share = dyn Fn(&Run) -> Result<()> + Send + Sync;

/// What ranks do in a stage.
#[derive(Clone)]
pub struct Work {
    /// What EXPLAIN says of it, a line a step.
    pub lines: Vec<String>,
    /// Runs a rank's part, in the pool of its workers.
    pub run: Arc<Share>,
    /// What ranks give to each other when they are done.
    pub exchanged: Option<Arc<dyn Exchanged>>,
}

/// What ranks give to each other behind a stage.
pub trait Exchanged: Send + Sync {
    /// What the messages are; see [`message_schema`].
    fn schema(&self) -> SchemaRef;

    /// For EXPLAIN: by what rows find their rank.
    fn describe(&self) -> String;

    /// How many groups of messages there are at most.
    fn groups(&self, run: &Run) -> usize;

    /// A group of messages, whose memory is let go of with it.
    ///
    /// # Errors
    /// What was on disk cannot be read.
    fn messages(&self, run: &Run, group: usize) -> Result<Vec<RecordBatch>>;

    /// Takes a message of another rank.
    ///
    /// # Errors
    /// It is no such message; there is no memory and no disk for it.
    fn take(&self, run: &Run, message: &RecordBatch) -> Result<()>;
}

/// Messages of records: to which rank, of which bucket or partition, then the records.
pub fn message_schema<T: Record>() -> SchemaRef {
    let head = ["to", "group"].map(|name| Arc::new(Field::new(name, DataType::UInt32, false)));
    let records = schema::<T>();
    let fields = head.into_iter().chain(records.fields().iter().cloned());
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Records as a message.
pub(super) fn message(schema: &SchemaRef, to: usize, group: usize, records: &RecordBatch) -> Result<RecordBatch> {
    let head = [to, group].map(|word| Arc::new(UInt32Array::from(vec![word as u32; records.num_rows()])) as ArrayRef);
    let columns = head.into_iter().chain(records.columns().iter().cloned()).collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// The runs of rows of a message that are of one group, and their records.
pub(super) fn records_of<T: Record>(message: &RecordBatch) -> Result<Vec<(usize, RecordBatch)>> {
    let other = || Error::internal("a message of another form");
    let groups = message.columns().get(1).and_then(|column| column.as_primitive_opt::<UInt32Type>());
    let groups = groups.ok_or_else(other)?.values();
    let records = RecordBatch::try_new(schema::<T>(), message.columns()[2..].to_vec())?;
    let (mut parts, mut start) = (Vec::new(), 0);
    for run in groups.chunk_by(|a, b| a == b) {
        parts.push((run[0] as usize, records.slice(start, run.len())));
        start += run.len();
    }
    Ok(parts)
}

/// Runs a [`Work`] and sends.
pub struct Sending {
    work: Work,
    run: Arc<Run>,
    workers: Arc<Workers>,
}

impl Sending {
    /// The body of a stage.
    pub fn new(work: Work, run: Arc<Run>, workers: Arc<Workers>) -> Self {
        Self { work, run, workers }
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sending({})", self.work.lines.join(", "))
    }
}

impl Body for Sending {
    fn lines(&self) -> Vec<String> {
        self.work.lines.clone()
    }

    fn run(&self, mut task: StageTask) -> BoxFuture<'static, Result<()>> {
        let (work, run, workers) = (self.work.clone(), Arc::clone(&self.run), Arc::clone(&self.workers));
        async move {
            let workers_run = run.cancel.clone();
            let _watch = task.cancel.on_cancel(move |cause| {
                workers_run.cancel(cause.clone());
            });
            let mut outlets = std::mem::take(&mut task.outlets);
            let here = (work.clone(), Arc::clone(&run));
            workers
                .run(move || (here.0.run)(&here.1))
                .await
                .map_err(|error| error.context(format!("stage {}", task.stage)))?;
            if let (Some(exchanged), Some(outlet)) = (&work.exchanged, outlets.first_mut()) {
                for group in 0..exchanged.groups(&run) {
                    let here = (Arc::clone(exchanged), Arc::clone(&run));
                    for message in workers.run(move || here.0.messages(&here.1, group)).await? {
                        // Every rank reads all that is sent to it, so nobody says stop.
                        let _ = outlet.push(message).await?;
                    }
                }
            }
            let spilled = run.spilled.swap(0, Ordering::Relaxed);
            if spilled > 0 {
                task.metrics.add("spilled_records", spilled);
                tracing::info!(stage = %task.stage, rank = task.rank, records = spilled, "spilled");
            }
            for outlet in outlets {
                outlet.finish().await?;
            }
            Ok(())
        }
        .boxed()
    }
}

/// Takes what others have sent.
pub struct Receiving {
    exchanged: Arc<dyn Exchanged>,
    run: Arc<Run>,
}

impl Receiving {
    /// The body of the stage behind a [`Sending`].
    pub fn new(exchanged: Arc<dyn Exchanged>, run: Arc<Run>) -> Self {
        Self { exchanged, run }
    }
}

impl fmt::Debug for Receiving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiving({})", self.exchanged.describe())
    }
}

impl Body for Receiving {
    fn lines(&self) -> Vec<String> {
        vec![format!("receive {}", self.exchanged.describe())]
    }

    fn run(&self, mut task: StageTask) -> BoxFuture<'static, Result<()>> {
        let (exchanged, run) = (Arc::clone(&self.exchanged), Arc::clone(&self.run));
        async move {
            for (_, mut inlet) in std::mem::take(&mut task.inlets).into_values().flatten() {
                while let Some(message) = inlet.next().await {
                    exchanged.take(&run, &message?)?;
                }
            }
            for outlet in task.outlets {
                outlet.finish().await?;
            }
            Ok(())
        }
        .boxed()
    }
}
