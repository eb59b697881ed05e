//! Numbers: what fits 64 bits by what is known of it is computed in these, other decimals in 128 with checks.

use arrow::datatypes::DataType;

use super::code::{Form, Range, Value, Writer, Written, both_valid};
use super::expr::{alike, scale, scaled};
use crate::pipeline::ir::ArithmeticOp;

/// Computes on two numbers of these logical types, into the third.
pub(super) fn arithmetic(
    writer: &mut Writer<'_>,
    op: ArithmeticOp,
    left: Value,
    right: Value,
    types: [&DataType; 3],
    wanted: &str,
) -> Written<Value> {
    let refused = || format!("{} {op} {}", types[0], types[1]);
    if let [Some(l), Some(r), Some(result)] = types.map(scale) {
        return decimals(writer, op, left, right, [l, r, result], wanted)
            .map_err(|why| format!("{}: {why}", refused()));
    }
    match (left.form, right.form) {
        // Of 64 bits: what is no number has another sign in 32 on a GPU than on the host, and floats are ordered by it.
        (Form::Float(64), Form::Float(64)) if Form::of(types[2]) == Some(left.form) => {
            Ok(floats(writer, op, left, right))
        }
        (Form::Int(..), Form::Int(..)) if types[0] == types[1] && types[0] == types[2] && types[0].is_integer() => {
            integers(writer, op, left, right, wanted)
        }
        _ => Err(refused()),
    }
}

fn sign(op: ArithmeticOp) -> &'static str {
    match op {
        ArithmeticOp::Add => "+",
        ArithmeticOp::Subtract => "-",
        ArithmeticOp::Multiply => "*",
        ArithmeticOp::Divide => "/",
        ArithmeticOp::Remainder => "%",
    }
}

/// A sum, a difference or a product that fits. Computed without signs: what is behind a NULL may run over, which numbers with signs must not.
fn wrapping(op: ArithmeticOp, form: Form, (left, right): (&str, &str)) -> String {
    let (name, sign) = (form.name(), sign(op));
    let (with, without) = if form == Form::Wide { ("i128", "u128") } else { ("i64", "u64") };
    format!("({name})(({without})({with}){left} {sign} ({without})({with}){right})")
}

/// What sets `failed`.
fn checked(op: ArithmeticOp) -> &'static str {
    match op {
        ArithmeticOp::Add => "sum_of",
        ArithmeticOp::Subtract => "difference_of",
        ArithmeticOp::Multiply => "product_of",
        ArithmeticOp::Divide => "quotient_of",
        ArithmeticOp::Remainder => "remainder_of",
    }
}

fn floats(writer: &mut Writer<'_>, op: ArithmeticOp, left: Value, right: Value) -> Value {
    let (form, valid) = (left.form, both_valid(&left, &right));
    let code = match op {
        // Of doubles, which is that of floats: it is exact.
        ArithmeticOp::Remainder => format!("({})fmod((f64){}, (f64){})", form.name(), left.code, right.code),
        _ => format!("{} {} {}", left.code, sign(op), right.code),
    };
    writer.let_value(Value::new(form, code).with_valid(valid))
}

/// What the result lies in, as far as it can be told.
fn range(op: ArithmeticOp, left: Option<Range>, right: Option<Range>) -> Option<Range> {
    let ((a, b), (c, d)) = left.zip(right)?;
    Some(match op {
        ArithmeticOp::Add => (a.checked_add(c)?, b.checked_add(d)?),
        ArithmeticOp::Subtract => (a.checked_sub(d)?, b.checked_sub(c)?),
        ArithmeticOp::Multiply => {
            let corners = [a.checked_mul(c)?, a.checked_mul(d)?, b.checked_mul(c)?, b.checked_mul(d)?];
            corners.iter().fold((i128::MAX, i128::MIN), |(low, high), &corner| (low.min(corner), high.max(corner)))
        }
        ArithmeticOp::Divide | ArithmeticOp::Remainder => return None,
    })
}

pub(super) fn within(range: Option<Range>, form: Form) -> bool {
    let limits = form.range().unwrap_or((i128::MIN, i128::MAX));
    range.is_some_and(|(low, high)| low >= limits.0 && high <= limits.1)
}

/// Computes with a check; where it fails the row does.
fn with_check(
    writer: &mut Writer<'_>,
    op: ArithmeticOp,
    form: Form,
    (left, right): (&str, &str),
    valid: Option<String>,
    wanted: &str,
) -> Value {
    let name = writer.name();
    writer.line(format!("bool f{name} = false;"));
    let value = Value::new(form, format!("{}({left}, {right}, f{name})", checked(op))).with_valid(valid);
    let value = writer.let_value(value);
    let valid = value.validity().to_owned();
    writer.fail_if(&format!("f{name} && {valid} && {wanted}"));
    value
}

fn integers(writer: &mut Writer<'_>, op: ArithmeticOp, left: Value, right: Value, wanted: &str) -> Written<Value> {
    let (form, valid) = (left.form, both_valid(&left, &right));
    let known = range(op, left.bounds(), right.bounds());
    let (l, r) = (left.code, right.code);
    if within(known, form) {
        let code = wrapping(op, form, (&l, &r));
        return Ok(writer.let_value(Value::new(form, code).with_valid(valid).with_range(known)));
    }
    if form == Form::Int(64, false) {
        let wide = with_check(writer, op, Form::Wide, (&format!("(i128){l}"), &format!("(i128){r}")), valid, wanted);
        return Ok(narrowed(writer, wide, form, wanted));
    }
    let wide = with_check(writer, op, Form::Int(64, true), (&format!("(i64){l}"), &format!("(i64){r}")), valid, wanted);
    Ok(narrowed(writer, wide, form, wanted))
}

/// The value in a narrower form; where it does not fit, the row fails.
pub(super) fn narrowed(writer: &mut Writer<'_>, value: Value, form: Form, wanted: &str) -> Value {
    if value.form == form {
        return value;
    }
    if !within(value.bounds(), form) {
        let (code, valid) = (&value.code, value.validity());
        // In 128 bits: of a number with a sign and one without, C++ compares both without.
        let condition = format!("(i128)({}){code} != (i128){code}", form.name());
        writer.fail_if(&format!("{condition} && {valid} && {wanted}"));
    }
    let code = format!("({}){}", form.name(), value.code);
    let range = value.range.filter(|_| within(value.range, form));
    writer.let_value(Value { form, code, valid: value.valid, range })
}

/// Integers or unscaled decimals: in 64 bits if that is known to be enough.
fn exact(writer: &mut Writer<'_>, op: ArithmeticOp, left: Value, right: Value, wanted: &str) -> Value {
    let known = range(op, left.bounds(), right.bounds());
    let valid = both_valid(&left, &right);
    let narrow = Form::Int(64, true);
    let all_narrow = [left.bounds(), right.bounds(), known].into_iter().all(|range| within(range, narrow));
    if all_narrow {
        let code = wrapping(op, narrow, (&left.code, &right.code));
        return writer.let_value(Value::new(narrow, code).with_valid(valid).with_range(known));
    }
    let (l, r) = (format!("(i128){}", left.code), format!("(i128){}", right.code));
    if known.is_some() && matches!(op, ArithmeticOp::Add | ArithmeticOp::Subtract | ArithmeticOp::Multiply) {
        let code = wrapping(op, Form::Wide, (&left.code, &right.code));
        let value = Value::new(Form::Wide, code).with_valid(valid).with_range(known);
        return writer.let_value(value);
    }
    with_check(writer, op, Form::Wide, (&l, &r), valid, wanted)
}

/// The product of two integers.
pub(super) fn product(writer: &mut Writer<'_>, left: Value, right: Value, wanted: &str) -> Written<Value> {
    Ok(exact(writer, ArithmeticOp::Multiply, left, right, wanted))
}

/// Decimals of two scales, into a third.
fn decimals(
    writer: &mut Writer<'_>,
    op: ArithmeticOp,
    left: Value,
    right: Value,
    [l, r, result]: [i8; 3],
    wanted: &str,
) -> Written<Value> {
    if !left.form.is_integral() || !right.form.is_integral() {
        return Err("decimals that are not carried as integers".into());
    }
    match op {
        ArithmeticOp::Multiply if l.checked_add(r) == Some(result) => Ok(exact(writer, op, left, right, wanted)),
        ArithmeticOp::Add | ArithmeticOp::Subtract if l.max(r) == result => {
            let left = scaled(writer, left, (result - l).unsigned_abs().into(), wanted)?;
            let right = scaled(writer, right, (result - r).unsigned_abs().into(), wanted)?;
            Ok(exact(writer, op, left, right, wanted))
        }
        ArithmeticOp::Divide => {
            let up = i16::from(result) - i16::from(l) + i16::from(r);
            let ups = (up.max(0) as u32, (-up).max(0) as u32);
            let left = scaled(writer, left, ups.0, wanted)?;
            let right = scaled(writer, right, ups.1, wanted)?;
            Ok(divided(writer, op, left, right, wanted))
        }
        ArithmeticOp::Remainder if l.max(r) == result => {
            let left = scaled(writer, left, (result - l).unsigned_abs().into(), wanted)?;
            let right = scaled(writer, right, (result - r).unsigned_abs().into(), wanted)?;
            Ok(divided(writer, op, left, right, wanted))
        }
        _ => Err("a result of another scale than that of the exact one".into()),
    }
}

/// A quotient or a remainder, as wide as its operands.
fn divided(writer: &mut Writer<'_>, op: ArithmeticOp, left: Value, right: Value, wanted: &str) -> Value {
    let valid = both_valid(&left, &right);
    let narrow = Form::Int(64, true);
    let form = if within(left.bounds(), narrow) && within(right.bounds(), narrow) { narrow } else { Form::Wide };
    let left = Value { code: format!("({}){}", form.name(), left.code), form, ..left };
    let (_, l, r) = alike(left, Value { code: format!("({}){}", form.name(), right.code), form, ..right });
    with_check(writer, op, form, (&l, &r), valid, wanted)
}

/// The number without its sign.
pub(super) fn absolute(writer: &mut Writer<'_>, value: Value, logical: &DataType, wanted: &str) -> Written<Value> {
    match value.form {
        Form::Float(bits) => {
            // By bits: of what is no number a GPU's `fabs` may make another one.
            let code = match bits {
                32 => format!("__int_as_float(__float_as_int({}) & 0x7fffffff)", value.code),
                _ => format!("__longlong_as_double(__double_as_longlong({}) & 0x7fffffffffffffffll)", value.code),
            };
            Ok(writer.let_value(Value::new(value.form, code).with_valid(value.valid)))
        }
        Form::Int(_, false) => Ok(value),
        _ => {
            let name = writer.name();
            writer.line(format!("bool b{name} = {} < 0;", value.code));
            writer.line(format!("bool w{name} = {wanted} && b{name};"));
            let negative = negate(writer, value.clone(), logical, &format!("w{name}"))?;
            // One of them may be wider than the other.
            let (form, positive, negative) = alike(value.clone(), negative);
            let range = value.bounds().and_then(|(low, high)| {
                Some((0, low.checked_abs()?.max(high.checked_abs()?))).filter(|range| within(Some(*range), form))
            });
            let code = format!("(b{name} ? {negative} : {positive})");
            Ok(writer.let_value(Value::new(form, code).with_valid(value.valid).with_range(range)))
        }
    }
}

/// The negative number.
pub(super) fn negate(writer: &mut Writer<'_>, value: Value, logical: &DataType, wanted: &str) -> Written<Value> {
    match value.form {
        Form::Float(_) => {
            let code = format!("-{}", value.code);
            Ok(writer.let_value(Value::new(value.form, code).with_valid(value.valid)))
        }
        Form::Int(_, true) | Form::Wide if logical.is_signed_integer() || scale(logical).is_some() => {
            let form = value.form;
            let zero = Value::new(form, "0").with_range(Some((0, 0)));
            let negative = exact(writer, ArithmeticOp::Subtract, zero, value, wanted);
            // A decimal may be wider than it was.
            Ok(if scale(logical).is_some() { negative } else { narrowed(writer, negative, form, wanted) })
        }
        _ => Err(format!("-{logical}")),
    }
}
