//! The steps of a segment as statements for one row.
//!
//! ```text
//!   filter (#1 < 24)              do {
//!   probe slot 0 on [#0]            if (!(v1 < …)) continue;
//!   project [#0, b1 * 2]      ──►   for (u32 b0 = head0; b0 != NONE; b0 = t0next[b0]) {
//!                                     if (!(c0 == t0c0)) continue;
//!                                     i64 v5 = …;
//!                                     …                                  what the sink does with a row
//!                                   }
//!                                 } while (false);
//! ```

use arrow::datatypes::DataType;
use bireme_engine::morsel::carried_type;

use super::arithmetic::narrowed;
use super::code::{Form, Item, Memory, Origin, Value, Writer, Written};
use super::expr::{scale, write};
use crate::pipeline::ir::{Expr, ExprKind, JoinColumn, JoinKind, JoinSpec, Step};

/// A join that a segment probes.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    /// Logical types of the two sides' columns.
    pub build: Vec<DataType>,
    pub probe: Vec<DataType>,
}

/// What a kernel is told of a build side.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Built {
    /// Places of its directory, less one.
    pub mask: u64,
    /// `NOT IN`: no row has a key (0), one has a NULL (1), or neither (2).
    pub nulls: u64,
}

/// Writes all steps; the columns of the rows that reach the sink, or nothing if none do.
pub(super) fn steps(
    writer: &mut Writer<'_>,
    steps: &[Step],
    joined: &[Joined],
    built: &[Built],
    mut items: Vec<Item>,
) -> Written<Option<Vec<Item>>> {
    let mut tables = 0;
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Filter(condition) => filter(writer, condition, &items)?,
            Step::Project(exprs) => {
                items = exprs.iter().map(|expr| project(writer, expr, &items)).collect::<Written<_>>()?;
            }
            Step::Probe(_, spec) => {
                let table = Probe { spec, joined: &joined[tables], built: built[tables], number: tables };
                tables += 1;
                match table.write(writer, &items)? {
                    Some(next) => items = next,
                    None => return Ok(None),
                }
            }
            Step::Limit { .. } | Step::Window(..) => return Err("a step without kernels".into()),
        }
        writer.line(format!("++seen{number};"));
    }
    Ok(Some(items))
}

fn filter(writer: &mut Writer<'_>, condition: &Expr, items: &[Item]) -> Written<()> {
    for part in condition.clone().conjuncts() {
        let value = write(writer, &part, items, "true")?;
        writer.line(format!("if (!{}) continue;", value.truth()));
    }
    Ok(())
}

/// A column of the next rows, in the form that its type is carried in.
fn project(writer: &mut Writer<'_>, expr: &Expr, items: &[Item]) -> Written<Item> {
    if let ExprKind::Column(place) = expr.kind {
        return items.get(place).cloned().ok_or_else(|| "a column that is not there".into());
    }
    let value = write(writer, expr, items, "true")?;
    let narrow = carried_type(&expr.data_type) == DataType::Int64 && scale(&expr.data_type).is_some();
    let value = if narrow { narrowed(writer, value, Form::Int(64, true), "true") } else { value };
    Ok(Item::Computed(writer.let_value(value), expr.data_type.clone()))
}

/// A value as a key: what is equal has one code.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub form: Form,
    pub code: String,
    pub valid: Option<String>,
}

impl Key {
    pub fn of(value: &Value, logical: &DataType) -> Self {
        let wide = matches!(carried_type(logical), DataType::Decimal128(..));
        let (form, code) = match value.form {
            Form::Text => (Form::Text, value.code.clone()),
            Form::Float(_) => (Form::Int(64, true), format!("key_of({})", value.code)),
            _ if wide => (Form::Wide, format!("(i128){}", value.code)),
            _ => (Form::Int(64, true), format!("(i64){}", value.code)),
        };
        Self { form, code, valid: value.valid.clone() }
    }

    /// Whether it is the same as another; two NULLs are.
    pub fn is(&self, other: &Key) -> String {
        let equal = match self.form {
            Form::Text => format!("equal({}, {})", self.code, other.code),
            _ => format!("{} == {}", self.code, other.code),
        };
        match (&self.valid, &other.valid) {
            (None, None) => equal,
            _ => {
                let (a, b) = (self.valid.as_deref().unwrap_or("true"), other.valid.as_deref().unwrap_or("true"));
                format!("({a} == {b} && (!{a} || {equal}))")
            }
        }
    }
}

/// The hash of keys, named.
pub(super) fn hash(writer: &mut Writer<'_>, keys: &[Key]) -> String {
    let name = writer.name();
    writer.line(format!("u64 h{name} = 0;"));
    for key in keys {
        let hashed = format!("hashed(h{name}, {})", key.code);
        writer.line(match &key.valid {
            Some(valid) => format!("h{name} = {valid} ? {hashed} : mixed(h{name});"),
            None => format!("h{name} = {hashed};"),
        });
    }
    format!("h{name}")
}

/// The probe of a join.
struct Probe<'a> {
    spec: &'a JoinSpec,
    joined: &'a Joined,
    built: Built,
    number: usize,
}

impl Probe<'_> {
    fn write(&self, writer: &mut Writer<'_>, items: &[Item]) -> Written<Option<Vec<Item>>> {
        use JoinKind::*;
        let n = self.number;
        let kind = self.spec.kind;
        if kind == ProbeAntiNullAware {
            let word = writer.word(self.built.nulls);
            writer.line(format!("if (p[{word}] == 1) continue;"));
        }
        let keys = self.probe_keys(writer, items)?;
        if kind == ProbeAntiNullAware {
            let word = writer.words.len() - 1;
            for valid in keys.iter().filter_map(|key| key.valid.clone()) {
                writer.line(format!("if (p[{word}] == 2 && !{valid}) continue;"));
            }
        }
        let hash = hash(writer, &keys);
        let mask = writer.word(self.built.mask);
        let heads = writer.read(Memory::Heads(n), "const u32");
        let next = writer.read(Memory::Next(n), "const u32");
        let nothing = keys.iter().filter(|_| !self.spec.nulls_match).filter_map(|key| key.valid.clone());
        let nothing = nothing.map(|valid| format!(" && {valid}")).collect::<String>();
        writer.line(format!("u32 head{n} = true{nothing} ? {heads}[{hash} & p[{mask}]] : NONE;"));
        match kind {
            Inner | BuildOuter => {
                writer.open(format!("for (u32 b{n} = head{n}; b{n} != NONE; b{n} = {next}[b{n}]) {{"), "}");
                self.pass_if_equal(writer, items, &keys, "")?;
                if kind == BuildOuter {
                    self.mark(writer);
                }
                Ok(Some(self.output(items, None)?))
            }
            ProbeOuter | FullOuter => {
                writer.line(format!("bool matched{n} = false;"));
                let step = format!("over{n} = b{n} == NONE, b{n} = over{n} ? NONE : {next}[b{n}]");
                writer.open(format!("for (u32 b{n} = head{n}, over{n} = 0; !over{n}; {step}) {{"), "}");
                writer.line(format!("bool lone{n} = b{n} == NONE;"));
                writer.may_be_none(n);
                writer.line(format!("if (lone{n} && matched{n}) continue;"));
                self.pass_if_equal(writer, items, &keys, &format!("!lone{n} && "))?;
                writer.line(format!("matched{n} |= !lone{n};"));
                if kind == FullOuter {
                    writer.open(format!("if (!lone{n}) {{"), "}");
                    self.mark(writer);
                    writer.close();
                }
                Ok(Some(self.output(items, None)?))
            }
            ProbeSemi | ProbeAnti | ProbeAntiNullAware | ProbeMark => {
                writer.line(format!("bool found{n} = false;"));
                let step = format!("b{n} = {next}[b{n}]");
                writer.open(format!("for (u32 b{n} = head{n}; b{n} != NONE && !found{n}; {step}) {{"), "}");
                self.pass_if_equal(writer, items, &keys, "")?;
                writer.line(format!("found{n} = true;"));
                writer.close();
                match kind {
                    ProbeSemi => writer.line(format!("if (!found{n}) continue;")),
                    ProbeMark => {}
                    _ => writer.line(format!("if (found{n}) continue;")),
                }
                Ok(Some(self.output(items, Some(Value::new(Form::Bool, format!("found{n}"))))?))
            }
            BuildSemi | BuildAnti | BuildMark => {
                writer.open(format!("for (u32 b{n} = head{n}; b{n} != NONE; b{n} = {next}[b{n}]) {{"), "}");
                self.pass_if_equal(writer, items, &keys, "")?;
                self.mark(writer);
                Ok(None)
            }
        }
    }

    fn probe_keys(&self, writer: &mut Writer<'_>, items: &[Item]) -> Written<Vec<Key>> {
        let key = |&place: &usize| {
            let logical = &self.joined.probe[place];
            let value = writer.item(items.get(place).ok_or("a key that is not there")?, Some(logical))?;
            Ok(Key::of(&value, logical))
        };
        self.spec.probe_keys.iter().map(key).collect()
    }

    /// Goes on to the next pair unless this one matches; `besides` must be true for it to be looked at.
    fn pass_if_equal(&self, writer: &mut Writer<'_>, items: &[Item], keys: &[Key], besides: &str) -> Written<()> {
        for (key, &place) in keys.iter().zip(&self.spec.build_keys) {
            let logical = &self.joined.build[place];
            let value = writer.column(Origin::Table(self.number), place, Some(logical))?;
            let built = Key::of(&value, logical);
            // Without NULLs that match, none is in the directory, and none looks.
            let equal = if self.spec.nulls_match {
                key.is(&built)
            } else {
                Key { valid: None, ..key.clone() }.is(&Key { valid: None, ..built })
            };
            writer.line(format!("if ({besides}!({equal})) continue;"));
        }
        if let Some(residual) = &self.spec.residual {
            let build = (0..self.joined.build.len()).map(|place| Item::Stored(Origin::Table(self.number), place));
            let pair = items.iter().take(self.joined.probe.len()).cloned().chain(build).collect::<Vec<_>>();
            let wanted = match writer.lone(Origin::Table(self.number)) {
                Some(lone) => format!("!{lone}"),
                None => "true".into(),
            };
            let value = write(writer, residual, &pair, &wanted)?;
            writer.line(format!("if ({besides}!{}) continue;", value.truth()));
        }
        Ok(())
    }

    fn mark(&self, writer: &mut Writer<'_>) {
        let n = self.number;
        let marks = writer.read(Memory::Marks(n), "u32");
        writer.line(format!("atomicOr({marks} + (b{n} >> 5), 1u << (b{n} & 31));"));
    }

    fn output(&self, items: &[Item], mark: Option<Value>) -> Written<Vec<Item>> {
        let column = |column: &JoinColumn| match *column {
            JoinColumn::Probe(place) => {
                items.get(place).cloned().ok_or_else(|| "a column that is not there".to_owned())
            }
            JoinColumn::Build(place) => Ok(Item::Stored(Origin::Table(self.number), place)),
            JoinColumn::Mark => mark
                .clone()
                .map(|mark| Item::Computed(mark, DataType::Boolean))
                .ok_or_else(|| "a mark of no kind".to_owned()),
        };
        self.spec.output.iter().map(column).collect()
    }
}
