//! Asks the kernel what it measured of a file under fs-verity, and which inode a descriptor stands for.
//!
//! Such a file is held against a tree of hashes at each read, for ever: nobody can open it for writing any more, and what its
//! device gives instead is refused to whoever reads it.
#![expect(unsafe_code, reason = "these calls have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// linux/fsverity.h: `_IOWR('f', 134, struct fsverity_digest)`.
const FS_IOC_MEASURE_VERITY: libc::Ioctl = 0xc004_6686;
/// linux/fsverity.h.
const FS_VERITY_HASH_ALG_SHA256: u16 = 1;
/// linux/fsverity.h.
const FS_VERITY_HASH_ALG_SHA512: u16 = 2;
/// The longest digest there is.
const DIGEST_BYTES_MAX: usize = 64;

/// `struct fsverity_digest`, with its room.
#[repr(C)]
struct FsverityDigest {
    algorithm: u16,
    /// The room, and then what is used of it.
    size: u16,
    digest: [u8; DIGEST_BYTES_MAX],
}

/// A file's digest: of the root of its tree, its size and the tree's form, by the algorithm that the tree is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    /// By SHA-256.
    Sha256([u8; 32]),
    /// By SHA-512.
    Sha512([u8; 64]),
}

/// What the kernel measured of a file; none if it is not under fs-verity, or by an algorithm that is not known here.
///
/// # Errors
///
/// The kernel's answer where it cannot tell.
pub fn measure(fd: BorrowedFd<'_>) -> io::Result<Option<Measure>> {
    let mut answer = FsverityDigest { algorithm: 0, size: 64, digest: [0; DIGEST_BYTES_MAX] };
    // SAFETY: the descriptor is borrowed, so open; the kernel writes no more behind the head than the room that it is told.
    let told = unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_MEASURE_VERITY, &raw mut answer) };
    if told == -1 {
        let refused = io::Error::last_os_error();
        return match refused.raw_os_error() {
            // Not under it; a file system, or a kernel, that has none.
            Some(libc::ENODATA | libc::ENOTTY | libc::EOPNOTSUPP) => Ok(None),
            _ => Err(refused),
        };
    }
    Ok(match (answer.algorithm, answer.size) {
        (FS_VERITY_HASH_ALG_SHA256, 32) => answer.digest.first_chunk().copied().map(Measure::Sha256),
        (FS_VERITY_HASH_ALG_SHA512, 64) => Some(Measure::Sha512(answer.digest)),
        _ => None,
    })
}

/// The generation of a descriptor's inode, as ext2/3/4, XFS and btrfs tell it.
///
/// # Errors
///
/// The kernel's answer where the file system has no such call.
pub fn generation(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // The call says that it writes a long, and these file systems write an int.
    let mut words = [0_u32; 2];
    // SAFETY: the descriptor is borrowed, so open; there is room for whichever of both is written.
    let told = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FS_IOC_GETVERSION, words.as_mut_ptr()) };
    if told == -1 { Err(io::Error::last_os_error()) } else { Ok(words[0]) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_structure_is_the_kernel_s() {
        assert_eq!(size_of::<FsverityDigest>(), 4 + DIGEST_BYTES_MAX);
        assert_eq!((FS_IOC_MEASURE_VERITY >> 16 & 0x3fff, FS_IOC_MEASURE_VERITY & 0xff), (4, 134), "of the head alone");
    }

    #[test]
    fn an_ordinary_file_has_no_measure_and_a_pipe_no_generation() {
        let file = tempfile::tempfile_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        assert_eq!(measure(file.as_fd()).unwrap(), None);
        assert_eq!(generation(file.as_fd()).unwrap(), generation(file.as_fd()).unwrap());
        let (pipe, _end) = io::pipe().unwrap();
        assert!(generation(pipe.as_fd()).is_err());
    }

    #[test]
    fn a_descriptor_that_only_names_is_refused() {
        let names = rustix::fs::open("/", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        assert!(measure(names.as_fd()).is_err());
        assert!(generation(names.as_fd()).is_err());
        assert!(generation(File::open("/proc/self/status").unwrap().as_fd()).is_err());
    }
}
