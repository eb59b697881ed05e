//! One budget per rank: DataFusion's memory pool, backed by the engine's budget.

use std::collections::BTreeMap;
use std::fmt;

use bireme_engine::budget::{Budget, Reservation};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
use parking_lot::Mutex;

/// Lets islands and native bodies draw on the same bytes.
pub struct BudgetPool {
    budget: Budget,
    /// One reservation for each kind of consumer, so that messages say who holds what.
    kinds: Mutex<BTreeMap<String, Reservation>>,
}

impl BudgetPool {
    /// A pool over the rank's budget.
    pub fn new(budget: Budget) -> Self {
        Self { budget, kinds: Mutex::new(BTreeMap::new()) }
    }

    fn of<T>(&self, reservation: &MemoryReservation, act: impl FnOnce(&Reservation) -> T) -> T {
        // `GroupedHashAggregateStream[3] (count(1))` is one of a kind.
        let name = reservation.consumer().name();
        let kind = name.split(['[', '(']).next().unwrap_or(name).trim_end();
        let mut kinds = self.kinds.lock();
        if let Some(held) = kinds.get(kind) {
            return act(held);
        }
        act(kinds.entry(kind.to_owned()).or_insert_with(|| self.budget.reserve(kind)))
    }
}

impl fmt::Debug for BudgetPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for BudgetPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank budget ({} bytes in use)", self.budget.used())
    }
}

impl MemoryPool for BudgetPool {
    fn name(&self) -> &str {
        "rank budget"
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.of(reservation, |held| held.grow(additional));
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.of(reservation, |held| held.shrink(shrink));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        // DataFusion's operators spill when they see ResourcesExhausted, and only then.
        let grown = self.of(reservation, |held| held.try_grow(additional));
        grown.map_err(|error| DataFusionError::ResourcesExhausted(error.message().to_owned()))
    }

    fn reserved(&self) -> usize {
        self.budget.used()
    }

    fn memory_limit(&self) -> MemoryLimit {
        match self.budget.limit() {
            Some(bytes) => MemoryLimit::Finite(bytes),
            None => MemoryLimit::Infinite,
        }
    }
}
