//! One budget per rank: DataFusion's memory pool, backed by the engine's budget.
//!
//! Under a limit, operators that can spill share fairly what those that cannot leave them, as in DataFusion's own
//! `FairSpillPool`: each may hold one part of it. First come, first served would let a sort fill the budget and leave
//! nothing for the merge of its own runs, which cannot spill.

use std::collections::BTreeMap;
use std::fmt;

use bireme_engine::budget::{Budget, Bytes, Reservation};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use parking_lot::Mutex;

/// Lets islands and native bodies draw on the same bytes.
pub struct BudgetPool {
    budget: Budget,
    /// One reservation for each kind of consumer, so that messages say who holds what.
    kinds: Mutex<BTreeMap<String, Reservation>>,
    shares: Mutex<Shares>,
}

/// Who shares the budget.
#[derive(Default)]
struct Shares {
    /// Consumers that can spill.
    spilling: usize,
    /// Bytes held by those that cannot.
    fixed: usize,
}

impl BudgetPool {
    /// A pool over the rank's budget.
    pub fn new(budget: Budget) -> Self {
        Self { budget, kinds: Mutex::default(), shares: Mutex::default() }
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

    fn register(&self, consumer: &MemoryConsumer) {
        if consumer.can_spill() {
            self.shares.lock().spilling += 1;
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        if consumer.can_spill() {
            let mut shares = self.shares.lock();
            shares.spilling = shares.spilling.saturating_sub(1);
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        if !reservation.consumer().can_spill() {
            self.shares.lock().fixed += additional;
        }
        self.of(reservation, |held| held.grow(additional));
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        if !reservation.consumer().can_spill() {
            let mut shares = self.shares.lock();
            shares.fixed = shares.fixed.saturating_sub(shrink);
        }
        self.of(reservation, |held| held.shrink(shrink));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        // DataFusion's operators spill when they see ResourcesExhausted, and only then.
        let mut shares = self.shares.lock();
        if let (true, Some(limit)) = (reservation.consumer().can_spill(), self.budget.limit()) {
            let share = limit.saturating_sub(shares.fixed) / shares.spilling.max(1);
            if reservation.size() + additional > share {
                return Err(DataFusionError::ResourcesExhausted(format!(
                    "memory limit {}: {} wants {} more, its share is {}; raise --memory-limit",
                    Bytes(limit),
                    reservation.consumer().name(),
                    Bytes(additional),
                    Bytes(share)
                )));
            }
        }
        let grown = self.of(reservation, |held| held.try_grow(additional));
        grown.map_err(|error| DataFusionError::ResourcesExhausted(error.message().to_owned()))?;
        if !reservation.consumer().can_spill() {
            shares.fixed += additional;
        }
        Ok(())
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
