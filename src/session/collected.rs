//! Keeps the rows of a result in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bireme_engine::error::Result;
use bireme_engine::stage::{LaneSink, Sink};
use parking_lot::Mutex;

/// A sink that keeps what it gets, by lane. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected {
    lanes: Arc<Mutex<BTreeMap<usize, Vec<RecordBatch>>>>,
}

impl Collected {
    /// The rows, in lane order.
    pub fn take(&self) -> Vec<RecordBatch> {
        std::mem::take(&mut *self.lanes.lock()).into_values().flatten().collect()
    }
}

impl Sink for Collected {
    fn describe(&self) -> String {
        "collect".into()
    }

    fn open(&self, _: usize, lane: usize) -> Result<Box<dyn LaneSink>> {
        Ok(Box::new(Part { lane, batches: Vec::new(), whole: self.clone() }))
    }
}

struct Part {
    lane: usize,
    batches: Vec<RecordBatch>,
    whole: Collected,
}

impl LaneSink for Part {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.batches.push(batch);
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.whole.lanes.lock().insert(self.lane, self.batches);
        Ok(())
    }
}
