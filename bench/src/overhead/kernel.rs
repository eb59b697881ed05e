//! The work of a task: Task Bench's compute-bound kernel, so many fused multiply-adds and nothing else.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Numbers that change with each step of the kernel, as in Task Bench.
const NUMBERS: usize = 64;

/// How long calibration works.
const CALIBRATION: Duration = Duration::from_millis(20);

/// `iterations` steps, each a multiply-add of [`NUMBERS`] numbers with themselves.
pub(super) fn work(iterations: u64) {
    let mut numbers = black_box([1.2345_f64; NUMBERS]);
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both features.
        unsafe { fused(iterations, &mut numbers) };
        black_box(numbers);
        return;
    }
    for _ in 0..iterations {
        numbers.iter_mut().for_each(|number| *number = *number * *number + *number);
    }
    black_box(numbers);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn fused(iterations: u64, numbers: &mut [f64; NUMBERS]) {
    for _ in 0..iterations {
        numbers.iter_mut().for_each(|number| *number = number.mul_add(*number, *number));
    }
}

/// Floating-point operations of so many iterations.
pub(super) fn operations(iterations: u64) -> f64 {
    (2 * NUMBERS as u64 * iterations) as f64
}

/// Iterations in a microsecond on one thread, at best.
pub(super) fn per_microsecond() -> f64 {
    const STEP: u64 = 1000;
    let (start, mut best) = (Instant::now(), Duration::MAX);
    while start.elapsed() < CALIBRATION {
        let before = Instant::now();
        work(STEP);
        best = best.min(before.elapsed());
    }
    STEP as f64 / (best.as_secs_f64() * 1e6)
}
