//! What the collector answered: a receipt, or that it will never take the item.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::item::{Kind, Refused};
use crate::limits::{CODE_BYTES_MAX, RECEIPT_BYTES_MAX, SAYS_BYTES_MAX};
use crate::queue::{Entry, FIELDS};
use crate::room::{Work, beside_bytes, pages};
use crate::row::{Check, Hash};
use crate::{Error, Spool};

impl Spool {
    /// The collector has the item: its envelope goes, and the receipt stays, in one. Once more for the same item changes nothing: the
    /// first receipt stays.
    ///
    /// An item that is dropped while the collector takes it is counted as dropped although it arrived; then no item of this number
    /// waits.
    pub fn acknowledge(&mut self, number: u64, receipt: &[u8], at_s: u64) -> Result<(), Error> {
        self.answered(number, receipt, at_s, |_| Ok(()))
    }

    /// The same, with whatever else is to hold if it does.
    pub(crate) fn answered(
        &mut self,
        number: u64,
        receipt: &[u8],
        at_s: u64,
        besides: impl FnOnce(&mut Work<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        Error::beyond("a receipt", receipt.len(), RECEIPT_BYTES_MAX)?;
        Error::beyond_time(at_s.max(number))?;
        self.write(at_s, |work| {
            work.acknowledge(number, receipt)?;
            besides(work)
        })
    }

    /// The collector will never take the item: it leaves the queue and is kept aside, with its envelope, for whoever looks into it.
    pub fn refuse(&mut self, number: u64, code: &str, says: &str, at_s: u64) -> Result<(), Error> {
        Error::beyond("a code", code.len(), CODE_BYTES_MAX)?;
        Error::beyond_time(at_s.max(number))?;
        let says = &says[..says.floor_char_boundary(SAYS_BYTES_MAX)];
        self.write(at_s, |work| work.refuse(number, code, says))
    }

    /// The receipt for a payload, as long as it is kept.
    pub fn receipt_of(&self, kind: Kind, sha256: &[u8; 32]) -> Result<Option<Vec<u8>>, Error> {
        self.read(|connection, account| {
            let filter = "sha256 = ? AND kind = ?";
            let sql = format!("SELECT number, kind, sha256, at_s, receipt, checksum FROM receipts WHERE {filter}");
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query(params![sha256, kind.name()])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let (number, at_s, receipt) = (row.get("number")?, row.get("at_s")?, row.get::<_, Vec<u8>>("receipt")?);
            let check = receipt_check(&account.spool, number, kind, sha256, at_s, &receipt);
            if row.get::<_, Hash>("checksum")? != check {
                return Err(Error::damaged("a receipt"));
            }
            Ok(Some(receipt))
        })
    }

    /// The refused items that are kept, in the order in which they were put.
    pub fn refused(&self) -> Result<Vec<Refused>, Error> {
        self.read(|connection, account| {
            let sql = format!("SELECT {FIELDS}, at_s, code, says, refusal_checksum FROM refused ORDER BY number");
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(refused(row, &account.spool)?);
            }
            Ok(found)
        })
    }

    /// The envelope of a refused item.
    pub fn refused_envelope(&self, number: u64) -> Result<Option<Vec<u8>>, Error> {
        Error::beyond_time(number)?;
        self.read(|connection, account| {
            let mut statement = connection.prepare(&format!("SELECT {FIELDS} FROM refused WHERE number = ?"))?;
            let mut rows = statement.query([number])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            Entry::read(row, &account.spool)?.envelope(connection).map(Some)
        })
    }
}

impl Work<'_> {
    fn acknowledge(&mut self, number: u64, receipt: &[u8]) -> Result<(), Error> {
        let Some(entry) = Entry::find(self.connection, &self.account.spool, number)? else {
            return has(self.connection, "receipts", number);
        };
        self.remove("waiting", number)?;
        self.remove("envelopes", number)?;
        self.account.waiting.take(number, entry.bytes)?;
        self.make_room_beside(pages(receipt.len() as u64))?;
        let check = receipt_check(&self.account.spool, number, entry.kind, &entry.sha256, self.now_s, receipt);
        self.connection.execute(
            "INSERT INTO receipts (number, kind, sha256, at_s, receipt, checksum) VALUES (?, ?, ?, ?, ?, ?)",
            params![number, entry.kind.name(), entry.sha256, self.now_s, receipt, check],
        )?;
        self.account.receipts.add(number, beside_bytes(receipt.len()));
        self.account.acknowledged_total += 1;
        self.trim()
    }

    fn refuse(&mut self, number: u64, code: &str, says: &str) -> Result<(), Error> {
        let Some(entry) = Entry::find(self.connection, &self.account.spool, number)? else {
            return has(self.connection, "refused", number);
        };
        let words = (code.len() + says.len()) as u64;
        self.make_room_beside(pages(words))?;
        let check = refusal_check(&self.account.spool, number, self.now_s, code, says);
        let sql = format!(
            "INSERT INTO refused ({FIELDS}, at_s, code, says, refusal_checksum)
             SELECT {FIELDS}, ?2, ?3, ?4, ?5 FROM waiting WHERE number = ?1"
        );
        self.connection.execute(&sql, params![number, self.now_s, code, says, check])?;
        self.remove("waiting", number)?;
        self.account.waiting.take(number, entry.bytes)?;
        self.account.refused.add(number, entry.bytes + beside_bytes(code.len() + says.len()));
        self.account.refused_total += 1;
        self.trim()
    }
}

/// Whether the same was said of the item before.
fn has(connection: &Connection, table: &str, number: u64) -> Result<(), Error> {
    let sql = format!("SELECT number FROM {table} WHERE number = ?");
    let found: Option<u64> = connection.query_row(&sql, [number], |row| row.get(0)).optional()?;
    found.map(|_| ()).ok_or(Error::NotWaiting(number))
}

fn refused(row: &Row<'_>, spool: &[u8; 16]) -> Result<Refused, Error> {
    let Entry { number, kind, sha256, name, evidence, made_s, .. } = Entry::read(row, spool)?;
    let (at_s, code, says) = (row.get("at_s")?, row.get::<_, String>("code")?, row.get::<_, String>("says")?);
    if row.get::<_, Hash>("refusal_checksum")? != refusal_check(spool, number, at_s, &code, &says) {
        return Err(Error::damaged("a refusal"));
    }
    let evidence = evidence.map(|path| OsString::from_vec(path).into());
    Ok(Refused { number, kind, name, sha256, evidence, made_s, at_s, code, says })
}

fn refusal_check(spool: &[u8; 16], number: u64, at_s: u64, code: &str, says: &str) -> Hash {
    let check = Check::of(spool, "refusal").number(number).number(at_s);
    check.bytes(code.as_bytes()).bytes(says.as_bytes()).end()
}

fn receipt_check(spool: &[u8; 16], number: u64, kind: Kind, sha256: &Hash, at_s: u64, receipt: &[u8]) -> Hash {
    let check = Check::of(spool, "receipt").number(number).bytes(kind.name().as_bytes()).bytes(sha256);
    check.number(at_s).bytes(receipt).end()
}
