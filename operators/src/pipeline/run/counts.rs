//! What a pipeline did, line by line of its text.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bireme_engine::metrics::{LineReport, LineTimes, StageMetrics};

/// What went through a pipeline. Each worker has its own, and adds to it once a chunk.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Rows that reached the first step, the second, …, and the sink.
    pub rows: Vec<u64>,
    /// Time in which rows were driven through.
    pub busy: Duration,
}

impl Counts {
    /// Nothing so far, of a pipeline of so many steps.
    pub fn new(steps: usize) -> Self {
        Self { rows: vec![0; steps + 1], busy: Duration::ZERO }
    }

    pub fn add(&mut self, other: &Counts) {
        self.rows.iter_mut().zip(&other.rows).for_each(|(ours, theirs)| *ours += theirs);
        self.busy += other.busy;
    }
}

/// Notes the counters of a stage when a pipeline begins. Pipelines run one after the other, so that whatever is counted until
/// it ends is its own.
pub(super) struct Account {
    started: Instant,
    before: BTreeMap<&'static str, u64>,
}

impl Account {
    pub fn open(metrics: &StageMetrics) -> Self {
        Self { started: Instant::now(), before: metrics.extras() }
    }

    /// Reports the lines of a pipeline whose text begins at `first`: its source, its steps, its sink.
    pub fn close(self, metrics: &StageMetrics, first: usize, counts: &Counts, finish: Duration) {
        let times = LineTimes::new(counts.busy, finish, self.started.elapsed());
        let added = metrics.extras().into_iter().filter_map(|(name, value)| {
            let more = value - self.before.get(name).copied().unwrap_or_default();
            (more > 0).then(|| (name.to_owned(), more))
        });
        let mut beginning = Some((times, added.collect::<BTreeMap<_, _>>()));
        // The last rows went into the sink, and out of what is before it.
        let rows = counts.rows.iter().chain(counts.rows.last());
        for (line, &rows) in (first..).zip(rows) {
            let (times, extras) = beginning.take().unzip();
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            metrics.add_line(LineReport { line, rows, times, extras: extras.unwrap_or_default() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_has_what_was_counted_while_it_ran() {
        let metrics = StageMetrics::default();
        metrics.add("spilled_bytes", 5);
        metrics.add("bytes_scanned", 3);
        let account = Account::open(&metrics);
        metrics.add("spilled_bytes", 7);
        let counts = Counts { rows: vec![10, 4], busy: Duration::from_nanos(9) };
        account.close(&metrics, 2, &counts, Duration::ZERO);
        let lines = metrics.report(0, 1).lines;
        assert_eq!(lines.iter().map(|line| (line.line, line.rows)).collect::<Vec<_>>(), [(2, 10), (3, 4), (4, 4)]);
        assert_eq!(lines[0].extras, BTreeMap::from([("spilled_bytes".to_owned(), 7)]));
        assert_eq!(lines[0].times.map(|times| times.busy_ns), Some(9));
        assert_eq!((lines[1].times, lines[1].extras.len()), (None, 0));
    }
}
