//! Buffers for compressed and decompressed pages, used again and again.
//!
//! A scan reads gigabytes through a few megabytes: what is read or decompressed goes into a [`PageBuffer`], whose
//! memory returns to the scan's [`Pool`] when the last owner lets it go. Owners may be Arrow arrays: views of long
//! strings point right into a decompressed page.
//!
//! ```text
//!  Pool ──take(len)──► Vec<u8> ──fill──► Arc<PageBuffer> ──► cursor of a column ─┐
//!   ▲                                          └─────► StringViewArray … ────────┤ last one dropped
//!   └────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Every buffer has [`SLACK`] readable bytes behind its contents, so that kernels may load whole vectors at its end.

use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::Buffer;
use parking_lot::Mutex;

use super::damage::{Damage, Decoded};

/// Readable bytes behind the contents of every buffer: one vector of 512 bits.
pub(super) const SLACK: usize = 64;

/// Idle buffers that a pool keeps, and their bytes at most.
const IDLE_BUFFERS: usize = 64;
const IDLE_BYTES: usize = 64 << 20;

/// Idle buffers of one scan, shared by its workers.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    /// A buffer of at least `len + SLACK` initialised bytes with arbitrary contents.
    pub(super) fn take(&self, len: usize) -> Decoded<Vec<u8>> {
        let wanted = len.saturating_add(SLACK);
        let found = {
            let mut idle = self.idle.lock();
            // The smallest that fits; a large one is not spent on a small page.
            let best = (0..idle.len())
                .filter(|&at| idle[at].len() >= wanted && idle[at].len() / 4 <= wanted.max(16 << 10))
                .min_by_key(|&at| idle[at].len());
            best.map(|at| idle.swap_remove(at))
        };
        if let Some(buffer) = found {
            return Ok(buffer);
        }
        // Sizes in steps of an eighth: buffers of about the same size stand in for each other.
        let step = (wanted.next_power_of_two() / 8).max(4096);
        let rounded = wanted.checked_next_multiple_of(step).unwrap_or(wanted);
        let mut buffer = Vec::new();
        if buffer.try_reserve_exact(rounded).is_err() {
            return Err(Damage::memory(rounded));
        }
        buffer.resize(rounded, 0);
        Ok(buffer)
    }

    fn put(&self, buffer: Vec<u8>) {
        let mut idle = self.idle.lock();
        let held = idle.iter().map(Vec::len).sum::<usize>();
        if idle.len() < IDLE_BUFFERS && held + buffer.len() <= IDLE_BYTES {
            idle.push(buffer);
        }
    }
}

/// A filled buffer that goes back to its pool.
#[derive(Debug)]
pub(super) struct PageBuffer {
    bytes: Vec<u8>,
    pool: Arc<Pool>,
}

impl PageBuffer {
    pub(super) fn new(bytes: Vec<u8>, pool: &Arc<Pool>) -> Arc<Self> {
        Arc::new(Self { bytes, pool: Arc::clone(pool) })
    }
}

impl Drop for PageBuffer {
    fn drop(&mut self) {
        self.pool.put(std::mem::take(&mut self.bytes));
    }
}

/// Part of a buffer.
#[derive(Clone, Debug)]
pub(super) struct Bytes {
    owner: Arc<PageBuffer>,
    start: usize,
    end: usize,
}

struct Owner(Arc<PageBuffer>, Range<usize>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes[self.1.clone()]
    }
}

impl Bytes {
    /// The bytes `range` of a buffer; they end where the buffer ends if the range does not fit.
    pub(super) fn new(owner: &Arc<PageBuffer>, range: Range<usize>) -> Self {
        let end = range.end.min(owner.bytes.len().saturating_sub(SLACK));
        Self { owner: Arc::clone(owner), start: range.start.min(end), end }
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.owner.bytes[self.start..self.end]
    }

    /// The bytes and what lies behind them, at least [`SLACK`] bytes.
    pub(super) fn with_slack(&self) -> &[u8] {
        &self.owner.bytes[self.start..]
    }

    /// A part of these bytes.
    pub(super) fn slice(&self, range: Range<usize>) -> Decoded<Self> {
        if range.start > range.end || range.end > self.len() {
            return Err(Damage::new("a page ends too early"));
        }
        Ok(Self { owner: Arc::clone(&self.owner), start: self.start + range.start, end: self.start + range.end })
    }

    /// The same bytes as an Arrow buffer that keeps them alive.
    pub(super) fn to_arrow(&self) -> Buffer {
        let owner = Owner(Arc::clone(&self.owner), self.start..self.end);
        Buffer::from(bytes::Bytes::from_owner(owner))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn memory_returns_when_the_last_owner_is_gone() {
        let pool = Arc::new(Pool::default());
        let buffer = pool.take(100_000).unwrap();
        let at = buffer.as_ptr();
        let shared = PageBuffer::new(buffer, &pool);
        let arrow = Bytes::new(&shared, 10..20).to_arrow();
        drop(shared);
        assert!(pool.idle.lock().is_empty());
        assert_eq!(arrow.len(), 10);
        drop(arrow);
        let again = pool.take(100_000).unwrap();
        assert_eq!(again.as_ptr(), at);
    }
}
