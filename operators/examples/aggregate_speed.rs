//! Nanoseconds per row of grouping, by number of groups, kind of key and workers:
//! `cargo run --release -p bireme-operators --no-default-features --example aggregate_speed`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, not a library")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arrow::array::{ArrayRef, Date32Array, DictionaryArray, Int64Array, StringViewArray, UInt32Array};
use arrow::datatypes::{DataType, UInt32Type};
use bireme_engine::morsel::{CHUNK_ROWS, Chunk};
use bireme_operators::aggregate::Aggregator;
use bireme_operators::pipeline::Resources;
use bireme_operators::pipeline::ir::{AggregateCall, AggregateFunction, AggregateMode, AggregateSpec};

const DECIMAL: DataType = DataType::Decimal128(15, 2);

type Generator = fn(usize) -> Chunk;

struct Case {
    name: &'static str,
    rows: usize,
    types: Vec<DataType>,
    spec: AggregateSpec,
    /// Chunks come from the cache.
    is_warm: bool,
    /// The chunk that starts at a row.
    chunk: Generator,
}

fn random(row: usize) -> u64 {
    let mut x = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

fn ints(start: usize, value: impl Fn(u64) -> i64) -> ArrayRef {
    Arc::new((start..start + CHUNK_ROWS).map(|row| Some(value(random(row)))).collect::<Int64Array>())
}

fn keyed(start: usize, groups: u64) -> Chunk {
    let keys = ints(start, |random| (random % groups * 1_000_003) as i64);
    Chunk::new(vec![keys, ints(start, |random| (random >> 40) as i64)], CHUNK_ROWS)
}

fn flags(start: usize, words: &[&str], shift: u32) -> ArrayRef {
    let codes = (start..start + CHUNK_ROWS).map(|row| (random(row) >> shift) as u32 % words.len() as u32);
    // One dictionary for all chunks, as within a row group.
    static DICTIONARIES: Mutex<BTreeMap<String, ArrayRef>> = Mutex::new(BTreeMap::new());
    let mut dictionaries = DICTIONARIES.lock().unwrap();
    let values = dictionaries
        .entry(words.concat())
        .or_insert_with(|| Arc::new(words.iter().map(|word| Some(*word)).collect::<StringViewArray>()));
    let values = Arc::clone(values);
    Arc::new(DictionaryArray::<UInt32Type>::new(codes.collect::<UInt32Array>(), values))
}

fn pricing_summary(start: usize) -> Chunk {
    let value = |most: u64, shift: u32| ints(start, move |random| ((random >> shift) % most) as i64);
    let columns = vec![
        flags(start, &["R", "N"], 3),
        flags(start, &["O", "F"], 7),
        value(5000, 8),
        value(10_000_000, 16),
        value(1_000_000_000, 20),
        value(100_000_000_000, 24),
        value(11, 13),
    ];
    Chunk::new(columns, CHUNK_ROWS)
}

fn texts(start: usize, groups: u64) -> Chunk {
    let keys = (start..start + CHUNK_ROWS).map(|row| Some(format!("Customer#{:09}", random(row) % groups)));
    Chunk::new(vec![Arc::new(keys.collect::<StringViewArray>()), ints(start, |random| random as i64 >> 40)], CHUNK_ROWS)
}

fn call(function: AggregateFunction, column: Option<usize>, argument: DataType, data_type: DataType) -> AggregateCall {
    let arguments = column.map(|column| (column, argument)).into_iter().collect();
    AggregateCall { function, arguments, filter: None, distinct: false, data_type }
}

fn spec(keys: &[usize], calls: Vec<AggregateCall>) -> AggregateSpec {
    AggregateSpec { keys: keys.to_vec(), calls, mode: AggregateMode::Single, limit: None }
}

fn cases() -> Vec<Case> {
    use AggregateFunction::{Avg, Count, Sum};
    let wide = |digits, scale| DataType::Decimal128(digits, scale);
    let count = || call(Count, None, DataType::Int64, DataType::Int64);
    let summary = vec![
        call(Sum, Some(2), DECIMAL, wide(25, 2)),
        call(Sum, Some(3), DECIMAL, wide(25, 2)),
        call(Sum, Some(4), wide(31, 4), wide(38, 4)),
        call(Sum, Some(5), wide(38, 6), wide(38, 6)),
        call(Avg, Some(2), DECIMAL, wide(19, 6)),
        call(Avg, Some(3), DECIMAL, wide(19, 6)),
        call(Avg, Some(6), DECIMAL, wide(19, 6)),
        count(),
    ];
    let flag = || DataType::Utf8;
    let types = vec![flag(), flag(), DECIMAL, DECIMAL, wide(31, 4), wide(38, 6), DECIMAL];
    let mut cases = vec![Case {
        name: "q1",
        is_warm: true,
        rows: 16 << 20,
        types,
        spec: spec(&[0, 1], summary),
        chunk: pricing_summary,
    }];
    let sum = || vec![call(Sum, Some(1), DECIMAL, wide(25, 2)), count()];
    let counted: [(&str, usize, Generator); 5] = [
        ("i64: 10", 16 << 20, |start| keyed(start, 10)),
        ("i64: 10^4", 16 << 20, |start| keyed(start, 10_000)),
        ("i64: 10^5", 16 << 20, |start| keyed(start, 100_000)),
        ("i64: 10^6", 16 << 20, |start| keyed(start, 1_000_000)),
        ("i64: 10^7", 32 << 20, |start| keyed(start, 10_000_000)),
    ];
    for (name, rows, chunk) in counted {
        cases.push(Case {
            name,
            is_warm: rows <= 16 << 20 && !name.ends_with('6'),
            rows,
            types: vec![DataType::Int64, DECIMAL],
            spec: spec(&[0], sum()),
            chunk,
        });
    }
    let texted: [(&str, usize, Generator); 3] = [
        ("text: 10", 4 << 20, |start| texts(start, 10)),
        ("text: 10^4", 4 << 20, |start| texts(start, 10_000)),
        ("text: 10^6", 8 << 20, |start| texts(start, 1_000_000)),
    ];
    for (name, rows, chunk) in texted {
        cases.push(Case {
            name,
            is_warm: rows <= 16 << 20 && !name.ends_with('6'),
            rows,
            types: vec![flag(), DECIMAL],
            spec: spec(&[0], sum()),
            chunk,
        });
    }
    let dates = |start: usize| {
        let days = (start..start + CHUNK_ROWS).map(|row| Some(9000 + (random(row) % 2500) as i32));
        Chunk::new(vec![Arc::new(days.collect::<Date32Array>()), ints(start, |random| random as i64 >> 40)], CHUNK_ROWS)
    };
    let types = vec![DataType::Date32, DECIMAL];
    cases.push(Case {
        name: "dates: 2500",
        is_warm: true,
        rows: 16 << 20,
        types,
        spec: spec(&[0], sum()),
        chunk: dates,
    });
    cases
}

/// Nanoseconds per row and worker: of consuming, and of merging and reading.
fn measure(case: &Case, workers: usize, chunks: &[Vec<Chunk>]) -> (f64, f64, usize) {
    let aggregator = Aggregator::new(case.spec.clone(), case.types.clone(), Resources::for_tests()).unwrap();
    let mut locals = (0..workers).map(|_| aggregator.local().unwrap()).collect::<Vec<_>>();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (local, chunks) in locals.iter_mut().zip(chunks) {
            scope.spawn(move || chunks.iter().for_each(|chunk| local.consume(chunk).unwrap()));
        }
    });
    let consumed = start.elapsed();
    let start = Instant::now();
    let scan = aggregator.finish(locals).unwrap();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let groups = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let morsel = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if morsel >= scan.morsels() {
                        break;
                    }
                    let mut reader = scan.read(morsel).unwrap();
                    while let Some(chunk) = reader.next().unwrap() {
                        groups.fetch_add(chunk.rows, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let merged = start.elapsed();
    let rows = chunks.iter().map(Vec::len).sum::<usize>() * CHUNK_ROWS / workers;
    let each = |time: std::time::Duration| time.as_nanos() as f64 / rows as f64;
    (each(consumed), each(merged), groups.into_inner())
}

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    println!("{:12} {:>8} {:>8} {:>8} {:>8} {:>9}", "case", "workers", "consume", "merge", "ns/row", "groups");
    for case in cases().iter().filter(|case| case.name.starts_with(&wanted)) {
        // Few groups: the same few chunks again and again, since a pipeline's chunks come out of the cache.
        let different = if case.is_warm { 16 * CHUNK_ROWS } else { case.rows };
        let all = (0..different).step_by(CHUNK_ROWS).map(case.chunk).collect::<Vec<_>>();
        let all = all.iter().cycle().take(case.rows / CHUNK_ROWS).cloned().collect::<Vec<_>>();
        for workers in [1, 2] {
            let parts = all.chunks(all.len() / workers).map(<[_]>::to_vec).collect::<Vec<_>>();
            let runs = (0..3).map(|_| measure(case, workers, &parts));
            let (consume, merge, groups) = runs.min_by(|a, b| (a.0 + a.1).total_cmp(&(b.0 + b.1))).unwrap();
            println!("{:12} {workers:>8} {consume:>8.2} {merge:>8.2} {:>8.2} {groups:>9}", case.name, consume + merge);
        }
    }
}
