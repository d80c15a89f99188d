//! A TPM in software, and tpm2-tools that speak to it: the peers of what is computed without a TPM.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::place::{Scratch, need};

const WAIT_MAX: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
/// How often another pair of ports is tried.
const ATTEMPTS_MAX: u32 = 8;

/// A TPM with a state of its own, which it comes back with; gone when it is dropped.
#[derive(Debug)]
pub struct Swtpm {
    /// Where the tools leave their files.
    pub folder: Scratch,
    server: Option<Child>,
    /// The next one is that of its control channel.
    port: u16,
}

impl Swtpm {
    /// Starts one without any certificate.
    ///
    /// # Panics
    /// If it does not come up, as where swtpm is not installed.
    #[must_use]
    pub fn start() -> Self {
        Self::set_up(Command::new(need("swtpm_setup")))
    }

    /// Starts one that this maker made: it carries a certificate of its endorsement key.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn made_by(maker: &Maker) -> Self {
        let mut setup = Command::new(need("swtpm_setup"));
        setup.args(["--create-ek-cert", "--runas", "root", "--config"]).arg(maker.0.join("setup.conf"));
        Self::set_up(setup)
    }

    fn set_up(mut setup: Command) -> Self {
        let folder = Scratch::new();
        fs::create_dir(folder.join("state")).expect("a folder");
        setup.args(["--tpm2", "--pcr-banks", "sha256", "--overwrite", "--tpmstate"]).arg(folder.join("state"));
        let said = setup.output().expect("swtpm_setup runs");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
        let mut tpm = Self { folder, server: None, port: 0 };
        tpm.power_on();
        tpm
    }

    /// How the library reaches it.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// As its machine is powered on: at the ports that it had, if it had any.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn power_on(&mut self) {
        for _ in 0..ATTEMPTS_MAX {
            if self.port == 0 {
                self.port = two_ports();
            }
            if self.comes_up() {
                return;
            }
            self.port = 0;
        }
        panic!("swtpm does not come up\n{}", fs::read_to_string(self.folder.join("log")).unwrap_or_default());
    }

    fn comes_up(&mut self) -> bool {
        let log = File::create(self.folder.join("log")).expect("a log");
        let also = log.try_clone().expect("a log");
        let address = |port: u16| format!("type=tcp,port={port},bindaddr=127.0.0.1");
        let mut server = Command::new(need("swtpm"));
        server.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"]);
        server.arg(format!("dir={}", self.folder.join("state").display()));
        server.args(["--server", &address(self.port), "--ctrl", &address(self.port + 1)]);
        let server = server.stdin(Stdio::null()).stdout(log).stderr(also).spawn().expect("swtpm starts");
        let server = self.server.insert(server);
        let began = Instant::now();
        // The control port alone may be tried: whoever connects to the other one is the TPM's user.
        while TcpStream::connect(("127.0.0.1", self.port + 1)).is_err() {
            if server.try_wait().expect("its state").is_some() || began.elapsed() > WAIT_MAX {
                self.power_off();
                return false;
            }
            std::thread::sleep(PAUSE);
        }
        true
    }

    /// As its machine loses power.
    pub fn power_off(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// It takes questions and answers none, until it is powered off.
    ///
    /// # Panics
    /// If it does not run.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// If it does not run.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let server = self.server.as_ref().expect("it runs");
        let pid = Pid::from_raw(server.id().cast_signed()).expect("a process");
        kill_process(pid, signal).expect("it is there");
    }

    /// Sends a command as it is, and gives the answer.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn command(&self, command: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("a limit");
        stream.write_all(command).expect("sent");
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).expect("an answer");
        answer.truncate(length);
        answer
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
        tool.args(words).env("TPM2TOOLS_TCTI", self.tcti());
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
        self.power_off();
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
