//! Advice: exchanges that go against the order of stages, and for which nobody waits.

use std::sync::Arc;

use bireme_engine::Result;
use bireme_engine::exchange::Flow;
use bireme_engine::stage::{ExchangeId, Feed, PlacedPlan, Route};

use super::bodies::{Builder, ByKey, Kept, LaneTask, batches_of, names, rows, schema, work};
use super::cases::on_all;
use super::{Case, Rank, expect};

pub const CASES: &[(&str, Case)] = &[
    ("advice against the order of stages", against_the_order),
    ("advice that nobody hears", unheard),
    ("advice that is not given", not_given),
];

const ROWS: ExchangeId = ExchangeId(0);
const ADVICE: ExchangeId = ExchangeId(1);

/// Batches of rows of each lane, large enough that an exchange that is waited for would be full.
const BATCHES: u64 = 200;

/// `first` on two lanes a rank, whose rows go by key to `second` on one lane a rank, which advises it.
fn plan<A, B>(
    rank: &Rank,
    kept: &Arc<Kept>,
    first: impl Fn(LaneTask) -> A + Send + Sync + 'static,
    second: impl Fn(LaneTask) -> B + Send + Sync + 'static,
) -> Result<PlacedPlan>
where
    A: Future<Output = Result<()>> + Send + 'static,
    B: Future<Output = Result<()>> + Send + 'static,
{
    let ranks = rank.ranks();
    let mut builder = Builder::new(ranks);
    let (producers, consumers) = (on_all(ranks, 2), on_all(ranks, 1));
    let from = builder.stage("advised", &producers, &[(ADVICE, Feed::EveryRank)], work(first));
    let exchange = builder.exchange(from, Route::Hash(Arc::new(ByKey)), &schema());
    let feed = Feed::Lanes((0..ranks).collect());
    let to = builder.stage("advising", &consumers, &[(exchange, feed)], work(second));
    builder.advice(to, from, &schema());
    builder.keep(to, kept);
    assert_eq!(exchange, ROWS);
    builder.place()
}

async fn send_all(mut task: LaneTask) -> Result<()> {
    for batch in batches_of(task.lane, BATCHES * 64, 64) {
        if task.outlet.push(batch).await? == Flow::Stop {
            break;
        }
    }
    task.outlet.finish().await
}

async fn forward(task: LaneTask) -> Result<()> {
    let mut outlet = task.outlet;
    for mut inlet in task.inlets.into_iter().flatten() {
        while let Some(batch) = inlet.next().await {
            let _ = outlet.push(batch?).await?;
        }
    }
    outlet.finish().await
}

/// All rows of all lanes have arrived.
fn expect_all(rank: &Rank, kept: &Kept) -> Result<()> {
    let arrived = rank.sum(names(&kept.batches())?.len() as u64)?;
    let sent = 2 * rank.ranks() as u64 * BATCHES * 64;
    expect(arrived == sent, || format!("{arrived} of {sent} rows"))
}

/// The advised stage sends nothing before it has heard everybody: that would be a deadlock if advice came behind rows.
fn against_the_order(rank: &mut Rank) -> Result<()> {
    let (kept, ranks) = (Kept::new(), rank.ranks() as u64);
    let first = move |mut task: LaneTask| async move {
        let mut heard = Vec::new();
        for mut inlet in std::mem::take(&mut task.inlets).into_iter().flatten() {
            while let Some(batch) = inlet.next().await {
                heard.push(batch?);
            }
            let mut heard = names(&heard)?.into_iter().map(|(lane, ..)| lane).collect::<Vec<_>>();
            heard.sort_unstable();
            expect(heard == (0..ranks).collect::<Vec<_>>(), || format!("heard of lanes {heard:?}"))?;
        }
        send_all(task).await
    };
    let second = |mut task: LaneTask| async move {
        for mut outlet in std::mem::take(&mut task.advice) {
            let _ = outlet.push(rows(task.lane, 0, 1)).await?;
            outlet.finish().await?;
        }
        forward(task).await
    };
    let plan = plan(rank, &kept, first, second)?;
    let report = rank.run(&plan)?;
    expect_all(rank, &kept)?;
    let advised = report.stages.iter().find(|stage| stage.stage == 0);
    expect(advised.is_some_and(|stage| stage.rows_in == 0), || "advice was counted as rows".into())
}

/// Far more advice than a window holds, for a stage that has ended, or has not: nobody waits.
fn unheard(rank: &mut Rank) -> Result<()> {
    let kept = Kept::new();
    let second = |mut task: LaneTask| async move {
        for mut outlet in std::mem::take(&mut task.advice) {
            for batch in batches_of(task.lane, BATCHES * 64, 64) {
                let _ = outlet.push(batch).await?;
            }
            outlet.finish().await?;
        }
        forward(task).await
    };
    let plan = plan(rank, &kept, send_all, second)?;
    rank.run(&plan)?;
    expect_all(rank, &kept)
}

/// A stage may end without a word.
fn not_given(rank: &mut Rank) -> Result<()> {
    let kept = Kept::new();
    let plan = plan(rank, &kept, send_all, forward)?;
    rank.run(&plan)?;
    expect_all(rank, &kept)
}
