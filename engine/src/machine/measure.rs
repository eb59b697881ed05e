//! How fast this machine is, measured: memory, arithmetic, the speed of a core, and the ways between ranks.
//!
//! Each takes some ten milliseconds and keeps the best of several tries, for whatever else runs only makes them slower.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array};

use super::cluster::{Link, Rates};
use super::gpu::{GpuRates, measure_gpu};
use crate::control::Control;
use crate::error::Result;
use crate::hash::hash_columns;

/// What the reference machine takes to hash a key (seconds), with [`hash_keys`]: measured on the quiet machine of the records in
/// `bench/results`, which is the reference for that reason alone.
const REFERENCE_HASH: f64 = 2.1e-9;

const TRIES: usize = 5;

/// Measures one node with so many threads, and its first GPU if it has one that answers. Links are left as they are by default.
pub fn measure(threads: usize) -> Rates {
    let threads = threads.max(1);
    Rates {
        core: REFERENCE_HASH / hash_keys(),
        core_flops: flops(),
        memory: read_memory(threads),
        core_memory: read_memory(1),
        gpu: gpu(),
        source: "this machine, measured".into(),
        ..Rates::default()
    }
}

fn gpu() -> Option<GpuRates> {
    measure_gpu(0).inspect_err(|reason| tracing::info!(reason, "no GPU was measured")).ok()
}

fn best(mut run: impl FnMut()) -> f64 {
    let time = |()| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..TRIES).map(|_| ()).map(time).fold(f64::INFINITY, f64::min)
}

/// Seconds for each of many keys.
fn hash_keys() -> f64 {
    let count = 1 << 18;
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..count as i64).map(|key| key * 7919)));
    let mut hashes = Vec::with_capacity(count);
    let seconds = best(|| {
        hashes.clear();
        // Integers always have a hash.
        let _ = hash_columns(std::slice::from_ref(&keys), count, &mut hashes);
        black_box(&hashes);
    });
    seconds / count as f64
}

/// Bytes a second that all threads read together, each its own memory.
fn read_memory(threads: usize) -> f64 {
    let words = (48 << 20) / size_of::<u64>() / threads;
    let blocks = (0..threads).map(|number| vec![number as u64 + 1; words]).collect::<Vec<_>>();
    let seconds = best(|| {
        thread::scope(|scope| {
            for block in &blocks {
                scope.spawn(|| black_box(block.iter().fold(0_u64, |sum, word| sum.wrapping_add(*word))));
            }
        });
    });
    (words * threads * size_of::<u64>()) as f64 / seconds
}

/// Double-precision operations a second in registers, with the widest units that this core has.
fn flops() -> f64 {
    let rounds = 1 << 16;
    let mut sums = black_box([1.0_f64; SUMS]);
    let seconds = best(|| {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the core has the instructions.
                unsafe { multiply_avx512(&mut sums, rounds) };
            } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: as above.
                unsafe { multiply_avx2(&mut sums, rounds) };
            } else {
                multiply(&mut sums, rounds, |sum| sum * FACTOR + TERM);
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        multiply(&mut sums, rounds, |sum| sum.mul_add(FACTOR, TERM));
        black_box(&sums);
    });
    (rounds * SUMS * 2) as f64 / seconds
}

/// Enough independent sums to fill the pipelines of two units of eight lanes.
const SUMS: usize = 128;
const FACTOR: f64 = 0.999_999;
const TERM: f64 = 1e-9;

#[inline(always)]
fn multiply(sums: &mut [f64; SUMS], rounds: usize, step: impl Fn(f64) -> f64) {
    for _ in 0..rounds {
        for sum in sums.iter_mut() {
            *sum = step(*sum);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn multiply_avx512(sums: &mut [f64; SUMS], rounds: usize) {
    multiply(sums, rounds, |sum| sum.mul_add(FACTOR, TERM));
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_avx2(sums: &mut [f64; SUMS], rounds: usize) {
    multiply(sums, rounds, |sum| sum.mul_add(FACTOR, TERM));
}

/// Bytes of a message whose time is its length's.
const BULK: usize = 512 << 10;

/// The way between two ranks. A collective: every rank calls it with the same two, and all but those only count along. `None` on
/// these others.
///
/// # Errors
/// As [`Control::all_gather`].
pub fn measure_link(control: &Control, pair: (usize, usize)) -> Result<Option<Link>> {
    let small = control.ping_pong("measure a link", pair, 8, 6)?;
    let bulk = control.ping_pong("measure a link", pair, BULK, 5)?;
    Ok(small.zip(bulk).map(|(small, bulk)| {
        let latency = one_way(small).max(1e-7);
        // On shared cores a small message may take as long as a long one: that says nothing of the bandwidth.
        let moving = (one_way(bulk) - latency).max(one_way(bulk) / 2.0).max(1e-7);
        Link { latency, bandwidth: BULK as f64 / moving }
    }))
}

fn one_way(there_and_back: Duration) -> f64 {
    there_and_back.as_secs_f64() / 2.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use crate::comm::local::LocalCommunicator;
    use crate::switchboard::Switchboard;

    #[test]
    fn a_machine_has_some_speed() {
        let rates = measure(2);
        let all = [rates.core, rates.core_flops, rates.memory, rates.core_memory];
        assert!(all.iter().all(|rate| rate.is_finite() && *rate > 0.0), "{rates:?}");
    }

    #[test]
    fn links_are_measured_by_two_while_others_count_along() {
        let measured = thread::scope(|scope| {
            let ranks = LocalCommunicator::group(3).into_iter().map(|communicator| {
                scope.spawn(|| {
                    let control = Control::new(Switchboard::new(communicator), Cancel::new(), Duration::from_secs(30));
                    let link = measure_link(&control, (0, 2)).unwrap();
                    control.barrier("still in step").unwrap();
                    link
                })
            });
            let ranks = ranks.collect::<Vec<_>>();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(measured[0].is_some_and(|link| link.latency > 0.0 && link.bandwidth > 0.0), "{measured:?}");
        assert!(measured[1].is_none());
    }
}
