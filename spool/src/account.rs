//! The one row that says what the tables must hold and what became of everything that ever was in them.

use rusqlite::{Connection, Row, ToSql, params_from_iter};

use crate::Error;
use crate::row::{Check, Hash};

/// How many items were dropped, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// There was no room: waiting items that went for new ones, and new ones that stayed out.
    pub full: u64,
    /// They became too old.
    pub old: u64,
    /// The collector had refused them, and there was no room to keep them longer.
    pub refused: u64,
}

impl Counts {
    /// All.
    pub fn sum(self) -> u64 {
        self.full + self.old + self.refused
    }

    pub(crate) fn less(self, other: Self) -> Option<Self> {
        Some(Self {
            full: self.full.checked_sub(other.full)?,
            old: self.old.checked_sub(other.old)?,
            refused: self.refused.checked_sub(other.refused)?,
        })
    }

    pub(crate) fn or_more(self, other: Self) -> Self {
        let Self { full, old, refused } = other;
        Self { full: self.full.max(full), old: self.old.max(old), refused: self.refused.max(refused) }
    }
}

/// What a table holds. The sum of its rows' numbers finds a row that came back in place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub count: u64,
    pub bytes: u64,
    pub numbers: u64,
}

impl Tally {
    pub fn add(&mut self, number: u64, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
        self.numbers += number;
    }

    pub fn take(&mut self, number: u64, bytes: u64) -> Result<(), Error> {
        let less = |from: u64, what: u64| from.checked_sub(what).ok_or_else(|| Error::damaged("its account"));
        (self.count, self.bytes) = (less(self.count, 1)?, less(self.bytes, bytes)?);
        self.numbers = less(self.numbers, number)?;
        Ok(())
    }
}

const COLUMNS: [&str; 19] = [
    "newest",
    "waiting",
    "waiting_bytes",
    "waiting_numbers",
    "receipts",
    "receipts_bytes",
    "receipts_numbers",
    "refused",
    "refused_bytes",
    "refused_numbers",
    "acknowledged_total",
    "refused_total",
    "dropped_full",
    "dropped_old",
    "dropped_refused",
    "settled_full",
    "settled_old",
    "settled_refused",
    "turned_away",
];

/// As of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Account {
    /// Which spool this is: random.
    pub spool: [u8; 16],
    /// The last number that was given.
    pub newest: u64,
    pub waiting: Tally,
    pub receipts: Tally,
    /// Those that are kept.
    pub refused: Tally,
    pub acknowledged_total: u64,
    pub refused_total: u64,
    pub dropped: Counts,
    /// That much of it was said in statements.
    pub settled: Counts,
    /// That many of the dropped ones never had a number.
    pub turned_away: u64,
    /// When the first and the last of those were dropped that no statement says.
    pub dropped_s: Option<(u64, u64)>,
}

impl Account {
    pub fn load(connection: &Connection) -> Result<Self, Error> {
        let sql = format!("SELECT spool, checksum, first_s, last_s, {} FROM account WHERE id = 1", COLUMNS.join(", "));
        let (account, found) = connection.query_row(&sql, [], Self::read)?;
        if account.check() != found || !account.is_sound() {
            return Err(Error::damaged("its account"));
        }
        Ok(account)
    }

    /// Every number that was given is that of an item that waits, was acknowledged, was refused, or was dropped while it waited.
    fn is_sound(&self) -> bool {
        let waited = (self.dropped.full + self.dropped.old).checked_sub(self.turned_away);
        let known = waited.map(|waited| waited + self.waiting.count + self.acknowledged_total + self.refused_total);
        known == Some(self.newest) && self.dropped.less(self.settled).is_some()
    }

    pub fn store(&self, connection: &Connection) -> Result<(), Error> {
        debug_assert!(self.is_sound(), "{self:?}");
        let holes = vec!["?"; COLUMNS.len()].join(", ");
        let names = COLUMNS.join(", ");
        let sql = format!(
            "INSERT OR REPLACE INTO account (id, spool, checksum, first_s, last_s, {names}) VALUES (1, ?, ?, ?, ?, {holes})"
        );
        let (check, values) = (self.check(), self.values());
        let (first_s, last_s) = self.dropped_s.unzip();
        let mut fields: Vec<&dyn ToSql> = vec![&self.spool, &check, &first_s, &last_s];
        fields.extend(values.iter().map(|value| value as &dyn ToSql));
        connection.execute(&sql, params_from_iter(fields))?;
        Ok(())
    }

    /// Counts what goes, with the time.
    pub fn drop_at(&mut self, now_s: u64, count: impl FnOnce(&mut Counts) -> &mut u64) {
        *count(&mut self.dropped) += 1;
        let (first_s, last_s) = self.dropped_s.unwrap_or((now_s, now_s));
        self.dropped_s = Some((first_s.min(now_s), last_s.max(now_s)));
    }

    fn values(&self) -> [u64; COLUMNS.len()] {
        let Self { waiting, receipts, refused, dropped, settled, .. } = self;
        [
            self.newest,
            waiting.count,
            waiting.bytes,
            waiting.numbers,
            receipts.count,
            receipts.bytes,
            receipts.numbers,
            refused.count,
            refused.bytes,
            refused.numbers,
            self.acknowledged_total,
            self.refused_total,
            dropped.full,
            dropped.old,
            dropped.refused,
            settled.full,
            settled.old,
            settled.refused,
            self.turned_away,
        ]
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<(Self, Hash)> {
        let mut values = [0; COLUMNS.len()];
        for (value, name) in values.iter_mut().zip(COLUMNS) {
            *value = row.get(name)?;
        }
        let tally = |at: usize| Tally { count: values[at], bytes: values[at + 1], numbers: values[at + 2] };
        let counts = |at: usize| Counts { full: values[at], old: values[at + 1], refused: values[at + 2] };
        let first_s: Option<u64> = row.get("first_s")?;
        let account = Self {
            spool: row.get("spool")?,
            newest: values[0],
            waiting: tally(1),
            receipts: tally(4),
            refused: tally(7),
            acknowledged_total: values[10],
            refused_total: values[11],
            dropped: counts(12),
            settled: counts(15),
            turned_away: values[18],
            dropped_s: first_s.zip(row.get("last_s")?),
        };
        Ok((account, row.get("checksum")?))
    }

    fn check(&self) -> Hash {
        let check = self.values().into_iter().fold(Check::of(&self.spool, "account"), Check::number);
        let (first_s, last_s) = self.dropped_s.unzip();
        let time = |time: Option<u64>| time.map(u64::to_be_bytes);
        check
            .optional(time(first_s).as_ref().map(|time| &time[..]))
            .optional(time(last_s).as_ref().map(|time| &time[..]))
            .end()
    }
}
