//! What becomes of a session that is over: its digests settled, its log sealed, its statement signed, and put where it is delivered
//! from. On a thread of its own, beside those that run.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use attestation::{
    codes,
    trace::{HookRow, Trace},
};
use crossbeam_channel::Receiver;
use proto::evidence::{Container, HookMisses, SessionClosed, frame::Body};

use super::{
    ask::{About, Finished, Outcome},
    hierarchy::Rules,
    kept::{self, Keep},
    opening::make_folder,
};
use crate::{
    chain::Chain,
    container,
    content::{self, Content, Finding},
    daemon::{Counts, Settings},
    evidence::Log,
    platform::Platforms,
    run::{
        Owner,
        output::{Output, Signed},
        signing,
        spooling::Spooling,
        wait_instead,
    },
    session::{self, blind_spot},
    sign::Signers,
};

/// How long the store of a runtime may take when the container is over.
const STORE_WAIT: Duration = Duration::from_secs(3);

/// How much there may be of what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Sessions open at once.
    pub(crate) sessions_max: u32,
    /// Of one user but root.
    pub(crate) per_user_max: u32,
}

/// Who signs for the node, and where everything goes.
pub(crate) struct Means {
    /// One after the other: who comes first is before the next in the chain.
    pub(crate) signers: Mutex<Signers>,
    pub(crate) only_keys: bool,
    pub(crate) chain: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) spool: Option<Settings>,
    pub(crate) limits: Limits,
    pub(crate) rules: Rules,
    /// Files above this size get no digest, in sessions that nobody asked for.
    pub(crate) file_bytes_max: u64,
    /// What is left out of arguments there.
    pub(crate) redact: Vec<String>,
    pub(crate) stores: container::Stores,
    /// Cgroups for which there was no place, and that no statement has said.
    pub(crate) unopened: AtomicU64,
    pub(crate) keep: Keep,
    pub(crate) counts: Arc<Counts>,
}

impl Means {
    /// The folder of the outputs, which is made if it is not there.
    pub(super) fn folder(&self) -> anyhow::Result<&Path> {
        make_folder(&self.folder)?;
        Ok(&self.folder)
    }

    /// Cgroups that have no session.
    pub(super) fn not_opened(&self, count: u64) {
        self.unopened.fetch_add(count, Ordering::Relaxed);
        self.counts.not_opened(count);
    }

    pub(super) fn only_keys(&self) -> bool {
        self.only_keys
    }
}

/// A session of which nothing more comes.
pub(super) struct Ending {
    pub(super) about: About,
    pub(super) events: u64,
    pub(super) of_others: bool,
    pub(super) root_status: i32,
    pub(super) closed_ns: u64,
    pub(super) misses: Vec<HookMisses>,
    pub(super) own_programs: BTreeSet<u32>,
    pub(super) survivors: bool,
    pub(super) log: Log,
    pub(super) content: Content,
    pub(super) platform: Platforms,
    pub(super) output: Output,
    pub(super) broken: Option<String>,
    /// What the store of its runtime says of a container, if that is still to come.
    pub(super) container: Option<Receiver<Container>>,
}

/// Swears to it.
pub(super) fn settle(ending: Ending, means: &Means) -> Finished {
    let (about, events, root_status) = (ending.about.clone(), ending.events, ending.root_status);
    let (of_others, broken) = (ending.of_others, ending.broken.clone());
    let began = Instant::now();
    let outcome = sign(ending, means).map_err(|error| match broken {
        Some(why) => format!("{why}; {error:#}"),
        None => format!("{error:#}"),
    });
    means.counts.settled(outcome.as_ref().ok(), began.elapsed());
    if let Err(why) = &outcome {
        crate::run::summary::warn(&format!("session {} has no statement: {why}", about.id_text()));
    }
    match kept::sweep(&means.folder, means.keep) {
        Ok(0) => {}
        Ok(removed) => {
            crate::run::summary::warn(&format!("{removed} sessions were removed from {}", means.folder.display()))
        }
        Err(error) => crate::run::summary::warn(&format!("{} cannot be tidied: {error}", means.folder.display())),
    }
    Finished { about, events, root_status, of_others, outcome }
}

fn sign(ending: Ending, means: &Means) -> anyhow::Result<Outcome> {
    let Ending { mut log, content, mut platform, output, .. } = ending;
    let mut says = Vec::new();
    if let Some(container) = ending.container.and_then(|told| told.recv_timeout(STORE_WAIT).ok()) {
        log.append(Body::Container(container))?;
    }
    for Finding { mut digest, left_at } in content.finish(ending.survivors)? {
        digest.left_at = left_at.unwrap_or_default();
        log.append(Body::Digest(digest))?;
    }
    let (platform, spots) = platform.closed(&ending.own_programs);
    for spot in spots {
        log.append(session::known_spot(spot))?;
    }
    // One at a time from here on: what was dropped is said by one statement, and numbers follow each other.
    let signers = means.signers.lock().unwrap_or_else(PoisonError::into_inner);
    let mut spooling = means.spool.as_ref().map(Spooling::open).transpose().context("the spool cannot be used")?;
    if let Some(spooling) = &mut spooling {
        spooling.tell(&mut log)?;
    }
    let unopened = means.unopened.swap(0, Ordering::Relaxed);
    if unopened > 0 {
        log.append(blind_spot(codes::SESSIONS_NOT_OPENED, &unopened.to_string(), false))?;
    }
    let chain = Chain::open(&means.chain).inspect_err(|error| says.push(format!("it has no number: {error}"))).ok();
    if chain.is_none() {
        log.append(blind_spot(codes::NOT_CHAINED, "", false))?;
    }
    let ready = signing(&signers, false, &mut log)?;
    let closed = SessionClosed {
        closed_boottime_ns: ending.closed_ns,
        realtime_offset_ns: content::realtime_offset_ns(),
        root_status: ending.root_status,
        misses: ending.misses,
        reason: "ended".to_owned(),
        platform: Some(Box::new(platform)),
    };
    log.append(Body::Closed(closed))?;
    let (head, trace, held) = log.finish()?;
    let wait = |error| wait_instead(error, spooling.take(), (&signers, &output), chain.as_ref(), (&head, &trace));
    let ready = ready.map_err(wait)?;
    let mut meta = ready.meta();
    let link = chain.and_then(|chain| {
        let link = chain.next(&trace.opened().host_id, &meta.signer, &trace.opened().boot_id);
        link.inspect_err(|error| says.push(format!("it has no number: {error}"))).ok()
    });
    if let Some(link) = &link {
        (meta.number, meta.previous) = (Some(link.number), link.previous);
    }
    let mut signed = output.sign(&trace, (&head, &meta), &ready, &Owner::Caller, link)?;
    if let Some(spooling) = spooling {
        signed.spooled = spooling.put(&signed);
    }
    if let Err(error) = ready.keep_bundles() {
        says.push(format!("the trust bundle was not kept: {error}"));
    }
    drop(held);
    Ok(outcome(signed, &trace, says))
}

/// A statement, and what it says in figures.
fn outcome(signed: Signed, trace: &Trace, says: Vec<String>) -> Outcome {
    let sum = |count: fn(&HookRow) -> u64| trace.coverage().iter().map(count).fold(0, u64::saturating_add);
    Outcome {
        statement: signed.statement,
        evidence: signed.evidence,
        payload_sha256: signed.payload_sha256,
        complete: trace.complete(),
        lossless: trace.lossless(),
        level: trace.level().as_str().to_owned(),
        processes: trace.processes().len(),
        files: trace.files().count(),
        contacts: trace.contacts().count(),
        classes: trace.class_counts(),
        lost: sum(|row| row.lost),
        coalesced: sum(|row| row.coalesced),
        gaps: trace.incompleteness().map(|gap| (gap.code.to_string(), gap.detail.clone())).collect(),
        spooled: signed.spooled,
        says,
    }
}
