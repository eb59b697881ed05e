//! Readers that stop, bodies that fail, receivers that are full, ranks that disagree.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bireme_engine::control::{Fingerprint, agree};
use bireme_engine::exchange::Flow;
use bireme_engine::run::run;
use bireme_engine::stage::{ExchangeId, Feed, LaneSink, Output, PlacedPlan, Route, Sink, StageId};
use bireme_engine::{Error, ErrorKind, Result};

use super::bodies::{AllTo, Builder, ByKey, Kept, LaneTask, batches_of, forward, rows, schema, source, work};
use super::cases::{gather, on_all};
use super::{Case, Rank, expect};

pub const CASES: &[(&str, Case)] = &[
    ("a reader that stops", stopping_reader),
    ("one lane that stops", stopping_lane),
    ("endless producers and a fetch", endless_fetch),
    ("a producer that fails", failing_producer),
    ("the first cause", first_cause),
    ("a body that panics", panicking_body),
    ("an outlet that is not finished", unfinished_outlet),
    ("a sink that fails", failing_sink),
    ("an action after a failure", after_failure),
    ("opposite orders", opposite_orders),
    ("alternation", alternation),
    ("a diamond", diamond),
    ("little memory", little_memory),
    ("spilling nowhere", spilling_nowhere),
    ("a late rank", late_rank),
    ("different plans", different_plans),
    ("a planning error", planning_error),
    ("decided on rank 0", decided_on_root),
    ("a stop from outside", stop_from_outside),
    ("a stop while others compute", stop_while_waiting),
    ("lanes that stay empty", empty_lanes_hold_back),
    ("everything at once", everything),
];

/// Pushes batches until nobody wants more, and says so if it is asked for far too many.
async fn endless(mut task: LaneTask) -> Result<()> {
    let mut place = 0;
    while task.outlet.push(rows(task.lane, place, place + 50)).await? == Flow::Continue {
        place += 50;
        expect(place < 50_000_000, || "nobody stopped this producer".into())?;
    }
    task.outlet.finish().await
}

fn lanes(count: usize) -> Feed {
    Feed::Lanes((0..count).collect())
}

/// Rows → route → a body → kept.
fn two_stages(
    rank: &Rank,
    kept: &Arc<Kept>,
    route: Route,
    producer: impl Fn(LaneTask) -> futures::future::BoxFuture<'static, Result<()>> + Send + Sync + 'static,
    consumer: impl Fn(LaneTask) -> futures::future::BoxFuture<'static, Result<()>> + Send + Sync + 'static,
) -> Result<PlacedPlan> {
    let everywhere = on_all(rank.ranks(), 2);
    let mut builder = Builder::new(rank.ranks());
    let first = builder.stage("producer", &everywhere, &[], work(producer));
    let exchange = builder.exchange(first, route, &schema());
    let last = builder.stage("consumer", &everywhere, &[(exchange, lanes(everywhere.len()))], work(consumer));
    builder.keep(last, kept);
    builder.place()
}

fn hash() -> Route {
    Route::Hash(Arc::new(ByKey))
}

fn forwarding(task: LaneTask) -> futures::future::BoxFuture<'static, Result<()>> {
    forward()(task)
}

/// Reads one batch of each inlet, and drops it.
async fn sip(mut task: LaneTask) -> Result<()> {
    for mut inlet in task.inlets.into_iter().flatten() {
        if let Some(batch) = inlet.next().await {
            let _flow = task.outlet.push(batch?).await?;
        }
    }
    task.outlet.finish().await
}

fn stopping_reader(rank: &mut Rank) -> Result<()> {
    for route in [hash(), Route::Keep, Route::Spread, Route::RoundRobin] {
        let kept = Kept::new();
        let plan = two_stages(rank, &kept, route, |task| Box::pin(endless(task)), |task| Box::pin(sip(task)))?;
        rank.run(&plan)?;
        let all = rank.sum(kept.batches().iter().map(|batch| batch.num_rows() as u64).sum())?;
        expect(all > 0, || "nothing was read".into())?;
    }
    Ok(())
}

/// Lane 0 stops, the others still get all of their rows.
fn stopping_lane(rank: &mut Rank) -> Result<()> {
    let kept = Kept::new();
    let consumer = |task: LaneTask| -> futures::future::BoxFuture<'static, _> {
        if task.lane == 0 { Box::pin(sip(task)) } else { forward()(task) }
    };
    let producer = |task| source(|_, lane| batches_of(lane, 20_000, 500))(task);
    let plan = two_stages(rank, &kept, hash(), producer, consumer)?;
    rank.run(&plan)?;
    let count = 2 * rank.ranks();
    let mut got = gather(rank, &kept)?;
    let sipped = got.remove(&0).map_or(0, |names| names.len());
    expect(sipped < 20_000, || format!("lane 0 got {sipped} rows"))?;
    let expected = (0..count).flat_map(|lane| (0..20_000).map(move |row| super::bodies::key(lane, row)));
    let expected = expected.filter(|key| key.rem_euclid(count as i64) != 0).count();
    let others = got.values().map(Vec::len).sum::<usize>();
    expect(others == expected, || format!("{others} rows of {expected}"))
}

fn endless_fetch(rank: &mut Rank) -> Result<()> {
    let mut builder = Builder::new(rank.ranks());
    let producer = builder.stage("endless", &on_all(rank.ranks(), 2), &[], work(|task| Box::pin(endless(task))));
    // The stop has to travel through a stage in between.
    let between = builder.exchange(producer, Route::Keep, &schema());
    let middle = builder.stage("forward", &on_all(rank.ranks(), 2), &[(between, lanes(2 * rank.ranks()))], forward());
    let exchange = builder.exchange(middle, Route::Gather, &schema());
    builder.edit(exchange).fetch = Some(77);
    let last = builder.stage("forward", &[0], &[(exchange, lanes(1))], forward());
    let kept = Kept::new();
    builder.keep(last, &kept);
    rank.run(&builder.place()?)?;
    let all = rank.sum(kept.batches().iter().map(|batch| batch.num_rows() as u64).sum())?;
    expect(all == 77, || format!("{all} rows"))
}

fn failing_producer(rank: &mut Rank) -> Result<()> {
    let last = rank.ranks() - 1;
    for (fails_after, route) in [(0, hash()), (10, Route::Keep), (300, Route::Spread)] {
        let producer = move |mut task: LaneTask| -> futures::future::BoxFuture<'static, _> {
            Box::pin(async move {
                for (place, batch) in batches_of(task.lane, 30_000, 50).into_iter().enumerate() {
                    if task.rank == last && place == fails_after {
                        return Err(Error::user("division by zero in row 7"));
                    }
                    let _flow = task.outlet.push(batch).await?;
                }
                task.outlet.finish().await
            })
        };
        let kept = Kept::new();
        let plan = two_stages(rank, &kept, route, producer, forwarding)?;
        let error = rank.run_failing(&plan)?;
        expect(error == Error::user("division by zero in row 7"), || format!("{error}"))?;
    }
    Ok(())
}

/// Several things go wrong; every rank names the first by (stage, rank).
fn first_cause(rank: &mut Rank) -> Result<()> {
    let last = rank.ranks() - 1;
    let at_stage = move |stage: &'static str| {
        move |task: LaneTask| -> futures::future::BoxFuture<'static, _> {
            Box::pin(async move {
                // Stage 1 fails first, and everywhere.
                std::thread::sleep(Duration::from_millis(if stage == "stage 0" { 60 } else { 5 }));
                if stage == "stage 0" && task.rank != last {
                    return task.outlet.finish().await;
                }
                Err(Error::corrupt(format!("{stage} rank {}", task.rank)))
            })
        }
    };
    let kept = Kept::new();
    let plan = two_stages(rank, &kept, hash(), at_stage("stage 0"), at_stage("stage 1"))?;
    let error = rank.run_failing(&plan)?;
    expect(error == Error::corrupt(format!("stage 0 rank {last}")), || format!("{error}"))
}

fn panicking_body(rank: &mut Rank) -> Result<()> {
    /// Panics where it is polled.
    #[derive(Debug)]
    struct Panics(usize);
    impl bireme_engine::stage::Body for Panics {
        fn lines(&self) -> Vec<String> {
            vec!["panics".into()]
        }

        fn run(&self, task: bireme_engine::run::StageTask) -> futures::future::BoxFuture<'static, Result<()>> {
            let panics = self.0 == task.rank;
            Box::pin(async move {
                assert!(!panics, "a bug on purpose");
                for outlet in task.outlets {
                    outlet.finish().await?;
                }
                Ok(())
            })
        }
    }
    let kept = Kept::new();
    let mut builder = Builder::new(rank.ranks());
    let everywhere = on_all(rank.ranks(), 1);
    let first = builder.stage("panics", &everywhere, &[], source(|_, _| vec![]));
    builder.edit_stage(first).body = Arc::new(Panics(rank.ranks() / 2));
    let exchange = builder.exchange(first, Route::Keep, &schema());
    let last = builder.stage("forward", &everywhere, &[(exchange, lanes(everywhere.len()))], forward());
    builder.keep(last, &kept);
    let error = rank.run_failing(&builder.place()?)?;
    let says = error.message().contains("stage s0 panicked: a bug on purpose");
    expect(error.kind() == ErrorKind::Internal && says, || format!("{error}"))
}

fn unfinished_outlet(rank: &mut Rank) -> Result<()> {
    let forgets = |task: LaneTask| -> futures::future::BoxFuture<'static, _> {
        Box::pin(async move { if task.lane > 0 { task.outlet.finish().await } else { Ok(()) } })
    };
    let kept = Kept::new();
    let plan = two_stages(rank, &kept, hash(), forgets, forwarding)?;
    let error = rank.run_failing(&plan)?;
    expect(error.message().contains("stage s0 ended with 1 of 2 outlets unfinished"), || format!("{error}"))
}

/// Fails when it is opened, written or closed.
#[derive(Debug)]
struct BadSink(&'static str);

impl Sink for BadSink {
    fn describe(&self) -> String {
        format!("fails to {}", self.0)
    }

    fn open(&self, rank: usize, _lane: usize) -> Result<Box<dyn LaneSink>> {
        if self.0 == "open" && rank == 0 { Err(Error::user("cannot open out/")) } else { Ok(Box::new(BadSink(self.0))) }
    }
}

impl LaneSink for BadSink {
    fn write(&mut self, _batch: arrow::array::RecordBatch) -> Result<()> {
        if self.0 == "write" { Err(Error::user("cannot write out/")) } else { Ok(()) }
    }

    fn close(self: Box<Self>) -> Result<()> {
        if self.0 == "close" { Err(Error::user("cannot close out/")) } else { Ok(()) }
    }
}

fn failing_sink(rank: &mut Rank) -> Result<()> {
    for fails_to in ["open", "write", "close"] {
        let mut builder = Builder::new(rank.ranks());
        let stage = builder.stage("rows", &on_all(rank.ranks(), 2), &[], source(|_, lane| batches_of(lane, 1000, 100)));
        builder.edit_stage(stage).outputs.push(Output::Sink(Arc::new(BadSink(fails_to))));
        let error = rank.run_failing(&builder.place()?)?;
        expect(error == Error::user(format!("cannot {fails_to} out/")), || format!("{error}"))?;
    }
    Ok(())
}

/// What a failed action left under way must not reach the next one.
fn after_failure(rank: &mut Rank) -> Result<()> {
    for _ in 0..10 {
        let fails = |mut task: LaneTask| -> futures::future::BoxFuture<'static, _> {
            Box::pin(async move {
                for batch in batches_of(task.lane, 1000, 50) {
                    let _flow = task.outlet.push(batch).await?;
                }
                if task.lane == 1 { Err(Error::user("one of two")) } else { task.outlet.finish().await }
            })
        };
        let plan = two_stages(rank, &Kept::new(), hash(), fails, forwarding)?;
        rank.run_failing(&plan)?;
        let kept = Kept::new();
        let plan =
            two_stages(rank, &kept, hash(), |task| source(|_, lane| batches_of(lane, 100, 50))(task), forwarding)?;
        rank.run(&plan)?;
        let all = gather(rank, &kept)?.into_values().flatten().count();
        expect(all == 200 * rank.ranks(), || format!("{all} rows"))?;
    }
    Ok(())
}

/// Two exchanges into one stage. Even lanes read all of the first and then the second, odd lanes the other way round.
/// With windows that simply block, each producer would wait for the lanes that read the other one first.
fn opposite_orders(rank: &mut Rank) -> Result<()> {
    for (window, batch_rows) in [(1, 1), (2000, 16)] {
        rank.context.window_bytes = window;
        rank.context.batch_rows = batch_rows;
        let everywhere = on_all(rank.ranks(), 2);
        let mut builder = Builder::new(rank.ranks());
        let mut inputs = Vec::new();
        for _ in 0..2 {
            let producer = builder.stage("rows", &everywhere, &[], source(|_, lane| batches_of(lane, 800, 10)));
            inputs.push((builder.exchange(producer, hash(), &schema()), lanes(everywhere.len())));
        }
        let crossed = work(|mut task: LaneTask| async move {
            if task.lane % 2 == 1 {
                task.inlets.reverse();
            }
            for mut inlet in task.inlets.into_iter().flatten() {
                while let Some(batch) = inlet.next().await {
                    let _flow = task.outlet.push(batch?).await?;
                }
            }
            task.outlet.finish().await
        });
        let last = builder.stage("crossed", &everywhere, &inputs, crossed);
        let kept = Kept::new();
        builder.keep(last, &kept);
        rank.run(&builder.place()?)?;
        let all = gather(rank, &kept)?.into_values().flatten().count();
        expect(all == 2 * 800 * everywhere.len(), || format!("{all} rows"))?;
    }
    Ok(())
}

/// What a sort-merge join does: each lane merges the sorted lanes of two inputs, reading from whichever is behind.
fn alternation(rank: &mut Rank) -> Result<()> {
    rank.context.window_bytes = 1;
    rank.context.batch_rows = 1;
    let everywhere = on_all(rank.ranks(), 2);
    let mut builder = Builder::new(rank.ranks());
    let mut inputs = Vec::new();
    for side in 0..2 {
        // The sides have different paces: many small batches against few.
        let size = if side == 0 { 1 } else { 37 };
        let producer =
            builder.stage("sorted rows", &everywhere, &[], source(move |_, lane| batches_of(lane, 400, size)));
        // All producer lanes to the lanes of one rank.
        inputs.push((
            builder.exchange(producer, Route::Keep, &schema()),
            Feed::Lanes((0..everywhere.len()).map(|lane| lane % 2).collect()),
        ));
    }
    let merge = work(|mut task: LaneTask| async move {
        let mut heads = Vec::new();
        for mut inlet in task.inlets.into_iter().flatten() {
            if let Some(batch) = inlet.next().await {
                heads.push((batch?, 0, inlet));
            }
        }
        // Always the smallest place next: every input is needed at every moment.
        while let Some(least) = (0..heads.len()).min_by_key(|&head| place(&heads[head])) {
            let (batch, row, inlet) = &mut heads[least];
            let _flow = task.outlet.push(batch.slice(*row, 1)).await?;
            *row += 1;
            if *row == batch.num_rows() {
                match inlet.next().await {
                    Some(next) => (*batch, *row) = (next?, 0),
                    None => drop(heads.swap_remove(least)),
                }
            }
        }
        task.outlet.finish().await
    });
    let last = builder.stage("merge", &[rank.ranks() - 1; 2], &inputs, merge);
    let kept = Kept::new();
    builder.keep(last, &kept);
    rank.run(&builder.place()?)?;
    for names in gather(rank, &kept)?.into_values() {
        expect(names.len() == 2 * 400 * rank.ranks(), || format!("{} rows", names.len()))?;
        expect(names.is_sorted_by_key(|(_, place, _)| *place), || "the merge is out of order".into())?;
    }
    Ok(())
}

fn place((batch, row, _): &(arrow::array::RecordBatch, usize, bireme_engine::exchange::Inlet)) -> u64 {
    use arrow::array::AsArray;
    batch.column(1).as_primitive::<arrow::datatypes::UInt64Type>().value(*row)
}

/// One stage, two ways to the same consumer, which reads the second only when the first has ended.
fn diamond(rank: &mut Rank) -> Result<()> {
    for limit in [None, Some(32 << 10)] {
        rank.context.budget = bireme_engine::budget::Budget::new(limit);
        let everywhere = on_all(rank.ranks(), 2);
        let mut builder = Builder::new(rank.ranks());
        let producer = builder.stage("rows", &everywhere, &[], source(|_, lane| batches_of(lane, 2000, 100)));
        let (first, second) =
            (builder.exchange(producer, hash(), &schema()), builder.exchange(producer, hash(), &schema()));
        builder.edit(first).spooled = true;
        builder.edit(second).spooled = true;
        // One of the ways has a stage more.
        let middle = builder.stage("forward", &everywhere, &[(second, lanes(everywhere.len()))], forward());
        let second = builder.exchange(middle, hash(), &schema());
        let inputs = [(first, lanes(everywhere.len())), (second, lanes(everywhere.len()))];
        let last = builder.stage("one after the other", &everywhere, &inputs, forward());
        let kept = Kept::new();
        builder.keep(last, &kept);
        rank.run(&builder.place()?)?;
        let mut all = gather(rank, &kept)?.into_values().flatten().collect::<Vec<_>>();
        all.sort_unstable();
        let twice = all.chunks(2).all(|pair| pair[0] == pair[pair.len() - 1]);
        expect(all.len() == 2 * 2000 * everywhere.len() && twice, || format!("{} rows", all.len()))?;
    }
    Ok(())
}

/// 64 KiB for exchanges of megabytes: spilled, and read back right and in order.
fn little_memory(rank: &mut Rank) -> Result<()> {
    let budget = rank.limit_memory(64 << 10);
    for (route, spooled) in [(Route::Keep, true), (hash(), true), (hash(), false)] {
        let kept = Kept::new();
        // Reads nothing until it has to be spilled.
        let slow = move |task: LaneTask| -> futures::future::BoxFuture<'static, _> {
            std::thread::sleep(Duration::from_millis(if spooled { 300 } else { 10 }));
            forward()(task)
        };
        let everywhere = on_all(rank.ranks(), 2);
        let mut builder = Builder::new(rank.ranks());
        let first = builder.stage("rows", &everywhere, &[], source(|_, lane| batches_of(lane, 8000, 200)));
        let exchange = builder.exchange(first, route.clone(), &schema());
        builder.edit(exchange).spooled = spooled;
        let last = builder.stage("slow", &everywhere, &[(exchange, lanes(everywhere.len()))], work(slow));
        builder.keep(last, &kept);
        let report = rank.run(&builder.place()?)?;
        let spilled = report.exchange(ExchangeId(0)).map_or(0, |exchange| exchange.spilled_bytes);
        expect(!spooled || spilled > 100_000, || format!("only {spilled} bytes were spilled"))?;
        expect(budget.peak() <= 64 << 10, || format!("{} bytes were in use", budget.peak()))?;
        let arrived = gather(rank, &kept)?;
        let all = arrived.values().map(Vec::len).sum::<usize>();
        expect(all == 8000 * everywhere.len(), || format!("{all} rows"))?;
        for names in arrived.into_values() {
            for producer in 0..everywhere.len() as u64 {
                let places = names.iter().filter(|name| name.0 == producer).map(|name| name.1);
                expect(places.is_sorted(), || format!("rows of {producer} are out of order"))?;
            }
        }
    }
    Ok(())
}

fn spilling_nowhere(rank: &mut Rank) -> Result<()> {
    rank.limit_memory(1 << 10);
    rank.context.temp_dir = "/no/such/directory".into();
    let slow = |task: LaneTask| -> futures::future::BoxFuture<'static, _> {
        std::thread::sleep(Duration::from_millis(50));
        forward()(task)
    };
    let producer = |task| source(|_, lane| batches_of(lane, 5000, 100))(task);
    let plan = two_stages(rank, &Kept::new(), hash(), producer, slow)?;
    let error = rank.run_failing(&plan)?;
    expect(error.message().contains("/no/such/directory") && error.message().contains("--temp-dir"), || {
        format!("{error}")
    })
}

/// One rank opens its exchanges long after the others have begun to send.
fn late_rank(rank: &mut Rank) -> Result<()> {
    for late in [0, rank.ranks() - 1] {
        let kept = Kept::new();
        let plan =
            two_stages(rank, &kept, hash(), |task| source(|_, lane| batches_of(lane, 1000, 50))(task), forwarding)?;
        let action = rank.next_action();
        agree(&rank.context.control(), action, Ok(plan.hash()))?;
        if rank.rank() == late {
            std::thread::sleep(Duration::from_millis(100));
        }
        run(&plan, action, &rank.context)?;
        let all = gather(rank, &kept)?.into_values().flatten().count();
        expect(all == 2000 * rank.ranks(), || format!("{all} rows"))?;
    }
    Ok(())
}

fn different_plans(rank: &mut Rank) -> Result<()> {
    let odd = rank.ranks() - 1;
    let hash = if rank.rank() == odd { 2 } else { 1 };
    let action = rank.next_action();
    let control = rank.context.control();
    let result = agree(&control, action, Ok(Fingerprint::new([("logical", 7), ("physical", hash)])));
    if rank.ranks() == 1 {
        return result;
    }
    let error = result.err().ok_or_else(|| Error::internal("nobody noticed"))?;
    let says =
        error.message().contains(&format!("rank {odd} planned")) && error.message().contains("differs: physical");
    expect(error.kind() == ErrorKind::Internal && says, || format!("{error}"))?;
    agree(&control, rank.next_action(), Ok(7))
}

fn planning_error(rank: &mut Rank) -> Result<()> {
    let bad = rank.ranks() - 1;
    let action = rank.next_action();
    let control = rank.context.control();
    let plan = if rank.rank() == bad { Err(Error::user("no table named lineitme")) } else { Ok(1) };
    let error = agree(&control, action, plan).err().ok_or_else(|| Error::internal("nobody noticed"))?;
    let expected =
        if bad == 0 { "no table named lineitme".into() } else { format!("rank {bad}: no table named lineitme") };
    expect(error == Error::user(expected), || format!("{error}"))?;
    let everywhere = agree(&control, rank.next_action(), Err::<u64, _>(Error::user("no such column"))).err();
    expect(everywhere == Some(Error::user("no such column")), || format!("{everywhere:?}"))
}

fn decided_on_root(rank: &mut Rank) -> Result<()> {
    let control = rank.context.control();
    let me = rank.rank() as u64;
    let value = control.decide_on_root("a seed", || Ok((me, "seed".to_owned())))?;
    expect(value == (0, "seed".to_owned()), || format!("{value:?}"))?;
    let error = control.decide_on_root::<u64>("a listing", || Err(Error::user("no such file"))).err();
    expect(error == Some(Error::user("no such file")), || format!("{error:?}"))?;
    let error = control.decide_on_root::<u64>("a bug", || panic!("on purpose")).err();
    expect(error.is_some_and(|error| error.message().contains("on purpose")), || "the panic was lost".into())?;
    let bytes = control.broadcast_from_root("bytes", (me == 0).then(|| vec![7; 1 << 20]))?;
    expect(bytes == vec![7; 1 << 20], || format!("{} bytes", bytes.len()))?;
    for round in 0..50_u64 {
        let all = control.all_gather_values("numbers", &(me * 1000 + round))?;
        let expected = (0..rank.ranks() as u64).map(|rank| rank * 1000 + round).collect::<Vec<_>>();
        expect(all == expected, || format!("{all:?}"))?;
    }
    Ok(())
}

/// Ctrl-C on one rank while all compute and wait.
fn stop_from_outside(rank: &mut Rank) -> Result<()> {
    let cancel = rank.new_cancel();
    let stopped = Arc::new(AtomicBool::new(false));
    if rank.rank() == rank.ranks() - 1 {
        let stopped = Arc::clone(&stopped);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            stopped.store(true, Ordering::Release);
            cancel.cancel(Error::cancelled("stopped by Ctrl-C"));
        });
    }
    let plan = two_stages(rank, &Kept::new(), hash(), |task| Box::pin(endless(task)), forwarding)?;
    let action = rank.next_action();
    agree(&rank.context.control(), action, Ok(plan.hash()))?;
    let start = Instant::now();
    let error = run(&plan, action, &rank.context).err();
    expect(error == Some(Error::cancelled("stopped by Ctrl-C")), || format!("{error:?}"))?;
    expect(start.elapsed() < Duration::from_secs(10), || format!("it took {:?}", start.elapsed()))?;
    rank.new_cancel();
    let all = rank.context.control().all_gather_values("errors", &error)?;
    expect(all.iter().all(|other| *other == error), || format!("{all:?}"))
}

/// Rank 0 has nothing to do and waits for the end; the stop arrives there.
fn stop_while_waiting(rank: &mut Rank) -> Result<()> {
    let cancel = rank.new_cancel();
    if rank.rank() == 0 {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            cancel.cancel(Error::cancelled("stopped by Ctrl-C"));
        });
    }
    let mut builder = Builder::new(rank.ranks());
    let last = rank.ranks() - 1;
    let producer = builder.stage("endless", &[last], &[], work(|task| Box::pin(endless(task))));
    let exchange = builder.exchange(producer, Route::Keep, &schema());
    let consumer = work(|task: LaneTask| async move {
        for mut inlet in task.inlets.into_iter().flatten() {
            while let Some(batch) = inlet.next().await {
                batch?;
            }
        }
        task.outlet.finish().await
    });
    let consumer = builder.stage("drop", &[last], &[(exchange, lanes(1))], consumer);
    builder.keep(consumer, &Kept::new());
    let action = rank.next_action();
    let start = Instant::now();
    let error = run(&builder.place()?, action, &rank.context).err();
    expect(start.elapsed() < Duration::from_secs(5), || format!("it took {:?}", start.elapsed()))?;
    rank.new_cancel();
    let all = rank.context.control().all_gather_values("errors", &error)?;
    expect(all.iter().all(|error| *error == Some(Error::cancelled("stopped by Ctrl-C"))), || format!("{all:?}"))
}

/// A key with one value leaves all lanes but one empty for ever; the producers still wait for the one that is full.
fn empty_lanes_hold_back(rank: &mut Rank) -> Result<()> {
    rank.context.budget = bireme_engine::budget::Budget::unlimited();
    let slow = |mut task: LaneTask| -> futures::future::BoxFuture<'static, _> {
        Box::pin(async move {
            for mut inlet in task.inlets.into_iter().flatten() {
                while let Some(batch) = inlet.next().await {
                    std::thread::sleep(Duration::from_micros(500));
                    let _flow = task.outlet.push(batch?).await?;
                }
            }
            task.outlet.finish().await
        })
    };
    let kept = Kept::new();
    let everywhere = 2 * rank.ranks();
    let producer = move |task| source(move |_, lane| batches_of(lane, 40_000 / everywhere as u64, 64))(task);
    let plan = two_stages(rank, &kept, Route::Hash(Arc::new(AllTo(1))), producer, slow)?;
    rank.run(&plan)?;
    let (peak, all) = (rank.context.budget.peak(), gather(rank, &kept)?.into_values().flatten().count());
    expect(all == 40_000 / everywhere * everywhere, || format!("{all} rows"))?;
    // 2 MB in all. Much less where threads get their turns; on a machine that is busy with other things, readers stall.
    expect(peak < 1_600_000, || format!("{peak} bytes were waiting to be read"))
}

/// All routes in one plan, with windows of a byte, batches of a row and next to no memory.
fn everything(rank: &mut Rank) -> Result<()> {
    rank.limit_memory(2 << 10);
    rank.context.window_bytes = 1;
    rank.context.batch_rows = 3;
    let everywhere = on_all(rank.ranks(), 2);
    let all_lanes = || lanes(2 * rank.ranks());
    let mut builder = Builder::new(rank.ranks());
    let mut branches = Vec::<StageId>::new();
    for size in [1, 5, 29] {
        let mut last = builder.stage("rows", &everywhere, &[], source(move |_, lane| batches_of(lane, 200, size)));
        for route in [hash(), Route::Spread, Route::Keep, Route::Range(Arc::new(AllTo(1))), Route::RoundRobin] {
            let exchange = builder.exchange(last, route, &schema());
            last = builder.stage("forward", &everywhere, &[(exchange, all_lanes())], forward());
        }
        branches.push(last);
    }
    let inputs =
        branches.iter().map(|&branch| (builder.exchange(branch, hash(), &schema()), all_lanes())).collect::<Vec<_>>();
    let joined = builder.stage("one after the other", &everywhere, &inputs, forward());
    let exchange = builder.exchange(joined, Route::Broadcast, &schema());
    let last = builder.stage("forward", &on_all(rank.ranks(), 1), &[(exchange, Feed::EveryRank)], forward());
    let kept = Kept::new();
    builder.keep(last, &kept);
    rank.run(&builder.place()?)?;
    let all = gather(rank, &kept)?.into_values().flatten().count();
    let expected = 3 * 200 * everywhere.len() * rank.ranks();
    expect(all == expected, || format!("{all} rows of {expected}"))
}
