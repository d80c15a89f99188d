//! What may be allocated at once while an input is read, counted by the allocator itself: the process' own limit says no more
//! than that it is not gigabytes. What zstd allocates is not counted; its window has a limit of its own.

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Fails if `read` holds more than so many bytes at any time.
pub fn at_most<T>(bytes: usize, read: impl FnOnce() -> T) -> T {
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    let value = read();
    let peak = ALLOCATED.peak_usage() - before;
    assert!(peak <= bytes, "{peak} bytes were held at once, and {bytes} are allowed");
    value
}
