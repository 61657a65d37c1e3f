//! Memory that is asked for ahead of its use.

use bytemuck::Pod;

/// Asks for the cache lines of `values`, ahead of their use, where the machine can.
#[inline(always)]
pub fn prefetch<T>(values: &[T]) {
    for line in (0..size_of_val(values)).step_by(64) {
        prefetch_line(values.as_ptr().cast::<u8>().wrapping_add(line));
    }
}

/// Asks for the cache line of an address, which need not be readable.
#[inline(always)]
pub fn prefetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch neither reads nor faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast::<i8>()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Reads from every cache line of `values`, so that they are near when they are used. Where memory is walked on through, the machine
/// fetches ahead by itself, from where it sees reads: that is faster than to ask for each line, but within a page alone, so that the
/// first line of each page is asked for before.
#[inline(always)]
pub fn touch<T: Pod>(values: &[T]) {
    let bytes: &[u8] = bytemuck::cast_slice(values);
    bytes.chunks(4096).for_each(|page| prefetch(&page[..1]));
    std::hint::black_box((0..bytes.len()).step_by(64).fold(0, |all, line| all | bytes[line]));
}
