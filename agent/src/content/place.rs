//! Where paths begin: the root of each mount namespace, and the way from it to a file.
//!
//! A path comes from the kernel's own dentries, so no part of it is a symbolic link; whoever puts one there since does not
//! lead us away. The first try takes only what the kernel has in memory, so neither an automount nor a file system that
//! does not answer is touched; the second goes step by step by descriptors that only name.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2, readlink};
use rustix::io::Errno;

use crate::probe;

/// Tries to open a namespace's root, each by another process that was seen in it.
const ROOT_TRIES_MAX: u8 = 8;
/// The longest path that one system call takes, its NUL left out.
const PATH_BYTES_MAX: usize = 4095;
const NAMES_ONLY: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A mount namespace's root, or what was tried for it.
#[derive(Debug)]
struct Namespace {
    root: Option<Arc<OwnedFd>>,
    /// Keeps the namespace, and so its mounts, when its last process has ended.
    _held: Option<OwnedFd>,
    tries: u8,
}

/// The roots of the mount namespaces seen.
#[derive(Debug)]
pub(super) struct Roots {
    known: HashMap<u64, Namespace>,
    max: usize,
}

impl Roots {
    pub(super) fn start(max: usize) -> rustix::io::Result<Self> {
        let held = open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let own = fstat(&held)?.st_ino;
        // Our own root may be one that a chroot gave us.
        let root = match probe::namespace_root(&held) {
            Ok(root) => root,
            Err(_) => openat(CWD, "/proc/self/root", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?,
        };
        let namespace = Namespace { root: Some(Arc::new(root)), _held: None, tries: 0 };
        Ok(Self { known: HashMap::from([(own, namespace)]), max })
    }

    /// At the first sight of a namespace, takes its root from a process in it.
    pub(super) fn sight(&mut self, mnt_ns: u64, pid: u32) {
        if !self.known.contains_key(&mnt_ns) && self.known.len() >= self.max {
            return;
        }
        let namespace = self.known.entry(mnt_ns).or_insert(Namespace { root: None, _held: None, tries: 0 });
        if namespace.root.is_none() && namespace.tries < ROOT_TRIES_MAX {
            namespace.tries += 1;
            if let Ok((root, held)) = root_of(pid, mnt_ns) {
                (namespace.root, namespace._held) = (Some(Arc::new(root)), Some(held));
            }
        }
    }

    /// The root of a namespace, if it could be had.
    pub(super) fn of(&self, mnt_ns: u64) -> Option<&Arc<OwnedFd>> {
        self.known.get(&mnt_ns)?.root.as_ref()
    }
}

/// The number of the mount namespace that we are in.
#[cfg(test)]
pub(super) fn own_namespace() -> rustix::io::Result<u64> {
    let namespace = open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(fstat(namespace)?.st_ino)
}

/// The root of the namespace that a process is in, and the namespace itself; the process must be in it before and after.
fn root_of(pid: u32, mnt_ns: u64) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let process = open(format!("/proc/{pid}"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let held = openat(&process, "ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // Its own root may be one that a chroot gave it.
    let root = match probe::namespace_root(&held) {
        Ok(root) => root,
        Err(_) => openat(&process, "root", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?,
    };
    let after = openat(&process, "ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    if fstat(&held)?.st_ino != mnt_ns || fstat(&after)?.st_ino != mnt_ns {
        return Err(Errno::SRCH);
    }
    Ok((root, held))
}

/// The directory and the last name of an absolute path; none for the root itself and for what is no whole path.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.first() != Some(&b'/') || path.contains(&0) {
        return None;
    }
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    let name = &path[slash + 1..];
    if name.is_empty() || name == b"." || name == b".." { None } else { Some((&path[..slash], name)) }
}

/// Opens a path below a root as a descriptor that only names. An empty path is the root.
pub(super) fn resolve(root: impl AsFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let relative = path.strip_prefix(b"/").unwrap_or(path);
    if relative.is_empty() {
        return openat2(root, c".", NAMES_ONLY, Mode::empty(), ResolveFlags::IN_ROOT);
    }
    if relative.len() <= PATH_BYTES_MAX {
        let remembered = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::CACHED;
        match openat2(&root, relative, NAMES_ONLY, Mode::empty(), remembered) {
            Err(Errno::AGAIN) => {}
            answer => return answer,
        }
    }
    step_by_step(root, relative)
}

/// Opens a path as it was given, symbolic links and all, as a descriptor that only names.
pub(super) fn follow(root: impl AsFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let relative = path.strip_prefix(b"/").unwrap_or(path);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat2(root, relative, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// The path of an object, by the kernel.
pub(super) fn path_of(object: &OwnedFd) -> rustix::io::Result<Vec<u8>> {
    let path = readlink(own_link(object), Vec::new())?;
    Ok(path.into_bytes())
}

/// One name after the other: `O_PATH` on a last name never triggers an automount.
fn step_by_step(root: impl AsFd, relative: &[u8]) -> rustix::io::Result<OwnedFd> {
    let careful = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut at: Option<OwnedFd> = None;
    for name in relative.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        let next = match &at {
            None => openat2(&root, name, NAMES_ONLY, Mode::empty(), careful),
            Some(directory) => openat2(directory, name, NAMES_ONLY, Mode::empty(), careful),
        }?;
        at = Some(next);
    }
    at.ok_or(Errno::NOENT)
}

/// The same object, open for reading: without waiting, without becoming a terminal's, without a trace in its atime where
/// we may leave none.
pub(super) fn reopen(object: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let link = own_link(object);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match open(&link, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => open(&link, flags, Mode::empty()),
        answer => answer,
    }
}

/// The kernel's link to what a descriptor of ours stands for.
pub(super) fn own_link(object: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", object.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_root() -> OwnedFd {
        open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn a_path_splits_into_directory_and_name() {
        assert_eq!(split(b"/a/b"), Some((&b"/a"[..], &b"b"[..])));
        assert_eq!(split(b"/a"), Some((&b""[..], &b"a"[..])));
    }

    #[test]
    fn what_is_no_whole_path() {
        for path in [&b""[..], b"/", b"a/b", b"/a/", b"/a/..", b"/.", b"/a\0b", b"pipe:[1]"] {
            assert_eq!(split(path), None, "{path:?}");
        }
    }

    #[test]
    fn a_symbolic_link_on_the_way_or_at_the_end_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::fs::write(dir.path().join("real/file"), b"x").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("real/file", dir.path().join("last")).unwrap();
        let bytes = |name: &str| dir.path().join(name).into_os_string().into_encoded_bytes();
        assert!(resolve(own_root(), &bytes("real/file")).is_ok());
        assert_eq!(resolve(own_root(), &bytes("link/file")).unwrap_err(), Errno::LOOP);
        let last = resolve(own_root(), &bytes("last"));
        assert!(last.is_err() || reopen(&last.unwrap()).is_err());
    }

    #[test]
    fn a_path_beyond_path_max_is_reached_in_steps() {
        let dir = tempfile::tempdir().unwrap();
        let mut at = open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        let mut path = dir.path().as_os_str().as_encoded_bytes().to_vec();
        let name = "d".repeat(255);
        for _ in 0..20 {
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
            at = openat(&at, &name, OFlags::PATH, Mode::empty()).unwrap();
            path.push(b'/');
            path.extend_from_slice(name.as_bytes());
        }
        assert!(path.len() > PATH_BYTES_MAX);
        let found = resolve(own_root(), &path).unwrap();
        assert_eq!(fstat(&found).unwrap().st_ino, fstat(&at).unwrap().st_ino);
    }

    #[test]
    fn the_root_of_a_process_in_another_namespace_is_refused() {
        let mut roots = Roots::start(4).unwrap();
        let own = own_namespace().unwrap();
        let foreign = own + 1;
        roots.sight(foreign, std::process::id());
        assert!(roots.of(foreign).is_none());
        assert!(roots.of(own).is_some());
    }

    #[test]
    fn one_namespace_more_than_the_limit_is_not_kept() {
        let mut roots = Roots::start(2).unwrap();
        let own = own_namespace().unwrap();
        roots.sight(own + 1, 0);
        roots.sight(own + 2, 0);
        assert_eq!(roots.known.len(), 2);
    }
}
