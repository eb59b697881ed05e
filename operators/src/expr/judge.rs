//! What the smallest and largest values of columns tell of a condition.
//!
//! Each part of the condition gets the set of answers that it may give on some row; sets only ever grow by what is not known,
//! so a set without *true* drops the rows for certain.
//!
//! ```text
//!   price between 10 and 20      price < 5 → {false}        price < 15 → {false, true}
//!   no NULLs                     price > 5 → {true}         price > 5 and price < 5 → {false}
//! ```
//! Values get intervals: columns from their statistics, and what is made of them by steps that keep the order (sums and
//! differences, casts to wider types) by computing on the ends. Floats have none: statistics say nothing of NaNs, which
//! count as the largest values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use bireme_engine::error::Result;
use bireme_engine::morsel::{ColumnRange, Verdict};

use super::arithmetic::{Types, arithmetic};
use super::cast;
use super::compare::compare;
use super::like::Pattern;
use super::node::{Kind, Node};
use super::value::{Value, flat, is_carried};
use crate::pipeline::ir::{ArithmeticOp, CompareOp};

/// What is known of rows from the ranges of their columns; the condition is the conjunction of `parts`.
pub(super) fn judge(parts: &[Node], ranges: &[ColumnRange]) -> Verdict {
    let answers = parts.iter().fold(Answers::TRUE, |all, part| all.and(answers(part, ranges)));
    if ranges.iter().any(|range| range.rows == 0) || !answers.yes {
        Verdict::None
    } else if answers == Answers::TRUE {
        Verdict::All
    } else {
        Verdict::Some
    }
}

/// Which answers may occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answers {
    yes: bool,
    no: bool,
    null: bool,
}

impl Answers {
    const TRUE: Self = Self { yes: true, no: false, null: false };
    const NULL: Self = Self { yes: false, no: false, null: true };
    const ANY: Self = Self { yes: true, no: true, null: true };

    fn and(self, other: Self) -> Self {
        Self {
            yes: self.yes && other.yes,
            no: self.no || other.no,
            null: self.null && (other.yes || other.null) || other.null && (self.yes || self.null),
        }
    }

    fn not(self) -> Self {
        Self { yes: self.no, no: self.yes, null: self.null }
    }

    fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    fn negated_if(self, negated: bool) -> Self {
        if negated { self.not() } else { self }
    }
}

/// What a value lies between.
#[derive(Clone, Debug)]
struct Interval {
    /// Bounds in carried form, of one row; `None` where not known.
    low: Option<ArrayRef>,
    high: Option<ArrayRef>,
    may_be_null: bool,
    may_be_value: bool,
}

impl Interval {
    const UNKNOWN: Self = Self { low: None, high: None, may_be_null: true, may_be_value: true };
}

fn answers(node: &Node, ranges: &[ColumnRange]) -> Answers {
    match node.kind() {
        Kind::And(parts) => parts.iter().fold(Answers::TRUE, |all, part| all.and(answers(part, ranges))),
        Kind::Or(parts) => parts.iter().fold(Answers::TRUE.not(), |any, part| any.or(answers(part, ranges))),
        Kind::Not(value) => answers(value, ranges).not(),
        Kind::IsNull { value, negated } => {
            let value = interval(value, ranges);
            Answers { yes: value.may_be_null, no: value.may_be_value, null: false }.negated_if(*negated)
        }
        Kind::Compare(op, left, right) => {
            let types = (left.data_type(), right.data_type());
            comparison(*op, &interval(left, ranges), &interval(right, ranges), types)
        }
        Kind::In { value, list, negated, .. } => {
            let types = (value.data_type(), value.data_type());
            let value = interval(value, ranges);
            let members = (0..list.len()).map(|row| {
                let member = list.slice(row, 1);
                let member = if list.is_null(row) { null_interval() } else { point(member) };
                comparison(CompareOp::Equal, &value, &member, types)
            });
            let found = members.fold(Answers::TRUE.not(), Answers::or);
            // NULL is neither in a list nor not in it, even if the list is empty.
            Answers { null: found.null || value.may_be_null, ..found }.negated_if(*negated)
        }
        Kind::Like { value, pattern, negated } => {
            like(&interval(value, ranges), pattern, value.data_type()).negated_if(*negated)
        }
        Kind::Constant(_) | Kind::Column(_) if node.data_type() == &DataType::Boolean => {
            let value = interval(node, ranges);
            let types = (&DataType::Boolean, &DataType::Boolean);
            let truth: ArrayRef = Arc::new(arrow::array::BooleanArray::from(vec![true]));
            comparison(CompareOp::Equal, &value, &point(truth), types)
        }
        _ => Answers::ANY,
    }
}

fn point(value: ArrayRef) -> Interval {
    Interval { low: Some(Arc::clone(&value)), high: Some(value), may_be_null: false, may_be_value: true }
}

fn null_interval() -> Interval {
    Interval { low: None, high: None, may_be_null: true, may_be_value: false }
}

fn interval(node: &Node, ranges: &[ColumnRange]) -> Interval {
    match node.kind() {
        Kind::Constant(value) if value.is_null_scalar() => null_interval(),
        Kind::Constant(value) => point(Arc::clone(&value.array)),
        Kind::Column(place) => ranges.get(*place).map_or(Interval::UNKNOWN, |range| column(node.data_type(), range)),
        Kind::Cast { value, or_null: false } if keeps_order(value.data_type(), node.data_type()) => {
            let inner = interval(value, ranges);
            let end = |end: Option<ArrayRef>| {
                let cast = cast::cast(&Value::scalar(end?), value.data_type(), node.data_type(), false).ok()?;
                Some(cast.array)
            };
            Interval { low: end(inner.low), high: end(inner.high), ..inner }
        }
        Kind::Arithmetic(op @ (ArithmeticOp::Add | ArithmeticOp::Subtract), left, right) => {
            let types = Types { left: left.data_type(), right: right.data_type(), result: node.data_type() };
            let exact = |data_type: &DataType| data_type.is_integer() || matches!(data_type, DataType::Decimal128(..));
            if ![types.left, types.right, types.result].into_iter().all(exact) {
                return Interval::UNKNOWN;
            }
            let (left, right) = (interval(left, ranges), interval(right, ranges));
            let may_be_value = left.may_be_value && right.may_be_value;
            let may_be_null = left.may_be_null || right.may_be_null;
            let (right_low, right_high) =
                if *op == ArithmeticOp::Add { (right.low, right.high) } else { (right.high, right.low) };
            let end = |left: Option<ArrayRef>, right: Option<ArrayRef>| {
                Some(arithmetic(*op, &Value::scalar(left?), &Value::scalar(right?), types).ok()?.array)
            };
            Interval { low: end(left.low, right_low), high: end(left.high, right_high), may_be_null, may_be_value }
        }
        _ => Interval::UNKNOWN,
    }
}

/// Casts by which no two values change their order. A value that fails ends the query anyway.
fn keeps_order(from: &DataType, to: &DataType) -> bool {
    let text = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let exact = |data_type: &DataType| data_type.is_integer() || matches!(data_type, DataType::Decimal128(..));
    let dictionary_of_text = matches!(from, DataType::Dictionary(_, values) if text(values));
    exact(from) && exact(to)
        || (text(from) || dictionary_of_text) && text(to)
        || matches!((from, to), (DataType::Date32, DataType::Date64 | DataType::Timestamp(_, None)))
}

fn column(data_type: &DataType, range: &ColumnRange) -> Interval {
    let known = |end: &Option<ArrayRef>| {
        let end = end.as_ref().filter(|end| end.len() == 1 && !data_type.is_floating())?;
        let end = flat(end).ok().filter(|end| is_carried(end.data_type(), data_type))?;
        (end.logical_nulls().is_none_or(|nulls| nulls.is_valid(0))).then_some(end)
    };
    Interval {
        low: known(&range.min),
        high: known(&range.max),
        may_be_null: range.nulls != Some(0),
        may_be_value: range.nulls.is_none_or(|nulls| nulls < range.rows),
    }
}

/// Whether a comparison of two bounds is true; `None` if one is not known.
fn holds(
    op: CompareOp,
    left: Option<&ArrayRef>,
    right: Option<&ArrayRef>,
    types: (&DataType, &DataType),
) -> Option<bool> {
    let (left, right) = (Value::scalar(Arc::clone(left?)), Value::scalar(Arc::clone(right?)));
    let answer: Result<Value> = compare(op, &left, &right, types);
    let answer = answer.ok()?;
    let bits = answer.as_boolean().ok()?;
    (bits.len() == 1 && bits.is_valid(0)).then(|| bits.value(0))
}

fn comparison(op: CompareOp, left: &Interval, right: &Interval, types: (&DataType, &DataType)) -> Answers {
    // Nothing below depends on more than the bounds, so a type without an order is told nothing of.
    if types.0.is_nested() || types.0.is_floating() && !matches!(op, CompareOp::Distinct | CompareOp::NotDistinct) {
        return with_nulls(Answers { yes: true, no: true, null: false }, left, right);
    }
    let swapped = (types.1, types.0);
    // The least left value against the largest right one: if even that fails, so do all others.
    let some_less = holds(CompareOp::Less, left.low.as_ref(), right.high.as_ref(), types) != Some(false);
    let some_greater = holds(CompareOp::Less, right.low.as_ref(), left.high.as_ref(), swapped) != Some(false);
    let below = holds(CompareOp::LessOrEqual, left.low.as_ref(), right.high.as_ref(), types) != Some(false);
    let above = holds(CompareOp::LessOrEqual, right.low.as_ref(), left.high.as_ref(), swapped) != Some(false);
    let some_equal = below && above;
    let (yes, no) = match op {
        CompareOp::Equal => (some_equal, some_less || some_greater),
        CompareOp::NotEqual => (some_less || some_greater, some_equal),
        CompareOp::Less => (some_less, above),
        CompareOp::LessOrEqual => (below, some_greater),
        CompareOp::Greater => (some_greater, below),
        CompareOp::GreaterOrEqual => (above, some_less),
        CompareOp::Distinct | CompareOp::NotDistinct => return Answers { yes: true, no: true, null: false },
    };
    with_nulls(Answers { yes, no, null: false }, left, right)
}

fn with_nulls(answers: Answers, left: &Interval, right: &Interval) -> Answers {
    if !left.may_be_value || !right.may_be_value {
        return Answers::NULL;
    }
    Answers { null: left.may_be_null || right.may_be_null, ..answers }
}

fn like(value: &Interval, pattern: &Pattern, data_type: &DataType) -> Answers {
    let nulls = |answers: Answers| with_nulls(answers, value, &point(Arc::new(arrow::array::NullArray::new(1))));
    let text = |text: &[u8]| -> Option<ArrayRef> {
        let text = std::str::from_utf8(text).ok()?;
        Some(Arc::new(arrow::array::StringViewArray::from(vec![text])))
    };
    if let Some(literal) = pattern.equal().and_then(text) {
        return comparison(CompareOp::Equal, value, &point(literal), (data_type, data_type));
    }
    let unknown = Answers { yes: true, no: true, null: false };
    let Some((prefix, alone)) = pattern.prefix() else { return nulls(unknown) };
    let bytes = |end: &Option<ArrayRef>| {
        let end = end.as_ref()?;
        Some(super::views::Views::new(end).ok()?.bytes_of_first().to_vec())
    };
    let (low, high) = (bytes(&value.low), bytes(&value.high));
    // A text with the prefix lies at or after the prefix itself, and before all texts whose start is larger.
    let reaches = high.as_ref().is_none_or(|high| high.as_slice() >= prefix);
    let starts = low.as_ref().is_none_or(|low| &low[..low.len().min(prefix.len())] <= prefix);
    let yes = reaches && starts;
    // What lies between two texts with the prefix has it too.
    let both = [&low, &high].into_iter().all(|end| end.as_ref().is_some_and(|end| end.starts_with(prefix)));
    nulls(Answers { yes, no: !(alone && (both || prefix.is_empty())), null: false })
}
