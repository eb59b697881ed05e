//! How long expressions take, in nanoseconds a row, on chunks that look like TPC-H's.
//!
//! `cargo run --release -p bireme-operators --no-default-features --example expr_speed [-- part of a name]`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints its measurements")]

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, DictionaryArray, Int64Array, StringArray, StringViewArray};
use arrow::datatypes::{DataType, UInt32Type};
use bireme_engine::morsel::{CHUNK_ROWS, Chunk};
use bireme_operators::expr::{Evaluator, Filter, Selected, compact, take};
use bireme_operators::pipeline::ir::{ArithmeticOp, CompareOp, Expr, ExprKind};

const PRICE: usize = 0;
const DISCOUNT: usize = 1;
const TAX: usize = 2;
const SHIPPED: usize = 3;
const MODE: usize = 4;
const COMMENT: usize = 5;
const KEY: usize = 6;
const TYPE: usize = 7;
const SHORT: usize = 8;

fn main() {
    let chunk = chunk();
    for (name, expr) in expressions() {
        let evaluator = Evaluator::new(&expr).unwrap();
        measure(name, || evaluator.evaluate(&chunk).unwrap().len());
    }
    for (name, expr) in conditions() {
        let evaluator = Evaluator::new(&expr).unwrap();
        measure(name, || evaluator.evaluate(&chunk).unwrap().len());
    }
    let (_, q6) = conditions().remove(1);
    let filter = Filter::new(&q6).unwrap();
    measure("filter: between dates", || usize::from(filter.select(&chunk).unwrap() == Selected::All));
    for every in [2, 10, 100] {
        let mask = (0..CHUNK_ROWS).map(|row| row.wrapping_mul(2_654_435_761) >> 7 & 0xffff < 0x1_0000 / every);
        let mask = mask.collect::<Vec<_>>().into();
        let narrow = Chunk::new(chunk.columns[..4].to_vec(), chunk.rows);
        measure(&format!("compact 4 columns, 1 of {every}"), || compact(&narrow, &mask).unwrap().rows);
        let texts = Chunk::new(vec![Arc::clone(&chunk.columns[COMMENT])], chunk.rows);
        measure(&format!("compact views, 1 of {every}"), || compact(&texts, &mask).unwrap().rows);
        let places = mask.set_indices_u32().collect::<Vec<_>>();
        measure(&format!("take 4 columns, 1 of {every}"), || take(&narrow, &places).unwrap().rows);
    }
}

/// The best of many rounds; of those only whose name has the first argument in it.
fn measure(name: &str, mut work: impl FnMut() -> usize) {
    if std::env::args().nth(1).is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let mut best = f64::INFINITY;
    let mut seen = 0;
    for _ in 0..100 {
        let start = Instant::now();
        for _ in 0..8 {
            seen += std::hint::black_box(work());
        }
        best = best.min(start.elapsed().as_nanos() as f64 / (8 * CHUNK_ROWS) as f64);
    }
    println!("{name:<44} {best:7.3} ns/row   ({})", seen % 2);
}

fn decimal(op: ArithmeticOp, left: Expr, right: Expr, digits: u8, scale: i8) -> Expr {
    let kind = ExprKind::Arithmetic(op, Box::new(left), Box::new(right));
    Expr { kind, data_type: DataType::Decimal128(digits, scale) }
}

fn money(place: usize) -> Expr {
    Expr::column(place, DataType::Decimal128(15, 2))
}

fn one() -> Expr {
    Expr::literal(Arc::new(Decimal128Array::from(vec![1]).with_precision_and_scale(20, 0).unwrap()))
}

fn discounted() -> Expr {
    let rest = decimal(ArithmeticOp::Subtract, one(), money(DISCOUNT), 23, 2);
    decimal(ArithmeticOp::Multiply, money(PRICE), rest, 38, 4)
}

fn expressions() -> Vec<(&'static str, Expr)> {
    let taxed = decimal(ArithmeticOp::Add, one(), money(TAX), 23, 2);
    let charge = decimal(ArithmeticOp::Multiply, discounted(), taxed, 38, 6);
    let zero = Expr::literal(Arc::new(Decimal128Array::from(vec![0]).with_precision_and_scale(38, 4).unwrap()));
    let promotion = Expr {
        kind: ExprKind::Case { branches: vec![(like(TYPE, "PROMO%"), discounted())], otherwise: Some(Box::new(zero)) },
        data_type: DataType::Decimal128(38, 4),
    };
    let year = Expr {
        kind: ExprKind::DatePart(
            bireme_operators::pipeline::ir::DatePart::Year,
            Box::new(Expr::column(SHIPPED, DataType::Date32)),
        ),
        data_type: DataType::Int32,
    };
    let sum = Expr {
        kind: ExprKind::Arithmetic(
            ArithmeticOp::Add,
            Box::new(Expr::column(KEY, DataType::Int64)),
            Box::new(Expr::literal(Arc::new(Int64Array::from(vec![1])))),
        ),
        data_type: DataType::Int64,
    };
    vec![
        ("price * (1 - discount)", discounted()),
        ("price * (1 - discount) * (1 + tax)", charge),
        ("case when type like 'PROMO%' then ... else 0", promotion),
        ("year(shipped)", year),
        ("key + 1 (Int64, checked)", sum),
    ]
}

fn like(place: usize, pattern: &str) -> Expr {
    let value = Box::new(Expr::column(place, DataType::Utf8View));
    Expr::boolean(ExprKind::Like { value, pattern: pattern.into(), negated: false, ignore_case: false })
}

fn is_in(place: usize, list: ArrayRef) -> Expr {
    let value = Box::new(Expr::column(place, list.data_type().clone()));
    Expr::boolean(ExprKind::In { value, list, negated: false })
}

fn conditions() -> Vec<(&'static str, Expr)> {
    let compare = |op, left: Expr, right: ArrayRef| {
        Expr::boolean(ExprKind::Compare(op, Box::new(left), Box::new(Expr::literal(right))))
    };
    let date =
        |op, day: i32| compare(op, Expr::column(SHIPPED, DataType::Date32), Arc::new(Date32Array::from(vec![day])));
    let texts = |texts: &[&str]| Arc::new(StringViewArray::from(texts.to_vec())) as ArrayRef;
    let between = Expr::all(vec![date(CompareOp::GreaterOrEqual, 8766), date(CompareOp::Less, 9131)]).unwrap();
    vec![
        ("shipped <= date", date(CompareOp::LessOrEqual, 10_000)),
        ("shipped >= date and shipped < date", between),
        (
            "key < 100 (Int64)",
            compare(CompareOp::Less, Expr::column(KEY, DataType::Int64), Arc::new(Int64Array::from(vec![100]))),
        ),
        ("mode = 'AIR' (view)", compare(CompareOp::Equal, Expr::column(SHORT, DataType::Utf8View), texts(&["AIR"]))),
        ("mode < 'MAIL' (view)", compare(CompareOp::Less, Expr::column(SHORT, DataType::Utf8View), texts(&["MAIL"]))),
        ("mode in ('MAIL', 'SHIP') (view)", is_in(SHORT, texts(&["MAIL", "SHIP"]))),
        ("mode in ('MAIL', 'SHIP') (dictionary)", is_in(MODE, texts(&["MAIL", "SHIP"]))),
        ("type like 'PROMO%' (dictionary of 150)", like(TYPE, "PROMO%")),
        ("comment like '%special%requests%' (view)", like(COMMENT, "%special%requests%")),
        ("comment like '%green%' (view)", like(COMMENT, "%green%")),
        ("key in (8 numbers)", is_in(KEY, Arc::new(Int64Array::from(vec![49, 14, 23, 45, 19, 3, 36, 9])))),
    ]
}

fn chunk() -> Chunk {
    let mut state = 42_u64;
    let mut random = move |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let mut numbers = |limit: u64| (0..CHUNK_ROWS).map(|_| random(limit) as i64).collect::<Vec<_>>();
    let modes = ["AIR", "FOB", "MAIL", "RAIL", "REG AIR", "SHIP", "TRUCK"];
    let mode = numbers(7);
    let dictionary = |values: Vec<String>, keys: &[i64]| {
        let keys = keys.iter().map(|&key| Some(key as u32)).collect::<Vec<_>>();
        let values = StringViewArray::from_iter_values(values);
        Arc::new(DictionaryArray::<UInt32Type>::new(keys.into(), Arc::new(values)))
    };
    let words = ["carefully", "final", "deposits", "special", "requests", "sleep", "quickly", "above", "the", "ironic"];
    let word = numbers(10);
    let comments = (0..CHUNK_ROWS).map(|row| {
        let words = (0..7).map(|place| words[word[(row * 7 + place * 31) % CHUNK_ROWS] as usize]);
        words.collect::<Vec<_>>().join(" ")
    });
    let comments = StringArray::from_iter_values(comments);
    let types = (0..150).map(|n| format!("{} BRUSHED {n}", ["PROMO", "SMALL", "ECONOMY"][n % 3])).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(numbers(10_000_000))),
        Arc::new(Int64Array::from(numbers(11))),
        Arc::new(Int64Array::from(numbers(9))),
        Arc::new(Date32Array::from_iter_values(numbers(2_500).into_iter().map(|day| 8_000 + day as i32))),
        dictionary(modes.map(String::from).to_vec(), &mode),
        arrow::compute::cast(&comments, &DataType::Utf8View).unwrap(),
        Arc::new(Int64Array::from(numbers(200))),
        dictionary(types, &numbers(150)),
        Arc::new(StringViewArray::from_iter_values(mode.iter().map(|&mode| modes[mode as usize]))),
    ];
    Chunk::new(columns, CHUNK_ROWS)
}
