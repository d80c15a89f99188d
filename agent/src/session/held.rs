//! Arguments that are not whole yet: with rules of redaction nothing of them is written before all of them are here.

use std::collections::HashMap;

use agent_ebpf::flag;
use proto::evidence::{self as log, event::Body};

use crate::redact::Redaction;

/// What an exec says instead of the bytes of its arguments, which would tell how long a secret is. Parts that are whole say how
/// many there are; where they never become whole, it stays, and says that arguments are missing.
const UNTOLD_BYTES: u32 = 1;

/// Parts of arguments by their process.
#[derive(Debug, Default)]
pub(super) struct Held(HashMap<u32, Parts>);

#[derive(Debug, Default)]
struct Parts {
    events: Vec<log::Event>,
    expected: usize,
    here: usize,
}

impl Held {
    /// Takes an event, and gives back what may be written now, in this order. Only parts are held: other events may refer to
    /// what an exec defines.
    pub(super) fn take(&mut self, mut event: log::Event, redaction: &Redaction) -> Vec<log::Event> {
        let pid = event.pid;
        match &mut event.body {
            Some(Body::Exec(exec)) => {
                let mut events = self.0.remove(&pid).map_or_else(Vec::new, Parts::without);
                if exec.args_bytes > 0 {
                    let expected = exec.args_bytes as usize;
                    self.0.insert(pid, Parts { expected, ..Parts::default() });
                    exec.args_bytes = UNTOLD_BYTES;
                }
                events.push(event);
                events
            }
            Some(Body::ExecArgs(args)) => {
                let here = args.data.len();
                let parts = self.0.entry(pid).or_default();
                parts.here += here;
                parts.events.push(event);
                if parts.here < parts.expected {
                    return Vec::new();
                }
                self.0.remove(&pid).map_or_else(Vec::new, |parts| parts.redacted(redaction))
            }
            // Nothing more comes of a process that ended.
            Some(Body::Exit(_)) => {
                let mut events = self.0.remove(&pid).map_or_else(Vec::new, Parts::without);
                events.push(event);
                events
            }
            _ => vec![event],
        }
    }

    /// What never became whole.
    pub(super) fn rest(&mut self) -> Vec<log::Event> {
        self.0.drain().flat_map(|(_, parts)| parts.without()).collect()
    }
}

impl Parts {
    /// As they may be written, in as many parts as came: each has a number that must be there.
    fn redacted(mut self, redaction: &Redaction) -> Vec<log::Event> {
        let mut parts: Vec<(u32, &[u8])> = self.events.iter().filter_map(part).collect();
        parts.sort_unstable_by_key(|(offset, _)| *offset);
        let mut arguments = Vec::with_capacity(self.here);
        for (offset, data) in &parts {
            if *offset as usize != arguments.len() {
                return self.without();
            }
            arguments.extend_from_slice(data);
        }
        // A part that could not be read has zeros where a rule would have found something.
        if arguments.len() != self.expected || self.events.iter().any(|event| event.flags & flag::TRUNCATIONS != 0) {
            return self.without();
        }
        let said = redaction.arguments(&arguments);
        let args_bytes = u32::try_from(said.len()).unwrap_or(u32::MAX);
        let mut chunks = said.chunks(said.len().div_ceil(parts.len()).max(1));
        let mut at = 0;
        for event in &mut self.events {
            if let Some(Body::ExecArgs(args)) = &mut event.body {
                args.data = chunks.next().unwrap_or_default().to_vec();
                args.offset = at;
                args.args_bytes = Some(args_bytes);
                at += u32::try_from(args.data.len()).unwrap_or(u32::MAX);
            }
        }
        self.events
    }

    /// Without what they say: a rule may need what is not here.
    fn without(mut self) -> Vec<log::Event> {
        for event in &mut self.events {
            if let Some(Body::ExecArgs(args)) = &mut event.body {
                args.data.clear();
                args.offset = 0;
            }
        }
        self.events
    }
}

fn part(event: &log::Event) -> Option<(u32, &[u8])> {
    match &event.body {
        Some(Body::ExecArgs(args)) => Some((args.offset, &args.data)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(body: Body) -> log::Event {
        log::Event { pid: 7, body: Some(body), ..log::Event::default() }
    }

    fn exec(args_bytes: u32) -> log::Event {
        event(Body::Exec(log::Exec { args_bytes, ..log::Exec::default() }))
    }

    fn args(offset: u32, data: &[u8]) -> log::Event {
        event(Body::ExecArgs(log::ExecArgs { offset, data: data.to_vec(), args_bytes: None }))
    }

    fn redaction() -> Redaction {
        Redaction::new(&["secret".to_owned()]).unwrap()
    }

    fn text(events: &[log::Event]) -> Vec<u8> {
        events.iter().filter_map(part).flat_map(|(_, data)| data.to_vec()).collect()
    }

    #[test]
    fn a_secret_across_two_parts_is_none_in_either() {
        let (mut held, redaction) = (Held::default(), redaction());
        let told = held.take(exec(12), &redaction);
        let [log::Event { body: Some(Body::Exec(exec)), .. }] = told.as_slice() else { panic!("an exec is not held") };
        assert_eq!(exec.args_bytes, UNTOLD_BYTES);
        assert!(held.take(args(6, b"ret -o"), &redaction).is_empty());
        let events = held.take(args(0, b"cc sec"), &redaction);
        let said = text(&events);
        assert!(events.len() == 2 && said.starts_with(b"cc [redacted:") && said.ends_with(b"] -o"));
        let mut at = 0;
        for event in &events {
            let Some(Body::ExecArgs(args)) = &event.body else { panic!("parts") };
            assert_eq!((args.offset as usize, args.args_bytes), (at, u32::try_from(said.len()).ok()));
            at += args.data.len();
        }
        assert!(held.rest().is_empty());
    }

    #[test]
    fn arguments_that_are_not_whole_are_not_told() {
        let (mut held, redaction) = (Held::default(), redaction());
        let _ = held.take(exec(12), &redaction);
        assert!(held.take(args(6, b"ret -o"), &redaction).is_empty());
        let events = held.take(event(Body::Exit(log::Exit::default())), &redaction);
        assert!(events.len() == 2 && text(&events).is_empty());
        let _ = held.take(exec(9), &redaction);
        let _ = held.take(args(0, b"more"), &redaction);
        let before = held.take(exec(4), &redaction);
        assert!(before.len() == 2 && text(&before).is_empty(), "the part before, and the exec");
        let _ = held.take(args(2, b"xx"), &redaction);
        assert!(text(&held.take(args(1, b"xx"), &redaction)).is_empty(), "they do not follow each other");
        assert!(text(&held.take(args(0, b"stray"), &redaction)).is_empty(), "of no exec");
    }

    #[test]
    fn other_events_are_not_held() {
        let (mut held, redaction) = (Held::default(), redaction());
        assert_eq!(held.take(exec(0), &redaction).len(), 1);
        let _ = held.take(exec(3), &redaction);
        assert_eq!(held.take(event(Body::Fork(log::Fork::default())), &redaction).len(), 1);
    }
}
