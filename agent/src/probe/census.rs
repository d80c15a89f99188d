//! Every BPF program and link of the host, as the kernel lists them: what runs beside ours, and whether ours still do.
//!
//! aya lists programs and links too, but neither a program's instructions nor what a link is attached to.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper for this")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

/// Programs that are listed; of more, the oldest are only counted.
const PROGRAMS_MAX: usize = 2048;
/// Links that are listed; of more, the oldest are only counted.
const LINKS_MAX: usize = 2048;
/// Bytes of instructions that are read for digests in one census; a program beyond has none.
const INSTRUCTION_BYTES_MAX: usize = 64 << 20;
/// Bytes of a target's name; the kernel's own are shorter.
const NAME_BYTES: usize = 128;

/// Commands of bpf(2).
#[derive(Clone, Copy)]
enum Command {
    NextProgram = 11,
    Program = 13,
    Info = 15,
    Link = 30,
    NextLink = 31,
}

/// A program in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its number, never given twice in a boot as far as 2^31 go.
    pub id: u32,
    /// Number of its type.
    pub kind: u32,
    /// As whoever loaded it calls it.
    pub name: String,
    /// The kernel's tag: of the instructions as they were given to it, without the maps.
    pub tag: [u8; 8],
    /// When it was loaded.
    pub loaded_boottime_ns: u64,
    /// Of its instructions; none where the kernel withholds them.
    pub code: Option<Code>,
}

/// What is taken of a program's translated instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// Digest, without the numbers of maps, so that the same program has the same digest however often it is loaded in a boot.
    /// Addresses of the kernel's own stay in it.
    pub sha256: [u8; 32],
    /// The helpers that it calls, by their distance from [`Helpers::BASE`]; 0 where the kernel hides it.
    pub helpers: BTreeSet<i32>,
    /// It calls functions of the kernel that are no helpers.
    pub calls_functions: bool,
}

/// Helpers by which a program that else only watches can change what happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helpers(BTreeSet<i32>);

/// What attaches a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub id: u32,
    /// Number of its type.
    pub kind: u32,
    /// The program that it attaches.
    pub program: u32,
    /// To what, as far as the kernel says.
    pub target: String,
    /// Whether that is there: a cgroup's link may be detached and stay.
    pub attached: bool,
    /// Its program answers in a function's place.
    pub modifies: bool,
    /// Of a link for programs of type `ext`: the program a part of which its program replaces.
    pub over: Option<u32>,
}

/// All that the kernel lists, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Programs.
    pub programs: BTreeMap<u32, Program>,
    /// Links.
    pub links: BTreeMap<u32, Link>,
    /// Programs beyond the limit.
    pub more_programs: u32,
    /// Links beyond the limit.
    pub more_links: u32,
}

impl Census {
    /// Takes the census. What is gone again at its end is left out: the probes of loaders live for a moment.
    pub fn take() -> io::Result<Self> {
        let mut census = Self::default();
        let mut bytes_left = INSTRUCTION_BYTES_MAX;
        let mut buffer = Vec::new();
        // A link's program is there before the link is.
        let (listed, more) = newest(ids(Command::NextLink)?, LINKS_MAX);
        census.more_links = more;
        for id in listed {
            census.links.extend(Link::read(id)?.map(|link| (id, link)));
        }
        let (listed, more) = newest(ids(Command::NextProgram)?, PROGRAMS_MAX);
        census.more_programs = more;
        for id in listed {
            census.programs.extend(Program::read(id, &mut bytes_left, &mut buffer)?.map(|program| (id, program)));
        }
        let (programs, links) = (ids(Command::NextProgram)?, ids(Command::NextLink)?);
        census.programs.retain(|id, _| programs.binary_search(id).is_ok());
        census.links.retain(|id, _| links.binary_search(id).is_ok());
        Ok(census)
    }
}

impl Program {
    fn read(id: u32, bytes_left: &mut usize, buffer: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let Some(fd) = object(Command::Program, id)? else { return Ok(None) };
        let mut info = Info::default();
        info.fill(&fd)?;
        let bytes = info.word(20) as usize;
        let within = bytes > 0 && bytes <= *bytes_left;
        let code = if within { Code::read(&fd, bytes, buffer) } else { None };
        *bytes_left -= if within { bytes } else { 0 };
        Ok(Some(Self {
            id,
            kind: info.word(0),
            name: info.text(64, 16),
            tag: info.long(8).to_ne_bytes(),
            loaded_boottime_ns: info.long(40),
            code,
        }))
    }
}

impl Code {
    /// As the kernel made the instructions of those that it was given.
    fn read(fd: &OwnedFd, bytes: usize, buffer: &mut Vec<u8>) -> Option<Self> {
        buffer.clear();
        buffer.resize(bytes, 0);
        let mut info = Info::default();
        info.set_word(20, u32::try_from(bytes).ok()?);
        info.set_long(32, buffer.as_mut_ptr().expose_provenance() as u64);
        info.fill(fd).ok()?;
        // No pointer comes back where the kernel gives no instructions.
        let given = info.long(32) != 0 && info.word(20) as usize == bytes;
        given.then(|| Self::of(buffer))
    }

    fn of(instructions: &mut [u8]) -> Self {
        /// `BPF_LD | BPF_IMM | BPF_DW`, an instruction of two words.
        const LOAD: u8 = 0x18;
        /// `BPF_PSEUDO_MAP_FD` and `BPF_PSEUDO_MAP_VALUE` where the source register stands.
        const OF_MAP: [u8; 2] = [1, 2];
        /// `BPF_JMP | BPF_CALL`.
        const CALL: u8 = 0x85;
        let (mut helpers, mut calls_functions) = (BTreeSet::new(), false);
        let mut words = instructions.as_chunks_mut::<8>().0.iter_mut();
        while let Some(word) = words.next() {
            let [opcode, registers, _, _, a, b, c, d] = *word;
            match (opcode, registers >> 4) {
                (LOAD, source) => {
                    if OF_MAP.contains(&source) {
                        word[4..].fill(0);
                    }
                    words.next();
                }
                (CALL, 0) => {
                    helpers.insert(i32::from_le_bytes([a, b, c, d]));
                }
                // 1 is a part of the program itself.
                (CALL, 1) => {}
                (CALL, _) => calls_functions = true,
                _ => {}
            }
        }
        Self { sha256: Sha256::digest(&*instructions).into(), helpers, calls_functions }
    }

    /// Whether it may call one of these; yes where that cannot be told.
    pub fn may_call(&self, helpers: Option<&Helpers>) -> bool {
        let apart = |Helpers(known): &Helpers| !self.helpers.contains(&0) && self.helpers.is_disjoint(known);
        self.calls_functions || !helpers.is_some_and(apart)
    }
}

impl Helpers {
    /// What the kernel measures a helper's place from.
    const BASE: &str = "__bpf_call_base";
    /// They write into a program's memory, and answer in a function's place.
    const NAMES: [&str; 2] = ["bpf_probe_write_user", "bpf_override_return"];

    /// By the kernel's table of symbols; none where it hides the addresses. It is long: some tens of milliseconds.
    pub fn of_this_kernel() -> Option<Self> {
        Self::of(&fs::read_to_string("/proc/kallsyms").ok()?)
    }

    fn of(symbols: &str) -> Option<Self> {
        let address = |name: &str| {
            let line = symbols.lines().find(|line| line.split(' ').nth(2) == Some(name))?;
            u64::from_str_radix(line.split(' ').next()?, 16).ok()
        };
        let base = address(Self::BASE).filter(|address| *address != 0)?;
        let distance = |at: u64| i32::try_from(at.cast_signed().wrapping_sub(base.cast_signed())).ok();
        // A helper that this kernel does not have nobody calls.
        Some(Self(Self::NAMES.iter().filter_map(|name| distance(address(name)?)).collect()))
    }
}

impl Link {
    fn read(id: u32) -> io::Result<Option<Self>> {
        let Some(fd) = object(Command::Link, id)? else { return Ok(None) };
        let mut info = Info::default();
        info.fill(&fd)?;
        let kind = info.word(0);
        let over = (kind == link::TRACING).then(|| info.word(20));
        let modifies = kind == link::TRACING && info.word(16) == MODIFY_RETURN;
        let attached = kind != link::CGROUP || info.long(16) != 0;
        Ok(Some(Self { id, kind, program: info.word(8), target: target(&fd, kind, &info), attached, modifies, over }))
    }
}

/// `BPF_MODIFY_RETURN`, a type of attachment.
const MODIFY_RETURN: u32 = 26;

/// Numbers of link types whose target is said.
mod link {
    pub(super) const RAW_TRACEPOINT: u32 = 1;
    pub(super) const TRACING: u32 = 2;
    pub(super) const CGROUP: u32 = 3;
    pub(super) const ITER: u32 = 4;
    pub(super) const NETNS: u32 = 5;
    pub(super) const XDP: u32 = 6;
    pub(super) const STRUCT_OPS: u32 = 9;
    pub(super) const NETFILTER: u32 = 10;
    pub(super) const TCX: u32 = 11;
    pub(super) const NETKIT: u32 = 13;
}

/// What a link is attached to, in the terms of `struct bpf_link_info`. A cgroup's link that was detached has cgroup 0.
fn target(fd: &OwnedFd, kind: u32, info: &Info) -> String {
    match kind {
        link::RAW_TRACEPOINT | link::ITER => named(fd),
        link::TRACING => format!("attach type {}, object {}, type {}", info.word(16), info.word(20), info.word(24)),
        link::CGROUP => format!("cgroup {}, attach type {}", info.long(16), info.word(24)),
        link::NETNS => format!("network namespace {}, attach type {}", info.word(16), info.word(20)),
        link::XDP | link::NETKIT => format!("interface {}", info.word(16)),
        link::TCX => format!("interface {}, attach type {}", info.word(16), info.word(20)),
        link::STRUCT_OPS => format!("map {}", info.word(16)),
        link::NETFILTER => format!("family {}, hook {}", info.word(16), info.word(20)),
        _ => String::new(),
    }
}

/// Of a link to something that has a name, which the kernel writes where it is told to.
fn named(fd: &OwnedFd) -> String {
    let mut name = [0_u64; NAME_BYTES / 8];
    let mut info = Info::default();
    info.set_long(16, name.as_mut_ptr().expose_provenance() as u64);
    info.set_word(24, u32::try_from(NAME_BYTES).unwrap_or(0));
    if info.fill(fd).is_err() {
        return String::new();
    }
    let bytes: Vec<u8> = name.iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The kernel's words on a program or a link: `struct bpf_prog_info` or `struct bpf_link_info`, and zeros behind. Their layout is
/// the kernel's promise; what is added to them comes at their ends.
#[derive(Default)]
struct Info([u64; 32]);

impl Info {
    fn long(&self, at: usize) -> u64 {
        self.0[at / 8]
    }

    fn word(&self, at: usize) -> u32 {
        let [a, b, c, d] = self.0[at / 8].to_ne_bytes().as_chunks::<4>().0[at % 8 / 4];
        u32::from_ne_bytes([a, b, c, d])
    }

    fn set_long(&mut self, at: usize, value: u64) {
        self.0[at / 8] = value;
    }

    fn set_word(&mut self, at: usize, value: u32) {
        let mut bytes = self.0[at / 8].to_ne_bytes();
        bytes.as_chunks_mut::<4>().0[at % 8 / 4] = value.to_ne_bytes();
        self.0[at / 8] = u64::from_ne_bytes(bytes);
    }

    fn text(&self, at: usize, bytes: usize) -> String {
        let words = self.0[at / 8..(at + bytes) / 8].iter().flat_map(|word| word.to_ne_bytes());
        String::from_utf8_lossy(&words.take_while(|byte| *byte != 0).collect::<Vec<_>>()).into_owned()
    }

    /// Asks the kernel, which takes what was set as places to write to.
    fn fill(&mut self, fd: &OwnedFd) -> io::Result<()> {
        let number = u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX);
        let mut attributes = Attributes::default();
        attributes.0[0] = number;
        attributes.0[1] = u32::try_from(size_of::<Self>()).unwrap_or(0);
        let place = (self.0.as_mut_ptr().expose_provenance() as u64).to_ne_bytes();
        let [low, high] = place.as_chunks::<4>().0 else { return Err(io::ErrorKind::InvalidData.into()) };
        attributes.0[2] = u32::from_ne_bytes(*low);
        attributes.0[3] = u32::from_ne_bytes(*high);
        Ok(bpf(Command::Info, &mut attributes).map(drop)?)
    }
}

/// The first words of `union bpf_attr`, all that these commands have.
#[derive(Default)]
#[repr(C, align(8))]
struct Attributes([u32; 4]);

/// Numbers that the kernel gives out, ascending.
fn ids(next: Command) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    let mut attributes = Attributes::default();
    loop {
        match bpf(next, &mut attributes) {
            Ok(_) => {
                ids.push(attributes.0[1]);
                attributes = Attributes([attributes.0[1], 0, 0, 0]);
            }
            Err(Errno::NOENT) => return Ok(ids),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The last of them, and how many there are before.
fn newest(mut ids: Vec<u32>, max: usize) -> (Vec<u32>, u32) {
    let more = ids.len().saturating_sub(max);
    (ids.split_off(more), u32::try_from(more).unwrap_or(u32::MAX))
}

/// A descriptor of a program or a link; none if it is gone.
fn object(command: Command, id: u32) -> io::Result<Option<OwnedFd>> {
    match bpf(command, &mut Attributes([id, 0, 0, 0])) {
        // SAFETY: the kernel has just made this descriptor, and nobody else has it.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        // Gone, or a link that is still being made.
        Err(Errno::NOENT | Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn bpf(command: Command, attributes: &mut Attributes) -> Result<i32, Errno> {
    let size = size_of::<Attributes>();
    // SAFETY: the attributes are as many bytes, which the kernel reads and writes; the places that `Info` names in them live
    // across the call and are as long as it says.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as i64, std::ptr::from_mut(attributes), size) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    i32::try_from(result).map_err(|_| Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_texts_stand_where_they_were_put() {
        let mut info = Info::default();
        info.set_long(64, u64::from_ne_bytes(*b"sys_exit"));
        info.set_word(20, 7);
        info.set_word(16, 9);
        assert_eq!((info.word(16), info.word(20), info.word(24)), (9, 7, 0));
        assert_eq!(info.text(64, 16), "sys_exit");
    }

    #[test]
    fn calls_are_found_and_numbers_of_maps_are_left_out() {
        let call = |source: u8, to: i32| {
            let [a, b, c, d] = to.to_le_bytes();
            [0x85, source << 4, 0, 0, a, b, c, d]
        };
        let load =
            |source: u8, number: u8| [[0x18, source << 4 | 3, 0, 0, number, 0, 0, 0], [0x85, 0, 0, 0, 7, 0, 0, 0]];
        let code = |words: &[[u8; 8]]| Code::of(&mut words.concat());
        let one = code(&[&[call(0, -4), call(1, 3)][..], &load(1, 5), &load(2, 6)].concat());
        assert_eq!((one.helpers.iter().copied().collect::<Vec<_>>(), one.calls_functions), (vec![-4], false));
        assert_eq!(code(&[&[call(0, -4), call(1, 3)][..], &load(1, 8), &load(2, 9)].concat()), one);
        assert_ne!(code(&load(0, 5)), code(&load(0, 6)));
        assert!(code(&[call(2, 1)]).calls_functions);
    }

    #[test]
    fn what_a_program_may_call_is_told_by_the_table_of_symbols() {
        let symbols = "ffffffff81000000 T __bpf_call_base\nffffffff80fffff0 T bpf_probe_write_user\n";
        let helpers = Helpers::of(symbols);
        let code = |helpers: &[i32], calls_functions| Code {
            sha256: [0; 32],
            helpers: helpers.iter().copied().collect(),
            calls_functions,
        };
        assert!(!code(&[], false).may_call(helpers.as_ref()) && !code(&[5], false).may_call(helpers.as_ref()));
        assert!(code(&[5, -16], false).may_call(helpers.as_ref()) && code(&[], true).may_call(helpers.as_ref()));
        // Neither hidden addresses nor a hidden distance tell.
        assert_eq!(Helpers::of(&symbols.replace("ffffffff8", "00000000").replace("1000000", "0000000")), None);
        assert!(code(&[5], false).may_call(None) && code(&[0], false).may_call(helpers.as_ref()));
    }

    #[test]
    fn of_more_than_the_limit_the_newest_are_listed() {
        assert_eq!(newest(vec![1, 2, 3], 3), (vec![1, 2, 3], 0));
        assert_eq!(newest(vec![1, 2, 3], 2), (vec![2, 3], 1));
    }
}
