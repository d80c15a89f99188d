//! A synthetic session for tests: a shell that compiles one file, downloads another, and leaves a product. Everything is
//! fixed, so that the same session gives the same log, statement and signature; and every part can be bent.

mod besides;
pub mod tpm;

use crate::dsse::{KeyError, KeyFile, WriteError, write_envelope};
use crate::evidence::{LogHead, LogWriter};
use crate::merkle::Hash;
use crate::statement::{self, Meta};
use crate::trace::{Builder, Trace, TraceError, access};
use proto::evidence as log;
use proto::evidence::measure::{Algorithm, Means};
use proto::evidence::{Class, Frame, Level, event, frame, name_change, network};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io;

/// Id of a synthetic session, unless it is given another.
pub const SESSION_ID: [u8; 16] = *b"synthetic-run-01";
/// When every synthetic session is opened.
const OPENED_NS: u64 = 5_000_000_000;
/// pid of the root command.
pub const ROOT: u32 = 1000;
/// Hooks and their levels: the weak path of a kernel without LSM programs.
pub const HOOKS: [(u32, &str, &str, Level); 15] = [
    (1, "fork", "tp_btf/sched_process_fork", Level::Object),
    (2, "exec", "tp_btf/sched_process_exec", Level::Object),
    (3, "exit", "tp_btf/sched_process_exit", Level::Object),
    (4, "open", "tp_btf/sys_exit", Level::ReturnedObject),
    (5, "rename", "tp_btf/sys_exit", Level::UserArgument),
    (6, "link", "tp_btf/sys_exit", Level::UserArgument),
    (7, "unlink", "tp_btf/sys_exit", Level::UserArgument),
    (8, "mkdir", "tp_btf/sys_exit", Level::UserArgument),
    (9, "symlink", "tp_btf/sys_exit", Level::UserArgument),
    (11, "connect", "tp_btf/sys_exit", Level::ReturnedObject),
    (13, "send", "cgroup/sendmsg4", Level::Object),
    (14, "bind", "tp_btf/sys_exit", Level::ReturnedObject),
    (15, "accept", "tp_btf/sys_exit", Level::ReturnedObject),
    (16, "close", "tp_btf/inet_sock_set_state", Level::Object),
    (18, "attention", "tp_btf/sys_exit", Level::Object),
];

const FORK: u32 = 1;
const EXEC: u32 = 2;
const EXIT: u32 = 3;
const OPEN: u32 = 4;
const RENAME: u32 = 5;
const CONNECT: u32 = 11;
const CLOSE: u32 = 16;
const ATTENTION: u32 = 18;
/// Not among [`HOOKS`], as version 1 was at first: a session with acts declares it.
const ACT: u32 = 20;
const UNIX_SEND: u32 = 22;

/// A session being made, frame by frame.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// The frames so far, without segment headers.
    pub frames: Vec<Frame>,
    /// Its id.
    pub id: [u8; 16],
    /// The number of its statement in the chain of its signer.
    pub number: Option<u64>,
    /// (attempted, coalesced) by (hook, cpu).
    counts: BTreeMap<(u32, u32), (u64, u64)>,
    clock_ns: u64,
    cpu: u32,
}

/// A signed session with its evidence.
pub struct Signed {
    /// The envelope's line.
    pub envelope: Vec<u8>,
    /// Sealed objects by their digest.
    pub objects: BTreeMap<Hash, Vec<u8>>,
    /// The log's head.
    pub head: LogHead,
}

/// The key of synthetic statements. Everybody knows it.
///
/// # Errors
/// None: the bytes are a key.
pub fn key() -> Result<KeyFile, KeyError> {
    KeyFile::from_random(&[0x42; 32])
}

/// Content digest of a made-up file.
#[must_use]
pub fn content(path: &[u8]) -> Vec<u8> {
    Sha256::digest(path).to_vec()
}

/// A file's record: ids are small, the rest follows from them.
#[must_use]
pub fn file(id: u64, path: &[u8]) -> log::File {
    log::File {
        id,
        path: path.to_vec(),
        dev: 8 << 20 | 1,
        ino: 100_000 + id,
        fs_magic: 0xef53,
        mode: 0o100_644,
        size: 1000 + id,
        ctime_sec: 1_700_000_000,
        ctime_nsec: 5,
        writers: 0,
        mnt_ns: 4_026_531_841,
        mount_id: 29,
        nlink: 1,
    }
}

impl Session {
    /// A session that was opened.
    #[must_use]
    pub fn open() -> Self {
        let mut session = Self { id: SESSION_ID, number: Some(1), clock_ns: OPENED_NS, ..Self::default() };
        session.push(frame::Body::Opened(opened()));
        session.push(frame::Body::Directive(log::Directive {
            order: "open".into(),
            epoch: 0,
            cause: "run".into(),
            boottime_ns: session.clock_ns,
        }));
        session
    }

    /// Appends any frame.
    pub fn push(&mut self, body: frame::Body) {
        self.frames.push(Frame { body: Some(body) });
    }

    /// Appends an event with the next number of its hook, on two CPUs by turns; returns (cpu, number).
    pub fn event(&mut self, hook: u32, pid: u32, body: event::Body) -> (u32, u64) {
        self.cpu = 1 - self.cpu;
        self.clock_ns += 1_000_000;
        let count = self.counts.entry((hook, self.cpu)).or_default();
        let number = count.0;
        count.0 += 1;
        self.push(frame::Body::Event(log::Event {
            hook,
            cpu: self.cpu,
            epoch: 0,
            number,
            boottime_ns: self.clock_ns,
            pid,
            tid: pid,
            flags: 0,
            body: Some(body),
        }));
        (self.cpu, number)
    }

    /// A fork.
    pub fn fork(&mut self, parent: u32, child: u32) {
        let child_start_ns = self.clock_ns;
        self.event(FORK, parent, event::Body::Fork(log::Fork { child_pid: child, child_start_ns }));
    }

    /// An exec with its arguments in parts of 16 bytes.
    pub fn exec(&mut self, pid: u32, binary: log::File, argv: &[&[u8]]) {
        let args: Vec<u8> = argv.iter().flat_map(|arg| arg.iter().chain(b"\0")).copied().collect();
        let exec = log::Exec {
            filename: binary.path.clone(),
            binary: Some(binary),
            directory: b"/src".to_vec(),
            uid: 1000,
            gid: 1000,
            euid: 1000,
            egid: 1000,
            args_bytes: u32::try_from(args.len()).unwrap_or(u32::MAX),
            pid_ns: 4_026_531_836,
            mnt_ns: 4_026_531_841,
            net_ns: 4_026_531_840,
            user_ns: 4_026_531_837,
            ..log::Exec::default()
        };
        self.event(EXEC, pid, event::Body::Exec(exec));
        for (offset, part) in (0u32..).step_by(16).zip(args.chunks(16)) {
            self.event(
                EXEC,
                pid,
                event::Body::ExecArgs(log::ExecArgs { offset, data: part.to_vec(), args_bytes: None }),
            );
        }
    }

    /// An open that the kernel then folded `repeats` times.
    pub fn open_file(&mut self, pid: u32, file: log::File, bits: u8, repeats: u64) {
        let open = log::Open { file_id: file.id, file: Some(file), access: bits.into(), fd: 3 };
        let (cpu, number) = self.event(OPEN, pid, event::Body::Open(open));
        if repeats > 0 {
            let count = self.counts.entry((OPEN, cpu)).or_default();
            count.0 += repeats;
            count.1 += repeats;
            self.push(frame::Body::Folded(log::Folded { epoch: 0, hook: OPEN, cpu, number, count: repeats }));
        }
    }

    /// An open of a file that was told before.
    pub fn open_known(&mut self, pid: u32, file_id: u64, bits: u8) {
        let open = log::Open { file_id, file: None, access: bits.into(), fd: 3 };
        self.event(OPEN, pid, event::Body::Open(open));
    }

    /// A system call beyond files, names and peers, in a session that declares it.
    pub fn act(&mut self, pid: u32, act: log::Act) {
        self.declare(ACT, "act", Level::Object);
        self.event(ACT, pid, event::Body::Act(act));
    }

    /// A datagram to a unix socket, in a session that declares such.
    pub fn unix_send(&mut self, pid: u32, act: log::Network) {
        self.declare(UNIX_SEND, "unix-send", Level::UserArgument);
        self.event(UNIX_SEND, pid, event::Body::Network(act));
    }

    /// Declares a hook that not every session has, once.
    fn declare(&mut self, id: u32, observation: &str, level: Level) {
        if let Some(frame::Body::Opened(opened)) = self.frames.first_mut().and_then(|frame| frame.body.as_mut())
            && opened.hooks.iter().all(|hook| hook.id != id)
        {
            let level = level.into();
            opened.hooks.push(log::Hook { id, observation: observation.into(), level, ..opened.hooks[0].clone() });
        }
    }

    /// A rename.
    pub fn rename(&mut self, pid: u32, path: &[u8], target: &[u8]) {
        let change = log::NameChange {
            operation: name_change::Operation::Rename.into(),
            path: path.to_vec(),
            target: target.to_vec(),
            result: 0,
            level: Level::UserArgument.into(),
        };
        self.event(RENAME, pid, event::Body::Name(change));
    }

    /// A TCP connection and its close.
    pub fn connect(&mut self, pid: u32, remote: &[u8], port: u32) {
        let act = log::Network {
            operation: network::Operation::Connect.into(),
            family: if remote.len() == 4 { 2 } else { 10 },
            r#type: 1,
            protocol: 6,
            remote: remote.to_vec(),
            remote_port: port,
            cookie: 7000 + self.clock_ns,
            level: Level::ReturnedObject.into(),
            ..log::Network::default()
        };
        let close = log::Network {
            operation: network::Operation::Close.into(),
            sent_bytes: 517,
            received_bytes: 4096,
            ..act.clone()
        };
        self.event(CONNECT, pid, event::Body::Network(act));
        self.event(CLOSE, 0, event::Body::Network(close));
    }

    /// An act that limits what can be claimed.
    pub fn attention(&mut self, pid: u32, code: &str) {
        self.event(ATTENTION, pid, event::Body::Attention(log::Attention { code: code.into(), detail: 0 }));
    }

    /// An exit.
    pub fn exit(&mut self, pid: u32, code: u32) {
        let exit = log::Exit {
            status: code << 8,
            utime_ns: 3_000_000,
            stime_ns: 1_000_000,
            max_rss_bytes: 4 << 20,
            start_ns: 4_990_000_000,
        };
        self.event(EXIT, pid, event::Body::Exit(exit));
    }

    /// A digest: of the path, where the class has one.
    pub fn digest(&mut self, id: u64, class: Class, path: &[u8], reason: &str, product: bool) {
        let has = matches!(class, Class::Kernel | Class::Stable | Class::Raced);
        let sha256 = if has { content(path) } else { Vec::new() };
        self.push(frame::Body::Digest(log::ContentDigest {
            file_id: id,
            class: class.into(),
            sha256,
            reason: reason.into(),
            product,
            left_at: if product { path.to_vec() } else { Vec::new() },
            measure: None,
        }));
    }

    /// A digest of class `kernel`, of the path, with what the kernel measured.
    pub fn measured(&mut self, id: u64, path: &[u8], by: Means, algorithm: Algorithm, measure: Vec<u8>) {
        self.push(frame::Body::Digest(log::ContentDigest {
            file_id: id,
            class: Class::Kernel.into(),
            sha256: content(path),
            measure: Some(log::Measure { by: by.into(), algorithm: algorithm.into(), digest: measure }),
            ..log::ContentDigest::default()
        }));
    }

    /// The accounts as the kernel would have counted, without the session's end.
    pub fn accounts(&mut self) {
        for (hook, ..) in HOOKS {
            for cpu in 0..2 {
                let (attempted, coalesced) = self.counts.get(&(hook, cpu)).copied().unwrap_or_default();
                self.push(frame::Body::Account(log::HookAccount {
                    epoch: 0,
                    hook,
                    cpu,
                    attempted,
                    coalesced,
                    lost: 0,
                    truncated: 0,
                }));
            }
        }
    }

    /// The session's end.
    pub fn close(&mut self, reason: &str, root_status: i32) {
        let misses = HOOKS.map(|(hook, ..)| log::HookMisses { hook, known: true, misses: 0 }).to_vec();
        self.push(frame::Body::Closed(log::SessionClosed {
            closed_boottime_ns: self.clock_ns + 1_000_000,
            realtime_offset_ns: 1_700_000_000_000_000_000,
            root_status,
            misses,
            reason: reason.into(),
            platform: None,
        }));
    }

    /// A whole build, open: accounts and end are still to come.
    #[must_use]
    pub fn build_open() -> Self {
        let mut session = Self::open();
        let (shell, compiler) = (file(1, b"/usr/bin/dash"), file(2, b"/usr/bin/cc"));
        session.exec(ROOT, shell, &[b"sh", b"-c", b"cc -o tool main.c && fetch"]);
        session.open_file(ROOT, file(3, b"/etc/ld.so.cache"), access::READ, 4);
        session.fork(ROOT, 1001);
        session.exec(1001, compiler, &[b"cc", b"-o", b"tool", b"main.c"]);
        session.open_known(1001, 3, access::READ);
        session.open_file(1001, file(4, b"/src/main.c"), access::READ, 0);
        session.open_file(1001, file(5, b"/usr/include/stdio.h"), access::READ, 12);
        session.open_file(1001, file(6, b"/tmp/cc\x1b[2J\xff.o"), access::WRITE | access::CREATED, 0);
        session.open_file(1001, file(7, b"/src/tool.tmp"), access::WRITE | access::CREATED | access::TRUNCATED, 0);
        session.rename(1001, b"/src/tool.tmp", b"/src/tool");
        session.exit(1001, 0);
        session.fork(ROOT, 1002);
        session.exec(1002, file(8, b"/usr/bin/curl"), &[b"curl", b"", b"https://example.org/\n"]);
        session.connect(1002, &[192, 0, 2, 7], 443);
        session.connect(1002, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 443);
        session.exit(1002, 22);
        session.exit(ROOT, 0);
        for (id, path) in [(1, b"/usr/bin/dash".as_slice()), (2, b"/usr/bin/cc"), (8, b"/usr/bin/curl")] {
            session.digest(id, Class::Kernel, path, "", false);
        }
        session.digest(3, Class::Raced, b"/etc/ld.so.cache", crate::codes::FRESH_CTIME, false);
        session.digest(4, Class::Stable, b"/src/main.c", "", false);
        session.digest(5, Class::Stable, b"/usr/include/stdio.h", "", false);
        session.digest(6, Class::Ephemeral, b"", crate::codes::MADE_AND_GONE, false);
        session.digest(7, Class::Stable, b"/src/tool", "", true);
        session
    }

    /// A whole build that ended and is complete.
    #[must_use]
    pub fn build() -> Self {
        let mut session = Self::build_open();
        session.accounts();
        session.close("ended", 0);
        session
    }

    /// The facts, whatever the builder refused.
    ///
    /// # Errors
    /// [`TraceError`] without a session.
    pub fn trace(&self) -> Result<Trace, TraceError> {
        let mut builder = Builder::default();
        for frame in &self.frames {
            // A refusal is recorded in the trace.
            let _ = builder.push(frame);
        }
        builder.finish()
    }

    /// The log in segments of so many frames.
    ///
    /// # Errors
    /// None: memory takes everything.
    pub fn write(&self, frames_per_segment: usize) -> io::Result<(LogHead, BTreeMap<Hash, Vec<u8>>)> {
        let mut writer = LogWriter::new(self.id);
        let mut objects = BTreeMap::new();
        for frames in self.frames.chunks(frames_per_segment) {
            let mut object = Vec::new();
            let mut segment = writer.begin_segment(&mut object)?;
            for frame in frames {
                segment.append(&mut writer, frame)?;
            }
            let summary = segment.finish(&mut writer)?;
            objects.insert(summary.sha256, object);
        }
        Ok((writer.head(), objects))
    }

    /// The statement under the key of [`key`], with its evidence.
    ///
    /// # Errors
    /// What signing answers.
    pub fn sign(&self, frames_per_segment: usize) -> Result<Signed, WriteError> {
        let (head, objects) = self.write(frames_per_segment)?;
        let trace = self.trace().map_err(io::Error::other)?;
        let key = key().map_err(io::Error::other)?;
        let meta = Meta { signer: key.public().keyid().to_owned(), number: self.number, ..Meta::default() };
        let mut envelope = Vec::new();
        write_envelope(&mut envelope, |out| statement::write(out, &trace, &head, &meta), &[&key])?;
        Ok(Signed { envelope, objects, head })
    }
}

fn opened() -> log::SessionOpened {
    let hook = |(id, observation, method, level): (u32, &str, &str, Level)| log::Hook {
        id,
        observation: observation.into(),
        method: method.into(),
        level: level.into(),
        program: observation.into(),
        program_tag: vec![0xa0; 8],
        program_sha256: Vec::new(),
        refused: if observation == "open" { vec!["lsm/file_open: EPERM".into()] } else { Vec::new() },
    };
    log::SessionOpened {
        kind: "run".into(),
        boot_id: b"boot-id-of-tests".to_vec(),
        host_id: b"host-id-of-tests".to_vec(),
        opened_boottime_ns: OPENED_NS,
        realtime_offset_ns: 1_700_000_000_000_000_000,
        hooks: HOOKS.map(hook).to_vec(),
        membership: "cgroup+inheritance".into(),
        command: vec![b"sh".to_vec(), b"-c".to_vec(), b"cc -o tool main.c && fetch".to_vec()],
        directory: b"/src".to_vec(),
        root_pid: ROOT,
        platform: Some(Box::new(log::Platform {
            kernel_release: "6.18.0".into(),
            machine: "x86_64".into(),
            agent_version: "0.1.0".into(),
            agent_sha256: content(b"agent"),
            cpus: 2,
            ..log::Platform::default()
        })),
        product_globs: vec![b"/src/tool".to_vec()],
        clock_grain_ns: 4_000_000,
        limit_file_bytes: 4 << 30,
        environment: Vec::new(),
        redaction_rules: 0,
        inherited: Vec::new(),
        ..log::SessionOpened::default()
    }
}
