//! The report: a line a query as soon as it is known, and a summary.
//!
//! ```text
//! q6   us    412  duckdb    640  polars    540  datafusion   1290  ratio 0.76
//!
//!               queries     sum ms  mean ms  us/it  peak memory
//! us             22/22       8123      271         512 MiB
//! duckdb         22/22       9870      301   0.90  1.20 GiB
//! ```

use std::fmt::Write as _;
use std::io::Write as _;

use crate::record::{EngineRecord, QueryRecord, Record, Summary, Times};

/// Writes a text to standard output. A reader that went away is no reason to stop measuring.
pub(crate) fn print(text: &str) {
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// What is measured, on what, and who is missing.
pub(crate) fn header(record: &Record) -> String {
    let (machine, sources) = (&record.machine, &record.sources);
    let limit = record.memory_limit.map_or(String::new(), |bytes| format!(", {} of memory", size(bytes)));
    let mut text = format!(
        "TPC-H at scale {}, {} threads{limit}; milliseconds, best of {} after a warm-up\n{}, {} cores, {}, Linux {}\n",
        record.scale,
        record.threads,
        record.runs,
        machine.cpu,
        machine.cores,
        size(machine.memory_bytes),
        machine.kernel
    );
    let commit = sources.commit.as_deref().unwrap_or("unknown");
    let dirty = if sources.dirty { " with changes" } else { "" };
    let _ = writeln!(text, "{}, commit {commit}{dirty}", record.date);
    let engines = record.present().map(|engine| format!("{} {}", engine.name, engine.version.as_deref().unwrap_or("")));
    let _ = writeln!(text, "{}", engines.collect::<Vec<_>>().join(", "));
    record.engines.iter().for_each(|engine| remarks(engine, &mut text));
    text.push('\n');
    text
}

fn remarks(engine: &EngineRecord, text: &mut String) {
    if let Some(note) = &engine.note {
        let _ = writeln!(text, "note: {} runs {note}", engine.name);
    }
    if let Some(missing) = &engine.missing {
        let _ = writeln!(text, "missing: {}: {missing}", engine.name);
    }
}

/// One query: a line with the times, and below it what failed and what disagrees.
pub(crate) fn query(record: &QueryRecord) -> String {
    let mut text = format!("{:<3}", record.query);
    for times in &record.engines {
        let _ = write!(text, "  {} {:>6}", times.engine, time(times));
    }
    let _ = match record.ratio {
        Some(ratio) => writeln!(text, "  ratio {ratio:.2}"),
        None => writeln!(text),
    };
    for times in &record.engines {
        if let Some(failed) = &times.failed {
            let _ = writeln!(text, "     {} failed: {}", times.engine, indent(failed.trim()));
        }
    }
    for disagreement in &record.disagreements {
        let _ = writeln!(text, "     DISAGREEMENT {}", indent(disagreement));
    }
    text
}

fn time(times: &Times) -> String {
    match times.best {
        Some(ms) => milliseconds(ms),
        None if times.failed.is_some() => "failed".into(),
        None => "-".into(),
    }
}

/// All queries together.
pub(crate) fn summary(record: &Record, summary: &Summary) -> String {
    let asked = record.queries.len();
    let mut text = format!("\n{:<12}{:>9}{:>11}{:>9}{:>7}  peak memory\n", "", "queries", "sum ms", "mean ms", "us/it");
    for engine in &summary.engines {
        let peak = record.engines.iter().find(|other| other.name == engine.engine).and_then(|other| other.peak_bytes);
        let answered = format!("{}/{asked}", engine.answered);
        let _ = writeln!(
            text,
            "{:<12}{answered:>9}{:>11}{:>9}{:>7}  {}",
            engine.engine,
            engine.sum_ms.map_or("-".into(), milliseconds),
            engine.geometric_mean_ms.map_or("-".into(), milliseconds),
            engine.our_ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            peak.map_or("-".into(), size),
        );
    }
    if summary.engines.len() > 1 {
        let _ = writeln!(
            text,
            "Sums and geometric means: over the queries that every engine has a time for, {} of {asked}; us/it: geometric\n\
             mean of our times over its times where both have one.",
            summary.common_queries
        );
    }
    if let Some(ratio) = summary.ratio {
        let worst = summary.worst.iter().map(|(query, ratio)| format!("{query} {ratio:.2}")).collect::<Vec<_>>();
        let _ = writeln!(
            text,
            "Ratio to the best peer, geometric mean over {} of {asked} queries: {ratio:.2}; worst: {}.",
            summary.ratio_queries,
            worst.join(", ")
        );
    }
    if let Some((query, ms)) = summary.longest_planning {
        let all = record.queries.iter().filter_map(|query| query.planning_ms).sum();
        let (ms, all) = (milliseconds(ms), milliseconds(all));
        let _ = writeln!(text, "Planning is part of our times: {all} ms over all queries, at most {ms} ms ({query}).");
    }
    let disagree = record.queries.iter().filter(|query| !query.disagreements.is_empty()).map(|query| query.query);
    let disagree = disagree.collect::<Vec<_>>();
    if !disagree.is_empty() {
        let _ = writeln!(text, "Answers DISAGREE in {}: these were not timed.", disagree.join(", "));
    }
    record.engines.iter().for_each(|engine| remarks(engine, &mut text));
    text
}

/// Three digits or more, as few as it takes.
fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 9.995 => format!("{ms:.2}"),
        ms if ms < 99.95 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

fn size(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes < 1024.0 { format!("{mebibytes:.0} MiB") } else { format!("{:.2} GiB", mebibytes / 1024.0) }
}

fn indent(text: &str) -> String {
    text.replace('\n', "\n     ")
}

#[cfg(test)]
mod tests;
