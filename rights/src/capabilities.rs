//! Capabilities: those that are kept, and the end of every other.

use std::io;

use rustix::{
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
};

/// Gives up every capability but these, for this thread and those that it starts, and for programs that they run; returns what it has
/// now, which is less where it had less.
///
/// # Errors
/// If the kernel does not take them away.
pub fn keep(wanted: CapabilitySet) -> io::Result<CapabilitySet> {
    // A program that is run later gains none by its file or by its user being root.
    set_no_new_privs(true)?;
    match clear_ambient_capability_set() {
        // Of kernels before 4.3.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    let held = capabilities(None)?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        bound(wanted)?;
    }
    let kept = held.permitted & wanted;
    let wanted = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    // Who has none may be forbidden the very call.
    if held != wanted {
        set_capabilities(None, wanted)?;
    }
    let sets = capabilities(None)?;
    if sets.permitted != kept || sets.effective != kept {
        return Err(io::Error::other("the kernel left capabilities that were given up"));
    }
    Ok(kept)
}

/// Those that no program can have any more; one that this kernel does not know is none.
fn bound(wanted: CapabilitySet) -> io::Result<()> {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if wanted.contains(one) || capability_is_in_bounding_set(one) != Ok(true) {
            continue;
        }
        remove_capability_from_bounding_set(one)?;
    }
    Ok(())
}

/// What this thread has now.
///
/// # Errors
/// If the kernel does not say.
pub fn held() -> io::Result<CapabilitySet> {
    Ok(capabilities(None)?.permitted)
}

/// Their names, as capabilities(7) has them; one without a name by its number.
#[must_use]
pub fn listed(set: CapabilitySet) -> Vec<String> {
    let bits = (0..u64::BITS).map(|bit| (bit, CapabilitySet::from_bits_retain(1 << bit)));
    let held = bits.filter(|(_, one)| set.contains(*one));
    held.map(|(bit, one)| match one.iter_names().next() {
        Some((name, _)) => format!("CAP_{name}"),
        None => format!("capability {bit}"),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command, thread};

    use super::*;

    /// The sets of a status file of /proc, in hexadecimal.
    fn sets(status: &str) -> Vec<String> {
        let lines = status.lines().filter(|line| line.starts_with("Cap") || line.starts_with("NoNewPrivs"));
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn what_is_not_kept_is_gone_for_the_thread_and_for_what_it_runs() {
        // A thread's own rights: those of the other tests are left alone.
        let (kept, own, childs) = thread::spawn(|| {
            let kept = keep(CapabilitySet::KILL | CapabilitySet::BPF).unwrap();
            let own = fs::read_to_string("/proc/thread-self/status").unwrap();
            let child = Command::new("cat").arg("/proc/self/status").output().unwrap();
            (kept, own, String::from_utf8(child.stdout).unwrap())
        })
        .join()
        .unwrap();
        let mask = format!("{:016x}", kept.bits());
        for status in [&own, &childs] {
            let sets = sets(status);
            assert!(sets.contains(&format!("CapPrm: {mask}")), "{sets:?}");
            assert!(sets.contains(&"CapInh: 0000000000000000".to_owned()), "{sets:?}");
            assert!(sets.contains(&"CapAmb: 0000000000000000".to_owned()), "{sets:?}");
            assert!(sets.contains(&"NoNewPrivs: 1".to_owned()), "{sets:?}");
        }
    }

    #[test]
    fn all_may_be_given_up_and_none_comes_back() {
        let (kept, again) =
            thread::spawn(|| (keep(CapabilitySet::empty()), keep(CapabilitySet::all()))).join().unwrap();
        assert_eq!((kept.unwrap(), again.unwrap()), (CapabilitySet::empty(), CapabilitySet::empty()));
    }

    #[test]
    fn they_are_listed_by_name() {
        assert_eq!(listed(CapabilitySet::BPF | CapabilitySet::CHOWN), ["CAP_CHOWN", "CAP_BPF"]);
        assert_eq!(listed(CapabilitySet::from_bits_retain(1 << 63)), ["capability 63"]);
        assert_eq!(listed(CapabilitySet::empty()), Vec::<String>::new());
    }
}
