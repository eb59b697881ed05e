//! The reading end of one input lane.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::{FusedStream, Stream};

use super::port::Port;
use super::queue::{LaneQueue, Popped};
use crate::error::Result;
use crate::metrics::StageMetrics;
use crate::stage::ExchangeId;

/// A stream of the batches of one input lane of an exchange.
///
/// It ends when all producer lanes have ended, after as many rows as the exchange fetches, or after an error. Dropping
/// it early tells the producers that this lane wants nothing more.
pub struct Inlet {
    port: Arc<Port>,
    lane: usize,
    queue: Arc<LaneQueue>,
    metrics: Arc<StageMetrics>,
    /// Of a batch of many rows, those that have not been read.
    rest: Option<RecordBatch>,
    /// Rows that are still wanted, where there is a limit.
    left: Option<usize>,
    parked: Option<Instant>,
    done: bool,
}

impl Inlet {
    pub(crate) fn new(port: Arc<Port>, lane: usize, metrics: Arc<StageMetrics>) -> Result<Self> {
        let queue = Arc::clone(port.queue(lane)?);
        Ok(Self { left: port.fetch, port, lane, queue, metrics, rest: None, parked: None, done: false })
    }

    /// Which exchange it reads.
    pub fn exchange(&self) -> ExchangeId {
        self.port.id
    }

    /// Which of the exchange's input lanes it reads.
    pub fn lane(&self) -> usize {
        self.lane
    }

    /// What its batches look like.
    pub fn schema(&self) -> &SchemaRef {
        &self.port.schema
    }

    /// The next batch; `None` at the end. For bodies that name no stream traits.
    ///
    /// # Errors
    /// The action was cancelled, or a batch cannot be read back.
    pub async fn next(&mut self) -> Option<Result<RecordBatch>> {
        std::future::poll_fn(|cx| self.poll_batch(cx)).await
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        if self.done {
            return Poll::Ready(None);
        }
        if self.left == Some(0) {
            return self.end(None);
        }
        if let Some(cause) = self.port.cancel.cause() {
            return self.end(Some(Err(cause)));
        }
        if let Some(rest) = self.rest.take() {
            return self.take(rest);
        }
        let popped = self.queue.poll_pop(cx);
        let Poll::Ready(popped) = popped else {
            // Again, now that the queue knows whom to wake: the token may have fired in between.
            if let Some(cause) = self.port.cancel.cause() {
                return self.end(Some(Err(cause)));
            }
            self.parked.get_or_insert_with(Instant::now);
            return Poll::Pending;
        };
        self.count_wait();
        match popped {
            Popped::End => self.end(None),
            Popped::Batch(Err(error), _) => self.end(Some(Err(error))),
            Popped::Batch(Ok(batch), credits) => match self.port.give_credits(self.lane, credits) {
                Ok(()) => self.take(batch),
                Err(error) => self.end(Some(Err(error))),
            },
        }
    }

    /// Messages have as many rows as are worth one; readers get no more at a time than fit a core's cache.
    fn take(&mut self, mut batch: RecordBatch) -> Poll<Option<Result<RecordBatch>>> {
        let (rows, most) = (batch.num_rows(), self.port.batch_rows);
        if rows > most && batch.num_columns() > 0 && !self.port.advice {
            self.rest = Some(batch.slice(most, rows - most));
            batch = batch.slice(0, most);
        }
        if let Some(left) = &mut self.left {
            if batch.num_rows() > *left {
                batch = batch.slice(0, *left);
            }
            *left -= batch.num_rows();
            // At once, not with the next poll: the producers should stop now.
            if *left == 0 {
                self.port.stop(self.lane);
            }
        }
        self.metrics.rows_in.add(batch.num_rows() as u64);
        Poll::Ready(Some(Ok(batch)))
    }

    fn end(&mut self, last: Option<Result<RecordBatch>>) -> Poll<Option<Result<RecordBatch>>> {
        self.done = true;
        self.count_wait();
        self.port.stop(self.lane);
        Poll::Ready(last)
    }

    fn count_wait(&mut self) {
        if let Some(since) = self.parked.take() {
            self.metrics.wait.add_time(since.elapsed());
            self.port.metrics.receive_wait.add_time(since.elapsed());
        }
    }
}

impl Stream for Inlet {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_batch(cx)
    }
}

impl FusedStream for Inlet {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        if !self.done {
            self.count_wait();
            self.port.stop(self.lane);
        }
    }
}

impl fmt::Debug for Inlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inlet({} lane {})", self.port.id, self.lane)
    }
}
