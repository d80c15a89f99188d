//! The network by peer: who talked to it, with which results, and how much.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use super::{
    filter::Selection,
    statement::Contact,
    terminal::{Style, Terminal, bytes, count, cut},
};

/// Everything with one peer.
#[derive(Default)]
struct Peer<'a> {
    who: BTreeSet<String>,
    /// How often, by act and result.
    acts: BTreeMap<(&'a str, i32), u64>,
    sent_bytes: u64,
    received_bytes: u64,
}

/// Writes a line or two for each peer, at most `peers_max` of them.
pub(crate) fn write(
    out: &mut dyn Write,
    terminal: &Terminal,
    part: &Selection<'_>,
    peers_max: usize,
) -> io::Result<()> {
    let peers = peers(&part.contacts);
    let heading = if peers.is_empty() {
        "Network: nobody".to_owned()
    } else {
        format!("Network ({})", count(peers.len(), "peer", "peers"))
    };
    writeln!(out, "{}", terminal.paint(Style::Heading, &heading))?;
    for (name, peer) in peers.iter().take(peers_max) {
        let traffic = match (peer.sent_bytes, peer.received_bytes) {
            (0, 0) => String::new(),
            (sent, received) => format!("  sent {}, received {}", bytes(sent), bytes(received)),
        };
        writeln!(out, "  {name}{traffic}")?;
        let acts: Vec<String> = peer.acts.iter().map(|((act, result), times)| act_line(act, *result, *times)).collect();
        let who: Vec<&str> = peer.who.iter().map(String::as_str).collect();
        let line = format!("{}  by {}", acts.join(", "), who.join(", "));
        let line = cut(&line, terminal.columns.saturating_sub(6));
        writeln!(out, "      {}", terminal.paint(Style::Faint, &line))?;
    }
    if let Some(more) = peers.len().checked_sub(peers_max).filter(|more| *more > 0) {
        let more = format!("  … and {}: --network shows all", count(more, "peer", "peers"));
        writeln!(out, "{}", terminal.paint(Style::Faint, &more))?;
    }
    Ok(())
}

fn peers<'a>(contacts: &[&'a Contact]) -> BTreeMap<String, Peer<'a>> {
    let mut peers: BTreeMap<String, Peer<'_>> = BTreeMap::new();
    for contact in contacts {
        let peer = peers.entry(name(contact)).or_default();
        let who = contact
            .process
            .as_ref()
            .map_or_else(|| "the kernel".to_owned(), |who| format!("{}[{}]", who.comm, who.pid));
        peer.who.insert(who);
        let times = peer.acts.entry((&contact.operation, contact.result)).or_default();
        *times = times.saturating_add(contact.count);
        peer.sent_bytes = peer.sent_bytes.saturating_add(contact.sent_bytes);
        peer.received_bytes = peer.received_bytes.saturating_add(contact.received_bytes);
    }
    peers
}

/// Protocol and address of a peer; of a bind, of ourselves.
fn name(contact: &Contact) -> String {
    let listens = if &*contact.operation == "bind" { " (own address)" } else { "" };
    match (&contact.ip, &contact.path, contact.port) {
        (Some(ip), _, Some(port)) if ip.contains(':') => format!("{} [{ip}]:{port}{listens}", contact.protocol),
        (Some(ip), _, Some(port)) => format!("{} {ip}:{port}{listens}", contact.protocol),
        (Some(ip), _, None) => format!("{} {ip}{listens}", contact.protocol),
        (None, Some(path), _) => format!("{} {path}{listens}", contact.protocol),
        (None, None, _) => format!("{} (no address){listens}", contact.protocol),
    }
}

fn act_line(act: &str, result: i32, times: u64) -> String {
    let times = if times == 1 { String::new() } else { format!(" ×{times}") };
    match result {
        0 => format!("{act}{times}"),
        result => format!("{act}{times}: {}", errno(result)),
    }
}

/// What a negative result means. EINPROGRESS is how a connect that does not wait begins.
pub(crate) fn errno(result: i32) -> String {
    let text = io::Error::from_raw_os_error(result.saturating_neg()).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_has_words() {
        assert_eq!(errno(-111), "Connection refused");
        assert_eq!(act_line("connect", -111, 3), "connect ×3: Connection refused");
        assert_eq!(act_line("send", 0, 1), "send");
        assert!(!errno(i32::MIN).is_empty());
    }
}
