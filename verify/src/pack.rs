//! Packs: a statement with its evidence, its receipts and what its machine says in one file, a tar of known members.
//!
//! Nothing of a pack is trusted for standing in it: the statement is verified as any other, segments are held against their digests,
//! receipts against their logs, quotes against the machines that are trusted.

use crate::files::open_regular;
use crate::platform::BESIDE;
use attestation::hex;
use attestation::merkle::Hash;
use attestation::receipt::{RECEIPT_BYTES_MAX, Receipt};
use attestation::verify::Objects;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use tar::{Archive, Builder, EntryType, Header};

/// The first member, and what it has: the version of the format.
const FORMAT: (&str, &[u8]) = ("testimony-pack", b"1\n");
const STATEMENT: &str = "statement.intoto.jsonl";
const EVIDENCE: &str = "evidence/";
const RECEIPT: (&str, &str) = ("receipts/", ".tlog-proof");
/// Members of a pack at most.
const MEMBERS_MAX: usize = 1 << 16;
/// Receipts of a pack at most.
const RECEIPTS_MAX: usize = 64;
/// Where a tar has its magic, and that.
const MAGIC: (u64, &[u8]) = (257, b"ustar");

/// Where a member's bytes are.
#[derive(Clone, Copy)]
struct Place {
    at: u64,
    bytes: u64,
}

/// A pack that could be read.
pub struct Pack {
    file: File,
    statement: Place,
    evidence: HashMap<Hash, Place>,
    beside: [Option<Place>; BESIDE.len()],
    /// Its receipts.
    pub receipts: Vec<Receipt>,
}

/// Whether a file begins as a pack does.
#[must_use]
pub fn is_pack(file: &File) -> bool {
    let mut magic = [0; MAGIC.1.len()];
    file.read_exact_at(&mut magic, MAGIC.0).is_ok() && magic == MAGIC.1
}

impl Pack {
    /// Reads the list of members, and the receipts.
    ///
    /// # Errors
    /// What the file system answers; `InvalidData` with what is wrong with the pack.
    pub fn read(file: File) -> io::Result<Self> {
        let (mut statement, mut evidence, mut receipts) = (None, HashMap::new(), Vec::new());
        let mut beside = [None; BESIDE.len()];
        for (index, member) in Archive::new(BufReader::new(&file)).entries()?.enumerate() {
            let mut member = member?;
            if index > MEMBERS_MAX || member.header().entry_type() != EntryType::Regular {
                return Err(wrong("a member that is no regular file, or too many"));
            }
            let name = String::from_utf8(member.path_bytes().into_owned()).map_err(|_| wrong("a member's name"))?;
            let place = Place { at: member.raw_file_position(), bytes: member.size() };
            if index == 0 {
                let mut version = Vec::new();
                (&mut member).take(64).read_to_end(&mut version)?;
                if name != FORMAT.0 || version != FORMAT.1 {
                    return Err(wrong("its first member does not say that it is one, of version 1"));
                }
            } else if name == STATEMENT {
                if statement.replace(place).is_some() {
                    return Err(wrong("two statements"));
                }
            } else if let Some(index) = BESIDE.iter().position(|(suffix, _)| suffix.strip_prefix('.') == Some(&name)) {
                if beside.get_mut(index).and_then(|slot: &mut Option<Place>| slot.replace(place)).is_some() {
                    return Err(wrong("a member twice"));
                }
            } else if let Some(digest) = name.strip_prefix(EVIDENCE).and_then(hex::decode_sha256) {
                if evidence.insert(digest, place).is_some() {
                    return Err(wrong("a member twice"));
                }
            } else if name.starts_with(RECEIPT.0) && name.ends_with(RECEIPT.1) && receipts.len() < RECEIPTS_MAX {
                let mut bytes = Vec::new();
                member.take(RECEIPT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
                receipts.push(Receipt::read(&bytes).map_err(|error| wrong(&format!("a receipt: {error}")))?);
            } else {
                return Err(wrong("a member that version 1 does not have"));
            }
        }
        let statement = statement.ok_or_else(|| wrong("no statement"))?;
        Ok(Self { file, statement, evidence, beside, receipts })
    }

    /// What its machine says: one of [`BESIDE`], if it is there.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn beside(&self, index: usize) -> io::Result<Option<Vec<u8>>> {
        let place = self.beside.get(index).copied().flatten();
        let read = |place| {
            let (mut bytes, max) = (Vec::new(), BESIDE.get(index).map_or(0, |(_, max)| *max as u64));
            self.section(place).take(max + 1).read_to_end(&mut bytes).map(|_| bytes)
        };
        place.map(read).transpose()
    }

    /// The statement's bytes.
    pub fn statement(&self) -> impl Read {
        self.section(self.statement)
    }

    fn section(&self, place: Place) -> Section<'_> {
        Section { file: &self.file, at: place.at, left: place.bytes }
    }
}

impl Objects for Pack {
    fn open(&self, sha256: &Hash) -> io::Result<Box<dyn Read + '_>> {
        let place = self.evidence.get(sha256).ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(BufReader::new(self.section(*place))))
    }
}

/// What goes into a pack.
pub struct Parts<'a> {
    /// The statement.
    pub statement: &'a Path,
    /// The segments of its evidence, by their digests.
    pub evidence: &'a [(Hash, File)],
    /// What its machine says, as [`BESIDE`] has it.
    pub beside: &'a [Option<File>; BESIDE.len()],
    /// Receipts.
    pub receipts: &'a [Vec<u8>],
}

/// Writes a pack. The same parts give the same bytes.
///
/// # Errors
/// What the file system answers.
pub fn write(out: impl Write, parts: &Parts<'_>) -> io::Result<()> {
    let Parts { statement, evidence, beside, receipts } = parts;
    let mut tar = Builder::new(out);
    append(&mut tar, FORMAT.0, FORMAT.1, FORMAT.1.len() as u64)?;
    let file = open_regular(statement)?;
    let bytes = file.metadata()?.len();
    append(&mut tar, STATEMENT, file, bytes)?;
    for (file, (suffix, _)) in beside.iter().zip(BESIDE).filter_map(|(file, name)| Some((file.as_ref()?, name))) {
        append(&mut tar, suffix.trim_start_matches('.'), file, file.metadata()?.len())?;
    }
    for (digest, file) in *evidence {
        append(&mut tar, &format!("{EVIDENCE}{}", hex::encode(digest)), file, file.metadata()?.len())?;
    }
    for (index, receipt) in receipts.iter().enumerate() {
        append(&mut tar, &format!("{}{index}{}", RECEIPT.0, RECEIPT.1), receipt.as_slice(), receipt.len() as u64)?;
    }
    tar.into_inner()?.flush()
}

fn append(tar: &mut Builder<impl Write>, name: &str, data: impl Read, bytes: u64) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_size(bytes);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, data.take(bytes))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("no pack that can be read: {what}"))
}

/// A part of a file, read at its own place.
struct Section<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(out.len(), |left| left.min(out.len()));
        let read = self.file.read_at(out.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
