//! Tiny tables with NULLs and repeated keys, and random queries over them.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

/// A small generator (SplitMix64), so that a seed is a query for good.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1))
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[usize::try_from(self.below(items.len() as u64)).unwrap()]
    }
}

/// Tables of 0 to 40 rows, all with the columns `a`, `b`, `c` (numbers) and `s` (text).
pub const TABLES: [(&str, usize); 6] = [("t0", 3), ("t1", 8), ("t2", 13), ("t3", 25), ("t4", 40), ("empty", 0)];

pub fn session() -> SessionContext {
    let mut options = SessionConfig::new().with_target_partitions(2);
    options.options_mut().optimizer.join_reordering = false;
    let context = SessionContext::new_with_config(options);
    let mut random = Random::new(7);
    for (name, rows) in TABLES {
        let mut numbers = |bound: u64, nulls: u64| -> ArrayRef {
            let value = |_| (!random.chance(nulls)).then(|| i64::try_from(random.below(bound)).unwrap());
            Arc::new((0..rows).map(value).collect::<Int64Array>())
        };
        let (a, b, c) = (numbers(12, 0), numbers(6, 10), numbers(20, 10));
        let text = |_| (!random.chance(5)).then(|| ["x", "y", "z", "xy"][usize::try_from(random.below(4)).unwrap()]);
        let s: ArrayRef = Arc::new((0..rows).map(text).collect::<StringArray>());
        let batch =
            RecordBatch::try_from_iter_with_nullable([("a", a, true), ("b", b, true), ("c", c, true), ("s", s, true)])
                .unwrap();
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        context.register_table(name, Arc::new(table)).unwrap();
    }
    context
}

/// A query of 2 to 7 relations: mostly connected, with aliases, residuals, subqueries, outer joins.
pub fn query(seed: u64) -> String {
    let mut random = Random::new(seed);
    let count = 2 + random.below(5);
    let mut from = String::new();
    let mut predicates = Vec::new();
    for number in 0..count {
        let separator = if number == 0 { "" } else { ", " };
        write!(from, "{separator}{} r{number}", relation(&mut random)).unwrap();
        if number > 0 && random.chance(92) {
            let other = random.below(number);
            predicates.push(equality(&mut random, number, other));
            if random.chance(25) {
                predicates.push(equality(&mut random, number, other));
            }
        }
    }
    for _ in 0..random.below(3) {
        let (one, other) = (random.below(count), random.below(count));
        predicates.push(equality(&mut random, one, other));
    }
    for _ in 0..random.below(3) {
        predicates.push(extra(&mut random, count));
    }
    let outputs = (0..count).map(|number| format!("r{number}.a, r{number}.s")).collect::<Vec<_>>().join(", ");
    let condition = if predicates.is_empty() { "true".into() } else { predicates.join(" and ") };
    match random.below(4) {
        0 => format!("select count(*), sum(r0.c), min(r1.s) from {from} where {condition}"),
        1 => format!("select r1.b, r0.s, count(*) from {from} where {condition} group by r1.b, r0.s"),
        2 => format!("select * from {from} where {condition}"),
        _ => format!("select {outputs} from {from} where {condition}"),
    }
}

fn table(random: &mut Random) -> &'static str {
    // The empty table seldom: it empties everything.
    if random.chance(2) { "empty" } else { TABLES[usize::try_from(random.below(5)).unwrap()].0 }
}

fn relation(random: &mut Random) -> String {
    let (one, other) = (table(random), table(random));
    match random.below(14) {
        0 => format!("(select x.a, y.b, x.c, y.s from {one} x join {other} y on x.a = y.a)"),
        1 => format!("(select x.a, x.b, y.c, y.s from {one} x left join {other} y on x.a = y.a and y.b > 1)"),
        2 => format!("(select a, min(b) b, max(c) c, min(s) s from {one} group by a)"),
        3 => format!("(select a, b, c, s from {one} where b < 4 order by a, b, c, s limit 9)"),
        4 => format!("(select x.a, x.b, x.c, x.s from {one} x where x.a in (select a from {other} where c > 5))"),
        5 => format!("(select b as a, a as b, c, s from {one})"),
        _ => one.to_owned(),
    }
}

fn column(random: &mut Random, relation: u64) -> String {
    format!("r{relation}.{}", random.pick(&["a", "a", "b", "c"]))
}

fn equality(random: &mut Random, one: u64, other: u64) -> String {
    let (left, right) = (column(random, one), column(random, other));
    match random.below(12) {
        0 => format!("{left} + 1 = {right}"),
        1 => format!("r{one}.s = r{other}.s"),
        2 => format!("{left} = {right} + r0.b"),
        _ => format!("{left} = {right}"),
    }
}

fn extra(random: &mut Random, count: u64) -> String {
    let (one, other, third) = (random.below(count), random.below(count), random.below(count));
    let (a, b, c) = (column(random, one), column(random, other), column(random, third));
    let inner = table(random);
    match random.below(13) {
        0 => format!("{a} < {b}"),
        1 => format!("{a} + {b} < {c} + 6"),
        2 => format!("({a} = 3 or {b} = 2)"),
        3 => format!("{a} > 2"),
        4 => format!("exists (select 1 from {inner} i where i.a = {a})"),
        5 => format!("not exists (select 1 from {inner} i where i.a = {a} and i.c > 8)"),
        6 => format!("exists (select 1 from {inner} i where i.a = {a} and i.b <> {b})"),
        7 => format!("{a} in (select b from {inner} where b is not null)"),
        8 => format!("{a} not in (select b from {inner} where c > 3)"),
        9 => format!("({a} in (select a from {inner}) or {b} > 3)"),
        10 => format!("{a} < (select max(i.c) from {inner} i where i.a = {b})"),
        11 => format!("{a} < (select avg(c) from {inner})"),
        _ => format!("{a} between {b} and {c}"),
    }
}
