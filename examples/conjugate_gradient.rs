//! Solves `A x = b` by conjugate gradients, plain and with a preconditioner, as one would write it in NumPy.
//!
//! ```text
//! cargo run --release --example conjugate_gradient
//! mpirun -n 2 target/release/examples/conjugate_gradient
//! ```
//!
//! Prints the same on any number of ranks:
//!
//! ```text
//! plain: residual below 1e-8
//! preconditioned: residual below 1e-8
//! the solutions agree
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

use bireme::prelude::*;

fn cg_solve(a: &Array<f64>, b: &Array<f64>, tolerance: f64) -> Result<Array<f64>> {
    let mut x = Array::zeros_like(b);
    let mut r = b - a.dot(&x)?;
    let mut p = r.clone();
    let mut rs_old = r.dot(&r)?;
    for _ in 0..b.len() {
        let ap = a.dot(&p)?;
        let alpha = &rs_old / p.dot(&ap)?; // lazy: a 0-d array, no round trip
        x = x + &alpha * &p;
        r = r - &alpha * &ap;
        let rs_new = r.dot(&r)?;
        if rs_new.sqrt().item()? < tolerance {
            break; // one plan per iteration, planned once
        }
        p = &r + (&rs_new / &rs_old) * &p;
        rs_old = rs_new;
    }
    Ok(x)
}

fn preconditioned_cg_solve(a: &Array<f64>, b: &Array<f64>, m: &Array<f64>, tolerance: f64) -> Result<Array<f64>> {
    let mut x = Array::zeros_like(b);
    let mut r = b - a.dot(&x)?;
    let mut z = m.dot(&r)?;
    let mut p = z.clone();
    let mut rz_old = r.dot(&z)?;
    for _ in 0..b.len() {
        let ap = a.dot(&p)?;
        let alpha = &rz_old / p.dot(&ap)?;
        x = x + &alpha * &p;
        r = r - &alpha * &ap;
        if r.norm().item()? < tolerance {
            break;
        }
        z = m.dot(&r)?;
        let rz_new = r.dot(&z)?;
        p = &z + (&rz_new / &rz_old) * &p;
        rz_old = rz_new;
    }
    Ok(x)
}

fn main() -> Result<()> {
    let session = Session::new()?;
    let n = 600;
    let random = session.random::<f64>([n, n], 1);
    let a = &random + random.t() + session.eye::<f64>(n) * n as f64; // symmetric, and its diagonal is large
    let b = session.random::<f64>([n], 2);
    let m = (1.0 / a.diag()?).diag()?; // Jacobi's preconditioner as a full matrix
    compute_all([&a, &b, &m])?;

    let plain = cg_solve(&a, &b, 1e-8)?;
    let preconditioned = preconditioned_cg_solve(&a, &b, &m, 1e-8)?;
    for (name, x) in [("plain", &plain), ("preconditioned", &preconditioned)] {
        let residual = (&b - a.dot(x)?).norm().item()?;
        report(&session, &format!("{name}: residual {} 1e-8", if residual < 1e-8 { "below" } else { "not below" }));
    }
    let apart = (&plain - &preconditioned).abs().max().item()?;
    report(&session, if apart < 1e-9 { "the solutions agree" } else { "the solutions differ" });
    Ok(())
}

fn report(session: &Session, line: &str) {
    if session.is_root() {
        println!("{line}");
    }
}
