//! Memory for results that are written once, from the first element to the last.

use arrow::buffer::MutableBuffer;

/// From so many bytes on, memory is asked for in large pages.
const LARGE: usize = 4 << 20;

/// Room for so many bytes, of which none is written yet.
///
/// Fresh memory is given a page at a time, when it is first written to; with pages of 4 KiB a fifth of the time of Black's and Scholes'
/// formula goes there. Large pages (2 MiB) are a request that the system may refuse.
pub(super) fn unwritten(bytes: usize) -> MutableBuffer {
    let buffer = MutableBuffer::with_capacity(bytes);
    #[cfg(target_os = "linux")]
    if bytes >= LARGE {
        const PAGE: usize = 4096;
        let start = (buffer.as_ptr() as usize).next_multiple_of(PAGE);
        let end = (buffer.as_ptr() as usize + bytes) / PAGE * PAGE;
        if start < end {
            // SAFETY: the range is within memory that the buffer owns, and the advice changes nothing that is in it. Whether it is
            // followed does not matter.
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
        }
    }
    buffer
}
