//! From sparse to dense: the same product over more and more entries, by the kernel that we choose, as a join, and by DuckDB.
//!
//! ```text
//!   us          recognised as a product; the rows show whether it is done row by row or as dense matrices (operators/contract_rows)
//!   hash join   ourselves with `SET bireme.contractions = false`
//!   duckdb
//! ```
//!
//! Nothing forces one kernel: which one was chosen is read from EXPLAIN ANALYZE, and written beside the points. Entries lie anywhere,
//! each with the same chance. Who fails, or does not answer in time, is not asked about denser matrices.

use std::path::Path;

use bireme::prelude::{Error, Result};
use serde::Serialize;

use super::data::Case;
use super::{KERNEL, Measured, SqlTensor, measure, ours, peer, report};
use crate::answers::Cell;
use crate::chart::{Chart, Point, Series};
use crate::engine::Engine;
use crate::worker::US;

/// Parts of all cells that are entries, and their names.
const SHARES: [(f64, &str); 7] =
    [(0.001, "0.1%"), (0.003, "0.3%"), (0.01, "1%"), (0.03, "3%"), (0.1, "10%"), (0.3, "30%"), (1.0, "100%")];

const JOIN: &str = "hash join";

const DUCKDB: &str = "duckdb";

/// How the failure of an engine begins that did not answer in time (see [`crate::engine`]).
const LATE: &str = "no answer in";

const NOT_ASKED: &str = ", and not asked again";

/// A density, measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Density {
    /// Of all cells.
    share: f64,
    /// Which kernel we chose; unknown if we did not answer.
    kernel: Option<String>,
    #[serde(flatten)]
    pub(super) measured: Measured,
}

/// Measures and prints all densities, and draws them if a file is named.
///
/// # Errors
/// We do not answer; a file cannot be written.
pub(super) fn run(arguments: &SqlTensor, folder: &Path) -> Result<Vec<Density>> {
    let size = arguments.size();
    let mut densities = Vec::<Density>::new();
    for (share, name) in SHARES {
        let case = Case::uniform(name, size, share);
        let data = folder.join(name);
        let rows = case.write(&data)?;
        let mut engines = vec![
            ours(US, &data, arguments, true)?,
            ours(JOIN, &data, arguments, false)?,
            peer(DUCKDB, &data, arguments)?,
        ];
        let out = densities.last().map(|last| given_up(&last.measured)).unwrap_or_default();
        let measured = measure(&case, &mut engines, rows, arguments, &out)?;
        report::print(&measured)?;
        let kernel = kernel(&mut engines[0]);
        report::say(&format!("  kernel: {}", kernel.as_deref().unwrap_or("unknown")))?;
        densities.push(Density { share, kernel, measured });
        drop(engines);
        std::fs::remove_dir_all(&data)?;
    }
    if let Some(path) = &arguments.svg {
        let written = std::fs::write(path, chart(size, &densities).svg());
        written.map_err(|error| Error::from(error).context(format!("writing {}", path.display())))?;
    }
    Ok(densities)
}

/// Who has failed, and how.
fn given_up(measured: &Measured) -> Vec<(String, String)> {
    let failed = measured.engines.iter().filter_map(|engine| Some((engine, engine.failure.as_deref()?)));
    let told = |failure: &str| match failure.contains(NOT_ASKED) {
        true => failure.to_owned(),
        false => format!("{failure} at {}{NOT_ASKED}", measured.case),
    };
    failed.map(|(engine, failure)| (engine.engine.clone(), told(failure))).collect()
}

/// Which way our contraction went.
fn kernel(us: &mut Engine) -> Option<String> {
    let answer = us.ask(KERNEL, super::SQL, true).ok()?.answer?;
    match answer.rows.first()?.first()? {
        Cell::Text(name) => Some(name.clone()),
        _ => None,
    }
}

fn chart(size: u64, densities: &[Density]) -> Chart {
    let named = [(US, "Bireme, kernel as chosen"), (JOIN, "Bireme, recognition off"), (DUCKDB, "DuckDB")];
    Chart {
        title: format!("Product of two {size} x {size} matrices in SQL"),
        x_title: "entries of all cells (%)".into(),
        y_title: "time, best run (ms)".into(),
        x_ticks: SHARES.iter().map(|(share, name)| (100.0 * share, name.trim_end_matches('%').to_owned())).collect(),
        series: named.iter().map(|(engine, name)| series(engine, name, densities)).collect(),
    }
}

fn series(engine: &str, name: &str, densities: &[Density]) -> Series {
    let mut points = Vec::new();
    let mut absent = Vec::new();
    let mut late = false;
    for Density { share, kernel, measured } in densities {
        let times = measured.engines.iter().find(|times| times.engine == engine);
        let right = times.filter(|times| report::agree(&measured.engines[0], times));
        match right.and_then(|times| times.best()) {
            Some(ms) => {
                let label = kernel.clone().filter(|_| engine == US);
                points.push(Point { x: 100.0 * share, y: ms, label });
            }
            None => {
                absent.push(measured.case.as_str());
                late |= times.and_then(|times| times.failure.as_ref()).is_some_and(|why| why.starts_with(LATE));
            }
        }
    }
    let note = match (absent.as_slice(), points.is_empty()) {
        ([], _) => None,
        (_, true) => Some("absent".to_owned()),
        (some, false) => Some(format!("{} at {}", if late { "no answer in time" } else { "absent" }, some.join(", "))),
    };
    Series { name: name.to_owned(), note, points }
}

#[cfg(test)]
mod tests {
    use super::super::EngineTimes;
    use super::*;

    fn density(share: f64, name: &str, ms: [Option<f64>; 2]) -> Density {
        let engine = |(engine, ms): (&str, Option<f64>)| EngineTimes {
            engine: engine.into(),
            version: None,
            ms: ms.into_iter().collect(),
            failure: ms.is_none().then(|| "no answer in 60 s".into()),
            answer: ms.map(|_| (4, 1.0)),
        };
        let engines = [US, JOIN].into_iter().zip(ms).map(engine).collect();
        let measured = Measured { case: name.into(), rows_of_a: 2, rows_of_b: 2, rows_of_result: Some(4), engines };
        Density { share, kernel: Some("dense".into()), measured }
    }

    #[test]
    fn who_has_no_time_is_named() {
        let densities = [density(0.01, "1%", [Some(2.0), Some(30.0)]), density(0.1, "10%", [Some(3.0), None])];
        let chart = chart(100, &densities);
        let points = chart.series.iter().map(|series| series.points.len()).collect::<Vec<_>>();
        assert_eq!(points, [2, 1, 0]);
        let notes = chart.series.iter().map(|series| series.note.as_deref()).collect::<Vec<_>>();
        assert_eq!(notes, [None, Some("no answer in time at 10%"), Some("absent")]);
        let expected = (JOIN.to_owned(), "no answer in 60 s at 10%, and not asked again".to_owned());
        assert_eq!(given_up(&densities[1].measured), [expected]);
        assert!(chart.svg().contains("dense"));
    }
}
