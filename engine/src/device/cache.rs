//! Compiled kernels on disk.
//!
//! They lie in `$BIREME_KERNELS_DIR`, else in `$BIREME_CACHE_DIR/kernels`, `$XDG_CACHE_HOME/bireme/kernels` or `~/.cache/bireme/kernels`, each
//! beside the text that it was made of: a hash that two texts share is noticed. Files get their names when they are whole, so that processes may write the
//! same one at once.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::hash::hash_bytes;

/// The file of what was compiled of `key`, a text that says everything it depends on; `compile` makes it if it is not there yet.
pub(super) fn file(key: &str, extension: &str, compile: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = folder();
    fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
    let name = format!("{:016x}", hash_bytes(key.as_bytes()));
    let (made, of) = (folder.join(format!("{name}.{extension}")), folder.join(format!("{name}.{extension}.txt")));
    if made.exists() && fs::read_to_string(&of).is_ok_and(|text| text == key) {
        return Ok(made);
    }
    let scratch = tempfile::tempdir_in(&folder).map_err(|error| failed(&folder, error))?;
    let fresh = scratch.path().join(format!("made.{extension}"));
    compile(&fresh)?;
    let text = scratch.path().join("of");
    let written = fs::File::create(&text).and_then(|mut file| file.write_all(key.as_bytes()));
    // What it was made of goes last: without it, what was made is made again.
    let named = written.and_then(|()| fs::rename(&fresh, &made)).and_then(|()| fs::rename(&text, &of));
    named.map_err(|error| failed(&folder, error))?;
    Ok(made)
}

fn folder() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = set("BIREME_KERNELS_DIR") {
        return folder;
    }
    let base = || Some(set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("bireme"));
    let base = set("BIREME_CACHE_DIR").or_else(base).unwrap_or_else(|| std::env::temp_dir().join("bireme"));
    base.join("kernels")
}

fn failed(folder: &Path, error: std::io::Error) -> crate::error::Error {
    crate::error::Error::from(error).context(format!("keeping compiled kernels in {}", folder.display()))
}
