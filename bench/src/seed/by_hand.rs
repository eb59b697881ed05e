//! The programs by hand: what one writes in Rust for these four and no others. It is the yardstick of what a planner that knows
//! all programs leaves lying.
//!
//! Threads are rayon's. Loops are plain and become vector instructions of the widest kind the processor has ([`simd`]). Matrices are
//! read once an iteration and all else is fused ([`solvers`]); Black-Scholes is one pass, with its own exp and ln
//! ([`black_scholes`]). Memory comes in huge pages, as NumPy's does ([`huge`]).

mod black_scholes;
mod huge;
mod read;
mod simd;
mod solvers;

use std::path::{Path, PathBuf};

use bireme::prelude::{Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

pub(crate) use self::read::READ_BYTES;
use self::solvers::{Matrix, cg, jacobi, pcg};
use super::worker::Contestant;
use super::{Program, answer, data};

/// The programs by hand, with what one of them reads and what came of it.
pub(super) struct ByHand {
    pool: ThreadPool,
    data: PathBuf,
    iterations: u32,
    loaded: Option<(Program, Vec<Vec<f64>>)>,
    /// x, or call and put. The memory of the two is taken once, as the loop in numba has it.
    result: Vec<Vec<f64>>,
}

impl ByHand {
    /// With threads, but nothing loaded.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(super) fn start(data: &Path, threads: usize, iterations: u32) -> Result<Self> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| Error::resources(format!("starting threads: {error}")))?;
        Ok(Self { pool, data: data.to_owned(), iterations, loaded: None, result: Vec::new() })
    }
}

impl Contestant for ByHand {
    fn load(&mut self, program: Program) -> Result<()> {
        (self.loaded, self.result) = (None, Vec::new());
        let mut inputs = Vec::new();
        for name in program.inputs() {
            let path = data::path(&self.data, name);
            inputs.push(data::read(&path, huge::with_capacity(data::most_cells(&path)?))?);
        }
        if program == Program::BlackScholes {
            self.result = (0..2).map(|_| huge::filled(inputs[0].len(), 0.0)).collect();
        }
        self.loaded = Some((program, inputs));
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let Self { pool, iterations, loaded, result, .. } = self;
        let Some((program, inputs)) = loaded else { return Err(Error::internal("nothing is loaded")) };
        let matrix = |cells| Matrix::square(cells).ok_or_else(|| Error::internal("a matrix is not square"));
        match (program, inputs.as_slice(), result.as_mut_slice()) {
            (Program::BlackScholes, [s, k, t], [call, put]) => {
                pool.install(|| black_scholes::prices(s, k, t, call, put));
            }
            (Program::Jacobi, [r, d, b], _) => {
                let r = matrix(r)?;
                *result = vec![pool.install(|| jacobi(&r, d, b, *iterations))];
            }
            (Program::Cg, [a, b], _) => {
                let a = matrix(a)?;
                *result = vec![pool.install(|| cg(&a, b, *iterations))];
            }
            (Program::Pcg, [a, m, b], _) => {
                let (a, m) = (matrix(a)?, matrix(m)?);
                *result = vec![pool.install(|| pcg(&a, &m, b, *iterations))];
            }
            _ => return Err(Error::internal("a program has other inputs than those that were loaded")),
        }
        Ok(())
    }

    fn answer(&self) -> Result<Vec<f64>> {
        match self.result.as_slice() {
            [x] => Ok(x.clone()),
            [call, put] => Ok(answer::prices([call.iter().sum(), put.iter().sum()], call, put)),
            _ => Err(Error::internal("nothing has run")),
        }
    }

    fn read_ms(&mut self) -> Result<f64> {
        Ok(self.pool.install(read::milliseconds))
    }
}
