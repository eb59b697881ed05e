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
//! A loop that folds its last axes has a team of 16 threads for each leaf, which folds it as the host does: strip by strip, each in 16
//! lanes, which are folded in halves. Where there are axes behind the folded ones, a thread folds the leaf of each of their elements from
//! first to last. So sums have the same bits on every device; leaves are put together by the host.
//!
//! Extents, strides, offsets and numbers are parameters (`p`, words in the order of [`Kernel::words`]), so that loops which differ in
//! these alone are one kernel. Floats are rounded after each operation; `exp` and its kin are the device's, within 2 units of the last
//! place of the host's.

use std::fmt::Write as _;

use bireme_engine::device::Source;
use bireme_engine::error::Result as Outcome;

use super::super::dtype::{DType, Scalar};
use super::super::fold::Fold;
use super::super::folding::{Cut, Folding};
use super::super::operand::Operand;
use super::super::ops::{Binary, Compare, Unary};
use super::super::program::{Instr, Loop, number};
use super::super::strip::STRIP;

/// The name of the kernel in its source.
pub(super) const NAME: &str = "loop";

const FUNCTIONS: &str = include_str!("functions.h");

/// Threads of a team.
pub(super) const TEAM: usize = 16;

/// A loop as a kernel, and what it is told.
pub(super) struct Kernel {
    pub source: Source,
    /// First element, behind the last one; then what leaves, operands, indices and numbers want.
    pub words: Vec<u64>,
    /// The leaves that it folds.
    pub cut: Option<Cut>,
}

impl Kernel {
    /// The kernel of a loop over these inputs; what of it has none.
    ///
    /// # Errors
    /// As [`Folding::cut`].
    pub fn of(folding: &Folding<'_>, operands: &[Operand], numbers: &[Scalar]) -> Outcome<Result<Self, String>> {
        let looped = folding.looped;
        if looped.reductions.iter().any(|reduction| reduction.fold.is_place()) {
            return Ok(Err("folds of places".into()));
        }
        if !looped.reductions.is_empty() && looped.shape.contains(&0) {
            return Ok(Err("folds of nothing".into()));
        }
        let cut = if looped.reductions.is_empty() { None } else { Some(folding.cut()?) };
        Ok(Self::with(folding, cut, operands, numbers))
    }

    fn with(folding: &Folding<'_>, cut: Option<Cut>, operands: &[Operand], numbers: &[Scalar]) -> Result<Self, String> {
        let Folding { looped, types, rows } = *folding;
        let width = looped.shape.iter().skip(1).product::<usize>();
        let mut writer = Writer { words: Vec::new(), text: String::new() };
        writer.words.extend([rows.start * width, rows.end * width].map(|bound| bound as u64));
        if let Some(Cut { leaves, outer, own, .. }) = &cut {
            let [_, folded, behind] = looped.thirds();
            let work = outer.len() * own.len() * behind;
            writer.words.extend([outer.start, own.start, own.len(), work, folded].map(|word| word as u64));
            writer.words.extend(leaves.parameters().map(|word| word as u64));
            writer.words.push(behind as u64);
        }
        for (value, &instruction) in looped.instructions.iter().enumerate() {
            let made = writer.instruction(looped, types, instruction, operands, numbers)?;
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
        for (place, reduction) in looped.reductions.iter().enumerate() {
            let _ = write!(parameters, ", {} *fold{place}", name(types[reduction.value]));
        }
        let body = match cut.is_some() {
            false => elements(&writer.text),
            true if looped.thirds()[2] == 1 => runs(looped, types, &writer.text),
            true => columns(looped, types, &writer.text),
        };
        let text = format!("{FUNCTIONS}\nextern \"C\" __global__ void {NAME}({parameters}) {{\n{body}}}\n");
        Ok(Self { source: Source::new(text, [NAME]), words: writer.words, cut })
    }
}

/// A thread an element.
fn elements(statements: &str) -> String {
    format!(
        "  for (u64 at = p[0] + blockIdx.x * (u64)blockDim.x + threadIdx.x; at < p[1]; at += (u64)gridDim.x * blockDim.x) {{\n\
         {statements}  }}\n"
    )
}

/// Where the elements of `leaf` begin and end, as [`Leaves::elements`](super::super::Leaves::elements) has it.
const BOUNDS: &str = "    u64 group = leaf / p[10], piece = leaf % p[10], row = group * p[9];
    u64 last = row + p[9] < p[7] ? row + p[9] : p[7];
    u64 whole = (piece + 1) * p[11] < p[8] ? (piece + 1) * p[11] : p[8];
    u64 start = p[10] == 1 ? row * p[8] : row * p[8] + piece * p[11];
    u64 stop = p[10] == 1 ? last * p[8] : row * p[8] + whole;
";

/// A thread for each leaf of each element behind the folded axes, which folds it from its first element to its last.
fn columns(looped: &Loop, types: &[DType], statements: &str) -> String {
    let (mut begin, mut take, mut keep) = (String::new(), String::new(), String::new());
    for (at, reduction) in looped.reductions.iter().enumerate() {
        let (dtype, value) = (types[reduction.value], reduction.value);
        let c = name(dtype);
        let sum = folded(reduction.fold, dtype, &format!("sum{at}"), &format!("v{value}"));
        let _ = writeln!(begin, "    {c} sum{at} = 0;");
        let _ = writeln!(take, "      sum{at} = index == start ? v{value} : ({c})({sum});");
        let _ = writeln!(keep, "    fold{at}[work] = sum{at};");
    }
    format!(
        "  for (u64 work = blockIdx.x * (u64)blockDim.x + threadIdx.x; work < p[5]; work += (u64)gridDim.x * blockDim.x) {{\n    \
         u64 column = work % p[12], leaf = p[3] + work / p[12] % p[4], outer = p[2] + work / p[12] / p[4];\n{BOUNDS}{begin}    \
         for (u64 index = start; index < stop; ++index) {{\n      \
         u64 at = (outer * p[6] + index) * p[12] + column;\n{statements}{take}    }}\n{keep}  }}\n"
    )
}

/// A team a leaf. Sums are made in one order: see `leaf` for that of the host.
fn runs(looped: &Loop, types: &[DType], statements: &str) -> String {
    let (mut begin, mut take, mut halves, mut few, mut join, mut keep) =
        (String::new(), String::new(), String::new(), String::new(), String::new(), String::new());
    for (at, reduction) in looped.reductions.iter().enumerate() {
        let (dtype, fold) = (types[reduction.value], reduction.fold);
        // Lanes exchange no bytes.
        let c = if dtype == DType::Bool { "i32" } else { name(dtype) };
        let folded = |a: &str, b: &str| folded(fold, dtype, a, b);
        let _ = writeln!(begin, "    {c} leaf{at} = 0;");
        let value = reduction.value;
        let _ = writeln!(
            take,
            "      sum{at} = e < {TEAM} ? ({c})v{value} : ({c})({});",
            folded(&format!("sum{at}"), &format!("v{value}"))
        );
        let _ = writeln!(
            halves,
            "        {{ {c} other = __shfl_down_sync(team, sum{at}, half, {TEAM}); sum{at} = {}; }}",
            folded(&format!("sum{at}"), "other")
        );
        let _ = writeln!(
            few,
            "      {{ {c} all = __shfl_sync(team, sum{at}, 0, {TEAM});\n        for (i32 from = 1; from < (i32)len; ++from) {{ \
             {c} other = __shfl_sync(team, sum{at}, from, {TEAM}); all = {}; }}\n        sum{at} = all; }}",
            folded("all", "other")
        );
        let _ = writeln!(
            join,
            "    leaf{at} = strip == start ? sum{at} : ({c})({});",
            folded(&format!("leaf{at}"), &format!("sum{at}"))
        );
        let _ = writeln!(keep, "    if (lane == 0) fold{at}[work] = leaf{at};");
    }
    let sums = (0..looped.reductions.len()).map(|at| {
        let dtype = types[looped.reductions[at].value];
        format!("    {} sum{at} = 0;\n", if dtype == DType::Bool { "i32" } else { name(dtype) })
    });
    let sums = sums.collect::<String>();
    format!(
        "  u32 lane = threadIdx.x % {TEAM}, team = 0xffffu << (threadIdx.x % 32 / {TEAM} * {TEAM});\n  \
         for (u64 work = (blockIdx.x * (u64)blockDim.x + threadIdx.x) / {TEAM}; work < p[5]; \
         work += (u64)gridDim.x * blockDim.x / {TEAM}) {{\n    \
         u64 leaf = p[3] + work % p[4], base = (p[2] + work / p[4]) * p[6];\n{BOUNDS}{begin}    \
         for (u64 strip = start; strip < stop; strip += {STRIP}) {{\n    \
         u64 len = stop - strip < {STRIP} ? stop - strip : {STRIP};\n{sums}    \
         for (u64 e = lane; e < len; e += {TEAM}) {{\n      u64 at = base + strip + e;\n{statements}{take}    }}\n    \
         if (len >= {TEAM}) {{\n      for (u32 half = {TEAM} / 2; half > 0; half /= 2) {{\n{halves}      }}\n    }} else {{\n{few}    }}\n\
         {join}    }}\n{keep}  }}\n"
    )
}

/// Two elements folded into one.
fn folded(fold: Fold, dtype: DType, a: &str, b: &str) -> String {
    let function = match fold {
        Fold::Sum => Binary::Add,
        Fold::Product => Binary::Multiply,
        Fold::Minimum | Fold::ArgMinimum => Binary::Minimum,
        Fold::Maximum | Fold::ArgMaximum => Binary::Maximum,
    };
    // These four are of every type.
    binary(function, dtype, a, b).unwrap_or_default()
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
