//! Memory that is read at random: on large pages, and asked for early.
//!
//! A probe that lands anywhere in 30 MiB misses the TLB nearly each time with pages of 4 KiB, and hardly ever with pages of
//! 2 MiB. Linux gives those on request where it does not by itself (`transparent_hugepage/enabled` is `madvise` on most
//! machines); memory must be asked for before it is first written. Refusal does no harm, so nobody looks at the answer.

/// Smaller vectors gain nothing.
const WORTH_BYTES: usize = 4 << 20;

/// Asks for large pages under the room of a vector.
pub(super) fn advise<T>(vector: &Vec<T>) {
    let bytes = vector.capacity() * size_of::<T>();
    if bytes >= WORTH_BYTES {
        advise_range(vector.as_ptr() as usize, bytes);
    }
}

/// Zeros, on large pages if there are many.
pub(super) fn zeros<T: Copy + Default>(length: usize) -> Vec<T> {
    let mut vector = Vec::with_capacity(length);
    advise(&vector);
    vector.resize(length, T::default());
    vector
}

/// Starts to load what an address refers to; any address will do.
#[inline(always)]
pub(super) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect that a program can see, and does not fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(target_os = "linux")]
fn advise_range(start: usize, bytes: usize) {
    use std::ffi::{c_int, c_void};
    unsafe extern "C" {
        fn madvise(start: *mut c_void, bytes: usize, advice: c_int) -> c_int;
    }
    const HUGE_PAGE: c_int = 14;
    const PAGE: usize = 4096;
    let (from, to) = (start.next_multiple_of(PAGE), (start + bytes) & !(PAGE - 1));
    if from < to {
        // SAFETY: the range is whole pages within an allocation; the advice changes how they are backed, not what they hold.
        unsafe { madvise(from as *mut c_void, to - from, HUGE_PAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_range(_: usize, _: usize) {}
