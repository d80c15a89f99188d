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
        Self::start_in(folder)
    }

    /// Starts one that this maker made: it carries a certificate of its endorsement key.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn made_by(maker: &Maker) -> Self {
        let folder = Scratch::new();
        fs::create_dir(folder.join("state")).expect("a folder");
        let mut setup = Command::new("swtpm_setup");
        setup.args(["--tpm2", "--create-ek-cert", "--runas", "root", "--config"]).arg(maker.0.join("setup.conf"));
        let said = setup.arg("--tpmstate").arg(folder.join("state")).output();
        let said = said.expect("swtpm_setup runs: run `cargo xtask setup tests`");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
        Self::start_in(folder)
    }

    fn start_in(folder: Scratch) -> Self {
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

/// A maker of TPMs in software, with authorities of its own.
#[derive(Debug)]
pub struct Maker(Scratch);

impl Maker {
    /// Founds one; its authorities are made with its first TPM.
    ///
    /// # Panics
    /// If nothing can be written.
    #[must_use]
    pub fn new() -> Self {
        let folder = Scratch::new();
        let at = folder.path();
        let at = at.display();
        fs::create_dir(folder.join("ca")).expect("a folder");
        let files = [
            (
                "setup.conf",
                format!(
                    "create_certs_tool=/usr/bin/swtpm_localca\ncreate_certs_tool_config={at}/ca.conf\n\
                     create_certs_tool_options={at}/options.conf\n"
                ),
            ),
            (
                "ca.conf",
                format!(
                    "statedir = {at}/ca\nsigningkey = {at}/ca/signkey.pem\nissuercert = {at}/ca/issuercert.pem\n\
                     certserial = {at}/ca/certserial\n"
                ),
            ),
            (
                "options.conf",
                "--platform-manufacturer Testimony\n--platform-version 2.1\n--platform-model Tests\n".to_owned(),
            ),
        ];
        for (name, text) in files {
            fs::write(folder.join(name), text).expect("written");
        }
        Self(folder)
    }

    /// Its authorities, in PEM: the root and the one between, once it made a TPM.
    ///
    /// # Panics
    /// If it did not.
    #[must_use]
    pub fn authorities(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.0.join("ca").join(name)).expect("it made a TPM");
        read("swtpm-localca-rootca-cert.pem") + &read("issuercert.pem")
    }
}

impl Default for Maker {
    fn default() -> Self {
        Self::new()
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
