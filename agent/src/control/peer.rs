//! Who asks, and what is his: by the kernel's word on the socket, and on the process that he names.

use std::{fs, sync::Arc};

use anyhow::Context as _;
use node_api::OpenSessionRequest;
use tonic::{Request, Status, transport::server::UdsConnectInfo};

use crate::{
    content::Caller,
    glob::Glob,
    redact::Redaction,
    session,
    watch::{Ask, Finished},
};

/// Bytes of a session's name.
const NAME_CHARS_MAX: usize = 200;
/// Patterns of products, and rules of redaction.
const PATTERNS_MAX: usize = 256;
/// Words of a command.
const WORDS_MAX: usize = 65_536;

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    uid: u32,
}

/// A process, as /proc has it.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    start_ns: u64,
    /// Real, effective, saved, of the file system.
    uids: [u32; 4],
    gid: u32,
    groups: Vec<u32>,
}

impl Peer {
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let info = request.extensions().get::<UdsConnectInfo>();
        let credentials = info.and_then(|info| info.peer_cred);
        let uid = credentials.map(|credentials| credentials.uid());
        uid.map(|uid| Self { uid }).ok_or_else(|| Status::unauthenticated("the kernel does not say who asks"))
    }

    pub(super) fn is_root(self) -> bool {
        self.uid == 0
    }

    /// Whether a session of this user's is his to see and to close.
    pub(super) fn may_see(self, uid: u32) -> bool {
        self.is_root() || self.uid == uid
    }

    /// Whether all that it saw is: of programs that ran with the rights of others he could not know it.
    pub(super) fn may_read(self, finished: &Finished) -> bool {
        self.is_root() || (self.uid == finished.about.uid && !finished.of_others)
    }

    /// What he wants, if it is his to want.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn ask(self, request: OpenSessionRequest, file_bytes_max: u64) -> anyhow::Result<Ask> {
        let OpenSessionRequest { pid, command, directory, product_globs, redact, file_bytes_max: asked } = request;
        let process = Process::read(pid)?;
        anyhow::ensure!(
            self.is_root() || process.uids.iter().all(|uid| *uid == self.uid),
            "process {pid} is not yours: a session's root runs as who asks for it"
        );
        anyhow::ensure!(product_globs.len() <= PATTERNS_MAX, "more than {PATTERNS_MAX} patterns of products");
        anyhow::ensure!(redact.len() <= PATTERNS_MAX, "more than {PATTERNS_MAX} rules of redaction");
        anyhow::ensure!(command.len() <= WORDS_MAX, "a command of more than {WORDS_MAX} words");
        anyhow::ensure!(!command.is_empty(), "a session has a command, as the statement names it");
        let redaction = Arc::new(Redaction::new(&redact)?);
        let uid = process.uids[0];
        Ok(Ask {
            kind: "run",
            name: name(&command),
            uid,
            caller: (uid != 0).then_some(Caller { uid, gid: process.gid, groups: process.groups }),
            root: (pid, process.start_ns),
            command,
            directory,
            products: product_globs.iter().map(|glob| Glob::new(glob)).collect(),
            product_globs,
            redaction,
            file_bytes_max: if asked == 0 { file_bytes_max } else { asked.min(file_bytes_max) },
        })
    }
}

/// The program's own name, as far as it is one for people.
fn name(command: &[Vec<u8>]) -> String {
    let program = command.first().map_or(&[][..], Vec::as_slice);
    let last = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    attestation::escape::escape(last).chars().take(NAME_CHARS_MAX).collect()
}

impl Process {
    /// Reads it; what was read is of one process.
    fn read(pid: u32) -> anyhow::Result<Self> {
        let gone = || format!("there is no process {pid}");
        let before = session::start_ns(pid).with_context(gone)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(gone)?;
        let process = Self::parse(&status, before).context("its status cannot be read")?;
        anyhow::ensure!(session::start_ns(pid).with_context(gone)? == before, gone());
        Ok(process)
    }

    /// proc_pid_status(5).
    fn parse(status: &str, start_ns: u64) -> Option<Self> {
        let numbers = |name: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().map(|number| number.parse().ok()).collect()
        };
        let uids = numbers("Uid")?.try_into().ok()?;
        let gid = *numbers("Gid")?.first()?;
        Some(Self { start_ns, uids, gid, groups: numbers("Groups")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_whose_all_its_users_are() {
        let status = "Name:\tsh\nUid:\t1000\t1000\t1000\t1000\nGid:\t100\t100\t100\t100\nGroups:\t4 24 \nThreads:\t1\n";
        let process = Process::parse(status, 7).unwrap();
        assert_eq!(process, Process { start_ns: 7, uids: [1000; 4], gid: 100, groups: vec![4, 24] });
        assert!(Process::parse("Uid:\t1\t1\t1\n", 7).is_none());
    }

    #[test]
    fn nobody_has_a_session_of_anothers_process() {
        let request = OpenSessionRequest { pid: 1, command: vec![b"init".to_vec()], ..OpenSessionRequest::default() };
        let refused = Peer { uid: 4_000_000 }.ask(request.clone(), 1).err().unwrap().to_string();
        assert!(refused.contains("not yours"), "{refused}");
        assert!(Peer { uid: 0 }.ask(request, 1).is_ok());
    }

    #[test]
    fn a_session_is_called_as_its_program() {
        assert_eq!(name(&[b"/usr/bin/ma\nke".to_vec()]), "ma\\x0ake");
        assert_eq!(name(&[]), "");
    }
}
