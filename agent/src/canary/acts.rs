//! The acts: each is one that a hook must see.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::symlink,
            net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener, UnixStream},
        },
    },
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::{
    fs::MemfdFlags,
    net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt},
    rand::{GetRandomFlags, getrandom},
};

use crate::probe;

/// The file that is read; it is there before.
pub(crate) const INPUT: &str = "input";
/// Old and new name of the file that is moved.
pub(crate) const MOVED: [&str; 2] = ["made", "moved"];

/// A known act.
pub(crate) struct Act {
    /// In words.
    pub(crate) name: &'static str,
    /// The observations that it is made for, and how many events of each it gives at least.
    pub(crate) observations: &'static [(&'static str, u32)],
    /// Events that come besides where connections are seen as they are asked for, and where they arrive.
    pub(crate) reached: &'static [(&'static str, u32)],
    /// Sockets that it makes: events that come besides where acts are seen as the kernel asks about them.
    pub(crate) sockets: u32,
    /// Performs it in a directory.
    pub(crate) perform: fn(&Path) -> io::Result<()>,
}

pub(super) const fn act(
    name: &'static str,
    observations: &'static [(&'static str, u32)],
    perform: fn(&Path) -> io::Result<()>,
) -> Act {
    Act { name, observations, reached: &[], sockets: 0, perform }
}

/// The same, which makes so many sockets.
const fn making(sockets: u32, act: Act) -> Act {
    Act { sockets, ..act }
}

const TCP: &[(&str, u32)] = &[("bind", 1), ("connect", 1), ("connect-attempt", 1), ("accept", 1), ("close", 1)];
const UNIX: &[(&str, u32)] = &[("bind", 1), ("connect", 1), ("accept", 1)];
const UDP: &[(&str, u32)] = &[("bind", 1), ("send", 1)];
/// One goes out, and comes in.
const DNS: &[(&str, u32)] = &[("bind", 1), ("send", 1), ("dns", 2)];
/// The header of an answer that answers nothing: whoever gets it lets it be.
const DNS_MESSAGE: [u8; 12] = [0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const DNS_PORT: u16 = 53;
/// How long a datagram to itself may take.
const ARRIVE_TIME_MAX: Duration = Duration::from_secs(1);
/// This very program, whatever its path leads to by now, or another would run in its name, unseen.
pub(super) const THIS: &str = "/proc/self/exe";
/// How long a connection to itself may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);

/// An act for rounds where two hooks see files cut. Where the end of the system call does, it sees any cut alike, and takes one by
/// name from outside for a writer that nobody can name: sessions beside this one would suffer.
pub(super) const CUT: Act =
    act("cut a file by its name", &[("truncate", 1)], |directory| probe::truncate(&directory.join(MOVED[1]), 2));

/// Of an act that is one and nothing else.
pub(super) const ONE: &[(&str, u32)] = &[("act", 1)];

/// Every other act. An observation that more than one program makes has an act for each.
pub(crate) const ACTS: &[Act] = &[
    act("start a program", &[("fork", 1), ("exec", 1), ("exit", 1)], start),
    act("read a file", &[("open", 1)], read),
    act("make, cut and move a file", &[("open", 1), ("truncate", 1), ("rename", 1)], make),
    act("make and remove names", &[("mkdir", 1), ("link", 1), ("symlink", 1), ("unlink", 3)], names),
    making(2, act("talk to itself by TCP", TCP, |_| tcp(Ipv4Addr::LOCALHOST.into()))),
    making(2, act("talk to itself by TCP over IPv6", TCP, |_| tcp(Ipv6Addr::LOCALHOST.into()))),
    making(1, act("talk to itself by UDP", UDP, |_| udp(Ipv4Addr::LOCALHOST.into()))),
    making(1, act("talk to itself by UDP over IPv6", UDP, |_| udp(Ipv6Addr::LOCALHOST.into()))),
    making(1, act("send itself a DNS message", DNS, |_| dns())),
    Act { reached: &[("connect", 1)], sockets: 2, ..act("talk to itself by a unix socket", UNIX, |_| unix()) },
    making(1, act("send itself a message by a unix socket", &[("bind", 1), ("unix-send", 1)], |_| unix_datagram())),
    act("make a file in memory", ONE, memory),
];

fn start(_: &Path) -> io::Result<()> {
    let mut program = Command::new(THIS);
    let status = program.env_clear().arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

fn read(directory: &Path) -> io::Result<()> {
    File::open(directory.join(INPUT))?.read_to_end(&mut Vec::new()).map(drop)
}

fn make(directory: &Path) -> io::Result<()> {
    let [made, moved] = MOVED.map(|name| directory.join(name));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&made)?;
    file.write_all(b"canary\n")?;
    file.set_len(3)?;
    drop(file);
    fs::rename(made, moved)
}

fn names(directory: &Path) -> io::Result<()> {
    let (folder, link, soft) = (directory.join("folder"), directory.join("link"), directory.join("symlink"));
    fs::create_dir(&folder)?;
    // Not the input: a link would move its time of change after it was read.
    fs::hard_link(directory.join(MOVED[1]), &link)?;
    symlink(INPUT, &soft)?;
    fs::remove_file(&soft)?;
    fs::remove_file(&link)?;
    fs::remove_dir(&folder)
}

fn tcp(host: std::net::IpAddr) -> io::Result<()> {
    let listener = TcpListener::bind((host, 0))?;
    let client = TcpStream::connect_timeout(&listener.local_addr()?, CONNECT_TIME_MAX)?;
    let (server, _) = listener.accept()?;
    // The connection ends here and now, and not when the other end has answered.
    sockopt::set_socket_linger(&client, Some(Duration::ZERO))?;
    drop(client);
    drop(server);
    Ok(())
}

fn udp(host: std::net::IpAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(SocketAddr::new(host, 0))?;
    socket.send_to(b"canary\n", socket.local_addr()?).map(drop)
}

/// A name that nobody else has, in no directory: it is the network namespace's.
fn unix_name() -> io::Result<UnixAddress> {
    let mut random = [0; 16];
    getrandom(&mut random, GetRandomFlags::empty())?;
    UnixAddress::from_abstract_name(random)
}

fn unix() -> io::Result<()> {
    let name = unix_name()?;
    let listener = UnixListener::bind_addr(&name)?;
    let _client = UnixStream::connect_addr(&name)?;
    listener.accept().map(drop)
}

fn unix_datagram() -> io::Result<()> {
    let name = unix_name()?;
    UnixDatagram::bind_addr(&name)?.send_to_addr(b"canary\n", &name).map(drop)
}

/// From and to port 53 of an address of its own. A resolver that listens on all addresses shares the port, if it lets others.
fn dns() -> io::Result<()> {
    let mut random = [0; 3];
    getrandom(&mut random, GetRandomFlags::empty())?;
    let [second, third, fourth] = random.map(|byte| byte % 253 + 1);
    let address = SocketAddr::new(Ipv4Addr::new(127, second, third, fourth).into(), DNS_PORT);
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    let socket = UdpSocket::from(socket);
    socket.send_to(&DNS_MESSAGE, address)?;
    // It comes in when the kernel gets to it, which is not always within the call that sent it.
    socket.set_read_timeout(Some(ARRIVE_TIME_MAX))?;
    socket.recv(&mut [0; DNS_MESSAGE.len()]).map(drop)
}

fn memory(_: &Path) -> io::Result<()> {
    rustix::fs::memfd_create("canary", MemfdFlags::CLOEXEC)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_act_works_on_an_ordinary_host() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(INPUT), "x").unwrap();
        // Starting a program would start the test harness again, and only root has port 53.
        let is_root = rustix::process::geteuid().is_root();
        for act in ACTS.iter().skip(1).filter(|act| is_root || act.observations != DNS) {
            (act.perform)(directory.path()).unwrap_or_else(|error| panic!("{}: {error}", act.name));
        }
        assert!(directory.path().join(MOVED[1]).exists());
    }
}
