//! What a frame says, in a line for people.

use crate::escape::escape;
use crate::hex;
use crate::statement;
use proto::evidence::{Class, Event, Frame, Measure, event, frame, name_change, network};
use std::borrow::Cow;

/// The line, escaped.
#[must_use]
pub fn describe(frame: &Frame) -> String {
    match &frame.body {
        None => "a frame without a body".to_owned(),
        Some(frame::Body::Segment(header)) => format!("header of segment {}", header.sequence),
        Some(frame::Body::Opened(opened)) => {
            let words: Vec<_> = opened.command.iter().map(|word| escape(word)).collect();
            format!("session opened, of: {}", words.join(" "))
        }
        Some(frame::Body::Event(event)) => {
            let Event { number, hook, cpu, epoch, pid, .. } = event;
            let what = event.body.as_ref().map_or_else(|| "nothing".to_owned(), describe_event);
            format!("event {number} of hook {hook} on cpu {cpu} in epoch {epoch}, by process {pid}: {what}")
        }
        Some(frame::Body::Folded(folded)) => {
            format!("{} repeats of event {} of hook {} on cpu {}", folded.count, folded.number, folded.hook, folded.cpu)
        }
        Some(frame::Body::Digest(digest)) => {
            let class = Class::try_from(digest.class).unwrap_or_default().as_str_name().to_ascii_lowercase();
            let what = if digest.sha256.is_empty() { text(&digest.reason) } else { hex::encode(&digest.sha256).into() };
            let measure = digest.measure.as_ref().map_or_else(String::new, measured);
            format!("file {} is {class}: {what}{measure}", digest.file_id)
        }
        Some(frame::Body::Directive(directive)) => {
            format!("order {}: {}", text(&directive.order), text(&directive.cause))
        }
        Some(frame::Body::Account(account)) => format!(
            "account of hook {} on cpu {} in epoch {}: {} attempted, {} coalesced, {} lost, {} truncated",
            account.hook,
            account.cpu,
            account.epoch,
            account.attempted,
            account.coalesced,
            account.lost,
            account.truncated
        ),
        Some(frame::Body::BlindSpot(spot)) => format!("blind spot {} {}", text(&spot.code), text(&spot.detail)),
        Some(frame::Body::Canary(round)) => {
            let acts: u64 = round.acts.iter().map(|act| u64::from(act.count)).sum();
            format!("round {} of known acts of the agent's own: {acts}, for {} hooks", round.round, round.acts.len())
        }
        Some(frame::Body::Container(container)) => {
            format!("container {} of {}", text(&container.id), text(&container.image))
        }
        Some(frame::Body::Survivor(survivor)) => format!("process {} outlived the session", survivor.pid),
        Some(frame::Body::Closed(closed)) => format!("session closed: {}", text(&closed.reason)),
    }
}

fn text(text: &str) -> Cow<'_, str> {
    escape(text.as_bytes())
}

fn measured(measure: &Measure) -> String {
    let (by, algorithm) = (statement::means(measure.by()), statement::algorithm(measure.algorithm()));
    format!(", by {by} {algorithm}:{}", hex::encode(&measure.digest))
}

fn describe_event(body: &event::Body) -> String {
    match body {
        event::Body::Fork(fork) => format!("fork of process {}", fork.child_pid),
        event::Body::Exec(exec) => format!("exec of {}", escape(&exec.filename)),
        event::Body::ExecArgs(args) => format!("{} bytes of arguments, from byte {}", args.data.len(), args.offset),
        event::Body::Exit(exit) => format!("exit with status {}", exit.status),
        event::Body::Open(open) => match &open.file {
            Some(file) => format!("open of {} as file {}, access {}", escape(&file.path), open.file_id, open.access),
            None => format!("open of file {}, access {}", open.file_id, open.access),
        },
        event::Body::Name(change) => {
            let operation = name_change::Operation::try_from(change.operation).unwrap_or_default().as_str_name();
            format!("{} {} {}", operation.to_ascii_lowercase(), escape(&change.path), escape(&change.target))
        }
        event::Body::Network(act) => {
            let operation = network::Operation::try_from(act.operation).unwrap_or_default().as_str_name();
            let (family, port, address) = (act.family, act.remote_port, hex::encode(&act.remote));
            let peer = act.peer.as_ref().map(|peer| {
                let whose = if peer.outside { "not known to be of the session" } else { "of the session" };
                format!(", peer process {} of user {}, {whose}", peer.pid, peer.uid)
            });
            format!(
                "{}, family {family}, address {address} port {port}, result {}{}",
                operation.to_ascii_lowercase(),
                act.result,
                peer.unwrap_or_default()
            )
        }
        event::Body::Joined(_) => "joined the session".to_owned(),
        event::Body::OutsideWrite(write) => format!("opened from outside to write: inode {}", write.ino),
        event::Body::Attention(attention) => format!("{} {}", text(&attention.code), attention.detail),
        event::Body::Provisional(made) => format!("made the cgroup {}", escape(&made.name)),
        event::Body::Canary(_) => "a known act of the agent's own".to_owned(),
        event::Body::Act(act) => format!("{} {:?} = {}", text(&act.call), act.arguments, act.result),
    }
}
