//! What a session has on disk that must not outlive its process.

use std::path::PathBuf;
use std::sync::Arc;

use bireme_connectors::write::FileSink;
use bireme_engine::peers::Peers;
use parking_lot::Mutex;

/// What a session would leave on disk if its process ended now: its folder of temporary files, those of ranks on this host that
/// were lost, and a result that is being written. For a process that has to leave at once, as after a signal; does not keep
/// the session alive. Clones are the same session's.
#[derive(Clone, Debug)]
pub struct Leftovers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    scratch: PathBuf,
    peers: Peers,
    writing: Mutex<Option<Arc<FileSink>>>,
}

/// A result that is being written, until this is dropped.
pub(crate) struct Writing<'a> {
    shared: &'a Shared,
}

impl Leftovers {
    pub(super) fn new(scratch: PathBuf, peers: Peers) -> Self {
        Self { shared: Arc::new(Shared { scratch, peers, writing: Mutex::default() }) }
    }

    /// Removes all of it, as far as it can be removed. What still runs may fail after this: end the process.
    pub fn remove(&self) {
        let sink = self.shared.writing.lock().take();
        if let Some(Err(error)) = sink.map(|sink| sink.abort()) {
            tracing::warn!(%error, "removing an unfinished result");
        }
        self.remove_of_lost();
        remove(&self.shared.scratch);
    }

    /// Removes the temporary files of ranks that were lost.
    pub(super) fn remove_of_lost(&self) {
        self.shared.peers.scratch_of_lost().iter().for_each(remove);
    }

    pub(crate) fn writing(&self, sink: &Arc<FileSink>) -> Writing<'_> {
        *self.shared.writing.lock() = Some(Arc::clone(sink));
        Writing { shared: &self.shared }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        *self.shared.writing.lock() = None;
    }
}

/// Somebody may still put files there: then once more.
fn remove(folder: &PathBuf) {
    for _ in 0..3 {
        if std::fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return;
        }
    }
    tracing::warn!(folder = %folder.display(), "could not be removed");
}
