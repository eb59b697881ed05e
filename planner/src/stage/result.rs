//! The end of the graph: rows leave it through a sink.

use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_engine::stage::{Feed, Output, Pin, Route, Sink, Stage, StageId, StageInput};
use bireme_operators::forward::Forward;

use super::{Builder, Fragment};
use crate::plan::{Delivery, Goal};

impl Builder {
    pub(super) fn deliver(&mut self, fragment: Fragment, goal: &Goal) -> Result<StageId> {
        let sink = Arc::clone(&goal.sink);
        match goal.delivery {
            Delivery::Lanes => self.close(fragment, vec![Output::Sink(sink)]),
            Delivery::Root => self.at_root(fragment, vec![Output::Sink(sink)]),
            // With one rank the root's copy is everybody's copy.
            Delivery::Replicated if self.ranks == 1 => self.at_root(fragment, vec![Output::Sink(sink)]),
            Delivery::Replicated => self.replicated(fragment, sink),
        }
    }

    /// One lane on rank 0 that holds the rows of all lanes, in lane order.
    fn at_root(&mut self, mut fragment: Fragment, outputs: Vec<Output>) -> Result<StageId> {
        if let [pin @ (Pin::Free | Pin::Rank(0))] = fragment.lanes.as_mut_slice() {
            *pin = Pin::Rank(0);
            return self.close(fragment, outputs);
        }
        let lanes = fragment.lanes.len();
        let exchange = self.send(fragment, Route::Keep, None)?;
        let input = StageInput { exchange, feed: Feed::Lanes(vec![0; lanes]) };
        Ok(self.forward(input, vec![Pin::Rank(0)], outputs))
    }

    /// Gathered once, then sent to every rank: no rank computes a result that another could see differently.
    fn replicated(&mut self, fragment: Fragment, sink: Arc<dyn Sink>) -> Result<StageId> {
        let schema = fragment.template.schema();
        let gathered = self.at_root(fragment, Vec::new())?;
        let exchange = self.exchange(gathered, Route::Broadcast, schema, None);
        let input = StageInput { exchange, feed: Feed::EveryRank };
        let everywhere = (0..self.ranks).map(Pin::Rank).collect();
        Ok(self.forward(input, everywhere, vec![Output::Sink(sink)]))
    }

    fn forward(&mut self, input: StageInput, lanes: Vec<Pin>, outputs: Vec<Output>) -> StageId {
        let body = Arc::new(Forward::new(input.clone()));
        self.push(Stage { id: StageId(0), body, lanes, inputs: vec![input], outputs, after: Vec::new() })
    }
}
