//! Options that many commands share, and the sessions they open.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bireme::Device;
use bireme::mapper::JoinWay;
use bireme::prelude::{Error, Result, Session};
use clap::Args;

use crate::{interrupt, report, size};

/// How a session runs.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Engine options")]
pub(crate) struct EngineOptions {
    /// Ranks inside this process, as threads; under mpirun and srun the processes are the ranks
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) ranks: Option<usize>,
    /// Worker threads of this process [default: the cores it may use]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) threads: Option<usize>,
    /// Memory that operators may take before they spill to disk, such as 512MiB or 1GiB
    #[arg(long, value_name = "SIZE", value_parser = size::parse_bytes)]
    pub(crate) memory_limit: Option<u64>,
    /// Where spill files go [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) temp_dir: Option<PathBuf>,
    /// Rows in a batch
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) batch_rows: Option<usize>,
    /// How the sides of joins between ranks meet, where that gives the right answer: in-place, move-build, move-probe,
    /// shuffle or broadcast [default: whatever costs least]
    #[arg(long, value_name = "WAY", value_parser = str::parse::<JoinWay>)]
    pub(crate) joins: Option<JoinWay>,
    /// What runs kernels: auto, cpu, gpu, or emulated, an emulation of a GPU for tests [default: auto, which is the CPU for now]
    #[arg(long, value_name = "DEVICE", value_parser = str::parse::<Device>)]
    pub(crate) device: Option<Device>,
    /// Seconds that a rank waits for another that gives no sign of life before it ends with an error [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = parse_count)]
    pub(crate) timeout: Option<usize>,
    /// Places lanes on ranks at random: answers must not change. For tests
    #[arg(long, value_name = "SEED", hide = true)]
    pub(crate) random_mapper: Option<u64>,
}

impl EngineOptions {
    /// Opens a session; a signal cancels what it runs.
    ///
    /// # Errors
    /// The options contradict the machine or the launcher, or a rank does not answer.
    pub(crate) fn open(&self, overwrite: bool) -> Result<Session> {
        self.open_for(overwrite, None)
    }

    /// The same, to plan for the machine that a file describes.
    ///
    /// # Errors
    /// Also what is wrong with the file.
    pub(crate) fn open_for(&self, overwrite: bool, machine: Option<&Path>) -> Result<Session> {
        interrupt::check()?;
        let mut builder = Session::builder().overwrite(overwrite);
        if let Some(machine) = machine {
            builder = builder.plan_for(machine)?;
        }
        if let Some(way) = self.joins {
            builder = builder.joins(way);
        }
        if let Some(device) = self.device {
            builder = builder.device(device);
        }
        if let Some(ranks) = self.ranks {
            builder = builder.local_ranks(ranks);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(bytes) = self.memory_limit {
            builder = builder.memory_limit(bytes);
        }
        if let Some(dir) = &self.temp_dir {
            builder = builder.temp_dir(dir.clone());
        }
        if let Some(rows) = self.batch_rows {
            builder = builder.batch_rows(rows);
        }
        if let Some(seconds) = self.timeout {
            builder = builder.timeout(Duration::from_secs(seconds as u64));
        }
        if let Some(seed) = self.random_mapper {
            builder = builder.random_mapper(seed);
        }
        let session = builder.build()?;
        report::ranks_have_met();
        interrupt::cancels(&session);
        Ok(session)
    }

    /// Whether the ranks of a session are processes of their own.
    pub(crate) fn several_processes(&self, session: &Session) -> bool {
        session.ranks() > self.ranks.unwrap_or(1)
    }
}

/// Which tables there are.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Tables")]
pub(crate) struct TableOptions {
    /// Makes a file, folder or glob a table (may be repeated)
    #[arg(long = "table", value_name = "NAME=PATH", value_parser = parse_table)]
    pub(crate) tables: Vec<(String, String)>,
    /// Makes every file and folder in DIR a table named after it (may be repeated)
    #[arg(long = "tables", value_name = "DIR")]
    pub(crate) directories: Vec<String>,
}

impl TableOptions {
    /// Registers them.
    ///
    /// # Errors
    /// A path is missing, or it is nothing that can be read as a table.
    pub(crate) fn register(&self, session: &Session) -> Result<()> {
        for directory in &self.directories {
            session.register_directory(directory)?;
        }
        for (name, path) in &self.tables {
            session.register_path(name, path)?;
        }
        Ok(())
    }
}

/// Closes the session after a command, whatever came of it; the command's own error comes first.
///
/// # Errors
/// The command's, or that the ranks did not end together.
pub(crate) fn close_after(session: &Session, done: Result<()>) -> Result<()> {
    if let Err(error) = &done {
        report::failure_before_close(error);
    }
    let closed = session.close();
    done.and(closed)
}

/// Refuses a command that several processes cannot run together.
///
/// # Errors
/// There are several.
pub(crate) fn refuse_processes(options: &EngineOptions, session: &Session, instead: &str) -> Result<()> {
    if options.several_processes(session) {
        return Err(Error::user(format!(
            "{} processes of one job cannot share this command; {instead}",
            session.ranks()
        )));
    }
    Ok(())
}

/// A number of things of which there must be at least one.
fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".into()),
        Ok(count) => Ok(count),
        Err(_) => Err("it must be a whole number, at least 1".into()),
    }
}

/// Splits `NAME=PATH`; the path may have `=` in it (hive partitions have).
fn parse_table(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.trim().is_empty() && !path.is_empty() => Ok((name.trim().into(), path.into())),
        _ => Err("write NAME=PATH, for example --table orders=data/orders.parquet".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        assert_eq!(parse_table("t=a.csv"), Ok(("t".into(), "a.csv".into())));
        assert_eq!(parse_table("t=data/year=2024/a.csv"), Ok(("t".into(), "data/year=2024/a.csv".into())));
        for text in ["", "t", "t=", "=a.csv", " =a"] {
            assert!(parse_table(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts() {
        assert_eq!(parse_count("3"), Ok(3));
        for text in ["0", "-1", "x", "1.5", ""] {
            assert!(parse_count(text).is_err(), "{text}");
        }
    }
}
