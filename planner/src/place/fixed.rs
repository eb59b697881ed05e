//! Decides as somebody has said.

use super::{JoinDecision, JoinInput, JoinWay, Mapper, costs};

/// Takes one way for all joins that may go it; others are decided by cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedMapper {
    way: JoinWay,
    open_below: Option<u64>,
}

impl FixedMapper {
    /// All joins this way.
    pub fn joins(way: JoinWay) -> Self {
        Self { way, open_below: None }
    }

    /// All joins shuffle, and leave it to the ranks to broadcast build sides of fewer bytes and to split heavy keys.
    pub fn open(broadcast_below: u64) -> Self {
        Self { way: JoinWay::Shuffle, open_below: Some(broadcast_below) }
    }
}

impl Mapper for FixedMapper {
    fn join(&self, input: &JoinInput<'_>) -> JoinDecision {
        if !input.ways.contains(&self.way) {
            return super::cheapest(input);
        }
        JoinDecision { broadcast_below: self.open_below, ..JoinDecision::new(self.way, costs(input)) }
    }
}
