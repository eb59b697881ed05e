//! Sums of floats.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use bireme_engine::error::{Error, Result};

use super::seen::Seen;
use super::{FEW, Groups};

/// Sums by group, in 64 bits, of floats of any width.
#[derive(Default)]
pub(crate) struct FloatSums {
    sums: Vec<f64>,
    seen: Seen,
}

impl FloatSums {
    pub(super) fn grow(&mut self, total: usize) {
        self.seen.grow(self.sums.len(), total);
        if total > self.sums.len() {
            self.sums.resize(total, 0.0);
        }
    }

    pub(super) fn update(&mut self, values: &ArrayRef, valid: Option<&NullBuffer>, groups: &Groups<'_>) -> Result<()> {
        self.seen.mark(self.sums.len(), valid, groups);
        self.sums.resize(groups.total, 0.0);
        let values = doubles(values)?;
        let sums = self.sums.as_mut_slice();
        match valid {
            Some(valid) => valid.valid_indices().for_each(|row| sums[groups.of(row)] += values[row]),
            None if groups.is_one() => sums[0] += sum(&values),
            None if groups.are_few() => few(sums, &values, groups.ids),
            None => groups.ids.iter().zip(values.iter()).for_each(|(&group, value)| sums[group as usize] += value),
        }
        Ok(())
    }

    pub(super) fn take(&mut self) -> ArrayRef {
        Arc::new(Float64Array::new(std::mem::take(&mut self.sums).into(), self.seen.take()))
    }

    pub(super) fn bytes(&self) -> usize {
        self.sums.capacity() * 8 + self.seen.bytes()
    }
}

fn doubles(values: &ArrayRef) -> Result<ScalarBuffer<f64>> {
    Ok(match values.data_type() {
        DataType::Float64 => values.as_primitive::<Float64Type>().values().clone(),
        DataType::Float32 => {
            values.as_primitive::<Float32Type>().values().iter().map(|&value| f64::from(value)).collect()
        }
        DataType::Float16 => {
            values.as_primitive::<Float16Type>().values().iter().map(|&value| f64::from(value)).collect()
        }
        other => return Err(Error::internal(format!("a sum of floats came as {other}"))),
    })
}

/// Eight sums side by side: the order of additions is fixed, and vectors hold them.
fn sum(values: &[f64]) -> f64 {
    let (blocks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for block in blocks {
        for (sum, value) in sums.iter_mut().zip(block) {
            *sum += value;
        }
    }
    sums.iter().sum::<f64>() + rest.iter().sum::<f64>()
}

fn few(sums: &mut [f64], values: &[f64], groups: &[u32]) {
    let mut lanes = [[0.0; FEW]; 4];
    let (value_quads, value_rest) = values.as_chunks::<4>();
    let (group_quads, group_rest) = groups.as_chunks::<4>();
    for (values, groups) in value_quads.iter().zip(group_quads) {
        for lane in 0..4 {
            lanes[lane][groups[lane] as usize % FEW] += values[lane];
        }
    }
    for (value, &group) in value_rest.iter().zip(group_rest) {
        lanes[0][group as usize % FEW] += value;
    }
    for (group, sum) in sums.iter_mut().enumerate() {
        *sum += lanes.iter().map(|lane| lane[group]).sum::<f64>();
    }
}
