//! A loop as a kernel: one thread an element, a statement an instruction.
//!
//! ```text
//!   loop (n)                          extern "C" __global__ void loop(const u64 *p, const f64 *in0, const f64 *in1, f64 *out0) {
//!     v0 = load f64 #0                  for (u64 at = first; at < p[1]; at += all) {
//!     v1 = load f64 #1      ──►           f64 v0 = in0[(i64)p[3] + (i64)at * (i64)p[5]];   …
//!     v2 = v0 * v1                        f64 v2 = v0 * v1;
//!     store v2                            out0[at - p[0]] = v2;
//! ```
//!
//! Extents, strides, offsets and numbers are parameters (`p`, words in the order of [`Kernel::words`]), so that loops which differ in
//! these alone are one kernel. Floats are rounded after each operation; `exp` and its kin are the device's, within 2 units of the last
//! place of the host's.

use std::fmt::Write as _;

use bireme_engine::device::Source;

use super::super::dtype::{DType, Scalar};
use super::super::operand::Operand;
use super::super::ops::{Binary, Compare, Unary};
use super::super::program::{Instr, Loop, number};

/// The name of the kernel in its source.
pub(super) const NAME: &str = "loop";

const FUNCTIONS: &str = include_str!("functions.h");

/// Words before those of operands: the first element, and behind the last one.
pub(super) const BOUNDS: usize = 2;

/// A loop as a kernel, and what it is told.
pub(super) struct Kernel {
    pub source: Source,
    /// First element, behind the last one; then what each operand, index and number wants.
    pub words: Vec<u64>,
}

impl Kernel {
    /// The kernel of a loop without folds over these inputs; what of it has none.
    pub fn of(looped: &Loop, operands: &[Operand], numbers: &[Scalar]) -> Result<Self, String> {
        if !looped.reductions.is_empty() {
            return Err("folds".into());
        }
        let types = looped.types();
        let mut writer = Writer { words: vec![0; BOUNDS], text: String::new() };
        for (value, &instruction) in looped.instructions.iter().enumerate() {
            let made = writer.instruction(looped, &types, instruction, operands, numbers)?;
            let _ = writeln!(writer.text, "    {} v{value} = {made};", name(types[value]));
        }
        for (place, value) in looped.stores.iter().enumerate() {
            let _ = writeln!(writer.text, "    out{place}[at - p[0]] = v{value};");
        }
        let inputs = looped.instructions.iter().filter_map(|instruction| match *instruction {
            Instr::Load(input, dtype) => Some((input, dtype)),
            _ => None,
        });
        let mut of_input = vec![None; operands.len()];
        inputs.for_each(|(input, dtype)| of_input[input] = Some(dtype));
        let mut parameters = "const u64 *p".to_owned();
        for (input, dtype) in of_input.iter().enumerate() {
            let _ = write!(parameters, ", const {} *in{input}", name(dtype.unwrap_or(DType::Bool)));
        }
        for (place, &value) in looped.stores.iter().enumerate() {
            let _ = write!(parameters, ", {} *out{place}", name(types[value]));
        }
        let text = format!(
            "{FUNCTIONS}\nextern \"C\" __global__ void {NAME}({parameters}) {{\n  \
             for (u64 at = p[0] + blockIdx.x * (u64)blockDim.x + threadIdx.x; at < p[1]; at += (u64)gridDim.x * blockDim.x) {{\n\
             {}  }}\n}}\n",
            writer.text
        );
        Ok(Self { source: Source::new(text, [NAME]), words: writer.words })
    }
}

struct Writer {
    words: Vec<u64>,
    text: String,
}

impl Writer {
    /// The place of a new word.
    fn word(&mut self, word: u64) -> usize {
        self.words.push(word);
        self.words.len() - 1
    }

    fn instruction(
        &mut self,
        looped: &Loop,
        types: &[DType],
        instruction: Instr,
        operands: &[Operand],
        numbers: &[Scalar],
    ) -> Result<String, String> {
        Ok(match instruction {
            Instr::Load(input, _) => self.load(input, &operands[input]),
            Instr::Number(at, dtype) => {
                let place = self.word(number(numbers, at, dtype).bits());
                of_word(dtype, place)
            }
            Instr::Index(axis) => {
                let behind = looped.shape[axis + 1..].iter().product::<usize>().max(1);
                let (behind, extent) = (self.word(behind as u64), self.word(looped.shape[axis].max(1) as u64));
                format!("(i64)(at / p[{behind}] % p[{extent}])")
            }
            Instr::Random(..) => return Err("random numbers".into()),
            Instr::Unary(function, a) => unary(function, types[a], &format!("v{a}"))?,
            Instr::Binary(function, a, b) => binary(function, types[a], &format!("v{a}"), &format!("v{b}"))?,
            Instr::Compare(compare, a, b) => {
                let sign = match compare {
                    Compare::Equal => "==",
                    Compare::NotEqual => "!=",
                    Compare::Less => "<",
                    Compare::LessEqual => "<=",
                    Compare::Greater => ">",
                    Compare::GreaterEqual => ">=",
                };
                format!("v{a} {sign} v{b} ? 1 : 0")
            }
            Instr::Select(mask, a, b) => format!("v{mask} != 0 ? v{a} : v{b}"),
            Instr::Cast(to, a) => cast(types[a], to, &format!("v{a}")),
        })
    }

    /// The element of an input that belongs to the element at hand.
    fn load(&mut self, input: usize, operand: &Operand) -> String {
        let offset = self.word(operand.offset() as i64 as u64);
        let mut place = format!("(i64)p[{offset}]");
        let axes = operand.axes();
        let (mut behind, mut terms) = (None::<usize>, Vec::new());
        for (number, &(extent, stride)) in axes.iter().enumerate().rev() {
            let stride = self.word(stride as i64 as u64);
            let whole = behind.map_or("at".to_owned(), |word| format!("at / p[{word}]"));
            // The outermost index needs no remainder: it is cut by whoever runs the loop.
            let index = if number == 0 {
                whole
            } else {
                let word = self.word(extent as u64);
                format!("({whole}) % p[{word}]")
            };
            terms.push(format!("(i64)({index}) * (i64)p[{stride}]"));
            if number > 0 {
                let volume = axes[number..].iter().map(|axis| axis.0).product::<usize>();
                behind = Some(self.word(volume as u64));
            }
        }
        terms.iter().for_each(|term| {
            let _ = write!(place, " + {term}");
        });
        format!("in{input}[{place}]")
    }
}

/// As kernels call a type.
fn name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "u8",
        DType::I32 => "i32",
        DType::I64 => "i64",
        DType::F32 => "f32",
        DType::F64 => "f64",
    }
}

/// A number that is the bits of a word.
fn of_word(dtype: DType, place: usize) -> String {
    match dtype {
        DType::Bool => format!("(u8)p[{place}]"),
        DType::I32 => format!("(i32)(u32)p[{place}]"),
        DType::I64 => format!("(i64)p[{place}]"),
        DType::F32 => format!("__int_as_float((i32)(u32)p[{place}])"),
        DType::F64 => format!("__longlong_as_double((i64)p[{place}])"),
    }
}

fn cast(from: DType, to: DType, a: &str) -> String {
    match (from, to) {
        (_, DType::Bool) => format!("{a} != 0 ? 1 : 0"),
        (DType::F32 | DType::F64, DType::I32) => format!("to_i32({a})"),
        (DType::F32 | DType::F64, DType::I64) => format!("to_i64({a})"),
        // Integers lose their upper bits, floats are rounded to the nearest.
        _ => format!("({}){a}", name(to)),
    }
}

/// Unsigned, where sums wrap.
fn wrapping(dtype: DType) -> &'static str {
    if dtype == DType::I32 { "u32" } else { "u64" }
}

fn unary(function: Unary, dtype: DType, a: &str) -> Result<String, String> {
    let c = name(dtype);
    // Computed as a double: `f32` gets what is nearest to it.
    let call = |function: &str| format!("({c}){function}((f64){a})");
    let exact = |function: &str| format!("({c}){function}({a})");
    if !dtype.is_float() {
        let wrapping = wrapping(dtype);
        return Ok(match function {
            Unary::Not if dtype == DType::Bool => format!("{a} ^ 1"),
            Unary::Not => format!("~{a}"),
            Unary::Negative if dtype != DType::Bool => format!("({c})(0 - ({wrapping}){a})"),
            Unary::Absolute if dtype != DType::Bool => format!("{a} < 0 ? ({c})(0 - ({wrapping}){a}) : {a}"),
            Unary::Sign if dtype != DType::Bool => format!("({a} > 0) - ({a} < 0)"),
            Unary::IsNan | Unary::IsInfinite => "0".into(),
            Unary::IsFinite => "1".into(),
            // Integers are whole.
            _ => a.to_owned(),
        });
    }
    Ok(match function {
        Unary::Negative => format!("-{a}"),
        Unary::Absolute => exact("fabs"),
        Unary::Sign => call("sign_of"),
        Unary::Sqrt if dtype == DType::F32 => exact("sqrtf"),
        Unary::Sqrt => exact("sqrt"),
        Unary::Cbrt => call("cbrt"),
        Unary::Exp => call("exp"),
        Unary::Exp2 => call("exp2"),
        Unary::Expm1 => call("expm1"),
        Unary::Ln => call("log"),
        Unary::Log2 => call("log2"),
        Unary::Log10 => call("log10"),
        Unary::Log1p => call("log1p"),
        Unary::Sin => call("sin"),
        Unary::Cos => call("cos"),
        Unary::Tan => call("tan"),
        Unary::Asin => call("asin"),
        Unary::Acos => call("acos"),
        Unary::Atan => call("atan"),
        Unary::Sinh => call("sinh"),
        Unary::Cosh => call("cosh"),
        Unary::Tanh => call("tanh"),
        Unary::Asinh => call("asinh"),
        Unary::Acosh => call("acosh"),
        Unary::Atanh => call("atanh"),
        Unary::Floor => exact("floor"),
        Unary::Ceil => exact("ceil"),
        Unary::Trunc => exact("trunc"),
        Unary::Rint => exact("rint"),
        Unary::IsNan => format!("{a} != {a} ? 1 : 0"),
        Unary::IsInfinite => format!("is_infinite({a}) ? 1 : 0"),
        Unary::IsFinite => format!("{a} == {a} && !is_infinite({a}) ? 1 : 0"),
        Unary::Not => return Err(format!("{function} of {dtype}")),
    })
}

fn binary(function: Binary, dtype: DType, a: &str, b: &str) -> Result<String, String> {
    let c = name(dtype);
    let smaller = format!("{a} < {b} || {a} != {a} ? {a} : {b}");
    let larger = format!("{a} > {b} || {a} != {a} ? {a} : {b}");
    if dtype == DType::Bool {
        return Ok(match function {
            Binary::Add | Binary::Or | Binary::Maximum => format!("{a} | {b}"),
            Binary::Multiply | Binary::And | Binary::Minimum => format!("{a} & {b}"),
            _ => format!("{a} ^ {b}"),
        });
    }
    if dtype.is_float() {
        let call = |function: &str| format!("({c}){function}((f64){a}, (f64){b})");
        return Ok(match function {
            Binary::Add => format!("{a} + {b}"),
            Binary::Subtract => format!("{a} - {b}"),
            Binary::Multiply => format!("{a} * {b}"),
            Binary::Divide => format!("{a} / {b}"),
            Binary::FloorDivide => call("float_floor_divided"),
            Binary::Remainder => call("float_remainder"),
            Binary::Power => call("pow"),
            Binary::Minimum => smaller,
            Binary::Maximum => larger,
            Binary::Atan2 => call("atan2"),
            Binary::Hypot => call("hypot"),
            Binary::And | Binary::Or | Binary::Xor => return Err(format!("{function} of {dtype}")),
        });
    }
    let wraps = |sign: &str| format!("({c})(({0}){a} {sign} ({0}){b})", wrapping(dtype));
    let call = |function: &str| format!("({c}){function}({a}, {b})");
    Ok(match function {
        Binary::Add => wraps("+"),
        Binary::Subtract => wraps("-"),
        Binary::Multiply => wraps("*"),
        Binary::Divide | Binary::FloorDivide => call("floor_divided"),
        Binary::Remainder => call("remainder_of"),
        Binary::Power => call("integer_power"),
        Binary::Minimum => smaller,
        Binary::Maximum => larger,
        Binary::And => format!("{a} & {b}"),
        Binary::Or => format!("{a} | {b}"),
        Binary::Xor => format!("{a} ^ {b}"),
        Binary::Atan2 | Binary::Hypot => return Err(format!("{function} of {dtype}")),
    })
}
