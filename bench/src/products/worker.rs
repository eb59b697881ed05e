//! Ourselves as a child: operands in memory, and questions from standard input. The text beside a question is how many runs a turn has.

use std::io::{BufRead as _, stdin};
use std::time::Instant;

use bireme::array::Number;
use bireme::prelude::{Array, Error, Result, Session, einsum};
use clap::Args;

use super::answer::digest;
use super::case::{Question, Type};
use crate::protocol::{Done, Ready, Reply, Request};
use crate::seed::{answer, unit};
use crate::statistics::best;
use crate::worker::{US, say};

/// What our own child is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProductsWorker {
    #[arg(long)]
    threads: usize,
}

/// Answers until there are no more questions.
///
/// # Errors
/// The session does not start, or the parent talks nonsense or is gone.
pub(crate) fn run(arguments: &ProductsWorker) -> Result<()> {
    let session = Session::builder().threads(arguments.threads).build()?;
    say(&Ready { engine: US.into(), version: env!("CARGO_PKG_VERSION").into(), note: None })?;
    let mut loaded = None;
    for line in stdin().lock().lines() {
        let request = serde_json::from_str(&line?).map_err(|error| Error::internal(format!("a request: {error}")))?;
        let reply = reply(&session, &mut loaded, &request);
        say(&reply.unwrap_or_else(|error| Reply::Failed { error: error.to_string() }))?;
    }
    drop(loaded);
    session.close()
}

/// A product whose operands are there.
trait Loaded {
    /// Multiplies. This is what takes the time.
    fn multiply(&mut self) -> Result<()>;

    /// The numbers of the last result.
    fn answer(&self) -> Result<Vec<f64>>;
}

struct Typed<T: Number> {
    einsum: String,
    operands: Vec<Array<T>>,
    result: Option<Array<T>>,
}

impl<T: Number + Into<f64>> Loaded for Typed<T> {
    fn multiply(&mut self) -> Result<()> {
        // The last result goes first, so that its memory can be used again.
        self.result = None;
        let product = einsum(&self.einsum, &self.operands)?;
        product.compute()?;
        self.result = Some(product);
        Ok(())
    }

    fn answer(&self) -> Result<Vec<f64>> {
        let result = self.result.as_ref().ok_or_else(|| Error::internal("nothing was multiplied"))?;
        Ok(digest(&result.to_vec()?.into_iter().map(Into::into).collect::<Vec<f64>>()))
    }
}

fn reply(session: &Session, loaded: &mut Option<(String, Box<dyn Loaded>)>, request: &Request) -> Result<Reply> {
    if loaded.as_ref().is_none_or(|(query, _)| *query != request.query) {
        *loaded = None;
        *loaded = Some((request.query.clone(), load(session, &Question::parse(&request.query)?)?));
    }
    let Some((_, product)) = loaded else { return Err(Error::internal("nothing is loaded")) };
    let runs = request.sql.parse().map_err(|_| Error::internal(format!("`{}` is no number of runs", request.sql)))?;
    let times = (0..runs).map(|_| time(product.as_mut())).collect::<Result<Vec<f64>>>()?;
    let ms = best(&times).ok_or_else(|| Error::internal("a turn without a run"))?;
    let answer = request.answer.then(|| product.answer().map(answer::row)).transpose()?;
    Ok(Reply::Done(Done { ms, rows: 0, planning_ms: None, answer }))
}

/// Milliseconds of one run.
fn time(product: &mut dyn Loaded) -> Result<f64> {
    let started = Instant::now();
    product.multiply()?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

fn load(session: &Session, question: &Question) -> Result<Box<dyn Loaded>> {
    Ok(match question.element {
        Type::F32 => Box::new(load_as(session, question, |number| number as f32, |array| array * 1.0_f32)?),
        Type::F64 => Box::new(load_as(session, question, |number| number, |array| array * 1.0)?),
    })
}

/// `ours` makes an array that lies where results of ours do, in large pages as NumPy's, whatever memory the vector has.
fn load_as<T: Number>(
    session: &Session,
    question: &Question,
    round: fn(f64) -> T,
    ours: fn(Array<T>) -> Array<T>,
) -> Result<Typed<T>> {
    let operand = |(at, shape): (usize, &Vec<usize>)| {
        let seed = at as u64 + 1;
        let numbers = (0..shape.iter().product()).map(|at| round(unit(seed, at) - 0.5)).collect::<Vec<_>>();
        let operand = ours(session.array(numbers, shape.clone())?);
        operand.compute()?;
        Ok(operand)
    };
    let operands = question.shapes.iter().enumerate().map(operand).collect::<Result<_>>()?;
    Ok(Typed { einsum: question.einsum.clone(), operands, result: None })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn products_of_both_types() {
        let session = Session::builder().threads(1).build().unwrap();
        for element in ["f32", "f64"] {
            let question = Question::parse(&format!("{element} ik,kj->ij 2x3 3x2")).unwrap();
            let mut product = load(&session, &question).unwrap();
            assert!(product.answer().is_err());
            product.multiply().unwrap();
            let element = |at: usize, column: usize| {
                (0..3).map(|k| (unit(1, at * 3 + k) - 0.5) * (unit(2, k * 2 + column) - 0.5)).sum::<f64>()
            };
            let slow = [element(0, 0), element(0, 1), element(1, 0), element(1, 1)];
            let difference = super::super::answer::difference(&digest(&slow), &product.answer().unwrap());
            assert!(difference < 1e-5, "{difference}");
        }
    }
}
