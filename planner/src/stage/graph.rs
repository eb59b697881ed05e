//! `GraphExec`: a stage of its own with one lane on each rank, to which edges go that lie there.

use std::sync::Arc;

use bireme_engine::error::{Error, Result};
use bireme_engine::stage::{Feed, Pin, Route, Stage, StageId, StageInput};
use bireme_operators::graph::GraphBody;
use bireme_operators::pipeline::ir::Source;
use datafusion::physical_plan::ExecutionPlan;

use super::{Builder, Part};
use crate::fuse::Fused;
use crate::physical::{GraphExec, wished_cut};

impl Builder {
    pub(super) fn graph(&mut self, node: &GraphExec) -> Result<Part> {
        let Some(native) = self.world.native.clone() else {
            return Err(Error::internal("a graph without workers"));
        };
        let edges = self.visit_where_it_lies(node.edges())?;
        let schema = node.schema();
        let feed = Feed::Lanes((0..self.ranks).collect());
        // In turn among the lanes of its own rank, of which there is one.
        let input = StageInput { exchange: self.send(edges.into(), Route::RoundRobin, None)?, feed: feed.clone() };
        let body = GraphBody::new(
            node.algorithm().clone(),
            node.columns().clone(),
            Arc::clone(&schema),
            input.exchange,
            node.kept().cloned(),
            wished_cut(self.world.context.session_config().options()),
            native.workers,
        );
        let body = body.on(native.accelerator);
        let lanes = (0..self.ranks).map(Pin::Rank).collect::<Vec<_>>();
        let stage = self.push(Stage {
            id: StageId(0),
            body: Arc::new(body),
            lanes: lanes.clone(),
            inputs: vec![input],
            outputs: Vec::new(),
            advice: Vec::new(),
            after: Vec::new(),
        });
        let exchange = self.exchange(stage, Route::Keep, Arc::clone(&schema), None);
        let mut reading = Fused::reading(Source::Exchange(exchange), schema, lanes);
        reading.inputs = vec![StageInput { exchange, feed }];
        Ok(reading.into())
    }
}
