//! Times an operator against DataFusion's on the same rows, with Criterion, and prints the ratios.
//!
//! ```text
//!   check     ours, theirs      how many rows come out must be the same
//!   time      ours              Criterion's warm-up and samples, one side after the other
//!             theirs
//!   ratio     ours / theirs     of the best iterations: noise only ever adds to a time
//! ```

mod crew;
mod peer;

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};

pub use crew::Crew;
pub use peer::Peer;

/// Samples of a side, how long all of them should take, and how long to warm up.
const SAMPLES: usize = 10;
const TIME: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_millis(500);

/// What both sides do.
pub struct Case<'a> {
    /// Which operator.
    pub operator: &'a str,
    /// What is special about it.
    pub name: &'a str,
    /// On how many threads, one after the other.
    pub threads: &'a [usize],
    /// Our operator on all rows, which it makes when it is called first; how many rows come out.
    pub ours: &'a dyn Fn(&Crew) -> usize,
    /// Gives DataFusion the same rows as tables.
    pub tables: &'a dyn Fn(&Peer),
    /// The same work as a query over them.
    pub query: &'a str,
}

/// All cases of a program.
pub struct Contest {
    criterion: RefCell<Criterion>,
    /// Whether times count; if not, each case runs once on few rows, to see that it works.
    timed: bool,
    results: RefCell<Vec<Ratio>>,
}

/// A case with the best times of both sides.
struct Ratio {
    case: String,
    threads: usize,
    ours: Duration,
    theirs: Duration,
}

impl Contest {
    /// As the command line says; Criterion's options and parts of names are understood.
    pub fn from_arguments() -> Self {
        let criterion = Criterion::default().sample_size(SAMPLES).measurement_time(TIME).warm_up_time(WARM_UP);
        // `cargo bench` says so, and `cargo test --benches` does not.
        let timed = std::env::args().any(|argument| argument == "--bench");
        Self { criterion: RefCell::new(criterion.configure_from_args()), timed, results: RefCell::default() }
    }

    /// So many rows, or few if nothing is timed.
    pub fn rows(&self, rows: usize) -> usize {
        if self.timed { rows } else { rows.div_ceil(1000) }
    }

    /// Runs a case if it is wanted.
    pub fn enter(&self, case: &Case<'_>) {
        let name = format!("{}/{}", case.operator, case.name.replace(' ', "-"));
        let mut criterion = self.criterion.borrow_mut();
        for &threads in case.threads {
            let mut group = criterion.benchmark_group(format!("{name}/{threads}"));
            group.sampling_mode(SamplingMode::Flat);
            let (our, their) = (Best::default(), Best::default());
            group.bench_function("bireme", |bencher| {
                let crew = Crew::new(threads);
                bencher.iter_custom(|iterations| our.time(iterations, || (), |()| (case.ours)(&crew)));
            });
            group.bench_function("datafusion", |bencher| {
                let peer = Peer::new(threads);
                (case.tables)(&peer);
                let plan = || peer.plan(case.query);
                bencher.iter_custom(|iterations| their.time(iterations, plan, |plan| peer.run(plan)));
            });
            group.finish();
            if let (Some(ours), Some(theirs)) = (our.time.get(), their.time.get()) {
                assert_eq!(our.rows, their.rows, "{name}: rows of both sides");
                self.results.borrow_mut().push(Ratio { case: name.clone(), threads, ours, theirs });
            }
        }
    }

    /// Prints what came out.
    #[allow(clippy::print_stdout, reason = "a program for people who measure")]
    pub fn finish(self) {
        self.criterion.into_inner().final_summary();
        if !self.timed {
            return;
        }
        println!("best times in ms\n\n| case | threads | bireme | datafusion | ratio |\n|---|--:|--:|--:|--:|");
        for Ratio { case, threads, ours, theirs } in self.results.into_inner() {
            let [ours, theirs] = [ours, theirs].map(|time| time.as_secs_f64() * 1e3);
            println!("| {case} | {threads} | {ours:.2} | {theirs:.2} | {:.2} |", ours / theirs);
        }
    }
}

/// The best time of a side, and the rows that it yields.
#[derive(Default)]
struct Best {
    time: Cell<Option<Duration>>,
    rows: Cell<usize>,
}

impl Best {
    /// Works so often, on something made anew and off the clock each time; how long it took.
    fn time<T>(&self, iterations: u64, mut prepare: impl FnMut() -> T, mut work: impl FnMut(T) -> usize) -> Duration {
        let mut total = Duration::ZERO;
        for _ in 0..iterations {
            let prepared = prepare();
            let start = Instant::now();
            self.rows.set(work(prepared));
            let took = start.elapsed();
            self.time.set(Some(self.time.get().map_or(took, |best| best.min(took))));
            total += took;
        }
        total
    }
}
