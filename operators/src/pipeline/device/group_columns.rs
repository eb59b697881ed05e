//! Groups as a kernel leaves them, in words, as columns: keys, then a column for each state.

use arrow::array::ArrayRef;
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{DataType, i256};
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::carried_type;

use super::code::Form;
use super::column::{Heaps, of_bytes, of_words};
use super::groups::{KeyOut, StateOut};
use crate::aggregate::Fold;

/// The key of this number, of groups of `stride` words each.
pub(super) fn key_column(key: &KeyOut, number: usize, words: &[u64], stride: usize, heaps: &Heaps) -> Result<ArrayRef> {
    let groups = || words.chunks_exact(stride.max(1));
    let nulls = NullBuffer::from_iter(groups().map(|group| group[0] >> number & 1 == 0));
    let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
    let carried = carried_type(&key.logical);
    match key.form {
        Form::Text => heaps.texts(groups().map(|group| (group[key.word], group[key.word + 1])), &carried, nulls),
        Form::Wide => {
            let wide = groups().map(|group| wide(group[key.word], group[key.word + 1])).collect::<Vec<_>>();
            let rows = wide.len();
            of_bytes(&carried, Buffer::from_vec(wide), rows, nulls)
        }
        _ => of_words(&carried, groups().map(|group| group[key.word]), nulls),
    }
}

fn wide(low: u64, high: u64) -> i128 {
    (u128::from(high) << 64 | u128::from(low)).cast_signed()
}

/// A state of groups of `stride` words each.
pub(super) fn state_column(
    state: &StateOut,
    words: &[u64],
    stride: usize,
    groups: usize,
    heaps: &Heaps,
) -> Result<ArrayRef> {
    let group = |number: usize| &words[number * stride + state.word..(number + 1) * stride];
    let all = || (0..groups).map(group);
    if state.fold == Fold::Count {
        return of_words(&DataType::Int64, all().map(|group| group[0]), None);
    }
    let nulls = NullBuffer::from_iter(all().map(|group| group[state.limbs] != 0));
    let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
    match state.fold {
        Fold::Exact => {
            let sums = all().map(|group| {
                let high = if state.limbs == 3 { group[2] } else { ((group[1].cast_signed()) >> 63).cast_unsigned() };
                let low = u128::from(group[1]) << 64 | u128::from(group[0]);
                i256::from_parts(low, i128::from(high.cast_signed()))
            });
            let sums = sums.collect::<Vec<_>>();
            of_bytes(&DataType::Decimal256(76, 0), Buffer::from_vec(sums), groups, nulls)
        }
        Fold::Float => of_words(&DataType::Float64, all().map(|group| group[0]), nulls),
        Fold::Extreme { .. } if state.form == Form::Text => {
            heaps.texts(all().map(|group| (group[1], group[2])), &state.carried(), nulls)
        }
        Fold::Extreme { .. } if state.limbs == 3 => {
            let values = all().map(|group| wide(group[1], group[2])).collect::<Vec<_>>();
            of_bytes(&state.carried(), Buffer::from_vec(values), groups, nulls)
        }
        Fold::Extreme { largest } => {
            let sign = 1_u64 << 63;
            let words = all().map(|group| {
                let bits = if largest { group[0] } else { !group[0] };
                match state.form {
                    Form::Bool | Form::Int(_, false) => bits,
                    Form::Float(width) => unordered((bits ^ sign).cast_signed(), width),
                    _ => bits ^ sign,
                }
            });
            match state.carried() {
                wide @ DataType::Decimal128(..) => {
                    let values = words.map(|word| i128::from(word.cast_signed())).collect::<Vec<_>>();
                    of_bytes(&wide, Buffer::from_vec(values), groups, nulls)
                }
                carried => of_words(&carried, words, nulls),
            }
        }
        Fold::Count => Err(Error::internal("a count is no fold of values")),
    }
}

/// The bits of a float by its place in the total order.
fn unordered(key: i64, width: u8) -> u64 {
    if width == 32 {
        let key = key as i32;
        return u64::from((key ^ (((key >> 31) as u32) >> 1) as i32) as u32);
    }
    (key ^ (((key >> 63) as u64) >> 1) as i64) as u64
}
