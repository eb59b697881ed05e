//! `ContractionExec`: a stage of its own, which reads both tables over exchanges.
//!
//! | indices | left | right |
//! |---|---|---|
//! | some in both tables and the result | by their hash | by their hash |
//! | else, of the larger table alone | by their hash, or to every rank | to every rank, or by their hash |
//!
//! So each group is made on one rank.

use std::sync::Arc;

use bireme_engine::error::{Error, Result};
use bireme_engine::stage::{Feed, Pin, Route, Stage, StageId, StageInput};
use bireme_operators::contract_rows::ContractBody;
use bireme_operators::hash_partition::HashPartitioner;
use bireme_operators::pipeline::ir::Source;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;

use super::{Builder, Part};
use crate::fuse::Fused;
use crate::physical::ContractionExec;

impl Builder {
    pub(super) fn contraction(&mut self, node: &ContractionExec) -> Result<Part> {
        let Some(native) = self.world.native.clone() else {
            return Err(Error::internal("a contraction without workers"));
        };
        let contraction = node.contraction().clone();
        let [left, right] = node.inputs();
        let expected = [left, right].map(|node| self.expected(node));
        let (left, right) = (self.visit_where_it_lies(left)?, self.visit_where_it_lies(right)?);
        let (at_left, at_right): (Vec<_>, Vec<_>) = contraction.batch.iter().copied().unzip();
        let by = |columns: &[usize], fused: &Fused| {
            let column =
                |&at: &usize| Arc::new(Column::new(fused.schema.field(at).name(), at)) as Arc<dyn PhysicalExpr>;
            Route::Hash(Arc::new(HashPartitioner::new(columns.iter().map(column).collect())))
        };
        let split_left = match (contraction.left_free.is_empty(), contraction.right_free.is_empty(), expected) {
            (false, false, [Some(left), Some(right)]) => left >= right,
            (free, ..) => !free,
        };
        let routes = match () {
            () if self.ranks == 1 => [Route::Gather, Route::Gather],
            () if !at_left.is_empty() => [by(&at_left, &left), by(&at_right, &right)],
            () if split_left => [by(&contraction.left_free, &left), Route::Broadcast],
            () => [Route::Broadcast, by(&contraction.right_free, &right)],
        };
        let schema = Arc::clone(&contraction.schema);
        let mut inputs = Vec::with_capacity(2);
        for (fused, route) in [left, right].into_iter().zip(routes) {
            let feed = match route {
                Route::Broadcast => Feed::EveryRank,
                _ => Feed::Lanes((0..self.ranks).collect()),
            };
            inputs.push(StageInput { exchange: self.send(fused.into(), route, None)?, feed });
        }
        let body = ContractBody::new(contraction, inputs[0].exchange, inputs[1].exchange, native.workers);
        let lanes = vec![Pin::Free; self.ranks];
        let stage = self.push(Stage {
            id: StageId(0),
            body: Arc::new(body),
            lanes: lanes.clone(),
            inputs,
            outputs: Vec::new(),
            advice: Vec::new(),
            after: Vec::new(),
        });
        let exchange = self.exchange(stage, Route::Keep, Arc::clone(&schema), None);
        let mut reading = Fused::reading(Source::Exchange(exchange), schema, lanes);
        reading.inputs = vec![StageInput { exchange, feed: Feed::Lanes((0..self.ranks).collect()) }];
        Ok(reading.into())
    }
}
