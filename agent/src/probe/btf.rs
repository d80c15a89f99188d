//! Offsets of kernel structures from the running kernel's BTF.
//!
//! rustc emits no CO-RE relocations, so the offsets are looked up here at load and handed to the programs as read-only
//! globals. The format is the kernel's `Documentation/bpf/btf.rst`. Only what a member's offset needs is read: the walk
//! over the type section keeps one offset a type and parses structures when they are asked for.

use std::collections::{HashMap, HashSet};

/// Why an offset could not be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel gives no BTF, or it cannot be read.
    #[error("the kernel's type information (BTF) at {path} cannot be read")]
    Unreadable {
        /// Where it was looked for.
        path: &'static str,
        /// What the kernel answered.
        source: std::io::Error,
    },
    /// The bytes are not BTF, or end early.
    #[error("the kernel's type information (BTF) is malformed at byte {at}")]
    Malformed {
        /// Offset in the file.
        at: usize,
    },
    /// A structure or member is missing in this kernel.
    #[error("this kernel has no {0}: its version is not supported")]
    Missing(String),
}

const MAGIC: u16 = 0xeb9f;
const HEADER_BYTES: u8 = 24;
const TYPE_BYTES: usize = 12;
/// Nesting of anonymous structures that is followed; the kernel's own stays below 8.
const DEPTH_MAX: u32 = 16;

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// The types of one kernel.
pub struct Btf {
    data: Vec<u8>,
    /// Byte offset of each type; type 0 is void.
    types: Vec<u32>,
    strings: usize,
    /// Named structures and unions.
    structs: HashMap<Box<[u8]>, u32>,
}

#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    members: u32,
    bitfields: bool,
    referred: u32,
    body: usize,
}

impl Btf {
    /// Parses the running kernel's types.
    pub fn running() -> Result<Self, Error> {
        const PATH: &str = "/sys/kernel/btf/vmlinux";
        let data = std::fs::read(PATH).map_err(|source| Error::Unreadable { path: PATH, source })?;
        Self::parse(data)
    }

    /// Parses BTF bytes.
    pub fn parse(data: Vec<u8>) -> Result<Self, Error> {
        if data.len() < usize::from(HEADER_BYTES) || data[..2] != MAGIC.to_le_bytes() {
            return Err(Error::Malformed { at: 0 });
        }
        let mut btf = Self { data, types: vec![0], strings: 0, structs: HashMap::new() };
        let header = btf.word(4)? as usize;
        let (types, type_bytes) = (header + btf.word(8)? as usize, btf.word(12)? as usize);
        btf.strings = header + btf.word(16)? as usize;
        let strings_end = btf.strings.checked_add(btf.word(20)? as usize);
        strings_end.filter(|end| *end <= btf.data.len()).ok_or(Error::Malformed { at: 20 })?;
        let end = types.checked_add(type_bytes).filter(|end| *end <= btf.data.len());
        btf.index(types, end.ok_or(Error::Malformed { at: 12 })?)?;
        Ok(btf)
    }

    fn index(&mut self, mut at: usize, end: usize) -> Result<(), Error> {
        while at < end {
            let entry = self.entry(at)?;
            let id = u32::try_from(self.types.len()).map_err(|_| Error::Malformed { at })?;
            if matches!(entry.kind, kind::STRUCT | kind::UNION) && entry.name != 0 {
                let name = self.string(entry.name)?.into();
                self.structs.entry(name).or_insert(id);
            }
            self.types.push(u32::try_from(at).map_err(|_| Error::Malformed { at })?);
            at += TYPE_BYTES + tail_bytes(&entry, at)?;
        }
        Ok(())
    }

    /// The id of a structure.
    pub fn structure(&self, name: &str) -> Option<u32> {
        self.structs.get(name.as_bytes()).copied()
    }

    /// The offset in bytes of a member such as `inode.__i_ctime.tv_sec`, through anonymous structures; alternatives are
    /// separated by `|`, the first that exists holds.
    pub fn offset(&self, path: &str) -> Result<u32, Error> {
        path.split('|')
            .find_map(|path| self.one_offset(path).transpose())
            .unwrap_or_else(|| Err(Error::Missing(path.to_owned())))
    }

    /// BTF of as many types, each with the id it has here, of which only the functions and typedefs of these names are
    /// told; all others are forward declarations without a name. To look ids up by name, a reader of the whole would make
    /// an object of every member of every structure first. With it, the ids of the names that this kernel has.
    pub fn reduced(&self, names: &HashSet<String>) -> Result<(Vec<u8>, HashMap<String, u32>), Error> {
        let (mut strings, mut found) = (vec![0], HashMap::new());
        let mut types = Vec::with_capacity(self.types.len() * TYPE_BYTES);
        for (id, at) in (0..).zip(&self.types).skip(1) {
            let entry = self.entry(*at as usize)?;
            let mut words = [0, kind::FWD << 24, 0];
            if matches!(entry.kind, kind::FUNC | kind::TYPEDEF) {
                let name = str::from_utf8(self.string(entry.name)?).ok();
                if let Some(name) = name.and_then(|name| names.get(name)) {
                    words = [length(&strings)?, entry.kind << 24, 0];
                    strings.extend_from_slice(name.as_bytes());
                    strings.push(0);
                    found.entry(name.clone()).or_insert(id);
                }
            }
            types.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
        let mut out = self.data[..4].to_vec();
        for word in [u32::from(HEADER_BYTES), 0, length(&types)?, length(&types)?, length(&strings)?] {
            out.extend(word.to_le_bytes());
        }
        out.extend(types);
        out.extend(strings);
        Ok((out, found))
    }

    fn one_offset(&self, path: &str) -> Result<Option<u32>, Error> {
        let mut parts = path.split('.');
        let Some(&id) = parts.next().and_then(|name| self.structs.get(name.as_bytes())) else { return Ok(None) };
        let (mut id, mut bits) = (id, 0);
        for part in parts {
            let Some((at, member)) = self.member(id, part.as_bytes(), DEPTH_MAX)? else { return Ok(None) };
            bits += at;
            id = self.resolved(member)?;
        }
        Ok((bits % 8 == 0).then_some(bits / 8))
    }

    /// Offset in bits and type of a member, looked for in anonymous members too.
    fn member(&self, id: u32, name: &[u8], depth: u32) -> Result<Option<(u32, u32)>, Error> {
        let entry = self.by_id(id)?;
        if depth == 0 || !matches!(entry.kind, kind::STRUCT | kind::UNION) {
            return Ok(None);
        }
        for index in 0..entry.members as usize {
            let at = entry.body + index * TYPE_BYTES;
            let (member_name, referred, raw) = (self.word(at)?, self.word(at + 4)?, self.word(at + 8)?);
            let bits = if entry.bitfields { raw & 0x00ff_ffff } else { raw };
            if member_name == 0 {
                if let Some((inner, found)) = self.member(self.resolved(referred)?, name, depth - 1)? {
                    return Ok(Some((bits + inner, found)));
                }
            } else if self.string(member_name)? == name {
                return Ok(Some((bits, referred)));
            }
        }
        Ok(None)
    }

    /// A type behind its typedefs and qualifiers.
    fn resolved(&self, mut id: u32) -> Result<u32, Error> {
        for _ in 0..DEPTH_MAX {
            let entry = self.by_id(id)?;
            match entry.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => id = entry.referred,
                _ => return Ok(id),
            }
        }
        Err(Error::Malformed { at: self.types.get(id as usize).map_or(0, |at| *at as usize) })
    }

    fn by_id(&self, id: u32) -> Result<Type, Error> {
        match self.types.get(id as usize) {
            Some(0) => Ok(Type { name: 0, kind: 0, members: 0, bitfields: false, referred: 0, body: 0 }),
            Some(at) => self.entry(*at as usize),
            None => Err(Error::Malformed { at: 0 }),
        }
    }

    fn entry(&self, at: usize) -> Result<Type, Error> {
        let info = self.word(at + 4)?;
        Ok(Type {
            name: self.word(at)?,
            kind: info >> 24 & 0x1f,
            members: info & 0xffff,
            bitfields: info >> 31 == 1,
            referred: self.word(at + 8)?,
            body: at + TYPE_BYTES,
        })
    }

    fn word(&self, at: usize) -> Result<u32, Error> {
        let bytes = self.data.get(at..at + 4).ok_or(Error::Malformed { at })?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn string(&self, at: u32) -> Result<&[u8], Error> {
        let at = self.strings + at as usize;
        let bytes = self.data.get(at..).ok_or(Error::Malformed { at })?;
        let end = bytes.iter().position(|byte| *byte == 0).ok_or(Error::Malformed { at })?;
        Ok(&bytes[..end])
    }
}

fn length(bytes: &[u8]) -> Result<u32, Error> {
    u32::try_from(bytes.len()).map_err(|_| Error::Malformed { at: 0 })
}

/// Bytes that follow a type's three words.
fn tail_bytes(entry: &Type, at: usize) -> Result<usize, Error> {
    let members = entry.members as usize;
    Ok(match entry.kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => members * 12,
        kind::ENUM | kind::FUNC_PROTO => members * 8,
        0..=19 => 0,
        _ => return Err(Error::Malformed { at }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(out: &mut Vec<u8>, value: u32) {
        out.extend(value.to_le_bytes());
    }

    /// struct outer { int a; struct { int b; } ; }
    fn sample() -> Vec<u8> {
        let strings = b"\0outer\0a\0b\0int\0";
        let mut types = Vec::new();
        for value in [11, 1 << 24, 4, 0x20] {
            word(&mut types, value); // 1: int
        }
        for value in [0, 4 << 24 | 1, 4, 9, 1, 0] {
            word(&mut types, value); // 2: struct { int b; }
        }
        for value in [1, 4 << 24 | 2, 8, 7, 1, 0, 0, 2, 32] {
            word(&mut types, value); // 3: struct outer
        }
        let mut out = vec![0x9f, 0xeb, 1, 0];
        for value in [24, 0, types.len(), types.len(), strings.len()] {
            word(&mut out, u32::try_from(value).unwrap());
        }
        out.extend(types);
        out.extend(strings);
        out
    }

    #[test]
    fn members_are_found_through_anonymous_structures() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset("outer.a").unwrap(), 0);
        assert_eq!(btf.offset("outer.b").unwrap(), 4);
        assert_eq!(btf.offset("outer.gone|outer.b").unwrap(), 4);
    }

    #[test]
    fn a_missing_member_is_named() {
        let error = Btf::parse(sample()).unwrap().offset("outer.c").unwrap_err();
        assert!(error.to_string().contains("outer.c"));
    }

    #[test]
    fn cut_bytes_are_refused_at_every_length() {
        let whole = sample();
        for length in 0..whole.len() - 1 {
            let parsed = Btf::parse(whole[..length].to_vec());
            assert!(parsed.is_err() || parsed.unwrap().offset("outer.b").is_err(), "{length} bytes");
        }
    }

    #[test]
    fn reduced_types_keep_their_ids() {
        let running = Btf::running().unwrap();
        let names = ["vfs_rename", "btf_trace_sys_exit", "no_such_function"].map(str::to_owned);
        let (bytes, found) = running.reduced(&HashSet::from(names)).unwrap();
        assert_eq!(found.len(), 2);
        let reduced = Btf::parse(bytes).unwrap();
        assert_eq!(reduced.types.len(), running.types.len());
        let named = |id: u32| {
            let entry = reduced.by_id(id).unwrap();
            (entry.name != 0).then(|| (entry.kind, reduced.string(entry.name).unwrap().to_owned()))
        };
        for id in 1..u32::try_from(running.types.len()).unwrap() {
            let entry = running.by_id(id).unwrap();
            let name = running.string(entry.name).unwrap();
            let asked = matches!(name, b"vfs_rename" | b"btf_trace_sys_exit");
            let kept = asked && matches!(entry.kind, kind::FUNC | kind::TYPEDEF);
            assert_eq!(named(id), kept.then(|| (entry.kind, name.to_owned())));
            assert!(!kept || found[str::from_utf8(name).unwrap()] == id);
        }
    }

    #[test]
    fn the_running_kernel_has_every_offset() {
        let btf = Btf::running().unwrap();
        for path in agent_ebpf::Offsets::PATHS {
            btf.offset(path).unwrap();
        }
    }
}
