//! The programs as our users write them: the NumPy originals, line by line.
//!
//! Arrays are lazy. Jacobi and Black-Scholes are one plan each, which runs where the caller wants the result. A conjugate gradient
//! asks for the residual in every iteration, as one that stops early must; that is a plan an iteration. Here the tolerance is zero,
//! so that it never stops: the originals run a fixed number of iterations and ask for no residual.

use std::path::{Path, PathBuf};

use bireme::prelude::{Array, Error, Result, Session, compute_all, where_};

use super::worker::Contestant;
use super::{Program, answer, data};

/// `x = (b − R·x) / d`, where R is the matrix without its diagonal d.
fn jacobi(r: &Array<f64>, d: &Array<f64>, b: &Array<f64>, iterations: u32) -> Result<Array<f64>> {
    let mut x = Array::zeros_like(b);
    for _ in 0..iterations {
        x = (b - r.dot(&x)?) / d;
    }
    Ok(x)
}

fn cg(a: &Array<f64>, b: &Array<f64>, tolerance: f64, iterations: u32) -> Result<Array<f64>> {
    let mut x = Array::zeros_like(b);
    let mut r = b - a.dot(&x)?;
    let mut p = r.clone();
    let mut rs_old = r.dot(&r)?;
    for _ in 0..iterations {
        let ap = a.dot(&p)?;
        let alpha = &rs_old / p.dot(&ap)?;
        x = x + &alpha * &p;
        r = r - &alpha * &ap;
        let rs_new = r.dot(&r)?;
        if rs_new.sqrt().item()? < tolerance {
            break;
        }
        p = &r + (&rs_new / &rs_old) * &p;
        rs_old = rs_new;
    }
    Ok(x)
}

/// `z = M·r` with a full matrix M, as in the original, although it has a diagonal only.
fn pcg(a: &Array<f64>, m: &Array<f64>, b: &Array<f64>, tolerance: f64, iterations: u32) -> Result<Array<f64>> {
    let mut x = Array::zeros_like(b);
    let mut r = b - a.dot(&x)?;
    let mut z = m.dot(&r)?;
    let mut p = z.clone();
    let mut rz_old = r.dot(&z)?;
    for _ in 0..iterations {
        let ap = a.dot(&p)?;
        let alpha = &rz_old / p.dot(&ap)?;
        x = x + &alpha * &p;
        r = r - &alpha * &ap;
        z = m.dot(&r)?;
        let rz_new = r.dot(&z)?;
        if rz_new.sqrt().item()? < tolerance {
            break;
        }
        p = &z + (&rz_new / &rz_old) * &p;
        rz_old = rz_new;
    }
    Ok(x)
}

/// The normal distribution's cumulated density, by the polynomial of Abramowitz and Stegun, 26.2.17.
fn cnd(d: &Array<f64>) -> Array<f64> {
    const A: [f64; 5] = [0.319_381_53, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    const RSQRT2PI: f64 = 0.398_942_280_401_432_7;
    let k = 1.0 / (1.0 + 0.231_641_9 * d.abs());
    let c = RSQRT2PI * (-0.5 * d * d).exp() * (&k * (A[0] + &k * (A[1] + &k * (A[2] + &k * (A[3] + &k * A[4])))));
    where_(&d.gt(0.0), &(1.0 - &c), &c)
}

/// Call and put of options with price s, strike k and t years to go.
fn black_scholes(s: &Array<f64>, k: &Array<f64>, t: &Array<f64>) -> [Array<f64>; 2] {
    const R: f64 = 0.02;
    const V: f64 = 0.30;
    let sqrt_t = t.sqrt();
    let d1 = ((s / k).ln() + (R + 0.5 * V * V) * t) / (V * &sqrt_t);
    let d2 = &d1 - V * &sqrt_t;
    let (c1, c2) = (cnd(&d1), cnd(&d2));
    let e = (-R * t).exp();
    let call = s * &c1 - k * &e * &c2;
    let put = k * &e * (1.0 - &c2) - s * (1.0 - &c1);
    [call, put]
}

/// Ourselves, with what the program reads and what came of it.
pub(super) struct Ours<'a> {
    session: &'a Session,
    data: PathBuf,
    iterations: u32,
    loaded: Option<(Program, Vec<Array<f64>>)>,
    result: Vec<Array<f64>>,
}

impl<'a> Ours<'a> {
    /// With nothing loaded.
    pub(super) fn new(session: &'a Session, data: &Path, iterations: u32) -> Self {
        Self { session, data: data.to_owned(), iterations, loaded: None, result: Vec::new() }
    }
}

impl Contestant for Ours<'_> {
    fn load(&mut self, program: Program) -> Result<()> {
        (self.loaded, self.result) = (None, Vec::new());
        let mut inputs = Vec::new();
        for name in program.inputs() {
            // In memory, as NumPy's `load` has it: a mapped file lies in small pages, which costs a few percent of the reading rate.
            let input = self.session.read_npy::<f64>(data::path(&self.data, name))? * 1.0;
            input.compute()?;
            inputs.push(input);
        }
        self.loaded = Some((program, inputs));
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        // The last result goes first, so that its memory can be used again.
        self.result.clear();
        let Some((program, inputs)) = &self.loaded else { return Err(Error::internal("nothing is loaded")) };
        self.result = match (program, inputs.as_slice()) {
            (Program::Jacobi, [r, d, b]) => vec![jacobi(r, d, b, self.iterations)?],
            (Program::Cg, [a, b]) => vec![cg(a, b, 0.0, self.iterations)?],
            (Program::Pcg, [a, m, b]) => vec![pcg(a, m, b, 0.0, self.iterations)?],
            (Program::BlackScholes, [s, k, t]) => black_scholes(s, k, t).into(),
            _ => return Err(Error::internal("a program has other inputs than those that were loaded")),
        };
        match self.result.as_slice() {
            [x] => x.compute().map(drop),
            [call, put] => compute_all([call, put]).map(drop),
            _ => Err(Error::internal("a program has one result or two")),
        }
    }

    fn answer(&self) -> Result<Vec<f64>> {
        match self.result.as_slice() {
            [x] => x.to_vec(),
            [call, put] => {
                let sums = [call.sum().item()?, put.sum().item()?];
                Ok(answer::prices(sums, &call.to_vec()?, &put.to_vec()?))
            }
            _ => Err(Error::internal("nothing has run")),
        }
    }
}
