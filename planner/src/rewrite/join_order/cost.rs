//! What a join costs.
//!
//! The unit is one row that goes through a probe. The model is C_out (rows that joins put out; Cluet & Moerkotte 1995)
//! with the terms that decide between trees of equal output on one machine:
//!
//! ```text
//!  cost(build ⋈ probe) =  BUILD · |build| · locality(|build|)      rows are copied and linked into a table
//!                       + HIT   · hits    · locality(|build|)      a probe that finds something reads the table
//!                       + MISS  · misses                           one that does not sees a filter or an empty slot
//!                       + OUT   · |out|                            rows are gathered for what comes above
//! ```
//!
//! `locality` grows from 1 to 3 as the table outgrows the second and the last level of cache. Misses cost less still
//! (`DROP`) where the probe side is a pipeline from the scan that the key belongs to: the build side's keys then filter
//! the scan, and such rows are neither decoded in full nor carried through the probes before.

/// A row of the build side.
const BUILD: f64 = 3.0;
/// A row of the probe side that has partners.
const HIT: f64 = 1.0;
/// A row of the probe side that has none.
const MISS: f64 = 0.5;
/// A row of the probe side that its scan already drops.
const DROP: f64 = 0.15;
/// A row that is put out.
const OUT: f64 = 1.0;
/// A pair of rows whose condition must be evaluated for want of equal keys.
const PAIR: f64 = 0.5;

/// Build rows that a core's own cache holds.
const NEAR: f64 = 64.0 * 1024.0;
/// Build rows beyond which every probe goes to memory.
const FAR: f64 = 4.0 * 1024.0 * 1024.0;
/// How much slower memory is than the core's own cache.
const SLOWER: f64 = 3.0;

fn locality(rows: f64) -> f64 {
    let beyond = (rows.max(NEAR) / NEAR).ln() / (FAR / NEAR).ln();
    1.0 + (SLOWER - 1.0) * beyond.min(1.0)
}

/// One way to join two inputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct HashJoin {
    /// Rows of the build side.
    pub build: f64,
    /// Rows of the probe side.
    pub probe: f64,
    /// Rows of the probe side that find partners.
    pub hits: f64,
    /// Rows put out.
    pub out: f64,
    /// Whether the build side's keys filter the scan below the probe side.
    pub filters_scan: bool,
}

impl HashJoin {
    pub(super) fn cost(self) -> f64 {
        let hits = self.hits.min(self.probe);
        let miss = if self.filters_scan { DROP } else { MISS };
        let near = locality(self.build);
        BUILD * self.build * near + HIT * hits * near + miss * (self.probe - hits) + OUT * self.out
    }
}

/// A join without equal keys: every pair of rows is looked at.
pub(super) fn nested_loops(build: f64, probe: f64, out: f64) -> f64 {
    BUILD * build + PAIR * build * probe + OUT * out
}
