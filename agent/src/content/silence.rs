//! Watches on inodes: one that has not fired since before a hash proves that nobody wrote since.
//!
//! Each reports once and is then gone. A watch's number is never given twice while the queue lives, so one that fired stays
//! known as such, also where its report overtakes the worker that set it.

use std::collections::{HashMap, HashSet};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, init};
use rustix::io::Errno;

/// Bytes read from the queue at once.
const BUFFER_BYTES: usize = 16 * 1024;

/// What is known of the watches.
#[derive(Debug)]
pub(super) struct Silence {
    queue: OwnedFd,
    alive: HashMap<i32, u32>,
    fired: HashSet<i32>,
    /// Reports were lost: no watch proves anything any more.
    lost: bool,
}

impl Silence {
    /// The watches, and the queue for the workers to set them on.
    pub(super) fn start() -> rustix::io::Result<(Self, OwnedFd)> {
        let queue = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let shared = rustix::io::fcntl_dupfd_cloexec(&queue, 0)?;
        Ok((Self { queue, alive: HashMap::new(), fired: HashSet::new(), lost: false }, shared))
    }

    /// A watch was set on an inode; false if it has fired already.
    pub(super) fn watched(&mut self, watch: i32, inode: u32) -> bool {
        if self.fired.contains(&watch) {
            return false;
        }
        self.alive.insert(watch, inode);
        true
    }

    /// Takes all reports that are there; gives the inodes whose watch fired.
    pub(super) fn listen(&mut self) -> Vec<u32> {
        let mut broken = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(&self.queue, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => self.lost = true,
                Ok(event) => {
                    if self.fired.insert(event.wd()) {
                        broken.extend(self.alive.remove(&event.wd()));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return broken,
                Err(_) => {
                    self.lost = true;
                    return broken;
                }
            }
        }
    }

    /// Whether a watch has been silent until the last [`Silence::listen`].
    pub(super) fn holds(&self, watch: i32) -> bool {
        watch != 0 && !self.lost && !self.fired.contains(&watch)
    }

    /// Watches that have not fired.
    pub(super) fn alive(&self) -> u32 {
        u32::try_from(self.alive.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use rustix::fs::inotify::{WatchFlags, add_watch};

    use super::*;

    fn watched(queue: &OwnedFd, path: &Path) -> i32 {
        fs::write(path, b"text").unwrap();
        add_watch(queue, path, WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ONESHOT).unwrap()
    }

    #[test]
    fn a_watch_holds_until_it_fires() {
        let dir = tempfile::tempdir().unwrap();
        let (mut silence, queue) = Silence::start().unwrap();
        let (quiet, loud) = (watched(&queue, &dir.path().join("a")), watched(&queue, &dir.path().join("b")));
        assert!(silence.watched(quiet, 1) && silence.watched(loud, 2));
        fs::write(dir.path().join("b"), b"next").unwrap();
        assert_eq!(silence.listen(), [2]);
        assert!(silence.holds(quiet) && !silence.holds(loud));
        assert_eq!(silence.alive(), 1);
        assert!(silence.listen().is_empty());
    }

    #[test]
    fn a_watch_that_fired_before_it_was_told_never_holds() {
        let dir = tempfile::tempdir().unwrap();
        let (mut silence, queue) = Silence::start().unwrap();
        let early = watched(&queue, &dir.path().join("a"));
        fs::write(dir.path().join("a"), b"next").unwrap();
        assert!(silence.listen().is_empty());
        assert!(!silence.watched(early, 1));
        assert!(!silence.holds(early));
    }

    #[test]
    fn no_watch_holds_nothing() {
        let (silence, _queue) = Silence::start().unwrap();
        assert!(!silence.holds(0));
    }

    #[test]
    fn when_reports_were_lost_no_watch_holds() {
        let dir = tempfile::tempdir().unwrap();
        let (mut silence, queue) = Silence::start().unwrap();
        let quiet = watched(&queue, &dir.path().join("quiet"));
        let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        for path in [&a, &b] {
            fs::write(path, b"text").unwrap();
            add_watch(&queue, path, WatchFlags::OPEN).unwrap();
        }
        assert!(silence.holds(quiet));
        // Two files by turns: a repeat of the last report would be merged with it.
        for _ in 0..=limit.trim().parse::<u32>().unwrap() / 2 {
            fs::File::open(&a).unwrap();
            fs::File::open(&b).unwrap();
        }
        silence.listen();
        assert!(!silence.holds(quiet));
    }
}
