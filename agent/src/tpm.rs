//! The TPM, by way of the helper `testimony-tpm`, which alone links its library: started when it is first asked, and ended where it
//! takes too long.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use attestation::{merkle::Hash, tpm::PcrValues, tpm::Quote};
use tpm_protocol::{Answer, Ask, Fault, FaultCode, Outcome, Register, Request, Response, VERSION};

const HELPER: &str = "testimony-tpm";
/// How long a question may take: deriving an RSA key takes a slow TPM many seconds.
const ASK_TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: u64 = 256 << 10;

/// Which TPM, and where its keys are kept.
#[derive(clap::Args, Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[group(id = "which TPM")]
pub struct Args {
    /// How the TPM is reached, as its library names it
    #[arg(long = "tpm", value_name = "TCTI", default_value = "device:/dev/tpmrm0")]
    tcti: String,
    /// The folder that keeps the keys' blobs, which only this TPM can use
    #[arg(long = "tpm-state", value_name = "DIR", default_value = "/var/lib/testimony/tpm")]
    state: PathBuf,
}

impl Args {
    /// The same, from any directory.
    pub fn absolute(&self) -> io::Result<Self> {
        Ok(Self { tcti: self.tcti.clone(), state: std::path::absolute(&self.state)? })
    }

    /// None, for tests that ask none.
    #[cfg(test)]
    pub fn nowhere() -> Self {
        Self { tcti: String::new(), state: PathBuf::new() }
    }
}

/// Why the TPM gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The helper is not installed.
    #[error("{path} cannot be started: install testimony-tpm beside testimony, and libtss2 for it")]
    Helper {
        /// Where it would be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended, or closed its ends.
    #[error("testimony-tpm ended before it answered")]
    Gone,
    /// It took too long, and was ended.
    #[error("the TPM did not answer in time")]
    Late,
    /// It answered something else.
    #[error("testimony-tpm answered what it was not asked")]
    Answer,
    /// What it said.
    #[error("{}", .0.message)]
    Fault(Fault),
}

impl Error {
    /// Whether there is no TPM here, or nothing to ask one with.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Helper { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Fault(fault) => fault.code == FaultCode::NoDevice,
            Self::Gone | Self::Late | Self::Answer => false,
        }
    }

    /// Whether a register did not hold still while it was quoted.
    pub fn is_changing(&self) -> bool {
        matches!(self, Self::Fault(fault) if fault.code == FaultCode::Changing)
    }

    /// Whether it hangs, so that asking again would take as long.
    pub fn is_late(&self) -> bool {
        matches!(self, Self::Late)
    }

    /// Whether it may have done what it was asked to do.
    pub fn is_uncertain(&self) -> bool {
        match self {
            Self::Gone | Self::Late => true,
            Self::Fault(fault) => fault.code == FaultCode::Vanished,
            Self::Helper { .. } | Self::Answer => false,
        }
    }
}

/// What was quoted, with the values and the key.
pub struct Quoted {
    /// The quote.
    pub quote: Quote,
    /// What the registers held.
    pub values: PcrValues,
    /// TPM2B_PUBLIC.
    pub key: Vec<u8>,
}

/// A TPM that can be asked.
pub struct Tpm {
    args: Args,
    seal_pcr: Option<u8>,
    helper: Option<Helper>,
    asked: u64,
    limit: Option<Instant>,
}

struct Helper {
    /// Until it is dropped.
    child: Option<Child>,
    input: ChildStdin,
    answers: Receiver<Vec<u8>>,
}

impl Drop for Helper {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = child.kill();
        // In a TPM's driver it may sleep where no signal wakes it. Who asks does not wait for that.
        let _ = thread::Builder::new().spawn(move || child.wait());
    }
}

impl Tpm {
    /// One of which this register may be extended.
    pub fn new(args: &Args, seal_pcr: Option<u8>) -> Self {
        Self { args: args.clone(), seal_pcr, helper: None, asked: 0, limit: None }
    }

    /// From now on no answer is waited for longer than until then.
    pub fn end_by(&mut self, limit: Instant) {
        self.limit = Some(limit);
    }

    /// A question and its answer.
    ///
    /// # Errors
    /// Why there is none.
    pub fn ask(&mut self, ask: Ask) -> Result<Answer, Error> {
        self.asked += 1;
        let request = Request { version: VERSION, id: self.asked, ask };
        let answer = self.exchange(&request);
        if !matches!(answer, Ok(_) | Err(Error::Fault(_))) {
            // Whatever it says next is no answer to the next question.
            self.helper = None;
        }
        answer
    }

    fn exchange(&mut self, request: &Request) -> Result<Answer, Error> {
        let helper = match &mut self.helper {
            Some(helper) => helper,
            none => none.insert(start(&self.args, self.seal_pcr)?),
        };
        let mut line = serde_json::to_vec(request).map_err(|_| Error::Answer)?;
        line.push(b'\n');
        helper.input.write_all(&line).and_then(|()| helper.input.flush()).map_err(|_| Error::Gone)?;
        let wait =
            self.limit.map_or(ASK_TIME_MAX, |limit| ASK_TIME_MAX.min(limit.saturating_duration_since(Instant::now())));
        let answer = helper.answers.recv_timeout(wait).map_err(|error| match error {
            RecvTimeoutError::Timeout => Error::Late,
            RecvTimeoutError::Disconnected => Error::Gone,
        })?;
        let response: Response = serde_json::from_slice(&answer).map_err(|_| Error::Answer)?;
        if (response.version, response.id) != (VERSION, Some(request.id)) {
            return Err(Error::Answer);
        }
        match response.outcome {
            Outcome::Answer(answer) => Ok(answer),
            Outcome::Fault(fault) => Err(Error::Fault(fault)),
        }
    }

    /// Quotes registers.
    ///
    /// # Errors
    /// Why there is none.
    pub fn quote(&mut self, data: &Hash, pcrs: &[u8]) -> Result<Quoted, Error> {
        match self.ask(Ask::Quote { nonce: data.as_slice().into(), pcrs: pcrs.to_vec() })? {
            Answer::Quote { attest, signature, values, key } => {
                let quote = Quote { attest: attest.to_vec(), signature: signature.to_vec() };
                Ok(Quoted { quote, values: held(&values)?, key: key.to_vec() })
            }
            _ => Err(Error::Answer),
        }
    }

    /// What a register holds.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn read(&mut self, pcr: u8) -> Result<Hash, Error> {
        match self.ask(Ask::Read { pcrs: vec![pcr] })? {
            Answer::Values { values } => held(&values)?.value(pcr).copied().ok_or(Error::Answer),
            _ => Err(Error::Answer),
        }
    }

    /// Extends the register that may be.
    ///
    /// # Errors
    /// Why it was not, or that it may have been.
    pub fn extend(&mut self, pcr: u8, digest: &Hash) -> Result<(), Error> {
        match self.ask(Ask::Extend { pcr, sha256: digest.as_slice().into() })? {
            Answer::Extended => Ok(()),
            _ => Err(Error::Answer),
        }
    }
}

fn held(registers: &[Register]) -> Result<PcrValues, Error> {
    let mut values = PcrValues::new();
    for register in registers {
        let value = register.sha256.to_vec().try_into().ok();
        value.filter(|value| values.set(register.pcr, *value)).ok_or(Error::Answer)?;
    }
    Ok(values)
}

fn start(args: &Args, seal_pcr: Option<u8>) -> Result<Helper, Error> {
    let path = beside_ourselves();
    let mut command = Command::new(&path);
    command.arg("--tcti").arg(&args.tcti).arg("--state").arg(&args.state);
    if let Some(pcr) = seal_pcr {
        command.args(["--seal-pcr", &pcr.to_string()]);
    }
    // The library would write to standard error of its own accord. A signal of the terminal's is for the command.
    command.env_clear().env("TSS2_LOG", "all+NONE").process_group(0);
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|source| Error::Helper { path, source })?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { return Err(Error::Gone) };
    Ok(Helper { child: Some(child), input, answers: answers(output) })
}

/// In the folder of our own program, and nowhere else: what it says is signed.
fn beside_ourselves() -> PathBuf {
    std::env::current_exe().as_deref().unwrap_or(Path::new("/")).with_file_name(HELPER)
}

/// Lines as they come, since a pipe cannot be waited for with a limit.
fn answers(output: ChildStdout) -> Receiver<Vec<u8>> {
    let (tell, answers) = mpsc::channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        loop {
            let mut line = Vec::new();
            let read = output.by_ref().take(ANSWER_BYTES_MAX).read_until(b'\n', &mut line);
            if !matches!(read, Ok(1..)) || tell.send(line).is_err() {
                return;
            }
        }
    });
    answers
}
