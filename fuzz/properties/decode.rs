//! What holds of `decode` for any bytes of the ring: what is taken, and written again by the layout, is the same event of the
//! same fields; a record that is a byte shorter or longer than it says is refused.

use crate::decode::{Body, Event, Given, Head, decode, dns};
use agent_ebpf::{hook, kind};

/// Bytes of the header, which has the record's own length first.
const HEADER_BYTES: usize = 64;
/// Bytes of the header from the kind to the session's serial: all that is kept of it.
const KEPT: std::ops::Range<usize> = 4..56;

/// Decodes the bytes as they are, and with a header that lets them reach a body. Whether an event came of them.
pub fn hold(bytes: &[u8]) -> bool {
    let fits = fitted(bytes).is_some_and(|fitted| one(&fitted));
    one(bytes) || fits
}

/// A header of the right length, with a kind and a hook that there are.
pub fn fitted(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(bytes.len()).ok()?;
    let (kind, hook) = (u16::from(*bytes.get(4)?), u16::from(*bytes.get(6)?));
    let mut fitted = bytes.to_vec();
    fitted.get_mut(..4)?.copy_from_slice(&length.to_ne_bytes());
    fitted.get_mut(4..6)?.copy_from_slice(&(1 + (kind + kind::ACT - 1) % kind::ACT).to_ne_bytes());
    fitted.get_mut(6..8)?.copy_from_slice(&(1 + (hook + hook::COUNT - 2) % (hook::COUNT - 1)).to_ne_bytes());
    Some(fitted)
}

fn one(bytes: &[u8]) -> bool {
    let Ok(event) = decode(bytes) else {
        return false;
    };
    let again = written(&event);
    assert_eq!(decode(&again).as_ref(), Ok(&event), "written again it is another event");
    assert!(again.len() <= bytes.len(), "an event of {} bytes from {}", again.len(), bytes.len());
    assert_eq!(again[KEPT], bytes[KEPT], "the header's fields");
    let fixed = HEADER_BYTES..HEADER_BYTES + fixed_bytes(&event.body);
    assert_eq!(again[fixed.clone()], bytes[fixed], "the fixed part");
    if let Body::Net { address, .. } = &event.body {
        assert!(
            dns_bytes(&dns::read(address)) <= 300 * (address.len() + 1),
            "a DNS message from {} bytes",
            address.len()
        );
    }
    assert!(decode(&bytes[..bytes.len() - 1]).is_err(), "a record that was cut");
    assert!(decode(&[bytes, &[0]].concat()).is_err(), "a record with a byte too many");
    true
}

/// Bytes of what was read of a DNS message: each of its parts has a name, of at most 1 KiB if every byte is escaped.
fn dns_bytes(read: &dns::Dns) -> usize {
    let answers = read.answers.iter().map(|answer| answer.question.name.len() + answer.data.len());
    read.questions.iter().map(|question| question.name.len()).chain(answers).sum()
}

/// Something with a place in the layout.
trait Laid {
    fn lay(&self, out: &mut Vec<u8>);
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl Laid for $ty {
            fn lay(&self, out: &mut Vec<u8>) {
                out.extend(self.to_ne_bytes());
            }
        }
    )*};
}

/// The structures of the ABI, each field in the order of the layout. One that were left out does not compile.
macro_rules! structures {
    ($($name:ident { $($field:ident)* })*) => {$(
        impl Laid for agent_ebpf::$name {
            fn lay(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($field.lay(out);)*
            }
        }
    )*};
}

integers!(u16 u32 i32 u64 i64);
structures! {
    Fork { child_pid reserved child_start_ns }
    FileVersion {
        ino dev fs_magic size ctime_sec ctime_nsec mode writers nlink mnt_ns mount_id rdev generation verity
    }
    Exec { binary cap_effective pid_ns mnt_ns net_ns user_ns uid gid euid egid args_bytes measured ima_sha256 }
    Exit { status reserved utime_ns stime_ns max_rss_bytes start_ns }
    OpenKnown { number cpu hook access fd writers reserved }
    Name { operation level result reserved }
    Net {
        sent_bytes received_bytes cookie operation level result family socket_type protocol local_port remote_port local
        remote segment_bytes peer peer_pid peer_uid reserved
    }
    Act { result arguments ino dev call outside reserved }
    Joined { start_ns cgroup_id }
    Outside { ino dev reused }
    Attention { code reserved detail }
    Provisional { cgroup_id parent_id }
}

impl Laid for [u8; 32] {
    fn lay(&self, out: &mut Vec<u8>) {
        out.extend(self);
    }
}

impl Laid for [u8; 16] {
    fn lay(&self, out: &mut Vec<u8>) {
        out.extend(self);
    }
}

impl Laid for [u64; 6] {
    fn lay(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|argument| argument.lay(out));
    }
}

/// The record of an event, by the layout of the ABI.
pub fn written(event: &Event) -> Vec<u8> {
    let (kind, fixed, tail) = parts(&event.body);
    let Head { hook, slot, serial, epoch, cpu, flags, number, boottime_ns, pid, tid, took } = event.head;
    let mut out = Vec::new();
    let (length, tail_bytes) = (HEADER_BYTES + fixed.len() + tail.len(), tail.len());
    u32::try_from(length).expect("a record is short").lay(&mut out);
    kind.lay(&mut out);
    hook.lay(&mut out);
    [slot, epoch, cpu, flags].iter().for_each(|word| word.lay(&mut out));
    number.lay(&mut out);
    boottime_ns.lay(&mut out);
    pid.lay(&mut out);
    tid.lay(&mut out);
    serial.lay(&mut out);
    u32::try_from(tail_bytes).expect("a tail is short").lay(&mut out);
    took.lay(&mut out);
    out.extend(fixed);
    out.extend(tail);
    out
}

fn fixed_bytes(body: &Body) -> usize {
    match body {
        // The second word of these is reserved, and not kept.
        Body::Args { .. } => 4,
        _ => parts(body).1.len(),
    }
}

/// Kind, fixed part and sections.
fn parts(body: &Body) -> (u16, Vec<u8>, Vec<u8>) {
    let (mut fixed, mut tail) = (Vec::new(), Vec::new());
    let mut lay = |what: &dyn Laid| what.lay(&mut fixed);
    let kind = match body {
        Body::Fork(fork) => {
            lay(fork);
            kind::FORK
        }
        Body::Exec { fixed, path, filename, interpreter, directory } => {
            lay(&**fixed);
            let sections = [&components(path), filename, interpreter, &components(directory)];
            sections.into_iter().for_each(|part| section(part, &mut tail));
            kind::EXEC
        }
        Body::Args { offset, data } => {
            lay(offset);
            lay(&0u32);
            section(data, &mut tail);
            kind::ARGS
        }
        Body::Exit(exit) => {
            lay(exit);
            kind::EXIT
        }
        Body::Open { file, access, fd } => {
            lay(&file.version);
            lay(access);
            lay(fd);
            section(&components(&file.path), &mut tail);
            kind::OPEN
        }
        Body::OpenKnown(known) => {
            lay(known);
            kind::OPEN_KNOWN
        }
        Body::Name { fixed, from, to } => {
            lay(fixed);
            std::iter::once(from).chain(to).for_each(|name| given(name, &mut tail));
            kind::NAME
        }
        Body::Net { fixed, address } => {
            lay(&**fixed);
            if !address.is_empty() {
                section(address, &mut tail);
            }
            kind::NET
        }
        Body::Act { fixed, texts } => {
            lay(&**fixed);
            texts.iter().for_each(|text| section(text, &mut tail));
            kind::ACT
        }
        Body::Joined(joined) => {
            lay(joined);
            kind::JOINED
        }
        Body::Outside(outside) => {
            lay(outside);
            kind::OUTSIDE
        }
        Body::Attention(attention) => {
            lay(attention);
            kind::ATTENTION
        }
        Body::Provisional { fixed, name } => {
            lay(fixed);
            section(name, &mut tail);
            kind::PROVISIONAL
        }
    };
    (kind, fixed, tail)
}

fn section(bytes: &[u8], tail: &mut Vec<u8>) {
    u16::try_from(bytes.len()).expect("a section is short").lay(tail);
    tail.extend(bytes);
}

fn given(given: &Given, tail: &mut Vec<u8>) {
    section(&components(&given.directory), tail);
    section(&given.name, tail);
}

/// The components of an absolute path, from the leaf to the root, each with its length before it.
fn components(path: &[u8]) -> Vec<u8> {
    let names = path.strip_prefix(b"/").expect("a path is absolute");
    let mut out = Vec::new();
    if names.is_empty() {
        return out;
    }
    for name in names.rsplit(|byte| *byte == b'/') {
        out.push(u8::try_from(name.len()).expect("a component is short"));
        out.extend(name);
    }
    out
}
