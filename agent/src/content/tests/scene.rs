//! A session without a kernel side: acts on files, each reported as the kernel would report it.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use agent_ebpf::access;
use proto::evidence::{Class, File, name_change::Operation};
use rustix::fs::{StatxFlags, fstatfs, statx};
use rustix::time::{ClockId, clock_getres};
use sha2::{Digest, Sha256};

use crate::content::clock::boottime_ns;
use crate::content::place::own_namespace;
use crate::content::{Access, Caller, Clock, Content, Finding, Limits, realtime_offset_ns};

/// Long enough for any ctime here to be settled.
const SETTLED: Duration = Duration::from_millis(12);

pub(super) struct Scene {
    pub(super) content: Content,
    dir: tempfile::TempDir,
    next: u64,
}

/// What a test expects of a finding.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) class: Class,
    pub(super) reason: String,
    pub(super) sha256: Option<Vec<u8>>,
    pub(super) product: bool,
}

impl Scene {
    pub(super) fn new() -> Self {
        Self::with(quick(), None)
    }

    /// In a directory of a given file system.
    pub(super) fn below(dir: &Path) -> Self {
        Self { dir: tempfile::tempdir_in(dir).unwrap(), ..Self::new() }
    }

    pub(super) fn with(limits: Limits, caller: Option<Caller>) -> Self {
        let content = Content::start(limits, clock(), caller).unwrap();
        // /tmp may be a tmpfs, and the work tree may lie where another user may not enter, such as root's home.
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        Self { content, dir, next: 0 }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file that was there long before the session.
    pub(super) fn old(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        sleep(SETTLED);
        path
    }

    /// Reports a reading open of what is there now.
    pub(super) fn read(&mut self, path: &Path) -> u64 {
        self.accessed(seen(path), access::READ)
    }

    /// Reports an access to a version.
    pub(super) fn accessed(&mut self, file: File, bits: u32) -> u64 {
        self.next += 1;
        // As the agent does all the time.
        self.content.pump();
        let file = File { id: self.next, ..file };
        self.content.accessed(self.next, &file, 0, now(bits, file.writers), std::process::id());
        self.content.pump();
        self.next
    }

    /// Reports an access at another moment than this.
    pub(super) fn accessed_at(&mut self, file: File, access: Access) -> u64 {
        self.next += 1;
        let file = File { id: self.next, ..file };
        self.content.accessed(self.next, &file, 0, access, std::process::id());
        self.next
    }

    /// Reports a reading open of what is there now, as if it had come so many nanoseconds after the file's ctime.
    pub(super) fn read_at_age(&mut self, path: &Path, age_ns: i64) -> u64 {
        self.accessed_at_age(seen(path), access::READ, age_ns)
    }

    pub(super) fn accessed_at_age(&mut self, file: File, bits: u32, age_ns: i64) -> u64 {
        self.next += 1;
        let file = File { id: self.next, ..file };
        let ctime_ns = file.ctime_sec * 1_000_000_000 + i64::from(file.ctime_nsec);
        let at_ns = u64::try_from(ctime_ns - clock().realtime_offset_ns + age_ns).unwrap();
        self.content.accessed(self.next, &file, 0, at(at_ns, bits, file.writers), std::process::id());
        self.content.pump();
        self.next
    }

    /// Opens a file for writing and reports it as the kernel sees it after the open.
    pub(super) fn open_to_write(&mut self, path: &Path, bits: u32) -> (u64, fs::File) {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(bits & access::TRUNCATED != 0).read(bits & access::READ != 0);
        let made = if path.exists() { 0 } else { access::CREATED };
        let file = options.open(path).unwrap();
        let id = self.accessed(File { writers: 1, ..seen(path) }, bits | access::WRITE | made);
        (id, file)
    }

    /// The session writes a file whole.
    pub(super) fn write(&mut self, path: &Path, bytes: &[u8]) -> u64 {
        let (id, mut file) = self.open_to_write(path, access::TRUNCATED);
        std::io::Write::write_all(&mut file, bytes).unwrap();
        id
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        fs::rename(from, to).unwrap();
        self.moved(Operation::Rename, from, to);
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) {
        fs::hard_link(from, to).unwrap();
        self.moved(Operation::Link, from, to);
    }

    fn moved(&mut self, operation: Operation, from: &Path, to: &Path) {
        let (from, to) = (from.as_os_str().as_encoded_bytes(), to.as_os_str().as_encoded_bytes());
        self.content.name_changed(operation, from, to, boottime_ns());
    }

    /// Pumps until the hashers have nothing left to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..3000 {
            self.content.pump();
            if self.content.idle() {
                return;
            }
            sleep(Duration::from_millis(1));
        }
        panic!("the hashers did not come to an end");
    }

    pub(super) fn finish(self) -> Vec<Finding> {
        self.content.finish(false).unwrap().collect()
    }

    /// The finding of the only id asked for.
    pub(super) fn ends(self, id: u64) -> Known {
        known(&self.finish(), id)
    }
}

pub(super) fn quick() -> Limits {
    Limits { blocked_ms_max: 300, ..Limits::default() }
}

pub(super) fn clock() -> Clock {
    let grain = clock_getres(ClockId::RealtimeCoarse);
    Clock { grain_ns: u64::try_from(grain.tv_nsec).unwrap(), realtime_offset_ns: realtime_offset_ns() }
}

/// An access at this moment.
pub(super) fn now(bits: u32, writers: i32) -> Access {
    at(boottime_ns(), bits, writers)
}

/// An access at a moment of CLOCK_BOOTTIME.
pub(super) fn at(boottime_ns: u64, bits: u32, writers: i32) -> Access {
    Access { bits, writers, verity: Some(false), began_ns: boottime_ns, boottime_ns }
}

/// A path as the kernel reports it.
pub(super) fn seen(path: &Path) -> File {
    let meta = fs::symlink_metadata(path).unwrap();
    let parent = fs::File::open(path.parent().unwrap()).unwrap();
    let magic = fstatfs(parent.as_fd()).unwrap().f_type;
    let mount = statx(rustix::fs::CWD, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID).unwrap();
    File {
        id: 0,
        path: path.as_os_str().as_encoded_bytes().to_vec(),
        dev: rustix::fs::major(meta.dev()) << 20 | rustix::fs::minor(meta.dev()),
        ino: meta.ino(),
        fs_magic: u32::try_from(magic & 0xffff_ffff).unwrap(),
        mode: meta.mode(),
        size: meta.size(),
        ctime_sec: meta.ctime(),
        ctime_nsec: u32::try_from(meta.ctime_nsec()).unwrap(),
        writers: 0,
        mnt_ns: own_namespace().unwrap(),
        mount_id: u32::try_from(mount.stx_mnt_id).unwrap(),
        nlink: u32::try_from(meta.nlink()).unwrap(),
    }
}

pub(super) fn known(findings: &[Finding], id: u64) -> Known {
    let mut matching = findings.iter().filter(|finding| finding.digest.file_id == id);
    let digest = &matching.next().expect("a finding for each id").digest;
    assert!(matching.next().is_none(), "one finding for each id");
    Known {
        class: Class::try_from(digest.class).unwrap(),
        reason: digest.reason.clone(),
        sha256: (!digest.sha256.is_empty()).then(|| digest.sha256.clone()),
        product: digest.product,
    }
}

pub(super) fn stable(bytes: &[u8]) -> Known {
    Known { class: Class::Stable, reason: String::new(), sha256: Some(sha256(bytes)), product: false }
}

pub(super) fn product(bytes: &[u8]) -> Known {
    Known { product: true, ..stable(bytes) }
}

pub(super) fn raced(bytes: &[u8], reason: &str) -> Known {
    Known { class: Class::Raced, reason: reason.to_owned(), ..stable(bytes) }
}

pub(super) fn absent(reason: &str) -> Known {
    Known { class: Class::Absent, reason: reason.to_owned(), sha256: None, product: false }
}

pub(super) fn ephemeral(reason: &str) -> Known {
    Known { class: Class::Ephemeral, ..absent(reason) }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}
