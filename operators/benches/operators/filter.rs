//! Conditions on a table like `lineitem`, and the rows that pass.

use std::cell::LazyCell;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Int64Array, StringViewArray};
use arrow::datatypes::DataType;
use bireme_engine::morsel::Chunk;
use bireme_operators::expr::Filter;
use bireme_operators::pipeline::ir::{CompareOp, Expr, ExprKind};

use crate::contest::{Case, Contest};
use crate::tables::{MONEY, Table, dates, ints, money, random, texts};

/// Columns of [`items`].
pub const PRICE: usize = 0;
pub const DISCOUNT: usize = 1;
pub const TAX: usize = 2;
pub const SHIPPED: usize = 3;
pub const KIND: usize = 4;
const QUANTITY: usize = 5;
const KEY: usize = 6;
const MODE: usize = 7;
const COMMENT: usize = 8;

/// Rows like those of `lineitem` joined with `part`.
pub fn items(rows: usize) -> Table {
    let modes = ["AIR", "FOB", "MAIL", "RAIL", "REG AIR", "SHIP", "TRUCK"];
    let words = ["carefully", "final", "deposits", "special", "requests", "sleep", "quickly", "above", "the", "ironic"];
    let word = |row: usize, place: usize| words[(random(row * 7 + place) % 10) as usize];
    let pick = |row: usize, column: usize, values: u64| random(row * 16 + column) % values;
    let columns = [
        money("price", |row| i128::from(pick(row, PRICE, 10_000_000))),
        money("discount", |row| i128::from(pick(row, DISCOUNT, 11))),
        money("tax", |row| i128::from(pick(row, TAX, 9))),
        dates("shipped", |row| 8_000 + pick(row, SHIPPED, 2_500) as i32),
        texts("kind", |row| format!("{} BRUSHED {}", ["PROMO", "SMALL", "ECONOMY"][row % 3], pick(row, KIND, 50))),
        money("quantity", |row| 100 + 100 * i128::from(pick(row, QUANTITY, 50))),
        ints("key", |row| pick(row, KEY, 200) as i64),
        texts("mode", |row| modes[pick(row, MODE, 7) as usize].to_owned()),
        texts("comment", |row| (0..7).map(|place| word(row, place)).collect::<Vec<_>>().join(" ")),
    ];
    Table::new(rows, &columns)
}

fn compare(op: CompareOp, place: usize, value: ArrayRef) -> Expr {
    let column = Expr::column(place, value.data_type().clone());
    Expr::boolean(ExprKind::Compare(op, Box::new(column), Box::new(Expr::literal(value))))
}

fn day(days: i32) -> ArrayRef {
    Arc::new(Date32Array::from(vec![days]))
}

fn hundredths(value: i128) -> ArrayRef {
    Arc::new(Decimal128Array::from(vec![value]).with_data_type(MONEY))
}

fn int(value: i64) -> ArrayRef {
    Arc::new(Int64Array::from(vec![value]))
}

/// `kind LIKE …` and the like.
pub fn like(place: usize, pattern: &str) -> Expr {
    let value = Box::new(Expr::column(place, DataType::Utf8View));
    Expr::boolean(ExprKind::Like { value, pattern: pattern.into(), negated: false, ignore_case: false })
}

/// All cases.
pub fn enter(contest: &Contest) {
    use CompareOp::{Equal, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    let rows = contest.rows(1 << 20);
    let items = LazyCell::new(|| items(rows));
    // 1994-01-01 and 1995-01-01 are days 8766 and 9131.
    let year = || vec![compare(GreaterOrEqual, SHIPPED, day(8766)), compare(Less, SHIPPED, day(9131))];
    let mut revenue = year();
    revenue.push(compare(GreaterOrEqual, DISCOUNT, hundredths(5)));
    revenue.push(compare(LessOrEqual, DISCOUNT, hundredths(7)));
    revenue.push(compare(Less, QUANTITY, hundredths(2400)));
    let modes: ArrayRef = Arc::new(StringViewArray::from(vec!["MAIL", "SHIP"]));
    let value = Box::new(Expr::column(MODE, DataType::Utf8View));
    let cases: [(&str, Expr, &[usize], &str); 6] = [
        (
            "a year of seven",
            Expr::all(year()).unwrap(),
            &[PRICE, DISCOUNT, TAX, SHIPPED],
            "SELECT price, discount, tax, shipped FROM items \
             WHERE shipped >= DATE '1994-01-01' AND shipped < DATE '1995-01-01'",
        ),
        (
            "five comparisons",
            Expr::all(revenue).unwrap(),
            &[PRICE, DISCOUNT, SHIPPED, QUANTITY],
            "SELECT price, discount, shipped, quantity FROM items \
             WHERE shipped >= DATE '1994-01-01' AND shipped < DATE '1995-01-01' \
             AND discount >= 0.05 AND discount <= 0.07 AND quantity < 24.00",
        ),
        (
            "one row of 200",
            compare(Equal, KEY, int(7)),
            &[PRICE, SHIPPED, KEY, COMMENT],
            "SELECT price, shipped, key, comment FROM items WHERE key = 7",
        ),
        (
            "nearly all rows",
            compare(NotEqual, KEY, int(7)),
            &[PRICE, SHIPPED, KEY, COMMENT],
            "SELECT price, shipped, key, comment FROM items WHERE key <> 7",
        ),
        (
            "texts in a list",
            Expr::boolean(ExprKind::In { value, list: modes, negated: false }),
            &[KEY, MODE],
            "SELECT key, mode FROM items WHERE mode IN ('MAIL', 'SHIP')",
        ),
        (
            "texts like a pattern",
            like(COMMENT, "%special%requests%"),
            &[KEY, COMMENT],
            "SELECT key, comment FROM items WHERE comment LIKE '%special%requests%'",
        ),
    ];
    for (name, condition, kept, query) in cases {
        let place = |column: usize| kept.iter().position(|&kept| kept == column).unwrap();
        let filter = Filter::new(&condition.with_columns(&place)).unwrap();
        contest.enter(&Case {
            operator: "filter",
            name,
            threads: &[1],
            ours: &|crew| {
                let chunks = &items.chunks;
                let passed = crew.deal(chunks.len(), |pieces| {
                    let passing = |piece: usize| {
                        let chunk = &chunks[piece];
                        let columns = kept.iter().map(|&column| Arc::clone(&chunk.columns[column])).collect();
                        let passed = filter.apply(Chunk::new(columns, chunk.rows)).unwrap();
                        passed.map_or(0, |passed| std::hint::black_box(passed).rows)
                    };
                    pieces.map(passing).sum::<usize>()
                });
                passed.into_iter().sum()
            },
            tables: &|peer| items.register("items", peer),
            query,
        });
    }
}
