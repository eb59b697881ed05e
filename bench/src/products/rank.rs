//! Ourselves as a rank: one product of two matrices, several times.

use std::time::Instant;

use bireme::prelude::{Array, Error, Layout, LocalTile, Result, Session, compute_all, einsum};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::way::{Asked, Way};
use crate::worker::say;

/// What a rank is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProductsRank {
    #[arg(long)]
    way: Way,
    #[arg(long)]
    n: usize,
    #[arg(long)]
    threads: usize,
    /// Timed runs after one warm-up
    #[arg(long)]
    runs: usize,
}

/// What rank 0 of a job says at its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) version: String,
    /// Of each run, the time of the rank that took longest.
    pub(super) ms: Vec<f64>,
    /// Bytes of elements that the ranks sent to each other in one run.
    pub(super) bytes: f64,
    /// What the plan says of it; nothing on one rank.
    pub(super) plan: Option<String>,
    /// Of the result C of n rows: Σ C / n, √(Σ C²) / n, and Σ C·W / n with other random numbers W.
    pub(super) answer: Vec<f64>,
}

/// Makes the operands, multiplies, and says how long it took.
///
/// # Errors
/// The session does not start, or a rank fails.
pub(crate) fn run(arguments: &ProductsRank) -> Result<()> {
    // Matrices are cut however small they are.
    let session = Session::builder().threads(arguments.threads).arrays_whole_below(1).build()?;
    let said = multiply(&session, arguments)?;
    if session.is_root() {
        say(&said)?;
    }
    session.close()
}

fn multiply(session: &Session, arguments: &ProductsRank) -> Result<Said> {
    let ProductsRank { way, n, runs, .. } = *arguments;
    let asked = way.asked(session.ranks(), n);
    let [a, b] = operands(session, n, asked.as_ref())?;
    let product = || {
        let product = einsum("ik,kj->ij", [&a, &b])?;
        asked.as_ref().map_or(Ok(product.clone()), |asked| product.schedule(asked.schedule.clone()))
    };
    let plan = product()?.explain()?;
    let warm_up = product()?;
    let answer = answer(session, n, &warm_up)?;
    drop(warm_up);
    let (mut ms, mut bytes) = (Vec::new(), 0);
    for _ in 0..runs {
        let product = product()?;
        let before = session.progress().array_bytes_sent;
        meet(session)?;
        let started = Instant::now();
        product.compute()?;
        ms.push(started.elapsed().as_secs_f64() * 1e3);
        bytes = session.progress().array_bytes_sent - before;
    }
    let (ms, bytes) = over_ranks(session, ms, bytes)?;
    Ok(Said { version: env!("CARGO_PKG_VERSION").into(), ms, bytes, plan: chosen(&plan), answer })
}

/// Two matrices of random numbers around 0, in memory, where the schedule wants them.
fn operands(session: &Session, n: usize, asked: Option<&Asked>) -> Result<[Array<f64>; 2]> {
    let operand = |at: usize| -> Result<Array<f64>> {
        let numbers = session.random::<f64>([n, n], at as u64 + 1) - 0.5;
        match asked {
            Some(asked) => numbers.distribute(asked.layouts[at], &session.machine().grid(asked.grid.clone())?),
            None => Ok(numbers),
        }
    };
    let operands = [operand(0)?, operand(1)?];
    compute_all(&operands)?;
    Ok(operands)
}

fn answer(session: &Session, n: usize, product: &Array<f64>) -> Result<Vec<f64>> {
    product.compute()?;
    let weights = session.random::<f64>([n, n], 3);
    let sums = [product.sum(), (product * product).sum(), (product * &weights).sum()];
    let [sum, squares, weighted] = [sums[0].item()?, sums[1].item()?, sums[2].item()?];
    Ok([sum, squares.sqrt(), weighted].map(|sum| sum / n as f64).to_vec())
}

/// An action for which each rank needs the others, so that no clock starts before all ranks are there.
fn meet(session: &Session) -> Result<()> {
    session.ones::<f64>([session.ranks()]).sum().item().map(drop)
}

/// The longest time of each run, and the bytes of all ranks. Each rank's numbers are a row of an array.
fn over_ranks(session: &Session, mut numbers: Vec<f64>, bytes: u64) -> Result<(Vec<f64>, f64)> {
    numbers.push(bytes as f64);
    let (rank, columns) = (session.rank(), numbers.len());
    let tile = LocalTile::<f64>::new(numbers, [rank..rank + 1, 0..columns])?;
    let all = Array::from_local(tile, Layout::parse("t(r,x) -> M(r)")?, session)?.to_vec()?;
    let column = |at: usize| all.iter().skip(at).step_by(columns).copied();
    let longest = (0..columns - 1).map(|at| column(at).fold(0.0, f64::max)).collect();
    if all.len() != columns * session.ranks() {
        return Err(Error::internal("some rank's times are missing"));
    }
    Ok((longest, column(columns - 1).sum()))
}

/// `SUMMA on 1 x 2 in 2 rounds` in the text of a plan.
fn chosen(plan: &str) -> Option<String> {
    let (before, _) = plan.split_once(": a rank receives")?;
    let line = before.lines().last()?;
    let (_, way) = line.split_once("by ")?;
    Some(way.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn one_rank_multiplies() {
        let session = Session::builder().threads(1).arrays_whole_below(1).build().unwrap();
        let arguments = ProductsRank { way: Way::Chosen, n: 24, threads: 1, runs: 2 };
        let said = multiply(&session, &arguments).unwrap();
        assert_eq!((said.ms.len(), said.bytes, said.plan, said.answer.len()), (2, 0.0, None, 3));
        session.close().unwrap();
    }

    #[test]
    fn the_way_in_the_text_of_a_plan() {
        let plan =
            "== steps ==\ns3: product\n  by SUMMA on 1 x 2 in 2 rounds: a rank receives 8 B at most, all together 9 B";
        assert_eq!(chosen(plan).unwrap(), "SUMMA on 1 x 2 in 2 rounds");
        assert_eq!(chosen("== steps =="), None);
    }
}
