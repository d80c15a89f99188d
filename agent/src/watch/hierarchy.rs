//! The hierarchy of cgroups, as far as sessions are made of it: below which ones the kernel side opens them, and what one is that was
//! made there.

use std::{collections::HashMap, fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use super::provisional::Provisional;
use crate::{
    container::{Meaning, Runtime, meaning},
    glob::Glob,
    probe::{Probe, cgroup_root},
};

/// Watched cgroups; the kernel side's table has room for as many.
const PREFIXES_MAX: usize = 60;
/// Levels that are looked through at the start.
const LEVELS_MAX: usize = 12;

/// What sessions are made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    pub(crate) containers: bool,
    /// Names of units.
    pub(crate) units: Vec<Glob>,
}

/// What a session of a cgroup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    Container(Runtime, String),
    Unit(String),
}

/// The watched cgroups.
pub(super) struct Hierarchy {
    rules: Rules,
    root: PathBuf,
    /// Kernel's id, and path in the hierarchy.
    prefixes: HashMap<u64, String>,
    full: bool,
    /// Containers and units that were there before their folder was watched; of those made since the start.
    late: u64,
    started: bool,
}

impl Rules {
    pub(crate) fn any(&self) -> bool {
        self.containers || !self.units.is_empty()
    }

    fn subject(&self, path: &str) -> Option<Subject> {
        match meaning(path) {
            Meaning::Container(runtime, id) if self.containers => Some(Subject::Container(runtime, id)),
            Meaning::Unit(name) if self.units.iter().any(|unit| unit.matches(name.as_bytes())) => {
                Some(Subject::Unit(name))
            }
            _ => None,
        }
    }
}

impl Hierarchy {
    pub(super) fn new(rules: Rules) -> anyhow::Result<Self> {
        Ok(Self { rules, root: cgroup_root()?, prefixes: HashMap::new(), full: false, late: 0, started: false })
    }

    /// Watches the hierarchy's root and every folder that sessions may be made in.
    ///
    /// # Errors
    /// If the kernel side fails, or the hierarchy cannot be read.
    pub(super) fn start(&mut self, probe: &mut Probe) -> anyhow::Result<()> {
        self.watch(probe, "")?;
        self.descend(probe, "", (0, false))?;
        self.started = true;
        Ok(())
    }

    /// How many could not be opened in time since the last look.
    pub(super) fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.late)
    }

    /// Below a folder that is watched: other folders. In one that nobody watched until now, what was made since the start has no session.
    fn descend(&mut self, probe: &mut Probe, path: &str, (level, unwatched): (usize, bool)) -> anyhow::Result<()> {
        // A folder may go while it is looked at.
        let Ok(entries) = fs::read_dir(self.on_disk(path)) else { return Ok(()) };
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let below = format!("{path}/{name}");
            if unwatched && self.rules.subject(&below).is_some() {
                self.late += 1;
            } else if meaning(&below) == Meaning::Parent && level < LEVELS_MAX {
                let is_new = !self.prefixes.values().any(|known| *known == below);
                if is_new && self.watch(probe, &below).is_err() {
                    continue;
                }
                self.descend(probe, &below, (level + 1, is_new && self.started))?;
            }
        }
        Ok(())
    }

    fn on_disk(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn watch(&mut self, probe: &mut Probe, path: &str) -> anyhow::Result<()> {
        let id = fs::metadata(self.on_disk(path))?.ino();
        self.prefix(probe, id, path)
    }

    fn prefix(&mut self, probe: &mut Probe, id: u64, path: &str) -> anyhow::Result<()> {
        let gone = |(id, path): (&u64, &String)| (!self.on_disk(path).exists()).then_some(*id);
        for id in self.prefixes.iter().filter_map(gone).collect::<Vec<_>>() {
            probe.forget_prefix(id)?;
            self.prefixes.remove(&id);
        }
        if self.prefixes.len() >= PREFIXES_MAX {
            if !std::mem::replace(&mut self.full, true) {
                crate::run::summary::warn(&format!(
                    "{PREFIXES_MAX} cgroups are watched, and {path} is not: containers and units made there are not seen"
                ));
            }
            return Ok(());
        }
        // Slots have no parents here: what is made is a session of its own.
        probe.watch_prefix(id, u32::MAX)?;
        self.prefixes.insert(id, path.to_owned());
        Ok(())
    }

    /// What a cgroup is that was made, and its path; none where that is nothing to watch. A folder of others is watched from here on.
    ///
    /// # Errors
    /// If the kernel side fails.
    pub(super) fn made(&mut self, probe: &mut Probe, made: &Provisional) -> anyhow::Result<Option<(Subject, String)>> {
        let (Some(above), Ok(name)) = (self.prefixes.get(&made.parent_id), str::from_utf8(&made.name)) else {
            return Ok(None);
        };
        let path = format!("{above}/{name}");
        if let Some(subject) = self.rules.subject(&path) {
            return Ok(Some((subject, path)));
        }
        if meaning(&path) == Meaning::Parent {
            self.prefix(probe, made.cgroup_id, &path)?;
            self.descend(probe, &path, (0, true))?;
        }
        Ok(None)
    }
}
