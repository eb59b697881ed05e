//! Exchanges between ranks that are threads of this process: see `suite`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a failed unwrap is a failed test")]

mod suite;

use std::sync::Arc;

use bireme_engine::comm::Communicator;
use bireme_engine::comm::local::LocalCommunicator;

/// Runs the suite on so many local ranks; `BIREME_CASE` picks the cases whose name contains it.
fn check(ranks: usize) {
    // One number of ranks after the other: a suite has enough threads of its own.
    static TURN: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
    let _turn = TURN.lock();
    let filter = std::env::var("BIREME_CASE").unwrap_or_default();
    let start = |communicator| {
        let filter = filter.clone();
        std::thread::spawn(move || suite::run_some(communicator, &filter))
    };
    let group =
        LocalCommunicator::group(ranks).into_iter().map(|communicator| -> Arc<dyn Communicator> { communicator });
    let threads = group.map(start).collect::<Vec<_>>();
    let results = threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>();
    results.into_iter().for_each(|result| result.unwrap());
}

#[test]
fn one_rank() {
    check(1);
}

#[test]
fn two_ranks() {
    check(2);
}

#[test]
fn three_ranks() {
    check(3);
}

#[test]
fn five_ranks() {
    check(5);
}

#[test]
fn eight_ranks() {
    check(8);
}

/// A rank that is gone in the middle of an action ends it for the others.
#[test]
fn a_lost_rank_ends_the_action() {
    use bireme_engine::ErrorKind;
    use bireme_engine::control::agree;
    use bireme_engine::run::{RankContext, run};
    use bireme_engine::stage::{Feed, Route};
    use bireme_engine::switchboard::Switchboard;
    use suite::bodies::{Builder, Kept, batches_of, forward, schema, source};

    // Only rank 2 leaves: the others stay until both have ended, lest one be lost to the other.
    let program = |context: RankContext| {
        agree(&context.control(), 1, Ok(1)).unwrap();
        if context.switchboard.rank() == 2 {
            return None;
        }
        let mut builder = Builder::new(3);
        let producer = builder.stage("rows", &[0, 1, 2], &[], source(|_, lane| batches_of(lane, 100, 10)));
        let exchange = builder.exchange(producer, Route::Gather, &schema());
        let consumer = builder.stage("forward", &[0], &[(exchange, Feed::Lanes(vec![0]))], forward());
        builder.keep(consumer, &Kept::new());
        Some((run(&builder.place().unwrap(), 1, &context).unwrap_err(), context))
    };
    let contexts = LocalCommunicator::group(3).into_iter().map(|rank| RankContext::new(Switchboard::new(rank)));
    let threads = contexts.map(|context| std::thread::spawn(move || program(context))).collect::<Vec<_>>();
    let ended = threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>();
    assert_eq!(ended.iter().flatten().count(), 2);
    for (error, _) in ended.iter().flatten() {
        assert_eq!(error.kind(), ErrorKind::PeerLost, "{error}");
        assert!(error.message().contains("rank 2"), "{error}");
    }
}
