//! Answers, and when two of them are the same.
//!
//! ```text
//!   solvers         x                                                              N numbers
//!   black-scholes   Σ call, Σ put, call and put of 1000 options far from each other   2 + 2·1000 numbers
//! ```
//!
//! They travel as one row of cells, and differ by at most one part in 10⁹: of the largest number of x; of each sum; of each price,
//! or of a cent where a price is less, since a put that is worth nothing is the difference of two numbers that are not nothing.

use super::Program;
use crate::answers::{Answer, Cell};

/// The largest difference that is none.
pub(super) const TOLERANCE: f64 = 1e-9;

/// The least price that differences are measured by.
const CENT: f64 = 0.01;

/// Options whose prices are compared.
const SAMPLES: usize = 1000;

/// Numbers as an answer.
pub(crate) fn row(numbers: Vec<f64>) -> Answer {
    Answer { columns: Vec::new(), rows: vec![numbers.into_iter().map(Cell::Float).collect()] }
}

/// The numbers of an answer; what is none is NaN and agrees with nothing.
pub(crate) fn numbers(answer: &Answer) -> Vec<f64> {
    let number = |cell: &Cell| match cell {
        Cell::Integer(value) => *value as f64,
        Cell::Float(value) => *value,
        _ => f64::NAN,
    };
    answer.rows.iter().flatten().map(number).collect()
}

/// The answer of Black-Scholes.
pub(super) fn prices(sums: [f64; 2], call: &[f64], put: &[f64]) -> Vec<f64> {
    let step = (call.len() / SAMPLES).max(1);
    let sample = |prices: &[f64]| prices.iter().step_by(step).take(SAMPLES).copied().collect::<Vec<_>>();
    sums.into_iter().chain(sample(call)).chain(sample(put)).collect()
}

/// By how much two answers differ, as a part of what they are; infinite if one has more numbers, or one that is no number.
pub(super) fn difference(program: Program, one: &[f64], other: &[f64]) -> f64 {
    if one.len() != other.len() || one.iter().chain(other).any(|number| !number.is_finite()) {
        return f64::INFINITY;
    }
    let largest = one.iter().fold(0.0_f64, |largest, number| largest.max(number.abs()));
    let measure = |one: f64, other: f64| match program {
        Program::BlackScholes => one.abs().max(other.abs()).max(CENT),
        _ => largest,
    };
    let differences = one.iter().zip(other).filter(|(one, other)| one != other);
    differences.map(|(one, other)| (one - other).abs() / measure(*one, *other)).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_by_what() {
        let (one, other) = ([1.0, 100.0], [1.000_001, 100.0]);
        assert!((difference(Program::Cg, &one, &other) - 1e-8).abs() < 1e-12);
        assert!((difference(Program::BlackScholes, &one, &other) - 1e-6).abs() < 1e-11);
        assert!((difference(Program::BlackScholes, &[0.0], &[1e-12]) - 1e-10).abs() < 1e-15);
        assert!(difference(Program::Cg, &[0.0], &[0.0]).abs() < f64::EPSILON);
        assert!(difference(Program::Cg, &[1.0], &[1.0, 1.0]).is_infinite());
        assert!(difference(Program::Cg, &[1.0], &[f64::NAN]).is_infinite());
    }

    #[test]
    fn an_answer_travels() {
        let text = r#"{"columns":[],"rows":[[1,0.5,null]]}"#;
        let answer = serde_json::from_str::<Answer>(text).unwrap_or_default();
        let read = numbers(&answer);
        assert_eq!((read.len(), read[0] as i64, read[1] > 0.4, read[2].is_nan()), (3, 1, true, true));
        assert_eq!(numbers(&row(vec![2.0, 3.0])).len(), 2);
    }

    #[test]
    fn samples_of_few_and_of_many() {
        let many = (0..12_345).map(f64::from).collect::<Vec<_>>();
        assert_eq!(prices([1.0, 2.0], &many, &many).len(), 2 + 2 * SAMPLES);
        assert_eq!(prices([1.0, 2.0], &many[..10], &many[..10]).len(), 22);
    }
}
