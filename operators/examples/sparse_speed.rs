//! How fast sparse products are: `cargo run --release -p bireme-operators --no-default-features --example sparse_speed [threads [name]]`.
//!
//! Prints each kernel's rate on entries anywhere ("uniform") and on entries as graphs have them ("power-law"), and for the product of a
//! matrix and a vector what a plain loop reads of the same bytes in the same run. A rate is of the best of several runs.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints, and stops at the first surprise")]

use std::hint::black_box;
use std::time::Instant;

use bireme_operators::contract::View;
use bireme_operators::sparse::{Coordinates, Csf, Csr, mttkrp, sddmm, spgemm, spmm, spmv};
use rayon::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn index(&mut self, extent: usize, power: bool) -> u32 {
        // With a frequency that falls as i^(-1/2).
        let at = self.roll();
        ((if power { at * at } else { at }) * extent as f64) as u32
    }
}

fn tensor(shape: &[usize], entries: usize, power: bool) -> Coordinates<f64> {
    let mut dice = Dice(shape.len() as u64);
    let mut indices = vec![Vec::with_capacity(entries); shape.len()];
    for _ in 0..entries {
        indices.iter_mut().zip(shape).for_each(|(list, &extent)| list.push(dice.index(extent, power)));
    }
    Coordinates::new(shape, indices, (0..entries).map(|_| dice.roll() - 0.5).collect()).unwrap()
}

fn wanted(name: &str) -> bool {
    std::env::args().nth(2).is_none_or(|wanted| name.contains(&wanted))
}

/// Seconds of the best run.
fn best(mut run: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    let started = Instant::now();
    for _ in 0..40 {
        let began = Instant::now();
        run();
        best = best.min(began.elapsed().as_secs_f64());
        if started.elapsed().as_secs_f64() > 3.0 {
            break;
        }
    }
    best
}

fn print(name: &str, pattern: &str, seconds: f64, rates: &[(f64, &str)]) {
    let rates: Vec<String> =
        rates.iter().map(|(amount, unit)| format!("{:9.2} {unit}", amount / seconds / 1e9)).collect();
    println!("{name:<24} {pattern:<10} {:9.2} ms {}", seconds * 1e3, rates.join(" "));
}

fn main() {
    let threads = std::env::args().nth(1).map_or(1, |text| text.parse().unwrap());
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    for (pattern, power) in [("uniform", false), ("power-law", true)] {
        forms(pattern, power);
        vectors(pattern, power);
        matrices(pattern, power);
        products(pattern, power);
        tensors(pattern, power);
    }
}

fn forms(pattern: &str, power: bool) {
    if !wanted("forms") {
        return;
    }
    let given = tensor(&[1 << 19, 1 << 19], 1 << 22, power);
    let (shape, indices, values) = given.clone().into_parts();
    let entries = values.len() as f64;
    let turned = vec![indices[1].clone(), indices[0].clone()];
    let mut made = None;
    let seconds = best(|| made = Some(Coordinates::new(&shape, turned.clone(), values.clone()).unwrap()));
    print("forms: sort", pattern, seconds, &[(entries, "Gnnz/s")]);
    let rows = Csr::new(given).unwrap();
    let seconds = best(|| drop(black_box(rows.transposed().unwrap())));
    print("forms: transpose", pattern, seconds, &[(entries, "Gnnz/s")]);
}

fn matrices(pattern: &str, power: bool) {
    if !["spmm", "sddmm"].iter().any(|name| wanted(name)) {
        return;
    }
    let (rows, columns) = (1 << 18, 1 << 18);
    let given = tensor(&[rows, columns], 1 << 23, power);
    let a = Csr::new(given.clone()).unwrap();
    let entries = a.entries() as f64;
    for width in [8, 32, 100] {
        if wanted("spmm") {
            let b = vec![1.0; columns * width];
            let mut c = vec![0.0; rows * width];
            let view = View::contiguous(&b, &[columns, width]).unwrap();
            let seconds = best(|| spmm(&a, &view, &mut c).unwrap());
            print(&format!("spmm, {width} columns"), pattern, seconds, &[(2.0 * entries * width as f64, "Gflop/s")]);
        }
        if wanted("sddmm") {
            let (left, right) = (vec![1.0; rows * width], vec![1.0; columns * width]);
            let left = View::contiguous(&left, &[rows, width]).unwrap();
            let right = View::new(&right, &[width, columns], &[1, width as isize], 0).unwrap();
            let seconds = best(|| drop(black_box(sddmm(&given, &left, &right).unwrap())));
            print(&format!("sddmm, {width} inner"), pattern, seconds, &[(2.0 * entries * width as f64, "Gflop/s")]);
        }
    }
}

/// With a vector that is in the first-level cache, the second, the third.
fn vectors(pattern: &str, power: bool) {
    for columns in [1 << 11, 1 << 15, 1 << 18] {
        let name = format!("spmv, {columns} columns");
        if !wanted(&name) {
            continue;
        }
        let rows = 1 << 18;
        let a = Csr::new(tensor(&[rows, columns], 1 << 23, power)).unwrap();
        let entries = a.entries() as f64;
        let (x, mut y) = (vec![1.0; columns], vec![0.0; rows]);
        let bytes = entries * 12.0 + (rows * 16 + columns * 8) as f64;
        let read = || {
            let indices = a.indices().par_chunks(1 << 14).map(|part| part.iter().fold(0_u32, |sum, one| sum ^ one));
            let values = a.values().par_chunks(1 << 13);
            let values = values.map(|part| part.iter().fold(0_u64, |sum, one| sum ^ one.to_bits()));
            black_box((indices.reduce(|| 0, |one, other| one ^ other), values.reduce(|| 0, |one, other| one ^ other)));
        };
        let alone = best(read);
        let seconds = best(|| spmv(&a, &x, &mut y).unwrap());
        print(&name, pattern, seconds, &[(bytes, "GB/s"), (entries, "Gnnz/s")]);
        print("  its entries only read", pattern, alone, &[(entries * 12.0, "GB/s")]);
    }
}

fn products(pattern: &str, power: bool) {
    for (size, entries) in [(1 << 17, 1 << 20), (1 << 12, 1 << 17), (1 << 22, 1 << 21)] {
        let name = format!("spgemm, {size} rows");
        if !wanted(&name) {
            continue;
        }
        // Of a power law the products of the most frequent rows and columns are most of all: fewer entries.
        let a = Csr::new(tensor(&[size, size], if power { entries / 4 } else { entries }, power)).unwrap();
        let products: usize = a.indices().iter().map(|&inner| a.row(inner as usize).0.len()).sum();
        let mut made = 0;
        let seconds = best(|| made = black_box(spgemm(&a, &a).unwrap()).entries());
        print(&name, pattern, seconds, &[(products as f64, "Gproducts/s"), (made as f64, "Gnnz/s")]);
    }
}

fn tensors(pattern: &str, power: bool) {
    let shape = [3000, 20_000, 10_000];
    for (name, order) in [("root", [0, 1, 2]), ("middle", [1, 0, 2]), ("leaf", [1, 2, 0])] {
        for rank in [16, 32] {
            let name = format!("mttkrp, {name}, rank {rank}");
            if !wanted(&name) {
                continue;
            }
            let x = Csf::new(&tensor(&shape, 1 << 22, power), &order).unwrap();
            let matrices = shape.map(|extent| vec![1.0; extent * rank]);
            let factors = [1, 2].map(|axis| View::contiguous(&matrices[axis], &[shape[axis], rank]).unwrap());
            let mut out = vec![0.0; shape[0] * rank];
            let seconds = best(|| mttkrp(&x, 0, &factors, &mut out).unwrap());
            let entries = x.values().len() as f64;
            print(&name, pattern, seconds, &[(entries, "Gnnz/s"), (3.0 * entries * rank as f64, "Gflop/s")]);
        }
    }
}
