//! EXPLAIN ANALYZE: what every stage, every line of its pipelines, and every exchange did on every rank.

mod lines;

use std::fmt::Write as _;

use bireme_engine::metrics::RunReport;
use bireme_planner::Planned;

/// The report of an action as text: of each stage one line a rank, then its pipelines; then one line an exchange and rank.
pub(super) fn text(planned: &Planned, reports: &[RunReport]) -> String {
    let (plan, expected) = (&planned.placed, planned.expected_rows());
    let mut text = String::new();
    for stage in &plan.graph().stages {
        for report in reports {
            let Some(done) = report.stage(stage.id) else { continue };
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "{} rank {}: lanes={} rows_in={} rows={} batches={} busy={} wait={} wall={}",
                stage.id,
                report.rank,
                done.lanes,
                done.rows_in,
                done.rows,
                done.batches,
                Millis(done.busy_ns),
                Millis(done.wait_ns),
                Millis(done.wall_ns)
            );
            for (name, value) in &done.extras {
                let _ = write!(text, " {name}={value}");
            }
            text.push('\n');
        }
        let here = reports.iter().filter_map(|report| report.stage(stage.id)).collect::<Vec<_>>();
        lines::write(&mut text, stage, &here, &expected);
    }
    for exchange in &plan.graph().exchanges {
        for report in reports {
            let Some(moved) = report.exchange(exchange.id) else { continue };
            let _ = writeln!(
                text,
                "{} rank {}: rows={} batches={} local_bytes={} remote_bytes={} messages={} spilled_bytes={} \
                 send_wait={} receive_wait={}{}",
                exchange.id,
                report.rank,
                moved.rows,
                moved.batches,
                moved.local_bytes,
                moved.remote_bytes,
                moved.messages,
                moved.spilled_bytes,
                Millis(moved.send_wait_ns),
                Millis(moved.receive_wait_ns),
                if moved.decided.is_empty() { String::new() } else { format!(" decided={}", moved.decided) }
            );
        }
    }
    for report in reports {
        let _ =
            writeln!(text, "rank {}: wall={} peak_memory={}", report.rank, Millis(report.wall_ns), report.peak_bytes);
    }
    text
}

struct Millis(u64);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3}ms", self.0 as f64 / 1e6)
    }
}
