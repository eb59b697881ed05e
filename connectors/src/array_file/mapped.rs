//! A file in memory.
//!
//! Mapped bytes are the file's own. A file that is cut short while it is mapped ends the process (SIGBUS) when the
//! missing part is touched, and one that is written over changes values that were read already. So a file is compared
//! with what it was when it was opened (size, time of change) before anything more is read of it; what is left is a
//! change while the bytes are in use. Programs that replace a file by renaming a new one over it never disturb those
//! who have mapped the old one; this module's own writers refuse to write over a file.

use std::fs::{File, Metadata};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arrow::buffer::Buffer;
use bireme_engine::{Error, Result};
use bytes::Bytes;
use memmap2::Mmap;

/// A mapped file.
pub(super) struct Mapped {
    /// Its name in messages.
    shown: Arc<str>,
    file: File,
    size: u64,
    modified: Option<SystemTime>,
    bytes: Buffer,
}

impl Mapped {
    /// Maps a file.
    ///
    /// # Errors
    /// There is none, it may not be read, or it is a folder or a pipe.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let shown: Arc<str> = path.display().to_string().into();
        let failed = |error: std::io::Error| Error::from(error).context(format!("opening {shown}"));
        let file = File::open(path).map_err(failed)?;
        let here = file.metadata().map_err(failed)?;
        if !here.is_file() {
            let message =
                format!("{shown} is a folder, a pipe or a device; arrays are read from files: copy it to one");
            return Err(Error::user(message));
        }
        let bytes = if here.len() == 0 {
            Buffer::from(Bytes::new()) // a mapping cannot be empty everywhere
        } else {
            // SAFETY: the map is read only. The file may be changed by others all the same; the head of this file says
            // what is done about that, and what cannot be.
            let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
            Buffer::from(Bytes::from_owner(map))
        };
        Ok(Self { shown, size: here.len(), modified: here.modified().ok(), file, bytes })
    }

    pub(super) fn shown(&self) -> &Arc<str> {
        &self.shown
    }

    pub(super) fn bytes(&self) -> &Buffer {
        &self.bytes
    }

    /// Fails if the file is not what it was when it was opened.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        let here = self.file.metadata()?;
        if self.is_same(&here) {
            return Ok(());
        }
        Err(Error::user(format!("{} was changed after it was opened: open it again", self.shown)))
    }

    /// The mapping has another length than the metadata named if the file was changed in between.
    fn is_same(&self, here: &Metadata) -> bool {
        here.len() == self.size && here.len() == self.bytes.len() as u64 && here.modified().ok() == self.modified
    }
}
