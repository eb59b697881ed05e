//! The minimum effective task granularity, as Task Bench defines it.
//!
//! A *granularity* is the time that a core has for a task: wall time × cores / tasks. As tasks do less, more of it is overhead
//! and the *efficiency*, the rate of the kernel over its rate alone, falls. METG(50 %) is the smallest granularity at which half
//! of the rate is left: between the last length of the kernel that has it and the first that has not, where a straight line
//! over the logarithm of the granularity crosses one half.

use serde::{Deserialize, Serialize};

/// The efficiency that is asked for.
const ENOUGH: f64 = 0.5;

/// One length of the kernel, measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Microseconds that the kernel takes alone.
    pub(super) kernel_us: f64,
    /// Microseconds that a core has for a task.
    pub(super) granularity_us: f64,
    /// The kernel's rate over its rate alone.
    pub(super) efficiency: f64,
}

/// Of points in the order of their kernels, longest first: the smallest granularity that is still effective; none if not
/// even the longest kernel is, or if all are.
pub(super) fn metg(points: &[Point]) -> Option<f64> {
    let fails = points.iter().position(|point| point.efficiency < ENOUGH)?;
    let (good, bad) = (points[fails.checked_sub(1)?], points[fails]);
    let share = (good.efficiency - ENOUGH) / (good.efficiency - bad.efficiency);
    let [from, to] = [good, bad].map(|point| point.granularity_us.ln());
    Some((from + share * (to - from)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(overhead: f64) -> Vec<Point> {
        let kernels = (0..10).rev().map(|power| f64::from(1 << power));
        let point = |kernel: f64| Point {
            kernel_us: kernel,
            granularity_us: kernel + overhead,
            efficiency: kernel / (kernel + overhead),
        };
        kernels.map(point).collect()
    }

    #[test]
    fn tasks_with_a_fixed_overhead_are_effective_down_to_twice_of_it() {
        for overhead in [3.0, 10.0, 100.0] {
            let metg = metg(&points(overhead)).unwrap_or_default();
            assert!((metg / overhead - 2.0).abs() < 0.1, "{metg} of {overhead}");
        }
    }

    #[test]
    fn what_was_not_seen_is_not_told() {
        assert_eq!(metg(&points(10_000.0)), None);
        assert_eq!(metg(&points(0.0)), None);
        assert_eq!(metg(&[]), None);
    }
}
