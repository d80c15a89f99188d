//! Files: those that a program needs, and none else, by Landlock.

use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, PathFdError, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};

/// What is restricted where the kernel knows it: files from Linux 5.13 on, signals from 6.12. Of what came later, unix sockets are
/// left: they are how a service manager and a Workload API are reached.
const KNOWN: ABI = ABI::V6;

/// What a program needs.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Folders and files to read, with all below them. One that is not there yet is left out.
    pub read: Vec<PathBuf>,
    /// Folders to write in, with all below them.
    pub write: Vec<PathBuf>,
}

/// How far the kernel holds it to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// In all that was asked for.
    Whole,
    /// In what this kernel knows of it.
    Partly,
    /// Not at all: this kernel has no Landlock, or somebody forbids its calls.
    No,
}

/// Why it cannot be held to them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A place that is to be written in is not there.
    #[error("{path} cannot be opened", path = path.display())]
    Place {
        /// Which.
        path: PathBuf,
        /// Why.
        source: PathFdError,
    },
    /// The kernel refuses.
    #[error("Landlock refuses")]
    Refused(#[from] RulesetError),
}

/// Has the kernel refuse this thread, and those that it starts, all else.
///
/// # Errors
/// If it cannot be held to that; a kernel that knows less is no error.
pub fn hold(needs: &Needs) -> Result<Held, Error> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .scope(Scope::Signal)?
        .create()?;
    for path in &needs.read {
        let Ok(place) = PathFd::new(path) else { continue };
        // What is asked of a file is not what is asked of a folder; the crate leaves out what does not fit.
        rules = rules.add_rule(PathBeneath::new(place, AccessFs::from_read(KNOWN) & !AccessFs::Execute))?;
    }
    for path in &needs.write {
        let place = PathFd::new(path).map_err(|source| Error::Place { path: path.clone(), source })?;
        rules = rules.add_rule(PathBeneath::new(place, written()))?;
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Held::Whole,
        RulesetStatus::PartiallyEnforced => Held::Partly,
        RulesetStatus::NotEnforced => Held::No,
    })
}

/// What a store does with its files: no devices, no sockets, no links to elsewhere, and nothing is run.
fn written() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
}

#[cfg(test)]
mod tests {
    use std::{fs, io, process::Command, thread};

    use super::*;

    fn denied<T>(did: io::Result<T>) -> bool {
        did.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    #[test]
    fn what_is_not_named_is_refused() {
        let (mine, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = other.path().join("file");
        fs::write(&file, "x").unwrap();
        thread::scope(|scope| {
            let body = || {
                let needs = Needs { write: vec![mine.path().to_owned()], ..Needs::default() };
                let held = hold(&needs).unwrap();
                assert_ne!(held, Held::No, "this kernel has no Landlock, or its calls are forbidden here");
                let own = mine.path().join("own");
                fs::write(&own, "x").unwrap();
                fs::rename(&own, mine.path().join("other")).unwrap();
                fs::remove_file(mine.path().join("other")).unwrap();
                assert!(denied(fs::read(&file)) && denied(fs::write(&file, "y")) && denied(fs::remove_file(&file)));
                assert!(denied(fs::read_dir("/etc")) && denied(Command::new("/bin/true").status()));
                assert!(denied(fs::rename(&file, mine.path().join("taken"))));
            };
            scope.spawn(body).join().unwrap();
        });
        // Whoever did not ask for it is free.
        assert_eq!(fs::read_to_string(&file).unwrap(), "x");
    }

    #[test]
    fn a_store_that_is_not_there_is_said_and_what_may_come_later_is_not() {
        let body = || {
            let gone = PathBuf::from("/nowhere/store");
            let refused = hold(&Needs { write: vec![gone.clone()], ..Needs::default() });
            assert!(matches!(refused, Err(Error::Place { path, .. }) if path == gone));
            hold(&Needs { read: vec![gone.clone()], ..Needs::default() }).unwrap();
        };
        thread::spawn(body).join().unwrap();
    }
}
