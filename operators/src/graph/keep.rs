//! Graphs that stay on their ranks for later algorithms.

use std::fmt;
use std::sync::Arc;

use bireme_engine::budget::Reservation;
use bireme_engine::error::Result;
use parking_lot::Mutex;

use super::edges::Held;

/// A place for a graph on each rank of a job. Clones are the same place.
#[derive(Clone)]
pub struct Kept {
    number: u64,
    ranks: Arc<Mutex<Vec<Option<Place>>>>,
}

/// A graph, and the memory that it takes until it is let go.
struct Place {
    held: Arc<Held>,
    _memory: Reservation,
}

impl Kept {
    /// An empty place. `number` is its name in plans: each place of a session has another one, alike on all ranks.
    pub fn new(number: u64) -> Self {
        Self { number, ranks: Arc::default() }
    }

    pub(super) fn get(&self, rank: usize) -> Option<Arc<Held>> {
        self.ranks.lock().get(rank)?.as_ref().map(|place| Arc::clone(&place.held))
    }

    /// Keeps a graph, unless one is there; `reserve` takes the memory for it.
    pub(super) fn set(
        &self,
        rank: usize,
        held: &Arc<Held>,
        reserve: impl FnOnce() -> Result<Reservation>,
    ) -> Result<()> {
        let mut ranks = self.ranks.lock();
        if ranks.len() <= rank {
            ranks.resize_with(rank + 1, || None);
        }
        if ranks[rank].is_none() {
            ranks[rank] = Some(Place { held: Arc::clone(held), _memory: reserve()? });
        }
        Ok(())
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kept as graph {}", self.number)
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({})", self.number)
    }
}

// By number: plans are compared, not graphs.
impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Kept {}

impl std::hash::Hash for Kept {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}
