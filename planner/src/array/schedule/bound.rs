//! What some rank must receive of a product of matrices, whoever cuts it how.
//!
//! For extents m ≥ n ≥ k, P ranks that do equal work, and one copy of each operand and of the result among them (H. Al Daas, G. Ballard,
//! L. Grigori, S. Kumar, K. Rouse: Tight memory-independent parallel matrix multiplication communication lower bounds, SPAA 2022):
//!
//! ```text
//!   D − (mn + mk + nk) / P   with D =  (mn + mk) / P + nk                 P ≤ m/n             cut along one index
//!                                      2 √(mnk² / P) + mn / P    m/n ≤ P ≤ mn/k²              along two
//!                                      3 (mnk / P)^(2/3)         mn/k² ≤ P                    along three
//! ```

/// Elements that some rank receives at least.
pub fn least_received(extents: [usize; 3], ranks: usize) -> f64 {
    let mut sorted = extents.map(|extent| extent as f64);
    sorted.sort_by(f64::total_cmp);
    let [k, n, m] = sorted;
    let ranks = ranks as f64;
    if k == 0.0 {
        return 0.0;
    }
    let all = (m * n + m * k + n * k) / ranks;
    let held = if ranks <= m / n {
        (m * n + m * k) / ranks + n * k
    } else if ranks <= m * n / (k * k) {
        2.0 * (m * n * k * k / ranks).sqrt() + m * n / ranks
    } else {
        3.0 * (m * n * k / ranks).powf(2.0 / 3.0)
    };
    (held - all).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rank_receives_nothing_and_cases_meet() {
        assert_eq!(least_received([100, 100, 100], 1), 0.0);
        assert_eq!(least_received([0, 5, 5], 4), 0.0);
        // Where cases meet, both say the same.
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6 * a.abs().max(1.0);
        let (m, n, k) = (800.0_f64, 100.0, 10.0);
        let one = |p: f64| (m * n + m * k) / p + n * k;
        let two = |p: f64| 2.0 * (m * n * k * k / p).sqrt() + m * n / p;
        let three = |p: f64| 3.0 * (m * n * k / p).powf(2.0 / 3.0);
        assert!(near(one(m / n), two(m / n)) && near(two(m * n / (k * k)), three(m * n / (k * k))));
        // A cube of 8 ranks: each gets three quarters of each tile of half the edge that it works on.
        assert!(near(least_received([100, 100, 100], 8), 3.0 * 2500.0 - 3.0 * 10_000.0 / 8.0));
    }
}
