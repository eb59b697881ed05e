//! Collectives when something is wrong; that they work when all is well is shown by the exchanges' conformance suite.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;
use std::thread;

use super::*;
use crate::comm::Communicator;
use crate::comm::local::LocalCommunicator;

/// Runs `program` as every rank; returns what each got.
fn on_ranks<T: Send + 'static>(
    ranks: usize,
    timeout: Duration,
    program: impl Fn(usize, Control, Cancel) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let program = Arc::new(program);
    // All stay until all are done, as the ranks of a job do.
    let boards = LocalCommunicator::group(ranks)
        .into_iter()
        .map(|rank| Switchboard::new(rank as Arc<dyn Communicator>))
        .collect::<Vec<_>>();
    let threads = boards.iter().cloned().enumerate().map(|(rank, board)| {
        let program = Arc::clone(&program);
        let cancel = Cancel::new();
        thread::spawn(move || program(rank, Control::new(board, cancel.clone(), timeout), cancel))
    });
    threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn ranks_that_part_are_told_where() {
    let results = on_ranks(3, DEFAULT_TIMEOUT, |rank, control, _| {
        let label = if rank == 1 { "collect" } else { "agree on plan" };
        control.barrier(label)
    });
    for result in results {
        let message = result.unwrap_err().message().to_owned();
        assert!(message.contains("\"collect\"") && message.contains("\"agree on plan\""), "{message}");
    }
}

#[test]
fn a_missing_rank_is_named_and_nobody_waits_twice() {
    let results = on_ranks(3, Duration::from_millis(50), |rank, control, _| {
        if rank == 2 { Ok(()) } else { control.barrier("action 7 (agree on plan)") }
    });
    let message = results[0].clone().unwrap_err().message().to_owned();
    assert!(message.starts_with("rank 2 did not arrive at \"action 7 (agree on plan)\""), "{message}");
    assert!(results[1].is_err() && results[2].is_ok());
}

#[test]
fn a_rank_that_is_gone_is_not_waited_for() {
    let mut group = LocalCommunicator::group(2).into_iter();
    let board = Switchboard::new(group.next().unwrap());
    drop(group);
    let error = Control::new(board, Cancel::new(), DEFAULT_TIMEOUT).barrier("anything").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PeerLost);
}

#[test]
fn a_cancelled_session_ends_the_wait() {
    let results = on_ranks(2, DEFAULT_TIMEOUT, |rank, control, cancel| {
        if rank == 1 {
            return Ok(());
        }
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            cancel.cancel(Error::cancelled("stop"));
        });
        control.barrier("anything")
    });
    assert_eq!(results[0], Err(Error::cancelled("stop")));
}

#[test]
fn a_rank_that_gives_up_ends_all_waits() {
    let results = on_ranks(3, DEFAULT_TIMEOUT, |rank, control, _| {
        if rank == 0 {
            control.switchboard.abort(&Error::internal("rank 0 panicked"));
            return Err(Error::internal("rank 0 panicked"));
        }
        control.barrier("anything")
    });
    assert!(results.iter().all(|result| *result == Err(Error::internal("rank 0 panicked"))), "{results:?}");
}

/// A rank is slow to wake after the last letter came; meanwhile another rank goes on, and gives up.
#[test]
fn what_all_have_said_counts_though_a_rank_gave_up_since() {
    let gave_up = Arc::new(std::sync::Barrier::new(2));
    let results = on_ranks(2, DEFAULT_TIMEOUT, move |rank, control, _| -> Result<Result<()>> {
        if rank == 0 {
            control.broadcast_from_root("said", Some(vec![7]))?;
            control.switchboard.abort(&Error::internal("rank 0 gave up"));
            gave_up.wait();
            return Ok(Err(Error::internal("rank 0 gave up")));
        }
        gave_up.wait();
        assert_eq!(control.broadcast_from_root("said", None)?, [7]);
        Ok(control.barrier("what was never said"))
    });
    assert!(results.iter().all(|result| *result == Ok(Err(Error::internal("rank 0 gave up")))), "{results:?}");
}

#[test]
fn a_rank_alone_agrees_with_itself() {
    let results = on_ranks(1, DEFAULT_TIMEOUT, |_, control, _| {
        agree(&control, 1, Ok(5))?;
        control.decide_on_root("seed", || Ok(7_u64))
    });
    assert_eq!(results, [Ok(7)]);
}

#[test]
fn echoes_are_not_causes() {
    let cause = Error::user("division by zero");
    assert!(is_echo(&cause.clone().context("stage s3"), Some(&cause)));
    assert!(is_echo(&Error::cancelled("task dropped"), Some(&cause)));
    assert!(is_echo(&Error::internal("a channel was closed"), Some(&cause)));
    assert!(!is_echo(&Error::user("no such file"), Some(&cause)));
    assert!(!is_echo(&cause, None));
}
