//! Expressions as they are evaluated: constants folded, lists sorted, patterns taken apart.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, DictionaryArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{and_kleene, not, or_kleene};
use arrow::datatypes::{DataType, UInt32Type};
use bireme_engine::error::{Error, Result};
use bireme_engine::morsel::to_logical;

use super::arithmetic::{Types, absolute, arithmetic, negate};
use super::case::{case, no_rows, wanted_rows};
use super::cast::{self, carried_literal, cast};
use super::compare::compare;
use super::date;
use super::dictionary::Cache;
use super::like::Pattern;
use super::list::Set;
use super::text::{character_length, substring};
use super::value::{Rows, Value, decimal_digits, is_carried, is_narrow};
use crate::pipeline::ir::{ArithmeticOp, BatchFunction, CompareOp, DatePart, Expr, ExprKind};

/// An expression that is ready to be evaluated.
#[derive(Debug)]
pub(super) struct Node {
    kind: Kind,
    data_type: DataType,
    /// The columns it reads, ascending.
    columns: Vec<usize>,
    can_fail: bool,
    /// For functions of one column, which may be a dictionary.
    dictionary: Option<Cache>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Column(usize),
    Constant(Value),
    Compare(CompareOp, Box<Node>, Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    IsNull { value: Box<Node>, negated: bool },
    Arithmetic(ArithmeticOp, Box<Node>, Box<Node>),
    Negate(Box<Node>),
    Absolute(Box<Node>),
    Cast { value: Box<Node>, or_null: bool },
    In { value: Box<Node>, set: Set, list: ArrayRef, negated: bool },
    Like { value: Box<Node>, pattern: Pattern, negated: bool },
    Case { branches: Vec<(Node, Node)>, otherwise: Option<Box<Node>> },
    DatePart(DatePart, Box<Node>),
    CharacterLength(Box<Node>),
    Substring { value: Box<Node>, start: i64, length: Option<i64> },
    Call(Arc<dyn BatchFunction>, Vec<Node>),
}

impl Node {
    pub fn new(expr: &Expr) -> Result<Self> {
        let columns = expr.columns();
        let kind = kind(expr)?;
        let is_plain = matches!(kind, Kind::Column(_) | Kind::Constant(_));
        let mut node = Self { kind, data_type: expr.data_type.clone(), columns, can_fail: false, dictionary: None };
        node.can_fail = node.fails_itself() || node.children().iter().any(|child| child.can_fail);
        node.dictionary = (node.columns.len() == 1 && !is_plain).then(Cache::default);
        if node.columns.is_empty() && !is_plain {
            let call = matches!(&node.kind, Kind::Call(_, arguments) if arguments.is_empty());
            match node.compute(&Rows::new(&[], 1)) {
                Ok(value) => {
                    node.kind =
                        Kind::Constant(Value { array: cast::narrowest(value.array), scalar: true, range: value.range });
                    node.can_fail = false;
                }
                Err(error) if call => return Err(error),
                // It fails when a row reaches it, if one does.
                Err(_) => {}
            }
        }
        Ok(node)
    }

    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// The columns it reads, ascending.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Whether it may be an error on some row.
    pub fn can_fail(&self) -> bool {
        self.can_fail
    }

    /// Whether it costs nothing to evaluate.
    pub fn is_free(&self) -> bool {
        matches!(self.kind, Kind::Column(_) | Kind::Constant(_))
    }

    fn fails_itself(&self) -> bool {
        match &self.kind {
            Kind::Arithmetic(op, left, right) => {
                let digits = [left, right].map(|side| decimal_digits(&side.data_type));
                let fits = digits.iter().all(|digits| digits.is_some_and(|(digits, _)| is_narrow(digits)));
                let whole = !matches!(op, ArithmeticOp::Divide | ArithmeticOp::Remainder);
                !(self.data_type.is_floating() || fits && whole && decimal_digits(&self.data_type).is_some())
            }
            Kind::Negate(_) | Kind::Absolute(_) => !self.data_type.is_floating(),
            Kind::Cast { value, or_null } => !or_null && cast::can_fail(&value.data_type, &self.data_type),
            Kind::Substring { start, length, .. } => *start == i64::MIN || length.is_some_and(|length| length < 0),
            Kind::Call(..) => true,
            _ => false,
        }
    }

    fn children(&self) -> Vec<&Node> {
        match &self.kind {
            Kind::Column(_) | Kind::Constant(_) => Vec::new(),
            Kind::Compare(_, left, right) | Kind::Arithmetic(_, left, right) => vec![left, right],
            Kind::And(parts) | Kind::Or(parts) | Kind::Call(_, parts) => parts.iter().collect(),
            Kind::Not(value)
            | Kind::IsNull { value, .. }
            | Kind::Negate(value)
            | Kind::Absolute(value)
            | Kind::Cast { value, .. }
            | Kind::In { value, .. }
            | Kind::Like { value, .. }
            | Kind::DatePart(_, value)
            | Kind::CharacterLength(value)
            | Kind::Substring { value, .. } => vec![value],
            Kind::Case { branches, otherwise } => {
                let branches = branches.iter().flat_map(|(condition, result)| [condition, result]);
                branches.chain(otherwise.as_deref()).collect()
            }
        }
    }

    /// Its value on some rows; nothing is evaluated where there are none.
    pub fn evaluate(&self, rows: &Rows<'_>) -> Result<Value> {
        if rows.rows == 0 {
            return Ok(Value::column(no_rows(&self.data_type)));
        }
        let Some(cache) = &self.dictionary else { return self.compute(rows) };
        let column = rows.column(self.columns[0])?;
        let Some(dictionary) = column.as_any().downcast_ref::<DictionaryArray<UInt32Type>>() else {
            return self.compute(rows);
        };
        if matches!(&self.kind, Kind::IsNull { value, .. } if value.is_free()) {
            return self.compute(rows);
        }
        if let Some(value) = cache.evaluate(dictionary, |values| self.compute(&Rows::of_one(values)))? {
            return Ok(value);
        }
        // All that this reads is the one column: it is decoded once.
        self.compute(&Rows::of_one(&super::gather::decode(dictionary)?))
    }

    fn compute(&self, rows: &Rows<'_>) -> Result<Value> {
        match &self.kind {
            Kind::Column(place) => self.carried(Value::column(Arc::clone(rows.column(*place)?))),
            Kind::Constant(value) => Ok(value.clone()),
            Kind::Compare(op, left, right) => {
                let types = (&left.data_type, &right.data_type);
                compare(*op, &left.evaluate(rows)?, &right.evaluate(rows)?, types)
            }
            Kind::And(parts) => all_or_any(parts, rows, true),
            Kind::Or(parts) => all_or_any(parts, rows, false),
            Kind::Not(value) => {
                let value = value.evaluate(rows)?;
                Ok(Value::new(Arc::new(not(truth(&value)?.as_boolean())?), value.scalar))
            }
            Kind::IsNull { value, negated } => Ok(is_null(&value.evaluate(rows)?, *negated)),
            Kind::Arithmetic(op, left, right) => {
                let types = Types { left: &left.data_type, right: &right.data_type, result: &self.data_type };
                arithmetic(*op, &left.evaluate(rows)?, &right.evaluate(rows)?, types)
            }
            Kind::Negate(value) => negate(&value.evaluate(rows)?, &value.data_type),
            Kind::Absolute(value) => absolute(&value.evaluate(rows)?, &value.data_type),
            Kind::Cast { value, or_null } => cast(&value.evaluate(rows)?, &value.data_type, &self.data_type, *or_null),
            Kind::In { value, set, negated, .. } => set.contains(&value.evaluate(rows)?.flat()?, *negated),
            Kind::Like { value, pattern, negated } => pattern.like(&value.evaluate(rows)?.flat()?, *negated),
            Kind::Case { branches, otherwise } => case(branches, otherwise.as_deref(), &self.data_type, rows),
            Kind::DatePart(part, value) => date::part(*part, &value.evaluate(rows)?, &value.data_type),
            Kind::CharacterLength(value) => character_length(&value.evaluate(rows)?.flat()?, &self.data_type),
            Kind::Substring { value, start, length } => substring(&value.evaluate(rows)?.flat()?, *start, *length),
            Kind::Call(function, arguments) => self.carried(call(function.as_ref(), arguments, rows)?),
        }
    }

    /// The value itself, if it is in a form that its type is carried in.
    fn carried(&self, value: Value) -> Result<Value> {
        if is_carried(value.array.data_type(), &self.data_type) {
            return Ok(value);
        }
        Err(Error::internal(format!("{} is no carried form of {}", value.array.data_type(), self.data_type)))
    }
}

fn kind(expr: &Expr) -> Result<Kind> {
    let boxed = |expr: &Expr| Node::new(expr).map(Box::new);
    let all = |parts: &[Expr]| parts.iter().map(Node::new).collect::<Result<Vec<_>>>();
    Ok(match &expr.kind {
        ExprKind::Column(place) => Kind::Column(*place),
        ExprKind::Literal(value) if value.len() == 1 && value.data_type() == &expr.data_type => {
            Kind::Constant(Value::scalar(carried_literal(value)?))
        }
        ExprKind::Literal(value) => {
            let (length, have, want) = (value.len(), value.data_type(), &expr.data_type);
            return Err(Error::internal(format!("a literal of {want} is {length} values of {have}")));
        }
        ExprKind::Compare(op, left, right) => Kind::Compare(*op, boxed(left)?, boxed(right)?),
        ExprKind::And(parts) => Kind::And(all(parts)?),
        ExprKind::Or(parts) => Kind::Or(all(parts)?),
        ExprKind::Not(value) => Kind::Not(boxed(value)?),
        ExprKind::IsNull(value) => Kind::IsNull { value: boxed(value)?, negated: false },
        ExprKind::IsNotNull(value) => Kind::IsNull { value: boxed(value)?, negated: true },
        ExprKind::Arithmetic(op, left, right) => Kind::Arithmetic(*op, boxed(left)?, boxed(right)?),
        ExprKind::Negate(value) => Kind::Negate(boxed(value)?),
        ExprKind::Absolute(value) => Kind::Absolute(boxed(value)?),
        ExprKind::Cast { value, or_null } => Kind::Cast { value: boxed(value)?, or_null: *or_null },
        ExprKind::In { value, list, negated } => Kind::In {
            value: boxed(value)?,
            set: Set::new(list, &value.data_type)?,
            list: carried_literal(list)?,
            negated: *negated,
        },
        ExprKind::Like { value, pattern, negated, ignore_case } => {
            Kind::Like { value: boxed(value)?, pattern: Pattern::new(pattern, *ignore_case), negated: *negated }
        }
        ExprKind::Case { branches, otherwise } => {
            let pair = |(condition, result): &(Expr, Expr)| Ok((Node::new(condition)?, Node::new(result)?));
            Kind::Case {
                branches: branches.iter().map(pair).collect::<Result<_>>()?,
                otherwise: otherwise.as_deref().map(boxed).transpose()?,
            }
        }
        ExprKind::DatePart(part, value) => Kind::DatePart(*part, boxed(value)?),
        ExprKind::CharacterLength(value) => Kind::CharacterLength(boxed(value)?),
        ExprKind::Substring { value, start, length } => {
            Kind::Substring { value: boxed(value)?, start: *start, length: *length }
        }
        ExprKind::Call(function, arguments) => Kind::Call(Arc::clone(function), all(arguments)?),
    })
}

/// A truth value: an untyped NULL is one as well.
pub(super) fn truth(value: &Value) -> Result<ArrayRef> {
    if value.array.data_type() == &DataType::Null {
        return Ok(Arc::new(BooleanArray::new_null(value.array.len())));
    }
    value.as_boolean()?;
    Ok(Arc::clone(&value.array))
}

fn is_null(value: &Value, negated: bool) -> Value {
    let rows = value.array.len();
    let valid = value.array.logical_nulls().map_or_else(|| BooleanBuffer::new_set(rows), |nulls| nulls.into_inner());
    Value::boolean(if negated { valid } else { !&valid }, None, value.scalar)
}

/// `AND` (or `OR`) in three-valued logic. A part that can fail is evaluated only on rows that are not decided by those
/// before it, and nothing once all are.
fn all_or_any(parts: &[Node], rows: &Rows<'_>, and: bool) -> Result<Value> {
    let mut so_far: Option<Value> = None;
    for part in parts {
        let Some(before) = so_far.take() else {
            let first = part.evaluate(rows)?;
            so_far = Some(Value::new(truth(&first)?, first.scalar));
            continue;
        };
        let open = undecided(&before, and)?;
        let (count, of) = (open.count_set_bits(), open.len());
        if count == 0 {
            so_far = Some(before);
            break;
        }
        let value = if before.scalar || count == of || !part.can_fail {
            part.evaluate(rows)?
        } else {
            wanted_rows(part, rows, &open, count)?
        };
        so_far = Some(combine(before, value, rows.rows, and)?);
    }
    so_far.ok_or_else(|| Error::internal("a conjunction of nothing"))
}

/// Rows that the next part may change: those not false yet (not true yet).
fn undecided(value: &Value, and: bool) -> Result<BooleanBuffer> {
    let bits = value.as_boolean()?;
    let open = if and { bits.values().clone() } else { !bits.values() };
    Ok(match bits.nulls() {
        Some(nulls) => &open | &!nulls.inner(),
        None => open,
    })
}

fn combine(left: Value, right: Value, rows: usize, and: bool) -> Result<Value> {
    let scalar = left.scalar && right.scalar;
    let rows = if scalar { 1 } else { rows };
    let right = Value::new(truth(&right)?, right.scalar);
    let (left, right) = (left.into_array(rows)?, right.into_array(rows)?);
    let (left, right) = (left.as_boolean(), right.as_boolean());
    let answer = if and { and_kleene(left, right)? } else { or_kleene(left, right)? };
    Ok(Value::new(Arc::new(answer), scalar))
}

fn call(function: &dyn BatchFunction, arguments: &[Node], rows: &Rows<'_>) -> Result<Value> {
    if arguments.is_empty() {
        return Value::from_logical(&function.evaluate(&[], 1)?, true);
    }
    let logical = arguments.iter().map(|argument| {
        let value = argument.evaluate(rows)?.into_array(rows.rows)?;
        to_logical(&value, &argument.data_type)
    });
    let result = function.evaluate(&logical.collect::<Result<Vec<_>>>()?, rows.rows)?;
    if result.len() != rows.rows {
        return Err(Error::internal(format!("a function gave {} values for {} rows", result.len(), rows.rows)));
    }
    Value::from_logical(&result, false)
}
