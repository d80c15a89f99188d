//! A statement in the form in which it is shown: processes with their programs, files with who accessed them.

use std::collections::HashMap;

use attestation::codes;

use super::statement::Measure;
use super::{
    statement::{Act, Contact, Finding, Hook, NameChange, Program, Statement},
    text::{Text, Time},
};

/// One process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: Option<usize>,
    pub(crate) origin: Text,
    pub(crate) start: Option<Time>,
    pub(crate) end: Option<Time>,
    pub(crate) exit_code: Option<u32>,
    pub(crate) signal: Option<u32>,
    /// What it ran, in order.
    pub(crate) execs: Vec<Exec>,
}

/// One program that a process ran.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) binary: Text,
    pub(crate) arguments: Vec<Text>,
    pub(crate) directory: Option<Text>,
    pub(crate) uid: Option<u32>,
    pub(crate) time: Option<Time>,
}

/// One file version.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: Text,
    pub(crate) class: Text,
    pub(crate) reason: Option<Text>,
    pub(crate) sha256: Option<Text>,
    pub(crate) measure: Option<Measure>,
    pub(crate) access: u8,
    pub(crate) accesses: u64,
    pub(crate) size: u64,
    pub(crate) dev: Text,
    pub(crate) ino: Text,
    pub(crate) deleted: bool,
    pub(crate) product: bool,
    /// Who, and how where the evidence tells it.
    pub(crate) who: Vec<(usize, Option<u8>)>,
    /// First and last access, where the evidence tells them.
    pub(crate) times: Option<(Time, Time)>,
}

/// All of it.
pub(crate) struct Trace {
    pub(crate) statement: Statement,
    pub(crate) processes: Vec<Process>,
    pub(crate) files: Vec<File>,
    /// By process, the one whose program names it.
    named: Vec<Option<usize>>,
}

impl Process {
    /// Whether it ran something with this as its last argument.
    pub(crate) fn ran(&self, argument: &[u8]) -> bool {
        self.execs.iter().any(|exec| exec.arguments.last().is_some_and(|last| last.bytes() == argument))
    }
}

impl Trace {
    pub(crate) fn new(mut statement: Statement) -> Self {
        let log = &mut statement.predicate.monitor_log;
        let (programs, entries) = (std::mem::take(&mut log.process), std::mem::take(&mut log.file_access));
        let processes = processes(programs);
        let file = |entry: super::statement::FileEntry| File {
            access: entry.annotations.bits(),
            path: entry.name,
            class: entry.annotations.class,
            reason: entry.annotations.reason,
            measure: entry.annotations.measure,
            sha256: entry.digest.map(|digest| digest.sha256),
            accesses: entry.annotations.accesses,
            size: entry.annotations.size,
            dev: entry.annotations.dev,
            ino: entry.annotations.ino,
            deleted: entry.annotations.deleted,
            product: entry.annotations.product,
            who: entry.annotations.processes.into_iter().map(|id| (id as usize, None)).collect(),
            times: None,
        };
        let (files, named) = (entries.into_iter().map(file).collect(), named(&processes));
        Self { files, named, processes, statement }
    }

    pub(crate) fn contacts(&self) -> &[Contact] {
        &self.statement.predicate.monitor_log.network
    }

    pub(crate) fn names(&self) -> &[NameChange] {
        &self.statement.predicate.testimony.name_changes
    }

    /// Names of the files by superblock and inode.
    pub(crate) fn names_of_inodes(&self) -> HashMap<(&str, &str), &str> {
        self.files.iter().map(|file| ((&*file.dev, &*file.ino), &*file.path)).collect()
    }

    pub(crate) fn acts(&self) -> &[Act] {
        &self.statement.predicate.testimony.acts
    }

    /// What ended completeness, and then what was noticed without ending it.
    pub(crate) fn findings(&self) -> impl Iterator<Item = &Finding> {
        let testimony = &self.statement.predicate.testimony;
        let all = || testimony.gaps.iter().chain(&testimony.blind_spots);
        all().filter(|finding| finding.ends_completeness).chain(all().filter(|finding| !finding.ends_completeness))
    }

    pub(crate) fn complete(&self) -> bool {
        self.statement.predicate.testimony.complete
    }

    pub(crate) fn level(&self) -> &Text {
        &self.statement.predicate.testimony.coverage_level
    }

    pub(crate) fn coverage(&self) -> &[Hook] {
        &self.statement.predicate.testimony.coverage
    }

    pub(crate) fn started(&self) -> Time {
        self.statement.predicate.metadata.build_started_on
    }

    /// A process by its index: the name of its last program, and its pid.
    pub(crate) fn who(&self, index: usize) -> String {
        match self.processes.get(index) {
            Some(process) => format!("{}[{}]", self.name_of(index), process.pid),
            None => format!("process {index}"),
        }
    }

    /// The name of what a process ran last; of one that ran nothing, its nearest parent's.
    fn name_of(&self, index: usize) -> &str {
        let named = self.named.get(index).and_then(|named| self.processes.get((*named)?));
        let last = named.and_then(|process| process.execs.last());
        last.map_or("?", |exec| exec.binary.rsplit('/').next().unwrap_or_default())
    }
}

/// For each process the one whose program names it: itself, or its nearest parent that ran one. Parents come first in the
/// list, so one pass does, however long a chain of forks is.
fn named(processes: &[Process]) -> Vec<Option<usize>> {
    let mut named: Vec<Option<usize>> = Vec::with_capacity(processes.len());
    for (index, process) in processes.iter().enumerate() {
        let inherited = || process.parent.and_then(|parent| named.get(parent).copied().flatten());
        named.push(if process.execs.is_empty() { inherited() } else { Some(index) });
    }
    named
}

/// A file whose reason is a code has a meaning.
pub(crate) fn meaning(code: &str) -> &'static str {
    codes::find(code).map_or("A code that this version does not know.", |code| code.meaning)
}

/// Entries of one process become one process. Ids are places in the list; one that leads backwards is no parent, so that
/// no lie about parents makes a circle.
fn processes(programs: Vec<Program>) -> Vec<Process> {
    let mut list: Vec<Process> = Vec::new();
    let mut places: HashMap<u32, usize> = HashMap::new();
    for program in programs {
        let place = *places.entry(program.id).or_insert(list.len());
        if place == list.len() {
            let parent = program.parent.and_then(|id| places.get(&id).copied()).filter(|parent| *parent < place);
            list.push(Process {
                pid: program.pid,
                parent,
                origin: program.origin.clone(),
                start: program.start,
                end: program.end,
                exit_code: program.exit_code,
                signal: program.signal,
                execs: Vec::new(),
            });
        }
        let exec = program.process_binary.map(|binary| Exec {
            binary,
            arguments: program.arguments,
            directory: program.cwd,
            uid: program.uid,
            time: program.executed_on,
        });
        if let (Some(process), Some(exec)) = (list.get_mut(place), exec) {
            process.execs.push(exec);
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(id: u32, parent: Option<u32>, binary: Option<&str>) -> Program {
        let mut entry = serde_json::json!({ "id": id, "pid": id + 100, "parent": parent, "origin": "forked" });
        if let Some(binary) = binary {
            entry["processBinary"] = binary.into();
        }
        serde_json::from_value(entry).unwrap()
    }

    #[test]
    fn entries_of_one_process_are_one_and_a_parent_comes_before_its_child() {
        let list = processes(vec![
            program(0, Some(0), Some("/bin/sh")),
            program(1, Some(0), None),
            program(0, None, Some("/bin/cat")),
            program(2, Some(7), None),
        ]);
        assert_eq!(list.iter().map(|process| process.parent).collect::<Vec<_>>(), [None, Some(0), None]);
        assert_eq!(list[0].execs.len(), 2);
        assert_eq!(named(&list), [Some(0), Some(0), None]);
    }

    #[test]
    fn a_long_chain_of_forks_is_named_in_one_pass() {
        let chain = (0..200_000).map(|id: u32| program(id, id.checked_sub(1), (id == 0).then_some("/bin/sh")));
        let list = processes(chain.collect());
        assert!(named(&list).iter().all(|named| *named == Some(0)));
    }
}
