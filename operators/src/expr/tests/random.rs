//! Random columns and expressions, from a seed.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray,
    new_empty_array,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use bireme_engine::morsel::{Chunk, to_carried};

use super::reference::compute;
use crate::pipeline::ir::{ArithmeticOp, CompareOp, DatePart, Expr, ExprKind};

/// Numbers by xorshift.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }

    pub fn one_in(&mut self, number: usize) -> bool {
        self.below(number) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

pub const WIDE: DataType = DataType::Decimal128(38, 6);

/// The logical types of the columns; those of texts differ in how they are carried.
pub fn types() -> Vec<DataType> {
    vec![
        DataType::Int32,
        DataType::Int64,
        DataType::Date32,
        DataType::Float64,
        DataType::Decimal128(15, 2),
        DataType::Decimal128(12, 4),
        WIDE,
        DataType::Utf8View,
        DataType::Utf8View,
        DataType::Boolean,
        DataType::Decimal128(5, 2),
    ]
}

const TEXTS: [&str; 16] = [
    "",
    "a",
    "ab",
    "abc",
    "abcd",
    "abcde",
    "abd",
    "special",
    "xspecialyrequestsz",
    "special requests",
    "PROMO STEEL",
    "a\0",
    "äöü€",
    "ÄB%_",
    "a longer text that no view holds",
    "a longer text that no view hold€",
];

pub const PATTERNS: [&str; 22] = [
    "",
    "%",
    "%%",
    "a",
    "a%",
    "%a",
    "%c%",
    "ab%d",
    "%special%requests%",
    "_",
    "_b%",
    "%_c",
    "a_c",
    "%l_r%",
    "\\%",
    "%\\_%",
    "%€",
    "ä_ü%",
    "a longer%",
    "%b%d_",
    "abc\\",
    "abcde%x",
];

pub fn value(data_type: &DataType, random: &mut Random, calm: bool) -> ArrayRef {
    column(data_type, 1, random, calm)
}

/// A column, sometimes of NULLs only; calm ones have no numbers that overflow easily.
pub fn column(data_type: &DataType, rows: usize, random: &mut Random, calm: bool) -> ArrayRef {
    let nulls = random.pick(&[0, 2, 5, 0, 2, 5, 0, 1]);
    let small = |random: &mut Random| random.below(40) as i128 - 20;
    let decimal = |digits: u8, random: &mut Random| {
        let limit = 10_i128.pow(u32::from(digits)) - 1;
        match random.below(8) {
            0 if !calm => limit,
            1 if !calm => -limit,
            2 => (random.below(1 << 40) as i128).min(limit),
            _ => small(random),
        }
    };
    let some = |random: &mut Random| nulls == 0 || !random.one_in(nulls);
    macro_rules! build {
        ($array:ty, $value:expr) => {{
            let value = $value;
            (0..rows).map(|_| some(random).then(|| value(random))).collect::<$array>()
        }};
    }
    match data_type {
        DataType::Int32 => Arc::new(build!(Int32Array, |random: &mut Random| match random.below(12) {
            0 if !calm => i32::MAX,
            1 if !calm => i32::MIN,
            _ => small(random) as i32,
        })),
        DataType::Int64 => Arc::new(build!(Int64Array, |random: &mut Random| match random.below(12) {
            0 if !calm => i64::MAX,
            1 if !calm => i64::MIN,
            2 => random.below(1 << 40) as i64,
            _ => small(random) as i64,
        })),
        DataType::Date32 => Arc::new(build!(Date32Array, |random: &mut Random| {
            random.pick(&[0, -1, 59, 10_957, 11_016, 11_017, 9_000, 9_001, -719_468, 2_932_896])
        })),
        DataType::Float64 => Arc::new(build!(Float64Array, |random: &mut Random| {
            random.pick(&[0.0, -0.0, 1.5, -2.5, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3.0])
        })),
        DataType::Decimal128(digits, scale) => {
            let (digits, scale) = (*digits, *scale);
            let decimals = build!(Decimal128Array, |random: &mut Random| decimal(digits, random));
            Arc::new(decimals.with_precision_and_scale(digits, scale).unwrap())
        }
        DataType::Boolean => Arc::new(build!(BooleanArray, |random: &mut Random| random.one_in(2))),
        _ => cast(&(build!(StringArray, |random: &mut Random| random.pick(&TEXTS))), &DataType::Utf8View).unwrap(),
    }
}

pub fn columns(rows: usize, random: &mut Random, calm: bool) -> Vec<ArrayRef> {
    types().iter().map(|data_type| column(data_type, rows, random, calm)).collect()
}

/// The columns as a chunk: `dictionaries` says which texts are held as codes.
pub fn chunk(logical: &[ArrayRef], rows: usize, dictionaries: &[usize]) -> Chunk {
    let encoded = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8View));
    let carried = logical.iter().enumerate().map(|(place, array)| {
        let array = if dictionaries.contains(&place) { cast(array, &encoded).unwrap() } else { Arc::clone(array) };
        let carried = to_carried(&array).unwrap();
        // Wide decimals that all fit may come narrow.
        let DataType::Decimal128(_, 6) = carried.data_type() else { return carried };
        let values = arrow::array::AsArray::as_primitive::<arrow::datatypes::Decimal128Type>(&carried);
        let narrow = values.iter().map(|value| value.map(i64::try_from).transpose()).collect::<Result<Int64Array, _>>();
        narrow.map_or(Arc::clone(&carried), |narrow| Arc::new(narrow) as ArrayRef)
    });
    Chunk::new(carried.collect(), rows)
}

/// An expression of a type.
pub fn expr(data_type: &DataType, depth: usize, random: &mut Random) -> Expr {
    if depth == 0 || random.one_in(5) {
        return leaf(data_type, random);
    }
    if random.one_in(9) {
        return branches(data_type, depth, random);
    }
    match data_type {
        DataType::Boolean => boolean(depth, random),
        DataType::Int32 if random.one_in(3) => {
            let part = random.pick(&[DatePart::Year, DatePart::Month, DatePart::Day]);
            let kind = ExprKind::DatePart(part, Box::new(expr(&DataType::Date32, depth - 1, random)));
            Expr { kind, data_type: DataType::Int32 }
        }
        DataType::Int32 if random.one_in(4) => {
            let kind = ExprKind::CharacterLength(Box::new(expr(&DataType::Utf8View, depth - 1, random)));
            Expr { kind, data_type: DataType::Int32 }
        }
        DataType::Int32 | DataType::Int64 | DataType::Decimal128(..) if random.one_in(6) => {
            let kind = ExprKind::Absolute(Box::new(expr(data_type, depth - 1, random)));
            Expr { kind, data_type: data_type.clone() }
        }
        // No floats here: which of two NaNs a sum becomes is not defined, but their order would show it.
        DataType::Int32 | DataType::Int64 => {
            let op = operator(random);
            let (left, right) = (expr(data_type, depth - 1, random), expr(data_type, depth - 1, random));
            Expr { kind: ExprKind::Arithmetic(op, Box::new(left), Box::new(right)), data_type: data_type.clone() }
        }
        DataType::Decimal128(..) => {
            let inner = decimal(depth - 1, random);
            cast_to(inner, data_type, random)
        }
        DataType::Utf8View => {
            let start = random.below(8) as i64 - 2;
            let length = (!random.one_in(3)).then(|| random.below(20) as i64);
            let value = Box::new(expr(data_type, depth - 1, random));
            Expr { kind: ExprKind::Substring { value, start, length }, data_type: data_type.clone() }
        }
        _ => leaf(data_type, random),
    }
}

fn leaf(data_type: &DataType, random: &mut Random) -> Expr {
    let places =
        types().iter().enumerate().filter(|(_, t)| *t == data_type).map(|(place, _)| place).collect::<Vec<_>>();
    if places.is_empty() || random.one_in(4) {
        return Expr::literal(value(data_type, random, !random.0.is_multiple_of(3)));
    }
    Expr::column(random.pick(&places), data_type.clone())
}

fn operator(random: &mut Random) -> ArithmeticOp {
    use ArithmeticOp::{Add, Divide, Multiply, Remainder, Subtract};
    random.pick(&[Add, Add, Subtract, Subtract, Multiply, Multiply, Divide, Remainder])
}

/// A decimal of whatever type comes out.
pub fn decimal(depth: usize, random: &mut Random) -> Expr {
    let decimals = types().into_iter().filter(|t| matches!(t, DataType::Decimal128(..))).collect::<Vec<_>>();
    if depth == 0 || random.one_in(6) {
        let data_type = random.pick(&decimals);
        return leaf(&data_type, random);
    }
    let (left, right) = (decimal(depth - 1, random), decimal(depth - 1, random));
    let op = operator(random);
    let types = compute(op, &new_empty_array(&left.data_type), &new_empty_array(&right.data_type));
    match types {
        Ok(result) => {
            let data_type = result.data_type().clone();
            Expr { kind: ExprKind::Arithmetic(op, Box::new(left), Box::new(right)), data_type }
        }
        // The scale would be too large.
        Err(_) => left,
    }
}

fn cast_to(value: Expr, data_type: &DataType, random: &mut Random) -> Expr {
    let kind = ExprKind::Cast { value: Box::new(value), or_null: random.one_in(2) };
    Expr { kind, data_type: data_type.clone() }
}

fn branches(data_type: &DataType, depth: usize, random: &mut Random) -> Expr {
    let number = 1 + random.below(3);
    let branches = (0..number)
        .map(|_| (expr(&DataType::Boolean, depth - 1, random), expr(data_type, depth - 1, random)))
        .collect();
    let otherwise = (!random.one_in(3)).then(|| Box::new(expr(data_type, depth - 1, random)));
    Expr { kind: ExprKind::Case { branches, otherwise }, data_type: data_type.clone() }
}

fn boolean(depth: usize, random: &mut Random) -> Expr {
    let data_type = random.pick(&types());
    let parts = |random: &mut Random| {
        let number = 2 + random.below(2);
        (0..number).map(|_| expr(&DataType::Boolean, depth - 1, random)).collect::<Vec<_>>()
    };
    Expr::boolean(match random.below(10) {
        0 => ExprKind::And(parts(random)),
        1 => ExprKind::Or(parts(random)),
        2 => ExprKind::Not(Box::new(expr(&DataType::Boolean, depth - 1, random))),
        3 if random.one_in(2) => ExprKind::IsNull(Box::new(expr(&data_type, depth - 1, random))),
        3 => ExprKind::IsNotNull(Box::new(expr(&data_type, depth - 1, random))),
        4 | 5 => {
            let number = random.pick(&[0, 1, 2, 3, 4, 7, 12, 40]);
            let list = column(&data_type, number, random, random.0.is_multiple_of(2));
            let value = Box::new(expr(&data_type, depth - 1, random));
            ExprKind::In { value, list, negated: random.one_in(2) }
        }
        6 => ExprKind::Like {
            value: Box::new(expr(&DataType::Utf8View, depth - 1, random)),
            pattern: random.pick(&PATTERNS).to_owned(),
            negated: random.one_in(2),
            ignore_case: random.one_in(4),
        },
        _ => {
            use CompareOp::{Distinct, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotDistinct, NotEqual};
            let ops = [Distinct, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotDistinct, NotEqual];
            let (left, right) = (expr(&data_type, depth - 1, random), expr(&data_type, depth - 1, random));
            ExprKind::Compare(random.pick(&ops), Box::new(left), Box::new(right))
        }
    })
}

/// Whether an error on a row need not be one of the whole.
pub fn has_branches(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::And(_) | ExprKind::Or(_) | ExprKind::Case { .. })
        || expr.children().into_iter().any(has_branches)
}
