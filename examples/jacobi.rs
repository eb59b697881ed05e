//! Solves `A x = b` by Jacobi's iteration, as one would write it in NumPy.
//!
//! ```text
//! cargo run --release --example jacobi
//! mpirun -n 2 target/release/examples/jacobi
//! ```
//!
//! Prints `the largest error after 50 iterations is below 1e-10` on any number of ranks.

#![allow(clippy::print_stdout, reason = "a program prints")]

use bireme::prelude::*;

fn jacobi(a: &Array<f64>, b: &Array<f64>, iterations: usize) -> Result<Array<f64>> {
    let d = a.diag()?;
    let r = a - d.diag()?;
    let mut x = Array::zeros_like(b);
    for _ in 0..iterations {
        x = (b - r.dot(&x)?) / &d;
        x.compute()?;
    }
    Ok(x)
}

fn main() -> Result<()> {
    let session = Session::new()?;
    let n = 500;
    let a = session.random::<f64>([n, n], 1) + session.eye::<f64>(n) * (2 * n) as f64;
    let solution = session.random::<f64>([n], 2);
    let b = a.dot(&solution)?;
    let x = jacobi(&a, &b, 50)?;
    let error = (x - solution).abs().max().item()?;
    if session.is_root() {
        let verdict = if error < 1e-10 { "below" } else { "not below" };
        println!("the largest error after 50 iterations is {verdict} 1e-10");
    }
    Ok(())
}
