//! What build sides tell the scans of other stages: the keys they have.
//!
//! ```text
//!   rank 0: build ─► filter ─┐  broadcast  ┌─► union ─► scan on rank 0
//!   rank 1: build ─► filter ─┴─────────────┴─► union ─► scan on rank 1
//! ```
//!
//! Each lane of the building stage has a part of the build side, and a row may go only if no part has its key. So whoever
//! scans unites what all lanes tell, and knows nothing before. It does not wait for it: its predicate is inactive until then,
//! and the join drops the same rows anyway. A lane may also end without a word (its table is on disk, there is no memory for
//! a filter, nobody wants its rows); then the union is never known.
//!
//! In practice scans do not run far ahead of the union: nobody reads the probe side before the build side is complete, so
//! that its exchange fills up.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use bireme_engine::budget::Budget;
use bireme_engine::error::{Error, Result};
use bireme_engine::exchange::{Inlet, Outlet};
use bireme_engine::metrics::StageMetrics;
use bireme_engine::stage::ExchangeId;
use bireme_engine::workers::Workers;
use futures::future::{Either, select, try_join_all};

use super::crew::Inlets;
use super::partner::Told;
use crate::hash_join::KeyUnion;
use crate::pipeline::ir::{PartnerKeys, Program};

/// Bytes of a filter, at most: a Bloom filter of a million keys, or bits for a range of 32 millions.
pub(super) const MOST_BYTES: usize = 4 << 20;

/// Counts filters that never were known.
const UNKNOWN: &str = "partners_unknown";

/// What the exchanges of advice carry: how many lanes speak, then the words of their filter.
pub fn advice_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("words", DataType::UInt64, false)]))
}

/// The filters that are known, or will be.
pub(super) type Learned = BTreeMap<ExchangeId, Told>;

/// Waits for the parts of one filter.
pub(super) struct Listener {
    inlets: Inlets,
    lanes: usize,
    data_type: DataType,
    told: Told,
}

/// Takes the inlets of advice for a program's scans.
pub(super) fn listen(program: &Program, inlets: &mut BTreeMap<ExchangeId, Inlets>) -> (Vec<Listener>, Learned) {
    let (mut listeners, mut learned) = (Vec::new(), Learned::new());
    let scans = program.pipelines.iter().flat_map(|pipeline| pipeline.source.scans());
    for partner in scans.flat_map(|scan| &scan.partners) {
        let PartnerKeys::Advice { exchange, lanes, data_type } = &partner.keys else { continue };
        let Some(inlets) = inlets.remove(exchange) else { continue };
        let told = Told::default();
        learned.insert(*exchange, Arc::clone(&told));
        listeners.push(Listener { inlets, lanes: *lanes, data_type: data_type.clone(), told });
    }
    (listeners, learned)
}

/// Hears all that is told.
pub(super) async fn hear(
    listeners: Vec<Listener>,
    workers: Arc<Workers>,
    budget: Budget,
    metrics: Arc<StageMetrics>,
) -> Result<()> {
    try_join_all(listeners.into_iter().map(|listener| listener.hear(&workers, &budget, &metrics))).await.map(drop)
}

/// Does work, and listens while it is done: not before, and no longer. What goes wrong with listening may only be an echo of
/// what goes wrong with the work, which is told first.
pub(super) async fn alongside(
    work: impl Future<Output = Result<()>>,
    listening: impl Future<Output = Result<()>>,
) -> Result<()> {
    match select(pin!(work), pin!(listening)).await {
        Either::Left((done, _)) => done,
        Either::Right((heard, work)) => work.await.and(heard),
    }
}

impl Listener {
    async fn hear(self, workers: &Workers, budget: &Budget, metrics: &StageMetrics) -> Result<()> {
        let mut union = KeyUnion::new(self.data_type, MOST_BYTES);
        let (mut lanes, held) = (0, budget.reserve("hash join filter"));
        for (_, mut inlet) in self.inlets {
            while let Some(words) = next(&mut inlet).await? {
                // What cannot be held is not known.
                if held.try_grow(words.len() * 8).is_err() {
                    metrics.add(UNKNOWN, 1);
                    return Ok(());
                }
                let (speaking, filter) = words.values().split_first().ok_or_else(odd)?;
                lanes += *speaking as usize;
                union.add(filter)?;
            }
        }
        if lanes != self.lanes {
            metrics.add(UNKNOWN, 1);
            return Ok(());
        }
        let budget = budget.clone();
        match workers.run(move || Ok(union.finish(&budget))).await? {
            Some(filter) => drop(self.told.set(filter)),
            None => metrics.add(UNKNOWN, 1),
        }
        Ok(())
    }
}

async fn next(inlet: &mut Inlet) -> Result<Option<UInt64Array>> {
    let Some(batch) = inlet.next().await.transpose()? else { return Ok(None) };
    batch.columns().first().and_then(|words| words.as_primitive_opt::<UInt64Type>()).cloned().ok_or_else(odd).map(Some)
}

fn odd() -> Error {
    Error::internal("advice that is none")
}

/// Tells the scans of other stages, on all ranks, what they wait for: one filter over each exchange.
pub(super) struct Giver(BTreeMap<ExchangeId, Vec<Outlet>>);

impl Giver {
    /// The outlets of each exchange, one for each lane that runs here.
    pub fn new(outlets: BTreeMap<ExchangeId, Vec<Outlet>>) -> Self {
        Self(outlets)
    }

    /// Tells a filter of all lanes that run here, if there is one, and ends.
    pub async fn give(&mut self, exchange: ExchangeId, filter: Option<Vec<u64>>) -> Result<()> {
        tell(self.0.remove(&exchange).unwrap_or_default(), filter).await
    }

    /// Ends what was not told.
    pub async fn finish(&mut self) -> Result<()> {
        for outlets in std::mem::take(&mut self.0).into_values() {
            tell(outlets, None).await?;
        }
        Ok(())
    }
}

async fn tell(mut outlets: Vec<Outlet>, filter: Option<Vec<u64>>) -> Result<()> {
    let lanes = outlets.len() as u64;
    if let (Some(filter), Some(outlet)) = (filter, outlets.first_mut()) {
        let words = UInt64Array::from_iter_values(std::iter::once(lanes).chain(filter));
        // Whether anybody still listens makes no difference here.
        let _ = outlet.push(RecordBatch::try_new(advice_schema(), vec![Arc::new(words)])?).await?;
    }
    for outlet in outlets {
        outlet.finish().await?;
    }
    Ok(())
}
