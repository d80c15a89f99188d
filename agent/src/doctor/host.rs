//! What the host says of itself: kernel, type information, privileges, cgroups, who can sign, the clock.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    thread::{CapabilitySet, capabilities},
    time::{ClockId, clock_getres},
};
use spiffe::constants::SPIFFE_SOCKET_ENV;
use tpm_protocol::{Answer, Ask};

use super::{Check, Status, report};
use crate::{
    identity::{Identity, Workload},
    probe, sign,
    tpm::{self, Tpm},
};

const BTF: &str = "/sys/kernel/btf/vmlinux";
/// A coarser clock leaves many accesses within its grain of a change.
const GRAIN_NS_MAX: i64 = 10_000_000;

/// Release and whether it is new enough, as the probe judged it.
pub(super) fn kernel(probe: &Result<(), probe::Error>) -> Check {
    let uname = rustix::system::uname();
    let (release, machine) = (uname.release().to_string_lossy(), uname.machine().to_string_lossy());
    match probe {
        Err(error @ probe::Error::KernelTooOld(_)) => report::chain("kernel", error).action("boot a newer kernel"),
        _ => Check::new("kernel", Status::Ok, format!("{release} {machine}, new enough")),
    }
}

/// The kernel's own type information.
pub(super) fn btf() -> Check {
    match fs::metadata(BTF) {
        Ok(metadata) => Check::new("BTF", Status::Ok, format!("{BTF}, {} KiB", metadata.len() / 1024)),
        Err(error) => Check::new("BTF", Status::Fail, format!("{BTF}: {error}"))
            .action("boot a kernel that is built with CONFIG_DEBUG_INFO_BTF=y"),
    }
}

/// Capabilities that tracing needs, and those that make digests better.
pub(super) fn privileges() -> Check {
    const NEEDED: [(CapabilitySet, &str); 4] = [
        (CapabilitySet::BPF, "CAP_BPF"),
        (CapabilitySet::PERFMON, "CAP_PERFMON"),
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
        (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    ];
    const USEFUL: [(CapabilitySet, &str); 3] = [
        (CapabilitySet::LEASE, "CAP_LEASE"),
        (CapabilitySet::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
        (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
    ];
    let held = match capabilities(None) {
        Ok(sets) => sets.effective,
        Err(errno) => {
            return Check::new("privileges", Status::Fail, format!("the capabilities cannot be read: {errno}"));
        }
    };
    let missing = |list: &[(CapabilitySet, &'static str)]| {
        list.iter().filter(|(set, _)| !held.contains(*set)).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    };
    let (needed, useful) = (missing(&NEEDED), missing(&USEFUL));
    if !needed.is_empty() {
        return Check::new("privileges", Status::Fail, format!("missing: {needed}")).action("run it with sudo");
    }
    if !useful.is_empty() {
        return Check::new("privileges", Status::Warn, format!("missing: {useful}: some files will get no digest"))
            .action("run it with sudo");
    }
    Check::new("privileges", Status::Ok, "every capability that tracing needs")
}

/// Where cgroup v2 is, whether version 1 stands beside it, and whether a cgroup can be made there.
pub(super) fn cgroup() -> Check {
    let root = match probe::cgroup_root() {
        Ok(root) => root,
        Err(error) => return report::chain("cgroup v2", &error).action("mount -t cgroup2 none /sys/fs/cgroup"),
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let hybrid = if mounts.contains(" - cgroup ") { " (hybrid: version 1 stands beside it)" } else { "" };
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").trim_start_matches('/').to_owned();
    let trial = root.join(own).join(format!("testimony-doctor-{}", std::process::id()));
    match fs::create_dir(&trial) {
        Ok(()) => {
            let _ = fs::remove_dir(&trial);
            Check::new("cgroup v2", Status::Ok, format!("{}{hybrid}, a cgroup can be made", root.display()))
        }
        Err(error) => {
            let says =
                format!("{}{hybrid}, no cgroup can be made there ({error}): membership by inheritance", root.display());
            Check::new("cgroup v2", Status::Warn, says)
                .action("run where the cgroup hierarchy is writable, to also follow tasks by it")
        }
    }
}

/// The key: as `run` would take it, without making it.
pub(super) fn key(path: &Path) -> Check {
    match sign::load(path) {
        Ok(key) => Check::new("key", Status::Ok, format!("{}, key id {}", path.display(), key.public().keyid())),
        Err(sign::KeyError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            let parent = path.ancestors().skip(1).find(|parent| parent.is_dir() || parent.as_os_str().is_empty());
            let writable = parent.is_some_and(|parent| {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                rustix::fs::access(parent, rustix::fs::Access::WRITE_OK).is_ok()
            });
            let says = format!("{} is not there yet", path.display());
            if writable {
                Check::new("key", Status::Ok, format!("{says}: the first run makes it"))
            } else {
                Check::new("key", Status::Fail, format!("{says}, and cannot be made"))
                    .action("name another with --key FILE")
            }
        }
        Err(error) => report::chain("key", &error).action("mend it, or name another with --key FILE"),
    }
}

/// The SVID: what the Workload API gives, if one is named.
pub(super) fn svid() -> Check {
    const NAME: &str = "SVID";
    const WAIT: Duration = Duration::from_secs(2);
    if std::env::var_os(SPIFFE_SOCKET_ENV).is_none() {
        return Check::new(NAME, Status::Ok, format!("{SPIFFE_SOCKET_ENV} is not set: a key file signs"));
    }
    match Workload::connect(None).and_then(|workload| workload.identity(Instant::now() + WAIT)) {
        Ok(Identity { svid, .. }) => {
            let until = attestation::time::utc(svid.not_after());
            Check::new(NAME, Status::Ok, format!("{}, valid until {until}: `--signer spiffe` signs with it", svid.id()))
        }
        Err(error) => Check { status: Status::Warn, ..report::chain(NAME, &error) }
            .action("mend it, or sign with a key file; SPIRE needs a registration entry for this user and program"),
    }
}

/// The TPM: what can be sealed and signed there.
pub(super) fn tpm(args: &tpm::Args) -> Check {
    const NAME: &str = "TPM";
    match Tpm::new(args, None).ask(Ask::Identify { certified: false }) {
        Ok(Answer::Identity(identity)) => {
            let certified = identity.endorsement.iter().any(|key| key.certificate.is_some());
            let by =
                if certified { "its maker's certificate is there" } else { "without a certificate of its maker's" };
            let (maker, model) = (&identity.manufacturer, &identity.model);
            let says = format!(
                "{maker} {model}, {by}: `--signer tpm` signs, `--seal-pcr PCR` seals, `testimony enrol` enrols"
            );
            Check::new(NAME, Status::Ok, says)
        }
        Ok(_) => report::chain(NAME, &tpm::Error::Answer),
        Err(error) if error.is_absence() => {
            Check::new(NAME, Status::Ok, format!("{}: nothing is sealed, and no key of a TPM signs", error))
        }
        Err(error) => Check { status: Status::Warn, ..report::chain(NAME, &error) }
            .action("mend it, or go without --seal-pcr and --signer tpm"),
    }
}

/// The grain of the clock that stamps changes of files.
pub(super) fn clock() -> Check {
    let grain = clock_getres(ClockId::RealtimeCoarse);
    let ns = grain.tv_sec * 1_000_000_000 + grain.tv_nsec;
    let says = format!("changes of files are stamped to {}.{} ms", ns / 1_000_000, ns % 1_000_000 / 100_000);
    if ns <= GRAIN_NS_MAX {
        Check::new("clock grain", Status::Ok, says)
    } else {
        Check::new("clock grain", Status::Warn, says).action("wait a moment between preparing inputs and starting")
    }
}
