//! Numbers for the values of index columns.
//!
//! A letter's values are numbered from 0. Where they lie close together the number is the distance to the least one, and nothing is
//! looked up; elsewhere a dictionary keeps them. Several letters of one kind make one number, by their extents, or again by a
//! dictionary where most combinations do not occur.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use bireme_engine::error::{Error, Result};
use rayon::prelude::*;

use super::Value;

/// What has no number.
pub const NONE: u32 = u32::MAX;

/// A range of so many values is numbered by distance, however few rows there are.
const SMALL_RANGE: u64 = 1 << 16;

/// The numbers of all combinations of some letters' values.
#[derive(Debug)]
pub struct Coder {
    letters: Vec<Letter>,
    /// From the combined number to the one that is used, where most do not occur; and back.
    combined: Option<(HashMap<u128, u32>, Vec<u128>)>,
    extent: usize,
}

#[derive(Debug)]
struct Letter {
    values: Values,
    /// Whether the last number stands for NULL.
    null: bool,
}

#[derive(Debug)]
enum Values {
    Range { first: i64, count: u32 },
    Listed { numbers: HashMap<i64, u32>, values: Vec<i64> },
}

/// What is known of a column of a table.
#[derive(Clone, Copy)]
struct Column {
    /// Of what is not NULL.
    range: Option<(i64, i64)>,
    nulls: bool,
    rows: u64,
}

impl Coder {
    /// Numbers for what occurs in columns of both tables, pairwise. NULL has none.
    pub fn shared(left: &[RecordBatch], at_left: &[usize], right: &[RecordBatch], at_right: &[usize]) -> Result<Self> {
        let letter = |(&at_left, &at_right): (&usize, &usize)| {
            let (one, other) = (Column::of(left, at_left)?, Column::of(right, at_right)?);
            let range = one.range.zip(other.range).map(|(a, b)| (a.0.max(b.0), a.1.min(b.1)));
            let rows = one.rows + other.rows;
            let values = match range.filter(|(least, most)| least <= most) {
                None => Values::Range { first: 0, count: 0 },
                Some(range) => match Values::close(range, rows) {
                    Some(values) => values,
                    None => Values::listed((left, at_left), Some((right, at_right)))?,
                },
            };
            Ok(Letter { values, null: false })
        };
        let letters = at_left.iter().zip(at_right).map(letter).collect::<Result<Vec<_>>>()?;
        Self::of_letters(letters, left, at_left)
    }

    /// Numbers for what occurs in columns of one table, NULL too.
    pub fn alone(table: &[RecordBatch], columns: &[usize]) -> Result<Self> {
        let letter = |&at: &usize| {
            let column = Column::of(table, at)?;
            let values = match column.range {
                None => Values::Range { first: 0, count: 0 },
                Some(range) => match Values::close(range, column.rows) {
                    Some(values) => values,
                    None => Values::listed((table, at), None)?,
                },
            };
            Ok(Letter { values, null: column.nulls })
        };
        let letters = columns.iter().map(letter).collect::<Result<Vec<_>>>()?;
        Self::of_letters(letters, table, columns)
    }

    fn of_letters(letters: Vec<Letter>, table: &[RecordBatch], columns: &[usize]) -> Result<Self> {
        let rows = table.iter().map(RecordBatch::num_rows).sum::<usize>();
        let extent = letters.iter().map(|letter| letter.extent() as u128).product::<u128>();
        let mut coder = Self { letters, combined: None, extent: 0 };
        if extent <= (8 * rows as u128 + u128::from(SMALL_RANGE)).min(u128::from(NONE - 1)) || coder.letters.len() == 1
        {
            coder.extent = extent as usize;
            return Ok(coder);
        }
        let (mut numbers, mut list) = (HashMap::new(), Vec::new());
        for batch in table {
            for code in coder.combine(batch, columns)? {
                if let (Some(code), Ok(number)) = (code, u32::try_from(list.len())) {
                    numbers.entry(code).or_insert_with(|| {
                        list.push(code);
                        number
                    });
                }
            }
        }
        if list.len() >= NONE as usize {
            return Err(Error::resources("a contraction of more than four billion groups"));
        }
        coder.extent = list.len();
        coder.combined = Some((numbers, list));
        Ok(coder)
    }

    /// How many numbers there are.
    pub fn extent(&self) -> usize {
        self.extent
    }

    /// The numbers of a batch's rows; [`NONE`] for rows without one.
    pub fn codes(&self, batch: &RecordBatch, columns: &[usize]) -> Result<Vec<u32>> {
        match self.letters.as_slice() {
            [] => Ok(vec![0; batch.num_rows()]),
            [letter] => letter.codes(&index_column(batch, columns[0])?),
            _ => match &self.combined {
                Some((numbers, _)) => {
                    let number = |code: Option<u128>| code.and_then(|code| numbers.get(&code).copied()).unwrap_or(NONE);
                    Ok(self.combine(batch, columns)?.into_iter().map(number).collect())
                }
                None => {
                    let codes = self.combine(batch, columns)?.into_iter();
                    Ok(codes.map(|code| code.map_or(NONE, |code| code as u32)).collect())
                }
            },
        }
    }

    fn combine(&self, batch: &RecordBatch, columns: &[usize]) -> Result<Vec<Option<u128>>> {
        let mut combined = vec![Some(0_u128); batch.num_rows()];
        for (letter, &at) in self.letters.iter().zip(columns) {
            let codes = letter.codes(&index_column(batch, at)?)?;
            let extent = letter.extent() as u128;
            for (combined, code) in combined.iter_mut().zip(codes) {
                *combined = combined.filter(|_| code != NONE).map(|number| number * extent + u128::from(code));
            }
        }
        Ok(combined)
    }

    /// The value of a letter behind each number; `None` is NULL.
    pub fn values(&self, letter: usize) -> Vec<Option<i64>> {
        let after = self.letters[letter + 1..].iter().map(|letter| letter.extent() as u128).product::<u128>();
        let this = &self.letters[letter];
        let value = |combined: u128| this.value((combined / after % this.extent() as u128) as u32);
        match &self.combined {
            Some((_, list)) => list.iter().map(|&combined| value(combined)).collect(),
            None => (0..self.extent as u128).map(value).collect(),
        }
    }
}

impl Letter {
    fn extent(&self) -> usize {
        self.values.count() as usize + usize::from(self.null)
    }

    fn value(&self, number: u32) -> Option<i64> {
        match &self.values {
            Values::Range { first, count } => (number < *count).then(|| first.wrapping_add(i64::from(number))),
            Values::Listed { values, .. } => values.get(number as usize).copied(),
        }
    }

    fn codes(&self, column: &ArrayRef) -> Result<Vec<u32>> {
        let array = column.as_primitive::<Int64Type>();
        let mut codes = Vec::with_capacity(array.len());
        match &self.values {
            Values::Range { first, count } => codes.extend(array.values().iter().map(|value| {
                let distance = value.wrapping_sub(*first) as u64;
                if distance < u64::from(*count) { distance as u32 } else { NONE }
            })),
            Values::Listed { numbers, .. } => {
                codes.extend(array.values().iter().map(|value| numbers.get(value).copied().unwrap_or(NONE)));
            }
        }
        if let Some(nulls) = array.nulls() {
            let null = if self.null { self.values.count() } else { NONE };
            codes.iter_mut().enumerate().filter(|(row, _)| nulls.is_null(*row)).for_each(|(_, code)| *code = null);
        }
        Ok(codes)
    }
}

impl Values {
    /// By distance, if the range is not much larger than the number of rows.
    fn close((least, most): (i64, i64), rows: u64) -> Option<Self> {
        let distance = most.abs_diff(least);
        let count = u32::try_from(distance).ok()?.checked_add(1).filter(|&count| count < NONE - 1)?;
        (distance < SMALL_RANGE || distance / 4 < rows).then_some(Self::Range { first: least, count })
    }

    /// In a dictionary: what occurs in a column, and in the other one too if there is one.
    fn listed((table, at): (&[RecordBatch], usize), other: Option<(&[RecordBatch], usize)>) -> Result<Self> {
        let wanted = match other {
            Some((table, at)) => {
                let mut values = HashSet::new();
                for batch in table {
                    values.extend(index_column(batch, at)?.as_primitive::<Int64Type>().iter().flatten());
                }
                Some(values)
            }
            None => None,
        };
        let (mut numbers, mut values) = (HashMap::new(), Vec::new());
        for batch in table {
            for value in index_column(batch, at)?.as_primitive::<Int64Type>().iter().flatten() {
                if wanted.as_ref().is_none_or(|wanted| wanted.contains(&value)) {
                    let next = values.len() as u32;
                    numbers.entry(value).or_insert_with(|| {
                        values.push(value);
                        next
                    });
                }
            }
        }
        Ok(Self::Listed { numbers, values })
    }

    fn count(&self) -> u32 {
        match self {
            Values::Range { count, .. } => *count,
            Values::Listed { values, .. } => values.len() as u32,
        }
    }
}

impl Column {
    fn of(table: &[RecordBatch], at: usize) -> Result<Self> {
        let of_batch = |batch: &RecordBatch| {
            let column = index_column(batch, at)?;
            let array = column.as_primitive::<Int64Type>();
            let range = if array.null_count() == 0 {
                array.values().iter().fold(None, |range: Option<(i64, i64)>, &value| {
                    Some(range.map_or((value, value), |(least, most)| (least.min(value), most.max(value))))
                })
            } else {
                arrow::compute::min(array).zip(arrow::compute::max(array))
            };
            Ok(Column { range, nulls: array.null_count() > 0, rows: array.len() as u64 })
        };
        let none = Column { range: None, nulls: false, rows: 0 };
        let both = |one: Column, other: Column| Column {
            range: match (one.range, other.range) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (range, None) | (None, range) => range,
            },
            nulls: one.nulls || other.nulls,
            rows: one.rows + other.rows,
        };
        table.par_iter().map(of_batch).try_reduce(|| none, |one, other| Ok(both(one, other)))
    }
}

/// An index column as 64-bit integers.
fn index_column(batch: &RecordBatch, at: usize) -> Result<ArrayRef> {
    let column = batch.column(at);
    if column.data_type() == &DataType::Int64 {
        Ok(ArrayRef::clone(column))
    } else {
        Ok(cast(column, &DataType::Int64)?)
    }
}

/// A table as coordinates and values; rows that can have no partner are left out.
#[derive(Debug)]
pub struct Coded<V> {
    pub parts: Vec<Part<V>>,
    /// Some values are NULL.
    pub nulls: bool,
}

/// Some rows of it.
#[derive(Debug)]
pub struct Part<V> {
    pub batch: Vec<u32>,
    pub own: Vec<u32>,
    pub summed: Vec<u32>,
    pub values: Vec<V>,
    /// Of each row whether its value is there; `None`: all are.
    pub valid: Option<Vec<bool>>,
}

impl<V: Value> Coded<V> {
    /// Of batch, own and summed letters: their coder and their columns.
    pub fn new(table: &[RecordBatch], coders: [(&Coder, &Vec<usize>); 3], value: Option<usize>) -> Result<Self> {
        let part = |batch: &RecordBatch| {
            let [of_batch, own, summed] = coders.map(|(coder, columns)| coder.codes(batch, columns));
            let mut part = Part { batch: of_batch?, own: own?, summed: summed?, values: Vec::new(), valid: None };
            match value {
                None => part.values = vec![V::ONE; batch.num_rows()],
                Some(at) => {
                    let (values, nulls) = V::column(batch.column(at))?;
                    part.values = values.to_vec();
                    part.valid = nulls.filter(|nulls| nulls.null_count() > 0).map(|nulls| nulls.iter().collect());
                }
            }
            part.drop_rows_without_code();
            Ok(part)
        };
        let parts = table.par_iter().map(part).collect::<Result<Vec<_>>>()?;
        let nulls = parts.iter().any(|part: &Part<V>| part.valid.is_some());
        Ok(Self { parts, nulls })
    }

    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.values.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.values.is_empty())
    }
}

impl<V: Value> Part<V> {
    fn drop_rows_without_code(&mut self) {
        let has = |row: usize| self.batch[row] != NONE && self.own[row] != NONE && self.summed[row] != NONE;
        let rows = self.values.len();
        if (0..rows).all(has) {
            return;
        }
        let kept = (0..rows).filter(|&row| has(row)).collect::<Vec<_>>();
        let pick = |codes: &[u32]| kept.iter().map(|&row| codes[row]).collect();
        (self.batch, self.own, self.summed) = (pick(&self.batch), pick(&self.own), pick(&self.summed));
        self.values = kept.iter().map(|&row| self.values[row]).collect();
        self.valid = self.valid.take().map(|valid| kept.iter().map(|&row| valid[row]).collect());
    }
}

/// How many pairs of rows there are, or about how many where that is enough to know.
pub fn pairs<V: Value>(left: &Coded<V>, right: &Coded<V>, [batch, rows, summed, cols]: [usize; 4]) -> f64 {
    let keys = batch as f64 * summed as f64;
    let uniform = left.len() as f64 * right.len() as f64 / keys;
    let dense = keys * rows as f64 * cols as f64;
    // Far more pairs than cells of a quarter full, or too many keys to count: their number does not decide anything.
    if uniform > dense / 4.0 || keys > 1e8 {
        return uniform;
    }
    let mut counts = vec![0_u32; batch * summed];
    for part in &left.parts {
        for (&batch, &key) in part.batch.iter().zip(&part.summed) {
            counts[batch as usize * summed + key as usize] += 1;
        }
    }
    let of_part = |part: &Part<V>| {
        let keys = part.batch.iter().zip(&part.summed);
        keys.map(|(&batch, &key)| f64::from(counts[batch as usize * summed + key as usize])).sum::<f64>()
    };
    right.parts.par_iter().map(of_part).sum()
}
