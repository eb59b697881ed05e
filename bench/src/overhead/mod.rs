//! What a task costs: Task Bench's trivial and stencil patterns (Slaughter et al., SC'20) as programs of stages.
//!
//! ```text
//!            column 0   1   2   3
//!   step 0        ●   ●   ●   ●        a step is a stage, a column a lane: ● is a task, one lane of one stage
//!                 │ ╳ │ ╳ │ ╳ │        stencil: an exchange; a task needs its column and its neighbours, and waits for no other
//!   step 1        ●   ●   ●   ●        trivial: no exchange
//!                 │ ╳ │ ╳ │ ╳ │
//!   step 2        ●   ●   ●   ●
//! ```
//!
//! There are as many columns as cores. A task checks what its dependencies have sent and works on a kernel of a fixed length;
//! the time is that of a whole program: to make its graph, place it, agree on it, run it, and reach the consensus at its end.
//! What is reported is the shortest task that still makes sense ([`metg`]).

mod kernel;
mod metg;
mod pattern;
mod report;
mod staged;
mod worker;

use std::path::PathBuf;

use bireme::prelude::{Error, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use self::metg::Point;
use self::pattern::Pattern;
#[cfg(feature = "mpi")]
pub(crate) use self::worker::run as work;
use crate::mpirun;

/// What `bireme-bench overhead` is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct Overhead {
    /// Numbers of ranks; more than one run under mpirun
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,2", value_parser = clap::value_parser!(u32).range(1..))]
    ranks: Vec<u32>,
    #[command(flatten)]
    size: Size,
    /// Writes all that was measured, the machine and the commit into a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What each rank has to know.
#[derive(Clone, Debug, Args)]
pub(crate) struct Size {
    /// Only these patterns
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "trivial,stencil")]
    patterns: Vec<Pattern>,
    /// Cores of all ranks together, and columns [default: those this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    cores: Option<u32>,
    /// Steps of a program
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..))]
    steps: u32,
    /// Microseconds of the longest kernel
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    longest: u32,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Three rounds and kernels of at most 128 us: under a minute
    #[arg(long)]
    quick: bool,
}

impl Size {
    fn cores(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.cores.map_or_else(all, |cores| cores as usize)
    }

    /// The cores that each of so many ranks has to itself, if there are enough.
    fn cores_of_a_rank(&self, ranks: u32) -> Option<usize> {
        let there = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let share = self.cores() / ranks as usize;
        (share > 0 && share * ranks as usize <= there).then_some(share)
    }

    fn steps(&self) -> usize {
        self.steps as usize
    }

    fn runs(&self) -> u32 {
        if self.quick { 3 } else { self.runs }
    }

    fn longest_us(&self) -> f64 {
        f64::from(if self.quick { self.longest.min(128) } else { self.longest })
    }

    /// The same as words of a command line.
    fn arguments(&self) -> Vec<String> {
        let patterns = self.patterns.iter().map(|pattern| pattern.name()).collect::<Vec<_>>().join(",");
        let named = [
            ("--patterns", patterns),
            ("--cores", self.cores().to_string()),
            ("--steps", self.steps.to_string()),
            ("--longest", self.longest.to_string()),
            ("--runs", self.runs.to_string()),
        ];
        let named = named.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        named.chain(self.quick.then(|| "--quick".to_owned())).collect()
    }
}

/// A pattern on so many ranks, measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pattern: Pattern,
    ranks: usize,
    cores: usize,
    steps: usize,
    /// The kernel's rate on all cores, alone.
    peak_gflops: f64,
    /// None if the longest kernel is not effective, or the shortest still is.
    metg_us: Option<f64>,
    /// The longest kernel first; the last has none.
    points: Vec<Point>,
}

/// Measures, prints, and keeps a record.
///
/// # Errors
/// There is no mpirun, or the job under it fails; a task got something else than its dependencies have sent.
pub(crate) fn run(arguments: &Overhead) -> Result<bool> {
    let mut cases = Vec::new();
    for &ranks in &arguments.ranks {
        cases.extend(if ranks == 1 { worker::alone(&arguments.size)? } else { under_mpirun(ranks, &arguments.size)? });
    }
    let record = report::Record::new(arguments.size.runs(), cases);
    record.print()?;
    if let Some(path) = &arguments.json {
        record.write(path)?;
    }
    Ok(true)
}

fn under_mpirun(ranks: u32, size: &Size) -> Result<Vec<Measured>> {
    let mut arguments = vec!["overhead-worker".to_owned()];
    arguments.extend(size.arguments());
    let read = |line: &String| {
        serde_json::from_str(line).map_err(|error| Error::internal(format!("a rank reported `{line}`: {error}")))
    };
    mpirun::lines(ranks, size.cores_of_a_rank(ranks), &arguments)?.iter().map(read).collect()
}
