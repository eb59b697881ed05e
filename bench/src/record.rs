//! What was measured, in full: the report shows it, `--json` keeps it.

use serde::Serialize;

use crate::machine::{Machine, Sources};
use crate::statistics::{best, geometric_mean, median};
use crate::worker::US;

/// So many queries the summary names as the worst.
const WORST: usize = 3;

/// A contest.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) benchmark: &'static str,
    pub(crate) scale: f64,
    pub(crate) data: String,
    pub(crate) threads: usize,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) runs: u32,
    /// UTC.
    pub(crate) date: String,
    pub(crate) command: Vec<String>,
    #[serde(flatten)]
    pub(crate) sources: Sources,
    pub(crate) machine: Machine,
    pub(crate) engines: Vec<EngineRecord>,
    pub(crate) queries: Vec<QueryRecord>,
    pub(crate) summary: Option<Summary>,
}

/// An engine that was asked for.
#[derive(Debug, Serialize)]
pub(crate) struct EngineRecord {
    pub(crate) name: &'static str,
    pub(crate) version: Option<String>,
    /// What a reader of its times must know.
    pub(crate) note: Option<String>,
    /// Why it took no part.
    pub(crate) missing: Option<String>,
    /// The most memory its process had over all queries.
    pub(crate) peak_bytes: Option<u64>,
}

/// A query.
#[derive(Debug, Serialize)]
pub(crate) struct QueryRecord {
    pub(crate) query: &'static str,
    pub(crate) rows: Option<usize>,
    /// Answers that are wrong or differ. If there are any, nothing was timed.
    pub(crate) disagreements: Vec<String>,
    /// The engines that took part, in their order.
    pub(crate) engines: Vec<Times>,
    /// Our best time over that of the best peer: below 1 we win.
    pub(crate) ratio: Option<f64>,
    /// Our planning, the best of all rounds: part of our times.
    pub(crate) planning_ms: Option<f64>,
}

/// The times of one engine at one query.
#[derive(Debug, Serialize)]
pub(crate) struct Times {
    pub(crate) engine: &'static str,
    /// All rounds after the warm-up.
    pub(crate) ms: Vec<f64>,
    pub(crate) best: Option<f64>,
    pub(crate) median: Option<f64>,
    /// Why there are none.
    pub(crate) failed: Option<String>,
}

/// All queries together.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Queries that every engine has a time for: over them the sums and means of engines are taken, which would not be
    /// comparable otherwise.
    pub(crate) common_queries: usize,
    pub(crate) engines: Vec<EngineSummary>,
    /// The geometric mean of our ratios to the best peer.
    pub(crate) ratio: Option<f64>,
    /// Over so many queries.
    pub(crate) ratio_queries: usize,
    /// The queries with the largest ratios, worst first.
    pub(crate) worst: Vec<(&'static str, f64)>,
    /// The query that takes us longest to plan.
    pub(crate) longest_planning: Option<(&'static str, f64)>,
}

/// One engine over all queries, from its best times.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct EngineSummary {
    pub(crate) engine: &'static str,
    /// Queries it has a time for.
    pub(crate) answered: usize,
    pub(crate) sum_ms: Option<f64>,
    pub(crate) geometric_mean_ms: Option<f64>,
    /// The geometric mean of our time over its time, over the queries both have a time for; none for ourselves.
    pub(crate) our_ratio: Option<f64>,
}

impl Times {
    /// Those of rounds that all went well, or of none.
    pub(crate) fn new(engine: &'static str, rounds: Result<Vec<f64>, String>) -> Self {
        let (ms, failed) = match rounds {
            Ok(ms) => (ms, None),
            Err(failed) => (Vec::new(), Some(failed)),
        };
        Self { engine, best: best(&ms), median: median(&ms), ms, failed }
    }
}

impl QueryRecord {
    /// Puts the ratio to the times.
    pub(crate) fn new(
        query: &'static str,
        rows: Option<usize>,
        disagreements: Vec<String>,
        engines: Vec<Times>,
    ) -> Self {
        let ours = best_of(&engines, US);
        let peers = engines.iter().filter(|times| times.engine != US).filter_map(|times| times.best);
        let ratio = ours.zip(best(&peers.collect::<Vec<_>>())).map(|(ours, theirs)| ours / theirs);
        Self { query, rows, disagreements, engines, ratio, planning_ms: None }
    }

    /// Adds what our rounds spent on planning.
    pub(crate) fn planned(self, ms: &[f64]) -> Self {
        Self { planning_ms: best(ms), ..self }
    }

    fn best_of(&self, engine: &str) -> Option<f64> {
        best_of(&self.engines, engine)
    }
}

fn best_of(times: &[Times], engine: &str) -> Option<f64> {
    times.iter().find(|times| times.engine == engine).and_then(|times| times.best)
}

impl Record {
    /// The engines that took part.
    pub(crate) fn present(&self) -> impl Iterator<Item = &EngineRecord> {
        self.engines.iter().filter(|engine| engine.missing.is_none())
    }

    /// Whether nothing speaks against us: no disagreement, no query that we fail.
    pub(crate) fn is_good(&self) -> bool {
        let failed =
            |query: &QueryRecord| query.engines.iter().any(|times| times.engine == US && times.failed.is_some());
        self.queries.iter().all(|query| query.disagreements.is_empty() && !failed(query))
    }

    /// Sums and means.
    pub(crate) fn summarise(&self) -> Summary {
        let names = self.present().map(|engine| engine.name).collect::<Vec<_>>();
        let all = |query: &&QueryRecord| names.iter().all(|name| query.best_of(name).is_some());
        let common = self.queries.iter().filter(all).collect::<Vec<_>>();
        let mut worst = self.queries.iter().filter_map(|query| Some((query.query, query.ratio?))).collect::<Vec<_>>();
        worst.sort_by(|a, b| b.1.total_cmp(&a.1));
        let ratios = worst.iter().map(|(_, ratio)| *ratio).collect::<Vec<_>>();
        worst.truncate(WORST);
        Summary {
            common_queries: common.len(),
            engines: names.iter().map(|name| self.summarise_engine(name, &common)).collect(),
            ratio: geometric_mean(&ratios),
            ratio_queries: ratios.len(),
            worst,
            longest_planning: self
                .queries
                .iter()
                .filter_map(|query| Some((query.query, query.planning_ms?)))
                .max_by(|a, b| a.1.total_cmp(&b.1)),
        }
    }

    fn summarise_engine(&self, name: &'static str, common: &[&QueryRecord]) -> EngineSummary {
        let times = common.iter().filter_map(|query| query.best_of(name)).collect::<Vec<_>>();
        let against = |query: &QueryRecord| Some(query.best_of(US)? / query.best_of(name)?);
        let ratios = self.queries.iter().filter_map(against).collect::<Vec<_>>();
        EngineSummary {
            engine: name,
            answered: self.queries.iter().filter(|query| query.best_of(name).is_some()).count(),
            sum_ms: (!times.is_empty()).then(|| times.iter().sum()),
            geometric_mean_ms: geometric_mean(&times),
            our_ratio: geometric_mean(&ratios).filter(|_| name != US),
        }
    }
}
