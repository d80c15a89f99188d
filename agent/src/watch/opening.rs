//! The opening of a session: everything that can be refused is refused before its process is a member.

use std::{path::Path, sync::Arc, thread};

use agent_ebpf::{hook, state};
use anyhow::Context as _;
use attestation::codes;
use crossbeam_channel::{Receiver, bounded};
use proto::evidence::{Container, SessionOpened};

use super::{
    ask::{About, Ask},
    hierarchy::Subject,
    provisional::Provisional,
    settle::Means,
    watched::{Phase, Watched},
};
use crate::{
    canary::{Canaries, MEAN_MS, QUIET_MEAN_MS},
    cgroup::Cgroup,
    chain::Chain,
    container,
    content::{self, Content, Wall},
    evidence::Log,
    platform::{self, Platforms},
    probe::Probe,
    redact::Redaction,
    run::{ACTS_NOT_ASKED, STANDARD_DESCRIPTOR_MAX, inherited::inherited, output::Output},
    session::{self, Session, blind_spot},
};

/// Opens it in a slot. Its known acts are asked for, and awaited by whoever looks after it.
pub(super) fn open(
    ask: Ask,
    slot: u32,
    (probe, wall): (&mut Probe, &mut Wall),
    means: &Means,
) -> anyhow::Result<Watched> {
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    let (pid, start_ns) = ask.root;
    let about = about(&ask, id);
    let mut output = Output::named(&means.folder()?.join(about.id_text()))?;
    let mut platform = Platforms::begin();
    platform.attached();
    let mut log = Log::create(&output.evidence(), id)?;
    output.claim()?;
    let mut content = start_content(&ask, wall)?;
    content.name_products(ask.products.clone());
    let cgroup = Cgroup::create_for(pid, &id).ok();
    let mut canaries = Canaries::start(probe, cgroup.as_ref(), MEAN_MS);
    let opened = opened(&ask, probe, means, &mut platform, cgroup.is_some())?;
    let inherits = opened.inherited.iter().any(|given| given.descriptor > STANDARD_DESCRIPTOR_MAX);
    let mut session = Session::open(probe, &mut log, slot, opened, Arc::clone(&ask.redaction))?;
    match &cgroup {
        Some(cgroup) => session.follow_cgroup(probe, cgroup.id())?,
        None => log.append(blind_spot(codes::INHERITANCE_ONLY, "", false))?,
    }
    say_what_is_not_seen(&mut log, probe, means)?;
    if inherits {
        log.append(blind_spot(codes::INHERITED_DESCRIPTORS, "", false))?;
    }
    canaries.begin(&mut session, probe)?;
    session.adopt(probe, pid, start_ns)?;
    // Whoever had its number meanwhile is not who was asked for.
    anyhow::ensure!(session::start_ns(pid).ok() == Some(start_ns), "process {pid} has ended");
    if let Some(cgroup) = &cgroup {
        cgroup.take(pid).with_context(|| format!("process {pid} cannot be taken into the session"))?;
    }
    Ok(Watched {
        about: About { cgroup: cgroup.as_ref().map(Cgroup::name).unwrap_or_default(), ..about },
        session,
        log,
        content,
        canaries,
        cgroup,
        platform,
        output,
        phase: Phase::Opening(None),
        events: 0,
        of_others: false,
        broken: None,
        waiting: Vec::new(),
        container: None,
        empty: None,
    })
}

fn about(ask: &Ask, id: [u8; 16]) -> About {
    About {
        id,
        kind: ask.kind,
        name: ask.name.clone(),
        uid: ask.uid,
        opened_s: crate::daemon::now_s(),
        cgroup: String::new(),
        image: String::new(),
    }
}

fn start_content(ask: &Ask, wall: &mut Wall) -> anyhow::Result<Content> {
    let limits = content::Limits { file_bytes_max: ask.file_bytes_max, ..content::Limits::default() };
    Ok(Content::start_by(limits, wall, ask.caller.clone())?)
}

/// Opens the session that the kernel side opened by itself for a cgroup, with all that it told since.
pub(super) fn take_over(
    made: Provisional,
    (subject, path): (Subject, String),
    (probe, wall): (&mut Probe, &mut Wall),
    means: &Means,
) -> anyhow::Result<Watched> {
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    let (kind, name) = match &subject {
        Subject::Container(_, id) => ("container", id.clone()),
        Subject::Unit(name) => ("unit", name.clone()),
    };
    let opened_s = crate::daemon::now_s();
    let about = About { id, kind, name, uid: 0, opened_s, cgroup: path.clone(), image: String::new() };
    let mut output = Output::named(&means.folder()?.join(about.id_text()))?;
    let mut platform = Platforms::begin();
    platform.attached();
    let mut log = Log::create(&output.evidence(), id)?;
    output.claim()?;
    let limits = content::Limits { file_bytes_max: means.file_bytes_max, workers: 1, ..content::Limits::default() };
    let content = Content::start_by(limits, wall, None)?;
    let mut canaries = Canaries::start(probe, None, QUIET_MEAN_MS);
    let redaction = Arc::new(Redaction::new(&means.redact)?);
    let opened = SessionOpened {
        opened_boottime_ns: made.made_ns,
        membership: "cgroup".to_owned(),
        root_pid: made.root.map_or(0, |(pid, _)| pid),
        subject_name: about.name.clone(),
        cgroup: path,
        limit_file_bytes: means.file_bytes_max,
        redaction_rules: u32::try_from(redaction.rules()).unwrap_or(u32::MAX),
        ..host_opened(kind, probe, means, &mut platform)?
    };
    let place = made.place();
    let mut session = Session::take_over(probe, &mut log, place, opened, redaction)?;
    say_what_is_not_seen(&mut log, probe, means)?;
    // Its runtime, or systemd, gave its first process what that begins with.
    log.append(blind_spot(codes::INHERITED_DESCRIPTORS, "", false))?;
    canaries.begin(&mut session, probe)?;
    let mut watched = Watched {
        about,
        session,
        log,
        content,
        canaries,
        cgroup: None,
        platform,
        output,
        phase: Phase::Opening(None),
        events: 0,
        of_others: true,
        broken: None,
        waiting: Vec::new(),
        container: store(&subject, means),
        empty: None,
    };
    made.events.into_iter().for_each(|event| watched.take(event));
    Ok(watched)
}

/// Asks the store of a container's runtime, on a thread of its own.
fn store(subject: &Subject, means: &Means) -> Option<Receiver<Container>> {
    let Subject::Container(runtime, id) = subject.clone() else { return None };
    let (tell, told) = bounded(1);
    let stores = means.stores.clone();
    let body = move || drop(tell.send(container::look_up(runtime, &id, &stores)));
    thread::Builder::new().name("store".to_owned()).spawn(body).ok().map(|_| told)
}

/// A session that is none: what it counted is of nothing that anybody wanted.
pub(super) fn discard((slot, serial, cgroup_id): (u32, u64, u64), probe: &mut Probe) -> anyhow::Result<()> {
    let mut closed = probe.session(slot)?;
    closed.state = state::CLOSED;
    probe.set_session(slot, closed)?;
    probe.forget_cgroup(cgroup_id)?;
    probe.dismiss(serial)?;
    Ok(probe.forget_files(serial)?)
}

/// Which acts are not observed, where not all are.
fn acts_not_observed(probe: &Probe) -> Option<&'static str> {
    match probe.hooks().iter().find(|attached| attached.hook == hook::ACT) {
        None => Some("all"),
        Some(acts) if !acts.is_asked() => None,
        Some(_) => Some(ACTS_NOT_ASKED),
    }
}

fn opened(
    ask: &Ask,
    probe: &Probe,
    means: &Means,
    platform: &mut Platforms,
    cgroup: bool,
) -> anyhow::Result<SessionOpened> {
    let (pid, _) = ask.root;
    Ok(SessionOpened {
        membership: if cgroup { "cgroup+inheritance" } else { "inheritance" }.to_owned(),
        command: ask.redaction.command_of(&ask.command),
        directory: ask.directory.clone(),
        root_pid: pid,
        product_globs: ask.product_globs.clone(),
        limit_file_bytes: ask.file_bytes_max,
        redaction_rules: u32::try_from(ask.redaction.rules()).unwrap_or(u32::MAX),
        inherited: inherited(pid).context("the descriptors of the process cannot be listed")?,
        ..host_opened(ask.kind, probe, means, platform)?
    })
}

/// What every session of the host says.
fn host_opened(kind: &str, probe: &Probe, means: &Means, platform: &mut Platforms) -> anyhow::Result<SessionOpened> {
    let (boot_id, host_id) = (platform::boot_id()?.to_vec(), platform::host_id());
    let chain = Chain::open(&means.chain)?;
    let sessions = chain.count_session(&host_id, &boot_id).ok();
    Ok(SessionOpened {
        kind: kind.to_owned(),
        boot_id,
        host_id,
        opened_boottime_ns: session::boottime_ns(),
        realtime_offset_ns: content::realtime_offset_ns(),
        hooks: platform::hooks(probe),
        platform: Some(Box::new(platform.opened(probe, sessions)?)),
        clock_grain_ns: session::grain_ns(),
        ..SessionOpened::default()
    })
}

/// What no session of this host sees, whatever it is of.
fn say_what_is_not_seen(log: &mut Log, probe: &Probe, means: &Means) -> anyhow::Result<()> {
    log.append(blind_spot(codes::INPUTS_NOT_OBSERVED, "", false))?;
    if means.only_keys() {
        log.append(blind_spot(codes::SIGNER_NOT_BOUND, "", false))?;
    }
    if let Some(but) = acts_not_observed(probe) {
        log.append(blind_spot(codes::ACTS_NOT_OBSERVED, but, false))?;
    }
    Ok(())
}

/// The folder that holds what the sessions of a node leave.
pub(super) fn make_folder(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| folder.display().to_string())
}
