//! A statement in the form in which it is shown: processes with their programs, files with who accessed them.

use std::collections::HashMap;

use attestation::codes;

use super::{
    statement::{Contact, Finding, Hook, NameChange, Program, Statement},
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
    pub(crate) access: u8,
    pub(crate) accesses: u64,
    pub(crate) size: u64,
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
            sha256: entry.digest.map(|digest| digest.sha256),
            accesses: entry.annotations.accesses,
            size: entry.annotations.size,
            deleted: entry.annotations.deleted,
            product: entry.annotations.product,
            who: entry.annotations.processes.into_iter().map(|id| (id as usize, None)).collect(),
            times: None,
        };
        Self { files: entries.into_iter().map(file).collect(), processes, statement }
    }

    pub(crate) fn contacts(&self) -> &[Contact] {
        &self.statement.predicate.monitor_log.network
    }

    pub(crate) fn names(&self) -> &[NameChange] {
        &self.statement.predicate.testimony.name_changes
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
        let mut next = Some(index);
        while let Some(process) = next.and_then(|index| self.processes.get(index)) {
            if let Some(exec) = process.execs.last() {
                return exec.binary.rsplit('/').next().unwrap_or_default();
            }
            next = process.parent;
        }
        "?"
    }
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
