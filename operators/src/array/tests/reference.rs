//! What a loop means, one element after the other; and the order of folds, written down once more.

use super::super::ops::{Binary, Compare, Unary};
use super::super::program::{Draw, Instr, Loop};
use super::super::{Fold, math, philox};
use super::*;

/// An input, by its strides.
#[derive(Clone, Debug)]
pub struct Input {
    pub dtype: DType,
    pub data: Vec<Scalar>,
    pub steps: Vec<isize>,
    pub offset: isize,
}

/// Stored and folded values of a whole loop.
pub fn run(looped: &Loop, inputs: &[Input], numbers: &[Scalar]) -> (Vec<Vec<Scalar>>, Vec<Vec<Scalar>>) {
    let types = looped.types();
    let elements = looped.shape.iter().product::<usize>();
    let mut values = Vec::with_capacity(elements);
    for element in 0..elements {
        values.push(of_element(looped, &types, inputs, numbers, element));
    }
    let column = |value: usize| values.iter().map(|row| row[value]).collect::<Vec<_>>();
    let stores = looped.stores.iter().map(|&value| column(value)).collect();
    let folds = looped.reductions.iter();
    let folds = folds.map(|one| folded(one.fold, types[one.value], &column(one.value), &looped.shape, looped.folded));
    (stores, folds.collect())
}

fn of_element(looped: &Loop, types: &[DType], inputs: &[Input], numbers: &[Scalar], element: usize) -> Vec<Scalar> {
    let mut index = vec![0; looped.shape.len()];
    let mut rest = element;
    for (index, extent) in index.iter_mut().zip(&looped.shape).rev() {
        (*index, rest) = (rest % extent, rest / extent);
    }
    let mut values: Vec<Scalar> = Vec::with_capacity(types.len());
    for (value, instruction) in looped.instructions.iter().enumerate() {
        values.push(match *instruction {
            Instr::Load(input, _) => {
                let input = &inputs[input];
                let steps = index.iter().zip(&input.steps).map(|(&index, step)| index as isize * step);
                input.data[(input.offset + steps.sum::<isize>()) as usize]
            }
            Instr::Number(number, dtype) => numbers[number].cast(dtype),
            Instr::Index(axis) => Scalar::I64(index[axis] as i64),
            Instr::Random(draw, dtype, [seed, stream]) => {
                random(draw, dtype, [seed, stream].map(|at| numbers[at].cast(DType::I64).bits()), element as u64)
            }
            Instr::Unary(op, a) => unary(op, values[a]),
            Instr::Binary(op, a, b) => binary(op, values[a], values[b]),
            Instr::Compare(op, a, b) => compare(op, values[a], values[b]),
            Instr::Select(mask, a, b) => {
                if values[mask] == Scalar::Bool(true) {
                    values[a]
                } else {
                    values[b]
                }
            }
            Instr::Cast(dtype, a) => values[a].cast(dtype),
        });
        assert_eq!(values[value].dtype(), types[value], "{instruction:?}");
    }
    values
}

fn random(draw: Draw, dtype: DType, [seed, stream]: [u64; 2], element: u64) -> Scalar {
    let integer = |low, high| {
        let mut out = [0];
        philox::fill_integers_i64(seed, stream, element, low, high, &mut out);
        out[0]
    };
    let (mut wide, mut narrow) = ([0.0], [0.0]);
    match (dtype, draw) {
        (DType::F64, Draw::Normal) => philox::fill_normal_f64(seed, stream, element, &mut wide),
        (DType::F64, _) => philox::fill_uniform_f64(seed, stream, element, &mut wide),
        (DType::F32, Draw::Normal) => philox::fill_normal_f32(seed, stream, element, &mut narrow),
        (DType::F32, _) => philox::fill_uniform_f32(seed, stream, element, &mut narrow),
        (DType::I64, Draw::Integers(low, high)) => return Scalar::I64(integer(low, high)),
        (DType::I32, Draw::Integers(low, high)) => return Scalar::I32(integer(low, high) as i32),
        _ => return Scalar::I64(integer(0, 2)).cast(dtype),
    }
    if dtype == DType::F64 { Scalar::F64(wide[0]) } else { Scalar::F32(narrow[0]) }
}

pub fn unary(op: Unary, a: Scalar) -> Scalar {
    match (op, a) {
        (Unary::IsNan, _) => Scalar::Bool(a != a),
        (Unary::IsInfinite, _) => Scalar::Bool(
            a.cast(DType::F64) == Scalar::F64(f64::INFINITY) || a.cast(DType::F64) == Scalar::F64(-f64::INFINITY),
        ),
        (Unary::IsFinite, _) => Scalar::Bool(matches!(a.cast(DType::F64), Scalar::F64(a) if a.is_finite())),
        (Unary::Not, Scalar::Bool(a)) => Scalar::Bool(!a),
        (Unary::Not, Scalar::I32(a)) => Scalar::I32(!a),
        (Unary::Not, Scalar::I64(a)) => Scalar::I64(!a),
        (_, Scalar::I32(a)) => Scalar::I32(integer_unary(op, i64::from(a)) as i32),
        (_, Scalar::I64(a)) => Scalar::I64(integer_unary(op, a)),
        (_, Scalar::F64(a)) => Scalar::F64(match op {
            Unary::Negative => -a,
            Unary::Absolute => a.abs(),
            Unary::Sign => {
                if a == 0.0 {
                    0.0
                } else if a.is_nan() {
                    a
                } else {
                    a.signum()
                }
            }
            Unary::Sqrt => a.sqrt(),
            Unary::Exp => math::exp_f64(a),
            Unary::Ln => math::ln_f64(a),
            Unary::Sin => math::sin_f64(a),
            Unary::Tanh => math::tanh_f64(a),
            Unary::Cbrt => a.cbrt(),
            Unary::Floor => a.floor(),
            Unary::Ceil => a.ceil(),
            Unary::Trunc => a.trunc(),
            Unary::Rint => a.round_ties_even(),
            _ => panic!("{op:?}"),
        }),
        (_, Scalar::F32(a)) => Scalar::F32(match op {
            Unary::Negative => -a,
            Unary::Absolute => a.abs(),
            Unary::Sign => {
                if a == 0.0 {
                    0.0
                } else if a.is_nan() {
                    a
                } else {
                    a.signum()
                }
            }
            Unary::Sqrt => a.sqrt(),
            Unary::Exp => math::exp_f32(a),
            Unary::Ln => math::ln_f32(a),
            Unary::Sin => math::sin_f32(a),
            Unary::Tanh => math::tanh_f32(a),
            Unary::Cbrt => a.cbrt(),
            Unary::Floor => a.floor(),
            Unary::Ceil => a.ceil(),
            Unary::Trunc => a.trunc(),
            Unary::Rint => a.round_ties_even(),
            _ => panic!("{op:?}"),
        }),
        (_, Scalar::Bool(_)) => a,
    }
}

fn integer_unary(op: Unary, a: i64) -> i64 {
    match op {
        Unary::Negative => a.wrapping_neg(),
        Unary::Absolute => {
            if a < 0 {
                a.wrapping_neg()
            } else {
                a
            }
        }
        Unary::Sign => (a > 0) as i64 - (a < 0) as i64,
        Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Rint => a,
        _ => panic!("{op:?}"),
    }
}

pub fn binary(op: Binary, a: Scalar, b: Scalar) -> Scalar {
    match (a, b) {
        (Scalar::Bool(a), Scalar::Bool(b)) => Scalar::Bool(match op {
            Binary::Add | Binary::Or | Binary::Maximum => a || b,
            Binary::Multiply | Binary::And | Binary::Minimum => a && b,
            Binary::Xor => a != b,
            _ => panic!("{op:?}"),
        }),
        // In 128 bits nothing wraps; what is left at the end are the low bits.
        (Scalar::I32(a), Scalar::I32(b)) => Scalar::I32(integer_binary(op, a.into(), b.into(), 32) as i32),
        (Scalar::I64(a), Scalar::I64(b)) => Scalar::I64(integer_binary(op, a.into(), b.into(), 64) as i64),
        (Scalar::F32(a), Scalar::F32(b)) => Scalar::F32(match op {
            Binary::Power => a.powf(b),
            Binary::Atan2 => a.atan2(b),
            Binary::Hypot => a.hypot(b),
            // Of an exactly rounded operation on `f64` the nearest `f32` is the one on `f32`: 53 > 2 · 24 + 1.
            _ => float_binary(op, a.into(), b.into()) as f32,
        }),
        (Scalar::F64(a), Scalar::F64(b)) => Scalar::F64(float_binary(op, a, b)),
        _ => panic!("{op:?} of {a:?} and {b:?}"),
    }
}

fn integer_binary(op: Binary, a: i128, b: i128, bits: u32) -> i128 {
    match op {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::FloorDivide | Binary::Divide => {
            if b == 0 {
                0
            } else {
                a.div_euclid(b) - i128::from(b < 0 && a.rem_euclid(b) != 0)
            }
        }
        Binary::Remainder => {
            if b == 0 {
                0
            } else {
                a - b * integer_binary(Binary::FloorDivide, a, b, bits)
            }
        }
        Binary::Power if b < 0 => match a {
            1 => 1,
            -1 => {
                if b % 2 == 0 {
                    1
                } else {
                    -1
                }
            }
            _ => 0,
        },
        Binary::Power => {
            let (mut power, mut square, mut rest) = (1_i128, a, b);
            let low = |value: i128| if bits == 32 { i128::from(value as i32) } else { i128::from(value as i64) };
            while rest > 0 {
                if rest % 2 == 1 {
                    power = low(power * square);
                }
                (square, rest) = (low(square * square), rest / 2);
            }
            power
        }
        Binary::Minimum => a.min(b),
        Binary::Maximum => a.max(b),
        Binary::And => a & b,
        Binary::Or => a | b,
        Binary::Xor => a ^ b,
        Binary::Atan2 | Binary::Hypot => panic!("{op:?}"),
    }
}

fn float_binary(op: Binary, a: f64, b: f64) -> f64 {
    match op {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        // As NumPy's npy_divmod.
        Binary::FloorDivide => {
            let rest = a % b;
            let quotient = (a - rest) / b;
            match () {
                () if b == 0.0 => a / b,
                () if quotient.is_nan() => quotient,
                () => {
                    let quotient = if rest != 0.0 && rest.is_sign_negative() != b.is_sign_negative() {
                        quotient - 1.0
                    } else {
                        quotient
                    };
                    if quotient == 0.0 { 0.0_f64.copysign(a / b) } else { quotient.round() }
                }
            }
        }
        Binary::Remainder => match a % b {
            0.0 => 0.0_f64.copysign(b),
            rest if rest.is_nan() => rest,
            rest if rest.is_sign_negative() == b.is_sign_negative() => rest,
            rest => rest + b,
        },
        Binary::Power => a.powf(b),
        Binary::Minimum if a.is_nan() || b.is_nan() => f64::NAN,
        Binary::Maximum if a.is_nan() || b.is_nan() => f64::NAN,
        // Of 0 and -0 the second.
        Binary::Minimum => {
            if a < b {
                a
            } else {
                b
            }
        }
        Binary::Maximum => {
            if a > b {
                a
            } else {
                b
            }
        }
        Binary::Atan2 => a.atan2(b),
        Binary::Hypot => a.hypot(b),
        Binary::And | Binary::Or | Binary::Xor => panic!("{op:?}"),
    }
}

pub fn compare(op: Compare, a: Scalar, b: Scalar) -> Scalar {
    let order = match (a, b) {
        (Scalar::Bool(a), Scalar::Bool(b)) => a.partial_cmp(&b),
        (Scalar::I32(a), Scalar::I32(b)) => a.partial_cmp(&b),
        (Scalar::I64(a), Scalar::I64(b)) => a.partial_cmp(&b),
        (Scalar::F32(a), Scalar::F32(b)) => a.partial_cmp(&b),
        (Scalar::F64(a), Scalar::F64(b)) => a.partial_cmp(&b),
        _ => panic!("{op:?} of {a:?} and {b:?}"),
    };
    Scalar::Bool(match op {
        Compare::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
        Compare::NotEqual => order.is_none_or(std::cmp::Ordering::is_ne),
        Compare::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Compare::LessEqual => order.is_some_and(std::cmp::Ordering::is_le),
        Compare::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
        Compare::GreaterEqual => order.is_some_and(std::cmp::Ordering::is_ge),
    })
}

/// What is folded: with places a pair of the element and where it is.
type Node = (Scalar, i64);

/// A fold of the axes from..to of an array, in the order that is promised.
pub fn folded(fold: Fold, dtype: DType, values: &[Scalar], shape: &[usize], (from, to): (usize, usize)) -> Vec<Scalar> {
    let extent = |axes: &[usize]| axes.iter().product::<usize>();
    let (before, count, behind) = (extent(&shape[..from]), extent(&shape[from..to]), extent(&shape[to..]));
    let rows = if from < to { shape[from] } else { 1 };
    let mut out = Vec::new();
    for outer in 0..before {
        for column in 0..behind {
            let of = |index: usize| (values[(outer * count + index) * behind + column], index as i64);
            let nodes = leaves(rows, count / rows.max(1), behind).into_iter().map(|leaf| {
                let nodes = leaf.map(of).collect::<Vec<_>>();
                if behind == 1 { run_of(fold, &nodes) } else { in_turn(fold, &nodes) }
            });
            let nodes = nodes.flatten().collect::<Vec<_>>();
            let nothing = Scalar::I32(i32::from(fold == Fold::Product)).cast(dtype);
            let (value, place) = tree(fold, &nodes).unwrap_or((nothing, 0));
            out.push(if fold.is_place() { Scalar::I64(place) } else { value });
        }
    }
    out
}

/// Rows are put together until they are 4,096 elements, but for those of 2,048 or more; these are cut into pieces of so many.
fn leaves(rows: usize, width: usize, behind: usize) -> Vec<std::ops::Range<usize>> {
    let mut leaves = Vec::new();
    let all = width * behind;
    if all < 2048 {
        let each = (4096 / all.max(1)) * width;
        let mut start = 0;
        while start < rows * width {
            leaves.push(start..(rows * width).min(start + each));
            start += each;
        }
        return leaves;
    }
    let piece = (4096 / behind).max(16);
    for row in 0..rows {
        let mut start = 0;
        while start < width {
            leaves.push(row * width + start..row * width + width.min(start + piece));
            start += piece;
        }
    }
    leaves
}

fn run_of(fold: Fold, nodes: &[Node]) -> Option<Node> {
    let strips = nodes.chunks(256).filter_map(|strip| {
        if strip.len() < 16 {
            return in_turn(fold, strip);
        }
        let lane =
            |lane: usize| in_turn(fold, &strip.iter().copied().skip(lane).step_by(16).collect::<Vec<_>>()).unwrap();
        let mut lanes = (0..16).map(lane).collect::<Vec<_>>();
        while lanes.len() > 1 {
            let half = lanes.len() / 2;
            lanes = (0..half).map(|at| join(fold, lanes[at], lanes[at + half])).collect();
        }
        Some(lanes[0])
    });
    in_turn(fold, &strips.collect::<Vec<_>>())
}

fn in_turn(fold: Fold, nodes: &[Node]) -> Option<Node> {
    nodes.iter().copied().reduce(|left, right| join(fold, left, right))
}

/// The largest whole tree first, then what is left of it likewise.
fn tree(fold: Fold, nodes: &[Node]) -> Option<Node> {
    fn whole(fold: Fold, nodes: &[Node]) -> Node {
        match nodes {
            [one] => *one,
            _ => join(fold, whole(fold, &nodes[..nodes.len() / 2]), whole(fold, &nodes[nodes.len() / 2..])),
        }
    }
    if nodes.is_empty() {
        return None;
    }
    let (left, right) = nodes.split_at(1 << nodes.len().ilog2());
    let left = whole(fold, left);
    Some(tree(fold, right).map_or(left, |right| join(fold, left, right)))
}

fn join(fold: Fold, left: Node, right: Node) -> Node {
    let op = match fold {
        Fold::Sum => Binary::Add,
        Fold::Product => Binary::Multiply,
        Fold::Minimum => Binary::Minimum,
        Fold::Maximum => Binary::Maximum,
        Fold::ArgMinimum | Fold::ArgMaximum => {
            // Whatever the order, the first of the best ones.
            let op = if fold == Fold::ArgMinimum { Compare::Less } else { Compare::Greater };
            let is_nan = |node: Node| node.0 != node.0;
            let (first, second) = if left.1 < right.1 { (left, right) } else { (right, left) };
            let better = !is_nan(first) && (is_nan(second) || compare(op, second.0, first.0) == Scalar::Bool(true));
            return if better { second } else { first };
        }
    };
    (binary(op, left.0, right.0), left.1)
}
