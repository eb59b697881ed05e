//! Places lanes, draws how many there are, and has joins meet, at random, to prove that placement never changes an answer.

use bireme_engine::stage::{Pin, StageGraph};

use super::{JoinDecision, JoinInput, LanesDecision, LanesInput, Mapper};

/// Draws a rank for every free lane; the same seed gives the same placement on every rank.
#[derive(Clone, Copy, Debug)]
pub struct RandomMapper {
    seed: u64,
}

impl RandomMapper {
    /// A mapper with this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }
}

impl Mapper for RandomMapper {
    fn join(&self, input: &JoinInput<'_>) -> JoinDecision {
        let mut state = self.seed.wrapping_add(input.number as u64);
        let way = input.ways[(splitmix(&mut state) % input.ways.len() as u64) as usize];
        let decision = JoinDecision::new(way, Vec::new());
        match splitmix(&mut state) % 3 {
            0 => decision,
            1 => decision.open(0),
            _ => decision.open(1 << 20),
        }
    }

    fn lanes(&self, input: &LanesInput<'_>) -> LanesDecision {
        let mut state = self.seed.rotate_left(32).wrapping_add(input.number as u64);
        LanesDecision::new(1 + (splitmix(&mut state) % input.cluster.ranks() as u64) as usize, Vec::new())
    }

    fn place(&self, graph: &StageGraph, ranks: usize) -> Vec<Vec<usize>> {
        let mut state = self.seed;
        let mut draw = |pin: &Pin| match pin {
            Pin::Rank(rank) => *rank,
            Pin::Free => (splitmix(&mut state) % ranks as u64) as usize,
        };
        graph.stages.iter().map(|stage| stage.lanes.iter().map(&mut draw).collect()).collect()
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
