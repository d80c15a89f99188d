//! Questions: each is answered from indexes, a page at a time, within a limit of time, by a connection of its own that holds up nobody who
//! writes.

mod cursor;
mod rows;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use attestation::{hex, merkle::Hash};
use rusqlite::{Connection, OptionalExtension as _, Row, types::Value};

pub(crate) use rows::{
    ChainRow, ContactRow, FileRow, GapRow, HostRow, ImageRow, Placed, StatementDetail, StatementRow, Totals,
};

use super::{Error, pages, schema};
use crate::{alerts::Alert, facts::ACCESS};
use cursor::Cursor;

/// Rows of a page at most, and where nobody says how many.
pub(crate) const LIMIT_MAX: u32 = 1000;
pub(crate) const LIMIT: u32 = 100;
/// How long one question may take.
const QUESTION_MAX: Duration = Duration::from_secs(2);
/// Steps of the database between two looks at the clock.
const STEPS: i32 = 1000;
/// Statements, the newest ones, that the share of complete ones is of.
const RECENT: u32 = 10_000;
/// Subjects and gaps of one statement that are told at most.
const OF_ONE_MAX: i64 = 1000;

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Digest of a subject.
    pub(crate) subject: Option<Hash>,
    pub(crate) host: Option<String>,
    /// Who signed or sent it.
    pub(crate) identity: Option<String>,
    pub(crate) session: Option<String>,
    /// Of an image, as it was named.
    pub(crate) image: Option<String>,
    pub(crate) from_s: Option<u64>,
    pub(crate) to_s: Option<u64>,
    pub(crate) complete: Option<bool>,
    /// A code.
    pub(crate) gap: Option<String>,
}

/// Where to begin, and how many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) cursor: Option<String>,
    pub(crate) limit: Option<u32>,
}

/// What cannot be asked so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Bad {
    /// The cursor.
    #[error("the cursor is none of this list: begin without one")]
    Cursor,
    /// The limit.
    #[error("limit is not from 1 to {LIMIT_MAX}")]
    Limit,
    /// An access.
    #[error("access is none of read, write, exec")]
    Access,
    /// The database.
    #[error(transparent)]
    Index(#[from] Error),
}

impl From<rusqlite::Error> for Bad {
    fn from(error: rusqlite::Error) -> Self {
        Self::Index(error.into())
    }
}

/// Rows, and where the next ones begin.
pub(crate) type Rows<T> = (Vec<T>, Option<String>);

/// The index, open for questions.
pub(crate) struct Reader {
    connection: Connection,
    /// When it was opened, and the milliseconds since then that what is asked now may last until.
    opened: Instant,
    until_ms: Arc<AtomicU64>,
}

impl Reader {
    /// Opens the index of a folder.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let (mut connection, opened, until_ms) = (schema::open_reader(folder)?, Instant::now(), Arc::default());
        let until = Arc::<AtomicU64>::clone(&until_ms);
        let late = move || opened.elapsed().as_millis() > until.load(Ordering::Relaxed).into();
        connection.progress_handler(STEPS, Some(late))?;
        Ok(Self { connection, opened, until_ms })
    }

    /// Whatever is asked from now on has so long.
    fn begin(&self) {
        let until = self.opened.elapsed().saturating_add(QUESTION_MAX).as_millis();
        self.until_ms.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A page: the rows of `select`, which has `{after}` where the cursor goes, in the order of `keys`, all falling or all growing.
    fn page<T>(
        &self,
        (select, keys, falling): (&str, &[&str], bool),
        mut values: Vec<Value>,
        page: &Page,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Rows<T>, Bad> {
        let limit = page.limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Bad::Limit);
        }
        let after = match &page.cursor {
            None => "1".to_owned(),
            Some(cursor) => {
                let cursor = Cursor::read(cursor).filter(|cursor| cursor.0.len() == keys.len()).ok_or(Bad::Cursor)?;
                let first = values.len() + 1;
                let marks: Vec<String> = (first..first + keys.len()).map(|number| format!("?{number}")).collect();
                values.extend(cursor.0);
                format!("({}) {} ({})", keys.join(", "), if falling { "<" } else { ">" }, marks.join(", "))
            }
        };
        let direction = if falling { " DESC" } else { "" };
        let order: Vec<String> = keys.iter().map(|key| format!("{key}{direction}")).collect();
        let columns = format!("SELECT {}, ", keys.join(", "));
        let select = select.replacen("SELECT ", &columns, 1).replace("{after}", &after);
        let select = format!("{select} ORDER BY {} LIMIT {}", order.join(", "), limit + 1);
        self.begin();
        let mut select = self.connection.prepare_cached(&select)?;
        let mut rows = select.query(rusqlite::params_from_iter(values))?;
        let (mut found, mut last) = (Vec::new(), None);
        while let Some(row) = rows.next()? {
            if found.len() == limit as usize {
                return Ok((found, last.map(|cursor: Cursor| cursor.write())));
            }
            found.push(read(row)?);
            last = Some(Cursor((0..keys.len()).map(|place| row.get(place)).collect::<Result<_, _>>()?));
        }
        Ok((found, None))
    }

    /// Statements, the newest first.
    ///
    /// # Errors
    /// What cannot be asked so, or of the database.
    pub(crate) fn statements(&self, filter: &Filter, page: &Page) -> Result<Rows<StatementRow>, Bad> {
        let (mut clauses, mut values) = (Vec::new(), Vec::new());
        let mut clause = |text: &str, value: Value| {
            values.push(value);
            clauses.push(text.replace('?', &format!("?{}", values.len())));
        };
        let text = |text: &String| Value::from(text.clone());
        if let Some(sha256) = &filter.subject {
            clause("place IN (SELECT place FROM subject WHERE sha256 = ?)", sha256.to_vec().into());
        }
        if let Some(id) = &filter.identity {
            clause("place IN (SELECT place FROM identity WHERE id = ?)", text(id));
        }
        if let Some(code) = &filter.gap {
            clause("place IN (SELECT place FROM gap WHERE code = ?)", text(code));
        }
        for (column, value) in [("host", &filter.host), ("session", &filter.session), ("image", &filter.image)] {
            if let Some(value) = value {
                clause(&format!("{column} = ?"), text(value));
            }
        }
        let number = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
        if let Some(from) = filter.from_s {
            clause("received_s >= ?", number(from));
        }
        if let Some(to) = filter.to_s {
            clause("received_s < ?", number(to));
        }
        // As a constant: the index of incomplete ones is partial.
        clauses.extend(filter.complete.map(|complete| format!("complete = {}", u8::from(complete))));
        clauses.push("{after}".to_owned());
        let select = format!("SELECT {} FROM statement WHERE {}", rows::STATEMENT, clauses.join(" AND "));
        self.page((&select, &["place"], true), values, page, |row| StatementRow::read(row, 1))
    }

    /// One statement, by its payload; the one that came first.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn statement(&self, payload_sha256: &Hash) -> Result<Option<StatementDetail>, Error> {
        self.begin();
        let select =
            format!("SELECT {} FROM statement WHERE payload_sha256 = ?1 ORDER BY place LIMIT 1", rows::STATEMENT);
        let found =
            self.connection.query_row(&select, [payload_sha256], |row| StatementRow::read(row, 0)).optional()?;
        let Some(statement) = found else { return Ok(None) };
        let at = [statement.place.cast_signed(), OF_ONE_MAX];
        let mut select = self
            .connection
            .prepare_cached("SELECT name, sha256 FROM subject WHERE place = ?1 ORDER BY name LIMIT ?2")?;
        let subjects = select.query_map(at, rows::Subject::read)?.collect::<Result<_, _>>()?;
        let gaps = "SELECT code, detail, count, ends FROM gap WHERE place = ?1 ORDER BY code, detail LIMIT ?2";
        let mut select = self.connection.prepare_cached(gaps)?;
        let gaps = select.query_map(at, rows::Gap::read)?.collect::<Result<_, _>>()?;
        Ok(Some(StatementDetail { statement, subjects, gaps }))
    }

    /// Who read, wrote or ran what has this digest.
    ///
    /// # Errors
    /// What cannot be asked so, or of the database.
    pub(crate) fn files(&self, sha256: &Hash, access: Option<&str>, page: &Page) -> Result<Rows<FileRow>, Bad> {
        let mut values = vec![Value::from(sha256.to_vec())];
        let mut clause = "";
        if let Some(access) = access {
            let bit = ACCESS.iter().take(3).position(|word| *word == access).ok_or(Bad::Access)?;
            values.push(Value::from(1_i64 << bit));
            clause = "AND file.access & ?2 != 0";
        }
        let select = format!(
            "SELECT {}, path.path, file.access, file.class FROM file JOIN statement ON statement.place = file.place \
             JOIN path ON path.id = file.path WHERE file.sha256 = ?1 {clause} AND {{after}}",
            rows::PLACED
        );
        let keys = ["file.place", "file.path", "file.access", "file.class"];
        self.page((&select, &keys, true), values, page, |row| FileRow::read(row, keys.len()))
    }

    /// Who talked to a peer: an address, or a name as it was asked for.
    ///
    /// # Errors
    /// What cannot be asked so, or of the database.
    pub(crate) fn contacts(&self, peer: &str, page: &Page) -> Result<Rows<ContactRow>, Bad> {
        let address = peer.parse::<std::net::IpAddr>().map(|address| address.to_string());
        let peer = address.unwrap_or_else(|_| crate::facts::name(peer));
        let select = format!(
            "SELECT {}, contact.peer, contact.address, contact.port, contact.protocol, contact.direction, contact.operation, \
             contact.count, contact.sent, contact.received FROM contact JOIN statement ON statement.place = contact.place \
             WHERE contact.peer = ?1 AND {{after}}",
            rows::PLACED
        );
        let keys = [
            "contact.place",
            "contact.address",
            "contact.port",
            "contact.protocol",
            "contact.direction",
            "contact.operation",
        ];
        self.page((&select, &keys, true), vec![peer.into()], page, |row| ContactRow::read(row, keys.len()))
    }

    /// Images that containers ran.
    ///
    /// # Errors
    /// What cannot be asked so, or of the database.
    pub(crate) fn images(&self, page: &Page) -> Result<Rows<ImageRow>, Bad> {
        // As one column, which is never null: so pages have a place to go on from.
        let select = "SELECT image, image_sha256, statements, hosts, last_s FROM (SELECT image, coalesce(image_sha256, x'') AS image_sha256, \
                      count(*) AS statements, count(DISTINCT host) AS hosts, max(received_s) AS last_s FROM statement \
                      WHERE image IS NOT NULL GROUP BY image, image_sha256) WHERE {after}";
        self.page((select, &["image", "image_sha256"], false), Vec::new(), page, |row| ImageRow::read(row, 2))
    }

    /// What is missing in statements, each with the statement, the newest first.
    ///
    /// # Errors
    /// What cannot be asked so, or of the database.
    pub(crate) fn gaps(&self, host: Option<&str>, code: Option<&str>, page: &Page) -> Result<Rows<GapRow>, Bad> {
        let mut values = Vec::new();
        let mut clauses = String::new();
        for (column, value) in [("statement.host", host), ("gap.code", code)] {
            if let Some(value) = value {
                values.push(Value::from(value.to_owned()));
                clauses.push_str(&format!("{column} = ?{} AND ", values.len()));
            }
        }
        // Without a code: of those that end completeness.
        let ends = if code.is_none() { "gap.ends = 1 AND" } else { "" };
        let select = format!(
            "SELECT {}, gap.code, gap.detail, gap.count, gap.ends FROM gap JOIN statement ON statement.place = gap.place \
             WHERE {clauses} {ends} {{after}}",
            rows::PLACED
        );
        let keys = ["gap.place", "gap.code", "gap.detail"];
        self.page((&select, &keys, true), values, page, |row| GapRow::read(row, keys.len()))
    }

    /// Chains; only those that lack something or contradict themselves, if so asked.
    ///
    /// # Errors
    /// What cannot be asked so, or of the database.
    pub(crate) fn chains(&self, broken: bool, page: &Page) -> Result<Rows<ChainRow>, Bad> {
        let only =
            "(EXISTS (SELECT 1 FROM missing WHERE chain = id) OR EXISTS (SELECT 1 FROM fork WHERE chain = id)) AND";
        let only = if broken { only } else { "" };
        let select = format!("SELECT signer, host, boot, statements, first, last FROM chain WHERE {only} {{after}}");
        let found = self.page((&select, &["id"], false), Vec::new(), page, |row| {
            Ok((row.get::<_, i64>(0)?, ChainRow::read(row, 1)?))
        });
        let (found, next) = found?;
        let numbers = "SELECT first, last FROM missing WHERE chain = ?1 ORDER BY last LIMIT ?2";
        let mut missing = self.connection.prepare_cached(numbers)?;
        let mut forks = self
            .connection
            .prepare_cached("SELECT number, number FROM fork WHERE chain = ?1 ORDER BY number LIMIT ?2")?;
        let pair = |row: &Row<'_>| Ok([row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned()]);
        let mut chains = Vec::with_capacity(found.len());
        for (id, mut chain) in found {
            chain.missing = missing.query_map([id, OF_ONE_MAX], pair)?.collect::<Result<_, _>>()?;
            let forks = forks.query_map([id, OF_ONE_MAX], pair)?.collect::<Result<Vec<_>, _>>()?;
            chain.contradicts = forks.into_iter().map(|[number, _]| number).collect();
            chains.push(chain);
        }
        Ok((chains, next))
    }

    /// Hosts, with when they were last heard of; only those not since a time, if one is given.
    ///
    /// # Errors
    /// What cannot be asked so, or of the database.
    pub(crate) fn hosts(&self, silent_before_s: Option<u64>, page: &Page) -> Result<Rows<HostRow>, Bad> {
        let before = i64::try_from(silent_before_s.unwrap_or(u64::MAX)).unwrap_or(i64::MAX);
        let select = "SELECT host, heard_s, statements, incomplete FROM host WHERE heard_s < ?1 AND {after}";
        self.page((select, &["host"], false), vec![before.into()], page, |row| HostRow::read(row, 1))
    }

    /// Alerts that were made, the newest first, as far as they are kept.
    ///
    /// # Errors
    /// What cannot be asked so, or of the database.
    pub(crate) fn alerts(&self, page: &Page) -> Result<Rows<Alert>, Bad> {
        self.page(("SELECT alert FROM alert WHERE {after}", &["id"], true), Vec::new(), page, |row| {
            Ok(serde_json::from_str(&row.get::<_, String>(1)?).unwrap_or_default())
        })
    }

    /// What is counted of all of it.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn totals(&self, silent_before_s: Option<u64>) -> Result<Totals, Error> {
        self.begin();
        let count = |sql: &str| {
            let count = self.connection.prepare_cached(sql)?.query_row((), |row| row.get::<_, i64>(0))?;
            Ok::<_, Error>(count.cast_unsigned())
        };
        let silent = i64::try_from(silent_before_s.unwrap_or(0)).unwrap_or(i64::MAX);
        let silent = format!("SELECT count(*) FROM host WHERE heard_s < {silent}");
        let newest = format!("(SELECT complete FROM statement ORDER BY place DESC LIMIT {RECENT})");
        Ok(Totals {
            recent: count(&format!("SELECT count(*) FROM {newest}"))?,
            recent_complete: count(&format!("SELECT coalesce(sum(complete), 0) FROM {newest}"))?,
            chains: count("SELECT count(*) FROM chain")?,
            chains_with_gaps: count("SELECT count(DISTINCT chain) FROM missing")?,
            chains_forked: count("SELECT count(DISTINCT chain) FROM fork")?,
            hosts: count("SELECT count(*) FROM host")?,
            hosts_silent: count(&silent)?,
            indexed: count("SELECT coalesce(max(place) + 1, 0) FROM statement")?,
            bytes: pages(&self.connection)?,
        })
    }
}

#[cfg(test)]
impl Reader {
    /// Whatever is asked now has no time left.
    pub(super) fn end_now(&self) {
        std::thread::sleep(Duration::from_millis(2));
        self.until_ms.store(0, Ordering::Relaxed);
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

fn digest(row: &Row<'_>, place: usize) -> rusqlite::Result<String> {
    row.get::<_, Vec<u8>>(place).map(|bytes| hex::encode(&bytes))
}
