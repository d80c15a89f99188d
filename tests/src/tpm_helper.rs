//! The helper that asks the TPM, run by a test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tpm_protocol::{Answer, Ask, Fault, Identity, Outcome, Request, Response, VERSION};

use crate::place::tpm_helper;

/// A running helper.
#[derive(Debug)]
pub struct TpmHelper {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    asked: u64,
}

impl TpmHelper {
    /// Starts it for a TPM and a folder; register 12 is the one that it may extend.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(tcti: &str, state: &Path) -> Self {
        let mut helper = Command::new(tpm_helper());
        helper.args(["--tcti", tcti, "--seal-pcr", "12", "--state"]).arg(state).env("TSS2_LOG", "all+NONE");
        let helper = helper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = helper.expect("testimony-tpm starts");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("an output"));
        Self { child, input, output: BufReader::new(output), asked: 0 }
    }

    /// Puts a question, whose answer is to be read.
    ///
    /// # Panics
    /// If it cannot be put.
    pub fn put(&mut self, ask: Ask) {
        self.asked += 1;
        let request = Request { version: VERSION, id: self.asked, ask };
        let line = serde_json::to_string(&request).expect("JSON") + "\n";
        let input = self.input.as_mut().expect("an input");
        input.write_all(line.as_bytes()).and_then(|()| input.flush()).expect("it takes the question");
    }

    /// Reads the answer to the question that was put.
    ///
    /// # Panics
    /// If it is none.
    pub fn answer(&mut self) -> Result<Answer, Fault> {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        let response: Response = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!((response.version, response.id), (VERSION, Some(self.asked)));
        match response.outcome {
            Outcome::Answer(answer) => Ok(answer),
            Outcome::Fault(fault) => Err(fault),
        }
    }

    /// A question and its answer.
    ///
    /// # Errors
    /// With the fault, if it has one.
    pub fn ask(&mut self, ask: Ask) -> Result<Answer, Fault> {
        self.put(ask);
        self.answer()
    }

    /// Who the TPM is.
    ///
    /// # Panics
    /// If it does not say so.
    pub fn identity(&mut self) -> Identity {
        match self.ask(Ask::Identify { certified: false }) {
            Ok(Answer::Identity(identity)) => *identity,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for TpmHelper {
    fn drop(&mut self) {
        // It ends with its input.
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
