//! The ring's reading end.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::Error;

/// The ring map.
pub(super) struct Ring(pub(super) RingBuf<MapData>);

impl Ring {
    pub(super) fn drain(&mut self, mut take: impl FnMut(&[u8])) -> usize {
        let mut records = 0;
        while let Some(record) = self.0.next() {
            take(&record);
            records += 1;
        }
        records
    }

    pub(super) fn wait(&self, milliseconds: i32, other: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        // SAFETY-free: the descriptor is borrowed for the call.
        let fd = self.fd();
        let other = other.unwrap_or(fd);
        let mut fds = [PollFd::new(&fd, PollFlags::IN), PollFd::new(&other, PollFlags::IN)];
        let limit =
            Timespec { tv_sec: i64::from(milliseconds / 1000), tv_nsec: i64::from(milliseconds % 1000) * 1_000_000 };
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::Ring(errno.into())),
        }
    }

    #[expect(unsafe_code, reason = "aya's ring gives a raw descriptor only")]
    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring owns the descriptor and outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}
