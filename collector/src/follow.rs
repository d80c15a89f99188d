//! The thread that follows the store: what is kept gets into the index, and what somebody should know of becomes an alert. It is behind by
//! less than a second, and in nobody's way: if it cannot go on, receiving does.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
use attestation::{codes, hex};
use rusqlite::{Connection, params};

use crate::{
    alerts::{self, Alert, Pending, Periods},
    clock,
    counts::Counts,
    facts::Facts,
    index::{Error, Index},
    quiet,
    store::{self, Kept},
};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Statements of one transaction, and bytes of their envelopes, after which none is added.
const BATCH_MAX: usize = 64;
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How long what is missing in a chain may be on its way.
const LATE_MAX_S: u64 = 5;
/// Gaps and hosts that are looked at in one go.
const LOOKED_AT_MAX: i64 = 1000;
/// How long what was told of a gap or a silence is remembered.
const TOLD_MAX_S: u64 = 400 * 86_400;

/// What it does beside the index.
pub(crate) struct Following {
    pub(crate) pending: Arc<Pending>,
    pub(crate) metrics: Arc<Counts>,
    pub(crate) periods: Periods,
    pub(crate) silent_after_s: Option<u64>,
    pub(crate) unverified_images: bool,
}

/// The thread, which ends when it is dropped, once it has noted what happened.
pub(crate) struct Follower {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts it.
///
/// # Errors
/// Why the index cannot be used.
pub(crate) fn start(folder: &Path, following: Following) -> anyhow::Result<Follower> {
    let index = Index::open(folder).with_context(|| folder.display().to_string())?;
    let store = store::Reader::open(folder)?;
    // What was kept before there were alerts is no news; of a store that was set back, what comes anew is.
    let newest = store.newest()?;
    if alerts::next_place(&index.connection)?.is_none_or(|next| next > newest) {
        alerts::set_next_place(&index.connection, newest)?;
    }
    if alerts::ended_badly(&index.connection)? {
        let says = "the collector was not stopped, it ended: what it refused in its last second may not have been told";
        following.pending.add(Alert {
            code: codes::COLLECTOR_KILLED.to_owned(),
            says: says.to_owned(),
            ..Alert::default()
        });
    }
    alerts::mark_running(&index.connection)?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut thread =
        Thread { index, store, following, folder: folder.to_owned(), stop: Arc::clone(&stop), looked_s: 0 };
    let thread = thread::Builder::new().name("follow".to_owned()).spawn(move || thread.run())?;
    Ok(Follower { stop, thread: Some(thread) })
}

struct Thread {
    index: Index,
    store: store::Reader,
    following: Following,
    folder: PathBuf,
    stop: Arc<AtomicBool>,
    /// When it was last looked at what did not come.
    looked_s: u64,
}

impl Thread {
    fn run(&mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            match self.step() {
                Ok(true) => {}
                Ok(false) => thread::sleep(LOOK_EVERY),
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    quiet::say(quiet::Kind::Fault, || format!("the index cannot follow the store: {error:#}"));
                    thread::sleep(Duration::from_secs(1));
                }
            }
        }
        let noted = self.note(clock::now()).and_then(|()| alerts::mark_stopped(&self.index.connection));
        if let Err(error) = noted {
            let folder = self.folder.display();
            quiet::say(quiet::Kind::Fault, || format!("{folder}: what happened last was not noted: {error}"));
        }
    }

    /// Whether there is more to do at once.
    fn step(&mut self) -> Result<bool, Error> {
        let (more, now) = (self.follow()?, clock::now());
        if now != self.looked_s {
            self.note(now)?;
            self.looked_s = now;
        }
        Ok(more)
    }

    /// Adds what was kept since.
    fn follow(&mut self) -> Result<bool, Error> {
        let mut batch = Vec::new();
        let next = self.index.next()?;
        self.store
            .some(next, BATCH_MAX, BATCH_BYTES_MAX, |place, kept, envelope| batch.push((place, kept, envelope)))?;
        if batch.is_empty() {
            return Ok(false);
        }
        let read: Vec<_> = batch.into_iter().map(|statement| read(statement, &self.following.pending)).collect();
        let looked_at = alerts::next_place(&self.index.connection)?.unwrap_or(0);
        let (following, now) = (&self.following, clock::now());
        let transaction = self.index.connection.transaction()?;
        let (mut told, mut all) = (Vec::new(), Vec::new());
        for (place, kept, facts) in read {
            let added = Index::add(&transaction, place, kept, facts)?;
            if place >= looked_at {
                for alert in alerts::of_statement(&added, following.unverified_images) {
                    happened(&transaction, following, alert, now, &mut told)?;
                }
                alerts::set_next_place(&transaction, place + 1)?;
            }
            all.push(added);
        }
        transaction.commit()?;
        told.iter().for_each(|code| following.metrics.alert(code));
        // What is made again was counted before, by this collector or by another.
        all.iter().filter(|added| added.place >= looked_at).for_each(|added| following.metrics.indexed(added));
        Ok(true)
    }

    /// Makes alerts of what happened elsewhere, of what did not come, and of periods that are over.
    fn note(&mut self, now: u64) -> Result<(), Error> {
        let following = &self.following;
        let transaction = self.index.connection.transaction()?;
        let mut told = Vec::new();
        let taken = following.pending.take();
        let noted = elsewhere(&transaction, following, &taken, now, &mut told);
        let noted = noted.and_then(|()| Ok(transaction.commit()?));
        if noted.is_err() {
            // Whatever cannot be written now is not forgotten.
            taken.into_iter().for_each(|alert| following.pending.add(alert));
        }
        noted?;
        told.iter().for_each(|code| following.metrics.alert(code));
        Ok(())
    }
}

/// What was verified when it came can be read, unless the store was damaged since: that is told, and the others go on.
fn read((place, kept, envelope): (u64, Kept, Vec<u8>), pending: &Pending) -> (u64, Kept, Facts) {
    let facts = Facts::of(&envelope, &kept.payload_sha256).unwrap_or_else(|source| {
        let payload = hex::encode(&kept.payload_sha256);
        let error = anyhow::Error::from(Error::Statement { place, source });
        quiet::say(quiet::Kind::Fault, || format!("{error:#} (payload {payload})"));
        let says = format!("statement {place} cannot be read again: the store is damaged");
        let code = codes::STATEMENT_MALFORMED.to_owned();
        pending.add(Alert { code, says, payload_sha256: Some(payload), ..Alert::default() });
        Facts { cut: true, ..Facts::default() }
    });
    (place, kept, facts)
}

fn happened(
    connection: &Connection,
    following: &Following,
    alert: Alert,
    now: u64,
    told: &mut Vec<String>,
) -> Result<(), Error> {
    let code = alert.code.clone();
    if following.periods.happened(connection, alert, now)? {
        told.push(code);
    }
    Ok(())
}

fn elsewhere(
    connection: &Connection,
    following: &Following,
    taken: &[Alert],
    now: u64,
    told: &mut Vec<String>,
) -> Result<(), Error> {
    for alert in taken {
        happened(connection, following, alert.clone(), now, told)?;
    }
    for (what, alert) in missing(connection, now)? {
        happened(connection, following, alert, now, told)?;
        remember(connection, &what, now)?;
    }
    if let Some(after) = following.silent_after_s {
        for (what, alert) in silent(connection, now.saturating_sub(after))? {
            happened(connection, following, alert, now, told)?;
            remember(connection, &what, now)?;
        }
    }
    told.extend(following.periods.over(connection, now)?);
    Ok(())
}

/// Once, whatever becomes of it: a gap that stays is no news, nor is a host that stays silent.
fn remember(connection: &Connection, what: &str, now: u64) -> Result<(), Error> {
    let insert = "INSERT OR REPLACE INTO told (what, at_s) VALUES (?1, ?2)";
    connection.prepare_cached(insert)?.execute(params![what, now.cast_signed()])?;
    let forget = "DELETE FROM told WHERE at_s < ?1";
    connection.prepare_cached(forget)?.execute([now.saturating_sub(TOLD_MAX_S).cast_signed()])?;
    Ok(())
}

/// Numbers that nobody sent, and that are not on their way any more.
fn missing(connection: &Connection, now: u64) -> Result<Vec<(String, Alert)>, Error> {
    let select = "SELECT what, signer, host, first, last FROM \
                  (SELECT 'missing ' || signer || ' ' || host || ' ' || boot || ' ' || missing.last AS what, signer, host, \
                  missing.first AS first, missing.last AS last FROM missing JOIN chain ON chain.id = missing.chain \
                  WHERE found_s <= ?1) WHERE what NOT IN (SELECT what FROM told) LIMIT ?2";
    let late = now.saturating_sub(LATE_MAX_S).cast_signed();
    let mut select = connection.prepare_cached(select)?;
    let read = |row: &rusqlite::Row<'_>| {
        let (signer, host): (String, String) = (row.get(1)?, row.get(2)?);
        let numbers = [row.get::<_, i64>(3)?, row.get::<_, i64>(4)?].map(i64::cast_unsigned);
        Ok((row.get(0)?, alerts::of_missing(host, &signer, numbers)))
    };
    Ok(select.query_map([late, LOOKED_AT_MAX], read)?.collect::<Result<_, _>>()?)
}

/// Hosts that nothing was kept of for too long.
fn silent(connection: &Connection, before_s: u64) -> Result<Vec<(String, Alert)>, Error> {
    let select = "SELECT 'silent ' || host || ' ' || heard_s AS what, host, heard_s FROM host WHERE heard_s < ?1 \
                  AND 'silent ' || host || ' ' || heard_s NOT IN (SELECT what FROM told) LIMIT ?2";
    let mut select = connection.prepare_cached(select)?;
    let read = |row: &rusqlite::Row<'_>| {
        let heard_s = row.get::<_, i64>(2)?.cast_unsigned();
        Ok((row.get(0)?, alerts::of_silent(row.get(1)?, heard_s)))
    };
    Ok(select.query_map([before_s.cast_signed(), LOOKED_AT_MAX], read)?.collect::<Result<_, _>>()?)
}

/// Makes the index again, while no collector runs.
///
/// # Errors
/// Of the store, or of the index.
pub(crate) fn reindex(folder: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(store::Reader::is_there(folder), "{}: there is no store", folder.display());
    // Who writes the store makes it, too.
    let _alone = store::alone(folder)?;
    let mut index = Index::open(folder)?;
    index.clear()?;
    let store = store::Reader::open(folder)?;
    if alerts::next_place(&index.connection)?.is_none() {
        alerts::set_next_place(&index.connection, store.newest()?)?;
    }
    let mut count = 0_u64;
    loop {
        let mut batch = Vec::new();
        store.some(index.next()?, BATCH_MAX, BATCH_BYTES_MAX, |place, kept, envelope| {
            batch.push((place, kept, envelope))
        })?;
        if batch.is_empty() {
            break;
        }
        let transaction = index.connection.transaction()?;
        for statement in batch {
            let (place, kept, facts) = read(statement, &Pending::default());
            Index::add(&transaction, place, kept, facts)?;
            count += 1;
        }
        transaction.commit()?;
    }
    println!("{count} statements are in the index");
    Ok(())
}
