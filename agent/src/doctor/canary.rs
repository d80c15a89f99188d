//! Known acts, performed in the doctor's own session: each is one that a hook must see.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The file that the canary reads; it was made before the session.
pub(super) const INPUT: &str = "input";
/// Old and new name of the file that the canary moves.
pub(super) const MOVED: [&str; 2] = ["made", "moved"];

/// The hidden subcommand's arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Canary {
    /// Directory to act in, with the input file
    directory: PathBuf,
}

type Act = fn(&Path) -> io::Result<()>;

/// Acts and the observations that they are made for.
pub(super) const ACTS: &[(&str, &[&str], Act)] = &[
    ("start a program", &["fork", "exec", "exit"], start),
    ("read a file", &["open"], read),
    ("make, cut and move a file", &["open", "truncate", "rename"], make),
    ("make and remove names", &["mkdir", "link", "symlink", "unlink"], names),
    ("talk to itself by TCP", &["bind", "connect-attempt", "connect", "accept", "close"], tcp),
    ("talk to itself by UDP", &["bind", "send"], udp),
];

/// Performs every act, and says which the host refused: a line each, its name and why.
pub(crate) fn perform(args: &Canary) -> io::Result<u8> {
    let mut out = io::stdout().lock();
    for (name, _, act) in ACTS {
        if let Err(error) = act(&args.directory) {
            writeln!(out, "{name}\t{error}")?;
        }
    }
    out.flush()?;
    Ok(0)
}

fn start(_: &Path) -> io::Result<()> {
    let mut program = Command::new(std::env::current_exe()?);
    let status = program.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status()?;
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

fn tcp(_: &Path) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.write_all(b"canary\n")?;
    drop(client);
    server.read_to_end(&mut Vec::new()).map(drop)
}

fn udp(_: &Path) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(b"canary\n", socket.local_addr()?).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_act_works_on_an_ordinary_host() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(INPUT), "x").unwrap();
        // Starting a program would start the test harness again.
        for (name, _, act) in ACTS.iter().skip(1) {
            act(directory.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert!(directory.path().join(MOVED[1]).exists());
    }
}
