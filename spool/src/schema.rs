//! The database's tables, and how those of an older version become those of this one.

use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use crate::Error;

/// Which program's database it is: "Tspl".
const APPLICATION: i64 = 0x5473_706c;
/// How long another process is waited for.
const BUSY_MAX: Duration = Duration::from_secs(10);
/// The steps from nothing to the newest version.
const STEPS: [&str; 1] = [FIRST];

const FIRST: &str = "
-- What waits, in its order. A number is never given again.
CREATE TABLE item (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    -- SHA-256 of the content.
    sha256 BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    payload_sha256 BLOB NOT NULL,
    made_s INTEGER NOT NULL,
    content BLOB NOT NULL
) STRICT;

-- Receipts of what was delivered.
CREATE TABLE receipt (
    number INTEGER PRIMARY KEY,
    sha256 BLOB NOT NULL,
    name TEXT NOT NULL,
    payload_sha256 BLOB NOT NULL,
    receipt BLOB NOT NULL
) STRICT;
CREATE INDEX receipt_payload ON receipt (payload_sha256);
CREATE INDEX receipt_sha256 ON receipt (sha256);

-- What the collector will never take.
CREATE TABLE refused (
    number INTEGER PRIMARY KEY,
    sha256 BLOB NOT NULL,
    name TEXT NOT NULL,
    payload_sha256 BLOB NOT NULL,
    made_s INTEGER NOT NULL,
    code TEXT NOT NULL,
    says TEXT NOT NULL,
    content BLOB NOT NULL
) STRICT;
CREATE INDEX refused_sha256 ON refused (sha256);

-- What was dropped and no statement says yet, by reason; and since the beginning.
CREATE TABLE dropped (
    reason TEXT PRIMARY KEY,
    unsaid INTEGER NOT NULL,
    first_s INTEGER NOT NULL,
    last_s INTEGER NOT NULL,
    total INTEGER NOT NULL
) STRICT;
-- Payloads of statements that said so.
CREATE TABLE settled (sha256 BLOB PRIMARY KEY) STRICT;

-- One row: sums that hold with the tables, and the limits.
CREATE TABLE account (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    bytes INTEGER NOT NULL,
    put INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    bytes_max INTEGER NOT NULL,
    age_max_s INTEGER NOT NULL,
    refuse_new INTEGER NOT NULL
) STRICT;
";

pub(crate) fn prepare(connection: &mut Connection) -> Result<(), Error> {
    connection.busy_timeout(BUSY_MAX)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Others may be at the same beginning: the first one makes it, and those who waited find it.
    let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tables: i64 = begun.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    if tables == 0 {
        begun.pragma_update(None, "application_id", APPLICATION)?;
    }
    let application: i64 = begun.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if application != APPLICATION {
        return Err(Error::Foreign);
    }
    let version: i64 = begun.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = usize::try_from(version).ok().filter(|version| *version <= STEPS.len()).ok_or(Error::Newer(version))?;
    for step in STEPS.iter().skip(known) {
        begun.execute_batch(step)?;
    }
    if known == 0 {
        let limits = crate::Limits::default();
        let account = "INSERT INTO account VALUES (1, 0, 0, 0, 0, ?1, ?2, 0)";
        begun.execute(account, (limits.bytes_max.cast_signed(), limits.age_max.as_secs().cast_signed()))?;
    }
    begun.pragma_update(None, "user_version", i64::try_from(STEPS.len()).unwrap_or(i64::MAX))?;
    begun.commit()?;
    // It stays so; several at once may ask for it.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    Ok(())
}
