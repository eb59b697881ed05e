//! Functions of single elements, on special values.

use super::super::operand::Operand;
use super::super::program::{Instr, Loop};
use super::super::{Binary, Compare, Unary, run};
use super::random::{COMPARISONS, TYPES, binaries, unaries};
use super::reference;
use super::*;

fn special(dtype: DType) -> Vec<Scalar> {
    let floats = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        2.0,
        -3.0,
        7.0,
        1e-310,
        -1e-42,
        1e30,
        1e300,
        4_503_599_627_370_497.5,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        f64::MAX,
        f64::MIN_POSITIVE,
    ];
    match dtype {
        DType::Bool => vec![Scalar::Bool(false), Scalar::Bool(true)],
        DType::I32 => {
            [0, 1, -1, 2, -2, 3, -3, 7, 31, 32, 33, 100, i32::MAX, i32::MIN, i32::MIN + 1].map(Scalar::I32).to_vec()
        }
        DType::I64 => {
            let wide =
                [0, 1, -1, 2, -2, 3, -3, 7, 63, 64, 65, 1 << 32, (1 << 33) + 1, i64::MAX, i64::MIN, i64::MIN + 1];
            wide.map(Scalar::I64).to_vec()
        }
        DType::F32 | DType::F64 => floats.map(|value| Scalar::F64(value).cast(dtype)).to_vec(),
    }
}

/// A loop with one instruction more, of two inputs, which lie in memory or are one number.
fn made(dtype: DType, a: &[Scalar], b: &[Scalar], last: Instr) -> Vec<Scalar> {
    let looped = Loop {
        shape: vec![a.len().max(b.len())],
        instructions: vec![Instr::Load(0, dtype), Instr::Load(1, dtype), last],
        stores: vec![2],
        reductions: Vec::new(),
        folded: (0, 0),
    };
    let rows = 0..looped.shape[0];
    let operand = |values: &[Scalar]| {
        let step = if values.len() == 1 { 0 } else { 1 };
        Operand::new(dtype, buffer(dtype, values), &looped.shape, &rows, &[step], 0).unwrap()
    };
    let ran = run(&looped, &rows, &[operand(a), operand(b)], &[]).unwrap();
    scalars(looped.types()[2], &ran.stores[0])
}

/// All pairs, each operand once as a number for all.
fn check_pairs(dtype: DType, instruction: Instr, wanted: impl Fn(Scalar, Scalar) -> Scalar) {
    let values = special(dtype);
    for &one in &values {
        let ones = vec![one; values.len()];
        let pairs = values.iter().map(|&value| wanted(one, value)).collect::<Vec<_>>();
        let turned = values.iter().map(|&value| wanted(value, one)).collect::<Vec<_>>();
        let what = format!("{instruction:?} of {one:?} and {values:?}");
        assert_same(&what, &made(dtype, &ones, &values, instruction), &pairs);
        assert_same(&what, &made(dtype, &[one], &values, instruction), &pairs);
        assert_same(&what, &made(dtype, &values, &ones, instruction), &turned);
        assert_same(&what, &made(dtype, &values, &[one], instruction), &turned);
    }
}

#[test]
fn functions_of_special_values() {
    for dtype in TYPES {
        for &op in unaries(dtype) {
            let values = special(dtype);
            let wanted = values.iter().map(|&value| reference::unary(op, value)).collect::<Vec<_>>();
            assert_same(&format!("{op:?} of {values:?}"), &made(dtype, &values, &values, Instr::Unary(op, 0)), &wanted);
        }
        for &op in binaries(dtype) {
            check_pairs(dtype, Instr::Binary(op, 0, 1), |a, b| reference::binary(op, a, b));
        }
        for op in COMPARISONS {
            check_pairs(dtype, Instr::Compare(op, 0, 1), |a, b| reference::compare(op, a, b));
        }
        for to in TYPES {
            let values = special(dtype);
            let wanted = values.iter().map(|value| value.cast(to)).collect::<Vec<_>>();
            assert_same(&format!("{values:?} as {to}"), &made(dtype, &values, &values, Instr::Cast(to, 0)), &wanted);
        }
    }
}

#[track_caller]
fn check_f64(op: Binary, rows: &[(f64, f64, f64)]) {
    for &(a, b, wanted) in rows {
        let (wide_a, wide_b) = (Scalar::F64(a), Scalar::F64(b));
        assert_same(
            &format!("{a} {op} {b}"),
            &made(DType::F64, &[wide_a], &[wide_b], Instr::Binary(op, 0, 1)),
            &[Scalar::F64(wanted)],
        );
        let (a, b) = (Scalar::F32(a as f32), Scalar::F32(b as f32));
        assert_same(
            &format!("{a} {op} {b}"),
            &made(DType::F32, &[a], &[b], Instr::Binary(op, 0, 1)),
            &[Scalar::F32(wanted as f32)],
        );
    }
}

#[track_caller]
fn check_i64(op: Binary, rows: &[(i64, i64, i64)]) {
    for &(a, b, wanted) in rows {
        let made = made(DType::I64, &[Scalar::I64(a)], &[Scalar::I64(b)], Instr::Binary(op, 0, 1));
        assert_same(&format!("{a} {op} {b}"), &made, &[Scalar::I64(wanted)]);
    }
}

/// What NumPy says of the same.
#[test]
fn quotients_and_remainders_are_numpys() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    check_f64(
        Binary::FloorDivide,
        &[
            (7.0, 2.0, 3.0),
            (-7.0, 2.0, -4.0),
            (7.0, -2.0, -4.0),
            (-7.0, -2.0, 3.0),
            (0.0, -2.0, -0.0),
            (-0.0, 2.0, -0.0),
            (1.0, 0.0, inf),
            (-1.0, 0.0, -inf),
            (1.0, -0.0, -inf),
            (0.0, 0.0, nan),
            (inf, 2.0, nan),
            (1.0, inf, 0.0),
            (-1.0, inf, -1.0),
            (nan, 1.0, nan),
            (1.0, nan, nan),
            (6.0, 3.0, 2.0),
            (-6.0, 3.0, -2.0),
            (0.5, 1.0, 0.0),
        ],
    );
    check_f64(
        Binary::Remainder,
        &[
            (7.0, 2.0, 1.0),
            (-7.0, 2.0, 1.0),
            (7.0, -2.0, -1.0),
            (-7.0, -2.0, -1.0),
            (6.0, -2.0, -0.0),
            (-6.0, 2.0, 0.0),
            (1.0, 0.0, nan),
            (inf, 2.0, nan),
            (1.0, inf, 1.0),
            (-1.0, inf, inf),
            (1.0, -inf, -inf),
            (nan, 1.0, nan),
            (-0.0, 2.0, 0.0),
        ],
    );
    check_i64(
        Binary::FloorDivide,
        &[
            (7, 2, 3),
            (-7, 2, -4),
            (7, -2, -4),
            (-7, -2, 3),
            (6, -2, -3),
            (1, 0, 0),
            (i64::MIN, -1, i64::MIN),
            (i64::MIN, 1, i64::MIN),
            (-1, i64::MAX, -1),
        ],
    );
    check_i64(
        Binary::Remainder,
        &[
            (7, 2, 1),
            (-7, 2, 1),
            (7, -2, -1),
            (-7, -2, -1),
            (6, -2, 0),
            (1, 0, 0),
            (i64::MIN, -1, 0),
            (-1, i64::MAX, i64::MAX - 1),
        ],
    );
}

#[test]
fn powers_of_integers() {
    check_i64(
        Binary::Power,
        &[
            (2, 10, 1024),
            (2, 63, i64::MIN),
            (2, 64, 0),
            (0, 0, 1),
            (5, 0, 1),
            (-2, 3, -8),
            (2, -1, 0),
            (0, -1, 0),
            (1, -5, 1),
            (-1, -5, -1),
            (-1, -4, 1),
            (-1, i64::MIN, 1),
            (-1, i64::MAX, -1),
            (1, i64::MAX, 1),
            (2, 1 << 33, 0),
            // 3 to a power of 2 that is no `u32`: odd, so never 0.
            (3, 1 << 33, 3_i64.wrapping_pow(1 << 31).wrapping_pow(4)),
            (3, (1 << 33) + 1, 3_i64.wrapping_pow(1 << 31).wrapping_pow(4).wrapping_mul(3)),
        ],
    );
}

#[test]
fn nan_spreads_through_extremes() {
    let nan = f64::NAN;
    check_f64(Binary::Minimum, &[(nan, 1.0, nan), (1.0, nan, nan), (nan, nan, nan), (1.0, 2.0, 1.0), (2.0, 1.0, 1.0)]);
    check_f64(Binary::Maximum, &[(nan, 1.0, nan), (1.0, nan, nan), (nan, nan, nan), (1.0, 2.0, 2.0), (2.0, 1.0, 2.0)]);
}

/// Functions that the library has no other form of: near the standard library's, and the same wherever an element stands.
#[test]
fn other_functions_are_near_the_standard_librarys() {
    type Function = fn(f64) -> f64;
    let functions: [(Unary, Function); 19] = [
        (Unary::Exp, f64::exp),
        (Unary::Exp2, f64::exp2),
        (Unary::Expm1, f64::exp_m1),
        (Unary::Ln, f64::ln),
        (Unary::Log2, f64::log2),
        (Unary::Log10, f64::log10),
        (Unary::Log1p, f64::ln_1p),
        (Unary::Sin, f64::sin),
        (Unary::Cos, f64::cos),
        (Unary::Tan, f64::tan),
        (Unary::Asin, f64::asin),
        (Unary::Acos, f64::acos),
        (Unary::Atan, f64::atan),
        (Unary::Sinh, f64::sinh),
        (Unary::Cosh, f64::cosh),
        (Unary::Tanh, f64::tanh),
        (Unary::Asinh, f64::asinh),
        (Unary::Acosh, f64::acosh),
        (Unary::Atanh, f64::atanh),
    ];
    let values = (-40..40).map(|at| at as f64 / 8.0).chain([f64::NAN, f64::INFINITY]).collect::<Vec<_>>();
    let wide = values.iter().map(|&value| Scalar::F64(value)).collect::<Vec<_>>();
    let narrow = values.iter().map(|&value| Scalar::F32(value as f32)).collect::<Vec<_>>();
    for (op, function) in functions {
        let near = |got: f64, wanted: f64, within: f64| {
            assert!(
                got == wanted
                    || got.is_nan() && wanted.is_nan()
                    || ((got - wanted) / wanted.abs().max(1e-3)).abs() < within,
                "{op:?}: {got}, not {wanted}"
            );
        };
        for (got, &value) in made(DType::F64, &wide, &wide, Instr::Unary(op, 0)).iter().zip(&values) {
            let Scalar::F64(got) = *got else { panic!("{got:?}") };
            near(got, function(value), 1e-14);
        }
        for (got, &value) in made(DType::F32, &narrow, &narrow, Instr::Unary(op, 0)).iter().zip(&values) {
            let Scalar::F32(got) = *got else { panic!("{got:?}") };
            near(got.into(), function(value), 2e-6);
        }
    }
}

#[test]
fn selections_of_arrays_and_numbers() {
    let (shape, rows) = (vec![1000], 0..1000);
    let mask = (0..1000).map(|at| Scalar::Bool(at % 3 == 0)).collect::<Vec<_>>();
    let many = (0..1000).map(|at| Scalar::F32(at as f32)).collect::<Vec<_>>();
    let one = |value: Scalar| vec![value; 1];
    for mask in [mask, one(Scalar::Bool(true)), one(Scalar::Bool(false))] {
        for a in [many.clone(), one(Scalar::F32(-1.0))] {
            for b in [many.clone(), one(Scalar::F32(-2.0))] {
                let looped = Loop {
                    shape: shape.clone(),
                    instructions: vec![
                        Instr::Load(0, DType::Bool),
                        Instr::Load(1, DType::F32),
                        Instr::Load(2, DType::F32),
                        Instr::Select(0, 1, 2),
                    ],
                    stores: vec![3],
                    reductions: Vec::new(),
                    folded: (0, 0),
                };
                let operand = |dtype, values: &[Scalar]| {
                    let step = if values.len() == 1 { 0 } else { 1 };
                    Operand::new(dtype, buffer(dtype, values), &shape, &rows, &[step], 0).unwrap()
                };
                let operands = [operand(DType::Bool, &mask), operand(DType::F32, &a), operand(DType::F32, &b)];
                let ran = run(&looped, &rows, &operands, &[]).unwrap();
                let at = |values: &[Scalar], at: usize| values[at % values.len()];
                let wanted =
                    (0..1000).map(|row| if at(&mask, row) == Scalar::Bool(true) { at(&a, row) } else { at(&b, row) });
                assert_same("select", &scalars(DType::F32, &ran.stores[0]), &wanted.collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn comparisons_of_nan() {
    for op in COMPARISONS {
        let truth = Scalar::Bool(op == Compare::NotEqual);
        for (a, b) in [(f64::NAN, 1.0), (1.0, f64::NAN), (f64::NAN, f64::NAN)] {
            assert_eq!(made(DType::F64, &[Scalar::F64(a)], &[Scalar::F64(b)], Instr::Compare(op, 0, 1)), [truth]);
        }
    }
}
