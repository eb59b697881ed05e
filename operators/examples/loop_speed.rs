//! How fast loops over arrays are: `cargo run --release -p bireme-operators --no-default-features --example loop_speed [threads [name]]`.
//!
//! Prints nanoseconds an element on each thread: of single instructions on strips in the first-level cache, of arrays from memory, and of
//! Black's and Scholes' formula, about 60 instructions.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints, and stops at the first surprise")]

use std::time::Instant;

use arrow::buffer::Buffer;
use bireme_operators::array::{
    Binary, Compare, DType, Fold, Instr, Loop, Operand, Reduction, Scalar, Unary, Value, run, strides,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Default)]
struct Writer {
    instructions: Vec<Instr>,
    numbers: Vec<Scalar>,
}

impl Writer {
    fn push(&mut self, instruction: Instr) -> Value {
        if let Some(same) = self.instructions.iter().position(|one| *one == instruction) {
            return same;
        }
        self.instructions.push(instruction);
        self.instructions.len() - 1
    }

    fn load(&mut self, input: usize) -> Value {
        self.push(Instr::Load(input, DType::F64))
    }

    fn number(&mut self, number: f64) -> Value {
        let at = self.numbers.iter().position(|one| *one == Scalar::F64(number)).unwrap_or_else(|| {
            self.numbers.push(Scalar::F64(number));
            self.numbers.len() - 1
        });
        self.push(Instr::Number(at, DType::F64))
    }

    fn two(&mut self, binary: Binary, a: Value, b: Value) -> Value {
        self.push(Instr::Binary(binary, a, b))
    }

    fn one(&mut self, unary: Unary, a: Value) -> Value {
        self.push(Instr::Unary(unary, a))
    }

    fn distribution(&mut self, d: Value) -> Value {
        use Binary::{Add, Multiply, Subtract};
        let absolute = self.one(Unary::Absolute, d);
        let (scale, unit) = (self.number(0.2316419), self.number(1.0));
        let scaled = self.two(Multiply, scale, absolute);
        let below = self.two(Add, unit, scaled);
        let k = self.two(Binary::Divide, unit, below);
        let mut series = self.number(1.330274429);
        for number in [-1.821255978, 1.781477937, -0.356563782, 0.31938153] {
            let times = self.two(Multiply, k, series);
            let number = self.number(number);
            series = self.two(Add, number, times);
        }
        let half = self.number(-0.5);
        let halved = self.two(Multiply, half, d);
        let square = self.two(Multiply, halved, d);
        let bell = self.one(Unary::Exp, square);
        let factor = self.number(0.3989422804014327);
        let bell = self.two(Multiply, factor, bell);
        let series = self.two(Multiply, k, series);
        let tail = self.two(Multiply, bell, series);
        let other = self.two(Subtract, unit, tail);
        let zero = self.number(0.0);
        let mask = self.push(Instr::Compare(Compare::Greater, d, zero));
        self.push(Instr::Select(mask, other, tail))
    }
}

fn black_scholes() -> (Writer, Vec<Value>) {
    use Binary::{Add, Divide, Multiply, Subtract};
    let mut w = Writer::default();
    let (s, k, t) = (w.load(0), w.load(1), w.load(2));
    let root = w.one(Unary::Sqrt, t);
    let v = w.number(0.3);
    let spread = w.two(Multiply, v, root);
    let ratio = w.two(Divide, s, k);
    let log = w.one(Unary::Ln, ratio);
    let drift = w.number(0.065);
    let drift = w.two(Multiply, drift, t);
    let above = w.two(Add, log, drift);
    let d1 = w.two(Divide, above, spread);
    let d2 = w.two(Subtract, d1, spread);
    let (n1, n2) = (w.distribution(d1), w.distribution(d2));
    let rate = w.number(-0.02);
    let years = w.two(Multiply, rate, t);
    let discount = w.one(Unary::Exp, years);
    let discounted = w.two(Multiply, k, discount);
    let (sn, kn) = (w.two(Multiply, s, n1), w.two(Multiply, discounted, n2));
    let call = w.two(Subtract, sn, kn);
    let unit = w.number(1.0);
    let (m1, m2) = (w.two(Subtract, unit, n1), w.two(Subtract, unit, n2));
    let (sm, km) = (w.two(Multiply, s, m1), w.two(Multiply, discounted, m2));
    let put = w.two(Subtract, km, sm);
    (w, vec![call, put])
}

fn time(name: &str, threads: usize, elements: usize, runs: usize, looped: &Loop, numbers: &[Scalar], inputs: usize) {
    if std::env::args().nth(2).is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let value = |input: usize, at: usize| 1.0 + ((at * 7919 + input * 31) % 1000) as f64 / 50.0;
    let shape = looped.shape.clone();
    let rows = 0..shape[0];
    let operand = |input: usize| {
        let data = Buffer::from_vec((0..elements).map(|at| value(input, at)).collect::<Vec<f64>>());
        Operand::new(DType::F64, data, &shape, &rows, &strides(&shape), 0).unwrap()
    };
    let operands = (0..inputs).map(operand).collect::<Vec<_>>();
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let started = Instant::now();
        for _ in 0..runs {
            std::hint::black_box(run(looped, &rows, &operands, numbers).unwrap());
        }
        best = best.min(started.elapsed().as_secs_f64() / runs as f64);
    }
    println!("{name:<32} {:8.3} ns", best * 1e9 / elements as f64 * threads as f64);
}

fn main() {
    let threads = std::env::args().nth(1).map_or(1, |text| text.parse().unwrap());
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    for (place, elements, runs) in [("cache", 1 << 11, 2000), ("memory", 1 << 23, 2)] {
        let looped = |instructions: Vec<Instr>, stores: Vec<Value>, reductions: Vec<Reduction>| Loop {
            shape: vec![elements],
            folded: if reductions.is_empty() { (0, 0) } else { (0, 1) },
            instructions,
            stores,
            reductions,
        };
        let loads = [Instr::Load(0, DType::F64), Instr::Load(1, DType::F64)];
        for (name, more) in [
            ("add", vec![Instr::Binary(Binary::Add, 0, 1)]),
            ("divide", vec![Instr::Binary(Binary::Divide, 0, 1)]),
            ("exp", vec![Instr::Unary(Unary::Exp, 0)]),
            ("ln", vec![Instr::Unary(Unary::Ln, 0)]),
            ("compare and choose", vec![Instr::Compare(Compare::Greater, 0, 1), Instr::Select(2, 0, 1)]),
            ("20 additions", (0..20).map(|at| Instr::Binary(Binary::Add, at + 1, at)).collect()),
        ] {
            let instructions = loads.iter().copied().chain(more).collect::<Vec<_>>();
            let last = instructions.len() - 1;
            time(
                &format!("{name}, {place}"),
                threads,
                elements,
                runs,
                &looped(instructions, vec![last], vec![]),
                &[],
                2,
            );
        }
        let sum = vec![Reduction { fold: Fold::Sum, value: 2 }];
        let product = loads.iter().copied().chain([Instr::Binary(Binary::Multiply, 0, 1)]).collect();
        time(&format!("sum of products, {place}"), threads, elements, runs, &looped(product, vec![], sum), &[], 2);
        let (writer, stores) = black_scholes();
        let formula = looped(writer.instructions, stores, vec![]);
        time(&format!("Black-Scholes, {place}"), threads, elements, runs, &formula, &writer.numbers, 3);
    }
}
