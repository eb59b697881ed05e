//! What folding makes of a leaf and of subtrees: one element, or one for each element behind the folded axes.

use arrow::buffer::{Buffer, MutableBuffer};
use bireme_engine::error::{Error, Result};

use super::dtype::{DType, Native, Scalar};
use super::fold::Fold;
use super::kernels::{Arg, Kernels};
use crate::expr::simd::vectorized;

/// Sums of one run that are made side by side, whatever registers there are: so the order of a sum is the same everywhere.
const LANES: usize = 16;

/// The type of what a fold makes.
pub fn result(dtype: DType, fold: Fold) -> DType {
    if fold.is_place() { DType::I64 } else { dtype }
}

/// One folded element, and with places where it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct One<T> {
    pub value: T,
    pub place: i64,
}

impl<T: Kernels> One<T> {
    /// What a fold over nothing gives. Of nothing there is no smallest and no largest: that is refused where shapes are known.
    pub fn nothing(fold: Fold) -> Self {
        let value = if fold == Fold::Product { Scalar::I32(1) } else { Scalar::I32(0) };
        Self { value: T::of(value), place: 0 }
    }

    /// Both in one; `other` is of later elements.
    #[inline(always)]
    pub fn join(self, fold: Fold, other: Self) -> Self {
        if fold.is_place() {
            return if comes_before(fold, other.value, self.value) { other } else { self };
        }
        Self { value: T::fold(fold, self.value, other.value), place: 0 }
    }

    /// Folds a run of elements, of which the first is at `place`.
    pub fn of_run(fold: Fold, values: Arg<'_, T>, len: usize, place: usize) -> Self {
        match values {
            Arg::Many(values) => Self::of_values(fold, values, place),
            // Added up like others, so that a number for all gives the same bits as an array of it.
            Arg::One(one) => Self::of_values(fold, &vec![one; len], place),
        }
    }

    fn of_values(fold: Fold, values: &[T], place: usize) -> Self {
        let value = match fold {
            Fold::Sum => lanes(values, |a, b| T::fold(Fold::Sum, a, b)),
            Fold::Product => lanes(values, |a, b| T::fold(Fold::Product, a, b)),
            Fold::Minimum | Fold::ArgMinimum => lanes(values, |a, b| T::fold(Fold::Minimum, a, b)),
            Fold::Maximum | Fold::ArgMaximum => lanes(values, |a, b| T::fold(Fold::Maximum, a, b)),
        };
        if !fold.is_place() {
            return Self { value, place: 0 };
        }
        // The extreme in vectors, then its first place: twice as fast as both in one. NaN spreads, so if there is one it is NaN.
        let first = values.iter().position(|&one| one == value || one.is_nan() && value.is_nan());
        Self { value, place: (place + first.unwrap_or(0)) as i64 }
    }

    /// As bytes.
    pub fn many(self, fold: Fold) -> Many {
        let mut many = Many::of(fold, &[self.value]);
        many.places.iter_mut().for_each(|place| *place = self.place);
        many
    }

    /// The result's bytes.
    pub fn write(self, fold: Fold, out: &mut MutableBuffer) {
        if fold.is_place() { out.push(self.place) } else { out.push(self.value) }
    }
}

/// Whether a later element takes the place of the best so far.
#[inline(always)]
fn comes_before<T: Kernels>(fold: Fold, later: T, best: T) -> bool {
    if best.is_nan() {
        return false;
    }
    later.is_nan() || if fold == Fold::ArgMinimum { later < best } else { later > best }
}

/// Folds in 16 lanes, which are folded in halves.
#[inline(always)]
fn lanes<T: Copy>(values: &[T], join: impl Fn(T, T) -> T) -> T {
    let (blocks, rest) = values.as_chunks::<LANES>();
    let Some((first, blocks)) = blocks.split_first() else {
        let mut rest = rest.iter().copied();
        let first = rest.next();
        return first.map_or(values[0], |first| rest.fold(first, &join));
    };
    vectorized(
        #[inline(always)]
        move || {
            let mut lanes = *first;
            for block in blocks {
                for lane in 0..LANES {
                    lanes[lane] = join(lanes[lane], block[lane]);
                }
            }
            for (lane, &value) in lanes.iter_mut().zip(rest) {
                *lane = join(*lane, value);
            }
            let mut half = LANES / 2;
            while half > 0 {
                for lane in 0..half {
                    lanes[lane] = join(lanes[lane], lanes[lane + half]);
                }
                half /= 2;
            }
            lanes[0]
        },
    )
}

/// Folded elements side by side.
#[derive(Debug)]
pub(super) struct Many {
    values: MutableBuffer,
    places: Vec<i64>,
}

impl Many {
    /// Elements that are folded with nothing yet, at place 0.
    pub fn of<T: Native>(fold: Fold, values: &[T]) -> Self {
        let mut memory = MutableBuffer::with_capacity(std::mem::size_of_val(values));
        memory.extend_from_slice(values);
        Self { values: memory, places: if fold.is_place() { vec![0; values.len()] } else { Vec::new() } }
    }

    /// Rows of `len` elements, folded into one; the first is at `place`.
    pub fn of_rows<T: Kernels>(fold: Fold, values: Arg<'_, T>, len: usize, rows: usize, place: usize) -> Self {
        let mut many = Self::of::<T>(fold, &[]);
        many.refill(fold, values, len, rows, place);
        many
    }

    /// Likewise, in the memory of others.
    pub fn refill<T: Kernels>(&mut self, fold: Fold, values: Arg<'_, T>, len: usize, rows: usize, place: usize) {
        self.values.clear();
        let rest = match values {
            Arg::Many(values) => {
                self.values.extend_from_slice(&values[..len]);
                Arg::Many(&values[len..])
            }
            Arg::One(one) => {
                self.values.extend_from_slice(&vec![one; len]);
                values
            }
        };
        self.places.clear();
        self.places.resize(if fold.is_place() { len } else { 0 }, place as i64);
        self.add(fold, rest, rows - 1, place + 1);
    }

    /// Adds rows of later elements, the first at `place`.
    pub fn add<T: Kernels>(&mut self, fold: Fold, values: Arg<'_, T>, rows: usize, place: usize) {
        let mine = self.values.typed_data_mut::<T>();
        if fold.is_place() {
            let len = mine.len();
            for row in 0..rows {
                for (at, (best, slot)) in mine.iter_mut().zip(&mut self.places).enumerate() {
                    let value = match values {
                        Arg::Many(values) => values[row * len + at],
                        Arg::One(one) => one,
                    };
                    if comes_before(fold, value, *best) {
                        (*best, *slot) = (value, (place + row) as i64);
                    }
                }
            }
            return;
        }
        match fold {
            Fold::Sum => each(mine, values, rows, |a, b| T::fold(Fold::Sum, a, b)),
            Fold::Product => each(mine, values, rows, |a, b| T::fold(Fold::Product, a, b)),
            Fold::Minimum => each(mine, values, rows, |a, b| T::fold(Fold::Minimum, a, b)),
            _ => each(mine, values, rows, |a, b| T::fold(Fold::Maximum, a, b)),
        }
    }

    /// Both in one; `other` is of later elements.
    pub fn join<T: Kernels>(mut self, fold: Fold, other: Self) -> Self {
        if !fold.is_place() {
            self.add::<T>(fold, Arg::Many(other.values.typed_data()), 1, 0);
            return self;
        }
        let mine = self.values.typed_data_mut::<T>().iter_mut().zip(&mut self.places);
        for ((best, place), (&value, &at)) in mine.zip(other.values.typed_data::<T>().iter().zip(&other.places)) {
            if comes_before(fold, value, *best) {
                (*best, *place) = (value, at);
            }
        }
        self
    }

    /// Appends elements that are behind these.
    pub fn extend(&mut self, other: &Self) {
        self.values.extend_from_slice(other.values.as_slice());
        self.places.extend(&other.places);
    }

    /// The result's bytes.
    pub fn write(&self, out: &mut MutableBuffer) {
        if self.places.is_empty() {
            out.extend_from_slice(self.values.as_slice());
        } else {
            out.extend_from_slice(&self.places);
        }
    }

    /// All there is of it, for another rank: elements, then places.
    pub fn into_buffer(self) -> Buffer {
        let mut bytes = self.values;
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend_from_slice(&self.places);
        bytes.into()
    }

    /// What [`Many::into_buffer`] made.
    pub fn of_buffer<T: Native>(fold: Fold, len: usize, buffer: &Buffer) -> Result<Self> {
        let bytes = len * T::DTYPE.bytes();
        let padded = bytes.next_multiple_of(8);
        let wanted = padded + if fold.is_place() { len * 8 } else { 0 };
        if buffer.len() != wanted {
            return Err(Error::internal(format!("{} bytes of a fold of {len} elements, not {wanted}", buffer.len())));
        }
        let mut values = MutableBuffer::with_capacity(bytes);
        values.extend_from_slice(&buffer.as_slice()[..bytes]);
        let places = buffer.as_slice()[padded..].as_chunks::<8>().0.iter().map(|bytes| i64::from_ne_bytes(*bytes));
        Ok(Self { values, places: places.collect() })
    }
}

#[inline(always)]
fn each<T: Copy>(mine: &mut [T], values: Arg<'_, T>, rows: usize, join: impl Fn(T, T) -> T) {
    let len = mine.len().max(1);
    vectorized(
        #[inline(always)]
        move || match values {
            Arg::Many(values) => {
                for row in values.chunks_exact(len) {
                    for (mine, &value) in mine.iter_mut().zip(row) {
                        *mine = join(*mine, value);
                    }
                }
            }
            Arg::One(one) => {
                for _ in 0..rows {
                    for mine in mine.iter_mut() {
                        *mine = join(*mine, one);
                    }
                }
            }
        },
    );
}
