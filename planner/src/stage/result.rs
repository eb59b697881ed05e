//! The end of the graph: rows leave it through a sink.

use std::sync::Arc;

use bireme_engine::error::Result;
use bireme_engine::stage::{Feed, Output, Pin, Route, Sink, Stage, StageId, StageInput};
use bireme_operators::forward::Forward;

use super::{Builder, Part};
use crate::fuse::Fused;
use crate::plan::{Delivery, Goal};

impl Builder {
    /// Ends the graph; says by which columns the lane of each row is known, where rows stay in their lanes.
    pub(super) fn deliver(&mut self, part: Part, goal: &Goal) -> Result<Vec<Vec<usize>>> {
        let sink = Arc::clone(&goal.sink);
        let mut hashed_by = Vec::new();
        match goal.delivery {
            Delivery::Lanes => {
                let mut part = part;
                if let Part::Fused(fused) = &mut part {
                    hashed_by = self.pinned(fused);
                }
                self.close(part, vec![Output::Sink(sink)])
            }
            Delivery::Root => self.at_root(part, vec![Output::Sink(sink)]),
            // With one rank the root's copy is everybody's copy.
            Delivery::Replicated if self.ranks == 1 => self.at_root(part, vec![Output::Sink(sink)]),
            Delivery::Replicated => self.replicated(part, sink),
        }?;
        Ok(hashed_by)
    }

    /// Pins lane `i` to rank `i` where the lane of each row is known by its columns: whoever keeps the rows can count on it.
    fn pinned(&mut self, fused: &mut Fused) -> Vec<Vec<usize>> {
        let hashed_by = fused.layout.columns();
        let fits = |(lane, pin): (usize, &Pin)| matches!(pin, Pin::Free) || *pin == Pin::Rank(lane);
        if hashed_by.is_empty() || fused.lanes.len() != self.ranks || !fused.lanes.iter().enumerate().all(fits) {
            return Vec::new();
        }
        fused.lanes = (0..self.ranks).map(Pin::Rank).collect();
        self.rely(fused);
        hashed_by
    }

    /// One lane on rank 0 that holds the rows of all lanes, in lane order.
    fn at_root(&mut self, mut part: Part, outputs: Vec<Output>) -> Result<StageId> {
        if let [pin @ (Pin::Free | Pin::Rank(0))] = part.lanes_mut() {
            *pin = Pin::Rank(0);
            return self.close(part, outputs);
        }
        let lanes = part.lanes().len();
        let exchange = self.send(part, Route::Keep, None)?;
        let input = StageInput { exchange, feed: Feed::Lanes(vec![0; lanes]) };
        Ok(self.forward(input, vec![Pin::Rank(0)], outputs))
    }

    /// Gathered once, then sent to every rank: no rank computes a result that another could see differently.
    fn replicated(&mut self, part: Part, sink: Arc<dyn Sink>) -> Result<StageId> {
        let schema = part.schema();
        let gathered = self.at_root(part, Vec::new())?;
        let exchange = self.exchange(gathered, Route::Broadcast, schema, None);
        let input = StageInput { exchange, feed: Feed::EveryRank };
        let everywhere = (0..self.ranks).map(Pin::Rank).collect();
        Ok(self.forward(input, everywhere, vec![Output::Sink(sink)]))
    }

    fn forward(&mut self, input: StageInput, lanes: Vec<Pin>, outputs: Vec<Output>) -> StageId {
        let body = Arc::new(Forward::new(input.clone()));
        self.push(Stage {
            id: StageId(0),
            body,
            lanes,
            inputs: vec![input],
            outputs,
            advice: Vec::new(),
            after: Vec::new(),
        })
    }
}
