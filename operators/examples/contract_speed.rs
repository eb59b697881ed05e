//! What the kernels of contractions reach of what the host can do.
//!
//! ```text
//! cargo run --release -p bireme-operators --no-default-features --example contract_speed [workers]
//! ```
//!
//! Memory: the sum of an array too large for any cache, on all workers, at best. Arithmetic: the best square GEMM. A kernel's limit
//! is the slower of the two for its bytes and its multiplications; bytes are those of its operands and its result, each once.
//! All are measured in turn, several rounds, and the best of each counts, since hosts are rarely alone with us.

#![allow(clippy::print_stdout, reason = "it prints its results")]

use std::hint::black_box;
use std::time::Instant;

use bireme_engine::error::Result;
use bireme_operators::contract::{Einsum, Element, Epilogue, View, contract};
use rayon::prelude::*;

const ROUNDS: usize = 9;

/// Name, contraction, extents by letter.
type Sizes = (&'static str, &'static str, &'static [(char, usize)]);

const CASES: &[Sizes] = &[
    ("gemm 32", "ij,jk->ik", &[('i', 32), ('j', 32), ('k', 32)]),
    ("gemm 64", "ij,jk->ik", &[('i', 64), ('j', 64), ('k', 64)]),
    ("gemm 128", "ij,jk->ik", &[('i', 128), ('j', 128), ('k', 128)]),
    ("gemm 512", "ij,jk->ik", &[('i', 512), ('j', 512), ('k', 512)]),
    ("gemm 1024", "ij,jk->ik", &[('i', 1024), ('j', 1024), ('k', 1024)]),
    ("gemm nt 512", "ij,kj->ik", &[('i', 512), ('j', 512), ('k', 512)]),
    ("batched gemm", "bij,bjk->bik", &[('b', 500), ('i', 64), ('j', 64), ('k', 64)]),
    ("ttv last", "ijk,k->ij", &[('i', 200), ('j', 300), ('k', 400)]),
    ("ttv middle", "ijk,j->ik", &[('i', 200), ('j', 300), ('k', 400)]),
    ("ttv first", "ijk,i->jk", &[('i', 200), ('j', 300), ('k', 400)]),
    ("matrix vector", "ij,j->i", &[('i', 5000), ('j', 5000)]),
    ("vector matrix", "ij,i->j", &[('i', 5000), ('j', 5000)]),
    ("ttm last", "ijk,kl->ijl", &[('i', 200), ('j', 300), ('k', 400), ('l', 32)]),
    ("ttm middle", "ijk,jl->ilk", &[('i', 200), ('j', 300), ('k', 400), ('l', 32)]),
    ("ttm first", "ijk,il->ljk", &[('i', 200), ('j', 300), ('k', 400), ('l', 32)]),
    ("inner product", "ijk,ijk->", &[('i', 200), ('j', 300), ('k', 200)]),
    ("inner across", "ij,ji->", &[('i', 3000), ('j', 3000)]),
    ("hadamard", "ij,ij->ij", &[('i', 3000), ('j', 3000)]),
    ("outer", "i,j->ij", &[('i', 4000), ('j', 4000)]),
    ("transpose", "ij->ji", &[('i', 4000), ('j', 4000)]),
    ("mttkrp 0", "ijk,jr,kr->ir", &[('i', 300), ('j', 300), ('k', 300), ('r', 32)]),
    ("mttkrp 1", "ijk,ir,kr->jr", &[('i', 300), ('j', 300), ('k', 300), ('r', 32)]),
    ("mttkrp 2", "ijk,ir,jr->kr", &[('i', 300), ('j', 300), ('k', 300), ('r', 32)]),
];

fn main() -> Result<()> {
    let workers = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build();
    let Ok(pool) = pool else { return Ok(()) };
    println!("{workers} workers, best of {ROUNDS} rounds");
    pool.install(|| {
        measure::<f64>("f64", |value| value as f64).and_then(|()| measure::<f32>("f32", |value| value as f32))
    })
}

struct Case<T> {
    name: &'static str,
    einsum: Einsum,
    shapes: Vec<Vec<usize>>,
    arrays: Vec<Vec<T>>,
    out: Vec<T>,
    bytes: f64,
    multiplications: f64,
    best: f64,
}

impl<T: Element> Case<T> {
    fn new(name: &'static str, text: &str, extents: &[(char, usize)], make: fn(usize) -> T) -> Result<Self> {
        let einsum = Einsum::parse(text)?;
        let of = |letter: &char| extents.iter().find(|one| one.0 == *letter).map_or(1, |one| one.1);
        let shapes: Vec<Vec<usize>> =
            einsum.operands().iter().map(|letters| letters.iter().map(of).collect()).collect();
        let arrays: Vec<Vec<T>> =
            shapes.iter().map(|shape| (0..shape.iter().product()).map(|at: usize| make(at % 7)).collect()).collect();
        let out = vec![T::ZERO; einsum.output().iter().map(of).product()];
        let elements = arrays.iter().map(Vec::len).sum::<usize>() + out.len();
        let multiplications = extents.iter().map(|one| one.1 as f64).product();
        let bytes = (elements * size_of::<T>()) as f64;
        Ok(Self { name, einsum, shapes, arrays, out, bytes, multiplications, best: f64::INFINITY })
    }

    fn run(&mut self) -> Result<()> {
        let views: Vec<View<'_, T>> = self
            .arrays
            .iter()
            .zip(&self.shapes)
            .map(|(data, shape)| View::contiguous(data, shape))
            .collect::<Result<_>>()?;
        let (einsum, out) = (&self.einsum, &mut self.out);
        let mut failed = Ok(());
        let seconds = best_of(|| failed = contract(einsum, &views, Epilogue::REPLACE, out));
        self.best = self.best.min(seconds);
        failed
    }
}

fn measure<T: Element + std::ops::Add<Output = T>>(name: &str, make: fn(usize) -> T) -> Result<()> {
    let mut cases = Vec::new();
    for &(name, text, extents) in CASES {
        cases.push(Case::new(name, text, extents, make)?);
    }
    let large: Vec<T> = (0..(256 << 20) / size_of::<T>()).map(|at| make(at % 3)).collect();
    let mut read = f64::INFINITY;
    for _ in 0..ROUNDS {
        read = read.min(best_of(|| read_all(&large)));
        for case in &mut cases {
            case.run()?;
        }
    }
    let bytes_a_second = size_of_val(large.as_slice()) as f64 / read;
    let rate = cases.iter().filter(|case| case.name.starts_with("gemm")).map(|case| case.multiplications / case.best);
    let rate = rate.fold(0.0, f64::max);
    println!("\n{name}: memory {:.1} GB/s, GEMM {:.1} GFlop/s", bytes_a_second / 1e9, 2.0 * rate / 1e9);
    println!("{:16} {:>9} {:>9} {:>9} {:>7}  bound by", "kernel", "ms", "GB/s", "GFlop/s", "limit");
    for case in &cases {
        let (memory, arithmetic) = (case.bytes / bytes_a_second, case.multiplications / rate);
        println!(
            "{:16} {:9.3} {:9.1} {:9.1} {:7.2}  {}",
            case.name,
            case.best * 1e3,
            case.bytes / case.best / 1e9,
            2.0 * case.multiplications / case.best / 1e9,
            memory.max(arithmetic) / case.best,
            if memory > arithmetic { "memory" } else { "arithmetic" }
        );
    }
    Ok(())
}

/// Sums an array on all workers, with as many running sums as registers hold.
fn read_all<T: Copy + Send + Sync + std::ops::Add<Output = T>>(values: &[T]) {
    values.par_chunks(1 << 17).for_each(|chunk| {
        let (blocks, _) = chunk.as_chunks::<32>();
        let Some((first, rest)) = blocks.split_first() else { return };
        let mut sums = *first;
        for block in rest {
            for lane in 0..32 {
                sums[lane] = sums[lane] + block[lane];
            }
        }
        black_box(sums);
    });
}

/// The best of three runs.
fn best_of(mut run: impl FnMut()) -> f64 {
    let time = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..3).map(|_| time(&mut run)).fold(f64::INFINITY, f64::min)
}
