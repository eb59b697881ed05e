//! Random loops.

use super::super::program::{Draw, Instr, Loop, Reduction};
use super::super::{Binary, Compare, Fold, Unary};
use super::reference::Input;
use super::*;

/// SplitMix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A number, special ones among them.
    pub fn scalar(&mut self, dtype: DType) -> Scalar {
        let small = self.below(11) as i64 - 5;
        match dtype {
            DType::Bool => Scalar::Bool(self.one_in(2)),
            DType::I32 if self.one_in(6) => Scalar::I32(self.pick(&[i32::MIN, i32::MAX, -1, 0, 1, 0x1234_5678])),
            DType::I64 if self.one_in(6) => Scalar::I64(self.pick(&[i64::MIN, i64::MAX, -1, 0, 1, 1 << 40])),
            DType::F32 if self.one_in(40) => {
                Scalar::F32(self.pick(&[f32::NAN, f32::INFINITY, -f32::INFINITY, -0.0, f32::MAX, 1e-42]))
            }
            DType::F64 if self.one_in(40) => {
                Scalar::F64(self.pick(&[f64::NAN, f64::INFINITY, -f64::INFINITY, -0.0, f64::MAX, 1e-310]))
            }
            DType::I32 | DType::I64 => Scalar::I64(small).cast(dtype),
            // Often of few values, so that there are ties.
            DType::F32 | DType::F64 if self.one_in(2) => Scalar::F64(small as f64 / 2.0).cast(dtype),
            DType::F32 | DType::F64 => Scalar::F64(self.next() as f64 / 1e19 - 0.7).cast(dtype),
        }
    }
}

pub const TYPES: [DType; 5] = [DType::Bool, DType::I32, DType::I64, DType::F32, DType::F64];
pub const FOLDS: [Fold; 6] =
    [Fold::Sum, Fold::Product, Fold::Minimum, Fold::Maximum, Fold::ArgMinimum, Fold::ArgMaximum];

/// Up to four axes, now and then a long one.
pub fn shape(dice: &mut Dice) -> Vec<usize> {
    let mut shape = (0..dice.below(5)).map(|_| dice.below(9) + usize::from(!dice.one_in(8))).collect::<Vec<_>>();
    if !shape.is_empty() && dice.one_in(3) {
        let axis = dice.below(shape.len());
        shape[axis] = 300 + dice.below(4700);
        // Not too much of it.
        while shape.iter().product::<usize>() > 40_000 {
            let axis = dice.below(shape.len());
            shape[axis] = shape[axis].min(1 + dice.below(300));
        }
    }
    shape
}

/// An input of a shape that lies in any way.
pub fn input(dice: &mut Dice, dtype: DType, shape: &[usize]) -> Input {
    let plain = dice.one_in(3);
    let mut order = (0..shape.len()).collect::<Vec<_>>();
    if !plain && dice.one_in(2) {
        (1..order.len()).rev().for_each(|at| order.swap(at, dice.below(at + 1)));
    }
    let (mut steps, mut offset, mut reach) = (vec![0; shape.len()], dice.below(4) as isize, 1_isize);
    for &axis in order.iter().rev() {
        if !plain && dice.one_in(4) {
            continue;
        }
        let gap = if !plain && dice.one_in(4) { 2 + dice.below(2) as isize } else { 1 };
        steps[axis] = reach * gap;
        reach *= gap * shape[axis].max(1) as isize;
        if !plain && dice.one_in(4) {
            offset += (shape[axis].max(1) as isize - 1) * steps[axis];
            steps[axis] = -steps[axis];
        }
    }
    let len = reach as usize + 4;
    Input { dtype, data: (0..len).map(|_| dice.scalar(dtype)).collect(), steps, offset }
}

/// A loop over a shape with up to `length` instructions; folds over any axes.
pub fn program(dice: &mut Dice, shape: Vec<usize>, length: usize) -> (Loop, Vec<Input>, Vec<Scalar>) {
    let inputs = (0..1 + dice.below(3)).map(|_| {
        let dtype = dice.pick(&TYPES);
        input(dice, dtype, &shape)
    });
    let inputs = inputs.collect::<Vec<_>>();
    let numbers = (0..4).map(|_| {
        let dtype = dice.pick(&TYPES);
        dice.scalar(dtype)
    });
    let mut numbers = numbers.collect::<Vec<_>>();
    numbers.push(Scalar::I64(dice.next() as i64));
    let mut looped =
        Loop { shape, instructions: Vec::new(), stores: Vec::new(), reductions: Vec::new(), folded: (0, 0) };
    for (at, input) in inputs.iter().enumerate() {
        looped.instructions.push(Instr::Load(at, input.dtype));
    }
    while looped.instructions.len() < length {
        let types = looped.types();
        if let Some(next) = instruction(dice, &types, looped.shape.len(), numbers.len()) {
            looped.instructions.push(next);
        }
    }
    let count = looped.instructions.len();
    looped.stores = (0..dice.below(4)).map(|_| dice.below(count)).collect();
    looped.stores.push(count - 1);
    if dice.one_in(4) {
        return (looped, inputs, numbers);
    }
    let axes = looped.shape.len();
    if axes > 0 {
        let from = dice.below(axes);
        looped.folded = (from, from + 1 + dice.below(axes - from));
    }
    looped.reductions =
        (0..1 + dice.below(3)).map(|_| Reduction { fold: dice.pick(&FOLDS), value: dice.below(count) }).collect();
    (looped, inputs, numbers)
}

fn instruction(dice: &mut Dice, types: &[DType], axes: usize, numbers: usize) -> Option<Instr> {
    let a = dice.below(types.len());
    let like = |dice: &mut Dice, dtype: DType| {
        let same = (0..types.len()).filter(|&value| types[value] == dtype).collect::<Vec<_>>();
        (!same.is_empty()).then(|| dice.pick(&same))
    };
    Some(match dice.below(9) {
        0 => match dice.below(4) {
            0 => Instr::Number(dice.below(numbers), dice.pick(&TYPES)),
            1 if axes > 0 => Instr::Index(dice.below(axes)),
            2 => {
                let draw = dice.pick(&[Draw::Uniform, Draw::Normal, Draw::Integers(-7, 1 << 33), Draw::Integers(3, 9)]);
                Instr::Random(draw, dice.pick(&TYPES), [dice.below(numbers), numbers - 1])
            }
            _ => Instr::Cast(dice.pick(&TYPES), a),
        },
        1 => Instr::Cast(dice.pick(&TYPES), a),
        2 | 3 => Instr::Unary(dice.pick(unaries(types[a])), a),
        4 => Instr::Compare(dice.pick(&COMPARISONS), a, like(dice, types[a])?),
        5 => Instr::Select(like(dice, DType::Bool)?, a, like(dice, types[a])?),
        _ => Instr::Binary(dice.pick(binaries(types[a])), a, like(dice, types[a])?),
    })
}

pub const COMPARISONS: [Compare; 6] =
    [Compare::Equal, Compare::NotEqual, Compare::Less, Compare::LessEqual, Compare::Greater, Compare::GreaterEqual];

pub fn unaries(dtype: DType) -> &'static [Unary] {
    use Unary::*;
    match dtype {
        DType::Bool => &[Not, IsNan, IsInfinite, IsFinite],
        DType::I32 | DType::I64 => {
            &[Negative, Absolute, Sign, Not, Floor, Ceil, Trunc, Rint, IsNan, IsInfinite, IsFinite]
        }
        DType::F32 | DType::F64 => &[
            Negative, Absolute, Sign, Sqrt, Exp, Ln, Sin, Tanh, Cbrt, Floor, Ceil, Trunc, Rint, IsNan, IsInfinite,
            IsFinite,
        ],
    }
}

pub fn binaries(dtype: DType) -> &'static [Binary] {
    use Binary::*;
    match dtype {
        DType::Bool => &[Add, Multiply, Minimum, Maximum, And, Or, Xor],
        DType::I32 | DType::I64 => {
            &[Add, Subtract, Multiply, FloorDivide, Remainder, Power, Minimum, Maximum, And, Or, Xor]
        }
        DType::F32 | DType::F64 => {
            &[Add, Subtract, Multiply, Divide, FloorDivide, Remainder, Power, Minimum, Maximum, Atan2, Hypot]
        }
    }
}
