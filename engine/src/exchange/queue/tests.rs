#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use arrow::array::{ArrayRef, AsArray, Int32Array};
use arrow::datatypes::Int32Type;
use futures::task::noop_waker;

use super::*;
use crate::budget::Budget;

/// A queue of two producers, with a budget for two batches of 100 bytes, and the directory it spills to.
fn queue(limit: usize) -> (LaneQueue, Budget, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let budget = Budget::new(Some(limit));
    let limits = QueueLimits {
        schema: batch(0).schema(),
        memory: Arc::new(budget.reserve("exchange x0")),
        headroom: 0,
        temp_dir: directory.path().to_owned(),
        credit_step: 250,
    };
    (LaneQueue::new(limits, Arc::default(), vec![0, 1, 1]), budget, directory)
}

fn batch(number: i32) -> RecordBatch {
    RecordBatch::try_from_iter([("a", Arc::new(Int32Array::from(vec![number; 3])) as ArrayRef)]).unwrap()
}

fn pop(queue: &LaneQueue) -> Option<(i32, Vec<(usize, Credit)>)> {
    match queue.poll_pop(&mut Context::from_waker(&noop_waker())) {
        Poll::Ready(Popped::Batch(batch, credits)) => {
            Some((batch.unwrap().column(0).as_primitive::<Int32Type>().value(0), credits))
        }
        Poll::Ready(Popped::End) | Poll::Pending => None,
    }
}

fn push(queue: &LaneQueue, from: usize, number: i32) -> bool {
    let (header, buffers) = wire::encode(&batch(number));
    let payload = if from == 0 { Payload::Batch(batch(number)) } else { Payload::Encoded(header, buffers) };
    queue.push(from, 100, payload)
}

fn fill(queue: &LaneQueue, numbers: std::ops::Range<i32>) {
    numbers.for_each(|number| {
        push(queue, 0, number);
    });
}

#[test]
fn what_does_not_fit_goes_to_disk_and_comes_back_in_order() {
    let (queue, budget, directory) = queue(200);
    let spill = (0..10).map(|number| push(&queue, number as usize % 3, number)).collect::<Vec<_>>();
    assert_eq!(spill, [false, false, true, true, true, true, true, true, true, true]);
    queue.spill_unheld().unwrap();
    assert_eq!((budget.used(), queue.metrics.spilled_batches.get()), (200, 8));
    // Read some; then there is room in memory again, behind what lies on disk.
    assert_eq!((0..4).map(|_| pop(&queue).unwrap().0).collect::<Vec<_>>(), [0, 1, 2, 3]);
    (10..12).for_each(|number| assert!(!push(&queue, 0, number)));
    assert_eq!((0..8).map(|_| pop(&queue).unwrap().0).collect::<Vec<_>>(), [4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(budget.used(), 0);
    drop((queue, directory));
}

#[test]
fn credits_add_up_and_are_flushed_when_the_queue_is_empty() {
    let (queue, ..) = queue(1 << 20);
    for (number, from) in [1, 1, 1, 2, 1].into_iter().enumerate() {
        push(&queue, from, number as i32);
    }
    let credit = |batches| Credit { bytes: 100 * batches, batches };
    let credits = (0..5).map(|_| pop(&queue).unwrap().1).collect::<Vec<_>>();
    assert_eq!(credits, [vec![], vec![], vec![(1, credit(3))], vec![], vec![(1, credit(1)), (2, credit(1))]]);
}

#[test]
fn a_rank_whose_producers_have_ended_gets_no_credits() {
    let (queue, ..) = queue(1 << 20);
    push(&queue, 1, 0);
    push(&queue, 2, 1);
    queue.end_one(1);
    let credits = (0..2).map(|_| pop(&queue).unwrap().1).collect::<Vec<_>>();
    assert_eq!(credits, [vec![], vec![(2, Credit { bytes: 100, batches: 1 })]]);
}

#[test]
fn ends_when_every_producer_has_ended() {
    let (queue, ..) = queue(1 << 20);
    let poll = |queue: &LaneQueue| queue.poll_pop(&mut Context::from_waker(&noop_waker()));
    queue.end_one(1);
    push(&queue, 0, 7);
    assert_eq!(pop(&queue).unwrap().0, 7);
    assert!(poll(&queue).is_pending());
    queue.end_one(2);
    assert!(matches!(poll(&queue), Poll::Ready(Popped::End)));
}

#[test]
fn a_stopped_queue_holds_nothing_and_says_so_once() {
    let (queue, budget, _directory) = queue(200);
    fill(&queue, 0..5);
    queue.spill_unheld().unwrap();
    assert!(queue.stop() && !queue.stop());
    assert!(!push(&queue, 0, 9));
    assert_eq!((budget.used(), pop(&queue)), (0, None));
}

#[test]
fn a_queue_that_is_dropped_gives_its_memory_back() {
    let (queue, budget, _directory) = queue(200);
    fill(&queue, 0..2);
    assert_eq!(budget.used(), 200);
    drop(queue);
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_spiller_spills_for_those_who_must_not_wait() {
    let (queue, budget, _directory) = queue(200);
    let queue = Arc::new(queue);
    let spiller = Spiller::default();
    for number in 0..20 {
        if push(&queue, 1, number) {
            spiller.spill(&queue);
        }
    }
    while queue.metrics.spilled_batches.get() < 18 {
        std::thread::yield_now();
    }
    assert_eq!(budget.used(), 200);
    assert_eq!((0..20).map(|_| pop(&queue).unwrap().0).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_disk_that_fails_is_the_readers_error() {
    let (queue, _, directory) = queue(100);
    drop(directory);
    fill(&queue, 0..3);
    let error = queue.spill_unheld().unwrap_err();
    match queue.poll_pop(&mut Context::from_waker(&noop_waker())) {
        Poll::Ready(Popped::Batch(Err(same), _)) => assert_eq!(same, error),
        _ => unreachable!("the reader must learn that rows are missing"),
    }
}
