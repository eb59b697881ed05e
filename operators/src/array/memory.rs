//! Memory for results that are written once, from the first element to the last.
//!
//! Fresh memory is cleared by the system when it is first written to, which stands out in profiles of large element-wise loops. A
//! program that computes arrays of the same shapes again and again gets the memory of those it has let go: blocks of some MiB and more are
//! kept for a few seconds, a sixteenth of the machine's memory at most, and none in a process whose sessions have a memory limit. Fresh
//! blocks are asked for in large pages.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::buffer::{Buffer, MutableBuffer};
use parking_lot::Mutex;

/// From so many bytes on, memory is kept for the next result.
const LARGE: usize = 4 << 20;

/// How long.
const KEPT: Duration = Duration::from_secs(5);

/// A block that is taken for a smaller result is so much larger at most.
const SLACK: usize = 4;

static POOL: Pool = Pool { blocks: Mutex::new(Vec::new()), limit: AtomicUsize::new(usize::MAX) };

/// Memory is given back at once from now on: it is limited, and nobody accounts for what is kept.
pub fn keep_no_memory() {
    POOL.limit.store(0, Ordering::Relaxed);
    POOL.blocks.lock().clear();
}

/// Blocks that wait for the next result, and since when.
struct Pool {
    blocks: Mutex<Vec<(Block, Instant)>>,
    /// Bytes that are kept at most; not known yet if it is the largest number.
    limit: AtomicUsize,
}

impl Pool {
    fn limit(&self) -> usize {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit != usize::MAX {
            return limit;
        }
        let limit = machine_memory() / 16;
        // Whoever was told to keep none in the meantime is obeyed.
        let _ = self.limit.compare_exchange(usize::MAX, limit, Ordering::Relaxed, Ordering::Relaxed);
        self.limit.load(Ordering::Relaxed)
    }

    /// The smallest block that is large enough, and not much too large.
    fn take(&self, bytes: usize) -> Option<Block> {
        let mut blocks = self.blocks.lock();
        let fits = |block: &Block| block.layout.size() >= bytes && block.layout.size() <= bytes + bytes / SLACK;
        let fitting = blocks.iter().enumerate().filter(|(_, (block, _))| fits(block));
        let best = fitting.min_by_key(|(_, (block, _))| block.layout.size()).map(|(at, _)| at);
        best.map(|at| blocks.remove(at).0)
    }

    fn give(&self, block: Block) {
        let (limit, now) = (self.limit(), Instant::now());
        let mut blocks = self.blocks.lock();
        blocks.push((block, now));
        // The oldest go first.
        let mut held = blocks.iter().map(|(block, _)| block.layout.size()).sum::<usize>();
        let mut gone = Vec::new();
        while let Some((block, since)) = blocks.first()
            && (held > limit || now.duration_since(*since) > KEPT)
        {
            held -= block.layout.size();
            gone.push(blocks.remove(0));
        }
        drop(blocks);
    }
}

fn machine_memory() -> usize {
    // SAFETY: the call reads nothing of ours.
    let (pages, page) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    usize::try_from(pages).unwrap_or(0).saturating_mul(usize::try_from(page).unwrap_or(0))
}

/// Memory of its own.
pub(super) struct Block {
    address: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a block is owned like a box of bytes.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// `None` if there is no memory.
    fn new(bytes: usize) -> Option<Self> {
        let layout = Layout::from_size_align(bytes, 64).ok()?;
        // SAFETY: the layout is of some bytes: only large results have blocks.
        let address = NonNull::new(unsafe { alloc(layout) })?;
        #[cfg(target_os = "linux")]
        {
            const PAGE: usize = 4096;
            let start = (address.as_ptr() as usize).next_multiple_of(PAGE);
            let end = (address.as_ptr() as usize + bytes) / PAGE * PAGE;
            // SAFETY: the range is within the block, and the advice changes nothing that is in it. Whether it is followed does not
            // matter.
            unsafe { libc::madvise(start as *mut libc::c_void, end.saturating_sub(start), libc::MADV_HUGEPAGE) };
        }
        Some(Self { address, layout })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and nobody else has it.
        unsafe { dealloc(self.address.as_ptr(), self.layout) };
    }
}

/// A block that goes to the pool when nobody reads it any more.
struct Lease(Option<Block>);

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(block) = self.0.take() {
            POOL.give(block);
        }
    }
}

/// Room for a result, of which nothing is written yet.
pub(super) enum Unwritten {
    /// A few bytes.
    Small(MutableBuffer),
    /// A block.
    Large(Block),
}

/// Room for so many bytes.
pub(super) fn unwritten(bytes: usize) -> Unwritten {
    let block = (bytes >= LARGE).then(|| POOL.take(bytes).or_else(|| Block::new(bytes))).flatten();
    block.map_or_else(|| Unwritten::Small(MutableBuffer::with_capacity(bytes)), Unwritten::Large)
}

impl Unwritten {
    /// Where it is; aligned for all types.
    pub fn address(&mut self) -> *mut u8 {
        match self {
            Self::Small(buffer) => buffer.as_mut_ptr(),
            Self::Large(block) => block.address.as_ptr(),
        }
    }

    /// The result.
    ///
    /// # Safety
    /// The first `bytes` bytes are written, and there is room for them.
    pub unsafe fn written(self, bytes: usize) -> Buffer {
        match self {
            Self::Small(mut buffer) => {
                // SAFETY: the caller's promise.
                unsafe { buffer.set_len(bytes) };
                buffer.into()
            }
            Self::Large(block) => {
                let address = block.address;
                // SAFETY: the block has so many bytes, which are written, and lives as long as its lease.
                unsafe { Buffer::from_custom_allocation(address, bytes, Arc::new(Lease(Some(block)))) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(bytes: usize, byte: u8) -> Buffer {
        let mut room = unwritten(bytes);
        // SAFETY: there is room for so many bytes.
        unsafe { std::ptr::write_bytes(room.address(), byte, bytes) };
        // SAFETY: they were just written.
        unsafe { room.written(bytes) }
    }

    #[test]
    fn memory_that_was_let_go_is_used_again_until_none_may_be_kept() {
        let bytes = 3 * LARGE;
        let first = result(bytes, 1);
        let (address, kept) = (first.as_ptr(), first.slice(LARGE));
        drop(first);
        // A slice still reads it.
        let second = result(bytes, 2);
        assert_ne!(second.as_ptr(), address);
        assert!(kept.iter().all(|&byte| byte == 1));
        drop(kept);
        let third = result(bytes - LARGE / 2, 3);
        assert_eq!(third.as_ptr(), address);
        assert!(third.iter().all(|&byte| byte == 3) && third.len() == bytes - LARGE / 2);
        // Much less than there is room for is no use for it.
        drop(third);
        assert_ne!(result(LARGE, 4).as_ptr(), address);
        keep_no_memory();
        drop(second);
        assert!(POOL.blocks.lock().is_empty());
        assert_eq!(result(100, 5).as_slice(), [5; 100]);
    }
}
