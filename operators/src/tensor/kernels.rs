//! Loops over the elements of one row, to be called inside [`vectorized`](crate::expr::simd::vectorized).
//!
//! ```text
//!  elements    0  1 … 15 │ 16 17 … 31 │ 32 33        lanes[l] adds l, l + 16, l + 32, …
//!  lanes       0  1 … 15                             then 8 halves are added, 4, 2, 1
//! ```
//!
//! Products and sums are rounded apart, never in one step, so that bits do not depend on the processor.

/// An element of a tensor.
pub(super) trait Number: Copy {
    /// As a double, exactly.
    fn wide(self) -> f64;
}

impl Number for f32 {
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Number for f64 {
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
}

/// The sum of products of two rows of one length.
#[inline(always)]
pub(super) fn dot<A: Number, B: Number>(a: &[A], b: &[B]) -> f64 {
    let mut lanes = [0.0; 16];
    for_pairs::<_, _, 16>(a, b, |lane, a, b| lanes[lane] += a * b);
    folded(&mut lanes)
}

/// The cosine of the angle between two rows of one length; NaN where one has no direction.
#[inline(always)]
pub(super) fn cosine<A: Number, B: Number>(a: &[A], b: &[B]) -> f64 {
    let (mut both, mut left, mut right) = ([0.0; 8], [0.0; 8], [0.0; 8]);
    for_pairs::<_, _, 8>(a, b, |lane, a, b| {
        both[lane] += a * b;
        left[lane] += a * a;
        right[lane] += b * b;
    });
    let norms = folded(&mut left).sqrt() * folded(&mut right).sqrt();
    // Rounding may leave a hair more than 1.
    (folded(&mut both) / norms).clamp(-1.0, 1.0)
}

/// Adds `factor` times a row to sums.
#[inline(always)]
pub(super) fn add_scaled<A: Number>(sums: &mut [f64], factor: f64, row: &[A]) {
    for (sum, &element) in sums.iter_mut().zip(row) {
        *sum += factor * element.wide();
    }
}

/// Calls `step` with each pair of elements and its lane; `LANES` of them in a row, for registers.
#[inline(always)]
fn for_pairs<A: Number, B: Number, const LANES: usize>(a: &[A], b: &[B], mut step: impl FnMut(usize, f64, f64)) {
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            step(lane, a[lane].wide(), b[lane].wide());
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        step(lane, a.wide(), b.wide());
    }
}

/// The sum of all lanes, in halves.
#[inline(always)]
fn folded<const LANES: usize>(lanes: &mut [f64; LANES]) -> f64 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}
