//! How the two sides of a join between ranks meet.
//!
//! ```text
//!   in place      neither moves: equal keys lie on one rank already
//!   move build    the build side goes to where the probe side lies by a key        move probe: the other way round
//!   shuffle       both go by the hash of the keys
//!   broadcast     the build side goes to every rank, the probe side stays
//! ```
//!
//! A way's cost is what one rank does: what it sends, and the work on its share of the rows. A broadcast sends nothing of the probe
//! side, and each rank builds the whole table.

use std::fmt;
use std::str::FromStr;

use bireme_engine::error::{Error, Result};
use bireme_engine::machine::Cluster;

use super::cost::Costs;

/// A way in which the sides of a join meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinWay {
    /// Neither side moves.
    InPlace,
    /// The build side moves to where the probe side lies.
    MoveBuild,
    /// The probe side moves to where the build side lies.
    MoveProbe,
    /// Both move, by the hash of the keys.
    Shuffle,
    /// The build side moves to every rank.
    Broadcast,
}

impl JoinWay {
    /// All of them.
    pub const ALL: [JoinWay; 5] =
        [JoinWay::InPlace, JoinWay::MoveBuild, JoinWay::MoveProbe, JoinWay::Shuffle, JoinWay::Broadcast];

    /// In one word, as settings say it.
    pub fn short(self) -> &'static str {
        match self {
            JoinWay::InPlace => "in-place",
            JoinWay::MoveBuild => "move-build",
            JoinWay::MoveProbe => "move-probe",
            JoinWay::Shuffle => "shuffle",
            JoinWay::Broadcast => "broadcast",
        }
    }
}

impl FromStr for JoinWay {
    type Err = Error;

    /// Reads it as [`JoinWay::short`] or as `Display` writes it.
    fn from_str(text: &str) -> Result<Self> {
        let wish = text.trim().to_lowercase();
        let known = JoinWay::ALL.into_iter().find(|way| wish == way.to_string() || wish == way.short());
        known.ok_or_else(|| {
            let names = JoinWay::ALL.map(|way| format!("`{}`", way.short())).join(", ");
            Error::user(format!("no way for joins to meet is called `{text}`; there are {names}"))
        })
    }
}

impl fmt::Display for JoinWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JoinWay::InPlace => "in place",
            JoinWay::MoveBuild => "move build side",
            JoinWay::MoveProbe => "move probe side",
            JoinWay::Shuffle => "shuffle",
            JoinWay::Broadcast => "broadcast build side",
        })
    }
}

/// One side of a join.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct JoinSide {
    /// How many rows it is expected to have; `None` if nothing is known.
    pub rows: Option<f64>,
    /// Bytes of a row on its way.
    pub row_bytes: f64,
    /// In how many lanes, at most one a rank, it lies.
    pub lanes: usize,
}

impl JoinSide {
    /// A side of so many rows, bytes a row, and lanes.
    pub fn new(rows: Option<f64>, row_bytes: f64, lanes: usize) -> Self {
        Self { rows, row_bytes, lanes }
    }
}

/// What a mapper is asked about a join.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct JoinInput<'a> {
    /// Which join of the plan it is.
    pub number: usize,
    /// The machine that is planned for.
    pub cluster: &'a Cluster,
    /// The side whose rows are kept in a hash table.
    pub build: JoinSide,
    /// The side whose rows look for partners there.
    pub probe: JoinSide,
    /// Ways that give the right answer; not empty. First the one to take if nothing is known of the rows.
    pub ways: &'a [JoinWay],
}

impl<'a> JoinInput<'a> {
    /// A question; `ways` must not be empty.
    pub fn new(number: usize, cluster: &'a Cluster, build: JoinSide, probe: JoinSide, ways: &'a [JoinWay]) -> Self {
        Self { number, cluster, build, probe, ways }
    }
}

/// A mapper's answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct JoinDecision {
    /// The way chosen.
    pub way: JoinWay,
    /// Seconds that each way is expected to take, as far as they could be told.
    pub costs: Vec<(JoinWay, f64)>,
    /// With [`JoinWay::Shuffle`]: the ranks may decide otherwise while the plan runs. The build side is broadcast if it turns out to
    /// have fewer bytes than this, and keys that are heavy on the probe side are split. `None`: it stays as it was decided.
    pub broadcast_below: Option<u64>,
}

impl JoinDecision {
    /// A way, with what is known of all.
    pub fn new(way: JoinWay, costs: Vec<(JoinWay, f64)>) -> Self {
        Self { way, costs, broadcast_below: None }
    }

    /// Leaves it to the ranks to decide otherwise while the plan runs.
    #[must_use]
    pub fn open(self, broadcast_below: u64) -> Self {
        Self { broadcast_below: Some(broadcast_below), ..self }
    }
}

/// Below so many bytes a build side is broadcast if nothing is known of the probe side.
const SMALL: u64 = 1 << 20;

/// Above so many bytes it is not, whatever it costs: each rank keeps it.
const LARGE: f64 = (256 << 20) as f64;

/// Below how many bytes of the build side a broadcast is cheaper than a shuffle.
fn broadcast_below(input: &JoinInput<'_>) -> u64 {
    if input.probe.rows.is_none() {
        return SMALL;
    }
    let ways = [JoinWay::Shuffle, JoinWay::Broadcast];
    let is_cheaper = |bytes: f64| {
        let rows = Some(bytes / input.build.row_bytes.max(1.0));
        let input = JoinInput { build: JoinSide { rows, ..input.build }, ways: &ways, ..*input };
        matches!(costs(&input).as_slice(), [(_, shuffle), (_, broadcast)] if broadcast < shuffle)
    };
    // What is cheaper for some size is cheaper for all smaller ones.
    let (mut below, mut above) = (0.0, LARGE);
    while above - below > 1024.0 {
        let middle = (below + above) / 2.0;
        if is_cheaper(middle) { below = middle } else { above = middle }
    }
    below as u64
}

/// The cheapest way; the first one if nothing is known of a side.
pub fn cheapest(input: &JoinInput<'_>) -> JoinDecision {
    let costs = costs(input);
    let best = costs.iter().copied().min_by(|(_, a), (_, b)| a.total_cmp(b));
    let decision = JoinDecision::new(best.map_or(input.ways[0], |(way, _)| way), costs);
    if decision.way == JoinWay::Shuffle { decision.open(broadcast_below(input)) } else { decision }
}

/// What each way costs, in seconds; nothing if nothing is known of a side.
pub fn costs(input: &JoinInput<'_>) -> Vec<(JoinWay, f64)> {
    let (Some(build), Some(probe)) = (input.build.rows, input.probe.rows) else { return Vec::new() };
    let costs = Costs::of(input.cluster);
    let ranks = input.cluster.ranks() as f64;
    let lanes = |way: JoinWay| match way {
        JoinWay::InPlace | JoinWay::Broadcast => input.probe.lanes.max(1) as f64,
        _ => ranks,
    };
    let shuffled = |side: &JoinSide, rows: f64| costs.shuffle(rows, side.row_bytes, side.lanes);
    let cost = |way: JoinWay| {
        let moved = match way {
            JoinWay::InPlace => 0.0,
            JoinWay::MoveBuild => shuffled(&input.build, build),
            JoinWay::MoveProbe => shuffled(&input.probe, probe),
            JoinWay::Shuffle => shuffled(&input.build, build) + shuffled(&input.probe, probe),
            JoinWay::Broadcast => costs.broadcast(build, input.build.row_bytes),
        };
        let built = if way == JoinWay::Broadcast { build } else { build / lanes(way) };
        moved
            + costs.build(built, input.build.row_bytes)
            + costs.probe(probe / lanes(way), built, input.build.row_bytes)
    };
    input.ways.iter().map(|&way| (way, cost(way))).collect()
}

#[cfg(test)]
mod tests {
    use bireme_engine::machine::{Machine, Rates};

    use super::*;

    fn decide(build: f64, probe: f64, ranks: usize, bandwidth: f64) -> JoinWay {
        let mut cluster = Cluster::on_one_node(&Machine::probe(1, 0), 1, 2);
        cluster.nodes = ranks;
        cluster.rates = Rates::default();
        cluster.rates.between.bandwidth = bandwidth;
        let side = |rows| JoinSide::new(Some(rows), 24.0, ranks);
        let ways = [JoinWay::Shuffle, JoinWay::Broadcast];
        cheapest(&JoinInput::new(0, &cluster, side(build), side(probe), &ways)).way
    }

    #[test]
    fn few_rows_are_broadcast_and_many_are_not() {
        assert_eq!(decide(1e3, 1e7, 4, 1e9), JoinWay::Broadcast);
        assert_eq!(decide(1e7, 1e7, 4, 1e9), JoinWay::Shuffle);
    }

    #[test]
    fn the_network_decides() {
        // Each rank builds all of a table that is a quarter of the other side: worth it where sending the rest is slow.
        assert_eq!(decide(5e6, 2e7, 4, 1e7), JoinWay::Broadcast);
        assert_eq!(decide(5e6, 2e7, 4, 1e12), JoinWay::Shuffle);
    }

    #[test]
    fn many_ranks_make_broadcasts_dear() {
        assert_eq!(decide(1e5, 1e8, 4, 1e9), JoinWay::Broadcast);
        assert_eq!(decide(1e6, 1e8, 1024, 1e9), JoinWay::Shuffle);
    }

    #[test]
    fn a_shuffle_is_left_open_up_to_where_a_broadcast_costs_as_much() {
        let cluster = Cluster::on_one_node(&Machine::probe(1, 0), 4, 1);
        let side = |rows| JoinSide::new(rows, 16.0, 4);
        let below = |probe: Option<f64>| {
            broadcast_below(&JoinInput::new(0, &cluster, side(Some(1e9)), side(probe), &[JoinWay::Shuffle]))
        };
        assert!(below(Some(1e5)) < below(Some(1e7)) && below(None) == SMALL);
        assert!(below(Some(1e12)) as f64 > LARGE * 0.99);
    }

    #[test]
    fn what_lies_well_stays() {
        let cluster = Cluster::on_one_node(&Machine::probe(1, 0), 4, 1);
        let side = |rows| JoinSide::new(rows, 16.0, 4);
        let ways = [JoinWay::InPlace, JoinWay::Shuffle, JoinWay::Broadcast];
        let input = JoinInput::new(0, &cluster, side(Some(1e6)), side(Some(1e6)), &ways);
        assert_eq!(cheapest(&input).way, JoinWay::InPlace);
        let unknown = JoinInput::new(0, &cluster, side(None), side(Some(1e6)), &ways[1..]);
        assert_eq!(cheapest(&unknown), JoinDecision::new(JoinWay::Shuffle, vec![]).open(broadcast_below(&unknown)));
    }
}
