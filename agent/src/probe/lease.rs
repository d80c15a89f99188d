//! Asks the kernel whether anybody can write a file at this moment.
//!
//! A read lease is refused while the inode is open for writing or mapped shared and writable, by whichever name and from
//! whichever container. It is the one way for user space to see such a writer.
#![expect(unsafe_code, reason = "fcntl's lease and signal commands have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// fcntl(2): which signal tells of a broken lease. The crate libc lacks it for Linux.
const F_SETSIG: libc::c_int = 10;

/// Whether no writer has the file open and no shared writable mapping of it lives. `fd` is a regular file open for
/// reading only; a descriptor that merely names the file is refused with `EBADF`.
///
/// The lease is dropped at once: a writer that comes within these microseconds waits for them, and one that opens
/// without waiting in the same moment is told to try again.
///
/// # Errors
///
/// The kernel's answer where it grants no lease for another reason: the file is not ours and `CAP_LEASE` is missing
/// (`EACCES`), the file system has none (`EINVAL`), leases are turned off.
pub fn no_writer(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // A lease that is broken tells its holder by a signal, SIGIO if nothing is said, and SIGIO ends a process. SIGURG is
    // thrown away where nobody asks for it.
    control(fd, F_SETSIG, libc::SIGURG)?;
    match control(fd, libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => {}
        Err(refused) if refused.kind() == io::ErrorKind::WouldBlock => return Ok(false),
        Err(fault) => return Err(fault),
    }
    match control(fd, libc::F_SETLEASE, libc::F_UNLCK) {
        Ok(()) => Ok(true),
        // The kernel has taken it back already, for a writer that waited.
        Err(gone) if gone.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(fault) => Err(fault),
    }
}

fn control(fd: BorrowedFd<'_>, command: libc::c_int, argument: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed, so open; both commands take an integer and touch no memory of ours.
    let answer = unsafe { libc::fcntl(fd.as_raw_fd(), command, argument) };
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Acts of a workload that have no safe wrapper, for the tests of this room and of `content`.
#[cfg(test)]
pub(crate) mod acts {
    use std::ffi::CString;
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::path::Path;
    use std::ptr::null_mut;

    /// Gives a file another size by its name, without opening it.
    pub(crate) fn truncate(path: &Path, bytes: i64) {
        let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
        // SAFETY: the path ends with a NUL and lives through the call.
        let answer = unsafe { libc::truncate(path.as_ptr(), bytes) };
        assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    }

    /// Mapped memory, unmapped when dropped.
    pub(crate) struct Mapping {
        address: *mut libc::c_void,
        bytes: usize,
    }

    impl Mapping {
        /// Shared and writable: a writer of the file.
        pub(crate) fn shared(file: &File, bytes: usize) -> Self {
            Self::new(file, bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED)
        }

        /// Private: what is stored stays here.
        pub(crate) fn private(file: &File, bytes: usize) -> Self {
            Self::new(file, bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE)
        }

        fn new(file: &File, bytes: usize, protection: libc::c_int, flags: libc::c_int) -> Self {
            // SAFETY: a new mapping at an address of the kernel's choice.
            let address = unsafe { libc::mmap(null_mut(), bytes, protection, flags, file.as_raw_fd(), 0) };
            assert_ne!(address, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
            Self { address, bytes }
        }

        /// Stores a byte.
        pub(crate) fn store(&mut self, offset: usize, byte: u8) {
            assert!(offset < self.bytes);
            // SAFETY: within the mapping, which is writable and lives as long as `self`.
            unsafe { self.address.cast::<u8>().add(offset).write_volatile(byte) };
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: our own mapping, whole, and nobody else has its address.
            unsafe { libc::munmap(self.address, self.bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::os::fd::AsFd;
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use super::acts::Mapping;
    use super::*;

    struct Fixture {
        _dir: tempfile::TempDir,
        path: PathBuf,
    }

    impl Fixture {
        fn new() -> Self {
            let beside = std::env::current_exe().unwrap();
            let dir = tempfile::tempdir_in(beside.parent().unwrap()).unwrap();
            let path = dir.path().join("file");
            std::fs::write(&path, b"text").unwrap();
            Self { _dir: dir, path }
        }

        fn writer(&self) -> File {
            OpenOptions::new().read(true).write(true).open(&self.path).unwrap()
        }

        fn quiet(&self) -> bool {
            no_writer(File::open(&self.path).unwrap().as_fd()).unwrap()
        }
    }

    #[test]
    fn a_quiet_file_has_no_writer_and_other_readers_do_not_matter() {
        let fixture = Fixture::new();
        let _reader = File::open(&fixture.path).unwrap();
        assert!(fixture.quiet());
        assert!(fixture.quiet());
    }

    #[test]
    fn a_writer_is_seen_until_it_closes() {
        let fixture = Fixture::new();
        let writer = fixture.writer();
        assert!(!fixture.quiet());
        drop(writer);
        assert!(fixture.quiet());
    }

    #[test]
    fn a_shared_mapping_is_seen_after_its_descriptor_was_closed() {
        let fixture = Fixture::new();
        let mapping = Mapping::shared(&fixture.writer(), 4);
        assert!(!fixture.quiet());
        drop(mapping);
        assert!(fixture.quiet());
    }

    #[test]
    fn a_private_mapping_is_no_writer() {
        let fixture = Fixture::new();
        let _mapping = Mapping::private(&File::open(&fixture.path).unwrap(), 4);
        assert!(fixture.quiet());
    }

    #[test]
    fn our_own_writing_descriptor_is_a_writer() {
        let fixture = Fixture::new();
        assert!(!no_writer(fixture.writer().as_fd()).unwrap());
    }

    #[test]
    fn what_has_no_leases_is_an_error() {
        let fixture = Fixture::new();
        let names_only = rustix::fs::open(&fixture.path, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        assert_eq!(no_writer(names_only.as_fd()).unwrap_err().raw_os_error(), Some(libc::EBADF));
        let directory = File::open(fixture.path.parent().unwrap()).unwrap();
        assert!(no_writer(directory.as_fd()).is_err());
    }

    #[test]
    fn a_storm_of_writers_neither_kills_us_nor_waits_long() {
        let fixture = Fixture::new();
        let path = fixture.path.clone();
        let storm = std::thread::spawn(move || {
            let opens = (0..3000).map(|_| {
                let start = Instant::now();
                drop(OpenOptions::new().append(true).open(&path).unwrap());
                start.elapsed()
            });
            opens.max().unwrap()
        });
        let reader = File::open(&fixture.path).unwrap();
        while !storm.is_finished() {
            no_writer(reader.as_fd()).unwrap();
        }
        let longest = storm.join().unwrap();
        assert!(longest < Duration::from_secs(2), "{longest:?}");
        assert!(fixture.quiet());
    }
}
