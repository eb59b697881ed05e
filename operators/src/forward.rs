//! Passes batches on, unchanged: the body of stages that exist only to bring rows somewhere.
//!
//! Lane by lane, every inlet of the lane is read to its end before the next: a stage of one lane behind a lane-keeping
//! exchange thus puts the lanes of its producer one after the other, in lane order. That makes `collect()` return rows
//! in the same order on every run wherever the lanes themselves are deterministic.

use bireme_engine::error::Result;
use bireme_engine::exchange::{Flow, Inlet, Outlet};
use bireme_engine::run::StageTask;
use bireme_engine::stage::{Body, Feed, StageInput};
use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};

/// Reads its only input and hands every batch on.
#[derive(Debug)]
pub struct Forward {
    input: StageInput,
}

impl Forward {
    /// A body that forwards `input`.
    pub fn new(input: StageInput) -> Self {
        Self { input }
    }
}

impl Body for Forward {
    fn lines(&self) -> Vec<String> {
        vec![format!("forward {}", self.input.exchange)]
    }

    fn run(&self, mut task: StageTask) -> BoxFuture<'static, Result<()>> {
        let inlets = task.inlets.remove(&self.input.exchange).unwrap_or_default();
        let mut by_lane: Vec<Vec<Inlet>> = task.lanes.iter().map(|_| Vec::new()).collect();
        for (input_lane, inlet) in inlets {
            let place = match &self.input.feed {
                Feed::Lanes(lanes) => task.lanes.iter().position(|lane| lanes.get(input_lane) == Some(lane)),
                Feed::EveryRank => Some(0),
            };
            if let Some(inlets) = place.and_then(|place| by_lane.get_mut(place)) {
                inlets.push(inlet);
            }
        }
        let lanes = by_lane.into_iter().zip(task.outlets).map(|(inlets, outlet)| forward_lane(inlets, outlet));
        try_join_all(lanes.collect::<Vec<_>>()).map(|ended| ended.map(|_| ())).boxed()
    }
}

async fn forward_lane(inlets: Vec<Inlet>, mut outlet: Outlet) -> Result<()> {
    'inlets: for mut inlet in inlets {
        while let Some(Some(batch)) = outlet.unless_stopped(inlet.next()).await {
            if outlet.push(batch?).await? == Flow::Stop {
                break 'inlets;
            }
        }
    }
    outlet.finish().await
}
