//! The smallest and the largest values.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BinaryViewBuilder, GenericByteViewArray,
    PrimitiveArray, StringViewBuilder,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{cast, take};
use arrow::datatypes::*;
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::carried_type;

use super::super::column::wides;
use super::Groups;
use super::seen::Seen;

/// The smallest or the largest value of each group.
pub(crate) trait Extreme: Send {
    fn grow(&mut self, total: usize);
    fn update(&mut self, values: &ArrayRef, valid: Option<&NullBuffer>, groups: &Groups<'_>) -> Result<()>;
    /// In carried form.
    fn take(&mut self) -> Result<ArrayRef>;
    fn bytes(&self) -> usize;
}

/// Of a logical type.
pub(super) fn new(logical: &DataType, largest: bool) -> Result<Box<dyn Extreme>> {
    let carried = carried_type(logical);
    macro_rules! of {
        ($primitive:ty) => {
            if largest {
                Ok(Box::new(Primitives::<$primitive, true>::new(carried)))
            } else {
                Ok(Box::new(Primitives::<$primitive, false>::new(carried)))
            }
        };
    }
    match &carried {
        DataType::Boolean | DataType::UInt8 => of!(UInt8Type),
        DataType::UInt16 => of!(UInt16Type),
        DataType::UInt32 => of!(UInt32Type),
        DataType::UInt64 => of!(UInt64Type),
        DataType::Int8 => of!(Int8Type),
        DataType::Int16 => of!(Int16Type),
        DataType::Int32 => of!(Int32Type),
        DataType::Int64 => of!(Int64Type),
        DataType::Float16 => of!(Float16Type),
        DataType::Float32 => of!(Float32Type),
        DataType::Float64 => of!(Float64Type),
        DataType::Date32 => of!(Date32Type),
        DataType::Date64 => of!(Date64Type),
        DataType::Time32(TimeUnit::Second) => of!(Time32SecondType),
        DataType::Time32(_) => of!(Time32MillisecondType),
        DataType::Time64(TimeUnit::Nanosecond) => of!(Time64NanosecondType),
        DataType::Time64(_) => of!(Time64MicrosecondType),
        DataType::Timestamp(TimeUnit::Second, _) => of!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => of!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => of!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => of!(TimestampNanosecondType),
        DataType::Duration(TimeUnit::Second) => of!(DurationSecondType),
        DataType::Duration(TimeUnit::Millisecond) => of!(DurationMillisecondType),
        DataType::Duration(TimeUnit::Microsecond) => of!(DurationMicrosecondType),
        DataType::Duration(TimeUnit::Nanosecond) => of!(DurationNanosecondType),
        DataType::Interval(IntervalUnit::YearMonth) => of!(IntervalYearMonthType),
        DataType::Interval(IntervalUnit::DayTime) => of!(IntervalDayTimeType),
        DataType::Interval(IntervalUnit::MonthDayNano) => of!(IntervalMonthDayNanoType),
        DataType::Decimal128(..) => of!(Decimal128Type),
        DataType::Decimal256(..) => of!(Decimal256Type),
        DataType::Utf8View | DataType::BinaryView => {
            Ok(Box::new(Texts { carried, largest, values: Vec::new(), held: 0 }))
        }
        _ => Err(Error::unsupported(format!(
            "{} of values of type {logical}; cast them to another type",
            if largest { "MAX" } else { "MIN" }
        ))),
    }
}

struct Primitives<P: ArrowPrimitiveType, const LARGEST: bool> {
    carried: DataType,
    values: Vec<P::Native>,
    seen: Seen,
}

impl<P: ArrowPrimitiveType, const LARGEST: bool> Primitives<P, LARGEST> {
    /// What every value is better than, or equal to.
    const WORST: P::Native = if LARGEST { P::Native::MIN_TOTAL_ORDER } else { P::Native::MAX_TOTAL_ORDER };

    fn new(carried: DataType) -> Self {
        Self { carried, values: Vec::new(), seen: Seen::default() }
    }

    #[inline(always)]
    fn better(a: P::Native, b: P::Native) -> P::Native {
        if LARGEST == a.is_gt(b) { a } else { b }
    }
}

impl<P: ArrowPrimitiveType + Send, const LARGEST: bool> Extreme for Primitives<P, LARGEST>
where
    P::Native: Send,
{
    fn grow(&mut self, total: usize) {
        self.seen.grow(self.values.len(), total);
        if total > self.values.len() {
            self.values.resize(total, Self::WORST);
        }
    }

    fn update(&mut self, array: &ArrayRef, valid: Option<&NullBuffer>, groups: &Groups<'_>) -> Result<()> {
        self.seen.mark(self.values.len(), valid, groups);
        self.values.resize(groups.total, Self::WORST);
        let array: ArrayRef = match (&self.carried, array.data_type()) {
            (DataType::Boolean, DataType::Boolean) => cast(array, &DataType::UInt8)?,
            (DataType::Decimal128(..), DataType::Int64) => {
                Arc::new(PrimitiveArray::<Decimal128Type>::new(wides(array)?, None))
            }
            _ => Arc::clone(array),
        };
        let Some(array) = array.as_primitive_opt::<P>() else {
            return Err(Error::internal(format!("an extreme of {} came as {}", self.carried, array.data_type())));
        };
        let (best, values) = (self.values.as_mut_slice(), array.values());
        match valid {
            Some(valid) => valid.valid_indices().for_each(|row| {
                let group = groups.of(row);
                best[group] = Self::better(best[group], values[row]);
            }),
            None if groups.is_one() => best[0] = values.iter().fold(best[0], |best, &value| Self::better(best, value)),
            None => groups.ids.iter().zip(values).for_each(|(&group, &value)| {
                let best = &mut best[group as usize];
                *best = Self::better(*best, value);
            }),
        }
        Ok(())
    }

    fn take(&mut self) -> Result<ArrayRef> {
        let array = PrimitiveArray::<P>::new(std::mem::take(&mut self.values).into(), self.seen.take());
        if self.carried == DataType::Boolean {
            return Ok(cast(&array, &DataType::Boolean)?);
        }
        Ok(Arc::new(array.with_data_type(self.carried.clone())))
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<P::Native>() + self.seen.bytes()
    }
}

/// Texts and bytes, in the order of their bytes.
struct Texts {
    carried: DataType,
    largest: bool,
    values: Vec<Option<Vec<u8>>>,
    /// Bytes of all values.
    held: usize,
}

impl Texts {
    fn offer<T: ByteViewType + ?Sized>(
        &mut self,
        array: &GenericByteViewArray<T>,
        valid: Option<&NullBuffer>,
        groups: &Groups<'_>,
    ) {
        for row in 0..groups.rows {
            if valid.is_some_and(|valid| valid.is_null(row)) {
                continue;
            }
            let value: &[u8] = array.value(row).as_ref();
            match &mut self.values[groups.of(row)] {
                Some(best) => {
                    let better = if self.largest { value > best.as_slice() } else { value < best.as_slice() };
                    if better {
                        let before = best.capacity();
                        best.clear();
                        best.extend_from_slice(value);
                        self.held += best.capacity() - before;
                    }
                }
                none => {
                    self.held += value.len();
                    *none = Some(value.to_vec());
                }
            }
        }
    }
}

impl Extreme for Texts {
    fn grow(&mut self, total: usize) {
        if total > self.values.len() {
            self.values.resize(total, None);
        }
    }

    fn update(&mut self, array: &ArrayRef, valid: Option<&NullBuffer>, groups: &Groups<'_>) -> Result<()> {
        self.grow(groups.total);
        let flat = match array.as_any_dictionary_opt() {
            Some(dictionary) => take(dictionary.values(), dictionary.keys(), None)?,
            None => Arc::clone(array),
        };
        match flat.data_type() {
            DataType::Utf8View => self.offer(flat.as_string_view(), valid, groups),
            DataType::BinaryView => self.offer(flat.as_binary_view(), valid, groups),
            other => return Err(Error::internal(format!("an extreme of texts came as {other}"))),
        }
        Ok(())
    }

    fn take(&mut self) -> Result<ArrayRef> {
        let values = std::mem::take(&mut self.values);
        self.held = 0;
        if self.carried == DataType::BinaryView {
            let mut builder = BinaryViewBuilder::with_capacity(values.len());
            values.iter().for_each(|value| builder.append_option(value.as_deref()));
            return Ok(Arc::new(builder.finish()));
        }
        let mut builder = StringViewBuilder::with_capacity(values.len());
        for value in &values {
            let text = value.as_deref().map(std::str::from_utf8).transpose();
            builder.append_option(text.map_err(|_| Error::internal("a text is not UTF-8"))?);
        }
        Ok(Arc::new(builder.finish()))
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<Option<Vec<u8>>>() + self.held
    }
}
