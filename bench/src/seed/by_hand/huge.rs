//! Memory in huge pages, where the system gives them only to those who ask: a matrix is then read without a miss of the
//! address translation at every 4 KiB. NumPy asks likewise.

/// Asks from this size on.
const LARGE: usize = 4 << 20;

/// An empty vector with memory for so many numbers.
pub(crate) fn with_capacity(length: usize) -> Vec<f64> {
    let cells = Vec::<f64>::with_capacity(length);
    if length * 8 >= LARGE {
        ask(cells.as_ptr().addr(), cells.capacity() * 8);
    }
    cells
}

/// So many times a number.
pub(crate) fn filled(length: usize, number: f64) -> Vec<f64> {
    let mut cells = with_capacity(length);
    cells.resize(length, number);
    cells
}

#[cfg(target_os = "linux")]
fn ask(address: usize, bytes: usize) {
    const PAGE: usize = 4096;
    let start = address.next_multiple_of(PAGE);
    let end = (address + bytes) / PAGE * PAGE;
    // SAFETY: the pages lie within memory that the vector owns, and the advice does not change what they hold. A system that
    // does not take the advice goes on with small pages.
    unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn ask(_: usize, _: usize) {}
