//! Acts beyond files, names and peers: a row for each.

use super::intern::Text;
use proto::evidence as log;

/// Arguments of a system call.
const ARGUMENTS: usize = 6;
/// Texts of a call at most.
pub(super) const TEXTS_MAX: usize = 2;
/// Bytes of a call's name at most.
const NAME_BYTES_MAX: usize = 32;
/// A system call that does something beyond files, names and peers.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// Index of the process.
    pub process: u32,
    /// The call's name in Linux.
    pub call: &'a str,
    /// Its arguments, as the registers had them.
    pub arguments: &'a [u64; ARGUMENTS],
    /// What it returned.
    pub result: i64,
    /// Strings that arguments point to.
    pub texts: [Option<&'a [u8]>; TEXTS_MAX],
    /// It reaches a process that is not known to be of the session.
    pub outside: bool,
    /// Superblock and inode of the file that it is about.
    pub file: Option<(u32, u64)>,
    /// When, CLOCK_BOOTTIME.
    pub boottime_ns: u64,
}

#[derive(Debug)]
pub(super) struct ActRow {
    pub(super) process: u32,
    pub(super) call: Text,
    pub(super) arguments: [u64; ARGUMENTS],
    pub(super) result: i64,
    pub(super) texts: [Option<Text>; TEXTS_MAX],
    pub(super) outside: bool,
    pub(super) file: Option<(u32, u64)>,
    pub(super) boottime_ns: u64,
}

/// The arguments, if the act has a call's form.
pub(super) fn arguments(act: &log::Act) -> Option<[u64; ARGUMENTS]> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let named = !act.call.is_empty() && act.call.len() <= NAME_BYTES_MAX && act.call.bytes().all(allowed);
    if !named || act.texts.len() > TEXTS_MAX {
        return None;
    }
    act.arguments.as_slice().try_into().ok()
}
