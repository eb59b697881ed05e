//! The folder of a process's temporary files.
//!
//! It goes with its owner. What spills through [`crate::spill`] has no name and vanishes however a process ends; the folder
//! itself, and files that other libraries put there by name, stay behind when a process is killed. So the folder's name says
//! whose it is (`bireme-<process>-x7Yq2a`), and whoever makes the next folder beside it takes away those of the dead.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::process::ProcessId;

const PREFIX: &str = "bireme-";

/// A folder that is removed with everything in it when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
}

impl Scratch {
    /// A new folder in `base`, which is made if it is not there; folders of dead processes in it are removed.
    ///
    /// # Errors
    /// No folder can be made there, or no file in it.
    pub fn make(base: &Path) -> Result<Self> {
        let making = |error| Error::from(error).context(format!("making a temporary directory in {}", base.display()));
        fs::create_dir_all(base).map_err(making)?;
        remove_of_dead(base);
        let prefix = format!("{PREFIX}{}-", ProcessId::own());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(base).map_err(making)?;
        // Before anything depends on it.
        tempfile::tempfile_in(folder.path()).map_err(|error| {
            Error::from(error).context(format!("using {} for temporary files", folder.path().display()))
        })?;
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes what dead processes left in `base`. Several processes may do so at once, and what cannot be removed (another
/// user's) stays: nobody waits for the space.
fn remove_of_dead(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if owner(&name.to_string_lossy()).and_then(|owner| owner.is_gone()) == Some(true) {
            let removed = fs::remove_dir_all(entry.path());
            tracing::info!(folder = %entry.path().display(), ?removed, "of a process that is gone");
        }
    }
}

fn owner(name: &str) -> Option<ProcessId> {
    ProcessId::parse(name.strip_prefix(PREFIX)?.split_once('-')?.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_dead_go_and_others_stay() {
        let base = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let (alive, dead) = (ProcessId::own(), child.id());
        child.wait().unwrap();
        let parts = alive.to_string();
        let [table, _, started] = parts.split('_').collect::<Vec<_>>().try_into().unwrap();
        let dead = format!("bireme-{table}_{dead:x}_{started}-old");
        let elsewhere = "bireme-0_1_1-old";
        for name in [&dead, elsewhere, "bireme-notes", "other"] {
            fs::create_dir_all(base.path().join(name).join("below")).unwrap();
        }
        let scratch = Scratch::make(base.path()).unwrap();
        let next = Scratch::make(base.path()).unwrap();
        assert!(scratch.path().is_dir() && next.path().is_dir(), "this process lives");
        assert!(!base.path().join(dead).exists());
        assert!(base.path().join(elsewhere).exists() && base.path().join("bireme-notes").exists());
        drop((scratch, next));
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 3);
    }
}
