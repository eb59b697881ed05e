//! This program again, as the ranks of a job under mpirun.

use std::process::{Command, Stdio};

use bireme::prelude::{Error, Result};

/// Runs this program with `arguments` on so many ranks; the lines that they print. With `cores`, each rank has so many cores of
/// its own, where mpirun knows how to say so; else it may use all.
///
/// # Errors
/// There is no mpirun, this program knows no MPI, or the job fails.
pub(crate) fn lines(ranks: u32, cores: Option<usize>, arguments: &[String]) -> Result<Vec<String>> {
    if cfg!(not(feature = "mpi")) {
        return Err(Error::user("this program was built without the feature `mpi`"));
    }
    let program = std::env::current_exe()?;
    let mut command = Command::new("mpirun");
    if is_open_mpi() {
        match cores {
            Some(cores) => command.args(["--map-by", &format!("slot:PE={cores}"), "--bind-to", "core"]),
            None => command.args(["--oversubscribe", "--bind-to", "none"]),
        };
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    }
    command.args(["-n", &ranks.to_string()]).arg(program).args(arguments);
    let ended = command.stderr(Stdio::inherit()).output();
    let ended = ended.map_err(|error| Error::from(error).context("starting mpirun"))?;
    if !ended.status.success() {
        return Err(Error::resources(format!("the job under mpirun ended with {}", ended.status)));
    }
    Ok(String::from_utf8_lossy(&ended.stdout).lines().map(str::to_owned).collect())
}

/// Runs this program with `arguments` as a process of its own; the lines that it prints.
///
/// # Errors
/// It fails.
pub(crate) fn alone(arguments: &[String]) -> Result<Vec<String>> {
    let ended = Command::new(std::env::current_exe()?).args(arguments).stderr(Stdio::inherit()).output()?;
    if !ended.status.success() {
        return Err(Error::resources(format!("the process of its own ended with {}", ended.status)));
    }
    Ok(String::from_utf8_lossy(&ended.stdout).lines().map(str::to_owned).collect())
}

fn is_open_mpi() -> bool {
    let version = Command::new("mpirun").arg("--version").output();
    version.is_ok_and(|version| String::from_utf8_lossy(&version.stdout).contains("Open MPI"))
}
