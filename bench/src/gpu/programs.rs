//! Programs over arrays and graphs, small enough to be checked in a second.

use bireme::graph::PageRank;
use bireme::prelude::*;

use super::lines;

/// A program: what it finds, as text.
type Program = fn(&Session) -> Result<Vec<String>>;

/// All of them, by name.
pub(super) const ALL: [(&str, Program); 6] = [
    ("option prices", option_prices),
    ("a stencil", stencil),
    ("folds of rows and columns", folds),
    ("pagerank", |session| ranked(session, |graph| graph.pagerank(PageRank::default()))),
    ("components and triangles", components_and_triangles),
    ("breadth-first search", |session| ranked(session, |graph| graph.bfs(0))),
];

/// Numbers to twelve digits: `exp` and its kin are the device's own, within 2 units of the last place.
fn numbers(array: &Array<f64>) -> Result<Vec<String>> {
    Ok(array.to_vec()?.iter().map(|value| format!("{value:.11e}")).collect())
}

fn option_prices(session: &Session) -> Result<Vec<String>> {
    let options = 1000;
    let spot = session.random::<f64>([options], 1) * 100.0 + 1.0;
    let strike = session.random::<f64>([options], 2) * 100.0 + 1.0;
    let years = session.random::<f64>([options], 3) * 2.0 + 0.1;
    let spread = 0.3 * years.sqrt();
    let d1 = ((&spot / &strike).ln() + (0.02 + 0.5 * 0.3 * 0.3) * &years) / &spread;
    let k = 1.0 / (1.0 + 0.2316419 * d1.abs());
    let tail = 0.3989422804014327 * (-0.5 * &d1 * &d1).exp() * (&k * (0.31938153 + &k * -0.356563782));
    numbers(&(spot * where_(&d1.gt(0.0), 1.0 - &tail, &tail) - strike * (-0.02 * years).exp()))
}

fn stencil(session: &Session) -> Result<Vec<String>> {
    let n = 40;
    let mut heat = session.random::<f64>([n, n], 4);
    for _ in 0..3 {
        let within = heat.slice("1:-1, 1:-1")? * 0.6
            + 0.1
                * (heat.slice(":-2, 1:-1")?
                    + heat.slice("2:, 1:-1")?
                    + heat.slice("1:-1, :-2")?
                    + heat.slice("1:-1, 2:")?);
        heat = within;
    }
    numbers(&heat)
}

fn folds(session: &Session) -> Result<Vec<String>> {
    let values = session.random::<f64>([90, 70], 5) - 0.5;
    let mut all = numbers(&values.sum_axis(0))?;
    all.extend(numbers(&values.max_axis(1))?);
    all.push(format!("{:.11e}", (&values * &values).sum().item()?));
    Ok(all)
}

/// A graph of a few thousand edges, most of them at few vertices.
fn graph(session: &Session) -> Result<Graph> {
    let edges = session.sql(
        "SELECT (i * i) % 211 * ((i * 7) % 3) AS src, (i * 31 + i / 5) % 997 AS dst FROM generate_series(0, 4999) AS t(i)",
    )?;
    Graph::from_edges(&edges, "src", "dst")
}

fn ranked(session: &Session, ask: impl FnOnce(&Graph) -> Result<DataFrame>) -> Result<Vec<String>> {
    let mut rows = lines(&ask(&graph(session)?)?.collect()?)?;
    rows.sort();
    Ok(rows)
}

fn components_and_triangles(session: &Session) -> Result<Vec<String>> {
    let mut rows = ranked(session, Graph::components)?;
    rows.extend(ranked(session, |graph| graph.undirected().triangles())?);
    Ok(rows)
}
