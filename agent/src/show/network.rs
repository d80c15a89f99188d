//! The network by peer: who talked to it, with which results, and how much.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use super::{
    filter::Selection,
    statement::{Contact, Dns, DnsRecord, Peer as OtherEnd},
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
    /// Who is at the other end of unix sockets.
    ends: BTreeSet<String>,
    /// DNS messages in words, and how often each.
    messages: BTreeMap<String, u64>,
}

/// DNS messages, or other ends, of a peer that are shown where not all peers are.
const MESSAGES_MAX: usize = 8;

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
        let shown = if peers_max == usize::MAX { usize::MAX } else { MESSAGES_MAX };
        for end in peer.ends.iter().take(shown) {
            let line = format!("at the other end: {end}");
            let line = cut(&line, terminal.columns.saturating_sub(6));
            writeln!(out, "      {}", terminal.paint(Style::Faint, &line))?;
        }
        if let Some(more) = peer.ends.len().checked_sub(shown).filter(|more| *more > 0) {
            let more = format!("      … and {}: --network shows all", count(more, "other end", "other ends"));
            writeln!(out, "{}", terminal.paint(Style::Faint, &more))?;
        }
        for (message, times) in peer.messages.iter().take(shown) {
            let line = if *times == 1 { message.clone() } else { format!("{message} ×{times}") };
            writeln!(out, "      {}", cut(&line, terminal.columns.saturating_sub(6)))?;
        }
        if let Some(more) = peer.messages.len().checked_sub(shown).filter(|more| *more > 0) {
            let more = format!("      … and {}: --network shows all", count(more, "message", "messages"));
            writeln!(out, "{}", terminal.paint(Style::Faint, &more))?;
        }
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
        if let Some(dns) = &contact.dns {
            let times = peer.messages.entry(message(dns)).or_default();
            *times = times.saturating_add(contact.count);
        }
        peer.ends.extend(contact.peer.as_ref().map(end));
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

/// Who is at the other end of a unix socket.
fn end(peer: &OtherEnd) -> String {
    let whose = if peer.outside { "not known to be of the session" } else { "of the session" };
    match peer.pid {
        0 => format!("a socket of user {}, {whose}", peer.uid),
        pid => format!("listened or connected by process {pid} of user {}, {whose}", peer.uid),
    }
}

/// A DNS message in a line.
fn message(dns: &Dns) -> String {
    let question = |one: &DnsRecord| format!("{} {}", one.name, record_type(one.r#type));
    let questions: Vec<String> = dns.questions.iter().map(question).collect();
    let answer = |one: &DnsRecord| one.data.as_deref().unwrap_or_default().to_owned();
    let answers: Vec<String> = dns.answers.iter().map(answer).collect();
    let said = match (dns.response, dns.rcode, answers.is_empty()) {
        (false, ..) => String::new(),
        (true, 0, true) => " = nothing".to_owned(),
        (true, 0, false) => format!(" = {}", answers.join(", ")),
        (true, 3, _) => " = no such name".to_owned(),
        (true, code, _) => format!(" = error {code}"),
    };
    let fault = dns.fault.as_deref().map(|fault| format!(" ({fault})")).unwrap_or_default();
    let asked = if questions.is_empty() { "a message without a question".to_owned() } else { questions.join(", ") };
    format!("{asked}{said}{fault}")
}

/// The name of a record type, of those that are met every day.
fn record_type(number: u32) -> String {
    const NAMES: [(u32, &str); 15] = [
        (1, "A"),
        (2, "NS"),
        (5, "CNAME"),
        (6, "SOA"),
        (12, "PTR"),
        (15, "MX"),
        (16, "TXT"),
        (28, "AAAA"),
        (33, "SRV"),
        (43, "DS"),
        (48, "DNSKEY"),
        (64, "SVCB"),
        (65, "HTTPS"),
        (252, "AXFR"),
        (255, "ANY"),
    ];
    let known = NAMES.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("TYPE{number}"), |(_, name)| (*name).to_owned())
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
    fn a_dns_message_is_a_line() {
        let read = |json: &str| message(&serde_json::from_str(json).unwrap());
        let asked =
            r#"{"response":false,"opcode":0,"rcode":0,"questions":[{"name":"a.b","type":28,"class":1}],"answers":[]}"#;
        assert_eq!(read(asked), "a.b AAAA");
        let answered = r#"{"response":true,"opcode":0,"rcode":0,"questions":[{"name":"a","type":65280,"class":1}],
            "answers":[{"name":"a","type":5,"class":1,"data":"b"},{"name":"b","type":1,"class":1,"data":"192.0.2.1"}]}"#;
        assert_eq!(read(answered), "a TYPE65280 = b, 192.0.2.1");
        let broken =
            r#"{"response":true,"opcode":0,"rcode":3,"questions":[],"answers":[],"fault":"malformed","message":"ff"}"#;
        assert_eq!(read(broken), "a message without a question = no such name (malformed)");
    }

    #[test]
    fn the_other_end_of_a_unix_socket_has_words() {
        let read = |json: &str| end(&serde_json::from_str(json).unwrap());
        assert_eq!(
            read(r#"{"pid":7,"uid":0,"outside":true}"#),
            "listened or connected by process 7 of user 0, not known to be of the session"
        );
        assert_eq!(read(r#"{"pid":0,"uid":9,"outside":false}"#), "a socket of user 9, of the session");
    }

    #[test]
    fn a_result_has_words() {
        assert_eq!(errno(-111), "Connection refused");
        assert_eq!(act_line("connect", -111, 3), "connect ×3: Connection refused");
        assert_eq!(act_line("send", 0, 1), "send");
        assert!(!errno(i32::MIN).is_empty());
    }
}
