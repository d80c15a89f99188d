//! Networks of tests' own: each a namespace with its own addresses, between which links are made, cut and mended.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::place::need;

/// How long the kernel may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A network; gone when it is dropped, and its links with it.
#[derive(Debug)]
pub struct Network {
    /// It keeps it.
    keeper: Child,
}

impl Network {
    /// One with nothing but itself in it.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn new() -> Self {
        let mut keep = Command::new(need("unshare"));
        let keeper = keep.args(["--net", "--kill-child", "sleep", "infinity"]).spawn().expect("a network of its own");
        let this = Self { keeper };
        let began = Instant::now();
        while !this.is_there() {
            assert!(began.elapsed() < PATIENCE, "there is no network");
            sleep(Duration::from_millis(10));
        }
        this.ip(&["link", "set", "lo", "up"]);
        this
    }

    fn is_there(&self) -> bool {
        let name = |who: &str| fs::read_link(format!("/proc/{who}/ns/net")).ok();
        name(&self.keeper.id().to_string()).is_some_and(|network| Some(network) != name("self"))
    }

    /// A program in it.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        self.enter(&[], program.as_ref())
    }

    /// The same as another user.
    #[must_use]
    pub fn command_as(&self, user: u32, program: impl AsRef<Path>) -> Command {
        let (uid, gid) = (format!("--setuid={user}"), format!("--setgid={user}"));
        self.enter(&[&uid, &gid], program.as_ref())
    }

    fn enter(&self, more: &[&str], program: &Path) -> Command {
        let mut command = Command::new(need("nsenter"));
        command.args(["--target", &self.keeper.id().to_string(), "--net"]).args(more).arg("--").arg(program);
        command
    }

    /// A link to another one: this end is 10.77.NUMBER.1, the other 10.77.NUMBER.2.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn link(&self, other: &Self, number: u8) {
        let name = format!("link{number}");
        let (own, others) = (self.keeper.id().to_string(), other.keeper.id().to_string());
        let words = ["link", "add", &name, "netns", &own, "type", "veth", "peer", "name", &name, "netns", &others];
        well(Command::new(need("ip")).args(words));
        for (network, end) in [(self, 1), (other, 2)] {
            network.ip(&["address", "add", &format!("10.77.{number}.{end}/30"), "dev", &name]);
            network.ip(&["link", "set", &name, "up"]);
        }
    }

    /// Nothing passes a link any more.
    ///
    /// # Panics
    /// If it is not there.
    pub fn cut(&self, number: u8) {
        self.ip(&["link", "set", &format!("link{number}"), "down"]);
    }

    /// What passes it passes again.
    ///
    /// # Panics
    /// As [`Self::cut`].
    pub fn mend(&self, number: u8) {
        self.ip(&["link", "set", &format!("link{number}"), "up"]);
    }

    fn ip(&self, words: &[&str]) {
        well(self.command(need("ip")).args(words));
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

fn well(command: &mut Command) {
    let said = command.stdin(Stdio::null()).output().expect("it runs");
    assert!(said.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said.stderr));
}
