//! Maps that the kernel side's programs and this process have in memory at once.
#![expect(unsafe_code, reason = "memory that is shared with the kernel's programs")]

use std::{
    ffi::c_void,
    io,
    os::fd::AsFd,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering},
};

use agent_ebpf::Seat;
use aya::maps::{Map, MapData};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::Error;

/// The entries of an array map, of so many bytes each as the type has: a multiple of 8, since the kernel rounds up to it.
pub(super) struct Entries<T> {
    start: NonNull<T>,
    count: usize,
}

// SAFETY: memory of the map's own, reached by raw pointers and atomics only; it is mapped until the value is dropped.
unsafe impl<T: Send> Send for Entries<T> {}

impl<T> Entries<T> {
    const WHOLE: () = assert!(size_of::<T>().is_multiple_of(8));

    /// Maps the first `count` entries, which are all that the map has.
    pub(super) fn map(map: &Map, name: &'static str, count: usize) -> Result<Self, Error> {
        let () = Self::WHOLE;
        let Map::Array(data) = map else { return Err(Error::Object(name)) };
        Self::of(data, count).map_err(|source| Error::Memory { map: name, source })
    }

    fn of(data: &MapData, count: usize) -> io::Result<Self> {
        let (bytes, access) = (count * size_of::<T>(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping, of as many bytes as the map has.
        let start = unsafe { mmap(ptr::null_mut(), bytes, access, MapFlags::SHARED, data.fd().as_fd(), 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, count })
    }

    /// An entry, for as long as this value lives; others write it meanwhile.
    pub(super) fn entry(&self, index: usize) -> *mut T {
        assert!(index < self.count, "an entry that the map does not have");
        // SAFETY: within the mapping.
        unsafe { self.start.add(index).as_ptr() }
    }
}

impl<T> Drop for Entries<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping of `of`, which nothing points into any more.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast::<c_void>(), self.count * size_of::<T>()) };
        debug_assert!(unmapped.is_ok());
    }
}

/// The map SEATS: members as the kernel side looked them up last.
pub(super) struct Seats(Entries<Seat>);

impl Seats {
    pub(super) fn map(map: &Map) -> Result<Self, Error> {
        Entries::map(map, "SEATS", Seat::COUNT as usize).map(Self)
    }

    /// What was looked up of a thread group holds no longer: before it becomes a member for the first time, and after every
    /// change of the map TASKS.
    pub(super) fn turn(&mut self, pid: u32) {
        let seat = self.0.entry(Seat::place(pid) as usize);
        // SAFETY: an entry of the mapping; `turn` is an atomic to everybody.
        unsafe { AtomicU32::from_ptr(&raw mut (*seat).turn) }.fetch_add(1, Ordering::SeqCst);
    }
}
