//! The memory of one rank.
//!
//! Everything that holds rows for long (hash tables, sorts, exchange queues, caches) takes its bytes from one
//! [`Budget`]. Each holder has a [`Reservation`] with a name; when a request does not fit, the error says who holds
//! what. A request that fails is the signal to spill, so the budget itself never waits and never kills.
//!
//! Taking and giving back are a few atomic operations; the list of holders is locked only to enter, to leave, and to
//! write a message.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::error::{Error, Result};

/// How many holders a message names.
const NAMED_HOLDERS: usize = 6;

/// Bytes that a rank may hold. Clones are the same budget.
#[derive(Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

struct Shared {
    // usize::MAX: unlimited.
    limit: usize,
    used: AtomicUsize,
    peak: AtomicUsize,
    holders: Mutex<Vec<Weak<Holder>>>,
}

struct Holder {
    name: String,
    held: AtomicUsize,
}

/// The bytes of one holder; given back when it is dropped.
pub struct Reservation {
    budget: Budget,
    holder: Arc<Holder>,
}

impl Budget {
    /// A budget of so many bytes, or without a limit.
    pub fn new(limit: Option<usize>) -> Self {
        let shared = Shared {
            limit: limit.unwrap_or(usize::MAX),
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            holders: Mutex::new(Vec::new()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A budget without a limit.
    pub fn unlimited() -> Self {
        Self::new(None)
    }

    /// The limit in bytes, if there is one.
    pub fn limit(&self) -> Option<usize> {
        (self.shared.limit != usize::MAX).then_some(self.shared.limit)
    }

    /// Bytes held now.
    pub fn used(&self) -> usize {
        self.shared.used.load(Ordering::Relaxed)
    }

    /// The most bytes that were ever held at once.
    pub fn peak(&self) -> usize {
        self.shared.peak.load(Ordering::Relaxed)
    }

    /// An empty reservation for a holder of this name, as messages shall call it: `sort`, `exchange x3`.
    pub fn reserve(&self, name: impl Into<String>) -> Reservation {
        let holder = Arc::new(Holder { name: name.into(), held: AtomicUsize::new(0) });
        let mut holders = self.shared.holders.lock();
        // Amortised: the list is swept when it has doubled.
        if holders.len() == holders.capacity() {
            holders.retain(|holder| holder.strong_count() > 0);
        }
        holders.push(Arc::downgrade(&holder));
        drop(holders);
        Reservation { budget: self.clone(), holder }
    }

    /// Who holds what, largest first; holders of the same name are one.
    pub fn holders(&self) -> Vec<(String, usize)> {
        let mut by_name = BTreeMap::<String, usize>::new();
        for holder in self.shared.holders.lock().iter().filter_map(Weak::upgrade) {
            let held = holder.held.load(Ordering::Relaxed);
            if held > 0 {
                *by_name.entry(holder.name.clone()).or_default() += held;
            }
        }
        let mut holders = by_name.into_iter().collect::<Vec<_>>();
        holders.sort_by_key(|(_, held)| std::cmp::Reverse(*held));
        holders
    }

    /// Takes bytes if `headroom` bytes stay free after it.
    fn take(&self, bytes: usize, headroom: usize) -> bool {
        let limit = self.shared.limit.saturating_sub(headroom);
        let taken = self.shared.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|&sum| sum <= limit)
        });
        if let Ok(before) = taken {
            self.shared.peak.fetch_max(before + bytes, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    fn refusal(&self, name: &str, bytes: usize) -> Error {
        let holders = self.holders();
        let mut named = holders
            .iter()
            .take(NAMED_HOLDERS)
            .map(|(name, held)| format!("{name} {}", Bytes(*held)))
            .collect::<Vec<_>>();
        if holders.len() > NAMED_HOLDERS {
            named.push(format!("{} more", holders.len() - NAMED_HOLDERS));
        }
        let by = if named.is_empty() { String::new() } else { format!(" by: {}", named.join(", ")) };
        Error::resources(format!(
            "memory limit {}: {name} wants {}, {} are in use{by}; raise --memory-limit",
            Bytes(self.shared.limit),
            Bytes(bytes),
            Bytes(self.used()),
        ))
    }
}

impl Reservation {
    /// Takes more bytes, if they fit.
    ///
    /// # Errors
    /// They do not fit (spill then); nothing is taken. The message names the holders.
    pub fn try_grow(&self, bytes: usize) -> Result<()> {
        if self.try_take_leaving(bytes, 0) { Ok(()) } else { Err(self.budget.refusal(&self.holder.name, bytes)) }
    }

    /// Takes more bytes, if they fit and `headroom` bytes of the budget stay free; says whether it took them. For
    /// holders that spill at little cost, need no message, and leave room to those that cannot.
    pub fn try_take_leaving(&self, bytes: usize, headroom: usize) -> bool {
        let taken = self.budget.take(bytes, headroom);
        if taken {
            self.holder.held.fetch_add(bytes, Ordering::Relaxed);
        }
        taken
    }

    /// Takes more bytes without asking: for what is there already and cannot be refused.
    pub fn grow(&self, bytes: usize) {
        let before = self.budget.shared.used.fetch_add(bytes, Ordering::Relaxed);
        self.budget.shared.peak.fetch_max(before.saturating_add(bytes), Ordering::Relaxed);
        self.holder.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives bytes back; at most what is held.
    pub fn shrink(&self, bytes: usize) {
        let mut given = 0;
        let _ = self.holder.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            given = bytes.min(held);
            Some(held - given)
        });
        self.budget.shared.used.fetch_sub(given, Ordering::Relaxed);
    }

    /// Grows or shrinks to exactly so many bytes.
    ///
    /// # Errors
    /// The growth does not fit; nothing is changed.
    pub fn resize(&self, bytes: usize) -> Result<()> {
        let held = self.bytes();
        if bytes > held {
            return self.try_grow(bytes - held);
        }
        self.shrink(held - bytes);
        Ok(())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.holder.held.load(Ordering::Relaxed)
    }

    /// The name of the holder.
    pub fn name(&self) -> &str {
        &self.holder.name
    }

    /// The budget it takes from.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink(usize::MAX);
    }
}

/// A number of bytes as people read it: `62 MiB`.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = UNITS[0];
        for &next in &UNITS[1..] {
            if value < 1024.0 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        // One decimal only where it says something.
        if value >= 10.0 || value.fract() < 0.05 {
            write!(f, "{value:.0} {unit}")
        } else {
            write!(f, "{value:.1} {unit}")
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit() {
            Some(limit) => write!(f, "Budget({} of {})", Bytes(self.used()), Bytes(limit)),
            None => write!(f, "Budget({}, no limit)", Bytes(self.used())),
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reservation({} {})", self.name(), Bytes(self.bytes()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn refuses_past_the_limit_and_says_who_holds_what() {
        let budget = Budget::new(Some(64 << 20));
        let sort = budget.reserve("sort");
        let exchange = budget.reserve("exchange x3");
        sort.try_grow(40 << 20).unwrap();
        exchange.try_grow(22 << 20).unwrap();
        let refusal = exchange.try_grow(4 << 20).unwrap_err();
        assert_eq!(
            refusal.message(),
            "memory limit 64 MiB: exchange x3 wants 4 MiB, 62 MiB are in use by: sort 40 MiB, exchange x3 22 MiB; \
             raise --memory-limit"
        );
        drop(sort);
        exchange.try_grow(4 << 20).unwrap();
        assert_eq!((budget.used(), budget.peak()), (26 << 20, 62 << 20));
    }

    #[test]
    fn headroom_is_left_to_others() {
        let budget = Budget::new(Some(100));
        let queue = budget.reserve("queue");
        assert!(!queue.try_take_leaving(80, 25));
        assert!(queue.try_take_leaving(75, 25));
        assert!(budget.reserve("sort").try_grow(25).is_ok());
    }

    #[test]
    fn never_gives_back_more_than_was_taken() {
        let budget = Budget::unlimited();
        let holder = budget.reserve("holder");
        holder.grow(10);
        holder.shrink(100);
        holder.resize(7).unwrap();
        assert_eq!((budget.used(), holder.bytes(), budget.limit()), (7, 7, None));
        drop(holder);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn bytes_read_well() {
        let texts = [0, 1023, 1024, 1536, 10 << 20, 1 << 30].map(|bytes| Bytes(bytes).to_string());
        assert_eq!(texts, ["0 B", "1023 B", "1 KiB", "1.5 KiB", "10 MiB", "1 GiB"]);
    }
}
