//! Runs programs on arrays, as tests/fixtures/arrays/make.py writes them: words in reverse Polish notation, each of which takes arrays
//! from a stack and puts one there.

use std::collections::HashMap;
use std::fmt;

use bireme::array::Element;
use bireme::prelude::*;

/// What lies on the stack.
#[derive(Clone)]
pub enum Value {
    F64(Array<f64>),
    F32(Array<f32>),
    I64(Array<i64>),
    I32(Array<i32>),
    Bool(Array<bool>),
    Number(Number),
}

/// A plain number.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    F64(f64),
    F32(f32),
    I64(i64),
    I32(i32),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F64(array) => array.fmt(f),
            Self::F32(array) => array.fmt(f),
            Self::I64(array) => array.fmt(f),
            Self::I32(array) => array.fmt(f),
            Self::Bool(array) => array.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// An array's elements, of whatever type, as bits: every NaN has the same ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Elements {
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub bits: Vec<u64>,
}

/// Elements of inputs, by the word that names them: they are made once for all sessions.
#[derive(Default)]
pub struct Inputs(HashMap<String, Plain>);

/// A vector of any type.
enum Plain {
    F64(Vec<f64>),
    F32(Vec<f32>),
    I64(Vec<i64>),
    I32(Vec<i32>),
    Bool(Vec<bool>),
}

/// A program that ran as far as a lazy array.
pub struct Ran {
    /// What it made.
    pub value: Value,
    /// If all are held: what lay on top of the stack behind each word.
    pub held: Vec<Value>,
    /// Whether there was a product whose sums may be made in another order on several ranks.
    pub reordered: bool,
}

/// Runs words; with `hold`, everything that is made in between stays in a variable.
pub fn run(session: &Session, inputs: &mut Inputs, words: &[&str], hold: bool) -> Result<Ran> {
    let mut machine = Machine { session, inputs, stack: Vec::new(), reordered: false };
    let mut held = Vec::new();
    for word in words {
        machine.step(word)?;
        if hold {
            held.extend(machine.stack.last().cloned());
        }
    }
    let value = machine.pop();
    // In the middle of a program more may lie below.
    Ok(Ran { value, held, reordered: machine.reordered })
}

// --- values ---

macro_rules! of_arrays {
    ($($kind:ident $element:ident $name:literal $bits:expr;)*) => {
        $(
            impl From<Array<$element>> for Value {
                fn from(array: Array<$element>) -> Self {
                    Self::$kind(array)
                }
            }
        )*

        impl Value {
            /// Computes it.
            pub fn elements(&self) -> Result<Elements> {
                match self {
                    $(
                        Self::$kind(array) => {
                            let bits: fn($element) -> u64 = $bits;
                            let bits = array.to_vec()?.into_iter().map(bits).collect();
                            Ok(Elements { dtype: $name, shape: array.shape().to_vec(), bits })
                        }
                    )*
                    Self::Number(number) => panic!("{number:?} is no array"),
                }
            }
        }
    };
}

of_arrays! {
    F64 f64 "f64" |x| if x.is_nan() { 0x7ff8_0000_0000_0000 } else { x.to_bits() };
    F32 f32 "f32" |x| u64::from(if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() });
    I64 i64 "i64" |x| x as u64;
    I32 i32 "i32" |x| i64::from(x) as u64;
    Bool bool "bool" u64::from;
}

/// The same for arrays of any type.
macro_rules! any {
    ($value:expr, $x:ident => $body:expr) => {
        match $value {
            Value::F64($x) => Value::from($body),
            Value::F32($x) => Value::from($body),
            Value::I64($x) => Value::from($body),
            Value::I32($x) => Value::from($body),
            Value::Bool($x) => Value::from($body),
            Value::Number(number) => panic!("{number:?} stands where an array should"),
        }
    };
}

/// The same for arrays of numbers.
macro_rules! numeric {
    ($value:expr, $x:ident => $body:expr) => {
        match $value {
            Value::F64($x) => Value::from($body),
            Value::F32($x) => Value::from($body),
            Value::I64($x) => Value::from($body),
            Value::I32($x) => Value::from($body),
            other => panic!("{other:?} is no array of numbers"),
        }
    };
}

/// An operator between arrays of any types of numbers, and between arrays and numbers.
macro_rules! arithmetic {
    ($a:expr, $b:expr, $op:tt) => {
        match ($a, $b) {
            (Value::F64(a), Value::Number(Number::F64(b))) => Value::from(&a $op b),
            (Value::I64(a), Value::Number(Number::F64(b))) => Value::from(a $op b),
            (Value::I32(a), Value::Number(Number::F64(b))) => Value::from(&a $op b),
            (Value::F32(a), Value::Number(Number::F32(b))) => Value::from(a $op b),
            (Value::I64(a), Value::Number(Number::I64(b))) => Value::from(&a $op b),
            (Value::F64(a), Value::Number(Number::I32(b))) => Value::from(a $op b),
            (Value::F32(a), Value::Number(Number::I32(b))) => Value::from(&a $op b),
            (Value::I32(a), Value::Number(Number::I32(b))) => Value::from(a $op b),
            (Value::Number(Number::F64(a)), Value::F64(b)) => Value::from(a $op b),
            (Value::Number(Number::F64(a)), Value::I64(b)) => Value::from(a $op &b),
            (Value::Number(Number::F64(a)), Value::I32(b)) => Value::from(a $op b),
            (Value::Number(Number::F32(a)), Value::F32(b)) => Value::from(a $op &b),
            (Value::Number(Number::I64(a)), Value::I64(b)) => Value::from(a $op b),
            (Value::Number(Number::I32(a)), Value::F64(b)) => Value::from(a $op &b),
            (Value::Number(Number::I32(a)), Value::F32(b)) => Value::from(a $op b),
            (Value::Number(Number::I32(a)), Value::I32(b)) => Value::from(a $op &b),
            // All four ways to give arrays mean the same.
            (a, b) => numeric!(a, a => match b {
                Value::F64(b) => Value::from(&a $op &b),
                Value::F32(b) => Value::from(&a $op b),
                Value::I64(b) => Value::from(a $op &b),
                Value::I32(b) => Value::from(a $op b),
                other => panic!("{other:?} is no array of numbers"),
            }),
        }
    };
}

/// A method with an operand of the same type: an array, or a number.
macro_rules! beside {
    (@ $a:expr, $b:expr, [$($kind:ident: $($number:ident)*;)*], $x:ident, $y:ident => $body:expr) => {
        match ($a, $b) {
            $(
                (Value::$kind($x), Value::$kind($y)) => {
                    let $y = &$y;
                    Value::from($body)
                }
                $((Value::$kind($x), Value::Number(Number::$number($y))) => Value::from($body),)*
            )*
            (a, b) => panic!("{a:?} and {b:?} do not go together"),
        }
    };
    (all, $a:expr, $b:expr, $x:ident, $y:ident => $body:expr) => {
        beside!(@ $a, $b, [F64: F64 I32; F32: F64 F32 I32; I64: I64 I32; I32: I32; Bool:;], $x, $y => $body)
    };
    (numbers, $a:expr, $b:expr, $x:ident, $y:ident => $body:expr) => {
        beside!(@ $a, $b, [F64: F64 I32; F32: F64 F32 I32; I64: I64 I32; I32: I32;], $x, $y => $body)
    };
    (floats, $a:expr, $b:expr, $x:ident, $y:ident => $body:expr) => {
        beside!(@ $a, $b, [F64: F64 I32; F32: F64 F32 I32;], $x, $y => $body)
    };
}

macro_rules! bitwise {
    ($a:expr, $b:expr, $op:tt) => {
        match ($a, $b) {
            (Value::I64(a), Value::I64(b)) => Value::from(&a $op &b),
            (Value::I32(a), Value::I32(b)) => Value::from(a $op b),
            (Value::Bool(a), Value::Bool(b)) => Value::from(&a $op &b),
            (a, b) => panic!("{a:?} and {b:?} do not go together"),
        }
    };
}

/// By the name of a type.
macro_rules! typed {
    ($name:expr, $element:ident => $body:expr) => {
        match $name {
            "f64" => {
                type $element = f64;
                Value::from($body)
            }
            "f32" => {
                type $element = f32;
                Value::from($body)
            }
            "i64" => {
                type $element = i64;
                Value::from($body)
            }
            "i32" => {
                type $element = i32;
                Value::from($body)
            }
            name => panic!("no numbers are {name}"),
        }
    };
}

/// A fold over all elements, one axis, or several.
macro_rules! fold {
    ($x:expr, $axes:expr, $all:ident $one:ident $several:ident) => {
        match $axes {
            [] => $x.$all(),
            [axis] => $x.$one(*axis),
            axes => $x.$several(axes),
        }
    };
    ($x:expr, $axes:expr, $all:ident $one:ident) => {
        match $axes {
            [] => $x.$all(),
            [axis] => $x.$one(*axis),
            axes => panic!("{} over {axes:?}", stringify!($all)),
        }
    };
}

// --- words ---

struct Machine<'a> {
    session: &'a Session,
    inputs: &'a mut Inputs,
    stack: Vec<Value>,
    reordered: bool,
}

/// A word: its name, and what stands between its brackets.
struct Word<'a> {
    name: &'a str,
    text: &'a str,
}

impl<'a> Word<'a> {
    fn of(word: &'a str) -> Self {
        let (name, text) = word.split_once('[').unwrap_or((word, "]"));
        Self { name, text: text.strip_suffix(']').expect("brackets are closed") }
    }

    fn parts(&self) -> Vec<&'a str> {
        if self.text.is_empty() { Vec::new() } else { self.text.split(',').collect() }
    }

    fn axes(&self) -> Vec<isize> {
        self.parts().iter().map(|part| part.parse().unwrap()).collect()
    }
}

impl Machine<'_> {
    fn pop(&mut self) -> Value {
        self.stack.pop().expect("a program has operands for its words")
    }

    fn pop_pair(&mut self) -> (Value, Value) {
        let second = self.pop();
        (self.pop(), second)
    }

    fn step(&mut self, word: &str) -> Result<()> {
        let parsed = Word::of(word);
        let value = match parsed.name {
            _ if parsed.name.contains(':') => self.input(word)?,
            "num" => Value::Number(number(&parsed.parts())),
            "dup" => self.stack.last().expect("something to repeat").clone(),
            "swap" => {
                let (one, other) = self.pop_pair();
                self.stack.push(other);
                one
            }
            "zeros" | "ones" | "full" | "eye" | "arange" | "linspace" => self.creation(&parsed),
            _ => self.operation(&parsed)?,
        };
        self.stack.push(value);
        Ok(())
    }

    fn operation(&mut self, word: &Word<'_>) -> Result<Value> {
        let made = self.of_one(word)?;
        let made = if made.is_none() { self.of_pairs(word)? } else { made };
        let made = if made.is_none() { self.of_several(word)? } else { made };
        Ok(made.unwrap_or_else(|| panic!("no word {}", word.name)))
    }

    fn input(&mut self, word: &str) -> Result<Value> {
        let (shape, session) = (extents(word.split(':').nth(1).unwrap()), self.session);
        let plain = self.inputs.0.entry(word.to_owned()).or_insert_with(|| input(word));
        Ok(match plain {
            Plain::F64(values) => session.array(values.clone(), shape)?.into(),
            Plain::F32(values) => session.array(values.clone(), shape)?.into(),
            Plain::I64(values) => session.array(values.clone(), shape)?.into(),
            Plain::I32(values) => session.array(values.clone(), shape)?.into(),
            Plain::Bool(values) => session.array(values.clone(), shape)?.into(),
        })
    }

    fn creation(&self, word: &Word<'_>) -> Value {
        let (session, parts) = (self.session, word.parts());
        let shape = || extents(parts.get(1).unwrap_or(&""));
        match (word.name, parts[0]) {
            ("zeros", "bool") => session.zeros::<bool>(shape()).into(),
            ("ones", "bool") => session.ones::<bool>(shape()).into(),
            ("zeros", name) => typed!(name, T => session.zeros::<T>(shape())),
            ("ones", name) => typed!(name, T => session.ones::<T>(shape())),
            ("full", name) => typed!(name, T => session.full::<T>(shape(), parts[2].parse().unwrap())),
            ("eye", name) => typed!(name, T => session.eye::<T>(parts[1].parse().unwrap())),
            ("arange", name) => typed!(name, T => {
                let [start, stop, step] = [1, 2, 3].map(|at| parts[at].parse::<T>().unwrap());
                session.arange(start, stop, step)
            }),
            _ => {
                session.linspace(parts[0].parse().unwrap(), parts[1].parse().unwrap(), parts[2].parse().unwrap()).into()
            }
        }
    }

    /// Words of one array.
    fn of_one(&mut self, word: &Word<'_>) -> Result<Option<Value>> {
        let Some(x) = self.stack.last().cloned() else { return Ok(None) };
        let made = match word.name {
            "sqrt" => numeric!(x, x => x.sqrt()),
            "cbrt" => numeric!(x, x => x.cbrt()),
            "exp" => numeric!(x, x => x.exp()),
            "exp2" => numeric!(x, x => x.exp2()),
            "expm1" => numeric!(x, x => x.expm1()),
            "ln" => numeric!(x, x => x.ln()),
            "log2" => numeric!(x, x => x.log2()),
            "log10" => numeric!(x, x => x.log10()),
            "log1p" => numeric!(x, x => x.log1p()),
            "sin" => numeric!(x, x => x.sin()),
            "cos" => numeric!(x, x => x.cos()),
            "tan" => numeric!(x, x => x.tan()),
            "arcsin" => numeric!(x, x => x.arcsin()),
            "arccos" => numeric!(x, x => x.arccos()),
            "arctan" => numeric!(x, x => x.arctan()),
            "sinh" => numeric!(x, x => x.sinh()),
            "cosh" => numeric!(x, x => x.cosh()),
            "tanh" => numeric!(x, x => x.tanh()),
            "arcsinh" => numeric!(x, x => x.arcsinh()),
            "arccosh" => numeric!(x, x => x.arccosh()),
            "arctanh" => numeric!(x, x => x.arctanh()),
            "neg" => numeric!(x, x => -&x),
            "abs" => numeric!(x, x => x.abs()),
            "sign" => numeric!(x, x => x.sign()),
            "floor" => numeric!(x, x => x.floor()),
            "ceil" => numeric!(x, x => x.ceil()),
            "trunc" => numeric!(x, x => x.trunc()),
            "rint" => numeric!(x, x => x.rint()),
            "square" => numeric!(x, x => x.square()),
            "reciprocal" | "is_nan" | "is_inf" | "is_finite" => match (x, word.name) {
                (Value::F64(x), "reciprocal") => x.reciprocal().into(),
                (Value::F32(x), "reciprocal") => x.reciprocal().into(),
                (Value::F64(x), "is_nan") => x.is_nan().into(),
                (Value::F32(x), "is_nan") => x.is_nan().into(),
                (Value::F64(x), "is_inf") => x.is_inf().into(),
                (Value::F32(x), "is_inf") => x.is_inf().into(),
                (Value::F64(x), "is_finite") => x.is_finite().into(),
                (Value::F32(x), "is_finite") => x.is_finite().into(),
                (other, _) => panic!("{other:?} is no array of floats"),
            },
            "not" => match x {
                Value::I64(x) => (!&x).into(),
                Value::I32(x) => (!x).into(),
                Value::Bool(x) => (!&x).into(),
                other => panic!("{other:?} has no bits"),
            },
            "astype" if word.text == "bool" => any!(x, x => x.astype::<bool>()),
            "astype" => any!(x, x => typed!(word.text, T => x.astype::<T>())),
            "zeros_like" if word.text == "bool" => any!(x, x => Array::<bool>::zeros_like(&x)),
            "zeros_like" => any!(x, x => typed!(word.text, T => Array::<T>::zeros_like(&x))),
            "ones_like" if word.text == "bool" => any!(x, x => Array::<bool>::ones_like(&x)),
            "ones_like" => any!(x, x => typed!(word.text, T => Array::<T>::ones_like(&x))),
            _ => match fold(word, &x) {
                Some(made) => made,
                None => match view(word, &x)? {
                    Some(made) => made,
                    None => return Ok(None),
                },
            },
        };
        self.pop();
        Ok(Some(made))
    }

    /// Words of two arrays, or of an array and a number.
    fn of_pairs(&mut self, word: &Word<'_>) -> Result<Option<Value>> {
        let (a, b) = match self.stack.as_slice() {
            [.., a, b] => (a.clone(), b.clone()),
            _ => return Ok(None),
        };
        let made = match word.name {
            "add" => arithmetic!(a, b, +),
            "subtract" => arithmetic!(a, b, -),
            "multiply" => arithmetic!(a, b, *),
            "divide" => arithmetic!(a, b, /),
            "remainder" => arithmetic!(a, b, %),
            "equal" => beside!(all, a, b, x, y => x.equal(y)),
            "not_equal" => beside!(all, a, b, x, y => x.not_equal(y)),
            "lt" => beside!(all, a, b, x, y => x.lt(y)),
            "le" => beside!(all, a, b, x, y => x.le(y)),
            "gt" => beside!(all, a, b, x, y => x.gt(y)),
            "ge" => beside!(all, a, b, x, y => x.ge(y)),
            "minimum" => beside!(numbers, a, b, x, y => x.minimum(y)),
            "maximum" => beside!(numbers, a, b, x, y => x.maximum(y)),
            "floor_divide" => beside!(numbers, a, b, x, y => x.floor_divide(y)),
            "power" => beside!(numbers, a, b, x, y => x.pow(y)),
            "arctan2" => beside!(floats, a, b, x, y => x.arctan2(y)),
            "hypot" => beside!(floats, a, b, x, y => x.hypot(y)),
            "and" => bitwise!(a, b, &),
            "or" => bitwise!(a, b, |),
            "xor" => bitwise!(a, b, ^),
            "set" => beside!(all, a, b, x, y => {
                let mut x = x;
                x.set(word.text, y)?;
                x
            }),
            "take" => match b {
                Value::I64(indices) => any!(a, x => x.take(&indices, word.axes()[0])?),
                other => panic!("{other:?} are no indices"),
            },
            "compress" => match b {
                Value::Bool(mask) => any!(a, x => x.compress(&mask)?),
                other => panic!("{other:?} is no mask"),
            },
            "dot" | "matmul" | "outer" => {
                let axes = |value: &Value| shape(value).len();
                self.reordered |= word.name != "outer" && (axes(&a), axes(&b)) != (1, 1);
                beside!(@ a, b, [F64:; F32:; I64:; I32:;], x, y => product(word.name, &x, y)?)
            }
            _ => return Ok(None),
        };
        self.stack.truncate(self.stack.len() - 2);
        Ok(Some(made))
    }

    /// Words of three arrays or of any number of them.
    fn of_several(&mut self, word: &Word<'_>) -> Result<Option<Value>> {
        Ok(Some(match word.name {
            "where" => {
                let (then, otherwise) = self.pop_pair();
                let Value::Bool(mask) = self.pop() else { panic!("a choice needs a mask") };
                match (then, otherwise) {
                    (Value::Number(Number::F64(a)), Value::F64(b)) => where_(&mask, a, &b).into(),
                    (Value::Number(Number::F64(a)), Value::F32(b)) => where_(&mask, a, &b).into(),
                    (Value::Number(Number::I64(a)), Value::I64(b)) => where_(&mask, a, &b).into(),
                    (Value::Number(Number::I32(a)), Value::I32(b)) => where_(&mask, a, &b).into(),
                    (a, b) => beside!(all, a, b, x, y => where_(&mask, &x, y)),
                }
            }
            "clip" => {
                let (low, high) = self.pop_pair();
                match (low, high) {
                    (Value::Number(Number::I32(low)), Value::Number(Number::I32(high))) => {
                        numeric!(self.pop(), x => x.clip(low, high))
                    }
                    (Value::Number(Number::F64(low)), Value::Number(Number::F64(high))) => match self.pop() {
                        Value::F64(x) => x.clip(low, high).into(),
                        Value::F32(x) => x.clip(low, high).into(),
                        other => panic!("{other:?} has no such limits"),
                    },
                    (Value::Number(Number::I64(low)), Value::Number(Number::I64(high))) => match self.pop() {
                        Value::I64(x) => x.clip(low, high).into(),
                        other => panic!("{other:?} has no such limits"),
                    },
                    (low, high) => match (self.pop(), low, high) {
                        (Value::F64(x), Value::F64(low), Value::F64(high)) => x.clip(&low, &high).into(),
                        (Value::F32(x), Value::F32(low), Value::F32(high)) => x.clip(&low, high).into(),
                        (Value::I64(x), Value::I64(low), Value::I64(high)) => x.clip(low, &high).into(),
                        (Value::I32(x), Value::I32(low), Value::I32(high)) => x.clip(low, high).into(),
                        (x, _, _) => panic!("{x:?} has no such limits"),
                    },
                }
            }
            "concatenate" | "stack" => {
                let [count, axis] = word.axes()[..] else { panic!("{}: how many, and which axis", word.name) };
                let those = self.stack.split_off(self.stack.len() - count as usize);
                joined(word.name, &those, axis)?
            }
            "einsum" => {
                self.reordered = true;
                let operands = word.text.split("->").next().unwrap().matches(',').count() + 1;
                let those = self.stack.split_off(self.stack.len() - operands);
                joined(word.text, &those, 0)?
            }
            _ => return Ok(None),
        }))
    }
}

fn shape(value: &Value) -> Vec<usize> {
    match value {
        Value::F64(array) => array.shape().to_vec(),
        Value::F32(array) => array.shape().to_vec(),
        Value::I64(array) => array.shape().to_vec(),
        Value::I32(array) => array.shape().to_vec(),
        Value::Bool(array) => array.shape().to_vec(),
        Value::Number(_) => Vec::new(),
    }
}

fn fold(word: &Word<'_>, x: &Value) -> Option<Value> {
    let x = x.clone();
    let axes = || word.axes();
    let axis = || word.axes()[0];
    Some(match word.name {
        "sum" => any!(x, x => fold!(x, &axes()[..], sum sum_axis sum_axes)),
        "prod" => numeric!(x, x => fold!(x, &axes()[..], prod prod_axis prod_axes)),
        "min" => numeric!(x, x => fold!(x, &axes()[..], min min_axis min_axes)),
        "max" => numeric!(x, x => fold!(x, &axes()[..], max max_axis max_axes)),
        "mean" => numeric!(x, x => fold!(x, &axes()[..], mean mean_axis mean_axes)),
        "var" => numeric!(x, x => fold!(x, &axes()[..], var var_axis)),
        "std" => numeric!(x, x => fold!(x, &axes()[..], std std_axis)),
        "argmin" => numeric!(x, x => fold!(x, &axes()[..], argmin argmin_axis)),
        "argmax" => numeric!(x, x => fold!(x, &axes()[..], argmax argmax_axis)),
        "any" => any!(x, x => fold!(x, &axes()[..], any any_axis)),
        "all" => any!(x, x => fold!(x, &axes()[..], all all_axis)),
        "count_nonzero" => any!(x, x => x.count_nonzero()),
        "norm" => numeric!(x, x => x.norm()),
        "cumsum" => numeric!(x, x => x.cumsum(axis())),
        "cumprod" => numeric!(x, x => x.cumprod(axis())),
        "sort" => numeric!(x, x => x.sort(axis())),
        "argsort" => numeric!(x, x => x.argsort(axis())),
        _ => return None,
    })
}

fn view(word: &Word<'_>, x: &Value) -> Result<Option<Value>> {
    let x = x.clone();
    let axis = || word.axes()[0];
    Ok(Some(match word.name {
        "slice" => any!(x, x => x.slice(word.text)?),
        "t" => any!(x, x => x.t()),
        "transpose" => any!(x, x => x.transpose(&word.axes())?),
        "swap_axes" => any!(x, x => x.swap_axes(axis(), word.axes()[1])?),
        "flip" => any!(x, x => x.flip(axis())?),
        "expand_dims" => any!(x, x => x.expand_dims(axis())),
        "squeeze" => any!(x, x => x.squeeze()),
        "broadcast_to" => any!(x, x => x.broadcast_to(extents(word.text))?),
        "reshape" => any!(x, x => x.reshape(extents(word.text))?),
        "ravel" => any!(x, x => x.ravel()),
        "diag" => any!(x, x => x.diag()?),
        _ => return Ok(None),
    }))
}

fn product<T: bireme::array::Number>(name: &str, a: &Array<T>, b: &Array<T>) -> Result<Array<T>> {
    match name {
        "dot" => a.dot(b),
        "matmul" => a.matmul(b),
        _ => a.outer(b),
    }
}

fn joined(name: &str, those: &[Value], axis: isize) -> Result<Value> {
    fn of<T: Element>(name: &str, arrays: &[Array<T>], axis: isize) -> Result<Array<T>> {
        if name == "stack" { stack(arrays, axis) } else { concatenate(arrays, axis) }
    }
    macro_rules! kinds {
        ($($kind:ident)*; $arrays:ident => $body:expr) => {
            match &those[0] {
                $(
                    Value::$kind(_) => {
                        let $arrays = those.iter().map(|value| match value {
                            Value::$kind(array) => array.clone(),
                            other => panic!("{other:?} is of another type than {:?}", those[0]),
                        });
                        let $arrays = $arrays.collect::<Vec<_>>();
                        Ok(Value::from($body))
                    }
                )*
                other => panic!("{other:?} goes into no {name}"),
            }
        };
    }
    if name == "stack" || name == "concatenate" {
        return kinds!(F64 F32 I64 I32 Bool; arrays => of(name, &arrays, axis)?);
    }
    kinds!(F64 F32 I64 I32; arrays => einsum(name, &arrays)?)
}

fn number(parts: &[&str]) -> Number {
    match parts[0] {
        "f64" => Number::F64(parts[1].parse().unwrap()),
        "f32" => Number::F32(parts[1].parse().unwrap()),
        "i64" => Number::I64(parts[1].parse().unwrap()),
        _ => Number::I32(parts[1].parse().unwrap()),
    }
}

/// Extents as they are written: `3x4`; nothing for no axes.
pub fn extents(text: &str) -> Vec<usize> {
    text.split('x').filter(|part| !part.is_empty()).map(|part| part.parse().unwrap()).collect()
}

// --- inputs ---

pub const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64.
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

macro_rules! specials {
    ($float:ident) => {
        [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            -0.5,
            1.5,
            2.5,
            -2.5,
            $float::INFINITY,
            $float::NEG_INFINITY,
            $float::NAN,
            $float::MAX,
            -$float::MAX,
            $float::MIN_POSITIVE,
            -$float::from_bits(5),
            3.0,
            -7.25,
            2_147_483_648.0,
            -9_007_199_254_740_992.0,
            123_456.789,
            1e10,
            -1e-10,
            0.999_999_9,
            89.0,
            -104.0,
            710.0,
            -745.5,
        ]
    };
}

const F64_SPECIALS: [f64; 28] = specials!(f64);
#[allow(clippy::excessive_precision, reason = "the numbers of f64, rounded")]
const F32_SPECIALS: [f32; 28] = specials!(f32);
const SMALL_SPECIALS: [f64; 5] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0];
const I64_SPECIALS: [i64; 17] = [
    0,
    1,
    -1,
    2,
    -2,
    7,
    -7,
    10,
    i64::MAX,
    i64::MIN,
    i64::MAX - 1,
    i64::MIN + 1,
    1 << 32,
    -(1 << 31),
    (1 << 53) + 1,
    3_037_000_500,
    -46341,
];
const I32_SPECIALS: [i64; 17] = [
    0,
    1,
    -1,
    2,
    -2,
    7,
    -7,
    10,
    (1 << 31) - 1,
    -(1 << 31),
    (1 << 31) - 2,
    -(1 << 31) + 1,
    65536,
    -46341,
    46340,
    (1 << 24) + 1,
    -100,
];

/// The elements of an input `type:shape:kind:seed`, each by hashes of its index; make.py says the same.
fn input(word: &str) -> Plain {
    let parts = word.split(':').collect::<Vec<_>>();
    let [dtype, shape, kind, seed] = parts[..] else { panic!("{word} is no input") };
    let count = extents(shape).iter().product::<usize>() as u64;
    let seed = seed.parse::<u64>().unwrap().wrapping_mul(GOLDEN).wrapping_add(1);
    let hashes = (0..count).map(|at| {
        let h = mix(at.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(seed));
        (h, mix(h.wrapping_add(GOLDEN)))
    });
    let is_small = kind == "i" || kind.starts_with('r');
    match dtype {
        "bool" => {
            let one_of = if kind == "t" { 8 } else { 2 };
            Plain::Bool(hashes.map(|(h, _)| (h >> 40) % one_of != 0).collect())
        }
        "f64" if is_small => Plain::F64(hashes.map(|(h, _)| small(kind, h) as f64).collect()),
        "f32" if is_small => Plain::F32(hashes.map(|(h, _)| small(kind, h) as f32).collect()),
        "f64" if kind == "e" => Plain::F64((0..count as usize).map(|at| F64_SPECIALS[at % 28]).collect()),
        "f32" if kind == "e" => Plain::F32((0..count as usize).map(|at| F32_SPECIALS[at % 28]).collect()),
        "i64" if kind == "e" => Plain::I64((0..count as usize).map(|at| I64_SPECIALS[at % 17]).collect()),
        "i32" if kind == "e" => Plain::I32((0..count as usize).map(|at| I32_SPECIALS[at % 17] as i32).collect()),
        "f64" if kind == "s" => Plain::F64(hashes.map(|(h, _)| F64_SPECIALS[(h >> 33) as usize % 28]).collect()),
        "f32" if kind == "s" => Plain::F32(hashes.map(|(h, _)| F32_SPECIALS[(h >> 33) as usize % 28]).collect()),
        "f64" => Plain::F64(hashes.map(|(h, g)| float(kind, h, g)).collect()),
        "f32" => Plain::F32(hashes.map(|(h, g)| float(kind, h, g) as f32).collect()),
        "i64" => Plain::I64(hashes.map(|(h, g)| integer(kind, h, (g >> 8) % 56, &I64_SPECIALS)).collect()),
        _ => {
            let values = hashes.map(|(h, g)| integer(kind, h, (g >> 8) % 28 + 32, &I32_SPECIALS));
            Plain::I32(values.map(|value| value as i32).collect())
        }
    }
}

fn small(kind: &str, h: u64) -> i64 {
    let (low, high) = match kind.strip_prefix('r').and_then(|range| range.split_once('~')) {
        Some((low, high)) => (low.parse().unwrap(), high.parse().unwrap()),
        None => (-4, 5),
    };
    let (low, high): (i64, i64) = (low, high);
    ((h >> 33) % (high - low) as u64) as i64 + low
}

fn float(kind: &str, h: u64, g: u64) -> f64 {
    let unit = (h >> 11) as f64 * (0.5_f64).powi(53);
    match kind {
        "p" => unit * 5.0 + 0.125,
        "u" => unit * 2.0 - 1.0,
        "w" => {
            (if g.is_multiple_of(2) { 1.0 } else { -1.0 }) * (1.0 + unit) * (2.0_f64).powi(((g >> 8) % 41) as i32 - 30)
        }
        "q" if g.is_multiple_of(8) => SMALL_SPECIALS[(g >> 8) as usize % 5],
        _ => unit * 8.0 - 4.0,
    }
}

fn integer(kind: &str, h: u64, shift: u64, specials: &[i64; 17]) -> i64 {
    let below = |extent: u64, low: i64| ((h >> 33) % extent) as i64 + low;
    match kind {
        "p" => below(9, 1),
        "u" => below(3, -1),
        "w" => h as i64 >> shift,
        "s" => specials[below(17, 0) as usize],
        "n" | "q" => below(41, -20),
        _ => small(kind, h),
    }
}
