#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]

pub(crate) mod random;
mod reference;

use std::sync::Arc;

use arrow::array::{
    Array, AsArray, BooleanArray, Date32Array, Decimal128Array, Int32Array, Int64Array, StringViewArray,
};
use arrow::compute::filter;
use arrow::datatypes::Int64Type;
use bireme_engine::error::ErrorKind;
use bireme_engine::morsel::{ColumnRange, Predicate, Verdict, to_carried, to_logical};
use proptest::prelude::*;

use super::*;
use crate::pipeline::ir::{ArithmeticOp, BatchFunction, CompareOp, ExprKind};
use random::Random;

/// Row counts: none, one, around a word of bits, more than that.
const ROWS: [usize; 6] = [0, 1, 7, 64, 65, 300];

/// Evaluates an expression on the same rows in different forms; all must agree with the reference.
fn check(expr: &Expr, logical: &[ArrayRef], rows: usize) {
    let expected = reference::reference(expr, logical, rows);
    for dictionaries in [&[][..], &[8], &[7, 8]] {
        let chunk = random::chunk(logical, rows, dictionaries);
        let got = Evaluator::new(expr).and_then(|evaluator| {
            let first = evaluator.evaluate(&chunk)?;
            // Again, when dictionaries have their answers already.
            let second = evaluator.evaluate(&chunk)?;
            let (first, second) = (to_logical(&first, &expr.data_type)?, to_logical(&second, &expr.data_type)?);
            assert_eq!(&first, &second, "twice {expr}");
            Ok(first)
        });
        match (&expected, got) {
            (Ok(expected), Ok(got)) => assert_eq!(&got, expected, "{expr} on {dictionaries:?}"),
            (Err(_), Err(_)) => {}
            (Err(_), Ok(_)) if rows == 0 || random::has_branches(expr) => {}
            (expected, got) => panic!("{expr} on {dictionaries:?}: expected {expected:?}, got {got:?}"),
        }
    }
    if expr.data_type == DataType::Boolean
        && let Ok(expected) = &expected
    {
        check_filter(expr, logical, rows, expected.as_boolean());
    }
}

fn check_filter(expr: &Expr, logical: &[ArrayRef], rows: usize, expected: &BooleanArray) {
    let chunk = random::chunk(logical, rows, &[8]);
    let selected = Filter::new(expr).unwrap().select(&chunk).unwrap();
    match &selected {
        Selected::Some(bits) => assert!((1..rows).contains(&bits.count_set_bits()), "{expr}"),
        Selected::None | Selected::All => {}
    }
    let bits = selected.into_bits(rows);
    let wanted = (0..rows).map(|row| expected.is_valid(row) && expected.value(row)).collect::<Vec<_>>();
    assert_eq!(bits.iter().collect::<Vec<_>>(), wanted, "{expr}");
    let kept = Filter::new(expr).unwrap().apply(chunk.clone()).unwrap();
    let kept = kept.unwrap_or_else(|| chunk.slice(0, 0));
    assert_eq!(kept.rows, wanted.iter().filter(|wanted| **wanted).count());
    for (column, kept) in chunk.columns.iter().zip(&kept.columns) {
        assert_eq!(kept, &filter(column, &BooleanArray::from(wanted.clone())).unwrap());
    }
    check_predicate(expr, &chunk, &wanted);
}

fn check_predicate(expr: &Expr, chunk: &Chunk, wanted: &[bool]) {
    let predicate = ExprPredicate::new(expr.clone()).unwrap();
    let columns = predicate.columns().iter().map(|&place| Arc::clone(&chunk.columns[place])).collect::<Vec<_>>();
    let tested = predicate.test(&columns, chunk.rows).unwrap();
    assert_eq!(tested.values().iter().collect::<Vec<_>>(), wanted);
    assert_eq!(tested.null_count(), 0);
    if let (Some(values), &[place]) = (predicate.values(), predicate.columns())
        && !random::types()[place].is_floating()
    {
        let [have, named] =
            [&chunk.columns[place], &values].map(|array| to_logical(array, &random::types()[place]).unwrap());
        let is_named = |row: usize| (0..named.len()).any(|at| *named.slice(at, 1) == *have.slice(row, 1));
        assert!((0..chunk.rows).all(|row| !wanted[row] || is_named(row)), "{expr} names {values:?}");
    }
    let ranges = predicate.columns().iter().map(|&place| range(&chunk.columns[place], &random::types()[place]));
    let mut ranges = ranges.collect::<Vec<_>>();
    for _ in 0..2 {
        match predicate.judge(&ranges) {
            Verdict::None => assert!(!wanted.contains(&true), "{expr}"),
            Verdict::All => assert!(!wanted.contains(&false), "{expr}"),
            Verdict::Some => {}
        }
        // Once more, with less known.
        ranges.iter_mut().for_each(|range| range.nulls = None);
        ranges.iter_mut().step_by(2).for_each(|range| range.max = None);
    }
}

/// The statistics of a column, those of texts cut to three bytes.
fn range(carried: &ArrayRef, logical: &DataType) -> ColumnRange {
    let array = to_logical(carried, logical).unwrap();
    let order = arrow::compute::sort(&array, None).unwrap();
    let valid = order.slice(order.null_count(), order.len() - order.null_count());
    let end = |row: usize, up: bool| {
        let end = valid.slice(row, 1);
        let Some(text) = end.as_string_view_opt() else { return to_carried(&end).unwrap() };
        let text = text.value(0);
        if !text.is_ascii() || text.len() <= 3 {
            return end;
        }
        let mut cut = text[..3].to_owned();
        if up {
            let last = cut.pop().map(|last| char::from(last as u8 + 1));
            cut.extend(last);
        }
        Arc::new(StringViewArray::from(vec![cut])) as ArrayRef
    };
    let (min, max) =
        if valid.is_empty() { (None, None) } else { (Some(end(0, false)), Some(end(valid.len() - 1, true))) };
    ColumnRange { min, max, nulls: Some(array.null_count()), rows: array.len() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]
    #[test]
    fn every_kind_agrees_with_the_reference(seed in any::<u64>()) {
        let random = &mut Random::new(seed);
        let calm = !random.one_in(3);
        let rows = random.pick(&ROWS);
        let logical = random::columns(rows, random, calm);
        let data_type = random.pick(&random::types());
        let depth = 1 + random.below(3);
        check(&random::expr(&data_type, depth, random), &logical, rows);
    }

    #[test]
    fn so_do_conditions_of_small_steps(seed in any::<u64>()) {
        let random = &mut Random::new(seed);
        let rows = random.pick(&ROWS);
        let logical = random::columns(rows, random, true);
        check(&random::expr(&DataType::Boolean, 2, random), &logical, rows);
    }

    #[test]
    fn so_do_chains_of_decimals(seed in any::<u64>()) {
        let random = &mut Random::new(seed);
        let calm = !random.one_in(3);
        let rows = random.pick(&ROWS);
        let logical = random::columns(rows, random, calm);
        check(&random::decimal(3, random), &logical, rows);
    }

    #[test]
    fn so_does_arithmetic_of_floats(seed in any::<u64>()) {
        let random = &mut Random::new(seed);
        let logical = random::columns(70, random, true);
        let side = |random: &mut Random| {
            let column = Expr::column(3, DataType::Float64);
            if random.one_in(2) { column } else { Expr::literal(random::value(&DataType::Float64, random, true)) }
        };
        let (left, right) = (side(random), side(random));
        use ArithmeticOp::{Add, Divide, Multiply, Remainder, Subtract};
        let op = random.pick(&[Add, Subtract, Multiply, Divide, Remainder]);
        let sum = arithmetic(op, left, right, DataType::Float64);
        let expected = reference::reference(&sum, &logical, 70).unwrap();
        let got = Evaluator::new(&sum).unwrap().evaluate(&random::chunk(&logical, 70, &[])).unwrap();
        let bits = |array: &ArrayRef| {
            let values = array.as_primitive::<arrow::datatypes::Float64Type>().iter();
            values.map(|value| value.map(|value| if value.is_nan() { 1 } else { value.to_bits() })).collect::<Vec<_>>()
        };
        prop_assert_eq!(bits(&got), bits(&expected));
    }

    #[test]
    fn patterns_match_as_a_naive_matcher_says(pattern in "[ab%_\\\\€]{0,7}", text in "[ab€_%]{0,9}") {
        let got = like::Pattern::new(&pattern, false).matches(text.as_bytes());
        let pattern = pattern.chars().collect::<Vec<_>>();
        let text = text.chars().collect::<Vec<_>>();
        prop_assert_eq!(got, naive_like(&pattern, &text));
    }
}

fn naive_like(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skipped| naive_like(rest, &text[skipped..])),
        ['_', rest @ ..] => !text.is_empty() && naive_like(rest, &text[1..]),
        ['\\', literal, rest @ ..] => text.first() == Some(literal) && naive_like(rest, &text[1..]),
        [literal, rest @ ..] => text.first() == Some(literal) && naive_like(rest, &text[1..]),
    }
}

fn decimals(digits: u8, scale: i8, values: Vec<Option<i128>>) -> ArrayRef {
    Arc::new(Decimal128Array::from(values).with_precision_and_scale(digits, scale).unwrap())
}

fn arithmetic(op: ArithmeticOp, left: Expr, right: Expr, data_type: DataType) -> Expr {
    Expr { kind: ExprKind::Arithmetic(op, Box::new(left), Box::new(right)), data_type }
}

/// The product of TPC-H's first query has 38 digits by its type, but 64 bits hold it.
#[test]
fn products_of_prices_stay_narrow() {
    let price = Expr::column(0, DataType::Decimal128(15, 2));
    let one = || Expr::literal(decimals(20, 0, vec![Some(1)]));
    let rate = |place| Expr::column(place, DataType::Decimal128(15, 2));
    let factor = |op, place| arithmetic(op, one(), rate(place), DataType::Decimal128(23, 2));
    let discounted =
        arithmetic(ArithmeticOp::Multiply, price, factor(ArithmeticOp::Subtract, 1), DataType::Decimal128(38, 4));
    let charge =
        arithmetic(ArithmeticOp::Multiply, discounted, factor(ArithmeticOp::Add, 2), DataType::Decimal128(38, 6));
    let columns: Vec<ArrayRef> = vec![
        decimals(15, 2, vec![Some(10_494_950), None, Some(90_091)]),
        decimals(15, 2, vec![Some(10), Some(4), Some(0)]),
        decimals(15, 2, vec![Some(8), Some(2), Some(0)]),
    ];
    let chunk = Chunk::new(columns.iter().map(|column| to_carried(column).unwrap()).collect(), 3);
    let got = Evaluator::new(&charge).unwrap().evaluate(&chunk).unwrap();
    let values = got.as_primitive::<Int64Type>();
    assert_eq!(values.iter().collect::<Vec<_>>(), [Some(10_494_950 * 90 * 108), None, Some(90_091 * 100 * 100)]);
    // With prices at the limit of their type, 128 bits are needed.
    let mut large = chunk.clone();
    large.columns[0] = Arc::new(Int64Array::from(vec![999_999_999_999_999; 3]));
    let got = Evaluator::new(&charge).unwrap().evaluate(&large).unwrap();
    assert_eq!(got.data_type(), &DataType::Decimal128(38, 6));
}

#[test]
fn overflow_behind_a_null_is_none() {
    let sum = arithmetic(
        ArithmeticOp::Add,
        Expr::column(0, DataType::Int64),
        Expr::literal(Arc::new(Int64Array::from(vec![1]))),
        DataType::Int64,
    );
    let values = Int64Array::new(vec![i64::MAX, 1].into(), Some(vec![false, true].into()));
    let chunk = Chunk::new(vec![Arc::new(values)], 2);
    let got = Evaluator::new(&sum).unwrap().evaluate(&chunk).unwrap();
    assert_eq!(got.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [None, Some(2)]);
    let chunk = Chunk::new(vec![Arc::new(Int64Array::from(vec![i64::MAX, 1]))], 2);
    let error = Evaluator::new(&sum).unwrap().evaluate(&chunk).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    assert_eq!(error.message(), "arithmetic overflow: 9223372036854775807 + 1 on Int64");
}

/// `b <> 0 and a / b > 1`, however many rows have no divisor.
#[test]
fn a_guarded_division_does_not_fail() {
    let (a, b) = (Expr::column(0, DataType::Int64), Expr::column(1, DataType::Int64));
    let literal = |value: i64| Expr::literal(Arc::new(Int64Array::from(vec![value])));
    let compare = |op, left, right| Expr::boolean(ExprKind::Compare(op, Box::new(left), Box::new(right)));
    let guard = compare(CompareOp::NotEqual, b.clone(), literal(0));
    let quotient = arithmetic(ArithmeticOp::Divide, a, b, DataType::Int64);
    let condition = compare(CompareOp::Greater, quotient.clone(), literal(1));
    let both = Expr::all(vec![guard.clone(), condition.clone()]).unwrap();
    let case = Expr {
        kind: ExprKind::Case { branches: vec![(guard.clone(), quotient)], otherwise: None },
        data_type: DataType::Int64,
    };
    let either = Expr::boolean(ExprKind::Or(vec![Expr::boolean(ExprKind::Not(Box::new(guard))), condition.clone()]));
    for every in [1, 2, 10] {
        let chunk = Chunk::new(
            vec![
                Arc::new((0..100).map(Some).collect::<Int64Array>()),
                Arc::new((0..100).map(|row| Some(i64::from(row % every == 0))).collect::<Int64Array>()),
            ],
            100,
        );
        let expected = (0..100).filter(|row| row % every == 0 && *row > 1).count();
        let selected = Filter::new(&both).unwrap().select(&chunk).unwrap().into_bits(100);
        assert_eq!(selected.count_set_bits(), expected);
        let values = Evaluator::new(&both).unwrap().evaluate(&chunk).unwrap();
        assert_eq!(values.as_boolean().true_count(), expected);
        let values = Evaluator::new(&case).unwrap().evaluate(&chunk).unwrap();
        assert_eq!(values.len() - values.null_count(), (0..100).filter(|row| row % every == 0).count());
        let values = Evaluator::new(&either).unwrap().evaluate(&chunk).unwrap();
        assert_eq!(values.as_boolean().true_count(), 100 - (0..100).filter(|r| r % every == 0 && *r <= 1).count());
        assert_eq!(Filter::new(&condition).unwrap().select(&chunk).is_err(), every > 1);
    }
}

/// A constant that fails does so only if a row reaches it.
#[test]
fn constants_fail_late() {
    let literal = |value: i64| Expr::literal(Arc::new(Int64Array::from(vec![value])));
    let wrong = arithmetic(ArithmeticOp::Divide, literal(1), literal(0), DataType::Int64);
    let right = arithmetic(ArithmeticOp::Add, literal(1), literal(2), DataType::Int64);
    assert!(Evaluator::new(&right).unwrap().is_constant());
    let evaluator = Evaluator::new(&wrong).unwrap();
    assert!(!evaluator.is_constant());
    assert_eq!(evaluator.evaluate(&Chunk::new(Vec::new(), 0)).unwrap().len(), 0);
    assert!(evaluator.evaluate(&Chunk::new(Vec::new(), 3)).is_err());
    assert_eq!(Evaluator::new(&right).unwrap().evaluate(&Chunk::new(Vec::new(), 3)).unwrap().len(), 3);
}

/// A plan that lies about a column is told so.
#[test]
fn a_column_of_another_form_is_an_error() {
    let sum = arithmetic(
        ArithmeticOp::Add,
        Expr::column(0, DataType::Int64),
        Expr::literal(Arc::new(Int64Array::from(vec![1]))),
        DataType::Int64,
    );
    let evaluator = Evaluator::new(&sum).unwrap();
    let chunk = Chunk::new(vec![Arc::new(Int32Array::from(vec![1]))], 1);
    assert_eq!(evaluator.evaluate(&chunk).unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(evaluator.evaluate(&Chunk::new(Vec::new(), 1)).unwrap_err().kind(), ErrorKind::Internal);
}

/// A dictionary's value that no row has must not fail for the rows.
#[test]
fn values_without_rows_do_not_fail() {
    let cast = Expr {
        kind: ExprKind::Cast { value: Box::new(Expr::column(0, DataType::Utf8View)), or_null: false },
        data_type: DataType::Int32,
    };
    let values = Arc::new(StringViewArray::from(vec!["7", "not a number", "12"]));
    let dictionary = |keys: Vec<Option<u32>>| -> ArrayRef {
        Arc::new(arrow::array::DictionaryArray::new(keys.into(), Arc::clone(&values) as ArrayRef))
    };
    let evaluator = Evaluator::new(&cast).unwrap();
    let chunk = Chunk::new(vec![dictionary(vec![Some(0), None, Some(2), Some(0)])], 4);
    for _ in 0..2 {
        let got = evaluator.evaluate(&chunk).unwrap();
        assert_eq!(
            got.as_primitive::<arrow::datatypes::Int32Type>().iter().collect::<Vec<_>>(),
            [Some(7), None, Some(12), Some(7)]
        );
    }
    assert!(evaluator.evaluate(&Chunk::new(vec![dictionary(vec![Some(1)])], 1)).is_err());
}

#[derive(Debug)]
struct Twice;

impl BatchFunction for Twice {
    fn describe(&self, arguments: &[String]) -> String {
        format!("twice({})", arguments.join(", "))
    }

    fn evaluate(&self, arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        match arguments {
            [] => Ok(Arc::new(Int64Array::from(vec![42]))),
            [argument] => {
                assert_eq!(argument.len(), rows);
                Ok(Arc::new(argument.as_primitive::<Int64Type>().unary::<_, Int64Type>(|value| 2 * value)))
            }
            _ => Err(Error::user("too many")),
        }
    }
}

#[test]
fn calls_get_logical_columns() {
    let call = |arguments| Expr { kind: ExprKind::Call(Arc::new(Twice), arguments), data_type: DataType::Int64 };
    let chunk = Chunk::new(vec![Arc::new(Int64Array::from(vec![Some(1), None]))], 2);
    let got = Evaluator::new(&call(vec![Expr::column(0, DataType::Int64)])).unwrap().evaluate(&chunk).unwrap();
    assert_eq!(got.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(2), None]);
    let known = Evaluator::new(&call(vec![])).unwrap();
    assert!(known.is_constant());
    assert_eq!(known.evaluate(&chunk).unwrap().as_primitive::<Int64Type>().values(), &[42, 42]);
}

#[test]
fn statistics_prune_what_queries_ask_for() {
    let date = Expr::column(3, DataType::Date32);
    let literal = |day: i32| Expr::literal(Arc::new(Date32Array::from(vec![day])));
    let compare = |op, left, right| Expr::boolean(ExprKind::Compare(op, Box::new(left), Box::new(right)));
    let between = Expr::all(vec![
        compare(CompareOp::GreaterOrEqual, date.clone(), literal(100)),
        compare(CompareOp::Less, date, literal(200)),
    ]);
    let predicate = ExprPredicate::new(between.unwrap()).unwrap();
    assert_eq!(predicate.columns(), [3]);
    let judge = |low: i32, high: i32, nulls: Option<usize>| {
        let end = |day: i32| Some(Arc::new(Date32Array::from(vec![day])) as ArrayRef);
        predicate.judge(&[ColumnRange { min: end(low), max: end(high), nulls, rows: 10 }])
    };
    assert_eq!(judge(0, 99, Some(0)), Verdict::None);
    assert_eq!(judge(200, 300, None), Verdict::None);
    assert_eq!(judge(100, 199, Some(0)), Verdict::All);
    assert_eq!(judge(100, 199, None), Verdict::Some);
    assert_eq!(judge(50, 150, Some(0)), Verdict::Some);
    assert_eq!(judge(100, 199, Some(10)), Verdict::None);

    let text = Expr::column(0, DataType::Utf8View);
    let like = |pattern: &str| {
        let kind = ExprKind::Like {
            value: Box::new(text.clone()),
            pattern: pattern.into(),
            negated: false,
            ignore_case: false,
        };
        ExprPredicate::new(Expr::boolean(kind)).unwrap()
    };
    let texts = |low: &str, high: &str| {
        let end = |text: &str| Some(Arc::new(StringViewArray::from(vec![text])) as ArrayRef);
        [ColumnRange { min: end(low), max: end(high), nulls: Some(0), rows: 10 }]
    };
    assert_eq!(like("PROMO%").judge(&texts("ECONOMY", "MEDIUM")), Verdict::None);
    assert_eq!(like("PROMO%").judge(&texts("PROMO A", "PROMO Z")), Verdict::All);
    assert_eq!(like("PROMO%STEEL").judge(&texts("PROMO A", "PROMO Z")), Verdict::Some);
    assert_eq!(like("PROMO%").judge(&texts("SMALL", "STANDARD")), Verdict::None);
    let list = Arc::new(Int32Array::from(vec![5, 50]));
    let value = Box::new(Expr::column(0, DataType::Int32));
    let within = ExprPredicate::new(Expr::boolean(ExprKind::In { value, list, negated: false })).unwrap();
    let numbers = |low: i32, high: i32| {
        let end = |number: i32| Some(Arc::new(Int32Array::from(vec![number])) as ArrayRef);
        [ColumnRange { min: end(low), max: end(high), nulls: Some(0), rows: 10 }]
    };
    assert_eq!(within.judge(&numbers(6, 49)), Verdict::None);
    assert_eq!(within.judge(&numbers(5, 5)), Verdict::All);
    assert_eq!(within.judge(&numbers(0, 9)), Verdict::Some);
}
