//! Decides as somebody has said.

use super::{JoinDecision, JoinInput, JoinWay, Mapper, costs};

/// Takes one way for all joins that may go it; others are decided by cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedMapper {
    way: JoinWay,
}

impl FixedMapper {
    /// All joins this way.
    pub fn joins(way: JoinWay) -> Self {
        Self { way }
    }
}

impl Mapper for FixedMapper {
    fn join(&self, input: &JoinInput<'_>) -> JoinDecision {
        if input.ways.contains(&self.way) { JoinDecision::new(self.way, costs(input)) } else { super::cheapest(input) }
    }
}
