//! What answers are made of, as JSON has it (docs/api.md).

use attestation::{hex, time};
use rusqlite::Row;
use serde::Serialize;
use utoipa::ToSchema;

use super::digest;
use crate::facts::{ACCESS, CLASSES};

/// Columns of a [`StatementRow`].
pub(super) const STATEMENT: &str = "place, payload_sha256, received_s, peer, signer, host, boot, number, complete, lossless, session, kind, \
     started_s, ended_s, image, image_sha256, lost, coalesced, kernel, stable, ephemeral, raced, absent, cut";
/// Columns of a [`Placed`].
pub(super) const PLACED: &str = "statement.place, statement.payload_sha256, statement.received_s, statement.host, statement.session, statement.complete";

/// A statement that was verified and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatementRow {
    /// Its place in the collector's log.
    pub(crate) place: u64,
    /// SHA-256 of its payload.
    pub(crate) payload_sha256: String,
    /// When the collector kept it.
    pub(crate) received: String,
    /// Who sent it.
    pub(crate) sender: String,
    /// Who signed it.
    pub(crate) signer: String,
    /// The host's id, as the statement says it.
    pub(crate) host: String,
    /// The boot's id.
    pub(crate) boot: String,
    /// Its number in its chain; none where its signer is not who it says.
    pub(crate) number: Option<u64>,
    /// Whether it is complete, as signed.
    pub(crate) complete: bool,
    /// Whether no event was lost, as signed.
    pub(crate) lossless: bool,
    /// The session's id.
    pub(crate) session: String,
    /// What the session was: run, container, unit, cgroup.
    pub(crate) kind: String,
    /// When it started, by its host's clock.
    pub(crate) started: Option<String>,
    /// When it ended, by its host's clock.
    pub(crate) ended: Option<String>,
    /// The image of a container, as it was named.
    pub(crate) image: Option<String>,
    /// The image's digest.
    pub(crate) image_sha256: Option<String>,
    /// Events that were lost.
    pub(crate) events_lost: u64,
    /// Repeats that were counted and not sent.
    pub(crate) events_coalesced: u64,
    /// Files by the class of their digests.
    pub(crate) files: Classes,
    /// Whether it has more files, peers or subjects than are indexed of one.
    pub(crate) cut: bool,
}

/// Files by the class of their digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Classes {
    kernel: u64,
    stable: u64,
    ephemeral: u64,
    raced: u64,
    absent: u64,
}

fn unsigned(row: &Row<'_>, place: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(place).map(i64::cast_unsigned)
}

fn utc(row: &Row<'_>, place: usize) -> rusqlite::Result<Option<String>> {
    Ok(row.get::<_, Option<i64>>(place)?.map(|at| time::utc(at.cast_unsigned())))
}

impl StatementRow {
    /// From these columns, which begin at a place.
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        let image: Option<Vec<u8>> = row.get(at + 15)?;
        Ok(Self {
            place: unsigned(row, at)?,
            payload_sha256: digest(row, at + 1)?,
            received: utc(row, at + 2)?.unwrap_or_default(),
            sender: row.get(at + 3)?,
            signer: row.get(at + 4)?,
            host: row.get(at + 5)?,
            boot: row.get(at + 6)?,
            number: row.get::<_, Option<i64>>(at + 7)?.map(i64::cast_unsigned),
            complete: row.get(at + 8)?,
            lossless: row.get(at + 9)?,
            session: row.get(at + 10)?,
            kind: row.get(at + 11)?,
            started: utc(row, at + 12)?,
            ended: utc(row, at + 13)?,
            image: row.get(at + 14)?,
            image_sha256: image.map(|sha256| hex::encode(&sha256)),
            events_lost: unsigned(row, at + 16)?,
            events_coalesced: unsigned(row, at + 17)?,
            files: Classes {
                kernel: unsigned(row, at + 18)?,
                stable: unsigned(row, at + 19)?,
                ephemeral: unsigned(row, at + 20)?,
                raced: unsigned(row, at + 21)?,
                absent: unsigned(row, at + 22)?,
            },
            cut: row.get(at + 23)?,
        })
    }
}

/// A statement with what it is about and what it lacks: 1,000 of each at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct StatementDetail {
    #[serde(flatten)]
    pub(crate) statement: StatementRow,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) gaps: Vec<Gap>,
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Subject {
    /// Its name, as signed.
    pub(crate) name: String,
    pub(crate) sha256: String,
}

impl Subject {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { name: row.get(0)?, sha256: digest(row, 1)? })
    }
}

/// A gap, a blind spot or a notice of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Gap {
    /// As `testimony explain` has it.
    pub(crate) code: String,
    pub(crate) detail: String,
    pub(crate) count: u64,
    pub(crate) ends_completeness: bool,
}

impl Gap {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Self::at(row, 0)
    }

    fn at(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        let (code, detail) = (row.get(at)?, row.get(at + 1)?);
        Ok(Self { code, detail, count: unsigned(row, at + 2)?, ends_completeness: row.get(at + 3)? })
    }
}

/// Which statement a row is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Placed {
    pub(crate) place: u64,
    pub(crate) payload_sha256: String,
    pub(crate) received: String,
    pub(crate) host: String,
    pub(crate) session: String,
    /// Whether the statement is complete: what an incomplete one does not say may have happened all the same.
    pub(crate) complete: bool,
}

impl Placed {
    const COLUMNS: usize = 6;

    fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            place: unsigned(row, at)?,
            payload_sha256: digest(row, at + 1)?,
            received: utc(row, at + 2)?.unwrap_or_default(),
            host: row.get(at + 3)?,
            session: row.get(at + 4)?,
            complete: row.get(at + 5)?,
        })
    }
}

/// An access to a content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FileRow {
    #[serde(flatten)]
    pub(crate) of: Placed,
    /// Its path, as signed.
    pub(crate) path: String,
    /// How it was accessed.
    pub(crate) access: Vec<&'static str>,
    /// How far the digest can be relied on: kernel and stable can, raced cannot.
    pub(crate) class: &'static str,
}

impl FileRow {
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        let of = Placed::read(row, at)?;
        let at = at + Placed::COLUMNS;
        let (bits, class): (u8, usize) = (row.get(at + 1)?, row.get::<_, u8>(at + 2)?.into());
        let access = ACCESS.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, word)| *word);
        let class = CLASSES.get(class).copied().unwrap_or_default();
        Ok(Self { of, path: row.get(at)?, access: access.collect(), class })
    }
}

/// A contact with a peer of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContactRow {
    #[serde(flatten)]
    pub(crate) of: Placed,
    /// As it was asked for: an address, or a name.
    pub(crate) peer: String,
    /// The address; empty where the name was only asked for.
    pub(crate) address: String,
    /// 0 where there is none.
    pub(crate) port: u16,
    pub(crate) protocol: String,
    pub(crate) direction: String,
    pub(crate) operation: String,
    pub(crate) count: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
}

impl ContactRow {
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        let of = Placed::read(row, at)?;
        let at = at + Placed::COLUMNS;
        Ok(Self {
            of,
            peer: row.get(at)?,
            address: row.get(at + 1)?,
            port: row.get(at + 2)?,
            protocol: row.get(at + 3)?,
            direction: row.get(at + 4)?,
            operation: row.get(at + 5)?,
            count: unsigned(row, at + 6)?,
            sent_bytes: unsigned(row, at + 7)?,
            received_bytes: unsigned(row, at + 8)?,
        })
    }
}

/// An image that containers ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageRow {
    /// As it was named.
    pub(crate) image: String,
    pub(crate) image_sha256: Option<String>,
    /// `not-verified`: nothing that was kept says that anybody verified it. Nodes of this version verify no images.
    pub(crate) verification: &'static str,
    pub(crate) statements: u64,
    pub(crate) hosts: u64,
    /// When the last statement of it was kept.
    pub(crate) last: String,
}

impl ImageRow {
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        let sha256: Vec<u8> = row.get(at + 1)?;
        Ok(Self {
            image: row.get(at)?,
            image_sha256: (!sha256.is_empty()).then(|| hex::encode(&sha256)),
            verification: "not-verified",
            statements: unsigned(row, at + 2)?,
            hosts: unsigned(row, at + 3)?,
            last: utc(row, at + 4)?.unwrap_or_default(),
        })
    }
}

/// Something that a statement lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct GapRow {
    #[serde(flatten)]
    pub(crate) of: Placed,
    #[serde(flatten)]
    pub(crate) gap: Gap,
}

impl GapRow {
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Self { of: Placed::read(row, at)?, gap: Gap::at(row, at + Placed::COLUMNS)? })
    }
}

/// A chain of statements: of a signer, on a host, since its boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ChainRow {
    pub(crate) signer: String,
    pub(crate) host: String,
    pub(crate) boot: String,
    pub(crate) statements: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Numbers that nobody sent, and that no statement says were never signed: from and to; 1,000 at most.
    pub(crate) missing: Vec<[u64; 2]>,
    /// Numbers at which it says two things; 1,000 at most.
    pub(crate) contradicts: Vec<u64>,
}

impl ChainRow {
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            signer: row.get(at)?,
            host: row.get(at + 1)?,
            boot: row.get(at + 2)?,
            statements: unsigned(row, at + 3)?,
            first: unsigned(row, at + 4)?,
            last: unsigned(row, at + 5)?,
            missing: Vec::new(),
            contradicts: Vec::new(),
        })
    }
}

/// A host that statements are of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct HostRow {
    pub(crate) host: String,
    /// When the last statement of it was kept.
    pub(crate) heard: String,
    pub(crate) statements: u64,
    /// Those of them that are incomplete.
    pub(crate) incomplete: u64,
}

impl HostRow {
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        let heard = utc(row, at + 1)?.unwrap_or_default();
        Ok(Self { host: row.get(at)?, heard, statements: unsigned(row, at + 2)?, incomplete: unsigned(row, at + 3)? })
    }
}

/// What is counted of all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// The newest statements: 10,000 at most.
    pub(crate) recent: u64,
    pub(crate) recent_complete: u64,
    pub(crate) chains: u64,
    pub(crate) chains_with_gaps: u64,
    pub(crate) chains_forked: u64,
    pub(crate) hosts: u64,
    pub(crate) hosts_silent: u64,
    /// Statements that are in the index.
    pub(crate) indexed: u64,
    pub(crate) bytes: u64,
}
