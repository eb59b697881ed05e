//! Decides as somebody has said.

use super::{
    JoinDecision, JoinInput, JoinWay, LanesDecision, LanesInput, Mapper, cheapest, cheapest_lanes, costs, lanes_costs,
};

/// Takes one way for all joins that may go it, and one number of lanes for all groups, as far as they were said; what was not is
/// decided by cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FixedMapper {
    way: Option<JoinWay>,
    open_below: Option<u64>,
    lanes: Option<usize>,
}

impl FixedMapper {
    /// Joins this way, and groups over so many lanes.
    pub fn new(way: Option<JoinWay>, lanes: Option<usize>) -> Self {
        Self { way, open_below: None, lanes }
    }

    /// All joins this way.
    pub fn joins(way: JoinWay) -> Self {
        Self::new(Some(way), None)
    }

    /// All joins shuffle, and leave it to the ranks to broadcast build sides of fewer bytes and to split heavy keys.
    pub fn open(broadcast_below: u64) -> Self {
        Self { open_below: Some(broadcast_below), ..Self::joins(JoinWay::Shuffle) }
    }

    /// Rows that are grouped come together in so many lanes; one a rank at the most.
    pub fn lanes(lanes: usize) -> Self {
        Self::new(None, Some(lanes))
    }
}

impl Mapper for FixedMapper {
    fn join(&self, input: &JoinInput<'_>) -> JoinDecision {
        match self.way.filter(|way| input.ways.contains(way)) {
            Some(way) => JoinDecision { broadcast_below: self.open_below, ..JoinDecision::new(way, costs(input)) },
            None => cheapest(input),
        }
    }

    fn lanes(&self, input: &LanesInput<'_>) -> LanesDecision {
        match self.lanes {
            Some(lanes) => LanesDecision::new(lanes, lanes_costs(input)),
            None => cheapest_lanes(input),
        }
    }
}
