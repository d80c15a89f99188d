//! Whom alerts are told: each has a thread of its own, so that who hangs holds up nobody else, and a place in the list of alerts that is
//! durable. What was begun when the collector ended is told again, and says so.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::runtime::Handle;

use super::{Alert, Settings, line, syslog::Syslog, webhook::Webhook};
use crate::{counts::Counts, index, quiet};

/// Between two looks whether there is something to tell.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two attempts, at first and at most.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// One of them.
#[derive(Debug)]
enum Sink {
    Stdout,
    File(PathBuf),
    Syslog(Syslog),
    Webhook(Webhook, Handle),
}

impl Sink {
    fn name(&self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File(_) => "file",
            Self::Syslog(_) => "syslog",
            Self::Webhook(..) => "webhook",
        }
    }

    fn send(&mut self, alert: &Alert) -> io::Result<()> {
        let line = serde_json::to_string(alert)?;
        match self {
            Self::Stdout => line::stdout(&line),
            Self::File(path) => line::file(path, &line),
            Self::Syslog(syslog) => syslog.send(alert),
            Self::Webhook(webhook, runtime) => runtime.block_on(webhook.send(line)),
        }
    }
}

/// Looks at what they name.
///
/// # Errors
/// What cannot be used.
pub(crate) fn check(settings: &Settings) -> anyhow::Result<()> {
    settings.webhook.as_ref().map(Webhook::new).transpose().map(drop)
}

/// The threads, which end when it is dropped, with what they have begun.
pub(crate) struct Sinks {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Sinks {
    /// Starts a thread for each that is configured; those that are not any more are forgotten.
    ///
    /// # Errors
    /// Why one cannot.
    pub(crate) fn start(
        settings: &Settings,
        folder: &Path,
        runtime: &Handle,
        metrics: &Arc<Counts>,
    ) -> anyhow::Result<Self> {
        let mut sinks = Vec::new();
        sinks.extend(settings.stdout.then_some(Sink::Stdout));
        sinks.extend(settings.file.clone().map(Sink::File));
        sinks.extend(settings.syslog.as_ref().and_then(Syslog::new).map(Sink::Syslog));
        let webhook = settings.webhook.as_ref().map(Webhook::new).transpose()?;
        sinks.extend(webhook.map(|webhook| Sink::Webhook(webhook, runtime.clone())));
        let connection = index::Index::open(folder)?.connection;
        let names: Vec<&str> = sinks.iter().map(Sink::name).collect();
        for name in ["stdout", "file", "syslog", "webhook"] {
            if names.contains(&name) {
                // Who is new hears of what happens from now on.
                let insert = "INSERT OR IGNORE INTO sink (name, delivered, attempted, dropped) \
                              SELECT ?1, coalesce(max(id), 0), 0, 0 FROM alert";
                connection.execute(insert, [name])?;
            } else {
                connection.execute("DELETE FROM sink WHERE name = ?1", [name])?;
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let start = |sink: Sink| {
            let connection = index::Index::open(folder)?.connection;
            let mut teller =
                Teller { name: sink.name(), sink, connection, stop: Arc::clone(&stop), metrics: Arc::clone(metrics) };
            let name = format!("tell-{}", teller.name);
            anyhow::Ok(thread::Builder::new().name(name).spawn(move || teller.run())?)
        };
        let threads = sinks.into_iter().map(start).collect::<anyhow::Result<_>>()?;
        Ok(Self { stop, threads })
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct Teller {
    sink: Sink,
    name: &'static str,
    connection: Connection,
    stop: Arc<AtomicBool>,
    metrics: Arc<Counts>,
}

impl Teller {
    fn run(&mut self) {
        let mut wait = WAITS[0];
        while !self.stop.load(Ordering::Relaxed) {
            match self.next() {
                Ok(true) => wait = WAITS[0],
                Ok(false) => thread::sleep(LOOK_EVERY),
                Err(error) => {
                    self.metrics.alert_failures(self.name);
                    quiet::say(quiet::Kind::Alert, || format!("alerts cannot be told by {}: {error}", self.name));
                    self.pause(wait);
                    wait = (wait * 2).min(WAITS[1]);
                }
            }
        }
    }

    fn pause(&self, wait: Duration) {
        let mut left = wait;
        while !self.stop.load(Ordering::Relaxed) && !left.is_zero() {
            let now = left.min(LOOK_EVERY);
            thread::sleep(now);
            left -= now;
        }
    }

    /// Tells the next one, if there is one.
    fn next(&mut self) -> anyhow::Result<bool> {
        let state = "SELECT delivered, attempted, dropped FROM sink WHERE name = ?1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        let (delivered, attempted, dropped) = self.connection.query_row(state, [self.name], read)?;
        let next = "SELECT id, alert FROM alert WHERE id > ?1 ORDER BY id LIMIT 1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
        let Some((id, alert)) = self.connection.query_row(next, [delivered], read).optional()? else {
            return Ok(false);
        };
        let mut alert: Alert = serde_json::from_str(&alert)?;
        (alert.repeated, alert.dropped) = (attempted >= id, dropped.cast_unsigned());
        // Before it is told: who is ended on the way tells it again, and says so.
        let begun = "UPDATE sink SET attempted = ?2 WHERE name = ?1";
        self.connection.execute(begun, params![self.name, id])?;
        if let Err(error) = self.sink.send(&alert) {
            if never_began(&error) {
                self.connection.execute(begun, params![self.name, attempted])?;
            }
            return Err(error.into());
        }
        // What was dropped meanwhile is told with the next one.
        let done = "UPDATE sink SET delivered = max(delivered, ?2), dropped = dropped - ?3 WHERE name = ?1";
        self.connection.execute(done, params![self.name, id, dropped])?;
        self.metrics.alert_told(self.name, alert.dropped);
        Ok(true)
    }
}

/// Whether nothing was sent for sure.
fn never_began(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotConnected, NotFound, PermissionDenied};
    matches!(error.kind(), ConnectionRefused | NotConnected | NotFound | PermissionDenied)
}
