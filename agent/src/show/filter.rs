//! Which part of a trace is shown: by path, by process, by time.

use super::{
    statement::{Act, Contact, NameChange},
    text::Time,
    trace::{File, Process, Trace},
};
use crate::glob::Glob;

/// What is asked for; nothing asked is everything.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) path: Option<Glob>,
    pub(crate) pid: Option<u32>,
    pub(crate) since: Option<Time>,
    pub(crate) until: Option<Time>,
}

/// What is left.
pub(crate) struct Selection<'a> {
    pub(crate) trace: &'a Trace,
    /// Whether anything was asked for.
    pub(crate) narrowed: bool,
    /// By place in the trace's list: those that match, and those that lead to one that does.
    pub(crate) processes: Vec<Shown>,
    pub(crate) files: Vec<&'a File>,
    pub(crate) contacts: Vec<&'a Contact>,
    pub(crate) names: Vec<&'a NameChange>,
    pub(crate) acts: Vec<&'a Act>,
}

/// How a process is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Not at all.
    Not,
    /// Because a process below it is.
    AsParent,
    /// Because it is asked for.
    Yes,
}

impl Wanted {
    /// Takes from the trace what is wanted.
    pub(crate) fn select<'a>(&self, trace: &'a Trace) -> Selection<'a> {
        let files: Vec<&File> = trace.files.iter().filter(|file| self.file(trace, file)).collect();
        let names = trace.names().iter().filter(|change| self.name(trace, change)).collect::<Vec<_>>();
        let contacts = match &self.path {
            None => trace.contacts().iter().filter(|contact| self.contact(contact)).collect(),
            Some(_) => Vec::new(),
        };
        let acts = match &self.path {
            None => trace.acts().iter().filter(|act| self.act(trace, act)).collect(),
            Some(_) => Vec::new(),
        };
        let processes = self.processes(trace, &files, &names);
        Selection { trace, narrowed: self.any(), processes, files, contacts, names, acts }
    }

    fn any(&self) -> bool {
        self.path.is_some() || self.pid.is_some() || self.since.is_some() || self.until.is_some()
    }

    fn processes(&self, trace: &Trace, files: &[&File], names: &[&NameChange]) -> Vec<Shown> {
        let mut shown = vec![Shown::Not; trace.processes.len()];
        // By path, a process counts for what it did there.
        let touched = self.path.is_some().then(|| {
            let mut touched = vec![false; trace.processes.len()];
            let by_file = files.iter().flat_map(|file| file.who.iter().map(|(process, _)| *process));
            for process in by_file.chain(names.iter().map(|change| change.process as usize)) {
                if let Some(process) = touched.get_mut(process) {
                    *process = true;
                }
            }
            touched
        });
        for (index, process) in trace.processes.iter().enumerate() {
            let touched = touched.as_ref().is_none_or(|touched| touched.get(index) == Some(&true));
            if touched && self.process(process) {
                mark(trace, &mut shown, index);
            }
        }
        shown
    }

    fn process(&self, process: &Process) -> bool {
        let span = (process.start, process.end);
        self.pid.is_none_or(|pid| process.pid == pid) && self.overlaps(span.0, span.1)
    }

    fn file(&self, trace: &Trace, file: &File) -> bool {
        let path = self.path.as_ref().is_none_or(|glob| glob.matches(&file.path.bytes()));
        // Without the evidence an access has no time: those of a process that lived then are shown.
        let time = match file.times {
            Some((first, last)) => self.overlaps(Some(first), Some(last)),
            None => {
                let alive = |index: usize| {
                    trace.processes.get(index).is_some_and(|process| self.overlaps(process.start, process.end))
                };
                (self.since.is_none() && self.until.is_none()) || file.who.iter().any(|(index, _)| alive(*index))
            }
        };
        path && time && self.by_pid(trace, file.who.iter().map(|(index, _)| *index))
    }

    fn name(&self, trace: &Trace, change: &NameChange) -> bool {
        let matches = |glob: &Glob| {
            glob.matches(&change.path.bytes())
                || change.target.as_ref().is_some_and(|target| glob.matches(&target.bytes()))
        };
        self.path.as_ref().is_none_or(matches)
            && self.overlaps(Some(change.timestamp), Some(change.timestamp))
            && self.by_pid(trace, std::iter::once(change.process as usize))
    }

    fn contact(&self, contact: &Contact) -> bool {
        let pid = self.pid.is_none_or(|pid| contact.process.as_ref().is_some_and(|process| process.pid == pid));
        pid && self.overlaps(Some(contact.timestamp), Some(contact.last_on))
    }

    fn act(&self, trace: &Trace, act: &Act) -> bool {
        self.overlaps(Some(act.timestamp), Some(act.timestamp))
            && self.by_pid(trace, std::iter::once(act.process as usize))
    }

    fn by_pid(&self, trace: &Trace, mut processes: impl Iterator<Item = usize>) -> bool {
        let Some(pid) = self.pid else { return true };
        processes.any(|index| trace.processes.get(index).is_some_and(|process| process.pid == pid))
    }

    /// An end that is not known is one that never came.
    fn overlaps(&self, from: Option<Time>, to: Option<Time>) -> bool {
        let begun = self.until.is_none_or(|until| from.is_none_or(|from| from <= until));
        let going = self.since.is_none_or(|since| to.is_none_or(|to| to >= since));
        begun && going
    }
}

fn mark(trace: &Trace, shown: &mut [Shown], index: usize) {
    let mut next = Some(index);
    let mut how = Shown::Yes;
    while let Some(place) = next {
        match shown.get_mut(place) {
            Some(cell) if *cell == Shown::Not || how == Shown::Yes => *cell = how,
            _ => return,
        }
        how = Shown::AsParent;
        next = trace.processes.get(place).and_then(|process| process.parent);
    }
}
