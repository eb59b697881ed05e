//! What a pipeline did, line by line of its text.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bireme_engine::metrics::{LineReport, LineTimes, StageMetrics};

use crate::pipeline::ir::Places;

/// What rows come out of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whence {
    /// The source with this number among those that rows come in from.
    Entry(usize),
    /// The step at this place.
    Step(usize),
}

/// What went through a pipeline. Each worker has its own, and adds to it once a chunk.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Rows that came out of each source, in the order in which they are read.
    entries: Vec<u64>,
    /// Rows that came out of each step.
    steps: Vec<u64>,
    /// Time in which rows were driven through.
    pub busy: Duration,
}

impl Counts {
    /// Nothing so far, of a pipeline of so many sources and steps.
    pub fn new(entries: usize, steps: usize) -> Self {
        Self { entries: vec![0; entries], steps: vec![0; steps], busy: Duration::ZERO }
    }

    pub fn add_rows(&mut self, whence: Whence, rows: usize) {
        match whence {
            Whence::Entry(number) => self.entries[number] += rows as u64,
            Whence::Step(place) => self.steps[place] += rows as u64,
        }
    }

    pub fn add(&mut self, other: &Counts) {
        self.entries.iter_mut().zip(&other.entries).for_each(|(ours, theirs)| *ours += theirs);
        self.steps.iter_mut().zip(&other.steps).for_each(|(ours, theirs)| *ours += theirs);
        self.busy += other.busy;
    }

    /// By line of the text: sources and steps are laid out in its order, those of a union's branches before what is behind it.
    fn lines(&self, places: &Places) -> BTreeMap<usize, u64> {
        let (mut entries, mut steps) = (self.entries.iter().copied(), self.steps.iter().copied());
        let mut lines = BTreeMap::new();
        let last = note(places, &mut entries, &mut steps, &mut lines);
        // The last rows went into the sink, and out of what is before it.
        lines.insert(places.steps.end, last);
        lines
    }
}

/// Notes the lines of a source and the steps behind it; how many rows come out of them. Those of a union come out of its
/// branches.
fn note(
    places: &Places,
    entries: &mut impl Iterator<Item = u64>,
    steps: &mut impl Iterator<Item = u64>,
    lines: &mut BTreeMap<usize, u64>,
) -> u64 {
    let mut rows = match places.branches.as_slice() {
        [] => entries.next().unwrap_or_default(),
        branches => branches.iter().map(|branch| note(branch, entries, steps, lines)).sum(),
    };
    lines.insert(places.source, rows);
    for line in places.steps.clone() {
        rows = steps.next().unwrap_or_default();
        lines.insert(line, rows);
    }
    rows
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

    /// Reports the lines of a pipeline: its source with its branches, its steps, its sink.
    pub fn close(self, metrics: &StageMetrics, places: &Places, counts: &Counts, finish: Duration) {
        let times = LineTimes::new(counts.busy, finish, self.started.elapsed());
        let added = metrics.extras().into_iter().filter_map(|(name, value)| {
            let more = value - self.before.get(name).copied().unwrap_or_default();
            (more > 0).then(|| (name.to_owned(), more))
        });
        let mut beginning = Some((times, added.collect::<BTreeMap<_, _>>()));
        for (line, rows) in counts.lines(places) {
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
        let counts = Counts { entries: vec![10], steps: vec![4], busy: Duration::from_nanos(9) };
        let places = Places { source: 2, branches: vec![], steps: 3..4 };
        account.close(&metrics, &places, &counts, Duration::ZERO);
        let lines = metrics.report(0, 1).lines;
        assert_eq!(lines.iter().map(|line| (line.line, line.rows)).collect::<Vec<_>>(), [(2, 10), (3, 4), (4, 4)]);
        assert_eq!(lines[0].extras, BTreeMap::from([("spilled_bytes".to_owned(), 7)]));
        assert_eq!(lines[0].times.map(|times| times.busy_ns), Some(9));
        assert_eq!((lines[1].times, lines[1].extras.len()), (None, 0));
    }

    #[test]
    fn the_rows_of_a_union_are_those_of_its_branches() {
        let branch = |source, end| Places { source, branches: vec![], steps: source + 1..end };
        let places = Places { source: 5, branches: vec![branch(6, 8), branch(8, 9)], steps: 9..10 };
        let mut counts = Counts::new(2, 2);
        counts.add_rows(Whence::Entry(0), 100);
        counts.add_rows(Whence::Step(0), 30);
        counts.add_rows(Whence::Entry(1), 7);
        counts.add_rows(Whence::Step(1), 12);
        let expected = BTreeMap::from([(5, 37), (6, 100), (7, 30), (8, 7), (9, 12), (10, 12)]);
        assert_eq!(counts.lines(&places), expected);
    }
}
