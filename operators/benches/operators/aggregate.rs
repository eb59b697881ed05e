//! Grouping, by number of groups and kind of key.

use std::cell::LazyCell;

use arrow::datatypes::DataType;
use bireme_engine::morsel::Chunk;
use bireme_operators::aggregate::Aggregator;
use bireme_operators::pipeline::Resources;
use bireme_operators::pipeline::ir::{AggregateCall, AggregateFunction, AggregateMode, AggregateSpec};

use crate::contest::{Case, Contest, Crew};
use crate::tables::{MONEY, Table, dates, ints, money, random, texts};

/// Groups `chunks` of such columns; how many groups there are.
fn group(spec: &AggregateSpec, types: &[DataType], chunks: &[Chunk], crew: &Crew) -> usize {
    let resources = Resources { workers: crew.workers(), ..Resources::for_tests() };
    let aggregator = Aggregator::new(spec.clone(), types.to_vec(), resources).unwrap();
    let locals = crew.deal(chunks.len(), |pieces| {
        let mut local = aggregator.local().unwrap();
        pieces.for_each(|piece| local.consume(&chunks[piece]).unwrap());
        local
    });
    let groups = crew.install(|| aggregator.finish(locals)).unwrap();
    crew.drain(groups.as_ref())
}

fn call(function: AggregateFunction, argument: Option<(usize, DataType)>, data_type: DataType) -> AggregateCall {
    AggregateCall { function, arguments: argument.into_iter().collect(), filter: None, distinct: false, data_type }
}

fn spec(keys: &[usize], calls: Vec<AggregateCall>) -> AggregateSpec {
    AggregateSpec { keys: keys.to_vec(), calls, mode: AggregateMode::Single, limit: None }
}

fn count() -> AggregateCall {
    call(AggregateFunction::Count, None, DataType::Int64)
}

/// `lineitem` as TPC-H's first query reads it.
fn prices(rows: usize) -> Table {
    let pick = |row: usize, column: usize, values: u64| random(row * 8 + column) % values;
    let columns = [
        texts("flag", |row| ["R", "N", "A"][pick(row, 0, 3) as usize].to_owned()),
        texts("status", |row| ["O", "F"][pick(row, 1, 2) as usize].to_owned()),
        money("quantity", |row| i128::from(pick(row, 2, 5_000))),
        money("price", |row| i128::from(pick(row, 3, 10_000_000))),
        money("discount", |row| i128::from(pick(row, 4, 11))),
    ];
    Table::new(rows, &columns)
}

fn enter_prices(contest: &Contest) {
    let rows = contest.rows(4 << 20);
    let table = LazyCell::new(|| prices(rows));
    let sum = |column| call(AggregateFunction::Sum, Some((column, MONEY)), DataType::Decimal128(25, 2));
    let average = |column| call(AggregateFunction::Avg, Some((column, MONEY)), DataType::Decimal128(19, 6));
    let spec = spec(&[0, 1], vec![sum(2), sum(3), average(2), average(3), average(4), count()]);
    contest.enter(&Case {
        operator: "aggregate",
        name: "six of two flags, three sums and averages",
        threads: &[1, 2],
        ours: &|crew| group(&spec, &table.types(), &table.chunks, crew),
        tables: &|peer| table.register("prices", peer),
        query: "SELECT flag, status, SUM(quantity), SUM(price), AVG(quantity), AVG(price), AVG(discount), COUNT(*) \
                FROM prices GROUP BY flag, status",
    });
}

fn enter_groups(contest: &Contest, name: &str, rows: usize, make: impl Fn(usize) -> Table) {
    let rows = contest.rows(rows);
    let table = LazyCell::new(|| make(rows));
    let sum = call(AggregateFunction::Sum, Some((1, DataType::Int64)), DataType::Int64);
    let spec = spec(&[0], vec![sum, count()]);
    contest.enter(&Case {
        operator: "aggregate",
        name,
        threads: &[1, 2],
        ours: &|crew| group(&spec, &table.types(), &table.chunks, crew),
        tables: &|peer| table.register("rows", peer),
        query: "SELECT k, SUM(v), COUNT(*) FROM rows GROUP BY k",
    });
}

/// All cases.
pub fn enter(contest: &Contest) {
    enter_prices(contest);
    let value = || ints("v", |row| (random(row) >> 40) as i64);
    for (name, rows, groups) in
        [("10 integers", 4 << 20, 10), ("10^4 integers", 4 << 20, 10_000), ("10^7 integers", 16 << 20, 10_000_000)]
    {
        let key = move || ints("k", move |row| (random(row) % groups * 1_000_003) as i64);
        enter_groups(contest, name, rows, |rows| Table::new(rows, &[key(), value()]));
    }
    for (name, groups) in [("10^4 texts", 10_000), ("10^6 texts", 1_000_000)] {
        let key = move || texts("k", move |row| format!("Customer#{:09}", random(row) % groups));
        enter_groups(contest, name, 4 << 20, |rows| Table::new(rows, &[key(), value()]));
    }
    let day = || dates("k", |row| 9_000 + (random(row) % 2_500) as i32);
    enter_groups(contest, "2500 dates", 4 << 20, |rows| Table::new(rows, &[day(), value()]));
}
