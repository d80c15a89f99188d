//! Syslog as RFC 5424 has it. The crate `syslog` writes to TCP without a frame, by which a receiver could not tell messages apart; the format is
//! a line.

use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::unix::net::UnixDatagram,
    time::Duration,
};

use attestation::codes;

use super::{Alert, settings};

/// How long a receiver may take.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Bytes of what is said: a message of 2,048 bytes is what each receiver should take (RFC 5424, section 6.1).
const SAYS_BYTES_MAX: usize = 1024;
/// Facility `log alert`, and two severities.
const FACILITY: u8 = 14;
const ERROR: u8 = 3;
const WARNING: u8 = 4;

/// Where to.
#[derive(Debug)]
pub(super) enum Syslog {
    Unix(std::path::PathBuf),
    Udp(SocketAddr),
    Tcp(SocketAddr, Option<TcpStream>),
}

impl Syslog {
    /// As it is configured; what had no faults names one.
    pub(super) fn new(settings: &settings::Syslog) -> Option<Self> {
        let address = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
        let unix = settings.unix.clone().map(Self::Unix);
        let udp = address(&settings.udp).map(Self::Udp);
        unix.or(udp).or_else(|| address(&settings.tcp).map(|address| Self::Tcp(address, None)))
    }

    /// Sends one. By datagrams nobody says that it arrived.
    pub(super) fn send(&mut self, alert: &Alert) -> io::Result<()> {
        let message = message(alert, &hostname());
        match self {
            Self::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(WAIT_MAX))?;
                socket.send_to(message.as_bytes(), path).map(drop)
            }
            Self::Udp(to) => {
                let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                UdpSocket::bind(from)?.send_to(message.as_bytes(), *to).map(drop)
            }
            Self::Tcp(to, stream) => {
                let sent = tcp(*to, stream, &message);
                if sent.is_err() {
                    *stream = None;
                }
                sent
            }
        }
    }
}

fn tcp(to: SocketAddr, kept: &mut Option<TcpStream>, message: &str) -> io::Result<()> {
    // Whoever closed the connection would take what is written next, and not have it.
    if kept.as_ref().is_some_and(is_closed) {
        *kept = None;
    }
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => TcpStream::connect_timeout(&to, WAIT_MAX)?,
    };
    stream.set_write_timeout(Some(WAIT_MAX))?;
    // The length first (RFC 6587, section 3.4.1).
    stream.write_all(format!("{} {message}", message.len()).as_bytes())?;
    *kept = Some(stream);
    Ok(())
}

fn is_closed(stream: &TcpStream) -> bool {
    let peek = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let closed = !matches!(peek, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    closed || stream.set_nonblocking(false).is_err()
}

fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = name.chars().filter(char::is_ascii_graphic).take(255).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

/// The alert's code is the message's id, and its sentence the text; what else it has are structured data.
fn message(alert: &Alert, hostname: &str) -> String {
    let severe = codes::find(&alert.code).is_some_and(|code| code.kind == codes::Kind::Refusal)
        && alert.code != codes::INCOMPLETE;
    let priority = FACILITY * 8 + if severe { ERROR } else { WARNING };
    let mut data = format!("[testimony@32473 id=\"{}\" count=\"{}\" since=\"{}\"", alert.id, alert.count, alert.since);
    let named = [
        ("host", &alert.host),
        ("peer", &alert.peer),
        ("payloadSha256", &alert.payload_sha256),
        ("session", &alert.session),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            data.push_str(&format!(" {name}=\"{}\"", quoted(value)));
        }
    }
    if alert.repeated {
        data.push_str(" repeated=\"true\"");
    }
    if alert.dropped > 0 {
        data.push_str(&format!(" dropped=\"{}\"", alert.dropped));
    }
    data.push(']');
    let mut says = attestation::escape::escape(alert.says.as_bytes()).into_owned();
    if let Some((end, _)) = says.char_indices().find(|(at, _)| *at >= SAYS_BYTES_MAX) {
        says.truncate(end);
    }
    let process = std::process::id();
    format!("<{priority}>1 {} {hostname} testimony-collector {process} {} {data} {says}", alert.time, id(&alert.code))
}

/// A message's id has 32 characters at most (RFC 5424, section 6.2.7).
fn id(code: &str) -> &str {
    code.get(..32).unwrap_or(code)
}

/// A parameter's value (RFC 5424, section 6.3.3).
fn quoted(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len());
    for part in attestation::escape::escape(value.as_bytes()).chars() {
        if matches!(part, '"' | '\\' | ']') {
            quoted.push('\\');
        }
        quoted.push(part);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_form_whatever_is_in_it() {
        let alert = Alert {
            id: 7,
            time: "2026-11-24T03:00:00Z".to_owned(),
            code: codes::CHAIN_FORKED.to_owned(),
            count: 2,
            since: "2026-11-24T02:00:00Z".to_owned(),
            says: "two\nlines".to_owned(),
            peer: Some("a\"]b".to_owned()),
            repeated: true,
            ..Alert::default()
        };
        let said = message(&alert, "here");
        assert!(said.starts_with("<115>1 2026-11-24T03:00:00Z here testimony-collector "), "{said}");
        assert!(said.contains(" CHAIN_FORKED [testimony@32473 id=\"7\" count=\"2\" since=\"2026-11-24T02:00:00Z\" peer=\"a\\\"\\]b\" repeated=\"true\"] two\\x0alines"), "{said}");
        assert!(!said.contains('\n'));
    }

    #[test]
    fn a_message_arrives_by_each_way_and_by_tcp_in_its_frame() {
        let alert = Alert { code: "X".to_owned(), ..Alert::default() };
        let wanted = message(&alert, &hostname());
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = udp.local_addr().unwrap().to_string();
        Syslog::new(&settings::Syslog { udp: Some(to), ..Default::default() }).unwrap().send(&alert).unwrap();
        let mut bytes = [0; 4096];
        let count = udp.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..count], wanted.as_bytes());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let unix = UnixDatagram::bind(&path).unwrap();
        Syslog::new(&settings::Syslog { unix: Some(path), ..Default::default() }).unwrap().send(&alert).unwrap();
        let count = unix.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..count], wanted.as_bytes());
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = tcp.local_addr().unwrap().to_string();
        let mut syslog = Syslog::new(&settings::Syslog { tcp: Some(to), ..Default::default() }).unwrap();
        for _ in 0..2 {
            syslog.send(&alert).unwrap();
        }
        let frame = format!("{} {wanted}", wanted.len());
        let read = |count: usize| {
            let mut bytes = vec![0; count];
            let (mut stream, _) = tcp.accept().unwrap();
            io::Read::read_exact(&mut stream, &mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(read(2 * frame.len()), frame.repeat(2));
        // Who closed the connection is connected to again.
        std::thread::sleep(Duration::from_millis(50));
        syslog.send(&alert).unwrap();
        assert_eq!(read(frame.len()), frame);
    }

    #[test]
    fn a_sentence_without_end_is_cut() {
        let alert = Alert { says: "ä".repeat(5000), ..Alert::default() };
        assert!(message(&alert, "here").len() < SAYS_BYTES_MAX + 200);
    }
}
