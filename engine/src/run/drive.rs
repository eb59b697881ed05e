//! Polls the bodies of one rank until all have ended or one has failed.
//!
//! Bodies spawn their work where they like; what is polled here, on the thread that called [`super::run`], only waits
//! for it. So this executor is a loop that sleeps until it is woken, and looks up now and then to see whether the other
//! ranks are still there.
//!
//! To wake a thread costs some microseconds, most of them at the expense of who wakes. So where many stages run and all that
//! this thread was woken for was that some had ended, it lets ends add up for a moment: a program of a thousand short
//! stages wakes it a few times and not a thousand times.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use futures::task::ArcWake;

use super::{Action, Failure, Prepared};
use crate::control::{is_echo, panic_text};
use crate::error::{Error, Result};
use crate::stage::{Body, StageId};

/// How often to see whether the other ranks are there.
const LOOK_UP: Duration = Duration::from_millis(500);

/// How often outlets that wait for time to pass are woken.
const PACE: Duration = Duration::from_millis(10);

/// How long the bodies of a failed action may take to notice. Then they are dropped.
const DRAIN: Duration = Duration::from_secs(5);

/// While more stages than this run, the end of one is not urgent.
const MANY: usize = 16;

/// How long ends of stages may add up.
const ADD_UP: Duration = Duration::from_micros(200);

/// A failure of no stage in particular comes after those of stages.
const NO_STAGE: u32 = u32::MAX;

type Ended = (StageId, Result<()>);

/// The bodies of one rank.
pub(super) struct Drive<'a> {
    action: &'a Action<'a>,
    waiting: Vec<Prepared>,
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    ended: BTreeSet<StageId>,
    /// How often bodies were polled.
    polls: Arc<AtomicUsize>,
    paced: Instant,
    looked: Instant,
}

impl<'a> Drive<'a> {
    pub fn new(action: &'a Action<'a>, waiting: Vec<Prepared>) -> Self {
        let now = Instant::now();
        Self {
            action,
            waiting,
            running: FuturesUnordered::new(),
            ended: BTreeSet::new(),
            polls: Arc::default(),
            paced: now,
            looked: now,
        }
    }

    /// Until every body has ended well, or something has failed.
    pub fn until_done(&mut self) -> Result<(), Failure> {
        let (unpark, waker) = unpark_waker();
        let mut cx = Context::from_waker(&waker);
        let mut cancelled = self.action.cancel.cancelled();
        loop {
            self.start_ready();
            if self.running.is_empty() {
                return self.all_ended();
            }
            let before = (self.polls.load(Ordering::Relaxed), self.ended.len());
            while let Poll::Ready(Some((stage, result))) = self.running.poll_next_unpin(&mut cx) {
                self.note(stage, result)?;
                self.start_ready();
            }
            if let Poll::Ready(cause) = cancelled.poll_unpin(&mut cx) {
                return Err(self.failure_of(NO_STAGE, cause));
            }
            if !self.running.is_empty() {
                if self.only_ends_since(before) {
                    std::thread::sleep(ADD_UP);
                }
                unpark.sleep(self.action.ports.pacer.nap(&waker, LOOK_UP));
                self.pace_and_look()?;
            }
        }
    }

    /// Whether stages ended, nothing else happened to any body, and there is enough left to do.
    fn only_ends_since(&self, (polls, ended): (usize, usize)) -> bool {
        let ended = self.ended.len() - ended;
        ended > 0
            && self.polls.load(Ordering::Relaxed) - polls == ended
            && self.waiting.is_empty()
            && self.running.len() > MANY
    }

    /// Lets the bodies see that the action was cancelled, so that files and memory are given back before [`super::run`]
    /// returns. A body that tells more about the cause than is known so far corrects it.
    pub fn drain(&mut self, failure: &mut Failure) {
        let (unpark, waker) = unpark_waker();
        let mut cx = Context::from_waker(&waker);
        // Stages that have not started go first: their inlets and sinks need nobody.
        self.waiting.clear();
        let deadline = Instant::now() + DRAIN;
        loop {
            match self.running.poll_next_unpin(&mut cx) {
                Poll::Ready(None) => return,
                Poll::Ready(Some((_, Ok(())))) => {}
                Poll::Ready(Some((stage, Err(error)))) => {
                    let late = self.failure_of(stage.0, error);
                    if !late.echo && (failure.echo || late.stage < failure.stage) {
                        *failure = late;
                    }
                }
                Poll::Pending => match deadline.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => unpark.sleep(left),
                    _ => {
                        tracing::warn!(
                            rank = self.action.rank(),
                            bodies = self.running.len(),
                            "bodies did not notice that their action failed"
                        );
                        return self.running.clear();
                    }
                },
            }
        }
    }

    /// Starts the stages that wait for nothing any more.
    fn start_ready(&mut self) {
        let graph = self.action.plan.graph();
        let ready = |prepared: &mut Prepared| {
            let after = &graph.stages[prepared.task.stage.0 as usize].after;
            // A stage without lanes here has nothing to wait for.
            after.iter().all(|stage| self.ended.contains(stage) || !self.action.metrics.contains_key(stage))
        };
        for prepared in self.waiting.extract_if(.., ready) {
            let stage = prepared.task.stage;
            self.action.context.activity.starts(stage);
            let body = Arc::clone(&graph.stages[stage.0 as usize].body);
            self.running.push(run_body(stage, body, prepared, Arc::clone(&self.polls)).boxed());
        }
    }

    fn note(&mut self, stage: StageId, result: Result<()>) -> Result<(), Failure> {
        match result {
            Ok(()) => {
                self.action.context.activity.ends(stage);
                self.ended.insert(stage);
                Ok(())
            }
            Err(error) => Err(self.failure_of(stage.0, error)),
        }
    }

    fn all_ended(&self) -> Result<(), Failure> {
        match self.waiting.first() {
            None => Ok(()),
            Some(prepared) => Err(self.failure_of(
                prepared.task.stage.0,
                Error::internal(format!("stage {} waits for stages that never end", prepared.task.stage)),
            )),
        }
    }

    fn failure_of(&self, stage: u32, error: Error) -> Failure {
        // The user's stop is a cause of its own, and whatever bodies say after it follows from it.
        if let Some(stop) = self.action.context.cancel.cause() {
            return Failure { stage, error: stop, echo: false };
        }
        let echo = is_echo(&error, self.action.cancel.cause().as_ref());
        Failure { stage, error, echo }
    }

    /// What is due by the clock, however often this thread is woken.
    fn pace_and_look(&mut self) -> Result<(), Failure> {
        if self.paced.elapsed() >= PACE {
            self.paced = Instant::now();
            self.action.ports.pace();
        }
        if self.looked.elapsed() >= LOOK_UP {
            self.looked = Instant::now();
            self.look_for_others()?;
        }
        Ok(())
    }

    fn look_for_others(&self) -> Result<(), Failure> {
        let context = self.action.context;
        let others = (0..context.switchboard.ranks()).collect::<Vec<_>>();
        match context.switchboard.find_lost(&others, context.timeout) {
            None => Ok(()),
            Some((rank, story)) => {
                let error =
                    Error::peer_lost(format!("rank {rank} is lost while action {} runs: {story}", self.action.number));
                Err(Failure { stage: NO_STAGE, error, echo: false })
            }
        }
    }
}

/// Runs a body, times it, and sees to it that it kept its promises.
async fn run_body(stage: StageId, body: Arc<dyn Body>, prepared: Prepared, polls: Arc<AtomicUsize>) -> Ended {
    let Prepared { task, finished } = prepared;
    let (rank, lanes) = (task.rank, task.lanes.len());
    let metrics = Arc::clone(&task.metrics);
    let start = Instant::now();
    let mut work = pin!(AssertUnwindSafe(async move { body.run(task).await }).catch_unwind());
    let work = poll_fn(|cx| {
        polls.fetch_add(1, Ordering::Relaxed);
        work.as_mut().poll(cx)
    });
    let result = work
        .await
        .unwrap_or_else(|panic| Err(Error::internal(format!("stage {stage} panicked: {}", panic_text(&*panic)))));
    metrics.wall.add_time(start.elapsed());
    let (rows, elapsed) = (metrics.rows.get(), start.elapsed());
    tracing::debug!(%stage, rank, rows, ?elapsed, good = result.is_ok(), "stage ended");
    let finished = finished.load(Ordering::Acquire);
    let result = match result {
        Ok(()) if finished < lanes => {
            Err(Error::internal(format!("stage {stage} ended with {} of {lanes} outlets unfinished", lanes - finished)))
        }
        result => result,
    };
    (stage, result)
}

/// Wakes one thread.
struct Unpark {
    thread: Thread,
    woken: std::sync::atomic::AtomicBool,
}

fn unpark_waker() -> (Arc<Unpark>, Waker) {
    let unpark = Arc::new(Unpark { thread: std::thread::current(), woken: std::sync::atomic::AtomicBool::new(false) });
    (Arc::clone(&unpark), futures::task::waker(unpark))
}

impl Unpark {
    /// Until woken, at most so long.
    fn sleep(&self, at_most: Duration) {
        if !self.woken.swap(false, Ordering::AcqRel) {
            std::thread::park_timeout(at_most);
            self.woken.store(false, Ordering::Release);
        }
    }
}

impl ArcWake for Unpark {
    fn wake_by_ref(unpark: &Arc<Self>) {
        unpark.woken.store(true, Ordering::Release);
        unpark.thread.unpark();
    }
}
