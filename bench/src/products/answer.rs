//! Answers, and by how much they differ.
//!
//! ```text
//!   Σ c / √n    √(Σ c² / n)    1000 elements far from each other        of a result of n elements c
//! ```
//!
//! The first two are of all elements, and divided so that they are about as large as one: what is wrong in one place, and what is a bit
//! wrong in all places, is seen alike. Differences are parts of the largest of these numbers.

/// Elements that are compared one by one.
const SAMPLES: usize = 1000;

/// The numbers of a result.
pub(super) fn digest(result: &[f64]) -> Vec<f64> {
    let root = (result.len().max(1) as f64).sqrt();
    let sum = result.iter().sum::<f64>() / root;
    let norm = result.iter().map(|element| element * element).sum::<f64>().sqrt() / root;
    let step = (result.len() / SAMPLES).max(1);
    [sum, norm].into_iter().chain(result.iter().step_by(step).take(SAMPLES).copied()).collect()
}

/// By how much two answers differ, as a part of the largest number; infinite if one has more numbers, or one that is no number.
pub(super) fn difference(one: &[f64], other: &[f64]) -> f64 {
    if one.len() != other.len() || one.iter().chain(other).any(|number| !number.is_finite()) {
        return f64::INFINITY;
    }
    let largest = one.iter().fold(f64::MIN_POSITIVE, |largest, number| largest.max(number.abs()));
    one.iter().zip(other).map(|(one, other)| (one - other).abs() / largest).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_element_is_seen() {
        let right = (0..5000).map(|at| f64::from(at % 7) - 3.0).collect::<Vec<_>>();
        let mut wrong = right.clone();
        assert!(difference(&digest(&right), &digest(&wrong)) < f64::EPSILON);
        // This one is no sample.
        wrong[4321] += 1.0;
        assert!(difference(&digest(&right), &digest(&wrong)) > 1e-3);
        assert_eq!(digest(&right).len(), 2 + SAMPLES);
    }

    #[test]
    fn answers_of_other_sizes_and_none() {
        assert!(difference(&[1.0], &[1.0, 1.0]).is_infinite());
        assert!(difference(&[f64::NAN], &[1.0]).is_infinite());
        assert!(difference(&[0.0], &[0.0]) < f64::EPSILON);
    }
}
