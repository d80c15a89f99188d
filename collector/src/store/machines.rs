//! Machines that are enrolled, and challenges that were not answered yet.

use rusqlite::{OptionalExtension as _, params};

use super::{Error, Reader, Store};

/// Challenges that may be open at once: each costs a node a word, and us a row.
const PENDING_MAX: i64 = 10_000;

/// Machines of one name at most: nodes may share a SPIFFE ID, and one of them may enrol no end of them.
pub(super) const MACHINES_OF_ONE_MAX: i64 = 1000;

/// A machine, as it was enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Enrolled {
    /// The TPM's name for its attestation key.
    pub(crate) key: Vec<u8>,
    /// What it is called.
    pub(crate) name: String,
    /// The enrolment (JSON).
    pub(crate) machine: Vec<u8>,
}

impl Store {
    /// Keeps a challenge; those that are too old go. False if too many are open.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn challenge(
        &mut self,
        (id, peer): (&str, &str),
        pending: &[u8],
        now_s: u64,
        expires_s: u64,
    ) -> Result<bool, Error> {
        let transaction = self.connection.transaction()?;
        transaction.execute("DELETE FROM pending WHERE expires_s < ?1", [now_s.cast_signed()])?;
        // A node that asks again has lost its challenge.
        transaction.execute("DELETE FROM pending WHERE peer = ?1", [peer])?;
        let open: i64 = transaction.query_row("SELECT count(*) FROM pending", (), |row| row.get(0))?;
        if open >= PENDING_MAX {
            return Ok(false);
        }
        let insert = "INSERT INTO pending (id, peer, expires_s, pending) VALUES (?1, ?2, ?3, ?4)";
        transaction.execute(insert, params![id, peer, expires_s.cast_signed(), pending])?;
        transaction.commit()?;
        Ok(true)
    }

    /// Takes a challenge of this peer: it is answered once, whatever the answer is worth.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn take_challenge(&mut self, id: &str, peer: &str) -> Result<Option<Vec<u8>>, Error> {
        let take = "DELETE FROM pending WHERE id = ?1 AND peer = ?2 RETURNING pending";
        Ok(self.connection.query_row(take, params![id, peer], |row| row.get(0)).optional()?)
    }

    /// Keeps a machine, in place of what was known of its key.
    ///
    /// # Errors
    /// Of the database, or if too many have its name.
    pub(crate) fn enrol(&mut self, enrolled: &Enrolled, certified: bool, now_s: u64) -> Result<(), Error> {
        let others = "SELECT count(*) FROM machine WHERE name = ?1 AND key != ?2";
        let others: i64 = self.connection.query_row(others, params![enrolled.name, enrolled.key], |row| row.get(0))?;
        if others >= MACHINES_OF_ONE_MAX {
            return Err(Error::TooManyMachines);
        }
        // A key that is known under another name is somebody else's; one that was only believed is no reason to forget what was known.
        let known = "SELECT name FROM machine WHERE key = ?1";
        let known: Option<String> = self.connection.query_row(known, [&enrolled.key], |row| row.get(0)).optional()?;
        if known.is_some_and(|name| name != enrolled.name || !certified) {
            return Err(Error::KnownMachine);
        }
        let insert = "INSERT OR REPLACE INTO machine (key, name, enrolled_s, machine) VALUES (?1, ?2, ?3, ?4)";
        self.connection.execute(insert, params![enrolled.key, enrolled.name, now_s.cast_signed(), enrolled.machine])?;
        Ok(())
    }
}

impl Reader {
    /// All machines.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn machines(&self) -> Result<Vec<Enrolled>, Error> {
        let mut select = self.connection.prepare("SELECT key, name, machine FROM machine ORDER BY name, key")?;
        let read = |row: &rusqlite::Row<'_>| Ok(Enrolled { key: row.get(0)?, name: row.get(1)?, machine: row.get(2)? });
        Ok(select.query_map((), read)?.collect::<Result<_, _>>()?)
    }
}
