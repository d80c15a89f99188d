//! `testimony run`: traces one command and signs what was seen.
//!
//! Everything that can be refused is refused before the command starts: outputs, key, kernel side. Then a copy of this
//! program stops itself, is made the session's root, and becomes the command. While it runs the ring is drained; at its
//! end the session is closed, the digests are settled, and the statement is written and signed.

mod bundle;
mod by_agent;
mod ending;
pub(crate) mod inherited;
mod launch;
mod options;
pub(crate) mod output;
mod owner;
mod quote;
mod signals;
pub(crate) mod spooling;
pub(crate) mod summary;

use std::{
    process::Child,
    sync::Arc,
    time::{Duration, Instant},
};

use agent_ebpf::hook;
use anyhow::Context as _;
use attestation::codes;
use proto::evidence::{SessionClosed, SessionOpened};
use testimony_verify::keyless::BUNDLE;

pub(crate) use ending::wait_instead;
use ending::{Ending, Outcome};
pub use launch::{Launch, launch};
pub use options::Args;
use options::{environment, products};
pub use owner::Owner;

use crate::{
    canary::{self, Canaries},
    cgroup,
    chain::Chain,
    content::{self, Content},
    daemon,
    evidence::Log,
    keyless::Keyless,
    platform,
    probe::{Limits, Probe},
    redact::Redaction,
    seal::Sealing,
    session::{self, Session, blind_spot},
    sign,
};

/// A page, the least that a ring can have.
const RING_BYTES_MIN: u32 = 4096;
/// How long the ring is left to fill between two looks.
const DRAIN_EVERY_MS: i32 = 10;
/// Priority of the thread that empties the ring: what a busy command tells must not wait for the command's own turns.
const DRAIN_NICE: i32 = -10;
/// Standard input, output and error are up to this one.
pub(crate) const STANDARD_DESCRIPTOR_MAX: u32 = 2;
/// The acts that are not told where they are told as the kernel asks about them.
pub(crate) const ACTS_NOT_ASKED: &str = "personality, seccomp, mq_open (its queue is an opened file), what of fsconfig, open_tree, \
     fanotify_init, keyctl and the clock's calls needs no privilege or key, and what was refused before a security module \
     was asked";
/// How often it is looked at while only children of the command are left.
const GRACE_LOOK_MS: i32 = 5;

/// The command ended, and its statement is not signed.
const NOT_SIGNED: u8 = 121;

/// Why there is no statement, and what the exit status says of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command was not run.
    #[error("tracing could not start: the command was not run")]
    Start(#[source] anyhow::Error),
    /// The command ended, but nothing was signed.
    #[error("the command ended, but no statement could be signed")]
    Sign(#[source] anyhow::Error),
}

impl Error {
    /// 125 or 121, as the manual says.
    pub fn status(&self) -> u8 {
        match self {
            Self::Start(_) => 125,
            Self::Sign(_) => NOT_SIGNED,
        }
    }
}

/// Runs; the exit status of `testimony run`.
pub fn run(args: &Args) -> Result<u8, Error> {
    if let Some(socket) = by_agent::wanted(args) {
        return by_agent::run(args, socket);
    }
    let mut clock = summary::Timings::start(args.timings);
    let mut prepared = Prepared::new(args, &mut clock).map_err(Error::Start)?;
    let mut running = prepared.start(args).map_err(Error::Start)?;
    clock.lap("start");
    let ended = prepared.follow(args, &mut running);
    clock.lap("command");
    let status = launch::exit_status(&mut running.child);
    let outcome = prepared.settle(args, running, ended, &mut clock).map_err(Error::Sign)?;
    clock.report();
    Ok(match outcome {
        Outcome::Signed(signed) => {
            signed.report(args.json, status);
            status
        }
        Outcome::Waits(waits) => {
            waits.report(args.json, status);
            NOT_SIGNED
        }
    })
}

/// Everything that could be refused was not.
struct Prepared {
    probe: Probe,
    output: output::Output,
    owner: Owner,
    log: Log,
    signers: sign::Signers,
    content: Content,
    session_id: [u8; 16],
    signals: signals::Signals,
    platform: platform::Platforms,
    chain: Option<Chain>,
    redaction: Arc<Redaction>,
    sealing: Option<(Sealing, quote::Files)>,
    keyless: Option<(Keyless, output::Beside)>,
    spooling: Option<spooling::Spooling>,
}

/// The clocks as they are now.
pub(crate) fn clock_now() -> content::Clock {
    content::Clock { grain_ns: session::grain_ns(), realtime_offset_ns: content::realtime_offset_ns() }
}

/// The hashers read as the session's user: no digest of a file goes to who could not read it.
fn output_reader(owner: &Owner) -> Option<content::Caller> {
    match owner {
        Owner::Caller => None,
        Owner::Invoker { uid, gid, groups } => Some(content::Caller { uid: *uid, gid: *gid, groups: groups.clone() }),
    }
}

/// A command under way.
struct Running {
    child: Child,
    session: Session,
    cgroup: Option<cgroup::Cgroup>,
    canaries: Canaries,
}

/// How following ended.
enum Ended {
    /// The command and all its children ended, or the grace period did.
    Command,
    /// The evidence could not be kept any further; the command went on to its end.
    Broken(session::Error),
}

impl Prepared {
    fn new(args: &Args, clock: &mut summary::Timings) -> anyhow::Result<Self> {
        let ring_bytes = args.ring_bytes;
        anyhow::ensure!(
            ring_bytes.is_power_of_two() && ring_bytes >= RING_BYTES_MIN,
            "--ring-bytes {ring_bytes}: not a power of two of at least {RING_BYTES_MIN}"
        );
        let owner = Owner::find(args.as_root)?;
        let redaction = Arc::new(Redaction::new(&args.redact)?);
        let mut output = output::Output::new(args.output.as_deref(), &args.command, &owner)?;
        let settings =
            args.agent_config.as_deref().map(config::read::<daemon::Settings>).transpose().context("--config")?;
        let mut spooling = settings.as_ref().map(spooling::Spooling::open).transpose()?;
        let signers = ending::signers(args, settings.as_ref(), spooling.as_mut())?;
        let mut platform = platform::Platforms::begin();
        let (weakest, without) = (args.weakest_hooks, args.leave_out.clone());
        let limits = Limits {
            ring_bytes: args.ring_bytes,
            weakest,
            without,
            with_empty: args.program_costs,
            ..Limits::default()
        };
        let probe = Probe::start(&limits)?;
        platform.attached();
        clock.lap("load and attach");
        let mut session_id = [0; 16];
        rustix::rand::getrandom(&mut session_id, rustix::rand::GetRandomFlags::empty())?;
        let quoted = args.seals.wanted().then(|| quote::Files::claim(&output)).transpose()?;
        let keyless = args.keyless.open()?.map(|keyless| Ok::<_, anyhow::Error>((keyless, output.beside(BUNDLE)?)));
        let keyless = keyless.transpose()?;
        let sealing = args.seals.start(args.signers.tpm(), session_id, &platform::boot_id()?)?.zip(quoted);
        let log = Log::create(&output.evidence(), session_id)?;
        output.claim()?;
        let limits = content::Limits { file_bytes_max: args.file_bytes_max, ..content::Limits::default() };
        let mut content = Content::start(limits, clock_now(), output_reader(&owner))?;
        content.name_products(products(&args.product)?);
        let signals = signals::Signals::catch()?;
        let chain = Chain::open(&args.chain).inspect_err(|error| {
            summary::warn(&format!("the statement will have no number: {}: {error}", args.chain.display()));
        });
        let chain = chain.ok();
        // When nothing else can be refused any more.
        if let Some(file) = &args.redaction_key {
            redaction.keep(file)?;
        }
        Ok(Self {
            probe,
            output,
            owner,
            log,
            signers,
            content,
            session_id,
            signals,
            platform,
            chain,
            redaction,
            sealing,
            keyless,
            spooling,
        })
    }

    /// Starts the command as the root of a session.
    fn start(&mut self, args: &Args) -> anyhow::Result<Running> {
        let cgroup = cgroup::Cgroup::create(&self.session_id).ok();
        let mut canaries = Canaries::start(&self.probe, cgroup.as_ref(), canary::MEAN_MS);
        let child = launch::spawn(&args.command, &self.owner)?;
        let opened = self.opened(args, child.id(), cgroup.is_some())?;
        let inherits = opened.inherited.iter().any(|given| given.descriptor > STANDARD_DESCRIPTOR_MAX);
        let mut session = Session::open(&mut self.probe, &mut self.log, 0, opened, Arc::clone(&self.redaction))?;
        let start_ns = session::start_ns(child.id()).context("the command's process is gone")?;
        if let Some(cgroup) = &cgroup {
            session.follow_cgroup(&mut self.probe, cgroup.id())?;
        } else {
            self.log.append(blind_spot(codes::INHERITANCE_ONLY, "", false))?;
        }
        self.log.append(blind_spot(codes::INPUTS_NOT_OBSERVED, "", false))?;
        if self.signers.only_keys() {
            self.log.append(blind_spot(codes::SIGNER_NOT_BOUND, "", false))?;
        }
        if inherits {
            self.log.append(blind_spot(codes::INHERITED_DESCRIPTORS, "", false))?;
        }
        if self.chain.is_none() {
            self.log.append(blind_spot(codes::NOT_CHAINED, "", false))?;
        }
        if let Some(but) = self.acts_not_observed().filter(|_| !args.leave_out.iter().any(|name| name == "act")) {
            self.log.append(blind_spot(codes::ACTS_NOT_OBSERVED, but, false))?;
        }
        canaries.begin(&mut session, &mut self.probe)?;
        for name in &args.leave_out {
            self.log.append(blind_spot(codes::LEFT_OUT, name, true))?;
        }
        session.adopt(&mut self.probe, child.id(), start_ns)?;
        if let Some(cgroup) = &cgroup {
            cgroup.take(child.id())?;
        }
        canaries.finish(&mut self.into(&mut session))?;
        launch::go(&child)?;
        Ok(Running { child, session, cgroup, canaries })
    }

    /// Which acts are not observed, where not all are.
    fn acts_not_observed(&self) -> Option<&'static str> {
        match self.probe.hooks().iter().find(|attached| attached.hook == hook::ACT) {
            None => Some("all"),
            Some(acts) if !acts.is_asked() => None,
            Some(_) => Some(ACTS_NOT_ASKED),
        }
    }

    fn opened(&mut self, args: &Args, root_pid: u32, cgroup: bool) -> anyhow::Result<SessionOpened> {
        let (boot_id, host_id) = (platform::boot_id()?.to_vec(), platform::host_id());
        let sessions = self.chain.as_ref().and_then(|chain| {
            let sessions = chain.count_session(&host_id, &boot_id);
            sessions.inspect_err(|error| summary::warn(&format!("sessions are not counted: {error}"))).ok()
        });
        Ok(SessionOpened {
            kind: "run".to_owned(),
            boot_id,
            host_id,
            opened_boottime_ns: session::boottime_ns(),
            realtime_offset_ns: content::realtime_offset_ns(),
            hooks: platform::hooks(&self.probe),
            membership: if cgroup { "cgroup+inheritance" } else { "inheritance" }.to_owned(),
            command: self.redaction.command(&args.command),
            directory: std::env::current_dir()?.into_os_string().into_encoded_bytes(),
            root_pid,
            platform: Some(Box::new(self.platform.opened(&self.probe, sessions)?)),
            product_globs: args.product.iter().map(|glob| glob.as_encoded_bytes().to_vec()).collect(),
            clock_grain_ns: session::grain_ns(),
            limit_file_bytes: args.file_bytes_max,
            environment: environment(args, &self.redaction),
            redaction_rules: u32::try_from(self.redaction.rules()).unwrap_or(u32::MAX),
            inherited: inherited::inherited(root_pid).context("the command's descriptors cannot be listed")?,
            ..SessionOpened::default()
        })
    }

    /// What the agent's known acts are entered into.
    fn into<'a>(&'a mut self, session: &'a mut Session) -> canary::Into<'a> {
        canary::Into { session, probe: &mut self.probe, log: &mut self.log, content: &mut self.content }
    }

    /// Drains until the command and its children are gone.
    fn follow(&mut self, args: &Args, running: &mut Running) -> Ended {
        match self.drain_until_gone(args, running) {
            Ok(()) => Ended::Command,
            Err(error) => {
                // Whatever befell the evidence, the command is not disturbed.
                launch::wait(&running.child, &self.signals);
                Ended::Broken(error)
            }
        }
    }

    fn drain_until_gone(&mut self, args: &Args, running: &mut Running) -> Result<(), session::Error> {
        // Of this thread alone: the command was started before, and so were the hashers. Where it is refused, the ring may
        // fill up sooner, and what is lost is counted.
        let _ = rustix::process::setpriority_process(None, DRAIN_NICE);
        let Running { child, session, canaries, .. } = running;
        while !launch::ended(child) {
            self.probe.wait(DRAIN_EVERY_MS)?;
            self.signals.forward(child);
            canaries.look(&mut self.into(session))?;
            session.drain(&mut self.probe, &mut self.log, &mut self.content)?;
            self.content.pump();
            self.log.tick()?;
            self.seal();
        }
        let limit = Instant::now() + Duration::from_secs_f64(args.grace.clamp(0.0, 86_400.0));
        loop {
            canaries.look(&mut self.into(session))?;
            session.drain(&mut self.probe, &mut self.log, &mut self.content)?;
            self.content.pump();
            self.seal();
            if session.living() == 0 || Instant::now() > limit {
                return canaries.end(&mut self.into(session));
            }
            self.probe.wait(GRACE_LOOK_MS)?;
        }
    }

    /// Has the log's head sealed, if it is time.
    fn seal(&mut self) {
        if let Some((sealing, _)) = &mut self.sealing {
            sealing.look(|| self.log.head());
        }
    }

    /// Closes the session, settles the digests, writes and signs the statement.
    fn settle(
        mut self,
        args: &Args,
        running: Running,
        ended: Ended,
        clock: &mut summary::Timings,
    ) -> anyhow::Result<Outcome> {
        let Running { mut session, cgroup, canaries, child: _ } = running;
        if let Ended::Broken(error) = ended {
            let detail = format!("{:#}", anyhow::Error::from(error));
            self.log.append(blind_spot(codes::EVIDENCE_NOT_WRITTEN, &detail, true))?;
        }
        let survivors = session.close(&mut self.probe, &mut self.log, &mut self.content)?;
        drop(canaries);
        self.platform.closing();
        clock.lap("close and drain");
        for content::Finding { mut digest, left_at } in self.content.finish(survivors)? {
            digest.left_at = left_at.unwrap_or_default();
            self.log.append(proto::evidence::frame::Body::Digest(digest))?;
        }
        clock.lap("digests");
        let (platform, spots) = self.platform.closed(&self.probe.own_programs());
        for spot in spots {
            self.log.append(session::known_spot(spot))?;
        }
        clock.lap("platform");
        if let Some(spooling) = &mut self.spooling {
            spooling.tell(&mut self.log)?;
        }
        let sealing = quote::stop(self.sealing.take(), &mut self.log)?;
        let ready = signing(&self.signers, sealing.is_some(), &mut self.log)?;
        let closed = SessionClosed {
            closed_boottime_ns: session::boottime_ns(),
            realtime_offset_ns: content::realtime_offset_ns(),
            root_status: session.root_status().and_then(|status| i32::try_from(status).ok()).unwrap_or(-1),
            misses: Vec::new(),
            reason: if self.signals.any() { "signal" } else { "ended" }.to_owned(),
            platform: Some(Box::new(platform)),
        };
        session.seal(&self.probe, &mut self.log, closed)?;
        if args.program_costs {
            summary::costs(&self.probe.costs());
        }
        drop(self.probe);
        clock.lap("detach");
        drop(cgroup);
        let log = self.log.finish()?;
        clock.lap("seal the log");
        let ending = Ending {
            output: self.output,
            owner: self.owner,
            signers: self.signers,
            chain: self.chain,
            keyless: self.keyless,
            sealing,
            spooling: self.spooling,
        };
        match ready {
            Ok(ready) => ending.sign(log, &ready, clock).map(Outcome::Signed),
            Err(error) => ending.wait(log, error).map(Outcome::Waits),
        }
    }
}

/// Those who sign. Where a key file stands in for an identity, or nobody can, the log says so.
pub(crate) fn signing(
    signers: &sign::Signers,
    sealed: bool,
    log: &mut Log,
) -> anyhow::Result<Result<sign::Ready, sign::Error>> {
    let ready = signers.ready();
    if ready.is_err() {
        let detail = if sealed { "what was sealed is not quoted" } else { "" };
        log.append(blind_spot(codes::SIGNED_LATER, detail, false))?;
    }
    if let Ok(ready) = &ready
        && let Some((name, error)) = ready.stood_in_for()
    {
        summary::warn(&format!("{name} could not sign, the second signer does: {}", sign::chain_of(error)));
        if ready.only_keys() {
            log.append(blind_spot(codes::SIGNER_NOT_BOUND, "", false))?;
        }
    }
    Ok(ready)
}
