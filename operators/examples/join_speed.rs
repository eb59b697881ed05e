//! Times the join: nanoseconds a row of the build side, and of the probe side, without decoding or output.
//!
//! ```text
//! cargo run --release -p bireme-operators --no-default-features --example join_speed [part of a name]
//! ```

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people who measure")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, StringViewArray};
use arrow::datatypes::DataType;
use bireme_engine::morsel::{CHUNK_ROWS, Chunk};
use bireme_operators::hash_join::JoinBuilder;
use bireme_operators::pipeline::Resources;
use bireme_operators::pipeline::ir::{JoinColumn, JoinKind, JoinSpec};

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A key column and a number, in chunks.
fn chunks(keys: &[i64], text: bool) -> Vec<Chunk> {
    let column = |keys: &[i64]| -> ArrayRef {
        if text {
            let texts = keys.iter().map(|key| format!("Customer#{key:012}"));
            Arc::new(StringViewArray::from_iter_values(texts))
        } else {
            Arc::new(Int64Array::from(keys.to_vec()))
        }
    };
    let numbers = |keys: &[i64]| Arc::new(Int64Array::from(keys.to_vec())) as ArrayRef;
    keys.chunks(CHUNK_ROWS).map(|keys| Chunk::new(vec![column(keys), numbers(keys)], keys.len())).collect()
}

/// Seconds that this thread was on a CPU, where the system tells: what others do on the machine counts less.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|time| time.parse::<f64>().ok()).map_or(f64::NAN, |time| time / 1e9)
}

/// Hands pieces to workers; each takes the next one when it is done.
fn on_workers<T: Send>(
    workers: usize,
    pieces: usize,
    work: impl Fn(&mut dyn FnMut() -> Option<usize>) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let (next, work) = (&next, &work);
    std::thread::scope(|scope| {
        let run = move || {
            let mut take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&piece| piece < pieces);
            work(&mut take)
        };
        let threads = (0..workers).map(|_| scope.spawn(run)).collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn measure(name: &str, build: &[i64], probe: &[i64], text: bool, kind: JoinKind) {
    let (builds, probes) = (chunks(build, text), chunks(probe, text));
    let key = if text { DataType::Utf8 } else { DataType::Int64 };
    let types = vec![key, DataType::Int64];
    let output = match kind {
        JoinKind::ProbeSemi => vec![JoinColumn::Probe(1)],
        _ => vec![JoinColumn::Probe(1), JoinColumn::Build(1)],
    };
    let spec = JoinSpec { kind, build_keys: vec![0], probe_keys: vec![0], nulls_match: false, residual: None, output };
    for workers in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build().unwrap();
        let (mut best_take, mut best_finish, mut best_probe, mut rows) = (f64::MAX, f64::MAX, f64::MAX, 0);
        let mut best_cpu = f64::MAX;
        for _ in 0..3 {
            let resources = Resources { workers, ..Resources::for_tests() };
            let builder = JoinBuilder::new(spec.clone(), types.clone(), types.clone(), resources).unwrap();
            let start = Instant::now();
            let locals = on_workers(workers, builds.len(), |take| {
                let mut local = builder.local().unwrap();
                while let Some(piece) = take() {
                    local.consume(&builds[piece]).unwrap();
                }
                local
            });
            best_take = best_take.min(start.elapsed().as_secs_f64());
            let start = Instant::now();
            let table = pool.install(|| builder.finish(locals)).unwrap();
            best_finish = best_finish.min(start.elapsed().as_secs_f64());
            let start = Instant::now();
            let found = on_workers(workers, probes.len(), |take| {
                let (mut rows, start) = (0, cpu_seconds());
                while let Some(piece) = take() {
                    let mut cursor = table.probe(None, probes[piece].clone()).unwrap();
                    while let Some(chunk) = cursor.next().unwrap() {
                        rows += chunk.rows;
                    }
                }
                (rows, cpu_seconds() - start)
            });
            best_probe = best_probe.min(start.elapsed().as_secs_f64());
            rows = found.iter().map(|found| found.0).sum::<usize>();
            best_cpu = best_cpu.min(found.iter().map(|found| found.1).sum());
        }
        let each = |seconds: f64, rows: usize| seconds * 1e9 / rows as f64;
        println!(
            "{name:38} {workers} workers: take {:5.2} + finish {:6.2} ns a build row, probe {:6.2} ns a row ({:6.2} of CPU), {rows} rows out",
            each(best_take, build.len()),
            each(best_finish, build.len()),
            each(best_probe, probe.len()),
            each(best_cpu, probe.len()),
        );
    }
}

fn main() {
    let only = std::env::args().nth(1);
    let measure = |name: &str, build: &[i64], probe: &[i64], text: bool, kind: JoinKind| {
        if only.as_ref().is_none_or(|only| name.contains(only)) {
            measure(name, build, probe, text, kind);
        }
    };
    let numbers = |count: usize, key: &dyn Fn(u64) -> i64| (0..count as u64).map(key).collect::<Vec<_>>();
    let small = numbers(10_000, &|row| row as i64);
    measure(
        "10K dense, all match",
        &small,
        &numbers(6_000_000, &|row| (mix(row) % 10_000) as i64),
        false,
        JoinKind::Inner,
    );
    measure(
        "10K dense, half match",
        &small,
        &numbers(6_000_000, &|row| (mix(row) % 20_000) as i64),
        false,
        JoinKind::Inner,
    );
    measure(
        "10K dense, semi, half match",
        &small,
        &numbers(6_000_000, &|row| (mix(row) % 20_000) as i64),
        false,
        JoinKind::ProbeSemi,
    );
    let orders = numbers(1_500_000, &|row| (row / 8 * 32 + row % 8) as i64);
    let shuffled = |row: u64| orders[(mix(row) % 1_500_000) as usize];
    measure("1.5M of range x4, random probes", &orders, &numbers(6_000_000, &shuffled), false, JoinKind::Inner);
    measure(
        "1.5M of range x4, probes in order",
        &orders,
        &numbers(6_000_000, &|row| orders[row as usize / 4]),
        false,
        JoinKind::Inner,
    );
    let lines = numbers(6_000_000, &|row| orders[row as usize / 4]);
    measure("6M, four a key, probed by 1.5M", &lines, &orders, false, JoinKind::Inner);
    let random = numbers(10_000_000, &|row| mix(row) as i64);
    measure(
        "10M random, all match",
        &random,
        &numbers(6_000_000, &|row| mix(mix(row + 9) % 10_000_000) as i64),
        false,
        JoinKind::Inner,
    );
    measure(
        "10M random, none match",
        &random,
        &numbers(6_000_000, &|row| mix(row + 20_000_000) as i64),
        false,
        JoinKind::Inner,
    );
    let people = numbers(150_000, &|row| row as i64);
    measure(
        "150K texts, all match",
        &people,
        &numbers(1_500_000, &|row| (mix(row) % 150_000) as i64),
        true,
        JoinKind::Inner,
    );
    let skewed = numbers(1_000_000, &|row| if row % 10 == 0 { -1 } else { mix(row) as i64 });
    measure(
        "1M random, one key 100K times",
        &skewed,
        &numbers(6_000_000, &|row| if row == 5 { -1 } else { mix(row % 1_000_000) as i64 }),
        false,
        JoinKind::Inner,
    );
}
