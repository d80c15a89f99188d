//! The tables of the index, in a database of its own: whoever reads it is in the way of nobody who keeps statements, and all but what is
//! known of alerts can be made again from the store.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use super::Error;

/// Beside the store's database.
pub(super) const FILE: &str = "index.db";
/// Which program's database it is: "Tsti".
const APPLICATION: i64 = 0x5473_7469;
/// Steps from nothing to the newest version.
const STEPS: &[&str] = &[FIRST];
/// The newest version. An index of an older one whose facts cannot be brought up to date is made again.
const VERSION: i64 = 1;
/// How long another connection is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// What can be made again, in an order in which it can be deleted.
pub(super) const FACTS: [&str; 11] =
    ["subject", "file", "path", "contact", "gap", "identity", "link", "missing", "fork", "statement", "host"];

const FIRST: &str = "
CREATE TABLE statement (
    place INTEGER PRIMARY KEY,
    payload_sha256 BLOB NOT NULL,
    received_s INTEGER NOT NULL,
    peer TEXT NOT NULL,
    signer TEXT NOT NULL,
    host TEXT NOT NULL,
    boot TEXT NOT NULL,
    number INTEGER,
    complete INTEGER NOT NULL,
    lossless INTEGER NOT NULL,
    session TEXT NOT NULL,
    kind TEXT NOT NULL,
    started_s INTEGER,
    ended_s INTEGER,
    image TEXT,
    image_sha256 BLOB,
    lost INTEGER NOT NULL,
    coalesced INTEGER NOT NULL,
    -- Files by class.
    kernel INTEGER NOT NULL,
    stable INTEGER NOT NULL,
    ephemeral INTEGER NOT NULL,
    raced INTEGER NOT NULL,
    absent INTEGER NOT NULL,
    -- Whether a list was longer than is kept of one.
    cut INTEGER NOT NULL
) STRICT;
CREATE INDEX statement_payload ON statement (payload_sha256);
CREATE INDEX statement_host ON statement (host);
CREATE INDEX statement_session ON statement (session);
CREATE INDEX statement_received ON statement (received_s);
CREATE INDEX statement_incomplete ON statement (complete) WHERE complete = 0;
CREATE INDEX statement_image ON statement (image, image_sha256) WHERE image IS NOT NULL;

CREATE TABLE subject (
    sha256 BLOB NOT NULL, place INTEGER NOT NULL, name TEXT NOT NULL,
    PRIMARY KEY (sha256, place, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX subject_place ON subject (place);

CREATE TABLE path (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE file (
    sha256 BLOB NOT NULL, place INTEGER NOT NULL, path INTEGER NOT NULL, access INTEGER NOT NULL, class INTEGER NOT NULL,
    PRIMARY KEY (sha256, place, path, access, class)
) STRICT, WITHOUT ROWID;

CREATE TABLE contact (
    peer TEXT NOT NULL, place INTEGER NOT NULL, address TEXT NOT NULL, port INTEGER NOT NULL, protocol TEXT NOT NULL,
    direction TEXT NOT NULL, operation TEXT NOT NULL,
    count INTEGER NOT NULL, sent INTEGER NOT NULL, received INTEGER NOT NULL,
    PRIMARY KEY (peer, place, address, port, protocol, direction, operation)
) STRICT, WITHOUT ROWID;

-- What is missing in a statement, or was seen that is to be told: of codes that end completeness and of those that do not.
CREATE TABLE gap (
    code TEXT NOT NULL, place INTEGER NOT NULL, detail TEXT NOT NULL, count INTEGER NOT NULL, ends INTEGER NOT NULL,
    PRIMARY KEY (code, place, detail)
) STRICT, WITHOUT ROWID;
CREATE INDEX gap_place ON gap (place);

-- Who has to do with a statement: who signed it and who sent it.
CREATE TABLE identity (
    id TEXT NOT NULL, place INTEGER NOT NULL,
    PRIMARY KEY (id, place)
) STRICT, WITHOUT ROWID;

-- Chains: of a signer on a host since its boot.
CREATE TABLE chain (
    id INTEGER PRIMARY KEY, signer TEXT NOT NULL, host TEXT NOT NULL, boot TEXT NOT NULL,
    statements INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    UNIQUE (signer, host, boot)
) STRICT;
CREATE TABLE link (
    chain INTEGER NOT NULL, number INTEGER NOT NULL, payload BLOB NOT NULL, previous BLOB, place INTEGER NOT NULL,
    PRIMARY KEY (chain, number, payload)
) STRICT, WITHOUT ROWID;
CREATE INDEX link_previous ON link (chain, previous);
-- Numbers that nobody sent: up to the one before a statement's.
CREATE TABLE missing (
    chain INTEGER NOT NULL, last INTEGER NOT NULL, first INTEGER NOT NULL, place INTEGER NOT NULL, found_s INTEGER NOT NULL,
    PRIMARY KEY (chain, last)
) STRICT, WITHOUT ROWID;
-- Numbers at which a chain says two things.
CREATE TABLE fork (
    chain INTEGER NOT NULL, number INTEGER NOT NULL, place INTEGER NOT NULL,
    PRIMARY KEY (chain, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE host (
    host TEXT PRIMARY KEY, heard_s INTEGER NOT NULL, statements INTEGER NOT NULL, incomplete INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX host_heard ON host (heard_s);

-- From here on: what is not made again.
-- How far alerts were made, and whether the collector runs.
CREATE TABLE mark (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
-- Missing numbers and silences that an alert was made of.
CREATE TABLE told (what TEXT PRIMARY KEY, at_s INTEGER NOT NULL) STRICT, WITHOUT ROWID;
-- What was told a moment ago, and how often it happened since.
CREATE TABLE recent (
    about TEXT NOT NULL, code TEXT NOT NULL, ends_s INTEGER NOT NULL, untold INTEGER NOT NULL, since_s INTEGER NOT NULL,
    alert TEXT NOT NULL,
    PRIMARY KEY (about, code)
) STRICT, WITHOUT ROWID;
CREATE TABLE alert (id INTEGER PRIMARY KEY AUTOINCREMENT, at_s INTEGER NOT NULL, about TEXT NOT NULL, code TEXT NOT NULL,
    alert TEXT NOT NULL) STRICT;
-- Whom alerts are told, up to which one, and which one may have arrived without a word.
CREATE TABLE sink (
    name TEXT PRIMARY KEY, delivered INTEGER NOT NULL, attempted INTEGER NOT NULL, dropped INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Opens the index for writing; it is made if it is not there.
pub(super) fn open(folder: &Path) -> Result<Connection, Error> {
    let connection = Connection::open(folder.join(FILE))?;
    connection.busy_timeout(BUSY)?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    if tables == 0 {
        connection.pragma_update(None, "application_id", APPLICATION)?;
    }
    check(&connection)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // What was told is durable before it is told: else a machine that loses its power tells it again, and does not say so.
    connection.pragma_update(None, "synchronous", "FULL")?;
    let version = version(&connection)?;
    for (number, step) in (version + 1..).zip(STEPS.iter().skip(usize::try_from(version).unwrap_or(usize::MAX))) {
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {step} PRAGMA user_version = {number}; COMMIT;"))?;
    }
    Ok(connection)
}

/// Opens it for reading beside who writes it.
pub(super) fn open_reader(folder: &Path) -> Result<Connection, Error> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Err(Error::None);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    check(&connection)?;
    if version(&connection)? < VERSION {
        return Err(Error::None);
    }
    Ok(connection)
}

fn check(connection: &Connection) -> Result<(), Error> {
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != APPLICATION {
        return Err(Error::Foreign);
    }
    match version(connection)? {
        0..=VERSION => Ok(()),
        newer => Err(Error::Newer(newer)),
    }
}

fn version(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}
