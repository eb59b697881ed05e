//! Kills ranks under `mpirun` and looks at what is left.
//!
//! `bireme-kill-test [--kills 20] [--seed 1]` starts `mpirun -n 3 bireme sql …` again and again, on a join that shuffles and
//! spills, and at a random moment kills a random rank (SIGKILL). Each time it checks that
//!
//! - all ranks end within ten seconds, and `mpirun` with an exit code other than 0;
//! - a survivor names the lost rank and the stages it was working on, in one line; `mpirun` says its own, which does not count;
//! - no process is left, and, after the next start, no temporary file and no half-written result.
//!
//! Every other statement is a `COPY`, so that there is a result to be half-written. In the end SIGTERM goes to one rank, and to
//! `mpirun` itself: those must end with the cause, and leave nothing either.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program"
)]

mod job;
mod random;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use job::{Ended, Job};
use random::Random;

const RANKS: usize = 3;

/// Everybody ends within this time.
const LIMIT: Duration = Duration::from_secs(10);

/// Rows of the table that is joined with itself.
const ROWS: usize = 5_000_000;

fn main() -> ExitCode {
    let arguments = std::env::args().collect::<Vec<_>>();
    let number = |name: &str, otherwise: u64| {
        let place = arguments.iter().position(|argument| argument == name);
        place.map_or(otherwise, |place| arguments[place + 1].parse().expect("a number"))
    };
    if Command::new("mpirun").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED: there is no mpirun here, so no rank was killed");
        return ExitCode::SUCCESS;
    }
    let mut test = Test::prepare(number("--seed", 1));
    let kills = number("--kills", 20) as usize;
    for _ in 0..kills {
        test.kill();
    }
    test.terminate_rank();
    test.terminate_launcher();
    test.summary(kills)
}

/// What is common to all runs.
struct Test {
    folder: tempfile::TempDir,
    random: Random,
    /// How long the query takes, once the ranks have started, if nobody is killed.
    takes: Duration,
    runs: usize,
    failed: usize,
    slowest: Duration,
    /// Runs that left something for the next start to remove.
    swept: usize,
}

impl Test {
    fn prepare(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["data", "temp", "out"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut test = Test {
            folder,
            random: Random::new(seed),
            takes: Duration::ZERO,
            runs: 0,
            failed: 0,
            slowest: Duration::ZERO,
            swept: 0,
        };
        let rows = format!(
            "COPY (SELECT value AS k, value % 1000003 AS g, 'this is row number ' || value AS t \
             FROM generate_series(1, {ROWS})) TO '{}'",
            test.path("data/numbers.parquet").display()
        );
        assert!(test.alone(&rows), "making the data failed");
        test.takes = test.undisturbed();
        println!("undisturbed, the query takes {:.1} s", secs(test.takes));
        test
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Rows of both sides go to other ranks, and their hash tables do not fit the limit.
    fn query(&self) -> String {
        format!(
            "SELECT count(*), sum(x.g), max(y.t || x.t) FROM numbers x JOIN numbers y ON x.k = (y.k * 7) % {ROWS} \
             JOIN numbers z ON z.k = (y.g * 11) % {ROWS}"
        )
    }

    fn copy(&self) -> String {
        format!(
            "COPY (SELECT x.k, x.t, y.t AS u FROM numbers x JOIN numbers y ON x.k = (y.k * 7) % {ROWS} \
             JOIN numbers z ON z.k = (y.g * 11) % {ROWS}) TO '{}' STORED AS PARQUET",
            self.path("out/joined").display()
        )
    }

    /// Runs a statement in one process.
    fn alone(&self, statement: &str) -> bool {
        let mut command = Command::new(bireme());
        command.args(["sql", "--format", "none", "--temp-dir"]).arg(self.path("temp")).args(["-c", statement]);
        command.status().unwrap().success()
    }

    fn start(&mut self, statement: &str) -> Job {
        self.runs += 1;
        let mut command = Command::new("mpirun");
        if is_open_mpi() {
            command.args(["--oversubscribe", "--bind-to", "none"]);
        }
        command.args(["-n", &RANKS.to_string()]).arg(bireme()).args(["sql", "--threads", "1"]);
        command.args(["--memory-limit", "48MiB", "--tables"]).arg(self.path("data"));
        command.arg("--temp-dir").arg(self.path("temp")).args(["-c", statement]);
        Job::start(command, &self.path(&format!("run-{}", self.runs)))
    }

    /// How long the query takes if nobody is killed.
    fn undisturbed(&mut self) -> Duration {
        let job = self.start(&self.query());
        self.wait_for_start();
        let started = Instant::now();
        let ended = job.wait(Duration::from_secs(300));
        assert_eq!((ended.code, ended.left), (Some(0), vec![]), "undisturbed: {}", ended.said);
        assert_eq!(names(&self.path("temp")), [""; 0], "left by an undisturbed run");
        started.elapsed()
    }

    /// Until the ranks have started: the last thing they do before they meet is to make a folder each.
    fn wait_for_start(&self) {
        let started = Instant::now();
        while names(&self.path("temp")).len() < RANKS {
            assert!(started.elapsed() < Duration::from_secs(60), "the ranks do not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills a random rank at a random moment of the query.
    fn kill(&mut self) {
        let rank = self.random.below(RANKS as u64) as usize;
        let writes = self.random.below(2) == 1;
        let statement = if writes { self.copy() } else { self.query() };
        // The end moves with what else the machine does.
        let mut moment = self.takes.mul_f64(0.15 + 0.5 * self.random.fraction());
        let (job, number) = loop {
            let mut job = self.start(&statement);
            self.wait_for_start();
            std::thread::sleep(moment);
            match job.rank(rank) {
                Some(number) if job.runs() => break (job, number),
                _ => println!("  over after {:.1} s; once more, earlier", secs(moment)),
            }
            job.wait(LIMIT);
            let _ = std::fs::remove_dir_all(self.path("out/joined"));
            moment = moment.mul_f64(0.7);
        };
        let ended = job.signal(number, "-KILL", LIMIT);
        let what =
            format!("SIGKILL of rank {rank} at {:.1} s of a {}", secs(moment), if writes { "COPY" } else { "SELECT" });
        let wanted = format!("rank {rank} (process {number} on host ");
        let words = |line: &str| {
            let says = |words: &str| line.contains(words);
            line.starts_with("bireme: rank ") && says(&wanted) && says(" was in action ") && says(" stage")
        };
        self.check(&what, &ended, words);
    }

    fn terminate_rank(&mut self) {
        let job = self.start(&self.copy());
        self.wait_for_start();
        std::thread::sleep(self.takes.mul_f64(0.4));
        let number = job.rank(1).expect("rank 1 runs");
        let ended = job.signal(number, "-TERM", LIMIT);
        let words = |line: &str| line.contains("interrupted by a signal; rank 1 was in action ");
        self.check("SIGTERM to rank 1", &ended, words);
    }

    fn terminate_launcher(&mut self) {
        let job = self.start(&self.copy());
        self.wait_for_start();
        std::thread::sleep(self.takes.mul_f64(0.4));
        let number = job.launcher();
        let ended = job.signal(number, "-TERM", LIMIT);
        let words = |line: &str| line.starts_with("cancelled: interrupted by a signal; rank 0 was in action ");
        self.check("SIGTERM to mpirun", &ended, words);
    }

    /// Checks one end; `says` knows the line that must be there.
    fn check(&mut self, what: &str, ended: &Ended, says: impl Fn(&str) -> bool) {
        let mut wrong = Vec::new();
        if ended.after > LIMIT {
            wrong.push(format!("it took more than {} s", LIMIT.as_secs()));
        }
        if ended.code == Some(0) {
            wrong.push("mpirun ended with 0".to_owned());
        }
        if !ended.left.is_empty() {
            wrong.push(format!("processes are left: {:?}", ended.left));
        }
        let line = ended.said.lines().find(|line| says(line));
        if line.is_none() {
            wrong.push("nobody said the cause".to_owned());
        }
        for survivor in 0..RANKS {
            let own = format!("; rank {survivor} was ");
            let lines = ended.said.lines().filter(|line| line.starts_with("bireme: ") && line.contains(&own)).count();
            if lines > 1 {
                wrong.push(format!("rank {survivor} said {lines} lines"));
            }
        }
        if ended.said.contains("peer lost: ") || ended.said.contains("panicked") {
            wrong.push("more was said than one line".to_owned());
        }
        let left = [names(&self.path("temp")), names(&self.path("out"))].concat();
        self.swept += usize::from(!left.is_empty());
        wrong.extend(self.look_after_next_start());
        self.slowest = self.slowest.max(ended.after);
        let line = line.unwrap_or("-");
        println!("{what}: ended after {:.2} s, {} left on disk; {line}", secs(ended.after), left.len());
        if !wrong.is_empty() {
            self.failed += 1;
            println!("  FAILED: {}; it said:\n{}", wrong.join("; "), ended.said);
        }
    }

    /// The next start, and the next job that writes to the same place, take away what could not be.
    fn look_after_next_start(&self) -> Option<String> {
        let next = self.path("out/next.parquet");
        if !self.alone(&format!("COPY (SELECT 1 AS one) TO '{}'", next.display())) {
            return Some("the next start failed".to_owned());
        }
        std::fs::remove_file(&next).unwrap();
        // A result that was published just before the end is no half-written one.
        let _ = std::fs::remove_dir_all(self.path("out/joined"));
        let left = [names(&self.path("temp")), names(&self.path("out"))].concat();
        (!left.is_empty()).then(|| format!("left on disk: {left:?}"))
    }

    fn summary(&self, kills: usize) -> ExitCode {
        println!(
            "{kills} kills and 2 SIGTERMs: {} failed; slowest end {:.2} s; {} left something to the next start",
            self.failed,
            secs(self.slowest),
            self.swept
        );
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The program, built beside this one.
fn bireme() -> PathBuf {
    let path = std::env::current_exe().unwrap().with_file_name("bireme");
    assert!(path.exists(), "{} is not built", path.display());
    path
}

fn is_open_mpi() -> bool {
    let version = Command::new("mpirun").arg("--version").output().unwrap();
    String::from_utf8_lossy(&version.stdout).contains("Open MPI")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn secs(time: Duration) -> f64 {
    time.as_secs_f64()
}
