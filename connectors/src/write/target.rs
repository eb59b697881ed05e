//! The place where files end up: checked before, filled after.

use std::io;
use std::path::{Path, PathBuf};

use bireme_engine::{Error, Result};

use super::job::Job;
use super::options::{Layout, WriteMode};
use crate::error;
use crate::location::Location;
use crate::options::FileFormatOptions;

/// The target's path on the file system.
///
/// # Errors
/// It lies in a cloud store.
pub(crate) fn path_of(target: &str) -> Result<PathBuf> {
    match Location::parse(target)?.local_path() {
        Some(path) => Ok(path.to_path_buf()),
        None => Err(Error::unsupported(format!(
            "writing to {target}: Bireme writes to file systems only; write to a directory and copy it there"
        ))),
    }
}

/// Checks, before anything runs, that a result may be written to `target`.
///
/// # Errors
/// It exists and the mode is to create; it is no place for data files; its directory cannot be written to.
pub fn check_target(target: &str, mode: WriteMode) -> Result<()> {
    let path = path_of(target)?;
    let found = match std::fs::metadata(&path) {
        Ok(found) => found,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return check_writable(&path, target),
        Err(cause) => return Err(error::io(&cause, format!("looking at {target}"))),
    };
    match (mode, found.is_dir()) {
        (WriteMode::Create, true) if is_empty(&path)? => {}
        (WriteMode::Create, _) => {
            return Err(Error::user(format!("{target} exists; choose another name, or overwrite it with --overwrite")));
        }
        (WriteMode::Append, false) => {
            return Err(Error::unsupported(format!("{target} is a file, which cannot grow; append to a directory")));
        }
        (WriteMode::Overwrite, false) if Layout::of(target) == Layout::Directory => {
            return Err(Error::user(format!("{target} is a file, but a directory is to be written; remove it first")));
        }
        (WriteMode::Overwrite, true) => only_data(&path, target)?,
        (WriteMode::Append, true) | (WriteMode::Overwrite, false) => {}
    }
    check_writable(&path, target)
}

fn is_empty(directory: &Path) -> Result<bool> {
    let entries = std::fs::read_dir(directory);
    let mut entries = entries.map_err(|cause| error::io(&cause, format!("listing {}", directory.display())))?;
    Ok(entries.next().is_none())
}

/// A slip of the fingers must not replace a home directory by a table.
fn only_data(directory: &Path, target: &str) -> Result<()> {
    let failed = |cause: io::Error| error::io(&cause, format!("listing {}", directory.display()));
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_directory = entry.file_type().map_err(failed)?.is_dir();
        if is_directory && name.contains('=') {
            only_data(&entry.path(), target)?;
        } else if is_directory || (FileFormatOptions::of_name(&name).is_none() && !name.starts_with(['_', '.'])) {
            return Err(Error::user(format!(
                "{target} holds other things than data files ({}); Bireme does not overwrite such a directory: \
                 remove it first",
                entry.path().display()
            )));
        }
    }
    Ok(())
}

/// Tries the nearest directory that exists by putting a file there for a moment.
fn check_writable(path: &Path, target: &str) -> Result<()> {
    let place = path.ancestors().skip(1).find(|place| place.exists()).unwrap_or(path);
    if !place.is_dir() {
        return Err(Error::user(format!("writing to {target}: {} is not a directory", place.display())));
    }
    // It has no name, so nothing is left of it.
    match tempfile::tempfile_in(place) {
        Ok(_) => Ok(()),
        Err(cause) => Err(error::io(&cause, format!("writing to {target}"))),
    }
}

/// The part files below a folder, as paths relative to it, sorted. A folder that is not there has none.
pub(crate) fn parts(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(below) = waiting.pop() {
        let directory = folder.join(&below);
        let failed = |cause: io::Error| error::io(&cause, format!("listing {}", directory.display()));
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            Err(cause) => return Err(failed(cause)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let place = below.join(entry.file_name());
            if entry.path().is_dir() { waiting.push(place) } else { found.push(place) }
        }
    }
    found.sort();
    Ok(found)
}

/// Puts the finished folder where the target is to be, at one stroke where the file system can.
pub(crate) fn place_directory(stage: &Path, target: &Path, mode: WriteMode, job: &Job) -> Result<()> {
    match (mode, target.exists()) {
        (WriteMode::Append, true) => {
            for part in parts(stage)? {
                let place = target.join(&part);
                let folder = place.parent().unwrap_or(target);
                let made = std::fs::create_dir_all(folder);
                made.map_err(|cause| error::io(&cause, format!("creating {}", folder.display())))?;
                rename(&stage.join(&part), &place)?;
            }
            remove(stage)
        }
        (WriteMode::Overwrite, true) => {
            let aside = beside(target, job, "old");
            rename(target, &aside)?;
            if let Err(error) = rename(stage, target) {
                // What was there before comes back; if even that fails, the first error is the one to tell.
                let _ = std::fs::rename(&aside, target);
                return Err(error);
            }
            remove(&aside)
        }
        (WriteMode::Create, true) if !is_empty(target)? => {
            Err(Error::user(format!("{} has come to exist since the job began; nothing was written", target.display())))
        }
        // An empty directory gives way to a rename.
        _ => rename(stage, target),
    }
}

/// A hidden name in the target's directory.
pub(crate) fn beside(target: &Path, job: &Job, suffix: &str) -> PathBuf {
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    target.parent().unwrap_or(target).join(format!("{}-{name}-{suffix}", job.hidden()))
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    let renamed = std::fs::rename(from, to);
    renamed.map_err(|cause| error::io(&cause, format!("moving {} to {}", from.display(), to.display())))
}

/// Removes a folder with all that is in it; it may be gone already.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(error::io(&cause, format!("removing {}", folder.display())))
        }
        _ => Ok(()),
    }
}
