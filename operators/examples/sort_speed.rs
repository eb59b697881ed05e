//! How fast sorts are, in nanoseconds a row:
//!
//! ```text
//! cargo run --release -p bireme-operators --no-default-features --example sort_speed [rows]
//! ```

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, StringViewArray};
use arrow::datatypes::DataType;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::{CHUNK_ROWS, Chunk};
use bireme_operators::pipeline::Resources;
use bireme_operators::pipeline::ir::{SortKey, SortSpec};
use bireme_operators::sort::Sorter;
use rayon::prelude::*;

fn main() -> Result<()> {
    let rows = std::env::args().nth(1).and_then(|rows| rows.parse().ok()).unwrap_or(10_000_000);
    let key = |column| SortKey { column, descending: false, nulls_first: false };
    let numbers = chunks(rows, |_, random| vec![int(random), int(random)]);
    let texts = chunks(rows, |first, random| {
        let names = (0..random.len()).map(|row| format!("Customer#{:09}", random[row] as u64 % (rows as u64 / 10)));
        let dates = (first..).take(random.len()).map(|row| row as i64 * 7919 % 2557);
        vec![
            Arc::new(names.map(Some).collect::<StringViewArray>()) as ArrayRef,
            Arc::new(dates.collect::<Int64Array>()),
        ]
    });
    let (int, text) = (DataType::Int64, DataType::Utf8View);
    for workers in [1, 2] {
        let two = vec![int.clone(), int.clone()];
        measure("i64, one payload", &numbers, vec![key(0)], None, &two, workers)?;
        measure("i64, top 100", &numbers, vec![key(0)], Some(100), &two, workers)?;
        measure("(text, i64)", &texts, vec![key(0), key(1)], None, &[text.clone(), int.clone()], workers)?;
        measure(
            "(text, i64), top 100",
            &texts,
            vec![key(0), key(1)],
            Some(100),
            &[text.clone(), int.clone()],
            workers,
        )?;
    }
    Ok(())
}

fn int(random: &[i64]) -> ArrayRef {
    Arc::new(random.iter().copied().collect::<Int64Array>())
}

/// Chunks of columns made of the number of their first row and random numbers.
fn chunks(rows: usize, columns: impl Fn(usize, &[i64]) -> Vec<ArrayRef>) -> Vec<Chunk> {
    let mut state = 1_u64;
    let chunk = |first: usize| {
        let taken = CHUNK_ROWS.min(rows - first);
        let random = (0..taken).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) as i64
        });
        Chunk::new(columns(first, &random.collect::<Vec<_>>()), taken)
    };
    (0..rows).step_by(CHUNK_ROWS).map(chunk).collect()
}

fn measure(
    name: &str,
    chunks: &[Chunk],
    keys: Vec<SortKey>,
    fetch: Option<usize>,
    types: &[DataType],
    workers: usize,
) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build();
    let pool = pool.map_err(|error| Error::internal(error.to_string()))?;
    let rows = chunks.iter().map(|chunk| chunk.rows).sum::<usize>();
    let mut best = [Duration::MAX; 3];
    for _ in 0..3 {
        let resources = Resources { workers, ..Resources::for_tests() };
        let sorter = Sorter::new(SortSpec { keys: keys.clone(), fetch }, types.to_vec(), resources)?;
        let times = pool.install(|| -> Result<_> {
            let start = Instant::now();
            let share = chunks.len().div_ceil(workers);
            let feed = |chunks: &[Chunk]| {
                let mut local = sorter.local()?;
                chunks.iter().try_for_each(|chunk| local.consume(chunk))?;
                Ok(local)
            };
            let locals = chunks.par_chunks(share).map(feed).collect::<Result<Vec<_>>>()?;
            let fed = start.elapsed();
            let scan = sorter.finish(locals)?;
            let sorted = start.elapsed();
            (0..scan.morsels()).into_par_iter().try_for_each(|morsel| {
                let mut reader = scan.read(morsel)?;
                while reader.next()?.is_some() {}
                Ok::<_, Error>(())
            })?;
            Ok([fed, sorted - fed, start.elapsed() - sorted])
        })?;
        if times.iter().sum::<Duration>() < best.iter().fold(Duration::ZERO, |sum, time| sum.saturating_add(*time)) {
            best = times;
        }
    }
    let [feed, sort, read] = best.map(|time| time.as_nanos() as f64 / rows as f64);
    let sum = feed + sort + read;
    println!("{name:24} {workers} workers: {sum:6.2} ns/row = feed {feed:.2} + sort {sort:.2} + read {read:.2}");
    Ok(())
}
