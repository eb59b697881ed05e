//! What is computed of each row.

use std::cell::LazyCell;
use std::sync::Arc;

use arrow::array::Decimal128Array;
use arrow::datatypes::DataType;
use bireme_operators::expr::Evaluator;
use bireme_operators::pipeline::ir::{ArithmeticOp, DatePart, Expr, ExprKind};

use crate::contest::{Case, Contest};
use crate::filter::{DISCOUNT, KIND, PRICE, SHIPPED, TAX, items, like};
use crate::tables::MONEY;

fn decimal(op: ArithmeticOp, left: Expr, right: Expr, digits: u8, scale: i8) -> Expr {
    let kind = ExprKind::Arithmetic(op, Box::new(left), Box::new(right));
    Expr { kind, data_type: DataType::Decimal128(digits, scale) }
}

fn number(value: i128, digits: u8, scale: i8) -> Expr {
    Expr::literal(Arc::new(Decimal128Array::from(vec![value]).with_precision_and_scale(digits, scale).unwrap()))
}

fn discounted() -> Expr {
    let rest = decimal(ArithmeticOp::Subtract, number(1, 20, 0), Expr::column(DISCOUNT, MONEY), 23, 2);
    decimal(ArithmeticOp::Multiply, Expr::column(PRICE, MONEY), rest, 38, 4)
}

/// All cases.
pub fn enter(contest: &Contest) {
    let rows = contest.rows(1 << 20);
    let items = LazyCell::new(|| items(rows));
    let taxed = decimal(ArithmeticOp::Add, number(1, 20, 0), Expr::column(TAX, MONEY), 23, 2);
    let charge = decimal(ArithmeticOp::Multiply, discounted(), taxed, 38, 6);
    let branches = vec![(like(KIND, "PROMO%"), discounted())];
    let promotion = Expr {
        kind: ExprKind::Case { branches, otherwise: Some(Box::new(number(0, 38, 4))) },
        data_type: DataType::Decimal128(38, 4),
    };
    let shipped = Box::new(Expr::column(SHIPPED, DataType::Date32));
    let year = Expr { kind: ExprKind::DatePart(DatePart::Year, shipped), data_type: DataType::Int32 };
    let cases = [
        ("a product of decimals", discounted(), "SELECT price * (1 - discount) FROM items"),
        ("three decimals", charge, "SELECT price * (1 - discount) * (1 + tax) FROM items"),
        (
            "case when like",
            promotion,
            "SELECT CASE WHEN kind LIKE 'PROMO%' THEN price * (1 - discount) ELSE 0 END FROM items",
        ),
        ("the year of a date", year, "SELECT EXTRACT(YEAR FROM shipped) FROM items"),
    ];
    for (name, expression, query) in cases {
        let evaluator = Evaluator::new(&expression).unwrap();
        contest.enter(&Case {
            operator: "expression",
            name,
            threads: &[1],
            ours: &|crew| {
                let chunks = &items.chunks;
                let rows = crew.deal(chunks.len(), |pieces| {
                    let evaluate = |piece: usize| {
                        let value = evaluator.evaluate(&chunks[piece]).unwrap();
                        std::hint::black_box(value).len()
                    };
                    pieces.map(evaluate).sum::<usize>()
                });
                rows.into_iter().sum()
            },
            tables: &|peer| items.register("items", peer),
            query,
        });
    }
}
