//! The queue itself: what comes in, and what waits, in order.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use crate::account::Account;
use crate::item::{Held, Item, Kind};
use crate::limits::{EVIDENCE_BYTES_MAX, Limits, NAME_BYTES_MAX, RESERVE_PAGES};
use crate::losses::Dropped;
use crate::place::Place;
use crate::room::{Work, pages};
use crate::row::{Check, Hash, digest};
use crate::{Error, database};

/// What an item takes at least where items are collected, so that empty ones have an end too.
const HELD_BYTES_MIN: u64 = 256;

/// An open queue. Other processes, and other threads with a [`Spool`] of their own, may have it open too.
pub struct Spool {
    connection: Connection,
    place: Place,
    limits: Limits,
}

impl Spool {
    /// Opens the queue in a folder, and makes both if they are not there. What the folder lies in must be there, and the folder and
    /// what is in it must be the user's and no one else's.
    ///
    /// The tables are held against their account; envelopes are checked when they are read.
    pub fn open(folder: &Path, limits: Limits) -> Result<Self, Error> {
        limits.check()?;
        let (place, opening) = Place::take(folder)?;
        let opened = database::open(&place).and_then(|mut connection| {
            database::check(&mut connection)?;
            Ok(connection)
        });
        let connection = opened.map_err(|error| place.explain(error))?;
        // Only now SQLite has opened all that it opens by name.
        place.check()?;
        drop(opening);
        Ok(Self { connection, place, limits })
    }

    /// Puts an item at the end. Once this has answered, it is on the disk. The answer is its number; if the item was put before, and
    /// is not forgotten, the number that it got then, and the first envelope stays.
    pub fn put(&mut self, item: &Item<'_>, now_s: u64) -> Result<u64, Error> {
        self.put_if(item, None, now_s)
    }

    /// Puts an item that says what was dropped: both come to be, or neither. So no count is said by a statement that never got into
    /// the queue, and none is said again after one that did.
    pub fn put_saying(&mut self, item: &Item<'_>, says: &Dropped, now_s: u64) -> Result<u64, Error> {
        self.put_if(item, Some(says), now_s)
    }

    fn put_if(&mut self, item: &Item<'_>, says: Option<&Dropped>, now_s: u64) -> Result<u64, Error> {
        Error::beyond("a name", item.name.len(), NAME_BYTES_MAX)?;
        Error::beyond("the path to the evidence", evidence(item).map_or(0, <[u8]>::len), EVIDENCE_BYTES_MAX)?;
        Error::beyond_time(item.made_s.max(now_s))?;
        // What stays out is counted, so the transaction is one that holds.
        self.write(now_s, |work| {
            let number = work.put(item)?;
            if let (Ok(_), Some(says)) = (&number, says) {
                work.settle(says)?;
            }
            Ok(number)
        })?
    }

    /// Bytes of an envelope that are taken at most.
    #[must_use]
    pub fn item_bytes_max(&self) -> u64 {
        self.limits.item_bytes_max()
    }

    /// How many items may wait at most.
    #[must_use]
    pub fn items_max(&self) -> u64 {
        self.limits.items_max
    }

    /// What waits after a number, in order, as many as have room in so many bytes, but one at least. Nothing is removed.
    pub fn waiting(&self, after: u64, bytes_max: u64) -> Result<Vec<Held>, Error> {
        self.waiting_at(after, i64::MAX.cast_unsigned(), bytes_max)
    }

    /// The same without those that were put off until later.
    pub fn waiting_at(&self, after: u64, now_s: u64, bytes_max: u64) -> Result<Vec<Held>, Error> {
        Error::beyond_time(after.max(now_s))?;
        self.read(|connection, account| {
            let now = "(again_s IS NULL OR again_s <= ?2)";
            let sql = format!("SELECT {FIELDS} FROM waiting WHERE number > ?1 AND {now} ORDER BY number");
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query([after, now_s])?;
            let (mut found, mut bytes, mut last) = (Vec::new(), 0, after);
            while let Some(row) = rows.next()? {
                let entry = Entry::read(row, &account.spool)?;
                if entry.number <= last {
                    return Err(Error::damaged("its order"));
                }
                last = entry.number;
                bytes += entry.bytes.max(HELD_BYTES_MIN);
                if bytes > bytes_max && !found.is_empty() {
                    break;
                }
                let envelope = entry.envelope(connection)?;
                found.push(entry.held(envelope));
            }
            Ok(found)
        })
    }

    /// Runs an act that writes. All of it holds, or nothing does.
    pub(crate) fn write<T>(
        &mut self,
        now_s: u64,
        act: impl FnOnce(&mut Work<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.place.check()?;
        let (place, limits) = (&self.place, &self.limits);
        let connection = &mut self.connection;
        let write = move || {
            // Immediate: what is read first is still so when it is written.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let account = Account::load(&transaction)?;
            let mut work = Work { account, connection: &transaction, limits, now_s };
            let made = act(&mut work)?;
            // Even if nothing changed: what was found may be of a process that was killed before the disk had it, and what is said
            // of it is said once this transaction has brought both there.
            work.account.store(&transaction)?;
            transaction.commit()?;
            Ok(made)
        };
        write().map_err(|error| place.explain(error))
    }

    /// Runs an act that reads, all of it as of one moment.
    pub(crate) fn read<T>(&self, act: impl FnOnce(&Connection, Account) -> Result<T, Error>) -> Result<T, Error> {
        self.place.check()?;
        let read = || {
            let transaction = self.connection.unchecked_transaction()?;
            let account = Account::load(&transaction)?;
            act(&transaction, account)
        };
        read().map_err(|error| self.place.explain(error))
    }

    /// Acts on the database outside of a transaction of ours.
    pub(crate) fn maintain(&self, act: impl FnOnce(&Connection) -> Result<(), Error>) -> Result<(), Error> {
        self.place.check()?;
        act(&self.connection).map_err(|error| self.place.explain(error))
    }
}

impl Work<'_> {
    /// The inner error is one that is counted.
    fn put(&mut self, item: &Item<'_>) -> Result<Result<u64, Error>, Error> {
        if let Some(number) = self.known(item)? {
            return Ok(Ok(number));
        }
        self.drop_old()?;
        if item.made_s < self.oldest_s() {
            self.turn_away(|counts| &mut counts.old);
            return Ok(Err(Error::Old));
        }
        let (bytes, bytes_max) = (item.envelope.len() as u64, self.limits.item_bytes_max());
        if bytes > bytes_max {
            self.turn_away(|counts| &mut counts.full);
            return Ok(Err(Error::TooLarge { bytes, bytes_max }));
        }
        let entry = Entry::of(item, self.account.newest + 1);
        if !self.make_place()? || !self.make_room_for_item(pages(entry.bytes) + RESERVE_PAGES)? {
            self.turn_away(|counts| &mut counts.full);
            return Ok(Err(Error::Full));
        }
        entry.insert(self.connection, &self.account.spool)?;
        self.connection
            .execute("INSERT INTO envelopes (number, envelope) VALUES (?, ?)", params![entry.number, item.envelope])?;
        self.account.newest = entry.number;
        self.account.waiting.add(entry.number, entry.bytes);
        Ok(Ok(entry.number))
    }

    /// The number of an item that was put before: it waits, or what became of it is still known.
    fn known(&self, item: &Item<'_>) -> Result<Option<u64>, Error> {
        for table in ["waiting", "receipts", "refused"] {
            let sql = format!("SELECT number FROM {table} WHERE sha256 = ? AND kind = ?");
            let found = self.connection.query_row(&sql, params![item.sha256, item.kind.name()], |row| row.get(0));
            if let Some(number) = found.optional()? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }
}

/// What is known of an item, without its envelope.
pub(crate) struct Entry {
    pub number: u64,
    pub kind: Kind,
    pub sha256: Hash,
    pub name: String,
    pub evidence: Option<Vec<u8>>,
    pub made_s: u64,
    /// Of the envelope, the name and the path.
    pub bytes: u64,
    pub envelope_sha256: Hash,
}

/// The columns of an [`Entry`].
pub(crate) const FIELDS: &str = "number, kind, sha256, name, evidence, made_s, bytes, envelope_sha256, checksum";

fn evidence<'a>(item: &Item<'a>) -> Option<&'a [u8]> {
    item.evidence.map(|path| path.as_os_str().as_bytes())
}

impl Entry {
    fn of(item: &Item<'_>, number: u64) -> Self {
        let evidence = evidence(item);
        Self {
            number,
            kind: item.kind,
            sha256: item.sha256,
            name: item.name.to_owned(),
            evidence: evidence.map(<[u8]>::to_vec),
            made_s: item.made_s,
            bytes: (item.envelope.len() + item.name.len() + evidence.map_or(0, <[u8]>::len)) as u64,
            envelope_sha256: digest(item.envelope),
        }
    }

    /// One that waits.
    pub fn find(connection: &Connection, spool: &[u8; 16], number: u64) -> Result<Option<Self>, Error> {
        let mut statement = connection.prepare(&format!("SELECT {FIELDS} FROM waiting WHERE number = ?"))?;
        let mut rows = statement.query([number])?;
        rows.next()?.map(|row| Self::read(row, spool)).transpose()
    }

    pub fn read(row: &Row<'_>, spool: &[u8; 16]) -> Result<Self, Error> {
        let entry = Self {
            number: row.get("number")?,
            kind: kind(row)?,
            sha256: row.get("sha256")?,
            name: row.get("name")?,
            evidence: row.get("evidence")?,
            made_s: row.get("made_s")?,
            bytes: row.get("bytes")?,
            envelope_sha256: row.get("envelope_sha256")?,
        };
        if row.get::<_, Hash>("checksum")? != entry.check(spool) {
            return Err(Error::damaged("an item"));
        }
        Ok(entry)
    }

    fn insert(&self, connection: &Connection, spool: &[u8; 16]) -> Result<(), Error> {
        let sql = format!("INSERT INTO waiting ({FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
        let Self { number, sha256, name, evidence, made_s, bytes, envelope_sha256, .. } = self;
        let kind = self.kind.name();
        let fields = params![number, kind, sha256, name, evidence, made_s, bytes, envelope_sha256, self.check(spool)];
        connection.execute(&sql, fields)?;
        Ok(())
    }

    /// The envelope, if it is the one that was put.
    pub fn envelope(&self, connection: &Connection) -> Result<Vec<u8>, Error> {
        let sql = "SELECT envelope FROM envelopes WHERE number = ?";
        let envelope: Vec<u8> = connection.query_row(sql, [self.number], |row| row.get(0))?;
        if digest(&envelope) != self.envelope_sha256 {
            return Err(Error::damaged("an envelope"));
        }
        Ok(envelope)
    }

    pub fn held(self, envelope: Vec<u8>) -> Held {
        let Self { number, kind, name, sha256, made_s, .. } = self;
        let evidence = self.evidence.map(|path| OsString::from_vec(path).into());
        Held { number, kind, name, sha256, envelope, evidence, made_s }
    }

    fn check(&self, spool: &[u8; 16]) -> Hash {
        Check::of(spool, "item")
            .number(self.number)
            .bytes(self.kind.name().as_bytes())
            .bytes(&self.sha256)
            .bytes(self.name.as_bytes())
            .optional(self.evidence.as_deref())
            .number(self.made_s)
            .number(self.bytes)
            .bytes(&self.envelope_sha256)
            .end()
    }
}

fn kind(row: &Row<'_>) -> Result<Kind, Error> {
    Kind::of(row.get_ref("kind")?.as_str().unwrap_or_default()).ok_or_else(|| Error::damaged("the kind of an item"))
}
