//! The peers: Python packages in an environment of their own, and the script that asks them.

use std::io::stderr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bireme::prelude::{Error, Result};

use crate::args::Peer;

/// It travels inside this program, so that the program can be copied alone.
const SCRIPT: &str = include_str!("../peers/tpch_peer.py");

/// Makes the environment, if it is not there, and installs the newest versions of the peers.
///
/// # Errors
/// There is no Python with `venv`, or pip fails; it has said why.
pub(crate) fn install(venv: &Path, peers: &[Peer]) -> Result<()> {
    if !python(venv).exists() {
        finish(Command::new("python3").args(["-m", "venv"]).arg(venv), "making a Python environment")?;
    }
    // DataFusion hands its rows over through pyarrow.
    let packages = peers.iter().map(|peer| peer.name()).chain(["pyarrow"]);
    let mut pip = Command::new(python(venv));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--upgrade"]).args(packages);
    finish(&mut pip, "installing the peers")
}

/// What starts a peer.
pub(crate) fn command(peer: Peer, venv: &Path, data: &Path, threads: usize, memory_limit: Option<u64>) -> Command {
    let mut command = Command::new(python(venv));
    command.args(["-c", SCRIPT, peer.name()]).arg(data);
    command.arg(threads.to_string()).arg(memory_limit.unwrap_or(0).to_string());
    command
}

/// Why no peer can be asked, if the environment is not there.
pub(crate) fn absent(venv: &Path) -> Option<String> {
    let python = python(venv);
    let hint = || format!("there is no {}; --install-peers makes it", python.display());
    (!python.exists()).then(hint)
}

fn python(venv: &Path) -> PathBuf {
    venv.join("bin/python")
}

/// Runs a command whose output goes to standard error, where everything goes that is not the report.
fn finish(command: &mut Command, doing: &str) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(stderr()).status();
    let program = command.get_program().to_string_lossy().into_owned();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::user(format!("{doing}: {program} ended with {status}"))),
        Err(error) => Err(Error::user(format!("{doing}: {program}: {error}"))),
    }
}
