//! Feedback edges: ranks of a stage that talk in rounds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::buffer::Buffer;
use bireme_engine::error::ErrorKind;
use bireme_engine::feedback::{Feedback, sum_of};
use bireme_engine::run::StageTask;
use bireme_engine::stage::{Body, PlacedPlan};
use bireme_engine::{Error, Result};
use futures::future::BoxFuture;

use super::bodies::{Builder, Kept, source};
use super::{Case, Rank, expect};

pub const CASES: &[(&str, Case)] = &[
    ("rounds until nothing changes", until_nothing_changes),
    ("rounds of some ranks", of_some_ranks),
    ("a rank fails between rounds", fails_between_rounds),
];

type Talk = Arc<dyn Fn(Feedback) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A stage without rows whose ranks only talk.
struct Talks(Talk);

impl fmt::Debug for Talks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Talks")
    }
}

impl Body for Talks {
    fn lines(&self) -> Vec<String> {
        vec!["talks".into()]
    }

    fn feeds_back(&self) -> bool {
        true
    }

    fn run(&self, task: StageTask) -> BoxFuture<'static, Result<()>> {
        let talk = task.feedback.map(|feedback| (self.0)(feedback));
        Box::pin(async move {
            talk.ok_or_else(|| Error::internal("a task without a feedback edge"))?.await?;
            for outlet in task.outlets {
                outlet.finish().await?;
            }
            Ok(())
        })
    }
}

fn plan<F>(
    rank: &Rank,
    lane_ranks: &[usize],
    talk: impl Fn(Feedback) -> F + Send + Sync + 'static,
) -> Result<PlacedPlan>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut builder = Builder::new(rank.ranks());
    let stage = builder.stage("talks", lane_ranks, &[], source(|_, _| vec![]));
    builder.edit_stage(stage).body = Arc::new(Talks(Arc::new(move |feedback| Box::pin(talk(feedback)))));
    builder.keep(stage, &Kept::new());
    builder.place()
}

/// What one rank says to another in a round: more than a message holds in some rounds, nothing in others.
fn said(from: usize, to: usize, round: u64) -> Buffer {
    let len = [3, 0, 1 << 20][round as usize % 3] * usize::from(from != to || round < 6);
    Buffer::from_vec(vec![(17 * from + 5 * to) as u8 ^ round as u8; len])
}

/// Each rank hands on the largest number it has heard of to the next rank alone, so news takes as many rounds as there are ranks.
fn until_nothing_changes(rank: &mut Rank) -> Result<()> {
    let talk = |mut feedback: Feedback| async move {
        let (ranks, place) = (feedback.ranks(), feedback.place());
        let mut largest = (7 * place as u64 + 3) % 11;
        let expected = (0..ranks as u64).map(|place| (7 * place + 3) % 11).max();
        for round in 0.. {
            if place == 0 && round == 2 {
                std::thread::sleep(Duration::from_millis(20));
            }
            let bytes = (0..ranks).map(|to| said(place, to, round)).collect();
            let letters = feedback.round(&[largest], bytes).await?;
            expect(letters.len() == ranks, || format!("{} letters", letters.len()))?;
            for (from, letter) in letters.iter().enumerate() {
                expect(letter.bytes == said(from, place, round), || format!("round {round}: bytes of {from}"))?;
            }
            let heard = letters[(place + ranks - 1) % ranks].words[0];
            let changed = heard > largest;
            largest = largest.max(heard);
            if feedback.sums(&[u64::from(changed)]).await?[0] == 0 {
                expect(round < ranks as u64, || format!("{round} rounds"))?;
                break;
            }
        }
        expect(Some(largest) == expected, || format!("{largest}, not {expected:?}"))
    };
    let everywhere = (0..rank.ranks()).collect::<Vec<_>>();
    let report = rank.run(&plan(rank, &everywhere, talk)?)?;
    let rounds = report.stages[0].extras.iter().find(|(name, _)| name.as_str() == "rounds");
    expect(rounds.is_some(), || format!("{:?}", report.stages[0].extras))
}

/// Of several lanes on the last ranks; the first has no part.
fn of_some_ranks(rank: &mut Rank) -> Result<()> {
    let ranks = rank.ranks();
    let first = usize::from(ranks > 1);
    let talk = move |mut feedback: Feedback| async move {
        let letters = feedback.round(&[1, feedback.place() as u64], vec![Buffer::default(); feedback.ranks()]).await?;
        let parts = (ranks - first) as u64;
        let sums = [sum_of(&letters, 0), sum_of(&letters, 1), sum_of(&letters, 2)];
        expect(sums == [parts, parts * (parts - 1) / 2, 0], || format!("{sums:?}"))
    };
    let lanes = (first..ranks).flat_map(|rank| [rank]).collect::<Vec<_>>();
    rank.run(&plan(rank, &lanes, talk)?).map(drop)
}

fn fails_between_rounds(rank: &mut Rank) -> Result<()> {
    let talk = |mut feedback: Feedback| async move {
        for round in 0..1000 {
            if round == 5 && feedback.place() == feedback.ranks() - 1 {
                return Err(Error::corrupt("round five is bad"));
            }
            feedback.sums(&[round]).await?;
        }
        if feedback.ranks() == 1 { Ok(()) } else { Err(Error::internal("a thousand rounds without the last rank")) }
    };
    let everywhere = (0..rank.ranks()).collect::<Vec<_>>();
    let error = rank.run_failing(&plan(rank, &everywhere, talk)?)?;
    expect(error.kind() == ErrorKind::Corrupt && error.message().contains("round five is bad"), || format!("{error}"))
}
