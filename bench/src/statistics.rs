//! Numbers that sum up other numbers.

/// The smallest; none of nothing.
pub(crate) fn best(values: &[f64]) -> Option<f64> {
    values.iter().copied().min_by(f64::total_cmp)
}

/// The middle one, or the mean of the two in the middle; none of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The geometric mean of positive numbers; none of nothing. It is the mean that ratios want: whoever is the
/// denominator, the order of two engines is the same.
pub(crate) fn geometric_mean(values: &[f64]) -> Option<f64> {
    let logarithms = values.iter().map(|value| value.ln()).sum::<f64>();
    (!values.is_empty()).then(|| (logarithms / values.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn of_some() {
        assert_eq!(best(&[3.0, 1.0, 2.0]), Some(1.0));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert!((geometric_mean(&[1.0, 100.0]).unwrap() - 10.0).abs() < 1e-12);
        let inverse = geometric_mean(&[2.0, 0.125]).unwrap() * geometric_mean(&[0.5, 8.0]).unwrap();
        assert!((inverse - 1.0).abs() < 1e-12);
    }

    #[test]
    fn of_nothing() {
        assert_eq!((best(&[]), median(&[]), geometric_mean(&[])), (None, None, None));
    }
}
