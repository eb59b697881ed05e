//! Which share of rows a predicate keeps, and what it leaves of the columns it looks at.
//!
//! A predicate narrows its columns as it is weighed: after `d >= '1994-01-01'` the lower bound of `d` is that day, so
//! that `d < '1995-01-01'` beside it is weighed among the days that are left. Conjunctions on one column come out right
//! without being recognised as ranges, and a predicate that is met twice (in a scan and above it) counts once.

use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{Alias, Between, InList, Like};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::ColumnEstimate;
use super::columns::position;

/// `<` and its like between things of which nothing is known.
const COMPARISON: f64 = 1.0 / 3.0;
/// `=` between things of which nothing is known.
const EQUALITY: f64 = 0.1;
/// `LIKE 'abc%'` and `LIKE '%abc'`.
const LIKE_END: f64 = 0.1;
/// `LIKE '%abc%'`.
const LIKE_MIDDLE: f64 = 0.05;
/// Predicates that are not understood.
const UNKNOWN: f64 = 0.5;
/// A comparison with a value beyond the bounds may still find a row: bounds can be inexact.
const OUTSIDE: f64 = 1e-4;

/// The columns that predicates see.
pub(crate) struct Scope<'a> {
    /// Finds a column's place.
    pub find: &'a dyn Fn(&Column) -> Option<usize>,
    /// What is known of them; narrowed by predicates.
    pub columns: Vec<ColumnEstimate>,
}

impl Scope<'_> {
    /// The share of rows for which the predicate is true.
    pub(crate) fn keep(&mut self, predicate: &Expr) -> f64 {
        self.weigh(predicate).clamp(0.0, 1.0)
    }

    fn weigh(&mut self, predicate: &Expr) -> f64 {
        match predicate {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => self.weigh(left) * self.weigh(right),
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => self.either(left, right),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.compare(left, *op, right),
            Expr::Between(between) => self.between(between),
            Expr::InList(list) => self.in_list(list),
            Expr::Like(like) => like_share(like),
            Expr::Not(inner) => 1.0 - self.aside(inner),
            Expr::IsNull(inner) => self.nulls(inner),
            Expr::IsNotNull(inner) => 1.0 - self.nulls(inner),
            Expr::IsTrue(inner) | Expr::Alias(Alias { expr: inner, .. }) => self.weigh(inner),
            Expr::Literal(ScalarValue::Boolean(Some(true)), _) => 1.0,
            Expr::Literal(ScalarValue::Boolean(_) | ScalarValue::Null, _) => 0.0,
            _ => UNKNOWN,
        }
    }

    /// The share of a predicate that shall narrow nothing.
    fn aside(&mut self, predicate: &Expr) -> f64 {
        let columns = self.columns.clone();
        let share = self.keep(predicate);
        self.columns = columns;
        share
    }

    /// A disjunction leaves what either of its sides leaves.
    fn either(&mut self, left: &Expr, right: &Expr) -> f64 {
        let before = self.columns.clone();
        let first = self.keep(left);
        let after_first = std::mem::replace(&mut self.columns, before.clone());
        let second = self.keep(right);
        for ((second, first), before) in self.columns.iter_mut().zip(&after_first).zip(&before) {
            let join = |a: Option<f64>, b: Option<f64>, pick: fn(f64, f64) -> f64| a.zip(b).map(|(a, b)| pick(a, b));
            second.ndv = (first.ndv + second.ndv).min(before.ndv);
            second.domain = (first.domain + second.domain).min(before.domain);
            second.min = join(first.min, second.min, f64::min);
            second.max = join(first.max, second.max, f64::max);
        }
        // Two values of one column exclude each other; anything else may overlap.
        match (equated(left), equated(right)) {
            (Some(left), Some(right)) if left == right => first + second,
            _ => first + second - first * second,
        }
    }

    fn compare(&mut self, left: &Expr, op: Operator, right: &Expr) -> f64 {
        match (self.place(left), self.place(right)) {
            (Some(left), Some(right)) => self.two_columns(left, op, right),
            (Some(place), None) => self.column_and(place, op, right),
            (None, Some(place)) => match op.swap() {
                Some(op) => self.column_and(place, op, left),
                None => UNKNOWN,
            },
            (None, None) => unknown_comparison(op),
        }
    }

    fn two_columns(&self, left: usize, op: Operator, right: usize) -> f64 {
        let equal = 1.0 / self.columns[left].ndv.max(self.columns[right].ndv).max(1.0);
        match op {
            Operator::Eq | Operator::IsNotDistinctFrom => equal,
            Operator::NotEq | Operator::IsDistinctFrom => 1.0 - equal,
            op => unknown_comparison(op),
        }
    }

    /// A column against anything that is not a column; a literal at best.
    fn column_and(&mut self, place: usize, op: Operator, other: &Expr) -> f64 {
        let value = match strip(other) {
            Expr::Literal(value, _) if value.is_null() => return 0.0,
            Expr::Literal(value, _) => Some(position(value)),
            _ => None,
        };
        let column = &mut self.columns[place];
        let filled = 1.0 - column.nulls;
        match (op, value) {
            (Operator::Eq, _) => equal_to(column, value.flatten()) * filled,
            (Operator::NotEq, _) => (1.0 - 1.0 / column.ndv.max(1.0)) * filled,
            (Operator::Lt | Operator::LtEq, Some(Some(value))) => below(column, value) * filled,
            (Operator::Gt | Operator::GtEq, Some(Some(value))) => above(column, value) * filled,
            (op, _) => unknown_comparison(op) * filled,
        }
    }

    fn between(&mut self, between: &Between) -> f64 {
        let columns = between.negated.then(|| self.columns.clone());
        let low = self.compare(&between.expr, Operator::GtEq, &between.low);
        let share = low * self.compare(&between.expr, Operator::LtEq, &between.high);
        match columns {
            Some(columns) => {
                self.columns = columns;
                1.0 - share
            }
            None => share,
        }
    }

    fn in_list(&mut self, list: &InList) -> f64 {
        let count = list.list.len() as f64;
        let Some(place) = self.place(&list.expr) else {
            let share = (count * EQUALITY).min(UNKNOWN);
            return if list.negated { 1.0 - share } else { share };
        };
        let column = &mut self.columns[place];
        let share = (count / column.ndv.max(1.0)).min(1.0) * (1.0 - column.nulls);
        if list.negated {
            return 1.0 - share;
        }
        column.domain = (column.domain * share).max(count.min(column.domain));
        column.ndv = column.ndv.min(count);
        share
    }

    fn nulls(&self, expr: &Expr) -> f64 {
        self.place(expr).map_or(0.0, |place| self.columns[place].nulls)
    }

    /// The column that an expression is, but for casts.
    fn place(&self, expr: &Expr) -> Option<usize> {
        let Expr::Column(column) = strip(expr) else { return None };
        (self.find)(column).filter(|&place| place < self.columns.len())
    }
}

/// What is under casts and aliases.
pub(crate) fn strip(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => strip(&alias.expr),
        Expr::Cast(cast) => strip(&cast.expr),
        Expr::TryCast(cast) => strip(&cast.expr),
        other => other,
    }
}

/// The column that a predicate, or each of its alternatives, compares with a literal for equality.
fn equated(predicate: &Expr) -> Option<&Column> {
    match predicate {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (strip(left), strip(right)) {
            (Expr::Column(column), Expr::Literal(..)) | (Expr::Literal(..), Expr::Column(column)) => Some(column),
            _ => None,
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            equated(left).filter(|&left| equated(right) == Some(left))
        }
        _ => None,
    }
}

fn unknown_comparison(op: Operator) -> f64 {
    match op {
        Operator::Eq | Operator::IsNotDistinctFrom => EQUALITY,
        Operator::NotEq | Operator::IsDistinctFrom => 1.0 - EQUALITY,
        Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => COMPARISON,
        _ => UNKNOWN,
    }
}

/// One value of the column; the value itself where it is known and a number.
fn equal_to(column: &mut ColumnEstimate, value: Option<f64>) -> f64 {
    let outside = value
        .is_some_and(|value| column.min.is_some_and(|min| value < min) || column.max.is_some_and(|max| value > max));
    let share = 1.0 / column.ndv.max(1.0);
    (column.ndv, column.domain) = (1.0, 1.0);
    if value.is_some() {
        (column.min, column.max) = (value, value);
    }
    if outside { share.min(OUTSIDE) } else { share }
}

fn below(column: &mut ColumnEstimate, value: f64) -> f64 {
    let (Some(min), Some(max)) = (column.min, column.max) else { return COMPARISON };
    let share = share_of(value - min, max - min);
    narrow(column, share);
    column.max = Some(value.clamp(min, max));
    share
}

fn above(column: &mut ColumnEstimate, value: f64) -> f64 {
    let (Some(min), Some(max)) = (column.min, column.max) else { return COMPARISON };
    let share = share_of(max - value, max - min);
    narrow(column, share);
    column.min = Some(value.clamp(min, max));
    share
}

fn share_of(part: f64, whole: f64) -> f64 {
    let share = if whole > 0.0 { part / whole } else { f64::from(u8::from(part >= 0.0)) };
    share.clamp(OUTSIDE, 1.0)
}

fn narrow(column: &mut ColumnEstimate, share: f64) {
    column.ndv = (column.ndv * share).max(1.0);
    column.domain = (column.domain * share).max(1.0);
}

fn like_share(like: &Like) -> f64 {
    let share = match strip(&like.pattern) {
        Expr::Literal(pattern, _) => match pattern.try_as_str() {
            Some(Some(pattern)) => match (pattern.starts_with('%'), pattern.ends_with('%')) {
                _ if pattern.chars().all(|letter| letter == '%') => 1.0,
                (true, true) => LIKE_MIDDLE,
                _ => LIKE_END,
            },
            _ => UNKNOWN,
        },
        _ => LIKE_END,
    };
    if like.negated { 1.0 - share } else { share }
}
