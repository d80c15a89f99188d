//! The database: how it is opened, what is in it, and whether it is one of ours.

use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::rand::GetRandomFlags;

use crate::Error;
use crate::account::{Account, Tally};
use crate::limits::{LOG_BYTES_MAX, PAGE_BYTES, WAIT_MAX};
use crate::place::Place;

/// `TSPL`.
const APPLICATION_ID: i64 = 0x5453_504c;
/// Of the tables below. Another version of them is another number.
pub(crate) const FORMAT: i64 = 2;
/// How long it is until a database that another process holds is asked for again: about as long as an act takes.
const WAIT_EACH: Duration = Duration::from_millis(1);
/// Pages of the write-ahead log from which on an act copies it into the database.
const CHECKPOINT_PAGES: u64 = 1000;

/// Envelopes stand apart from what is known of them, so that a queue is looked through without reading them, and so that a refused
/// item's is not written again.
const TABLES: &str = "
    CREATE TABLE account (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        spool BLOB NOT NULL,
        newest INTEGER NOT NULL,
        waiting INTEGER NOT NULL, waiting_bytes INTEGER NOT NULL, waiting_numbers INTEGER NOT NULL,
        receipts INTEGER NOT NULL, receipts_bytes INTEGER NOT NULL, receipts_numbers INTEGER NOT NULL,
        refused INTEGER NOT NULL, refused_bytes INTEGER NOT NULL, refused_numbers INTEGER NOT NULL,
        acknowledged_total INTEGER NOT NULL, refused_total INTEGER NOT NULL,
        dropped_full INTEGER NOT NULL, dropped_old INTEGER NOT NULL, dropped_refused INTEGER NOT NULL,
        settled_full INTEGER NOT NULL, settled_old INTEGER NOT NULL, settled_refused INTEGER NOT NULL,
        turned_away INTEGER NOT NULL, first_s INTEGER, last_s INTEGER,
        checksum BLOB NOT NULL
    ) STRICT;
    CREATE TABLE waiting (
        number INTEGER PRIMARY KEY, kind TEXT NOT NULL, sha256 BLOB NOT NULL, name TEXT NOT NULL, evidence BLOB,
        made_s INTEGER NOT NULL, bytes INTEGER NOT NULL, envelope_sha256 BLOB NOT NULL, checksum BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX waiting_sha256 ON waiting (sha256, kind);
    CREATE INDEX waiting_made_s ON waiting (made_s);
    CREATE TABLE envelopes (number INTEGER PRIMARY KEY, envelope BLOB NOT NULL) STRICT;
    CREATE TABLE receipts (
        number INTEGER PRIMARY KEY, kind TEXT NOT NULL, sha256 BLOB NOT NULL, at_s INTEGER NOT NULL, receipt BLOB NOT NULL,
        checksum BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX receipts_sha256 ON receipts (sha256, kind);
    CREATE INDEX receipts_at_s ON receipts (at_s);
    CREATE TABLE refused (
        number INTEGER PRIMARY KEY, kind TEXT NOT NULL, sha256 BLOB NOT NULL, name TEXT NOT NULL, evidence BLOB,
        made_s INTEGER NOT NULL, bytes INTEGER NOT NULL, envelope_sha256 BLOB NOT NULL, checksum BLOB NOT NULL,
        at_s INTEGER NOT NULL, code TEXT NOT NULL, says TEXT NOT NULL, refusal_checksum BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX refused_sha256 ON refused (sha256, kind);
";

/// From format 1 to 2: items that are put off, and what was seen of collectors' logs.
const SECOND: &str = "
    ALTER TABLE waiting ADD COLUMN again_s INTEGER;
    ALTER TABLE waiting ADD COLUMN tries INTEGER;
    ALTER TABLE waiting ADD COLUMN code TEXT;
    ALTER TABLE waiting ADD COLUMN says TEXT;
    ALTER TABLE waiting ADD COLUMN deferral_checksum BLOB;
    CREATE INDEX waiting_again_s ON waiting (again_s) WHERE again_s IS NOT NULL;
    CREATE TABLE logs (
        key TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, time_s INTEGER NOT NULL, checksum BLOB NOT NULL
    ) STRICT;
";

/// What a file is, before it is used.
#[derive(PartialEq, Eq)]
enum Found {
    Empty,
    /// Of the format before.
    First,
    Spool,
}

/// Opens the database, and makes its tables if it is empty. The caller is the only one who does at this time.
pub(crate) fn open(place: &Place) -> Result<Connection, Error> {
    // No link anywhere on the path: the folder's own was resolved, and whoever puts one there now is refused.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(place.database(), flags)?;
    connection.busy_handler(Some(patience()))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    let found = recognise(&connection, place)?;
    if found == Found::Empty {
        connection.execute_batch(&format!("PRAGMA page_size = {PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL;"))?;
    }
    // A log that several processes write needs memory that they share, which file systems of networks do not have.
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::Exposed {
            path: place.database().to_owned(),
            why: "lies where no write-ahead log is possible",
        });
    }
    // Sorting, if there ever is any, is to write nowhere else.
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = {LOG_BYTES_MAX}; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
         PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;"
    ))?;
    match found {
        Found::Empty => make(&mut connection)?,
        Found::First => bring_up(&mut connection)?,
        Found::Spool => {}
    }
    if number(&connection, "PRAGMA page_size")? != PAGE_BYTES || number(&connection, "PRAGMA auto_vacuum")? != 2 {
        return Err(Error::damaged("its header"));
    }
    Ok(connection)
}

/// Waits for another process, a little each time that SQLite finds the database taken. SQLite's own way asks the more rarely the
/// longer it has waited: among many who write, whoever is late then stays late, for as long as the others go on.
fn patience() -> impl FnMut(i32) -> bool + Send + 'static {
    let mut began = Instant::now();
    move |times| {
        if times == 0 {
            began = Instant::now();
        }
        let goes_on = began.elapsed() < WAIT_MAX;
        if goes_on {
            thread::sleep(WAIT_EACH);
        }
        goes_on
    }
}

/// What the database is; what is neither empty nor ours is refused.
fn recognise(connection: &Connection, place: &Place) -> Result<Found, Error> {
    let read = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let (application, format) = (read("PRAGMA application_id")?, read("PRAGMA user_version")?);
    match (application, format) {
        (0, 0) if read("SELECT count(*) FROM sqlite_schema")? == 0 => Ok(Found::Empty),
        (APPLICATION_ID, FORMAT) => Ok(Found::Spool),
        (APPLICATION_ID, 1) => Ok(Found::First),
        (APPLICATION_ID, found) if found > FORMAT => Err(Error::Newer { found, known: FORMAT }),
        (APPLICATION_ID, _) => Err(Error::damaged("its header")),
        _ => Err(Error::Foreign(place.database().to_owned())),
    }
}

/// All in one transaction: a spool is empty, or not there.
fn make(connection: &mut Connection) -> Result<(), Error> {
    let mut account = Account::default();
    rustix::rand::getrandom(&mut account.spool, GetRandomFlags::empty())
        .map_err(|errno| Error::Database(std::io::Error::from(errno).into()))?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.execute_batch(SECOND)?;
    account.store(&transaction)?;
    transaction.execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"))?;
    transaction.commit()?;
    Ok(())
}

/// From the format before. Whoever has it open by an older version goes on: the tables have columns more, which that does not name.
fn bring_up(connection: &mut Connection) -> Result<(), Error> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(SECOND)?;
    transaction.execute_batch(&format!("PRAGMA user_version = {FORMAT};"))?;
    transaction.commit()?;
    Ok(())
}

/// Holds the tables against the account. It reads indexes, not envelopes: what is found only there is found when they are read.
pub(crate) fn check(connection: &mut Connection) -> Result<(), Error> {
    let transaction = connection.transaction()?;
    let account = Account::load(&transaction)?;
    for (table, tally) in [("waiting", account.waiting), ("receipts", account.receipts), ("refused", account.refused)] {
        let sql = format!("SELECT count(*), coalesce(sum(number), 0), coalesce(max(number), 0) FROM {table}");
        let (count, numbers, newest) =
            transaction.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let found = Tally { count, bytes: tally.bytes, numbers };
        if found != tally || u64::max(newest, account.newest) != account.newest {
            return Err(Error::damaged("its tables are not what its account says"));
        }
    }
    Ok(())
}

/// The one number that a statement gives.
pub(crate) fn number(connection: &Connection, sql: &str) -> Result<u64, Error> {
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}
