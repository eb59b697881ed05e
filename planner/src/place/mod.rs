//! Decides what a plan leaves open: how the sides of joins meet, over how many lanes rows are grouped, and on which rank each lane
//! runs.
//!
//! | mapper | decides |
//! |---|---|
//! | [`CostMapper`] | by what each way costs on the machine that is planned for |
//! | [`FixedMapper`] | as somebody has said, where that gives the right answer |
//! | [`RandomMapper`] | at random: placement changes speed, never answers |
//! | [`RecordingMapper`] | as another one, and keeps a list |

pub(crate) mod cost;
mod fixed;
mod join;
mod lanes;
pub(crate) mod predict;
mod random;
mod recording;
mod work;

use std::fmt::{self, Debug};

use bireme_engine::stage::{Pin, StageGraph};

pub use fixed::FixedMapper;
pub use join::{JoinDecision, JoinInput, JoinSide, JoinWay, cheapest, costs};
pub use lanes::{LanesDecision, LanesInput, cheapest_lanes, lanes_costs};
pub use predict::{Prediction, StageTime};
pub use random::RandomMapper;
pub use recording::RecordingMapper;
pub use work::{Kind, Work};

/// Decides. Laws: the same question gets the same answer on every rank; placement changes speed, never answers.
pub trait Mapper: Debug + Send + Sync {
    /// How the sides of a join meet: one of `input.ways`.
    fn join(&self, input: &JoinInput<'_>) -> JoinDecision {
        cheapest(input)
    }

    /// Over how many lanes rows come together by their keys: at least one, at most one a rank.
    fn lanes(&self, input: &LanesInput<'_>) -> LanesDecision {
        cheapest_lanes(input)
    }

    /// A rank for each lane of each stage; pinned lanes get the rank they are pinned to.
    fn place(&self, graph: &StageGraph, ranks: usize) -> Vec<Vec<usize>> {
        in_blocks(graph, ranks)
    }
}

/// Decides by cost. Lanes go to the ranks in contiguous blocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct CostMapper;

impl Mapper for CostMapper {}

/// Lanes in contiguous blocks, in rank order; a single lane on rank 0.
///
/// Lane `i` of `n` goes to rank `i·ranks/n`, so that two stages with as many lanes put lane `i` on the same rank and
/// neighbouring parts of a file stay together.
pub fn in_blocks(graph: &StageGraph, ranks: usize) -> Vec<Vec<usize>> {
    let blocks = |lanes: &Vec<Pin>| {
        let count = lanes.len();
        let place = |(lane, pin): (usize, &Pin)| match pin {
            Pin::Rank(rank) => *rank,
            Pin::Free => lane * ranks / count,
        };
        lanes.iter().enumerate().map(place).collect()
    };
    graph.stages.iter().map(|stage| blocks(&stage.lanes)).collect()
}

/// What was decided, and what the other ways would have cost: for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What was to be decided, such as `join on a = b`.
    pub about: String,
    /// What was chosen.
    pub chosen: String,
    /// The ways, with the seconds each was expected to take; empty if nothing was known.
    pub costs: Vec<(String, f64)>,
}

impl Decision {
    /// How a join meets.
    pub(crate) fn join(about: String, way: JoinWay, costs: Vec<(JoinWay, f64)>) -> Self {
        let costs = costs.into_iter().map(|(way, cost)| (way.to_string(), cost)).collect();
        Self { about, chosen: way.to_string(), costs }
    }

    /// Over how many lanes rows come together.
    pub(crate) fn lanes(about: String, lanes: usize, costs: Vec<(usize, f64)>) -> Self {
        let name = |lanes: usize| if lanes == 1 { "1 lane".to_owned() } else { format!("{lanes} lanes") };
        let costs = costs.into_iter().map(|(lanes, cost)| (name(lanes), cost)).collect();
        Self { about, chosen: name(lanes), costs }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.chosen)?;
        let cost = |way: &String| self.costs.iter().find(|(known, _)| known == way).map(|(_, cost)| *cost);
        if let Some(cost) = cost(&self.chosen) {
            write!(f, " {}", milliseconds(cost))?;
        }
        let others = self.costs.iter().filter(|(way, _)| *way != self.chosen);
        let others = others.map(|(way, cost)| format!("{way} {}", milliseconds(*cost))).collect::<Vec<_>>();
        if others.is_empty() { Ok(()) } else { write!(f, " (rejected: {})", others.join(", ")) }
    }
}

/// Seconds for a person, in milliseconds with three digits.
pub(crate) fn milliseconds(seconds: f64) -> String {
    let value = seconds * 1e3;
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} ms")
}
