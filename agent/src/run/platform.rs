//! What the session says of the host and of its hooks.

use std::{fs, io, thread};

use anyhow::Context;
use proto::evidence::{Hook, Level, Platform};
use sha2::{Digest, Sha256};

use crate::probe::Probe;

/// Tag before a host's id is hashed: the plain machine id is not to be published (machine-id(5)).
const HOST_ID_TAG: &[u8] = b"testimony host id v1\0";

/// The kernel's random id of this boot.
pub(super) fn boot_id() -> anyhow::Result<[u8; 16]> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("the boot id cannot be read")?;
    from_hex(&text).context("the boot id is malformed")
}

/// A stable id of the host, from /etc/machine-id; empty where there is none.
pub(super) fn host_id() -> Vec<u8> {
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

/// The digest of this program's own file, taken while the kernel side is loaded.
pub(super) struct Program {
    digest: Option<thread::JoinHandle<io::Result<[u8; 32]>>>,
}

impl Program {
    pub(super) fn digest() -> Self {
        let digest = thread::Builder::new().spawn(|| Ok(Sha256::digest(fs::read("/proc/self/exe")?).into()));
        Self { digest: digest.ok() }
    }

    fn take(&mut self) -> anyhow::Result<[u8; 32]> {
        let digest = self.digest.take().context("a thread could not be started")?;
        let digest = digest.join().map_err(|_| anyhow::anyhow!("the digest of this program failed"))?;
        digest.context("this program cannot be read")
    }
}

pub(super) fn platform(program: &mut Program) -> anyhow::Result<Platform> {
    let uname = rustix::system::uname();
    Ok(Platform {
        kernel_release: uname.release().to_string_lossy().into_owned(),
        machine: uname.machine().to_string_lossy().into_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        agent_sha256: program.take()?.to_vec(),
        cpus: thread::available_parallelism().map_or(0, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
    })
}

/// The hooks in place, as the log tells them.
pub(super) fn hooks(probe: &Probe) -> Vec<Hook> {
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
