//! A small S3D: several species are carried by a wind, diffuse in a box, and react with each other, element by element.
//!
//! ```text
//! cargo run --release --example reacting_flow
//! mpirun -n 2 target/release/examples/reacting_flow
//! ```
//!
//! Stencils are written as in NumPy, with slices that are shifted against each other; where the box is cut over ranks, they become
//! exchanges of halos. Prints `mass is conserved, and fuel is burnt` on any number of ranks.

#![allow(clippy::print_stdout, reason = "a program prints")]

use bireme::prelude::*;

const CELLS: usize = 24;
const STEP: f64 = 1e-4;
const DIFFUSION: f64 = 0.05;
const WIND: f64 = 1.0;
const RATE: f64 = 30.0;

/// The field with its neighbours from the other side around it: the box has no walls.
fn padded(field: &Array<f64>) -> Result<Array<f64>> {
    let mut padded = field.clone();
    for axis in 0..3 {
        let colons = ":, ".repeat(axis);
        let face = |range| padded.slice(format!("{colons}{range}, ...").as_str());
        padded = concatenate([&face("-1:")?, &padded, &face(":1")?], axis as isize)?;
    }
    Ok(padded)
}

/// How fast a field changes by diffusion and wind.
fn transport(field: &Array<f64>) -> Result<Array<f64>> {
    let (u, h) = (padded(field)?, 1.0 / CELLS as f64);
    let middle = u.slice("1:-1, 1:-1, 1:-1")?;
    let neighbours = [
        u.slice(":-2, 1:-1, 1:-1")?,
        u.slice("2:, 1:-1, 1:-1")?,
        u.slice("1:-1, :-2, 1:-1")?,
        u.slice("1:-1, 2:, 1:-1")?,
        u.slice("1:-1, 1:-1, :-2")?,
        u.slice("1:-1, 1:-1, 2:")?,
    ];
    let [west, east, south, north, below, above] = &neighbours;
    let laplacian = (west + east + south + north + below + above - 6.0 * &middle) / (h * h);
    Ok(DIFFUSION * laplacian - WIND * (east - west) / (2.0 * h))
}

fn main() -> Result<()> {
    let session = Session::new()?;
    let shape = [CELLS, CELLS, CELLS];
    let mut fuel = session.random::<f64>(shape, 1);
    let mut oxygen = session.random::<f64>(shape, 2);
    let mut product = session.zeros::<f64>(shape);
    let mass = |fuel: &Array<f64>, oxygen: &Array<f64>, product: &Array<f64>| (fuel + oxygen + product).sum().item();
    let (before, burning) = (mass(&fuel, &oxygen, &product)?, fuel.sum().item()?);
    for _ in 0..20 {
        let reaction = RATE * &fuel * &oxygen;
        let changes =
            [transport(&fuel)? - &reaction, transport(&oxygen)? - &reaction, transport(&product)? + 2.0 * &reaction];
        let [by_fuel, by_oxygen, by_product] = &changes;
        fuel = fuel + STEP * by_fuel;
        oxygen = oxygen + STEP * by_oxygen;
        product = product + STEP * by_product;
        compute_all([&fuel, &oxygen, &product])?;
    }
    let (after, left) = (mass(&fuel, &oxygen, &product)?, fuel.sum().item()?);
    if session.is_root() {
        let conserved = (after - before).abs() < 1e-9 * before;
        let burnt = left < 0.99 * burning;
        println!("mass is {}conserved, and fuel is {}burnt", not_if(conserved), not_if(burnt));
    }
    Ok(())
}

fn not_if(holds: bool) -> &'static str {
    if holds { "" } else { "not " }
}
