//! Where arrays lie: small ones on every rank, large ones by rows.
//!
//! A small array is computed by every rank, which costs less than telling each other of it. A large one is cut along its first axis; cuts
//! are between the leaves of folds, so that each leaf is folded by one rank (bireme_operators::array::fold).

use std::ops::Range;

use bireme_engine::machine::{Cluster, Link};
use bireme_operators::array::{Region, rows_of_a_leaf};

/// The ranks, from which size on arrays are cut, and what moving and computing cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Places {
    /// How many ranks there are.
    pub ranks: usize,
    /// Arrays of fewer elements are on every rank.
    pub whole_below: usize,
    /// What a rank receives, when all receive alike.
    pub link: Link,
    /// Additions and multiplications a second, of a rank.
    pub flops: f64,
}

impl Places {
    /// The ranks of a machine.
    pub fn new(cluster: &Cluster, ranks: usize, whole_below: usize) -> Self {
        let flops = cluster.rates.core_flops * cluster.cores_of_a_rank();
        Self { ranks, whole_below, link: cluster.all_to_all(), flops }
    }

    /// Ranks of a machine that nobody has measured.
    pub fn of_ranks(ranks: usize, whole_below: usize) -> Self {
        Self { ranks, whole_below, link: Link { latency: 5e-6, bandwidth: 2e9 }, flops: 20e9 }
    }

    /// Whether arrays of a shape are cut.
    pub fn cuts(&self, shape: &[usize]) -> bool {
        self.ranks > 1 && !shape.is_empty() && shape.iter().product::<usize>() >= self.whole_below.max(1)
    }

    /// The first indices of an array's elements on a rank.
    pub fn rows(&self, shape: &[usize], rank: usize) -> Range<usize> {
        let rows = shape.first().copied().unwrap_or(1);
        if !self.cuts(shape) {
            return 0..rows;
        }
        let unit = rows_of_a_leaf(shape[1..].iter().product());
        let units = rows.div_ceil(unit) as u128;
        let share = |rank: usize| ((units * rank as u128 / self.ranks as u128) as usize * unit).min(rows);
        share(rank)..share(rank + 1)
    }

    /// The elements of an array on a rank.
    pub fn region(&self, shape: &[usize], rank: usize) -> Region {
        let rows = self.rows(shape, rank);
        let rest = shape.iter().skip(1).map(|&extent| 0..extent);
        Region::new(shape.first().map(|_| rows).into_iter().chain(rest).collect::<Vec<_>>())
    }

    /// The elements of an array on each rank.
    pub fn regions(&self, shape: &[usize]) -> Vec<Region> {
        (0..self.ranks).map(|rank| self.region(shape, rank)).collect()
    }
}
