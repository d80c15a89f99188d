//! The database's tables, and how those of an older version become those of this one.

use rusqlite::Connection;

use super::Error;

/// Which program's database it is: "Tsty".
const APPLICATION: i64 = 0x5473_7479;
/// The steps from nothing to the newest version: each is made in a transaction of its own, once.
const STEPS: &[&str] = &[FIRST, SECOND];
/// The newest version.
pub(super) const VERSION: i64 = 2;
/// How long another connection is waited for.
const BUSY_MS: u32 = 10_000;

const FIRST: &str = "
-- A statement that was verified; its place is its leaf's in the log.
CREATE TABLE statement (
    place INTEGER PRIMARY KEY,
    -- SHA-256 of the submission's bytes: the same ones are kept once.
    sha256 BLOB NOT NULL UNIQUE,
    payload_sha256 BLOB NOT NULL,
    envelope BLOB NOT NULL,
    quote BLOB NOT NULL,
    bundle BLOB NOT NULL,
    firmware_log BLOB NOT NULL,
    ima_list BLOB NOT NULL,
    -- The leaf.
    entry BLOB NOT NULL,
    received_s INTEGER NOT NULL,
    -- Who sent it.
    peer TEXT NOT NULL,
    -- Of the statement: who signed it, of which host and boot, its number and the payload before it.
    signer TEXT NOT NULL,
    host TEXT NOT NULL,
    boot TEXT NOT NULL,
    number INTEGER,
    previous BLOB,
    complete INTEGER NOT NULL,
    -- The verdict of that time, in JSON.
    verdict TEXT NOT NULL
) STRICT;
CREATE INDEX statement_payload ON statement (payload_sha256);
CREATE INDEX statement_scope ON statement (signer, host, boot, number);

-- Roots of the log's full subtrees.
CREATE TABLE node (
    level INTEGER NOT NULL,
    place INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (level, place)
) STRICT, WITHOUT ROWID;

-- Challenges that were not answered yet.
CREATE TABLE pending (
    id TEXT PRIMARY KEY,
    peer TEXT NOT NULL,
    expires_s INTEGER NOT NULL,
    pending BLOB NOT NULL
) STRICT;

-- Machines that are enrolled.
CREATE TABLE machine (
    -- The TPM's name for its attestation key.
    key BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    enrolled_s INTEGER NOT NULL,
    machine BLOB NOT NULL
) STRICT;
";

const SECOND: &str = "
-- The log as it was signed, once for each size that it was answered for.
CREATE TABLE checkpoint (
    size INTEGER PRIMARY KEY,
    time_s INTEGER NOT NULL,
    -- A signed note (c2sp.org/tlog-checkpoint).
    note TEXT NOT NULL
) STRICT;
-- Payload and verified signatures: by these a statement is known, whatever else came with them.
CREATE INDEX statement_entry ON statement (entry);
-- What of what stands beside the envelope was verified: 1 the quote, 2 the bundle.
ALTER TABLE statement ADD COLUMN proven INTEGER NOT NULL DEFAULT 0;
";

/// Makes the tables, or brings them up to date.
pub(super) fn prepare(connection: &Connection) -> Result<(), Error> {
    connection.busy_timeout(std::time::Duration::from_millis(BUSY_MS.into()))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    if tables == 0 {
        connection.pragma_update(None, "application_id", APPLICATION)?;
    }
    check(connection)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Outside its folder it may write nothing.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let version = version(connection)?;
    for (number, step) in (version + 1..).zip(STEPS.iter().skip(usize::try_from(version).unwrap_or(usize::MAX))) {
        let step = format!("BEGIN IMMEDIATE; {step} PRAGMA user_version = {number}; COMMIT;");
        connection.execute_batch(&step)?;
    }
    Ok(())
}

/// Refuses what this program did not make, or what a newer one did.
pub(super) fn check(connection: &Connection) -> Result<(), Error> {
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
