//! Exact sums of integers and decimals.
//!
//! Sums start in 64 bits and go to 128 and 256 when they might not fit: not row by row, but by a bound. If no value of a
//! chunk is beyond `m`, its `n` rows move no sum by more than `m * n`. As long as these bounds stay below the width
//! together, the loops add without a check. When they do not, the largest sum is looked up, which mostly shows that the
//! bound was far too careful: it takes all rows to be of one group.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Decimal256Array, Int64Array};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowNativeType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Int64Type, UInt64Type,
    i256,
};
use bireme_engine::error::{Error, Result};

use super::seen::Seen;
use super::{FEW, Groups};

/// Sums in 64 bits stay below this, so that a chunk's sums of such values can be added to anything.
const NARROW: u64 = 1 << 62;
const MIDDLE: u128 = 1 << 126;

enum Sums {
    Narrow { sums: Vec<i64>, bound: u64 },
    Middle { sums: Vec<i128>, bound: u128 },
    Wide(Vec<i256>),
}

/// Sums by group.
pub(crate) struct ExactSums {
    sums: Sums,
    seen: Seen,
}

impl Default for ExactSums {
    fn default() -> Self {
        Self { sums: Sums::Narrow { sums: Vec::new(), bound: 0 }, seen: Seen::default() }
    }
}

/// Values as integers, in as few bits as they came in.
enum Values {
    Narrow(ScalarBuffer<i64>),
    Middle(ScalarBuffer<i128>),
    Wide(ScalarBuffer<i256>),
}

impl ExactSums {
    fn len(&self) -> usize {
        match &self.sums {
            Sums::Narrow { sums, .. } => sums.len(),
            Sums::Middle { sums, .. } => sums.len(),
            Sums::Wide(sums) => sums.len(),
        }
    }

    fn resize(&mut self, total: usize) {
        match &mut self.sums {
            Sums::Narrow { sums, .. } => sums.resize(total, 0),
            Sums::Middle { sums, .. } => sums.resize(total, 0),
            Sums::Wide(sums) => sums.resize(total, i256::ZERO),
        }
    }

    pub(super) fn grow(&mut self, total: usize) {
        let known = self.len();
        self.seen.grow(known, total);
        if total > known {
            self.resize(total);
        }
    }

    /// Takes values, or sums.
    pub(super) fn update(&mut self, values: &ArrayRef, valid: Option<&NullBuffer>, groups: &Groups<'_>) -> Result<()> {
        if groups.rows == 0 {
            self.grow(groups.total);
            return Ok(());
        }
        self.seen.mark(self.len(), valid, groups);
        self.resize(groups.total);
        let values = Values::new(values)?;
        self.make_room(&values, groups.rows);
        match (&mut self.sums, &values) {
            (Sums::Narrow { sums, .. }, Values::Narrow(values)) => add_narrow(sums, values, valid, groups),
            (Sums::Middle { sums, .. }, Values::Narrow(values)) => {
                if groups.are_few() && widest(values).checked_mul(groups.rows as u64).is_some_and(|most| most < NARROW)
                {
                    let mut few = [0; FEW];
                    add_narrow(&mut few[..groups.total], values, valid, groups);
                    sums.iter_mut().zip(few).for_each(|(sum, more)| *sum += i128::from(more));
                } else {
                    add_all(valid, groups, |group, row| sums[group] += i128::from(values[row]));
                }
            }
            (Sums::Middle { sums, .. }, Values::Middle(values)) => {
                add_all(valid, groups, |group, row| sums[group] += values[row]);
            }
            (Sums::Wide(sums), values) => {
                let mut fits = true;
                add_all(valid, groups, |group, row| match sums[group].checked_add(values.wide(row)) {
                    Some(sum) => sums[group] = sum,
                    None => fits = false,
                });
                if !fits {
                    return Err(Error::user(
                        "arithmetic overflow: a SUM does not fit in 256 bits; cast the argument to DOUBLE",
                    ));
                }
            }
            _ => return Err(Error::internal("sums are narrower than their values")),
        }
        Ok(())
    }

    /// Makes the sums so wide that they can take the values.
    fn make_room(&mut self, values: &Values, rows: usize) {
        if let Sums::Narrow { sums, bound } = &mut self.sums {
            if let Values::Narrow(values) = values {
                let more = widest(values).saturating_mul(rows as u64);
                if bound.saturating_add(more) >= NARROW {
                    *bound = widest(sums);
                }
                *bound = bound.saturating_add(more);
                if *bound < NARROW {
                    return;
                }
            }
            let bound = u128::from(widest(sums));
            self.sums = Sums::Middle { sums: sums.iter().map(|&sum| i128::from(sum)).collect(), bound };
        }
        if let Sums::Middle { sums, bound } = &mut self.sums {
            let most = match values {
                Values::Narrow(values) => Some(u128::from(widest(values))),
                Values::Middle(values) => Some(widest_middle(values)),
                Values::Wide(_) => None,
            };
            if let Some(most) = most {
                let more = most.saturating_mul(rows as u128);
                if bound.saturating_add(more) >= MIDDLE {
                    *bound = widest_middle(sums);
                }
                *bound = bound.saturating_add(more);
                if *bound < MIDDLE {
                    return;
                }
            }
            self.sums = Sums::Wide(sums.iter().map(|&sum| i256::from_i128(sum)).collect());
        }
    }

    /// As `Int64`, `Decimal128` or `Decimal256`; the digits on the label mean nothing.
    pub(super) fn take(&mut self) -> ArrayRef {
        let nulls = self.seen.take();
        match std::mem::take(self).sums {
            Sums::Narrow { sums, .. } => Arc::new(Int64Array::new(sums.into(), nulls)),
            Sums::Middle { sums, .. } => Arc::new(Decimal128Array::new(sums.into(), nulls)),
            Sums::Wide(sums) => Arc::new(Decimal256Array::new(sums.into(), nulls)),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.seen.bytes()
            + match &self.sums {
                Sums::Narrow { sums, .. } => sums.capacity() * 8,
                Sums::Middle { sums, .. } => sums.capacity() * 16,
                Sums::Wide(sums) => sums.capacity() * 32,
            }
    }
}

impl Values {
    fn new(array: &ArrayRef) -> Result<Self> {
        let data = array.to_data();
        let (Some(width), Some(bytes)) = (array.data_type().primitive_width(), data.buffers().first()) else {
            return Err(Error::internal(format!("a sum of integers came as {}", array.data_type())));
        };
        let (start, rows) = (data.offset(), array.len());
        fn widen<T: ArrowNativeType + Into<i64>>(values: ScalarBuffer<T>) -> Values {
            Values::Narrow(values.iter().map(|&value| value.into()).collect())
        }
        let signed = !array.data_type().is_unsigned_integer();
        Ok(match (width, array.data_type()) {
            (_, DataType::UInt64) => {
                let values = array.as_primitive::<UInt64Type>().values();
                if values.iter().fold(0, |all, value| all | value) >> 63 == 0 {
                    Self::Narrow(ScalarBuffer::new(bytes.clone(), start, rows))
                } else {
                    Self::Middle(values.iter().map(|&value| i128::from(value)).collect())
                }
            }
            (_, DataType::Decimal128(..)) => Self::Middle(array.as_primitive::<Decimal128Type>().values().clone()),
            (_, DataType::Decimal256(..)) => narrowed(array.as_primitive::<Decimal256Type>().values()),
            (_, DataType::Decimal32(..)) => widen(array.as_primitive::<Decimal32Type>().values().clone()),
            (_, DataType::Decimal64(..)) => Self::Narrow(array.as_primitive::<Decimal64Type>().values().clone()),
            (_, DataType::Int64) => Self::Narrow(array.as_primitive::<Int64Type>().values().clone()),
            (8, _) => Self::Narrow(ScalarBuffer::new(bytes.clone(), start, rows)),
            (4, _) if signed => widen(ScalarBuffer::<i32>::new(bytes.clone(), start, rows)),
            (4, _) => widen(ScalarBuffer::<u32>::new(bytes.clone(), start, rows)),
            (2, _) if signed => widen(ScalarBuffer::<i16>::new(bytes.clone(), start, rows)),
            (2, _) => widen(ScalarBuffer::<u16>::new(bytes.clone(), start, rows)),
            (1, _) if signed => widen(ScalarBuffer::<i8>::new(bytes.clone(), start, rows)),
            (1, _) => widen(ScalarBuffer::<u8>::new(bytes.clone(), start, rows)),
            (_, other) => return Err(Error::internal(format!("a sum of integers came as {other}"))),
        })
    }

    fn wide(&self, row: usize) -> i256 {
        match self {
            Self::Narrow(values) => i256::from_i128(values[row].into()),
            Self::Middle(values) => i256::from_i128(values[row]),
            Self::Wide(values) => values[row],
        }
    }
}

/// States come in 256 bits, and hardly ever need them.
fn narrowed(values: &ScalarBuffer<i256>) -> Values {
    let middle = |value: &i256| {
        let (low, high) = value.to_parts();
        high == (low as i128) >> 127
    };
    let low = |value: &i256| value.to_parts().0 as i128;
    if !values.iter().all(middle) {
        return Values::Wide(values.clone());
    }
    if values.iter().all(|value| i64::try_from(low(value)).is_ok()) {
        return Values::Narrow(values.iter().map(|value| low(value) as i64).collect());
    }
    Values::Middle(values.iter().map(low).collect())
}

#[inline(always)]
fn add_all(valid: Option<&NullBuffer>, groups: &Groups<'_>, mut add: impl FnMut(usize, usize)) {
    match valid {
        Some(valid) => valid.valid_indices().for_each(|row| add(groups.of(row), row)),
        None if groups.is_one() => (0..groups.rows).for_each(|row| add(0, row)),
        None => groups.ids.iter().enumerate().for_each(|(row, &group)| add(group as usize, row)),
    }
}

/// Adds values whose sums are known to fit.
fn add_narrow(sums: &mut [i64], values: &[i64], valid: Option<&NullBuffer>, groups: &Groups<'_>) {
    match valid {
        Some(valid) => valid.valid_indices().for_each(|row| sums[groups.of(row)] += values[row]),
        None if groups.is_one() => sums[0] += sum(values),
        None if groups.are_few() => few(sums, values, groups.ids),
        None => groups.ids.iter().zip(values).for_each(|(&group, value)| sums[group as usize] += value),
    }
}

fn few(sums: &mut [i64], values: &[i64], groups: &[u32]) {
    #[cfg(target_arch = "x86_64")]
    if sums.len() <= 8
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
    {
        // SAFETY: the features were found just now.
        return unsafe {
            if sums.len() <= 4 { by_masks::<4>(sums, values, groups) } else { by_masks::<8>(sums, values, groups) }
        };
    }
    let mut lanes = [[0_i64; FEW]; 4];
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
        *sum += lanes.iter().map(|lane| lane[group]).sum::<i64>();
    }
}

/// Each group has a vector of sums; of eight rows it adds those that are its own. Nothing goes through memory.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn by_masks<const GROUPS: usize>(sums: &mut [i64], values: &[i64], groups: &[u32]) {
    use std::arch::x86_64::{
        _mm256_cmpeq_epi32_mask, _mm256_loadu_si256, _mm256_set1_epi32, _mm512_loadu_epi64, _mm512_mask_add_epi64,
        _mm512_reduce_add_epi64, _mm512_setzero_si512,
    };
    let mut lanes = [_mm512_setzero_si512(); GROUPS];
    let (value_blocks, value_rest) = values.as_chunks::<8>();
    let (group_blocks, group_rest) = groups.as_chunks::<8>();
    for (values, groups) in value_blocks.iter().zip(group_blocks) {
        // SAFETY: both are eight values long; neither load asks for an alignment.
        let (values, groups) =
            unsafe { (_mm512_loadu_epi64(values.as_ptr()), _mm256_loadu_si256(groups.as_ptr().cast())) };
        for (number, lanes) in lanes.iter_mut().enumerate() {
            let own = _mm256_cmpeq_epi32_mask(groups, _mm256_set1_epi32(number as i32));
            *lanes = _mm512_mask_add_epi64(*lanes, own, *lanes, values);
        }
    }
    for (sum, lanes) in sums.iter_mut().zip(lanes) {
        *sum += _mm512_reduce_add_epi64(lanes);
    }
    for (value, &group) in value_rest.iter().zip(group_rest) {
        sums[group as usize] += value;
    }
}

/// Compiles a loop over integers for AVX-512 as well, and chooses when it runs.
macro_rules! vectorised {
    ($(#[$doc:meta])* fn $name:ident($values:ident: &[i64]) -> $result:ty { $body:expr }) => {
        $(#[$doc])*
        fn $name($values: &[i64]) -> $result {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
                fn wide($values: &[i64]) -> $result {
                    $body
                }
                #[target_feature(enable = "avx2")]
                fn middle($values: &[i64]) -> $result {
                    $body
                }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the features were found just now.
                    return unsafe { wide($values) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the feature was found just now.
                    return unsafe { middle($values) };
                }
            }
            $body
        }
    };
}

vectorised! {
    fn sum(values: &[i64]) -> i64 { values.iter().fold(0_i64, |sum, &value| sum.wrapping_add(value)) }
}

vectorised! {
    /// A number that no value is beyond, at most twice the largest: of `value ^ sign` all bits are joined.
    fn widest(values: &[i64]) -> u64 { values.iter().fold(0, |all, &value| all | (value ^ value >> 63) as u64) + 1 }
}

fn widest_middle(values: &[i128]) -> u128 {
    values.iter().fold(0, |all, &value| all | (value ^ value >> 127) as u128) + 1
}
