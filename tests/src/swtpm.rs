//! A TPM in software, and tpm2-tools that speak to it: the peers of what is computed without a TPM.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::place::Scratch;

const WAIT_MAX: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// A TPM with a state of its own, gone when it is dropped.
#[derive(Debug)]
pub struct Swtpm {
    /// Where the tools leave their files.
    pub folder: Scratch,
    child: Child,
    port: u16,
}

impl Swtpm {
    /// Starts one.
    ///
    /// # Panics
    /// If it does not come up, as where swtpm is not installed.
    #[must_use]
    pub fn start() -> Self {
        let folder = Scratch::new();
        fs::create_dir(folder.join("state")).expect("a folder");
        let port = two_ports();
        let address = |port: u16| format!("type=tcp,port={port},bindaddr=127.0.0.1");
        let mut swtpm = Command::new("swtpm");
        swtpm.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"]);
        swtpm.arg(format!("dir={}", folder.join("state").display()));
        swtpm.args(["--server", &address(port), "--ctrl", &address(port + 1)]);
        let child = swtpm.stdin(Stdio::null()).spawn().expect("swtpm starts: run `cargo xtask setup tests`");
        let began = Instant::now();
        // The control port alone may be tried: whoever connects to the other one is the TPM's user.
        while TcpStream::connect(("127.0.0.1", port + 1)).is_err() {
            assert!(began.elapsed() < WAIT_MAX, "swtpm does not come up");
            std::thread::sleep(PAUSE);
        }
        Self { folder, child, port }
    }

    /// Runs one of tpm2-tools in the folder; whether it went well, and what it said otherwise.
    ///
    /// # Errors
    /// What it said.
    ///
    /// # Panics
    /// If it is not installed.
    pub fn tool(&self, words: &[&str]) -> Result<(), String> {
        let (name, words) = words.split_first().expect("a tool");
        let mut tool = Command::new(name);
        tool.args(words).env("TPM2TOOLS_TCTI", format!("swtpm:host=127.0.0.1,port={}", self.port));
        let said = tool.current_dir(self.folder.path()).output();
        let said = said.unwrap_or_else(|error| panic!("{name}: {error}: run `cargo xtask setup tests`"));
        if said.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said.stderr).into_owned()) }
    }

    /// A file that a tool left.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    pub fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port, with the next one free too: that is where its users look for the control channel.
fn two_ports() -> u16 {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = first.local_addr().expect("a port").port();
        if port.checked_add(1).is_some_and(|next| TcpListener::bind(("127.0.0.1", next)).is_ok()) {
            return port;
        }
    }
    panic!("no two ports beside each other");
}
