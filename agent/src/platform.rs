//! What the session says of the host and of its hooks.
//!
//! All of it is the host's own word, and this program's: nothing here proves anything to whoever does not trust both.

mod kernel;
mod state;

use std::{collections::BTreeSet, fs, io, path::Path, sync::OnceLock, thread};

use anyhow::Context;
use proto::evidence::{Hook, Level, Platform, PlatformEnd};
use sha2::{Digest, Sha256};

use crate::{
    probe::{Probe, census::Helpers},
    session::host::{self, Host, Spot},
};

/// Tag before a host's id is hashed: the plain machine id is not to be published (machine-id(5)).
const HOST_ID_TAG: &[u8] = b"testimony host id v1\0";

/// The kernel's random id of this boot.
pub(crate) fn boot_id() -> anyhow::Result<[u8; 16]> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("the boot id cannot be read")?;
    from_hex(&text).context("the boot id is malformed")
}

/// A stable id of the host, from /etc/machine-id; empty where there is none.
pub(crate) fn host_id() -> Vec<u8> {
    let Ok(text) = fs::read_to_string("/etc/machine-id") else { return Vec::new() };
    let Some(id) = from_hex(&text) else { return Vec::new() };
    let mut hash = Sha256::new();
    hash.update(HOST_ID_TAG);
    hash.update(id);
    hash.finalize()[..16].to_vec()
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map_while(|digit| u8::try_from(digit).ok()).collect();
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().ok()
}

/// Text of a file of one line.
fn line(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end_matches('\n').to_owned())
}

/// What is read on a thread of its own, beside other work.
struct Beside<T>(Option<thread::JoinHandle<T>>);

impl<T: Send + 'static> Beside<T> {
    fn begin(read: impl FnOnce() -> T + Send + 'static) -> Self {
        Self(thread::Builder::new().spawn(read).ok())
    }

    fn take(&mut self) -> anyhow::Result<T> {
        let thread = self.0.take().context("a thread could not be started")?;
        thread.join().map_err(|_| anyhow::anyhow!("what the platform is could not be read"))
    }
}

/// Digest of this program's own file. It is read once: what runs does not change.
fn own_sha256() -> io::Result<[u8; 32]> {
    static OWN: OnceLock<[u8; 32]> = OnceLock::new();
    if let Some(known) = OWN.get() {
        return Ok(*known);
    }
    let digest = Sha256::digest(fs::read("/proc/self/exe")?).into();
    Ok(*OWN.get_or_init(|| digest))
}

/// What the host says of itself, at the start and at the end. It is read while other things go on.
pub(crate) struct Platforms {
    /// Digest of this program's own file, and what does not change.
    facts: Beside<(io::Result<[u8; 32]>, Platform)>,
    start: Option<Beside<Host>>,
    /// The host at the start, once it is told.
    told: Host,
    end: Option<Beside<Host>>,
}

impl Platforms {
    /// Begins before the kernel side is loaded.
    pub(crate) fn begin() -> Self {
        Self {
            facts: Beside::begin(move || (own_sha256(), kernel::facts())),
            start: None,
            told: Host::default(),
            end: None,
        }
    }

    /// Our own programs are attached: those that are there now are there at the start.
    pub(crate) fn attached(&mut self) {
        self.start = Some(Beside::begin(state::host));
    }

    /// What the log says of the platform at the start. With the numbers of sessions since boot and since installation.
    pub(crate) fn opened(&mut self, probe: &Probe, sessions: Option<(u64, u64)>) -> anyhow::Result<Platform> {
        let (digest, facts) = self.facts.take()?;
        self.told = self.start.as_mut().context("the host was not looked at")?.take()?;
        let own = probe.own_programs();
        Ok(Platform {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            agent_sha256: digest.context("this program cannot be read")?.to_vec(),
            cpus: thread::available_parallelism().map_or(0, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
            taint: self.told.taint,
            lockdown: self.told.lockdown.clone(),
            clock_source: self.told.clock_source.clone(),
            settings: host::settings(&self.told),
            sessions_since_boot: sessions.map(|(boot, _)| boot),
            sessions_since_install: sessions.map(|(_, install)| install),
            bpf: self.told.census.as_ref().map(|census| host::bpf(census, &own)),
            ..facts
        })
    }

    /// No more events are taken: what is there now is there at the end.
    pub(crate) fn closing(&mut self) {
        self.end = Some(Beside::begin(state::host));
    }

    /// What the log says of the platform at the end, and what that says of the session. With the numbers of our own programs.
    pub(crate) fn closed(&mut self, own: &BTreeSet<u32>) -> (PlatformEnd, Vec<Spot>) {
        // Of a host that could not be looked at nothing is known, and it is said so: a statement is signed all the same.
        let end = self.end.as_mut().and_then(|end| end.take().ok()).unwrap_or_default();
        host::end(&self.told, &end, own, Helpers::of_this_kernel)
    }
}

/// The hooks in place, as the log tells them.
pub(crate) fn hooks(probe: &Probe) -> Vec<Hook> {
    let object = probe.object_sha256().to_vec();
    let rows = probe.hooks().iter().map(|attached| Hook {
        id: attached.hook.into(),
        observation: attached.observation.to_owned(),
        method: attached.method.to_owned(),
        level: match attached.level {
            agent_ebpf::level::OBJECT => Level::Object,
            agent_ebpf::level::RETURNED_OBJECT => Level::ReturnedObject,
            _ => Level::UserArgument,
        }
        .into(),
        program: attached.programs.join("+"),
        program_tag: attached.tag.to_vec(),
        program_sha256: object.clone(),
        refused: attached.refused.clone(),
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::from_hex;

    #[test]
    fn ids_are_sixteen_bytes_or_nothing() {
        assert_eq!(from_hex("00000000-0000-0000-0000-0000000000ff\n").map(|id| id[15]), Some(255));
        assert_eq!(from_hex("00ff"), None);
        assert_eq!(from_hex(""), None);
    }
}
