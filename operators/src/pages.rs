//! Memory in large pages, for arrays that are written all over.
//!
//! A sort of ten million rows, for instance, takes its entries and as much scratch fresh from the system: 4 KiB pages cost a
//! fault each, 8 ns a row in all, and dealing to 256 places misses the TLB nearly every time. Large pages save most of both.
//! They are asked for, not required: where there are none, nothing is lost.

use std::alloc::{GlobalAlloc, Layout, System};

/// Whether the system would give memory for so many values. It is asked, and not the program's allocator: that would hand out the
/// same memory next, no longer know that it is zero, and one thread would clear it (building an adjacency of 500 MB took 5.1 s, and then 4.1).
pub(crate) fn are_there<T>(values: usize) -> bool {
    let Ok(layout) = Layout::array::<T>(values) else { return false };
    if layout.size() == 0 {
        return true;
    }
    // SAFETY: the layout is not empty, and what is given is given back at once, under the same layout.
    unsafe {
        // The optimiser would leave out what nobody looks at.
        let memory = std::hint::black_box(System.alloc(layout));
        if memory.is_null() {
            return false;
        }
        System.dealloc(memory, layout);
    }
    true
}

/// Zeros, on large pages if the system has them to give.
pub(crate) fn zeroed<T: Copy + Default>(len: usize) -> Vec<T> {
    // Zero for integers: taken from the system as it is, not written.
    let zeros = vec![T::default(); len];
    #[cfg(target_os = "linux")]
    advise(&zeros);
    zeros
}

#[cfg(target_os = "linux")]
fn advise<T>(zeros: &[T]) {
    use std::ffi::{c_int, c_void};

    /// The size of a large page, where they are of use at all.
    const LARGE: usize = 2 << 20;
    const MADV_HUGEPAGE: c_int = 14;

    unsafe extern "C" {
        fn madvise(start: *mut c_void, bytes: usize, advice: c_int) -> c_int;
    }

    let start = zeros.as_ptr().addr();
    let (first, end) = (start.next_multiple_of(LARGE), start + size_of_val(zeros));
    if first + LARGE <= end {
        let bytes = (end - first) / LARGE * LARGE;
        // SAFETY: whole pages that lie in memory of ours; the advice changes no contents, and may fail without harm.
        unsafe { madvise(zeros.as_ptr().cast_mut().byte_add(first - start).cast(), bytes, MADV_HUGEPAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_asked() {
        assert!(are_there::<u64>(0) && are_there::<u64>(1 << 20) && are_there::<()>(usize::MAX));
        // More than there are addresses, and more than there are bytes.
        assert!(!are_there::<u64>(1 << 58) && !are_there::<u64>(1 << 62));
    }
}
