//! Chooses a rank for every lane.

mod random;

use std::fmt::Debug;

use bireme_engine::stage::{Pin, StageGraph};

pub use random::RandomMapper;

/// Places the lanes of a graph. Law: placement changes speed, never answers.
pub trait Mapper: Debug + Send + Sync {
    /// A rank for each lane of each stage; pinned lanes get the rank they are pinned to. The same on every rank.
    fn place(&self, graph: &StageGraph, ranks: usize) -> Vec<Vec<usize>>;
}

/// Lanes in contiguous blocks, in rank order; a single lane on rank 0.
///
/// Lane `i` of `n` goes to rank `i·ranks/n`, so that two stages with as many lanes put lane `i` on the same rank and
/// neighbouring parts of a file stay together.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockMapper;

impl Mapper for BlockMapper {
    fn place(&self, graph: &StageGraph, ranks: usize) -> Vec<Vec<usize>> {
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
}
