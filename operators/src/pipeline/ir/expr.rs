//! Expressions over the columns of a chunk.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bireme_engine::Result;

/// An expression with its (logical) type. NULLs follow SQL: three-valued logic, and NULL in, NULL out elsewhere.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What is computed.
    pub kind: ExprKind,
    /// The logical type of its values.
    pub data_type: DataType,
}

/// What an expression computes.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A column of the chunk.
    Column(usize),
    /// One value: an array of one row, of the expression's logical type.
    Literal(ArrayRef),
    /// Two values of the same logical type, as Arrow compares them (floats in total order).
    Compare(CompareOp, Box<Expr>, Box<Expr>),
    /// All of them, two or more, in the order they were written.
    And(Vec<Expr>),
    /// Any of them, two or more, in the order they were written.
    Or(Vec<Expr>),
    /// Not true.
    Not(Box<Expr>),
    /// Whether a value is NULL.
    IsNull(Box<Expr>),
    /// Whether a value is not NULL.
    IsNotNull(Box<Expr>),
    /// Two numbers, or a date and an interval. Integers and decimals that overflow are an error, as is a division by
    /// zero of them; a decimal's digits past its type's precision are not one.
    Arithmetic(ArithmeticOp, Box<Expr>, Box<Expr>),
    /// The negative number; overflow is an error.
    Negate(Box<Expr>),
    /// The number without its sign; overflow is an error.
    Absolute(Box<Expr>),
    /// The value as the expression's type; a value that does not fit is an error, or NULL if `or_null`.
    Cast {
        /// What is cast.
        value: Box<Expr>,
        /// `TRY_CAST`.
        or_null: bool,
    },
    /// Whether a value is in a list: `list` has the value's logical type and may hold NULLs.
    In {
        /// What is looked for.
        value: Box<Expr>,
        /// Where.
        list: ArrayRef,
        /// `NOT IN`.
        negated: bool,
    },
    /// `value LIKE pattern`, with the escape character `\`.
    Like {
        /// A text.
        value: Box<Expr>,
        /// With `%` and `_`.
        pattern: String,
        /// `NOT LIKE`.
        negated: bool,
        /// `ILIKE`.
        ignore_case: bool,
    },
    /// The first branch whose condition is true. Conditions and results of later branches are not evaluated on rows that
    /// an earlier one took.
    Case {
        /// Condition and result.
        branches: Vec<(Expr, Expr)>,
        /// Where no condition is true; else NULL.
        otherwise: Option<Box<Expr>>,
    },
    /// A part of a date or timestamp without time zone; the expression's type is `Int32`.
    DatePart(DatePart, Box<Expr>),
    /// Characters `start..` (from 1, may be below), `length` of them or all.
    Substring {
        /// A text.
        value: Box<Expr>,
        /// The first character's place, from 1.
        start: i64,
        /// How many.
        length: Option<i64>,
    },
    /// How many characters a text has; the expression's type is `Int32` or `Int64`.
    CharacterLength(Box<Expr>),
    /// A function that the IR does not know: evaluated on whole chunks, by its own means. Without arguments it is a value
    /// that is known when the pipeline starts (a scalar subquery), and is evaluated once.
    Call(Arc<dyn BatchFunction>, Vec<Expr>),
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CompareOp {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// `IS DISTINCT FROM`: never NULL.
    Distinct,
    /// `IS NOT DISTINCT FROM`: never NULL.
    NotDistinct,
}

/// Operations on two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ArithmeticOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// Parts of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum DatePart {
    Year,
    Month,
    Day,
}

/// A function on whole columns.
///
/// Law: the value of a row depends on that row's arguments only.
pub trait BatchFunction: fmt::Debug + Send + Sync {
    /// Canonical text of a call with these arguments.
    fn describe(&self, arguments: &[String]) -> String;

    /// Its values on `rows` rows, in logical types (both ways); one row where there are no arguments.
    ///
    /// # Errors
    /// It fails on a row.
    fn evaluate(&self, arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef>;
}

impl Expr {
    /// A column.
    pub fn column(place: usize, data_type: DataType) -> Self {
        Self { kind: ExprKind::Column(place), data_type }
    }

    /// The one value of an array.
    pub fn literal(value: ArrayRef) -> Self {
        let data_type = value.data_type().clone();
        Self { kind: ExprKind::Literal(value), data_type }
    }

    /// A truth value.
    pub fn boolean(kind: ExprKind) -> Self {
        Self { kind, data_type: DataType::Boolean }
    }

    /// All of these; the expression itself if there is only one.
    pub fn all(mut conjuncts: Vec<Expr>) -> Option<Self> {
        match conjuncts.len() {
            0 | 1 => conjuncts.pop(),
            _ => Some(Self::boolean(ExprKind::And(conjuncts))),
        }
    }

    /// Its parts that must all be true.
    pub fn conjuncts(self) -> Vec<Expr> {
        match self.kind {
            ExprKind::And(parts) => parts.into_iter().flat_map(Expr::conjuncts).collect(),
            _ => vec![self],
        }
    }

    /// Whether it can end in an error on some row: then it must not be evaluated on rows that an earlier condition drops.
    pub fn may_fail(&self) -> bool {
        let here = match &self.kind {
            ExprKind::Arithmetic(..) | ExprKind::Negate(_) | ExprKind::Absolute(_) => !self.data_type.is_floating(),
            ExprKind::Cast { or_null, .. } => !or_null,
            ExprKind::Call(_, arguments) => !arguments.is_empty(),
            _ => false,
        };
        here || self.children().into_iter().any(Expr::may_fail)
    }

    /// What it is computed from.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Column(_) | ExprKind::Literal(_) => Vec::new(),
            ExprKind::Compare(_, left, right) | ExprKind::Arithmetic(_, left, right) => vec![left, right],
            ExprKind::And(parts) | ExprKind::Or(parts) | ExprKind::Call(_, parts) => parts.iter().collect(),
            ExprKind::Not(value)
            | ExprKind::IsNull(value)
            | ExprKind::IsNotNull(value)
            | ExprKind::Negate(value)
            | ExprKind::Absolute(value)
            | ExprKind::Cast { value, .. }
            | ExprKind::In { value, .. }
            | ExprKind::Like { value, .. }
            | ExprKind::DatePart(_, value)
            | ExprKind::CharacterLength(value)
            | ExprKind::Substring { value, .. } => vec![value],
            ExprKind::Case { branches, otherwise } => {
                let branches = branches.iter().flat_map(|(condition, result)| [condition, result]);
                branches.chain(otherwise.as_deref()).collect()
            }
        }
    }

    /// The same expression over its children as `change` makes them.
    fn map_children(&self, change: &mut impl FnMut(&Expr) -> Expr) -> Self {
        let mut boxed = |expr: &Expr| Box::new(change(expr));
        let kind = match &self.kind {
            ExprKind::Column(_) | ExprKind::Literal(_) => self.kind.clone(),
            ExprKind::Compare(op, left, right) => ExprKind::Compare(*op, boxed(left), boxed(right)),
            ExprKind::Arithmetic(op, left, right) => ExprKind::Arithmetic(*op, boxed(left), boxed(right)),
            ExprKind::And(parts) => ExprKind::And(parts.iter().map(change).collect()),
            ExprKind::Or(parts) => ExprKind::Or(parts.iter().map(change).collect()),
            ExprKind::Call(function, parts) => ExprKind::Call(Arc::clone(function), parts.iter().map(change).collect()),
            ExprKind::Not(value) => ExprKind::Not(boxed(value)),
            ExprKind::IsNull(value) => ExprKind::IsNull(boxed(value)),
            ExprKind::IsNotNull(value) => ExprKind::IsNotNull(boxed(value)),
            ExprKind::Negate(value) => ExprKind::Negate(boxed(value)),
            ExprKind::Absolute(value) => ExprKind::Absolute(boxed(value)),
            ExprKind::Cast { value, or_null } => ExprKind::Cast { value: boxed(value), or_null: *or_null },
            ExprKind::In { value, list, negated } => {
                ExprKind::In { value: boxed(value), list: Arc::clone(list), negated: *negated }
            }
            ExprKind::Like { value, pattern, negated, ignore_case } => ExprKind::Like {
                value: boxed(value),
                pattern: pattern.clone(),
                negated: *negated,
                ignore_case: *ignore_case,
            },
            ExprKind::DatePart(part, value) => ExprKind::DatePart(*part, boxed(value)),
            ExprKind::CharacterLength(value) => ExprKind::CharacterLength(boxed(value)),
            ExprKind::Substring { value, start, length } => {
                ExprKind::Substring { value: boxed(value), start: *start, length: *length }
            }
            ExprKind::Case { branches, otherwise } => ExprKind::Case {
                branches: branches.iter().map(|(condition, result)| (change(condition), change(result))).collect(),
                otherwise: otherwise.as_ref().map(|otherwise| Box::new(change(otherwise))),
            },
        };
        Self { kind, data_type: self.data_type.clone() }
    }

    /// The columns it reads, ascending, each once.
    pub fn columns(&self) -> Vec<usize> {
        let mut columns = Vec::new();
        self.collect_columns(&mut columns);
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    fn collect_columns(&self, columns: &mut Vec<usize>) {
        if let ExprKind::Column(place) = self.kind {
            columns.push(place);
        }
        self.children().into_iter().for_each(|child| child.collect_columns(columns));
    }

    /// The same expression over columns at other places.
    #[must_use]
    pub fn with_columns(&self, place: &impl Fn(usize) -> usize) -> Self {
        match self.kind {
            ExprKind::Column(column) => Self::column(place(column), self.data_type.clone()),
            _ => self.map_children(&mut |child| child.with_columns(place)),
        }
    }

    /// The same expression with each column replaced by an expression (`inputs[column]`).
    #[must_use]
    pub fn over(&self, inputs: &[Expr]) -> Self {
        match self.kind {
            ExprKind::Column(column) => inputs[column].clone(),
            _ => self.map_children(&mut |child| child.over(inputs)),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |parts: &[Expr], word: &str| {
            let parts = parts.iter().map(|part| part.to_string()).collect::<Vec<_>>();
            format!("({})", parts.join(word))
        };
        match &self.kind {
            ExprKind::Column(place) => write!(f, "#{place}"),
            ExprKind::Literal(value) => f.write_str(&value_text(value, 0)),
            ExprKind::Compare(op, left, right) => write!(f, "({left} {op} {right})"),
            ExprKind::Arithmetic(op, left, right) => write!(f, "({left} {op} {right})"),
            ExprKind::And(parts) => f.write_str(&join(parts, " and ")),
            ExprKind::Or(parts) => f.write_str(&join(parts, " or ")),
            ExprKind::Not(value) => write!(f, "not {value}"),
            ExprKind::IsNull(value) => write!(f, "{value} is null"),
            ExprKind::IsNotNull(value) => write!(f, "{value} is not null"),
            ExprKind::Negate(value) => write!(f, "-{value}"),
            ExprKind::Absolute(value) => write!(f, "abs({value})"),
            ExprKind::Cast { value, or_null } => {
                write!(f, "{}cast({value} as {})", if *or_null { "try_" } else { "" }, self.data_type)
            }
            ExprKind::In { value, list, negated } => {
                let list = (0..list.len()).map(|row| value_text(list, row)).collect::<Vec<_>>().join(", ");
                write!(f, "{value}{} in ({list})", if *negated { " not" } else { "" })
            }
            ExprKind::Like { value, pattern, negated, ignore_case } => {
                let (not, like) = (if *negated { " not" } else { "" }, if *ignore_case { "ilike" } else { "like" });
                write!(f, "{value}{not} {like} '{pattern}'")
            }
            ExprKind::Case { branches, otherwise } => {
                f.write_str("case")?;
                for (condition, result) in branches {
                    write!(f, " when {condition} then {result}")?;
                }
                if let Some(otherwise) = otherwise {
                    write!(f, " else {otherwise}")?;
                }
                f.write_str(" end")
            }
            ExprKind::DatePart(part, value) => write!(f, "{}({value})", format!("{part:?}").to_lowercase()),
            ExprKind::CharacterLength(value) => write!(f, "character_length({value})"),
            ExprKind::Substring { value, start, length } => match length {
                Some(length) => write!(f, "substring({value}, {start}, {length})"),
                None => write!(f, "substring({value}, {start})"),
            },
            ExprKind::Call(function, arguments) => {
                let arguments = arguments.iter().map(ToString::to_string).collect::<Vec<_>>();
                f.write_str(&function.describe(&arguments))
            }
        }
    }
}

/// A value of an array as text that tells its type where the value alone does not.
pub(super) fn value_text(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) {
        return "null".into();
    }
    let text = match ArrayFormatter::try_new(array, &FormatOptions::new()) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(_) => "?".into(),
    };
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => format!("'{text}'"),
        DataType::Boolean | DataType::Int32 | DataType::Int64 | DataType::Float64 | DataType::Decimal128(..) => text,
        DataType::Date32 => text,
        other => format!("{other} {text}"),
    }
}

impl fmt::Display for CompareOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CompareOp::Equal => "=",
            CompareOp::NotEqual => "<>",
            CompareOp::Less => "<",
            CompareOp::LessOrEqual => "<=",
            CompareOp::Greater => ">",
            CompareOp::GreaterOrEqual => ">=",
            CompareOp::Distinct => "is distinct from",
            CompareOp::NotDistinct => "is not distinct from",
        })
    }
}

impl fmt::Display for ArithmeticOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ArithmeticOp::Add => "+",
            ArithmeticOp::Subtract => "-",
            ArithmeticOp::Multiply => "*",
            ArithmeticOp::Divide => "/",
            ArithmeticOp::Remainder => "%",
        })
    }
}
