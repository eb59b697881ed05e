//! Where the rows of a fragment lie: which of their values tell the lane of a row.
//!
//! Between ranks a fragment has one lane a rank, and rows come to their lane by the hash of some keys, or they have always been
//! there. As long as it is known by which keys, whatever needs equal rows together asks here first: groups by `a, b` need no exchange
//! where rows lie by the hash of `a`, nor does a join of two sides that lie by what they are joined on.

use bireme_operators::pipeline::ir::{Expr, ExprKind};

/// What is known of where rows lie. Each of the lists alone tells the lane of every row: it is the one that the values of these
/// expressions, in this order, hash to.
#[derive(Clone, Debug, Default)]
pub struct RowLayout {
    hashed: Vec<Vec<Expr>>,
}

impl RowLayout {
    /// Rows that were sent by the hash of these keys.
    pub fn hashed(keys: Vec<Expr>) -> Self {
        // Without keys all rows are in one lane, and nobody asks.
        Self { hashed: if keys.is_empty() { Vec::new() } else { vec![keys] } }
    }

    /// Whether rows that are equal in `keys` are in one lane.
    pub fn serves(&self, keys: &[Expr]) -> bool {
        !self.within(keys).is_empty()
    }

    /// The lists that are made of some of `keys`, as their places among them.
    pub fn within(&self, keys: &[Expr]) -> Vec<Vec<usize>> {
        let place = |wanted: &Expr| keys.iter().position(|key| same(key, wanted));
        self.hashed.iter().filter_map(|list| list.iter().map(place).collect()).collect()
    }

    /// The lists that are made of columns alone, by place.
    pub fn columns(&self) -> Vec<Vec<usize>> {
        let column = |expr: &Expr| match expr.kind {
            ExprKind::Column(place) => Some(place),
            _ => None,
        };
        self.hashed.iter().filter_map(|list| list.iter().map(column).collect()).collect()
    }

    /// The same rows with these columns instead, each an expression over those before.
    pub fn projected(&self, exprs: &[Expr]) -> Self {
        self.rewritten(|expr| moved(expr, exprs))
    }

    /// The same rows with their columns elsewhere, or gone.
    pub fn mapped(&self, place: impl Fn(usize) -> Option<usize>) -> Self {
        self.rewritten(|expr| {
            let columns = expr.columns();
            let there = columns.iter().all(|&column| place(column).is_some());
            there.then(|| expr.with_columns(&|column| place(column).unwrap_or(column)))
        })
    }

    /// What both say of the same rows.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for list in other.hashed {
            if !self.has(&list) {
                self.hashed.push(list);
            }
        }
        self
    }

    /// What holds for rows of either.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        self.hashed.retain(|list| other.has(list));
        self
    }

    /// What it says in other words, where the value of each of `from` is that of its neighbour in `to`.
    pub fn translated(&self, from: &[Expr], to: &[Expr]) -> Self {
        self.rewritten(|expr| from.iter().position(|key| same(key, expr)).map(|place| to[place].clone()))
    }

    fn rewritten(&self, rewrite: impl Fn(&Expr) -> Option<Expr>) -> Self {
        Self { hashed: self.hashed.iter().filter_map(|list| list.iter().map(&rewrite).collect()).collect() }
    }

    fn has(&self, list: &[Expr]) -> bool {
        let alike = |known: &Vec<Expr>| known.len() == list.len() && known.iter().zip(list).all(|(a, b)| same(a, b));
        self.hashed.iter().any(alike)
    }
}

/// An expression over the columns that a projection makes of the old ones.
fn moved(expr: &Expr, exprs: &[Expr]) -> Option<Expr> {
    let place = |wanted: &Expr| exprs.iter().position(|known| same(known, wanted));
    if let Some(place) = place(expr) {
        return Some(Expr::column(place, expr.data_type.clone()));
    }
    let column =
        |column: usize| exprs.iter().position(|known| matches!(known.kind, ExprKind::Column(place) if place == column));
    let there =
        !matches!(expr.kind, ExprKind::Column(_)) && expr.columns().into_iter().all(|old| column(old).is_some());
    there.then(|| expr.with_columns(&|old| column(old).unwrap_or(old)))
}

/// Expressions are compared as their canonical text; constants of two types read alike.
fn same(a: &Expr, b: &Expr) -> bool {
    a.data_type == b.data_type && a.to_string() == b.to_string()
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    fn column(place: usize) -> Expr {
        Expr::column(place, DataType::Int64)
    }

    fn negated(place: usize) -> Expr {
        Expr { kind: ExprKind::Negate(Box::new(column(place))), data_type: DataType::Int64 }
    }

    #[test]
    fn rows_by_some_of_the_keys_are_together() {
        let layout = RowLayout::hashed(vec![column(1), column(0)]);
        assert!(layout.serves(&[column(0), column(2), column(1)]));
        assert!(!layout.serves(&[column(0)]) && !layout.serves(&[]));
        assert_eq!(layout.within(&[column(0), column(2), column(1)]), [[2, 0]]);
        let other_type = [Expr::column(0, DataType::Int32), Expr::column(1, DataType::Int32)];
        assert!(!layout.serves(&other_type), "values of other types hash otherwise");
        assert!(!RowLayout::hashed(vec![]).serves(&[column(0)]) && !RowLayout::default().serves(&[column(0)]));
    }

    #[test]
    fn columns_move_and_vanish() {
        let layout = RowLayout::hashed(vec![column(2)]).and(RowLayout::hashed(vec![negated(1)]));
        let moved = layout.projected(&[column(1), column(2)]);
        assert!(moved.serves(&[column(1)]) && moved.serves(&[negated(0)]));
        let computed = layout.projected(&[negated(1)]);
        assert!(computed.serves(&[column(0)]) && computed.columns() == [[0]]);
        assert!(!layout.projected(&[column(0)]).serves(&[column(0)]));
        let mapped = layout.mapped(|place| (place == 1).then_some(5));
        assert!(mapped.serves(&[negated(5)]) && !mapped.serves(&[column(2)]));
    }

    #[test]
    fn layouts_meet() {
        let (a, b) = (RowLayout::hashed(vec![column(0)]), RowLayout::hashed(vec![column(1)]));
        assert!(a.clone().and(b.clone()).or(&b).serves(&[column(1)]));
        assert!(!a.clone().or(&b).serves(&[column(0), column(1)]));
        let equal = a.translated(&[column(0)], &[column(7)]);
        assert!(equal.serves(&[column(7)]) && !equal.serves(&[column(0)]));
        assert!(a.translated(&[column(1)], &[column(7)]).columns().is_empty());
    }
}
