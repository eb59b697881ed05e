//! What the single lines of a body's text did.
//!
//! A body that knows where its rows go counts them for each line of [`crate::stage::Body::lines`]. EXPLAIN ANALYZE shows the
//! counts beside the lines, and beside what was expected of them.

use std::collections::BTreeMap;
use std::time::Duration;

use bincode::{Decode, Encode};

/// What one line of a body's text did on one rank.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct LineReport {
    /// Its place in the text.
    pub line: u32,
    /// Rows that came out of it, or into it where nothing comes out: at the end of a pipeline.
    pub rows: u64,
    /// How long it took, if it is a line that begins a pipeline.
    pub times: Option<LineTimes>,
    /// What else was counted, by name: bytes read, bytes spilled.
    pub extras: BTreeMap<String, u64>,
}

/// Times of a pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct LineTimes {
    /// Nanoseconds in which workers drove rows through it, summed over workers.
    pub busy_ns: u64,
    /// Nanoseconds in which the parts of its sink were merged.
    pub finish_ns: u64,
    /// Nanoseconds from its start to its end.
    pub wall_ns: u64,
}

impl LineTimes {
    /// Of times as they are measured.
    pub fn new(busy: Duration, finish: Duration, wall: Duration) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self { busy_ns: nanos(busy), finish_ns: nanos(finish), wall_ns: nanos(wall) }
    }
}

impl LineReport {
    /// Adds what the same line did on another rank: work adds up, the longest wait counts.
    pub(super) fn merge(&mut self, other: &LineReport) {
        self.rows += other.rows;
        if let Some(theirs) = other.times {
            let ours = self.times.get_or_insert_default();
            ours.busy_ns += theirs.busy_ns;
            ours.finish_ns = ours.finish_ns.max(theirs.finish_ns);
            ours.wall_ns = ours.wall_ns.max(theirs.wall_ns);
        }
        for (name, value) in &other.extras {
            *self.extras.entry(name.clone()).or_default() += value;
        }
    }
}

/// Adds reports to those of the same lines; in the order of the lines.
pub(super) fn merge(lines: &mut Vec<LineReport>, others: &[LineReport]) {
    for theirs in others {
        match lines.binary_search_by_key(&theirs.line, |ours| ours.line) {
            Ok(place) => lines[place].merge(theirs),
            Err(place) => lines.insert(place, theirs.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_two_ranks_add_up() {
        let line = |line, rows, wall| LineReport {
            line,
            rows,
            times: Some(LineTimes { busy_ns: 2, finish_ns: 1, wall_ns: wall }),
            extras: BTreeMap::from([("spilled_bytes".into(), 8)]),
        };
        let mut lines = Vec::new();
        merge(&mut lines, &[line(4, 1, 7)]);
        merge(&mut lines, &[line(0, 10, 9), line(4, 2, 5)]);
        assert_eq!(lines.iter().map(|line| (line.line, line.rows)).collect::<Vec<_>>(), [(0, 10), (4, 3)]);
        assert_eq!(lines[1].times, Some(LineTimes { busy_ns: 4, finish_ns: 1, wall_ns: 7 }));
        assert_eq!(lines[1].extras["spilled_bytes"], 16);
    }
}
