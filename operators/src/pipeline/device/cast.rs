//! Casts between numbers.

use arrow::datatypes::DataType;
use bireme_engine::morsel::carried_type;

use super::arithmetic::{narrowed, within};
use super::code::{Form, Value, Writer, Written};
use super::expr::{scale, scaled};

/// The value as another type; one that does not fit fails, or is NULL if `or_null`.
pub(super) fn cast(
    writer: &mut Writer<'_>,
    value: Value,
    from: &DataType,
    to: &DataType,
    or_null: bool,
    wanted: &str,
) -> Written<Value> {
    let refused = || format!("a cast of {from} to {to}");
    let form = Form::of(to).ok_or_else(refused)?;
    let number = |data_type: &DataType| {
        let carried = carried_type(data_type);
        data_type.is_integer() || data_type.is_floating() || scale(data_type).is_some() || carried == DataType::Boolean
    };
    if from == to || form == Form::Text && value.form == Form::Text && same_text(from, to) {
        return Ok(value);
    }
    if !number(from) || !number(to) || or_null && !cannot_fail(&value, form) {
        return Err(refused());
    }
    match (scale(from), scale(to)) {
        (Some(l), Some(r)) => between_decimals(writer, value, l, r, to, wanted),
        (None, Some(r)) if value.form.is_integral() && r >= 0 => {
            let value = as_decimal(writer, value);
            let scaled = scaled(writer, value, r.unsigned_abs().into(), wanted)?;
            Ok(of_digits(writer, scaled, to, wanted))
        }
        (Some(l), None) => match form {
            Form::Float(bits) => {
                // As Arrow does: the unscaled value, rounded, by a power of ten.
                let power = writer.word(10_f64.powi(i32::from(l)).to_bits());
                let divided = format!("(f64){} / __longlong_as_double((i64)p[{power}])", value.code);
                let code = if bits == 32 { format!("(f32)({divided})") } else { divided };
                Ok(writer.let_value(Value::new(form, code).with_valid(value.valid)))
            }
            _ => Err(refused()),
        },
        (None, None) => match (value.form, form) {
            (Form::Int(..), Form::Int(..)) => Ok(narrowed(writer, value, form, wanted)),
            (Form::Int(..) | Form::Float(_), Form::Float(_)) => {
                let code = format!("({}){}", form.name(), value.code);
                Ok(writer.let_value(Value::new(form, code).with_valid(value.valid)))
            }
            (Form::Bool, Form::Int(..)) => {
                let code = format!("({}){}", form.name(), value.code);
                Ok(writer.let_value(Value::new(form, code).with_valid(value.valid).with_range(Some((0, 1)))))
            }
            _ => Err(refused()),
        },
        _ => Err(refused()),
    }
}

/// An integer in a form that decimals are carried in.
fn as_decimal(writer: &mut Writer<'_>, value: Value) -> Value {
    let form = match value.form {
        Form::Wide | Form::Int(64, true) => return value,
        Form::Int(64, false) => Form::Wide,
        _ => Form::Int(64, true),
    };
    let range = value.bounds();
    writer.let_value(Value { form, code: format!("({}){}", form.name(), value.code), valid: value.valid, range })
}

fn same_text(from: &DataType, to: &DataType) -> bool {
    carried_type(from) == carried_type(to)
}

fn cannot_fail(value: &Value, form: Form) -> bool {
    matches!(form, Form::Float(_)) || within(value.bounds(), form) && matches!(form, Form::Int(..))
}

fn between_decimals(
    writer: &mut Writer<'_>,
    value: Value,
    from: i8,
    to: i8,
    logical: &DataType,
    wanted: &str,
) -> Written<Value> {
    let value = if to >= from {
        scaled(writer, value, (to - from).unsigned_abs().into(), wanted)?
    } else {
        let power = 10_i128.checked_pow((from - to).unsigned_abs().into()).ok_or("a decimal of too many digits")?;
        let narrow = within(value.bounds(), Form::Int(64, true)) && i64::try_from(power).is_ok();
        let form = if narrow { Form::Int(64, true) } else { Form::Wide };
        let range = value.bounds().map(|(low, high)| (low / power - 1, high / power + 1));
        let power = super::expr::number_value(writer, power, Form::Wide);
        let (name, code) = (form.name(), &value.code);
        let code = format!("rounded_quotient(({name}){code}, ({name}){})", power.code);
        writer.let_value(Value { form, code, valid: value.valid, range })
    };
    Ok(of_digits(writer, value, logical, wanted))
}

/// A decimal that has the digits of its type; else the row fails.
fn of_digits(writer: &mut Writer<'_>, value: Value, logical: &DataType, wanted: &str) -> Value {
    let digits = match logical {
        DataType::Decimal32(digits, _) | DataType::Decimal64(digits, _) | DataType::Decimal128(digits, _) => *digits,
        _ => return value,
    };
    let limit = 10_i128.pow(u32::from(digits.min(38)));
    let fits = value.bounds().is_some_and(|(low, high)| low > -limit && high < limit);
    if !fits {
        let bound = super::expr::number_value(writer, limit, Form::Wide).code;
        let (code, valid) = (&value.code, value.validity());
        writer.fail_if(&format!("((i128){code} >= {bound} || (i128){code} <= -{bound}) && {valid} && {wanted}"));
    }
    let range = value.range.filter(|_| fits).or(Some((1 - limit, limit - 1)));
    Value { range, ..value }
}
