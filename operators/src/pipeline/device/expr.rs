//! Expressions as statements of a kernel.
//!
//! Values are those of the host's evaluation ([`crate::expr`]), NULLs included. What that refuses, or computes in a way that has no kernel
//! (wider numbers, texts with rules of Unicode), makes a row fail; the host computes the rows again, and says what there is to say.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int64Type, TimeUnit};
use bireme_engine::morsel::{carried_type, to_carried};

use super::arithmetic::{absolute, arithmetic, negate};
use super::cast::cast;
use super::code::{Form, Item, Value, Writer, Written, both_valid};
use crate::pipeline::ir::{CompareOp, DatePart, Expr, ExprKind};
use crate::pipeline::values::as_integers;

/// Numbers up to which a list is a row of comparisons.
const FEW: usize = 8;

/// Writes what an expression is over these columns. Only where `wanted` is true does it fail.
pub(super) fn write(writer: &mut Writer<'_>, expr: &Expr, items: &[Item], wanted: &str) -> Written<Value> {
    let mut of = |expr: &Expr| write(writer, expr, items, wanted);
    match &expr.kind {
        ExprKind::Column(place) => {
            let item = items.get(*place).ok_or("a column that is not there")?;
            writer.item(item, Some(&expr.data_type))
        }
        ExprKind::Literal(value) => literal(writer, value, 0),
        ExprKind::Compare(op, left, right) => {
            let (left_value, right_value) = (of(left)?, of(right)?);
            let scales = [scale(&left.data_type), scale(&right.data_type)];
            compare(writer, *op, left_value, right_value, scales, wanted)
        }
        ExprKind::And(parts) => all_or_any(writer, parts, items, wanted, true),
        ExprKind::Or(parts) => all_or_any(writer, parts, items, wanted, false),
        ExprKind::Not(value) => {
            let value = of(value)?;
            Ok(writer.let_value(Value::new(Form::Bool, format!("!{}", value.code)).with_valid(value.valid)))
        }
        ExprKind::IsNull(value) => {
            let value = of(value)?;
            Ok(writer.let_value(Value::new(Form::Bool, format!("!{}", value.validity()))))
        }
        ExprKind::IsNotNull(value) => {
            let value = of(value)?;
            Ok(writer.let_value(Value::new(Form::Bool, value.validity())))
        }
        ExprKind::Arithmetic(op, left, right) => {
            let (left_value, right_value) = (of(left)?, of(right)?);
            let types = [&left.data_type, &right.data_type, &expr.data_type];
            arithmetic(writer, *op, left_value, right_value, types, wanted)
        }
        ExprKind::Negate(value) => {
            let value = of(value)?;
            negate(writer, value, &expr.data_type, wanted)
        }
        ExprKind::Absolute(value) => {
            let value = of(value)?;
            absolute(writer, value, &expr.data_type, wanted)
        }
        ExprKind::Cast { value, or_null } => {
            let from = &value.data_type;
            let value = of(value)?;
            cast(writer, value, from, &expr.data_type, *or_null, wanted)
        }
        ExprKind::In { value, list, negated } => {
            let value = of(value)?;
            member(writer, value, list, *negated)
        }
        ExprKind::Like { value, pattern, negated, ignore_case } => {
            let value = of(value)?;
            like(writer, value, pattern, *negated, *ignore_case, wanted)
        }
        ExprKind::Case { branches, otherwise } => {
            case(writer, branches, otherwise.as_deref(), items, &expr.data_type, wanted)
        }
        ExprKind::DatePart(part, value) => {
            let logical = &value.data_type;
            let value = of(value)?;
            date_part(writer, *part, value, logical, wanted)
        }
        ExprKind::CharacterLength(value) => {
            let value = of(value)?;
            character_length(writer, value, &expr.data_type)
        }
        ExprKind::Substring { value, start, length } => {
            let value = of(value)?;
            substring(writer, value, *start, *length)
        }
        ExprKind::Call(function, arguments) if arguments.is_empty() => {
            let value = function.evaluate(&[], 1).map_err(|error| error.to_string())?;
            literal(writer, &value, 0)
        }
        ExprKind::Call(function, arguments) => {
            let arguments = arguments.iter().map(ToString::to_string).collect::<Vec<_>>();
            Err(format!("the function {}", function.describe(&arguments)))
        }
    }
}

/// The scale of a decimal.
pub(super) fn scale(logical: &DataType) -> Option<i8> {
    match carried_type(logical) {
        DataType::Decimal128(_, scale) => Some(scale),
        // Of up to 18 digits: carried without a label.
        _ => match logical {
            DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
                Some(*scale)
            }
            _ => None,
        },
    }
}

/// One value of an array.
fn literal(writer: &mut Writer<'_>, array: &ArrayRef, row: usize) -> Written<Value> {
    let carried = to_carried(&array.slice(row, 1)).map_err(|error| error.to_string())?;
    let refused = || format!("a literal of type {}", array.data_type());
    let form = Form::of_carried(carried.data_type()).ok_or_else(refused)?;
    if carried.is_null(0) {
        let none = if form == Form::Text { "text{0, 0}" } else { "0" };
        return Ok(Value::new(form, none).with_valid(Some("false".into())).with_range(Some((0, 0))));
    }
    Ok(match form {
        Form::Bool => Value::new(form, if carried.as_boolean().value(0) { "true" } else { "false" }),
        Form::Text => {
            let bytes = text_bytes(&carried, 0).ok_or_else(refused)?;
            let length = writer.word(bytes.len() as u64);
            let first = writer.bytes(&bytes);
            Value::new(form, format!("text_at((u64)(p + {first}), p[{length}])"))
        }
        Form::Float(32) => {
            let bits = carried.as_primitive::<Float32Type>().value(0).to_bits();
            let word = writer.word(u64::from(bits));
            Value::new(form, format!("__int_as_float((i32)(u32)p[{word}])"))
        }
        Form::Float(_) => {
            let bits = carried.as_primitive::<Float64Type>().value(0).to_bits();
            let word = writer.word(bits);
            Value::new(form, format!("__longlong_as_double((i64)p[{word}])"))
        }
        Form::Int(..) | Form::Wide => {
            let number =
                as_integers(&carried).and_then(|numbers| numbers.first().copied()).or_else(|| of_words(&carried));
            number_value(writer, number.ok_or_else(refused)?, form)
        }
    })
}

/// Times, timestamps and durations by their words.
fn of_words(array: &ArrayRef) -> Option<i128> {
    let data = array.to_data();
    let values = data.buffers().first()?;
    let (offset, signed) = (data.offset(), true);
    match (array.data_type().primitive_width()?, signed) {
        (4, _) => values.typed_data::<i32>().get(offset).map(|&value| i128::from(value)),
        (8, _) => values.typed_data::<i64>().get(offset).map(|&value| i128::from(value)),
        _ => None,
    }
}

/// A number that is known beforehand; of 64 bits if it fits these.
pub(super) fn number_value(writer: &mut Writer<'_>, number: i128, form: Form) -> Value {
    let range = Some((number, number));
    if form == Form::Wide && i64::try_from(number).is_err() {
        let low = writer.word(number as u64);
        let high = writer.word((number >> 64) as u64);
        return Value::new(Form::Wide, format!("(i128)((u128)p[{high}] << 64 | p[{low}])")).with_range(range);
    }
    let form = if form == Form::Wide { Form::Int(64, true) } else { form };
    let word = writer.word(number as u64);
    Value::new(form, format!("({})p[{word}]", form.name())).with_range(range)
}

/// The bytes of a text in carried form.
pub(super) fn text_bytes(array: &ArrayRef, row: usize) -> Option<Vec<u8>> {
    match array.data_type() {
        DataType::Utf8View => Some(array.as_string_view().value(row).as_bytes().to_vec()),
        DataType::BinaryView => Some(array.as_binary_view().value(row).to_vec()),
        DataType::Dictionary(..) => {
            let dictionary = array.as_dictionary_opt::<arrow::datatypes::UInt32Type>()?;
            text_bytes(dictionary.values(), *dictionary.keys().values().get(row)? as usize)
        }
        _ => None,
    }
}

/// Two integers in one form, that of 128 bits if one of them has it.
pub(super) fn alike(left: Value, right: Value) -> (Form, String, String) {
    let form = if left.form == Form::Wide || right.form == Form::Wide { Form::Wide } else { left.form };
    let code = |value: &Value| {
        if value.form == form { value.code.clone() } else { format!("({}){}", form.name(), value.code) }
    };
    (form, code(&left), code(&right))
}

/// A decimal's unscaled value with more digits behind the point.
pub(super) fn scaled(writer: &mut Writer<'_>, value: Value, up: u32, wanted: &str) -> Written<Value> {
    if up == 0 {
        return Ok(value);
    }
    let factor = 10_i128.checked_pow(up).ok_or("a decimal of too many digits")?;
    let factor = number_value(writer, factor, Form::Wide);
    super::arithmetic::product(writer, value, factor, wanted)
}

/// Compares values of one logical type, decimals of these scales.
fn compare(
    writer: &mut Writer<'_>,
    op: CompareOp,
    mut left: Value,
    mut right: Value,
    scales: [Option<i8>; 2],
    wanted: &str,
) -> Written<Value> {
    if let [Some(l), Some(r)] = scales
        && l != r
    {
        let most = l.max(r);
        left = scaled(writer, left, (most - l).unsigned_abs().into(), wanted)?;
        right = scaled(writer, right, (most - r).unsigned_abs().into(), wanted)?;
    }
    let equal = equality(&left, &right)?;
    let valid = both_valid(&left, &right);
    let value = match op {
        CompareOp::Equal => Value::new(Form::Bool, equal).with_valid(valid),
        CompareOp::NotEqual => Value::new(Form::Bool, format!("!({equal})")).with_valid(valid),
        CompareOp::Distinct | CompareOp::NotDistinct => {
            let (l, r) = (left.validity(), right.validity());
            let same = format!("({l} == {r} && (!{l} || {equal}))");
            Value::new(Form::Bool, if op == CompareOp::Distinct { format!("!{same}") } else { same })
        }
        CompareOp::Less => Value::new(Form::Bool, order(&left, "<", &right)?).with_valid(valid),
        CompareOp::LessOrEqual => Value::new(Form::Bool, order(&left, "<=", &right)?).with_valid(valid),
        CompareOp::Greater => Value::new(Form::Bool, order(&left, ">", &right)?).with_valid(valid),
        CompareOp::GreaterOrEqual => Value::new(Form::Bool, order(&left, ">=", &right)?).with_valid(valid),
    };
    Ok(writer.let_value(value))
}

fn equality(left: &Value, right: &Value) -> Written<String> {
    match (left.form, right.form) {
        (Form::Text, Form::Text) => Ok(format!("equal({}, {})", left.code, right.code)),
        _ => order(left, "==", right),
    }
}

fn order(left: &Value, sign: &str, right: &Value) -> Written<String> {
    match (left.form, right.form) {
        (Form::Text, Form::Text) => Ok(format!("compare({}, {}) {sign} 0", left.code, right.code)),
        (Form::Float(a), Form::Float(b)) if a == b => {
            Ok(format!("ordered({}) {sign} ordered({})", left.code, right.code))
        }
        (Form::Bool, Form::Bool) => Ok(format!("{} {sign} {}", left.code, right.code)),
        (l, r) if l.is_integral() && r.is_integral() && (l == r || l == Form::Wide || r == Form::Wide) => {
            let (_, left, right) = alike(left.clone(), right.clone());
            Ok(format!("{left} {sign} {right}"))
        }
        (l, r) => Err(format!("a comparison of {} and {}", l.name(), r.name())),
    }
}

/// `AND`, or `OR`, in three-valued logic. A part fails only on rows that those before it have not decided.
fn all_or_any(writer: &mut Writer<'_>, parts: &[Expr], items: &[Item], wanted: &str, and: bool) -> Written<Value> {
    let mut so_far: Option<Value> = None;
    for part in parts {
        let Some(before) = so_far else {
            so_far = Some(write(writer, part, items, wanted)?);
            continue;
        };
        // Decided: false of all, true of any.
        let decided = match (and, &before.valid) {
            (true, Some(valid)) => format!("({valid} && !{})", before.code),
            (true, None) => format!("!{}", before.code),
            (false, _) => before.truth(),
        };
        let guard = if part.may_fail() {
            let name = writer.name();
            writer.line(format!("bool w{name} = {wanted} && !{decided};"));
            format!("w{name}")
        } else {
            wanted.to_owned()
        };
        let value = write(writer, part, items, &guard)?;
        let sign = if and { "&&" } else { "||" };
        let joined = match both_valid(&before, &value) {
            None => Value::new(Form::Bool, format!("{} {sign} {}", before.code, value.code)),
            Some(_) => {
                let truth = format!("{} {sign} {}", before.truth(), value.truth());
                // One of them decides, or both are there.
                let decides = |value: &Value| match (and, &value.valid) {
                    (true, Some(valid)) => format!("({valid} && !{})", value.code),
                    (true, None) => format!("!{}", value.code),
                    (false, _) => value.truth(),
                };
                let both = format!("({} && {})", before.validity(), value.validity());
                let valid = format!("({both} || {} || {})", decides(&before), decides(&value));
                Value::new(Form::Bool, truth).with_valid(Some(valid))
            }
        };
        so_far = Some(writer.let_value(joined));
    }
    so_far.ok_or_else(|| "a conjunction of nothing".into())
}

/// Whether a value is in a list.
fn member(writer: &mut Writer<'_>, value: Value, list: &ArrayRef, negated: bool) -> Written<Value> {
    let list = to_carried(list).map_err(|error| error.to_string())?;
    let refused = || format!("a list of type {}", list.data_type());
    let has_null = list.null_count() > 0;
    let rows = (0..list.len()).filter(|&row| list.is_valid(row));
    let found = match value.form {
        Form::Text => {
            let texts = rows.map(|row| text_bytes(&list, row)).collect::<Option<Vec<_>>>().ok_or_else(refused)?;
            let places = texts.iter().map(|text| writer.bytes(text)).collect::<Vec<_>>();
            let count = writer.word(texts.len() as u64);
            let first = writer.words.len();
            for (place, text) in places.iter().zip(&texts) {
                writer.words.extend([*place as u64, text.len() as u64]);
            }
            format!("contains(p, p + {first}, p[{count}], {})", value.code)
        }
        Form::Bool => return Err("a list of truth values".into()),
        form => {
            let mut numbers = rows.map(|row| number_at(&list, row)).collect::<Option<Vec<_>>>().ok_or_else(refused)?;
            numbers.sort_unstable();
            numbers.dedup();
            let bits = match form {
                Form::Float(32) => format!("(i64)(u32)__float_as_int({})", value.code),
                Form::Float(_) => format!("__double_as_longlong({})", value.code),
                Form::Wide => {
                    if numbers.iter().any(|&number| i64::try_from(number).is_err()) {
                        return Err("a list of wide decimals".into());
                    }
                    let fits = format!("({0} == (i64){0})", value.code);
                    let among = among(writer, &numbers, &format!("(i64){}", value.code));
                    let found = Value::new(Form::Bool, format!("{fits} && {among}"));
                    return Ok(in_list(writer, found, value.valid, negated, has_null));
                }
                Form::Int(64, true) => {
                    // A decimal of any digits may be carried in 64 bits.
                    numbers.retain(|&number| i64::try_from(number).is_ok());
                    value.code.clone()
                }
                _ => format!("(i64){}", value.code),
            };
            among(writer, &numbers, &bits)
        }
    };
    Ok(in_list(writer, Value::new(Form::Bool, found), value.valid, negated, has_null))
}

/// A value that is in no list with a NULL may be in it nevertheless.
fn in_list(writer: &mut Writer<'_>, found: Value, valid: Option<String>, negated: bool, has_null: bool) -> Value {
    let found = writer.let_value(found).code;
    let valid = match (valid, has_null) {
        (valid, false) => valid,
        (None, true) => Some(found.clone()),
        (Some(valid), true) => Some(format!("({valid} && {found})")),
    };
    let code = if negated { format!("!{found}") } else { found };
    writer.let_value(Value::new(Form::Bool, code).with_valid(valid))
}

/// Whether a word is among numbers, which ascend.
fn among(writer: &mut Writer<'_>, numbers: &[i128], word: &str) -> String {
    // As signed words: unsigned ones beyond them come first.
    let mut words = numbers.iter().map(|&number| number as i64).collect::<Vec<_>>();
    words.sort_unstable();
    if words.len() <= FEW {
        let tests = words.iter().map(|&number| {
            let place = writer.word(number as u64);
            format!("{word} == (i64)p[{place}]")
        });
        let tests = tests.collect::<Vec<_>>().join(" || ");
        return if tests.is_empty() { "false".into() } else { format!("({tests})") };
    }
    let count = writer.word(words.len() as u64);
    let first = writer.words.len();
    writer.words.extend(words.iter().map(|&word| word as u64));
    format!("contains(p + {first}, p[{count}], {word})")
}

/// A number of a list; floats by their bits.
fn number_at(list: &ArrayRef, row: usize) -> Option<i128> {
    let one = list.slice(row, 1);
    match list.data_type() {
        DataType::Float64 => Some(i128::from(one.as_primitive::<Float64Type>().value(0).to_bits() as i64)),
        DataType::Float32 => Some(i128::from(one.as_primitive::<Float32Type>().value(0).to_bits())),
        DataType::Decimal128(..) => Some(one.as_primitive::<Decimal128Type>().value(0)),
        DataType::Int64 => Some(i128::from(one.as_primitive::<Int64Type>().value(0))),
        _ => as_integers(&one).and_then(|numbers| numbers.first().copied()).or_else(|| of_words(&one)),
    }
}

/// `LIKE`: see `like` in `functions.h` for what a pattern becomes.
fn like(
    writer: &mut Writer<'_>,
    value: Value,
    pattern: &str,
    negated: bool,
    ignore_case: bool,
    wanted: &str,
) -> Written<Value> {
    if value.form != Form::Text {
        return Err("LIKE of no text".into());
    }
    if ignore_case && !pattern.is_ascii() {
        return Err("ILIKE of a pattern that is not of ASCII".into());
    }
    let words = pattern_words(&if ignore_case { pattern.to_ascii_lowercase() } else { pattern.to_owned() });
    let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let length = writer.word(words.len() as u64);
    let first = writer.bytes(&bytes);
    let arguments = format!("{}, (const u16 *)(p + {first}), (u32)p[{length}]", value.code);
    let found = if ignore_case {
        let name = writer.name();
        writer.line(format!("bool f{name};"));
        let found = writer.let_value(Value::new(Form::Bool, format!("like_any_case({arguments}, f{name})")));
        let valid = value.validity();
        writer.fail_if(&format!("f{name} && {valid} && {wanted}"));
        found.code
    } else {
        format!("like({arguments})")
    };
    let code = if negated { format!("!{found}") } else { found };
    Ok(writer.let_value(Value::new(Form::Bool, code).with_valid(value.valid)))
}

/// A pattern in words: bytes, 256 for `_`, 257 for `%`. `\` takes the meaning from what is after it.
fn pattern_words(pattern: &str) -> Vec<u16> {
    let (mut words, mut bytes) = (Vec::new(), pattern.bytes());
    while let Some(byte) = bytes.next() {
        words.push(match byte {
            b'\\' => u16::from(bytes.next().unwrap_or(b'\\')),
            b'_' => 256,
            b'%' => 257,
            byte => u16::from(byte),
        });
    }
    words
}

/// `CASE`: conditions in turn, each of which counts where none before it was true.
fn case(
    writer: &mut Writer<'_>,
    branches: &[(Expr, Expr)],
    otherwise: Option<&Expr>,
    items: &[Item],
    logical: &DataType,
    wanted: &str,
) -> Written<Value> {
    let form = Form::of(logical).ok_or_else(|| format!("a case of type {logical}"))?;
    let (mut guards, mut values) = (Vec::new(), Vec::new());
    let mut open = wanted.to_owned();
    for (condition, result) in branches {
        let condition = write(writer, condition, items, &open)?;
        let name = writer.name();
        writer.line(format!("bool w{name} = {open} && {};", condition.truth()));
        writer.line(format!("bool o{name} = {open} && !w{name};"));
        open = format!("o{name}");
        values.push(write(writer, result, items, &format!("w{name}"))?);
        guards.push(format!("w{name}"));
    }
    values.push(match otherwise {
        Some(otherwise) => write(writer, otherwise, items, &open)?,
        None => {
            let none = if form == Form::Text { "text{0, 0}" } else { "0" };
            Value::new(form, none).with_valid(Some("false".into())).with_range(Some((0, 0)))
        }
    });
    // Decimals may be of 64 bits in one branch and of 128 in another.
    let form = match values.iter().map(|value| value.form).find(|form| *form == Form::Wide) {
        Some(wide) => wide,
        None => values[0].form,
    };
    if values.iter().any(|value| value.form != form && !(form == Form::Wide && value.form.is_integral())) {
        return Err("branches of a case that are carried differently".into());
    }
    let choose = |parts: Vec<String>| {
        let last = parts.last().cloned().unwrap_or_default();
        guards.iter().zip(&parts).rev().fold(last, |rest, (guard, part)| format!("{guard} ? {part} : {rest}"))
    };
    let code = choose(
        values
            .iter()
            .map(|value| match form {
                Form::Text => value.code.clone(),
                form => format!("({}){}", form.name(), value.code),
            })
            .collect(),
    );
    let valid = values.iter().any(|value| value.valid.is_some());
    let valid = valid.then(|| choose(values.iter().map(|value| value.validity().to_owned()).collect()));
    let range = values.iter().map(Value::bounds).reduce(|all, one| {
        let ((low, high), (other_low, other_high)) = all.zip(one)?;
        Some((low.min(other_low), high.max(other_high)))
    });
    Ok(writer.let_value(Value {
        form,
        code: format!("({code})"),
        valid: valid.map(|v| format!("({v})")),
        range: range.flatten(),
    }))
}

fn date_part(
    writer: &mut Writer<'_>,
    part: DatePart,
    value: Value,
    logical: &DataType,
    wanted: &str,
) -> Written<Value> {
    let per_day = match logical {
        DataType::Date32 => 1,
        DataType::Date64 | DataType::Timestamp(TimeUnit::Millisecond, None) => 86_400_000,
        DataType::Timestamp(TimeUnit::Second, None) => 86_400,
        DataType::Timestamp(TimeUnit::Microsecond, None) => 86_400_000_000_i64,
        DataType::Timestamp(TimeUnit::Nanosecond, None) => 86_400_000_000_000,
        other => return Err(format!("a part of {other}")),
    };
    let days = if per_day == 1 { value.code.clone() } else { format!("floor_divided({}, {per_day}ll)", value.code) };
    let part = match part {
        DatePart::Year => 0,
        DatePart::Month => 1,
        DatePart::Day => 2,
    };
    let name = writer.name();
    writer.line(format!("bool f{name};"));
    let valid = value.validity().to_owned();
    let made = Value::new(Form::Int(32, true), format!("date_part({days}, {part}, f{name})"));
    let made = writer.let_value(made.with_valid(value.valid));
    writer.fail_if(&format!("f{name} && {valid} && {wanted}"));
    Ok(made)
}

fn character_length(writer: &mut Writer<'_>, value: Value, logical: &DataType) -> Written<Value> {
    let form = Form::of(logical).ok_or_else(|| format!("lengths of type {logical}"))?;
    if value.form != Form::Text {
        return Err("characters of no text".into());
    }
    let code = format!("({})characters_of({})", form.name(), value.code);
    Ok(writer.let_value(Value::new(form, code).with_valid(value.valid)))
}

fn substring(writer: &mut Writer<'_>, value: Value, start: i64, length: Option<i64>) -> Written<Value> {
    if value.form != Form::Text || start == i64::MIN || length.is_some_and(|length| length < 0) {
        return Err("a part of a text that is an error".into());
    }
    let from = start.saturating_sub(1);
    let to = length.map_or(i64::MAX, |length| from.saturating_add(length));
    let (from, to) = (writer.word(from.max(0) as u64), writer.word(to.max(0) as u64));
    let code = format!("part_of({}, p[{from}], p[{to}])", value.code);
    Ok(writer.let_value(Value::new(Form::Text, code).with_valid(value.valid)))
}
