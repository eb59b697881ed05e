//! The lines of a stage's pipelines: what was expected of each, and what it did.
//!
//! ```text
//!   pipeline 1: scan [#0, #4] of parquet orders.parquet  -- est=1500 rows=1486 (500 490 496) busy=3.1ms (1.0 …) …
//!     probe slot 0 Inner on [#1] = [#0] -> [p0]          -- est=240 rows=251 (80 84 87)
//! ```
//!
//! Numbers are sums over ranks, of walls and finishes the longest; those of each rank follow in brackets where there are several.
//! Rows are those that came out of a line; of the line that ends a pipeline, those that went in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bireme_engine::metrics::{LineReport, LineTimes, StageReport};
use bireme_engine::stage::{Stage, StageId};

/// Rows that lines are expected to yield, by stage and line.
pub(super) type Expected = BTreeMap<(StageId, usize), f64>;

/// Writes the lines of a stage that counted them, on the ranks where it ran.
pub(super) fn write(text: &mut String, stage: &Stage, reports: &[&StageReport], expected: &Expected) {
    if reports.iter().all(|report| report.lines.is_empty()) {
        return;
    }
    for (place, line) in stage.body.lines().iter().enumerate() {
        let find = |report: &&StageReport| {
            let found = report.lines.iter().find(|counted| counted.line as usize == place);
            found.cloned().unwrap_or_default()
        };
        let ranks = reports.iter().map(find).collect::<Vec<_>>();
        let expected = expected.get(&(stage.id, place)).copied();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {line}  --{}", numbers(&ranks, expected));
    }
}

fn numbers(ranks: &[LineReport], expected: Option<f64>) -> String {
    let mut text = expected.map(|rows| format!(" est={}", rounded(rows))).unwrap_or_default();
    let all = |number: &dyn Fn(&LineReport) -> u64| ranks.iter().map(number).collect::<Vec<_>>();
    let rows = all(&|line| line.rows);
    text += &field("rows", rows.iter().sum(), &rows, |rows| rows.to_string());
    if ranks.iter().any(|line| line.times.is_some()) {
        let times = |time: fn(&LineTimes) -> u64| all(&|line| line.times.as_ref().map_or(0, time));
        let (busy, finish, wall) =
            (times(|times| times.busy_ns), times(|times| times.finish_ns), times(|times| times.wall_ns));
        text += &field("busy", busy.iter().sum(), &busy, millis);
        text += &field("finish", finish.iter().copied().max().unwrap_or(0), &finish, millis);
        text += &field("wall", wall.iter().copied().max().unwrap_or(0), &wall, millis);
    }
    let names = ranks.iter().flat_map(|line| line.extras.keys()).collect::<BTreeSet<_>>();
    for name in names {
        let values = all(&|line| line.extras.get(name).copied().unwrap_or_default());
        text += &field(name, values.iter().sum(), &values, |value| value.to_string());
    }
    text
}

fn field(name: &str, total: u64, ranks: &[u64], show: impl Fn(u64) -> String) -> String {
    match ranks {
        [_] => format!(" {name}={}", show(total)),
        ranks => {
            let each = ranks.iter().map(|&value| show(value)).collect::<Vec<_>>();
            format!(" {name}={} ({})", show(total), each.join(" "))
        }
    }
}

fn millis(nanos: u64) -> String {
    super::Millis(nanos).to_string()
}

/// Whole rows, but for less than ten of them.
fn rounded(rows: f64) -> String {
    if rows < 10.0 && rows.fract() != 0.0 { format!("{rows:.1}") } else { format!("{rows:.0}") }
}
