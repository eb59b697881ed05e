//! Every route, and the shapes of data that routes must not stumble over.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bireme_engine::stage::{ExchangeId, Feed, Route};
use bireme_engine::{Error, Result};

use super::bodies::{
    AllTo, Builder, ByKey, Kept, RowName, batches_of, forward, key, names, rows, schema, source, work,
};
use super::{Case, Rank, expect};

pub const CASES: &[(&str, Case)] = &[
    ("every route", every_route),
    ("random placement", random_placement),
    ("empty lanes", empty_lanes),
    ("one giant row", one_giant_row),
    ("ten thousand tiny batches", tiny_batches),
    ("batches without columns", no_columns),
    ("fetch", fetch),
    ("several outputs", several_outputs),
    ("a chain of stages", chain),
    ("stages after stages", after),
    ("the report counts", report),
];

/// One exchange from producers to consumers, and what came out of it.
struct Hop<'a> {
    route: Route,
    producers: &'a [usize],
    consumers: &'a [usize],
    rows: u64,
    batch: u64,
}

/// By consumer lane, the names of rows in their order of arrival, from all ranks.
type Arrived = BTreeMap<usize, Vec<RowName>>;

impl Hop<'_> {
    fn feed(&self) -> Feed {
        match self.route {
            Route::Broadcast => Feed::EveryRank,
            Route::Gather => Feed::Lanes(vec![0]),
            Route::Keep => Feed::Lanes((0..self.producers.len()).map(|lane| lane % self.consumers.len()).collect()),
            _ => Feed::Lanes((0..self.consumers.len()).collect()),
        }
    }

    fn run(&self, rank: &mut Rank) -> Result<Arrived> {
        let mut builder = Builder::new(rank.ranks());
        let (count, size) = (self.rows, self.batch);
        let producer = builder.stage("rows", self.producers, &[], source(move |_, lane| batches_of(lane, count, size)));
        let exchange = builder.exchange(producer, self.route.clone(), &schema());
        let consumer = builder.stage("forward", self.consumers, &[(exchange, self.feed())], forward());
        let kept = Kept::new();
        builder.keep(consumer, &kept);
        rank.run(&builder.place()?)?;
        gather(rank, &kept)
    }

    fn all_rows(&self) -> Vec<RowName> {
        let producers = 0..self.producers.len();
        producers
            .flat_map(|producer| (0..self.rows).map(move |row| (producer as u64, row, key(producer, row))))
            .collect()
    }

    fn check(&self, rank: &mut Rank) -> Result<()> {
        let arrived = self.run(rank)?;
        let what = |found: &str| {
            format!("{} from {:?} to {:?}: {found}", self.route.describe(), self.producers, self.consumers)
        };
        // Nothing lost, nothing twice.
        let mut all = arrived.values().flatten().copied().collect::<Vec<_>>();
        all.sort_unstable();
        let mut expected = self.all_rows();
        if matches!(self.route, Route::Broadcast) {
            let ranks = (0..rank.ranks()).filter(|rank| self.consumers.contains(rank)).count();
            expected = (0..ranks).flat_map(|_| expected.iter().copied()).collect();
        }
        expected.sort_unstable();
        expect(all == expected, || what(&format!("{} rows arrived of {}", all.len(), expected.len())))?;
        for (lane, names) in &arrived {
            // The rows of a producer in their order.
            let mut last = BTreeMap::new();
            for (producer, place, _) in names {
                let before = last.insert(*producer, *place);
                expect(before.is_none_or(|before| before < *place), || {
                    what(&format!("lane {lane}: {before:?} before {place}"))
                })?;
            }
            match self.route {
                Route::Hash(_) => {
                    let lanes = self.consumers.len() as i64;
                    let here = names.iter().all(|(_, _, key)| key.rem_euclid(lanes) == *lane as i64);
                    expect(here, || what(&format!("lane {lane} has keys of other lanes")))?;
                }
                Route::Keep => {
                    // Forwarded one input lane after the other: exactly the order of the producers.
                    let mut sorted = names.clone();
                    sorted.sort_unstable();
                    expect(*names == sorted, || what(&format!("lane {lane} is out of order")))?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What all ranks have kept, by lane.
pub fn gather(rank: &Rank, kept: &Kept) -> Result<Arrived> {
    let here =
        kept.lanes().into_iter().map(|(lane, batches)| Ok((lane, names(&batches)?))).collect::<Result<Vec<_>>>()?;
    let all = rank.context.control().all_gather_values("what was kept", &here)?;
    let mut arrived = Arrived::new();
    for (lane, names) in all.into_iter().flatten() {
        expect(!arrived.contains_key(&lane), || format!("lane {lane} ran twice"))?;
        arrived.insert(lane, names);
    }
    Ok(arrived)
}

fn routes() -> Vec<Route> {
    let (hash, range) = (Route::Hash(Arc::new(ByKey)), Route::Range(Arc::new(AllTo(1))));
    vec![hash, range, Route::RoundRobin, Route::Spread, Route::Gather, Route::Keep, Route::Broadcast]
}

/// So many lanes on every rank.
pub fn on_all(ranks: usize, lanes: usize) -> Vec<usize> {
    (0..ranks).flat_map(|rank| std::iter::repeat_n(rank, lanes)).collect()
}

fn every_route(rank: &mut Rank) -> Result<()> {
    let everywhere = on_all(rank.ranks(), 2);
    for route in routes() {
        let single = matches!(route, Route::Gather);
        let consumers = if single { &[0][..] } else { &everywhere };
        for (rows, batch) in [(1000, 100), (65, 1), (3, 3)] {
            Hop { route: route.clone(), producers: &everywhere, consumers, rows, batch }.check(rank)?;
        }
        Hop { route: route.clone(), producers: &[0], consumers: &[rank.ranks() - 1], rows: 500, batch: 7 }
            .check(rank)?;
    }
    Ok(())
}

/// Placement changes speed, never answers.
fn random_placement(rank: &mut Rank) -> Result<()> {
    let mut seed = 42_u64;
    let mut random = |below: usize| {
        // SplitMix64: the same on every rank.
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) as usize % below
    };
    for _ in 0..5 {
        for route in routes() {
            let mut lanes = |most: usize| (0..1 + random(most)).map(|_| random(rank.ranks())).collect::<Vec<_>>();
            let producers = lanes(7);
            let consumers = if matches!(route, Route::Gather) { lanes(1) } else { lanes(7) };
            Hop { route, producers: &producers, consumers: &consumers, rows: 300, batch: 23 }.check(rank)?;
        }
    }
    Ok(())
}

fn empty_lanes(rank: &mut Rank) -> Result<()> {
    let everywhere = on_all(rank.ranks(), 3);
    for route in routes() {
        let consumers = if matches!(route, Route::Gather) { &[0][..] } else { &everywhere };
        Hop { route, producers: &everywhere, consumers, rows: 0, batch: 10 }.check(rank)?;
    }
    // All rows to one lane: the others get nothing, and end.
    let all_to_one = Route::Hash(Arc::new(AllTo(1)));
    let arrived =
        Hop { route: all_to_one, producers: &everywhere, consumers: &everywhere, rows: 200, batch: 10 }.run(rank)?;
    let lanes = arrived.values().map(Vec::len).collect::<Vec<_>>();
    let expected =
        (0..everywhere.len()).map(|lane| if lane == 1 { 200 * everywhere.len() } else { 0 }).collect::<Vec<_>>();
    expect(lanes == expected, || format!("{lanes:?}"))
}

fn one_giant_row(rank: &mut Rank) -> Result<()> {
    const GIANT: usize = 24 << 20;
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, true)]));
    for route in [Route::Gather, Route::Broadcast, Route::Hash(Arc::new(AllTo(0)))] {
        let mut builder = Builder::new(rank.ranks());
        let shape = Arc::clone(&schema);
        let giant = move |_, lane: usize| {
            let text = if lane == 0 { "x".repeat(GIANT) } else { "y".to_owned() };
            vec![RecordBatch::try_new(Arc::clone(&shape), vec![Arc::new(StringArray::from(vec![text]))]).unwrap()]
        };
        let producer = builder.stage("giant", &on_all(rank.ranks(), 1), &[], source(giant));
        let feed = if matches!(route, Route::Broadcast) { Feed::EveryRank } else { Feed::Lanes(vec![0]) };
        let copies = if matches!(route, Route::Broadcast) { rank.ranks() as u64 } else { 1 };
        let exchange = builder.exchange(producer, route, &schema);
        let consumers = if copies == 1 { vec![rank.ranks() - 1] } else { on_all(rank.ranks(), 1) };
        let consumer = builder.stage("forward", &consumers, &[(exchange, feed)], forward());
        let kept = Kept::new();
        builder.keep(consumer, &kept);
        rank.run(&builder.place()?)?;
        let here = kept.batches().iter().map(|batch| batch.column(0).to_data().buffers()[1].len() as u64).sum();
        let all = rank.sum(here)?;
        let expected = copies * (GIANT + rank.ranks() - 1) as u64;
        expect(all == expected, || format!("{all} bytes of {expected} arrived"))?;
    }
    Ok(())
}

fn tiny_batches(rank: &mut Rank) -> Result<()> {
    let everywhere = on_all(rank.ranks(), 1);
    // As many tiny batches in all, whatever the number of ranks.
    let each = 10_000 / rank.ranks() as u64;
    for route in [Route::Hash(Arc::new(ByKey)), Route::Keep, Route::Spread] {
        Hop { route, producers: &everywhere, consumers: &everywhere, rows: each, batch: 1 }.check(rank)?;
    }
    // Not collected into larger ones: every one of them is a frame.
    rank.context.batch_rows = 1;
    Hop { route: Route::Gather, producers: &everywhere, consumers: &[0], rows: each, batch: 1 }.check(rank)
}

/// `SELECT count(*)` moves rows without columns.
fn no_columns(rank: &mut Rank) -> Result<()> {
    let empty: SchemaRef = Arc::new(Schema::empty());
    for route in [Route::Gather, Route::Spread, Route::Hash(Arc::new(AllTo(0)))] {
        let mut builder = Builder::new(rank.ranks());
        let shape = Arc::clone(&empty);
        let batches = move |_, _| {
            let of = |rows| RecordBatchOptions::new().with_row_count(Some(rows));
            [5, 0, 100]
                .map(|rows| RecordBatch::try_new_with_options(Arc::clone(&shape), vec![], &of(rows)).unwrap())
                .to_vec()
        };
        let producer = builder.stage("rows", &on_all(rank.ranks(), 2), &[], source(batches));
        let exchange = builder.exchange(producer, route.clone(), &empty);
        let consumers = if matches!(route, Route::Gather) { vec![0] } else { on_all(rank.ranks(), 1) };
        let feed = Feed::Lanes((0..consumers.len()).collect());
        let consumer = builder.stage("forward", &consumers, &[(exchange, feed)], forward());
        let kept = Kept::new();
        builder.keep(consumer, &kept);
        rank.run(&builder.place()?)?;
        let all = rank.sum(kept.batches().iter().map(|batch| batch.num_rows() as u64).sum())?;
        expect(all == 210 * rank.ranks() as u64, || format!("{all} rows over {}", route.describe()))?;
    }
    Ok(())
}

fn fetch(rank: &mut Rank) -> Result<()> {
    for (limit, rows) in [(0, 100), (1, 100), (10, 20_000), (1000, 10)] {
        let mut builder = Builder::new(rank.ranks());
        let producers = on_all(rank.ranks(), 2);
        let producer = builder.stage("rows", &producers, &[], source(move |_, lane| batches_of(lane, rows, 7)));
        let exchange = builder.exchange(producer, Route::Gather, &schema());
        builder.edit(exchange).fetch = Some(limit);
        let consumer = builder.stage("forward", &[0], &[(exchange, Feed::Lanes(vec![0]))], forward());
        let kept = Kept::new();
        builder.keep(consumer, &kept);
        let report = rank.run(&builder.place()?)?;
        let all = rank.sum(kept.batches().iter().map(|batch| batch.num_rows() as u64).sum())?;
        let expected = (limit as u64).min(rows * producers.len() as u64);
        expect(all == expected, || format!("{all} rows of {expected}"))?;
        // A producer sends no more than could be wanted of it alone.
        let sent = report.exchange(ExchangeId(0)).map_or(0, |exchange| exchange.rows);
        expect(sent <= 2 * limit as u64, || format!("{sent} rows were sent for {limit}"))?;
    }
    Ok(())
}

/// One stage feeds an exchange, another exchange and a sink: each gets every row.
fn several_outputs(rank: &mut Rank) -> Result<()> {
    let everywhere = on_all(rank.ranks(), 2);
    let mut builder = Builder::new(rank.ranks());
    let producer = builder.stage("rows", &everywhere, &[], source(|_, lane| batches_of(lane, 500, 11)));
    let (direct, hashed, gathered) = (Kept::new(), Kept::new(), Kept::new());
    builder.keep(producer, &direct);
    let hash = builder.exchange(producer, Route::Hash(Arc::new(ByKey)), &schema());
    let gather_all = builder.exchange(producer, Route::Gather, &schema());
    builder.edit(hash).spooled = true;
    builder.edit(gather_all).spooled = true;
    let lanes = Feed::Lanes((0..everywhere.len()).collect());
    let consumer = builder.stage("forward", &everywhere, &[(hash, lanes)], forward());
    builder.keep(consumer, &hashed);
    let consumer = builder.stage("forward", &[0], &[(gather_all, Feed::Lanes(vec![0]))], forward());
    builder.keep(consumer, &gathered);
    rank.run(&builder.place()?)?;
    let sorted = |kept| {
        let mut all = gather(rank, kept)?.into_values().flatten().collect::<Vec<_>>();
        all.sort_unstable();
        Ok::<_, Error>(all)
    };
    let (direct, hashed, gathered) = (sorted(&direct)?, sorted(&hashed)?, sorted(&gathered)?);
    expect(direct.len() == 500 * everywhere.len(), || format!("{} rows in the sink", direct.len()))?;
    expect(direct == hashed && direct == gathered, || "outputs got different rows".into())
}

fn chain(rank: &mut Rank) -> Result<()> {
    let everywhere = on_all(rank.ranks(), 2);
    let lanes = || Feed::Lanes((0..2 * rank.ranks()).collect());
    let mut builder = Builder::new(rank.ranks());
    let mut last = builder.stage("rows", &everywhere, &[], source(|_, lane| batches_of(lane, 2000, 50)));
    for route in
        [Route::Hash(Arc::new(ByKey)), Route::Spread, Route::Keep, Route::RoundRobin, Route::Hash(Arc::new(ByKey))]
    {
        let exchange = builder.exchange(last, route, &schema());
        last = builder.stage("forward", &everywhere, &[(exchange, lanes())], forward());
    }
    let exchange = builder.exchange(last, Route::Gather, &schema());
    last = builder.stage("forward", &[rank.ranks() / 2], &[(exchange, Feed::Lanes(vec![0]))], forward());
    let kept = Kept::new();
    builder.keep(last, &kept);
    rank.run(&builder.place()?)?;
    let mut all = gather(rank, &kept)?.into_values().flatten().collect::<Vec<_>>();
    all.sort_unstable();
    all.dedup();
    expect(all.len() == 2000 * everywhere.len(), || format!("{} different rows", all.len()))
}

/// A stage starts when those it comes after have ended on its rank.
fn after(rank: &mut Rank) -> Result<()> {
    let everywhere = on_all(rank.ranks(), 1);
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut builder = Builder::new(rank.ranks());
    let (first, kept) = (Kept::new(), Kept::new());
    let (set, seen) = (Arc::clone(&done), Arc::clone(&done));
    let slow = work(move |task| {
        std::thread::sleep(std::time::Duration::from_millis(30));
        set.store(true, std::sync::atomic::Ordering::Release);
        async move { task.outlet.finish().await }
    });
    let before = builder.stage("slow", &everywhere, &[], slow);
    builder.keep(before, &first);
    let later = work(move |mut task| {
        let seen = seen.load(std::sync::atomic::Ordering::Acquire);
        async move {
            expect(seen, || "started too early".into())?;
            let _flow = task.outlet.push(rows(task.lane, 0, 10)).await?;
            task.outlet.finish().await
        }
    });
    let last = builder.stage("later", &everywhere, &[], later);
    builder.edit_stage(last).after = vec![before];
    builder.keep(last, &kept);
    rank.run(&builder.place()?)?;
    let all = gather(rank, &kept)?.into_values().flatten().count();
    expect(all == 10 * rank.ranks(), || format!("{all} rows"))
}

fn report(rank: &mut Rank) -> Result<()> {
    let everywhere = on_all(rank.ranks(), 2);
    let mut builder = Builder::new(rank.ranks());
    let counted = work(|mut task| async move {
        task.metrics.add("bytes read", 7);
        for batch in batches_of(task.lane, 1000, 100) {
            let _flow = task.outlet.push(batch).await?;
        }
        task.outlet.finish().await
    });
    let producer = builder.stage("rows", &everywhere, &[], counted);
    let exchange = builder.exchange(producer, Route::Hash(Arc::new(ByKey)), &schema());
    let lanes = Feed::Lanes((0..everywhere.len()).collect());
    let consumer = builder.stage("forward", &everywhere, &[(exchange, lanes)], forward());
    let kept = Kept::new();
    builder.keep(consumer, &kept);
    let (done, total) = (rank.context.progress.done(), rank.context.progress.total());
    let mine = rank.run(&builder.place()?)?;
    let tasks = (rank.context.progress.done() - done, rank.context.progress.total() - total);
    expect(tasks == (4, 4), || format!("progress counted {tasks:?} tasks"))?;
    let reports = rank.context.control().all_gather_values("reports", &mine)?;
    let mut all = reports[0].clone();
    reports[1..].iter().for_each(|report| all.merge(report));
    let rows = 1000 * everywhere.len() as u64;
    let (sent, read) = (&all.stages[0], &all.stages[1]);
    expect(sent.rows == rows && sent.extras["bytes read"] == 7 * everywhere.len() as u64, || format!("{sent:?}"))?;
    expect(read.rows_in == rows && read.rows == rows && read.lanes == everywhere.len() as u64, || format!("{read:?}"))?;
    let moved = &all.exchanges[0];
    expect(moved.rows == rows && moved.local_bytes > 0, || format!("{moved:?}"))?;
    expect((moved.remote_bytes > 0) == (rank.ranks() > 1), || format!("{moved:?}"))
}
