//! Tests of loops, folds and steps, against slow and obvious ones.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]
#![allow(clippy::single_range_in_vec_init, reason = "regions of one axis are such")]
#![allow(clippy::eq_op, reason = "NaN is what differs from itself")]

mod body;
mod device;
mod elements;
mod folds;
mod lines;
mod loops;
mod random;
mod reference;
mod take;

use arrow::buffer::Buffer;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::dtype::{DType, Native, Scalar, with_native};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(23), ..ProptestConfig::default() }
}

/// Elements as scalars, whatever their type.
fn scalars(dtype: DType, data: &Buffer) -> Vec<Scalar> {
    with_native!(dtype, T => data.typed_data::<T>().iter().map(|value| value.scalar()).collect())
}

fn buffer(dtype: DType, values: &[Scalar]) -> Buffer {
    with_native!(dtype, T => Buffer::from_vec(values.iter().map(|&value| T::of(value)).collect::<Vec<_>>()))
}

/// The same type and bits; of NaN any is as good as another.
fn is_same(one: Scalar, other: Scalar) -> bool {
    let nan = |value: Scalar| match value {
        Scalar::F32(value) => value.is_nan(),
        Scalar::F64(value) => value.is_nan(),
        _ => false,
    };
    one.dtype() == other.dtype() && (one.bits() == other.bits() || nan(one) && nan(other))
}

#[track_caller]
fn assert_same(what: &str, got: &[Scalar], wanted: &[Scalar]) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    for (at, (&got, &wanted)) in got.iter().zip(wanted).enumerate() {
        assert!(is_same(got, wanted), "{what}: element {at} is {got:?}, not {wanted:?}");
    }
}
