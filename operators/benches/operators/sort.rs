//! Sorts, whole and for the first rows only.

use std::cell::LazyCell;
use std::ops::Deref;

use bireme_operators::pipeline::Resources;
use bireme_operators::pipeline::ir::{SortKey, SortSpec};
use bireme_operators::sort::Sorter;

use crate::contest::{Case, Contest, Crew};
use crate::tables::{Table, dates, ints, random, texts};

/// Sorts a table and reads it; how many rows come out.
fn sort(spec: &SortSpec, table: &Table, crew: &Crew) -> usize {
    let resources = Resources { workers: crew.workers(), ..Resources::for_tests() };
    let sorter = Sorter::new(spec.clone(), table.types(), resources).unwrap();
    let locals = crew.deal(table.chunks.len(), |pieces| {
        let mut local = sorter.local().unwrap();
        pieces.for_each(|piece| local.consume(&table.chunks[piece]).unwrap());
        local
    });
    let sorted = crew.install(|| sorter.finish(locals)).unwrap();
    crew.drain(sorted.as_ref())
}

fn key(column: usize, descending: bool) -> SortKey {
    SortKey { column, descending, nulls_first: descending }
}

type LazyTable<'a> = &'a dyn Deref<Target = Table>;

fn enter_case(contest: &Contest, name: &str, table: LazyTable<'_>, spec: &SortSpec, query: &str) {
    contest.enter(&Case {
        operator: "sort",
        name,
        threads: &[1, 2],
        ours: &|crew| sort(spec, table, crew),
        tables: &|peer| table.register("rows", peer),
        query,
    });
}

/// All cases.
pub fn enter(contest: &Contest) {
    let rows = contest.rows(2_000_000);
    let numbers = LazyCell::new(|| {
        let columns = [ints("a", |row| random(row) as i64), ints("v", |row| row as i64)];
        Table::new(rows, &columns)
    });
    let people = LazyCell::new(|| {
        let names = rows as u64 / 10 + 1;
        let columns = [
            texts("name", |row| format!("Customer#{:09}", random(row) % names)),
            dates("day", |row| 9_000 + (random(row * 3 + 1) % 2_557) as i32),
            ints("few", |row| (random(row * 3 + 2) % 5) as i64),
            ints("v", |row| row as i64),
        ];
        Table::new(rows, &columns)
    });
    let whole = |keys: &[SortKey]| SortSpec { keys: keys.to_vec(), fetch: None };
    let first = |keys: &[SortKey]| SortSpec { keys: keys.to_vec(), fetch: Some(100) };
    let number = [key(0, false)];
    enter_case(contest, "an integer", &numbers, &whole(&number), "SELECT * FROM rows ORDER BY a");
    enter_case(contest, "an integer, 100 rows", &numbers, &first(&number), "SELECT * FROM rows ORDER BY a LIMIT 100");
    let name = [key(0, false), key(1, false)];
    enter_case(contest, "a text and a date", &people, &whole(&name), "SELECT * FROM rows ORDER BY name, day");
    enter_case(
        contest,
        "a text and a date, 100 rows",
        &people,
        &first(&name),
        "SELECT * FROM rows ORDER BY name, day LIMIT 100",
    );
    let three = [key(2, false), key(1, true), key(0, false)];
    enter_case(
        contest,
        "an integer, a date, a text",
        &people,
        &whole(&three),
        "SELECT * FROM rows ORDER BY few, day DESC, name",
    );
    let ties = [key(1, false)];
    enter_case(contest, "a date with many ties", &people, &whole(&ties), "SELECT * FROM rows ORDER BY day");
}
