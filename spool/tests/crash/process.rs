//! A process that acts on a queue, and what it told so far.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

/// The same for all processes on one queue.
#[derive(Clone, Copy)]
pub struct Queue<'a> {
    pub folder: &'a Path,
    pub rule: &'a str,
    pub bytes_max: u64,
}

impl Queue<'_> {
    fn command(&self, act: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spool-exercise"));
        command.arg(act).arg(self.folder).arg(self.rule).arg(self.bytes_max.to_string());
        command
    }

    pub fn put(&self, writer: u64, first: u64) -> Acting {
        let mut command = self.command("put");
        command.args([writer.to_string(), first.to_string()]);
        Acting::start(command)
    }

    pub fn take(&self) -> Acting {
        Acting::start(self.command("take"))
    }

    /// What is not as it was told, or how much was compared.
    pub fn check(&self, told: &str, killed: u64) -> Result<String, String> {
        let mut command = self.command("check");
        command.arg(killed.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(told.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }
}

/// A process that is killed in the end.
pub struct Acting {
    child: Child,
    told: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Acting {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let told = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&told);
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap() > 0 {
                into.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        Self { child, told, reader: Some(reader) }
    }

    pub fn told(&self) -> String {
        self.told.lock().unwrap().clone()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Kills it, unless it ended by itself, which it only does at a fault.
    pub fn end(mut self) -> String {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "a process ended by itself: {ended:?}");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        self.told()
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
