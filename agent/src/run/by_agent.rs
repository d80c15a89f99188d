//! A run without rights: the node's agent traces the command and signs, and this process starts it and takes what the agent gives.

use std::{
    fs::File,
    io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use node_api::{CloseSessionResponse, OpenSessionRequest};

use super::{
    Args, Error, Owner, launch,
    options::whole,
    output::{Output, Signed},
    signals::Signals,
    summary::{Summary, warn},
};
use crate::{
    control::{Client, SOCKET},
    probe,
    watch::Id,
};

/// Between two looks whether the command has ended.
const LOOK: Duration = Duration::from_millis(5);

/// The socket to ask at, if the agent is to trace: it was said so, or we have no rights to and there is one.
pub(super) fn wanted(args: &Args) -> Option<&Path> {
    match &args.agent {
        Some(socket) => Some(socket),
        None => {
            let socket = Path::new(SOCKET);
            (!probe::may_load() && args.agent_config.is_none() && socket.exists()).then_some(socket)
        }
    }
}

/// Runs; the exit status of `testimony run`.
pub(super) fn run(args: &Args, socket: &Path) -> Result<u8, Error> {
    let mut asked = Asked::open(args, socket).map_err(Error::Start)?;
    launch::go(&asked.child).map_err(|error| Error::Start(error.into()))?;
    while !launch::ended(&asked.child) {
        asked.signals.forward(&asked.child);
        std::thread::sleep(LOOK);
    }
    let status = launch::exit_status(&mut asked.child);
    let signed = asked.close(args).map_err(Error::Sign)?;
    signed.report(args.json, status);
    Ok(status)
}

/// A command that the agent traces.
struct Asked {
    client: Client,
    id: Id,
    child: std::process::Child,
    signals: Signals,
    output: Output,
}

impl Asked {
    fn open(args: &Args, socket: &Path) -> anyhow::Result<Self> {
        refuse(args)?;
        let output = Output::new(args.output.as_deref(), &args.command, &Owner::Caller)?;
        anyhow::ensure!(
            !output.evidence().exists(),
            "{} exists already: choose another name with -o, or remove it",
            output.evidence().display()
        );
        let mut client = Client::connect(socket)?;
        let here = std::env::current_dir()?.into_os_string().into_vec();
        let signals = Signals::catch()?;
        let child = launch::spawn(&args.command, &Owner::Caller)?;
        let request = OpenSessionRequest {
            pid: child.id(),
            command: args.command.iter().map(|word| word.as_bytes().to_vec()).collect(),
            product_globs: args.product.iter().map(|glob| whole(glob.as_bytes(), &here)).collect(),
            directory: here,
            redact: args.redact.clone(),
            file_bytes_max: args.file_bytes_max,
        };
        let opened = client.open(request);
        match opened {
            Ok(id) => Ok(Self { client, id, child, signals, output }),
            Err(error) => {
                launch::give_up(child);
                Err(error)
            }
        }
    }

    fn close(mut self, args: &Args) -> anyhow::Result<Signed> {
        let grace = Duration::from_secs_f64(args.grace.clamp(0.0, 86_400.0));
        let id = attestation::hex::encode(&self.id);
        let kept = || format!("session {id} is with the agent: testimony sessions");
        let closed = self.client.close(&self.id, grace).with_context(kept)?;
        closed.says.iter().for_each(|says| warn(says));
        let (statement, evidence) = (self.output.statement(), self.output.evidence());
        self.client.fetch(&self.id, &statement, &evidence).with_context(kept)?;
        let file = File::open(&statement).with_context(|| statement.display().to_string())?;
        Ok(signed(&closed, statement, evidence, file)?)
    }
}

fn signed(
    closed: &CloseSessionResponse,
    statement: std::path::PathBuf,
    evidence: std::path::PathBuf,
    file: File,
) -> io::Result<Signed> {
    let payload_sha256 = closed.payload_sha256.as_slice().try_into();
    Ok(Signed {
        statement,
        evidence,
        payload_sha256: payload_sha256.map_err(|_| io::Error::other("the agent gave no digest"))?,
        quote: None,
        bundle: None,
        spooled: (closed.spooled > 0).then_some(closed.spooled),
        file,
        new_keys: Vec::new(),
        summary: Summary::said(closed),
    })
}

/// What only who traces himself can choose.
fn refuse(args: &Args) -> anyhow::Result<()> {
    let own = [
        ("--key or --signer", args.signers.are_said()),
        ("--seal-pcr", args.seals.wanted()),
        ("--keyless", args.keyless.wanted()),
        ("--config", args.agent_config.is_some()),
        ("--env", !(args.env.is_empty() && args.env_hash.is_empty())),
        ("--redaction-key", args.redaction_key.is_some()),
        ("--leave-out", !args.leave_out.is_empty()),
        ("--weakest-hooks", args.weakest_hooks),
        ("--program-costs", args.program_costs),
        ("--as-root", args.as_root),
    ];
    let said = own.iter().find(|(_, said)| *said);
    said.map_or(Ok(()), |(option, _)| {
        anyhow::bail!(
            "{option} is for a run that traces by itself, as root: here the node's agent does, as its configuration says"
        )
    })
}
