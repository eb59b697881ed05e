//! Joins tell the scans of other stages which keys have partners.
//!
//! ```text
//!   s1: scan orders   -> x1 hash to s2             s1: scan orders partners [#1 in x3 of 3 lanes]   -> x1 hash to s2
//!   s2: exchange x0 → build slot 0          ──►    s2: exchange x0 → build slot 0 telling key 0 to x3     …; x3 advice to s1
//!       exchange x1 → probe slot 0                     exchange x1 → probe slot 0
//! ```
//!
//! Within a stage `fuse::partners` sees to it; here the scan is one exchange away. The scan's rows must go to this join alone,
//! and nothing on their way may count them or fail on them: whether advice comes in time is not the same in two runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use bireme_engine::stage::{Exchange, ExchangeId, Feed, Route, StageId, StageInput};
use bireme_operators::pipeline::ir::{Advice, Partner, PartnerKeys, Pipeline, Program, Sink, SlotId, Source};
use bireme_operators::pipeline::run::{Leaf, NativeBody, advice_schema};

use super::Builder;
use crate::fuse::{scanned, source_at_mut, wishes_of_exchanges};

/// What a native stage does.
pub(super) struct Native {
    pub program: Program,
    pub leaves: BTreeMap<usize, Leaf>,
    /// Whether it has changed since the stage was made.
    pub advised: bool,
}

/// A key of a join in one stage that is a column of scans in another.
struct Match {
    building: StageId,
    slot: SlotId,
    key: usize,
    scanning: StageId,
    /// Which branches of the stage's last pipeline the scans are, and the places in their sources' schemas.
    scans: Scans,
    data_type: DataType,
}

/// Scans of a pipeline, each as the way to it through branches, with the column that is meant.
type Scans = Vec<(Vec<usize>, usize)>;

impl Builder {
    /// Adds advice wherever it may be given.
    pub(super) fn advise(&mut self) {
        let matches = self.natives.keys().flat_map(|&stage| self.matches_of(stage)).collect::<Vec<_>>();
        for found in matches {
            self.advise_one(found);
        }
        let Some(world) = self.world.native.clone() else { return };
        for (stage, native) in std::mem::take(&mut self.natives) {
            if native.advised {
                let body = NativeBody::new(native.program, native.leaves, Arc::clone(&world.workers));
                let body = body.on(world.accelerator.clone());
                self.programs.insert(stage, Arc::clone(body.program()));
                self.graph.stages[stage.0 as usize].body = Arc::new(body);
            }
        }
    }

    /// The scans of other stages that joins of this one know better.
    fn matches_of(&self, building: StageId) -> Vec<Match> {
        let Some(native) = self.natives.get(&building) else { return Vec::new() };
        let wishes = native.program.pipelines.iter().flat_map(wishes_of_exchanges);
        let granted = wishes.filter_map(|(exchange, wish)| {
            let exchange = &self.graph.exchanges[exchange.0 as usize];
            let (scanning, scans) = self.scanned(exchange, wish.column)?;
            let data_type = exchange.schema.fields().get(wish.column)?.data_type().clone();
            Some(Match { building, slot: wish.slot, key: wish.key, scanning, scans, data_type })
        });
        granted.collect()
    }

    /// The stage that scans a column of the rows of an exchange, and the scans; `None` if there is none, if somebody else
    /// wants these rows as well, or if how many they are matters.
    fn scanned(&self, exchange: &Exchange, column: usize) -> Option<(StageId, Scans)> {
        let producer = &self.graph.stages[exchange.producer.0 as usize];
        let may_fail = match &exchange.route {
            Route::Hash(partitioner) | Route::Range(partitioner) => partitioner.may_fail(),
            Route::Adaptive(adaptive) => adaptive.partitioner.may_fail(),
            Route::RoundRobin | Route::Spread | Route::Gather | Route::Keep | Route::Broadcast => false,
        };
        if exchange.fetch.is_some() || producer.outputs.len() > 1 || may_fail {
            return None;
        }
        let scans = scanned(self.natives.get(&producer.id)?.program.pipelines.last()?, column);
        (!scans.is_empty()).then_some((producer.id, scans))
    }

    fn advise_one(&mut self, found: Match) {
        let Match { building, slot, key, scanning, scans, data_type } = found;
        let lanes = self.graph.stages[building.0 as usize].lanes.len();
        let exchange = ExchangeId(self.graph.exchanges.len() as u32);
        let build = self.program(building).and_then(|program| {
            let fills = |pipeline: &&mut Pipeline| matches!(pipeline.sink, Sink::Build(id, ..) if id == slot);
            program.pipelines.iter_mut().find(fills)
        });
        let Some(build) = build else { return };
        build.advice.push(Advice { key, exchange, lanes });
        if let Some(last) = self.program(scanning).and_then(|program| program.pipelines.last_mut()) {
            for (branch, column) in scans {
                let keys = PartnerKeys::Advice { exchange, lanes, data_type: data_type.clone() };
                if let Some(Source::Scan(scan)) = source_at_mut(&mut last.source, &branch) {
                    scan.partners.push(Partner { column, keys });
                }
            }
        }
        self.graph.exchanges.push(Exchange {
            id: exchange,
            producer: building,
            consumer: scanning,
            route: Route::Broadcast,
            schema: advice_schema(),
            fetch: None,
            spooled: true,
            advice: true,
        });
        self.graph.stages[building.0 as usize].advice.push(exchange);
        self.graph.stages[scanning.0 as usize].inputs.push(StageInput { exchange, feed: Feed::EveryRank });
    }

    /// The program of a native stage, to be changed.
    fn program(&mut self, stage: StageId) -> Option<&mut Program> {
        let native = self.natives.get_mut(&stage)?;
        native.advised = true;
        Some(&mut native.program)
    }
}
