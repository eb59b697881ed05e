//! Exact sums: a wrapping `low` in the type of the input, and a `carry` that counts how often it wrapped.

use std::fmt::Debug;
use std::hash::Hash;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, DecimalType, Int64Type, UInt64Type, i256,
};
use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result};

/// `carry * 2^bits + low`, where `bits` is the width of `N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wide<N> {
    pub(super) low: N,
    pub(super) carry: i64,
}

/// A type whose sums are checked: the type of the input, which is also that of the result.
///
/// Law: `split(join(wide)) == wide` where there is no carry column; with one, `join` keeps `low` alone.
pub(super) trait Summand: ArrowPrimitiveType<Native: Hash + Eq> + Debug + Send + Sync + Sized {
    /// The first column of the state.
    type State: ArrowPrimitiveType + Send;
    /// The state has a second column, the carry: no type holds both.
    const CARRY_COLUMN: bool = false;

    /// The wrapped sum and what is to be added to the carry.
    fn add(a: Self::Native, b: Self::Native) -> (Self::Native, i64);
    /// The wrapped difference and what is to be added to the carry.
    fn subtract(a: Self::Native, b: Self::Native) -> (Self::Native, i64);
    /// The state of a sum.
    fn join(wide: Wide<Self::Native>) -> <Self::State as ArrowPrimitiveType>::Native;
    /// The sum of a state, less the carry column if there is one.
    fn split(state: <Self::State as ArrowPrimitiveType>::Native) -> Wide<Self::Native>;

    /// The sum of a slice.
    fn sum(values: &[Self::Native]) -> Wide<Self::Native> {
        let mut sum = Wide::default();
        for value in values {
            plus::<Self>(&mut sum, *value);
        }
        sum
    }
}

/// Adds a value to a sum.
#[inline(always)]
pub(super) fn plus<S: Summand>(sum: &mut Wide<S::Native>, value: S::Native) {
    let (low, carry) = S::add(sum.low, value);
    sum.low = low;
    sum.carry += carry;
}

/// Takes a value from a sum.
#[inline(always)]
pub(super) fn minus<S: Summand>(sum: &mut Wide<S::Native>, value: S::Native) {
    let (low, carry) = S::subtract(sum.low, value);
    sum.low = low;
    sum.carry += carry;
}

/// Adds a sum to a sum.
pub(super) fn merge<S: Summand>(sum: &mut Wide<S::Native>, other: Wide<S::Native>) {
    plus::<S>(sum, other.low);
    sum.carry += other.carry;
}

/// The exact sum of the values that are not null, and how many they are.
pub(super) fn sum_array<S: Summand>(array: &ArrayRef) -> (Wide<S::Native>, u64) {
    let array = array.as_primitive::<S>();
    let values = array.values();
    let count = (array.len() - array.null_count()) as u64;
    let sum = match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => S::sum(values),
        Some(nulls) => {
            let mut sum = Wide::default();
            for (from, to) in nulls.valid_slices() {
                merge::<S>(&mut sum, S::sum(&values[from..to]));
            }
            sum
        }
    };
    (sum, count)
}

/// Adds signed native integers: where the sum wrapped, its sign tells in which direction.
macro_rules! signed_steps {
    ($negative:expr) => {
        #[inline(always)]
        fn add(a: Self::Native, b: Self::Native) -> (Self::Native, i64) {
            let (low, wrapped) = a.overflowing_add(b);
            (low, if wrapped { if $negative(low) { 1 } else { -1 } } else { 0 })
        }

        #[inline(always)]
        fn subtract(a: Self::Native, b: Self::Native) -> (Self::Native, i64) {
            let (low, wrapped) = a.overflowing_sub(b);
            (low, if wrapped { if $negative(low) { 1 } else { -1 } } else { 0 })
        }
    };
}

/// States that hold carry and low in one i128.
macro_rules! joined_in_i128 {
    ($native:ty) => {
        fn join(wide: Wide<$native>) -> i128 {
            (i128::from(wide.carry) << <$native>::BITS) + i128::from(wide.low)
        }

        fn split(state: i128) -> Wide<$native> {
            let low = state as $native; // wraps: the rest is the carry
            Wide { low, carry: ((state - i128::from(low)) >> <$native>::BITS) as i64 }
        }
    };
}

impl Summand for Int64Type {
    type State = Decimal128Type;
    signed_steps!(|low: i64| low < 0);
    joined_in_i128!(i64);

    /// Halves are summed apart, in lanes that cannot overflow and that the compiler vectorises.
    fn sum(values: &[i64]) -> Wide<i64> {
        let mut sum = 0_i128;
        for chunk in values.chunks(1 << 30) {
            let (mut low, mut high) = (0_u64, 0_i64);
            for value in chunk {
                low += u64::from(*value as u32);
                high += value >> 32;
            }
            sum += (i128::from(high) << 32) + i128::from(low);
        }
        Self::split(sum)
    }
}

impl Summand for UInt64Type {
    type State = Decimal128Type;
    joined_in_i128!(u64);

    #[inline(always)]
    fn add(a: u64, b: u64) -> (u64, i64) {
        let (low, wrapped) = a.overflowing_add(b);
        (low, i64::from(wrapped))
    }

    #[inline(always)]
    fn subtract(a: u64, b: u64) -> (u64, i64) {
        let (low, wrapped) = a.overflowing_sub(b);
        (low, -i64::from(wrapped))
    }

    fn sum(values: &[u64]) -> Wide<u64> {
        let mut sum = 0_i128;
        for chunk in values.chunks(1 << 30) {
            let (mut low, mut high) = (0_u64, 0_u64);
            for value in chunk {
                low += u64::from(*value as u32);
                high += value >> 32;
            }
            sum += (i128::from(high) << 32) + i128::from(low);
        }
        Self::split(sum)
    }
}

impl Summand for Decimal32Type {
    type State = Decimal128Type;
    signed_steps!(|low: i32| low < 0);
    joined_in_i128!(i32);
}

impl Summand for Decimal64Type {
    type State = Decimal128Type;
    signed_steps!(|low: i64| low < 0);
    joined_in_i128!(i64);

    fn sum(values: &[i64]) -> Wide<i64> {
        Int64Type::sum(values)
    }
}

impl Summand for Decimal128Type {
    type State = Decimal256Type;
    signed_steps!(|low: i128| low < 0);

    fn join(wide: Wide<i128>) -> i256 {
        // A negative low borrows one from the high half.
        i256::from_parts(wide.low as u128, i128::from(wide.carry) + (wide.low >> 127))
    }

    fn split(state: i256) -> Wide<i128> {
        let (low, high) = state.to_parts();
        let low = low as i128;
        Wide { low, carry: (high - (low >> 127)) as i64 }
    }

    /// Halves are summed apart, without a branch: 2^63 of them fit.
    fn sum(values: &[i128]) -> Wide<i128> {
        let (mut low, mut high) = (0_u128, 0_i128);
        for value in values {
            low += u128::from(*value as u64);
            high += value >> 64;
        }
        let high = i256::from_parts((high as u128) << 64, high >> 64);
        Self::split(high.wrapping_add(i256::from_parts(low, 0)))
    }
}

impl Summand for Decimal256Type {
    type State = Decimal256Type;
    const CARRY_COLUMN: bool = true;
    signed_steps!(|low: i256| low.is_negative());

    fn join(wide: Wide<i256>) -> i256 {
        wide.low
    }

    fn split(state: i256) -> Wide<i256> {
        Wide { low: state, carry: 0 }
    }
}

/// What a sum has to fit in.
#[derive(Clone, Debug)]
pub(super) struct Target<S: Summand> {
    /// For messages, such as `sum(t.x)`.
    name: String,
    /// The type of the result.
    pub(super) data_type: DataType,
    /// The type of the first state column.
    pub(super) state_type: DataType,
    /// The largest and smallest result.
    range: RangeInclusive<S::Native>,
}

impl<S: Summand> Target<S> {
    pub(super) fn new(name: &str, data_type: &DataType) -> Self {
        Self {
            name: name.to_owned(),
            data_type: data_type.clone(),
            state_type: state_type::<S>(data_type),
            range: range::<S>(data_type),
        }
    }

    /// The result of an exact sum.
    ///
    /// # Errors
    /// It does not fit in the type of the result.
    #[inline(always)]
    pub(super) fn fit(&self, sum: Wide<S::Native>) -> Result<S::Native> {
        if sum.carry == 0 && self.range.contains(&sum.low) { Ok(sum.low) } else { Err(self.overflow(sum)) }
    }

    /// The state columns of exact sums; `carries` may be shorter than `lows`, what is missing is 0.
    pub(super) fn state_arrays(&self, lows: &[S::Native], carries: &[i64], nulls: Option<NullBuffer>) -> Vec<ArrayRef> {
        let carries = carries.iter().copied().chain(std::iter::repeat(0)).take(lows.len());
        let joined = lows.iter().zip(carries.clone()).map(|(&low, carry)| S::join(Wide { low, carry }));
        let joined = PrimitiveArray::<S::State>::new(joined.collect(), nulls.clone());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(joined.with_data_type(self.state_type.clone()))];
        if S::CARRY_COLUMN {
            columns.push(Arc::new(PrimitiveArray::<Int64Type>::new(carries.collect(), nulls)));
        }
        columns
    }

    #[cold]
    fn overflow(&self, sum: Wide<S::Native>) -> DataFusionError {
        let name = match self.name.strip_prefix("sum(") {
            Some(rest) => format!("SUM({rest}"),
            None => format!("SUM {}", self.name),
        };
        let sum = describe::<S>(sum, &self.data_type);
        let advice = match &self.data_type {
            DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
                format!("cast the argument to DECIMAL({DECIMAL128_MAX_PRECISION},{scale})")
            }
            DataType::Decimal128(_, scale) => {
                format!("cast the argument to DECIMAL({DECIMAL256_MAX_PRECISION},{scale})")
            }
            DataType::Decimal256(_, _) => "cast the argument to DOUBLE".to_owned(),
            _ => format!("cast the argument to DECIMAL({DECIMAL128_MAX_PRECISION},0)"),
        };
        let message = format!("{name} = {sum} does not fit in {}; {advice}", self.data_type);
        DataFusionError::ArrowError(Box::new(ArrowError::ArithmeticOverflow(message)), None)
    }
}

fn state_type<S: Summand>(result: &DataType) -> DataType {
    let scale = scale(result);
    match S::State::DATA_TYPE {
        DataType::Decimal128(_, _) => DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale),
        _ => DataType::Decimal256(DECIMAL256_MAX_PRECISION, scale),
    }
}

fn scale(data_type: &DataType) -> i8 {
    match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    }
}

fn range<S: Summand>(result: &DataType) -> RangeInclusive<S::Native> {
    use arrow::array::ArrowNativeTypeOp;
    let (DataType::Decimal32(precision, _)
    | DataType::Decimal64(precision, _)
    | DataType::Decimal128(precision, _)
    | DataType::Decimal256(precision, _)) = result
    else {
        return S::Native::MIN_TOTAL_ORDER..=S::Native::MAX_TOTAL_ORDER;
    };
    let mut limit = S::Native::ONE;
    for _ in 0..*precision {
        limit = limit.mul_wrapping(ten::<S>());
    }
    limit = limit.sub_wrapping(S::Native::ONE);
    limit.neg_wrapping()..=limit
}

fn ten<S: Summand>() -> S::Native {
    <S::Native as arrow::datatypes::ArrowNativeType>::usize_as(10)
}

/// The exact sum in digits, or nearly where it has more than 76 of them.
fn describe<S: Summand>(sum: Wide<S::Native>, data_type: &DataType) -> String {
    if S::CARRY_COLUMN && sum.carry != 0 {
        return format!("about {:.3e}", sum.carry as f64 * 2_f64.powi(256) / 10_f64.powi(i32::from(scale(data_type))));
    }
    let joined: ArrayRef = Arc::new(PrimitiveArray::<S::State>::from_iter_values([S::join(sum)]));
    let exact = match joined.as_primitive_opt::<Decimal128Type>() {
        Some(joined) => i256::from_i128(joined.value(0)),
        None => joined.as_primitive::<Decimal256Type>().value(0),
    };
    match scale(data_type) {
        scale if scale > 0 => Decimal256Type::format_decimal(exact, DECIMAL256_MAX_PRECISION, scale),
        _ => exact.to_string(),
    }
}
