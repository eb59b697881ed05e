//! Groups of keys from small domains, without a hash.
//!
//! Each column has a domain: text numbers `0..n`, integers `low..low + n` as far as seen. The slot of a key is its
//! number in mixed radix, `Σ (value - low) · stride`; a NULL is one more value of its column.

use super::column::{Column, Kind};
use super::gather::{Found, gather};
use super::intern::Interner;
use super::table::NONE;

/// Slots of several columns, at most: they stay in the L2 cache.
const SLOTS: u64 = 1 << 16;

/// Slots of one column of texts, at most: its numbers are dense.
const NUMBERS: u64 = 1 << 24;

/// Chunks with keys from domains that were too large, before one gives up.
const PATIENCE: u32 = 4;

#[derive(Clone, Copy, Debug, Default)]
struct Domain {
    low: i64,
    /// Values, without NULL; 0: not seen yet.
    size: u64,
    stride: u32,
}

/// From slots to groups, as far as known.
pub(super) struct Dense {
    domains: Vec<Domain>,
    slots: Vec<u32>,
    limit: u64,
    failures: u32,
    found: Found,
    /// The slot of each row of the last chunk.
    places: Vec<u32>,
}

impl Dense {
    pub(super) fn new(kinds: &[Kind]) -> Self {
        let limit = match kinds {
            [kind] if kind.is_numbered() => NUMBERS,
            kinds if kinds.iter().any(|kind| matches!(kind, Kind::Wide)) => 0,
            _ => SLOTS,
        };
        Self {
            domains: vec![Domain::default(); kinds.len()],
            slots: Vec::new(),
            limit,
            failures: 0,
            found: Found::All,
            places: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * 4
    }

    /// Forgets all groups.
    pub(super) fn clear(&mut self) {
        self.slots = Vec::new();
        self.domains.fill(Domain::default());
    }

    /// Looks the groups of a chunk up: [`NONE`] where they are not known. Says whether it could.
    pub(super) fn groups(
        &mut self,
        columns: &[Column],
        interners: &[Option<Interner>],
        rows: usize,
        groups: &mut Vec<u32>,
    ) -> bool {
        if self.limit == 0 || self.failures > PATIENCE || rows == 0 {
            return false;
        }
        if !self.cover(columns, interners) {
            self.failures += 1;
            return false;
        }
        self.places.clear();
        self.places.resize(rows, 0);
        for (column, domain) in columns.iter().zip(&self.domains) {
            let stride = domain.stride;
            match column {
                Column::Numbers(numbers) => {
                    for (place, &number) in self.places.iter_mut().zip(numbers) {
                        *place += number * stride;
                    }
                }
                Column::Ints(values, None) => {
                    for (place, &value) in self.places.iter_mut().zip(values.iter()) {
                        *place += value.wrapping_sub(domain.low) as u32 * stride;
                    }
                }
                Column::Ints(values, Some(nulls)) => {
                    let null = domain.size as u32;
                    for ((place, &value), valid) in self.places.iter_mut().zip(values.iter()).zip(nulls) {
                        *place += if valid { value.wrapping_sub(domain.low) as u32 } else { null } * stride;
                    }
                }
                Column::Wides(..) => return false,
            }
        }
        groups.clear();
        self.found = gather(&self.slots, &self.places, groups);
        self.found != Found::Outside
    }

    /// Whether the last chunk had keys that were not known.
    pub(super) fn has_missed(&self) -> bool {
        self.found != Found::All
    }

    /// Notes the group of a row of the last chunk.
    pub(super) fn learn(&mut self, row: usize, group: u32) {
        if let Some(slot) = self.places.get(row).and_then(|&place| self.slots.get_mut(place as usize)) {
            *slot = group;
        }
    }

    /// Makes the domains cover the values of a chunk. Says whether they are small enough.
    fn cover(&mut self, columns: &[Column], interners: &[Option<Interner>]) -> bool {
        let mut grown = self.slots.is_empty();
        let mut wanted = self.domains.clone();
        for ((domain, column), interner) in wanted.iter_mut().zip(columns).zip(interners) {
            let (low, high) = match (column, interner) {
                (Column::Numbers(_), Some(interner)) => (0, interner.len().max(1) as i64 - 1),
                (Column::Ints(values, None), _) => range(values),
                (Column::Ints(values, Some(nulls)), _) => nulls
                    .valid_indices()
                    .map(|row| values[row])
                    .fold((i64::MAX, i64::MIN), |(low, high), value| (low.min(value), high.max(value))),
                _ => return false,
            };
            if low > high {
                domain.size = domain.size.max(1); // nothing but NULLs
                continue;
            }
            if domain.size > 0 && low >= domain.low && high < domain.low.saturating_add(domain.size as i64) {
                continue;
            }
            grown = true;
            let (low, high) = if domain.size == 0 {
                (low, high)
            } else {
                (low.min(domain.low), high.max(domain.low.saturating_add(domain.size as i64 - 1)))
            };
            let Some(size) = high.checked_sub(low).map(|size| size as u64 + 1).filter(|&size| size <= self.limit)
            else {
                return false;
            };
            // With room above, so that numbers given one after the other do not begin it anew each time.
            *domain = Domain { low, size: size.next_power_of_two(), stride: 0 };
        }
        if !grown {
            return true;
        }
        let mut slots = 1_u64;
        for domain in &mut wanted {
            domain.stride = slots as u32;
            slots *= domain.size + 1;
            if slots > 2 * self.limit {
                return false;
            }
        }
        self.domains = wanted;
        self.slots.clear();
        self.slots.resize(slots as usize, NONE);
        true
    }
}

fn range(values: &[i64]) -> (i64, i64) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
        fn wide(values: &[i64]) -> (i64, i64) {
            plain(values)
        }
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the features were found just now.
            return unsafe { wide(values) };
        }
    }
    plain(values)
}

#[inline(always)]
fn plain(values: &[i64]) -> (i64, i64) {
    values.iter().fold((i64::MAX, i64::MIN), |(low, high), &value| (low.min(value), high.max(value)))
}
