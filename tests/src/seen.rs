//! Acts as the log tells them, one by one and with their repeats: what the statement folds into edges.

use std::collections::HashMap;

use proto::evidence::{Event, File, Network, event, frame, name_change::Operation};

use crate::record::Record;

/// Accesses of one file by one process, of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Who.
    pub pid: u32,
    /// What, as it was when it was first told.
    pub file: File,
    /// Bits of `access`.
    pub access: u32,
    /// How often: this event and the repeats folded into it.
    pub count: u64,
    /// When the first was.
    pub boottime_ns: u64,
}

/// A change of names by a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Who.
    pub pid: u32,
    /// What was done.
    pub operation: Operation,
    /// The name.
    pub path: Vec<u8>,
    /// The second name, or a symlink's text.
    pub target: Vec<u8>,
    /// Whether the names come from the program's memory, where `..` is not resolved.
    pub as_given: bool,
    /// 0 or -errno.
    pub result: i32,
    /// When.
    pub boottime_ns: u64,
}

/// An act on a socket.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer {
    /// Who.
    pub pid: u32,
    /// What.
    pub act: Network,
    /// How often.
    pub count: u64,
    /// When the first was.
    pub boottime_ns: u64,
}

type Number = (u32, u32, u32, u64);

impl Record {
    fn events(&self) -> impl Iterator<Item = &Event> {
        self.frames.iter().filter_map(|frame| match &frame.body {
            Some(frame::Body::Event(event)) => Some(event),
            _ => None,
        })
    }

    /// Repeats by the number of the event that stands for them.
    fn repeats(&self) -> HashMap<Number, u64> {
        let mut repeats = HashMap::new();
        for frame in &self.frames {
            if let Some(frame::Body::Folded(folded)) = &frame.body {
                let number = (folded.epoch, folded.hook, folded.cpu, folded.number);
                *repeats.entry(number).or_insert(0) += folded.count;
            }
        }
        repeats
    }

    /// Every open.
    #[must_use]
    pub fn opens(&self) -> Vec<Opened> {
        let repeats = self.repeats();
        let mut files: HashMap<u64, File> = HashMap::new();
        let mut opens = Vec::new();
        for event in self.events() {
            // A program's file may be told by its exec; where it was told before, only its id stands there.
            if let Some(binary) = exec_binary(event) {
                files.entry(binary.id).or_insert_with(|| binary.clone());
            }
            let Some(event::Body::Open(open)) = &event.body else { continue };
            if let Some(file) = &open.file {
                files.insert(file.id, file.clone());
            }
            let file = files.get(&open.file_id).unwrap_or_else(|| panic!("file {} was never told", open.file_id));
            opens.push(Opened {
                pid: event.pid,
                file: file.clone(),
                access: open.access,
                count: 1 + repeats.get(&number(event)).copied().unwrap_or(0),
                boottime_ns: event.boottime_ns,
            });
        }
        opens
    }

    /// Every change of names.
    #[must_use]
    pub fn names(&self) -> Vec<Named> {
        let mut names = Vec::new();
        for event in self.events() {
            let Some(event::Body::Name(change)) = &event.body else { continue };
            names.push(Named {
                pid: event.pid,
                operation: change.operation(),
                path: change.path.clone(),
                target: change.target.clone(),
                as_given: change.level() == proto::evidence::Level::UserArgument,
                result: change.result,
                boottime_ns: event.boottime_ns,
            });
        }
        names
    }

    /// Every act on a socket.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        let repeats = self.repeats();
        let mut peers = Vec::new();
        for event in self.events() {
            let Some(event::Body::Network(act)) = &event.body else { continue };
            let count = 1 + repeats.get(&number(event)).copied().unwrap_or(0);
            peers.push(Peer { pid: event.pid, act: act.clone(), count, boottime_ns: event.boottime_ns });
        }
        peers
    }
}

fn exec_binary(event: &Event) -> Option<&File> {
    match &event.body {
        Some(event::Body::Exec(exec)) => exec.binary.as_ref(),
        _ => None,
    }
}

fn number(event: &Event) -> Number {
    (event.epoch, event.hook, event.cpu, event.number)
}
