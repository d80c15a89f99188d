//! Signing what waits for its signer, as a task of the agent, and what it tells the journal.

use std::{cell::RefCell, convert::Infallible, future::Future, sync::Arc, time::Duration};

use anyhow::Context as _;
use attestation::escape::escape;

use super::{Counts, Settings};
use crate::waiting::{Error, Later, Told};

/// Between two looks at what waits and who is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Signs from here on.
///
/// # Errors
/// Why it cannot.
pub(super) fn start(
    settings: &Settings,
    counts: &Arc<Counts>,
) -> anyhow::Result<impl Future<Output = anyhow::Result<Infallible>> + use<>> {
    let later = Later::open(settings).context("[waiting]")?;
    let journal = Journal { last: RefCell::default(), counts: Arc::clone(counts) };
    Ok(async move {
        let mut state = (later, journal);
        loop {
            let turn = tokio::task::spawn_blocking(move || {
                let (mut later, journal) = state;
                let turned = later.turn(&|told| journal.tell(told));
                (later, journal, turned)
            });
            let (later, journal, turned) = turn.await.context("signing what waits ended")?;
            match turned {
                Err(error) if error.is_fatal() => return Err(error).context("signing what waits ended"),
                Err(error) => journal.holds(&error),
                Ok(()) => {}
            }
            state = (later, journal);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
}

/// What was told last: the same is not told again, however long it lasts.
struct Journal {
    last: RefCell<Option<String>>,
    counts: Arc<Counts>,
}

impl Journal {
    fn tell(&self, told: &Told<'_>) {
        let line = match told {
            Told::Signed { statement, signer, placed } => {
                self.counts.signed_later();
                let why = placed.as_ref().err().map(|why| format!(", but not written there: {why}"));
                format!("{} is signed now, by {signer}{}", statement.display(), why.unwrap_or_default())
            }
            Told::NotPut { statement, why } => {
                format!("{} was not put into the spool: {}", statement.display(), crate::sign::chain_of(why))
            }
            Told::NotChained { statement, why } => format!("{} has no number: {why}", statement.display()),
            Told::Refused { number, why } => format!("number {number} of those that wait is never signed: {why}"),
            Told::Waiting { names, why, .. } => {
                self.counts.signing_failed();
                return self.changed(&format!("statements wait for {} to sign them: {why}", names.join(" and ")));
            }
            Told::Says(says) => (*says).to_owned(),
        };
        self.last.take();
        eprintln!("testimony: {}", escape(line.as_bytes()));
    }

    fn holds(&self, error: &Error) {
        self.counts.signing_failed();
        self.changed(&format!("what waits for its signer is not signed for now: {}", crate::sign::chain_of(error)));
    }

    fn changed(&self, line: &str) {
        if self.last.borrow().as_deref() != Some(line) {
            eprintln!("testimony: {}", escape(line.as_bytes()));
            self.last.replace(Some(line.to_owned()));
        }
    }
}
