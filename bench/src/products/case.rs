//! The products, and how a child is asked for one.
//!
//! A question is a line of words: the type of elements, the product in Einstein's notation, and the shapes of the operands.
//!
//! ```text
//!   f64 ijk,kl->ijl 400x400x400 400x32
//! ```
//!
//! Number `at` of operand `o` is `u − 1/2`, where u in 0..1 is the at-th number of SplitMix64 under the seed `o + 1`
//! ([`crate::seed::unit`]), rounded to the type. Around 0, so that results are as large as what rounding makes of their sums is small.

use bireme::prelude::{Error, Result};
use serde::{Deserialize, Serialize};

/// A type of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Type {
    F32,
    F64,
}

impl Type {
    fn name(self) -> &'static str {
        if self == Type::F32 { "f32" } else { "f64" }
    }

    /// The largest difference between answers that is none, as a part of the largest number in them.
    pub(super) fn tolerance(self) -> f64 {
        if self == Type::F32 { 1e-4 } else { 1e-9 }
    }
}

/// What a child multiplies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Question {
    pub(super) element: Type,
    pub(super) einsum: String,
    pub(super) shapes: Vec<Vec<usize>>,
}

impl Question {
    pub(super) fn text(&self) -> String {
        let shape = |shape: &Vec<usize>| shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        let shapes = self.shapes.iter().map(shape).collect::<Vec<_>>().join(" ");
        format!("{} {} {shapes}", self.element.name(), self.einsum)
    }

    /// Reads what [`Question::text`] writes.
    ///
    /// # Errors
    /// It is no such text.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::internal(format!("`{text}` is no product"));
        let mut words = text.split(' ');
        let element = match words.next() {
            Some("f32") => Type::F32,
            Some("f64") => Type::F64,
            _ => return Err(wrong()),
        };
        let einsum = words.next().ok_or_else(wrong)?.to_owned();
        let shape = |word: &str| word.split('x').map(|extent| extent.parse().map_err(|_| wrong())).collect();
        Ok(Self { element, einsum, shapes: words.map(shape).collect::<Result<_>>()? })
    }
}

/// A product and what is asked of its time.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Case {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) question: Question,
    /// Additions and multiplications of the way that needs least.
    pub(super) operations: f64,
    /// Bytes of its operands of three axes; none of a product of matrices.
    pub(super) tensor_bytes: Option<f64>,
    /// What the ratio should reach; none where the cost of an action decides.
    pub(super) bar: Option<f64>,
    /// How fast GEMM is: what tensors are measured by.
    #[serde(skip)]
    pub(super) is_yardstick: bool,
}

impl Case {
    /// Runs in a turn, the same for all: few of those that take long, many of those that end before a thread is awake.
    pub(super) fn runs_in_a_turn(&self) -> usize {
        let work = self.operations.max(8.0 * self.tensor_bytes.unwrap_or(0.0));
        (1.5e10 / work).clamp(3.0, 500.0) as usize
    }
}

/// Products of matrices, of both types.
pub(super) fn gemms(quick: bool) -> Vec<Case> {
    let (squares, yardstick, [long, short]): (&[usize], usize, [usize; 2]) = match quick {
        true => (&[1, 32, 200], 200, [2_000, 16]),
        false => (&[1, 32, 64, 256, 512, 1000, 2000, 4000], 2000, [100_000, 64]),
    };
    let mut cases = Vec::new();
    for element in [Type::F64, Type::F32] {
        for &n in squares {
            let bar = (n >= 200).then_some(0.95);
            let is_yardstick = n == yardstick && element == Type::F64;
            cases.push(Case { bar, is_yardstick, ..gemm(&n.to_string(), element, [n, n, n]) });
        }
        cases.push(Case { bar: Some(0.95), ..gemm("tall", element, [long, short, short]) });
        cases.push(Case { bar: Some(0.95), ..gemm("wide", element, [short, short, long]) });
    }
    cases
}

/// m x k times k x n.
fn gemm(name: &str, element: Type, [m, n, k]: [usize; 3]) -> Case {
    Case {
        name: format!("gemm {name} {}", element.name()),
        question: Question { element, einsum: "ik,kj->ij".into(), shapes: vec![vec![m, k], vec![k, n]] },
        operations: 2.0 * m as f64 * n as f64 * k as f64,
        tensor_bytes: None,
        bar: None,
        is_yardstick: false,
    }
}

/// Products with a tensor of three axes, in f64.
pub(super) fn tensors(quick: bool) -> Vec<Case> {
    let (n, r) = if quick { (40, 8) } else { (400, 32) };
    let (tensor, cells, rank) = (vec![n, n, n], (n * n * n) as f64, r as f64);
    let case = |name: &str, einsum: &str, others: &[&[usize]], operations, tensors: f64, bar| {
        let shapes = std::iter::once(tensor.clone()).chain(others.iter().map(|shape| shape.to_vec())).collect();
        Case {
            name: name.into(),
            question: Question { element: Type::F64, einsum: einsum.into(), shapes },
            operations,
            tensor_bytes: Some(8.0 * cells * tensors),
            bar: Some(bar),
            is_yardstick: false,
        }
    };
    vec![
        case("TTV", "ijk,k->ij", &[&[n]], 2.0 * cells, 1.0, 0.8),
        case("TTM", "ijk,kl->ijl", &[&[n, r]], 2.0 * cells * rank, 1.0, 0.8),
        case("InnerProd", "ijk,ijk->", &[&tensor], 2.0 * cells, 2.0, 0.8),
        // The sum over k first, then that over j.
        case("MTTKRP", "ijk,jr,kr->ir", &[&[n, r], &[n, r]], 2.0 * (cells + (n * n) as f64) * rank, 1.0, 0.7),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn questions_are_read_as_they_are_written() {
        for case in gemms(false).into_iter().chain(tensors(false)) {
            assert_eq!(Question::parse(&case.question.text()).unwrap(), case.question);
        }
        assert_eq!(tensors(false)[1].question.text(), "f64 ijk,kl->ijl 400x400x400 400x32");
        assert!(Question::parse("f64 ik,kj->ij 3xx 3").is_err());
        assert!(Question::parse("i32 ik,kj->ij 3x3 3x3").is_err());
    }

    #[test]
    fn one_product_says_how_fast_gemm_is() {
        for quick in [true, false] {
            assert_eq!(gemms(quick).iter().filter(|case| case.is_yardstick).count(), 1);
        }
    }

    #[test]
    fn turns_are_neither_too_short_nor_too_long() {
        let runs = |name| gemms(false).iter().find(|case| case.name == name).map(Case::runs_in_a_turn);
        assert_eq!((runs("gemm 32 f64"), runs("gemm 1000 f32"), runs("gemm 4000 f64")), (Some(500), Some(7), Some(3)));
        assert_eq!(tensors(false)[0].runs_in_a_turn(), 3);
    }
}
