//! Joins of two tables of a key and a number: the build side `b`, probed by `p`.

use std::cell::LazyCell;

use bireme_operators::hash_join::JoinBuilder;
use bireme_operators::pipeline::Resources;
use bireme_operators::pipeline::ir::{JoinColumn, JoinKind, JoinSpec};

use crate::contest::{Case, Contest, Crew};
use crate::tables::{Table, ints, random, texts};

const INNER: &str = "SELECT p.v, b.v FROM b JOIN p ON b.k = p.k";
const SEMI: &str = "SELECT p.v FROM p WHERE EXISTS (SELECT 1 FROM b WHERE b.k = p.k)";

/// The keys of one side, by row.
type Keys<'a> = &'a dyn Fn(usize) -> i64;

/// Both sides: so many rows of such keys.
struct Sides<'a> {
    build: (usize, Keys<'a>),
    probe: (usize, Keys<'a>),
    /// Keys are texts made of the numbers.
    are_texts: bool,
}

fn table((rows, key): (usize, Keys<'_>), are_texts: bool) -> Table {
    let keys = if are_texts { texts("k", |row| format!("Customer#{:012}", key(row))) } else { ints("k", key) };
    Table::new(rows, &[keys, ints("v", key)])
}

/// Builds and probes; how many rows come out.
fn join(kind: JoinKind, build: &Table, probe: &Table, crew: &Crew) -> usize {
    let output = match kind {
        JoinKind::ProbeSemi => vec![JoinColumn::Probe(1)],
        _ => vec![JoinColumn::Probe(1), JoinColumn::Build(1)],
    };
    let spec = JoinSpec { kind, build_keys: vec![0], probe_keys: vec![0], nulls_match: false, residual: None, output };
    let resources = Resources { workers: crew.workers(), ..Resources::for_tests() };
    let builder = JoinBuilder::new(spec, build.types(), probe.types(), resources).unwrap();
    let locals = crew.deal(build.chunks.len(), |pieces| {
        let mut local = builder.local().unwrap();
        pieces.for_each(|piece| local.consume(&build.chunks[piece]).unwrap());
        local
    });
    let joined = crew.install(|| builder.finish(locals)).unwrap();
    let found = crew.deal(probe.chunks.len(), |pieces| {
        let mut rows = 0;
        for piece in pieces {
            let mut cursor = joined.probe(None, probe.chunks[piece].clone()).unwrap();
            while let Some(chunk) = cursor.next().unwrap() {
                rows += chunk.rows;
            }
        }
        rows
    });
    found.into_iter().sum()
}

fn enter_case(contest: &Contest, name: &str, kind: JoinKind, sides: &Sides<'_>) {
    let (builds, probes) = (contest.rows(sides.build.0), contest.rows(sides.probe.0));
    let build = LazyCell::new(|| table((builds, sides.build.1), sides.are_texts));
    let probe = LazyCell::new(|| table((probes, sides.probe.1), sides.are_texts));
    contest.enter(&Case {
        operator: "join",
        name,
        threads: &[1, 2],
        ours: &|crew| join(kind, &build, &probe, crew),
        tables: &|peer| {
            build.register("b", peer);
            probe.register("p", peer);
        },
        query: if kind == JoinKind::ProbeSemi { SEMI } else { INNER },
    });
}

/// All cases.
pub fn enter(contest: &Contest) {
    use JoinKind::{Inner, ProbeSemi};
    let row_number: Keys<'_> = &|row| row as i64;
    let below = |end: u64| move |row: usize| (random(row) % end) as i64;
    for (name, kind, keys) in [
        ("small", Inner, below(10_000)),
        ("small, half have a partner", Inner, below(20_000)),
        ("small, semi", ProbeSemi, below(20_000)),
    ] {
        let sides = Sides { build: (10_000, row_number), probe: (4 << 20, &keys), are_texts: false };
        enter_case(contest, name, kind, &sides);
    }

    // As orders and lineitems: keys use a quarter of their range.
    let order = |number: usize| (number / 8 * 32 + number % 8) as i64;
    let lineitem = |row: usize| order(row / 4);
    let orders = Sides { build: (1_000_000, &order), probe: (4_000_000, &lineitem), are_texts: false };
    enter_case(contest, "large, in order", Inner, &orders);
    let far = |row: usize| random(row) as i64;
    let there = |row: usize| random(random(row + 9) as usize % 4_000_000) as i64;
    enter_case(
        contest,
        "large, at random",
        Inner,
        &Sides { build: (4_000_000, &far), probe: (4_000_000, &there), are_texts: false },
    );
    let often = |row: usize| if row.is_multiple_of(10) { -1 } else { random(row) as i64 };
    let once = |row: usize| if row == 5 { -1 } else { random(row % 1_000_000) as i64 };
    enter_case(
        contest,
        "skewed, one key 100,000 times",
        Inner,
        &Sides { build: (1_000_000, &often), probe: (4_000_000, &once), are_texts: false },
    );
    let people = below(150_000);
    enter_case(
        contest,
        "texts",
        Inner,
        &Sides { build: (150_000, row_number), probe: (1_500_000, &people), are_texts: true },
    );
    let many = below(1_000_000);
    enter_case(
        contest,
        "texts, large",
        Inner,
        &Sides { build: (1_000_000, row_number), probe: (2_000_000, &many), are_texts: true },
    );
}
