//! What the agent keeps of root's rights: by its configuration, what tracing takes, or what is left to do without it. The rest is given up
//! before a thread is started, and nothing that it runs has more.

use anyhow::Context as _;
use rights::CapabilitySet;

use super::Settings;

/// What sessions take, and each for what. systemd/README.md has them too.
const TRACING: &[CapabilitySet] = &[
    // Programs and maps are loaded, tracing programs among them, and attached to cgroups.
    CapabilitySet::BPF,
    CapabilitySet::PERFMON,
    CapabilitySet::NET_ADMIN,
    // Programs that others have loaded are listed; mount namespaces are entered, for the files that processes name there.
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::SYS_CHROOT,
    // Which functions of the kernel the programs of others call: one of which that is not known may do anything.
    CapabilitySet::SYSLOG,
    // /proc of other users' processes: their namespaces and descriptors.
    CapabilitySet::SYS_PTRACE,
    // Cgroups of other users are entered, and files read that root's own sessions read.
    CapabilitySet::DAC_OVERRIDE,
    CapabilitySet::DAC_READ_SEARCH,
    // Files of a user's session are read with that user's rights, and leases asked for on those of others.
    CapabilitySet::SETUID,
    CapabilitySet::SETGID,
    CapabilitySet::LEASE,
    // Known acts ask a name server, in a network of their own: a service below port 1024.
    CapabilitySet::NET_BIND_SERVICE,
    // The thread that empties the ring goes before others.
    CapabilitySet::SYS_NICE,
];

/// What others ask for takes besides: the socket is given to the group that may use it.
const ASKED: &[CapabilitySet] = &[CapabilitySet::CHOWN];

/// What a statement takes that waited for its signer: it is written where its run was, for whose it was.
const LATER: &[CapabilitySet] = &[CapabilitySet::DAC_OVERRIDE, CapabilitySet::DAC_READ_SEARCH, CapabilitySet::CHOWN];

/// Keeps that, as far as it is there, and says so.
///
/// # Errors
/// If more is left.
pub(super) fn keep(settings: &Settings) -> anyhow::Result<()> {
    let kept = rights::keep(wanted(settings)).context("the capabilities that are not needed cannot be given up")?;
    let listed = if kept.is_empty() { "none".to_owned() } else { rights::listed(kept).join(" ") };
    eprintln!("testimony: capabilities kept: {listed}");
    Ok(())
}

fn wanted(settings: &Settings) -> CapabilitySet {
    let mut wanted = LATER.to_vec();
    if settings.traces() {
        wanted.extend(TRACING);
    }
    if settings.control.is_some() {
        wanted.extend(ASKED);
    }
    wanted.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> CapabilitySet {
        let tls = "[tls]\ncertificate = 'c'\nkey = 'k'\nauthorities = 'a'\n[collector]\nhost = 'c'\n";
        wanted(&config::parse::<Settings>("agent.toml", &format!("{tls}{text}")).unwrap())
    }

    #[test]
    fn who_only_delivers_keeps_nothing_of_tracing() {
        let delivers = of("");
        assert!(TRACING.iter().all(|one| LATER.contains(one) || !delivers.contains(*one)), "{delivers:?}");
        let traces = of("[control]\n");
        assert!(TRACING.iter().chain(ASKED).all(|one| traces.contains(*one)));
        assert!(of("[sessions]\ncontainers = true\n").contains(CapabilitySet::BPF));
    }

    #[test]
    fn nothing_is_kept_by_which_the_kernel_itself_could_be_changed() {
        let all = of("[control]\n");
        let never =
            CapabilitySet::SYS_MODULE | CapabilitySet::SYS_RAWIO | CapabilitySet::SYS_BOOT | CapabilitySet::MKNOD;
        assert!(!all.intersects(never | CapabilitySet::SETPCAP | CapabilitySet::SETFCAP | CapabilitySet::MAC_ADMIN));
    }
}
