//! Times an operator against DataFusion's on the same rows, in one process, in turn, and prints the ratios.
//!
//! ```text
//!   warm-up   ours, theirs                  how many rows come out must be the same
//!   round 1   ours, theirs                  so what else the machine does meets both alike
//!   round 2   ours, theirs  …               the best round of each side counts: noise only ever adds to a time
//! ```
//!
//! It is not Criterion, whose dependencies turn on a feature of `serde` that DataFusion's see: there would be one
//! DataFusion to compile for tests and another one for programs. Criterion also times its subjects one after the other,
//! and the number that matters here is a ratio.

mod crew;
mod peer;

use std::time::{Duration, Instant};

pub use crew::Crew;
pub use peer::Peer;

/// Rounds of a case, at least and at most, and how long it may take after those.
const ROUNDS: (usize, usize) = (5, 50);
const TIME: Duration = Duration::from_secs(4);
/// The same with `--quick`.
const QUICK_ROUNDS: (usize, usize) = (2, 20);
const QUICK_TIME: Duration = Duration::from_millis(500);

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
    wanted: Vec<String>,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Full,
    Quick,
    /// Nothing is timed: each case runs once on few rows, to see that it works.
    Test,
}

/// The times of one side.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Contest {
    /// As the command line says: `--quick`, and parts of the names of the cases that are wanted.
    #[allow(clippy::print_stdout, reason = "a program for people who measure")]
    pub fn from_arguments() -> Self {
        let arguments = std::env::args().skip(1).collect::<Vec<_>>();
        let given = |option: &str| arguments.iter().any(|argument| argument == option);
        let mode = match (given("--bench"), given("--quick")) {
            // `cargo bench` says so, and `cargo test --benches` does not.
            (false, _) => Mode::Test,
            (true, true) => Mode::Quick,
            (true, false) => Mode::Full,
        };
        if mode != Mode::Test {
            println!("times in ms, the best of all rounds (and their median)\n");
            println!("| case | threads | bireme | datafusion | ratio |\n|---|--:|--:|--:|--:|");
        }
        Self { wanted: arguments.into_iter().filter(|argument| !argument.starts_with("--")).collect(), mode }
    }

    /// So many rows, or few if nothing is timed.
    pub fn rows(&self, rows: usize) -> usize {
        if self.mode == Mode::Test { rows.div_ceil(1000) } else { rows }
    }

    /// Runs a case if it is wanted.
    #[allow(clippy::print_stdout, reason = "a program for people who measure")]
    pub fn enter(&self, case: &Case<'_>) {
        let name = format!("{}: {}", case.operator, case.name);
        if !self.wanted.is_empty() && !self.wanted.iter().any(|wanted| name.contains(wanted)) {
            return;
        }
        for &threads in case.threads {
            let (crew, peer) = (Crew::new(threads), Peer::new(threads));
            (case.tables)(&peer);
            let ours = || timed(|| (case.ours)(&crew));
            let theirs = || {
                let plan = peer.plan(case.query);
                timed(|| peer.run(plan))
            };
            assert_eq!(ours().1, theirs().1, "{name}: rows of both sides");
            if self.mode == Mode::Test {
                continue;
            }
            let [our, their] = self.rounds(&|| ours().0, &|| theirs().0);
            let ratio = our.best() / their.best();
            println!("| {name} | {threads} | {} | {} | {ratio:.2} |", our.text(), their.text());
        }
    }

    fn rounds(&self, ours: &dyn Fn() -> Duration, theirs: &dyn Fn() -> Duration) -> [Times; 2] {
        let ((least, most), time) = if self.mode == Mode::Quick { (QUICK_ROUNDS, QUICK_TIME) } else { (ROUNDS, TIME) };
        let (mut our, mut their, start) = (Times::default(), Times::default(), Instant::now());
        while our.0.len() < least || our.0.len() < most && start.elapsed() < time {
            our.0.push(ours());
            their.0.push(theirs());
        }
        [our, their]
    }
}

impl Times {
    fn best(&self) -> f64 {
        self.0.iter().min().map_or(f64::NAN, Duration::as_secs_f64)
    }

    fn text(&self) -> String {
        let mut sorted = self.0.clone();
        sorted.sort();
        format!("{:.2} ({:.2})", self.best() * 1e3, sorted[sorted.len() / 2].as_secs_f64() * 1e3)
    }
}

fn timed(work: impl FnOnce() -> usize) -> (Duration, usize) {
    let start = Instant::now();
    let rows = work();
    (start.elapsed(), rows)
}
