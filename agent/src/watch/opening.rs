//! The opening of a session: everything that can be refused is refused before its process is a member.

use std::{path::Path, sync::Arc};

use agent_ebpf::hook;
use anyhow::Context as _;
use attestation::codes;
use proto::evidence::SessionOpened;

use super::{
    ask::{About, Ask},
    settle::Means,
    watched::{Phase, Watched},
};
use crate::{
    canary::Canaries,
    cgroup::Cgroup,
    chain::Chain,
    content::{self, Content},
    evidence::Log,
    platform::{self, Platforms},
    probe::Probe,
    run::{ACTS_NOT_ASKED, STANDARD_DESCRIPTOR_MAX, clock_now, inherited::inherited, output::Output},
    session::{self, Session, blind_spot},
};

/// Opens it in a slot. Its known acts are asked for, and awaited by whoever looks after it.
pub(super) fn open(ask: Ask, slot: u32, probe: &mut Probe, means: &Means) -> anyhow::Result<Watched> {
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    let (pid, start_ns) = ask.root;
    let about = about(&ask, id);
    let mut output = Output::named(&means.folder()?.join(about.id_text()))?;
    let mut platform = Platforms::begin();
    platform.attached();
    let mut log = Log::create(&output.evidence(), id)?;
    output.claim()?;
    let mut content = start_content(&ask)?;
    content.name_products(ask.products.clone());
    let cgroup = Cgroup::create_for(pid, &id).ok();
    let mut canaries = Canaries::start(probe, cgroup.as_ref());
    let opened = opened(&ask, probe, means, &mut platform, cgroup.is_some())?;
    let inherits = opened.inherited.iter().any(|given| given.descriptor > STANDARD_DESCRIPTOR_MAX);
    let mut session = Session::open(probe, &mut log, slot, opened, Arc::clone(&ask.redaction))?;
    match &cgroup {
        Some(cgroup) => session.follow_cgroup(probe, cgroup.id())?,
        None => log.append(blind_spot(codes::INHERITANCE_ONLY, "", false))?,
    }
    log.append(blind_spot(codes::INPUTS_NOT_OBSERVED, "", false))?;
    if means.only_keys() {
        log.append(blind_spot(codes::SIGNER_NOT_BOUND, "", false))?;
    }
    if inherits {
        log.append(blind_spot(codes::INHERITED_DESCRIPTORS, "", false))?;
    }
    if let Some(but) = acts_not_observed(probe) {
        log.append(blind_spot(codes::ACTS_NOT_OBSERVED, but, false))?;
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
    }
}

fn start_content(ask: &Ask) -> anyhow::Result<Content> {
    let limits = content::Limits { file_bytes_max: ask.file_bytes_max, ..content::Limits::default() };
    Ok(Content::start(limits, clock_now(), ask.caller.clone())?)
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
    let (boot_id, host_id) = (platform::boot_id()?.to_vec(), platform::host_id());
    let chain = Chain::open(&means.chain)?;
    let sessions = chain.count_session(&host_id, &boot_id).ok();
    let (pid, _) = ask.root;
    Ok(SessionOpened {
        kind: ask.kind.to_owned(),
        boot_id,
        host_id,
        opened_boottime_ns: session::boottime_ns(),
        realtime_offset_ns: content::realtime_offset_ns(),
        hooks: platform::hooks(probe),
        membership: if cgroup { "cgroup+inheritance" } else { "inheritance" }.to_owned(),
        command: ask.redaction.command_of(&ask.command),
        directory: ask.directory.clone(),
        root_pid: pid,
        platform: Some(Box::new(platform.opened(probe, sessions)?)),
        product_globs: ask.product_globs.clone(),
        clock_grain_ns: session::grain_ns(),
        limit_file_bytes: ask.file_bytes_max,
        environment: Vec::new(),
        redaction_rules: u32::try_from(ask.redaction.rules()).unwrap_or(u32::MAX),
        inherited: inherited(pid).context("the descriptors of the process cannot be listed")?,
        ..SessionOpened::default()
    })
}

/// The folder that holds what the sessions of a node leave.
pub(super) fn make_folder(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| folder.display().to_string())
}
