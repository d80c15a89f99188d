//! A process outside every session, and a command that waits for it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::place::Scratch;
use crate::program::calls;

/// A script, as of [`calls`], that runs beside the session. It ends when it is dropped.
pub struct Bystander {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Bystander {
    /// Starts a script, and waits until it has printed a line.
    ///
    /// # Panics
    /// If it cannot be started, or prints none.
    #[must_use]
    pub fn start(scratch: &Scratch, script: &str) -> Self {
        let words = calls(script);
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .current_dir(scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut bystander = Self { child, stdin, stdout };
        bystander.hear();
        bystander
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its next line.
    ///
    /// # Panics
    /// If it ended.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "it ended");
        line.trim_end().to_owned()
    }

    /// Says a line to it.
    ///
    /// # Panics
    /// If it ended.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("it listens");
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One that does nothing until it is told to end.
#[must_use]
pub fn idle(scratch: &Scratch) -> Bystander {
    Bystander::start(scratch, "print('here', flush=True)\nsys.stdin.readline()")
}

/// A session's command: it makes a file `here`, and ends when there is a file `go`.
#[must_use]
pub fn waiting() -> Vec<String> {
    calls("import time\nopen('here', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.01)")
}
