//! Prices European options by Black's and Scholes' formula, as one would write it in NumPy.
//!
//! ```text
//! cargo run --release --example black_scholes
//! mpirun -n 2 target/release/examples/black_scholes
//! ```
//!
//! Prints `put-call parity holds for 1000000 options` on any number of ranks.

#![allow(clippy::print_stdout, reason = "a program prints")]

use bireme::prelude::*;

/// The normal distribution, by Abramowitz and Stegun's formula 26.2.17.
fn normal_distribution(d: &Array<f64>) -> Array<f64> {
    let k = 1.0 / (1.0 + 0.2316419 * d.abs());
    let series = 0.31938153 + &k * (-0.356563782 + &k * (1.781477937 + &k * (-1.821255978 + &k * 1.330274429)));
    let tail = 0.3989422804014327 * (-0.5 * d * d).exp() * (&k * series);
    where_(&d.gt(0.0), 1.0 - &tail, &tail)
}

/// The prices of calls and of puts.
fn black_scholes(
    spot: &Array<f64>,
    strike: &Array<f64>,
    years: &Array<f64>,
    rate: f64,
    volatility: f64,
) -> (Array<f64>, Array<f64>) {
    let spread = volatility * years.sqrt();
    let d1 = ((spot / strike).ln() + (rate + 0.5 * volatility * volatility) * years) / &spread;
    let d2 = &d1 - &spread;
    let (n1, n2) = (normal_distribution(&d1), normal_distribution(&d2));
    let discounted = strike * (-rate * years).exp();
    let call = spot * &n1 - &discounted * &n2;
    let put = &discounted * (1.0 - &n2) - spot * (1.0 - &n1);
    (call, put)
}

fn main() -> Result<()> {
    let session = Session::new()?;
    let n = 1_000_000;
    let spot = session.random::<f64>([n], 1) * 100.0 + 1.0;
    let strike = session.random::<f64>([n], 2) * 100.0 + 1.0;
    let years = session.random::<f64>([n], 3) * 2.0 + 0.1;
    let (call, put) = black_scholes(&spot, &strike, &years, 0.02, 0.30);
    let parity = (call - put - (spot - strike * (-0.02 * years).exp())).abs().max();
    let parity = parity.item()?;
    if session.is_root() {
        let verdict = if parity < 1e-9 { "holds" } else { "does not hold" };
        println!("put-call parity {verdict} for {n} options");
    }
    Ok(())
}
