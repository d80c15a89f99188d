//! Whoever asks the node's agent: `run` without rights, `sessions`.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use node_api::{
    CloseSessionRequest, CloseSessionResponse, FetchRequest, Line, OpenSessionRequest, Piece, StatusRequest,
    StatusResponse, TailRequest, node_client::NodeClient,
};
use tonic::{Status, transport::Channel};

use super::files::STATEMENT;
use crate::watch::Id;

/// Where the agent listens unless it is said.
pub(crate) const DEFAULT: &str = "/run/testimony/agent.sock";
/// How long the agent may take until it answers at all.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A connection to the node's agent.
pub(crate) struct Client {
    runtime: tokio::runtime::Runtime,
    node: NodeClient<Channel>,
    socket: PathBuf,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If nobody answers there, or not to us.
    pub(crate) fn connect(socket: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // What the transport would say of it is less than what the kernel does.
        match std::os::unix::net::UnixStream::connect(socket) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => anyhow::bail!(
                "{}: you may not ask the node's agent: root may, and the group that [control] of its configuration names",
                socket.display()
            ),
            Err(error) => anyhow::bail!(
                "{}: no agent answers there ({error}): is `testimony agent` running, with [control] in its configuration?",
                socket.display()
            ),
        }
        let address = format!("unix://{}", socket.display());
        let endpoint = tonic::transport::Endpoint::from_shared(address)?.connect_timeout(CONNECT_MAX);
        let channel = runtime.block_on(endpoint.connect()).with_context(|| socket.display().to_string())?;
        Ok(Self { runtime, node: NodeClient::new(channel), socket: socket.to_owned() })
    }

    fn said(&self, status: &Status) -> anyhow::Error {
        anyhow::anyhow!("the agent at {}: {}", self.socket.display(), status.message())
    }

    /// Opens a session.
    ///
    /// # Errors
    /// What the agent says.
    pub(crate) fn open(&mut self, request: OpenSessionRequest) -> anyhow::Result<Id> {
        let opened = self.runtime.block_on(self.node.open_session(request)).map_err(|status| self.said(&status))?;
        let id = Id::try_from(opened.into_inner().session_id);
        id.map_err(|_| anyhow::anyhow!("the agent gave no id of a session"))
    }

    /// Closes it, and waits for its statement.
    ///
    /// # Errors
    /// What the agent says.
    pub(crate) fn close(&mut self, id: &Id, grace: Duration) -> anyhow::Result<CloseSessionResponse> {
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        let request = CloseSessionRequest { session_id: id.to_vec(), grace_ms };
        let closed = self.runtime.block_on(self.node.close_session(request)).map_err(|status| self.said(&status))?;
        Ok(closed.into_inner())
    }

    /// What the agent is, and the sessions that we may see.
    ///
    /// # Errors
    /// What the agent says.
    pub(crate) fn status(&mut self) -> anyhow::Result<StatusResponse> {
        let status = self.runtime.block_on(self.node.status(StatusRequest {})).map_err(|status| self.said(&status))?;
        Ok(status.into_inner())
    }

    /// Hands every line that a session tells to `take`, until it is over or nobody takes more.
    ///
    /// # Errors
    /// What the agent says, or whoever takes them.
    pub(crate) fn tail(&mut self, id: &Id, mut take: impl FnMut(Line) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let request = TailRequest { session_id: id.to_vec() };
        let lines = self.runtime.block_on(self.node.tail(request)).map_err(|status| self.said(&status))?;
        let mut lines = lines.into_inner();
        while let Some(line) = self.runtime.block_on(lines.message()).map_err(|status| self.said(&status))? {
            take(line)?;
        }
        Ok(())
    }

    /// Brings statement and evidence of a session here, as files of our own. The statement comes last, and to its name when all is here.
    ///
    /// # Errors
    /// What the agent says, or the file system.
    pub(crate) fn fetch(&mut self, id: &Id, statement: &Path, evidence: &Path) -> anyhow::Result<()> {
        let request = FetchRequest { session_id: id.to_vec() };
        DirBuilder::new().mode(0o700).create(evidence).with_context(|| evidence.display().to_string())?;
        let part = part(statement);
        let fetched = self.runtime.block_on(async {
            let mut pieces = self.node.fetch(request).await?.into_inner();
            let mut taken = Taken { evidence, part: &part, open: None };
            while let Some(piece) = pieces.try_next().await? {
                taken.take(&piece).map_err(|error| Status::internal(format!("{error:#}")))?;
            }
            taken.end().map_err(|error| Status::internal(format!("{error:#}")))
        });
        fetched.map_err(|status| self.said(&status))?;
        fs::rename(&part, statement).with_context(|| statement.display().to_string())
    }
}

/// Where a statement stands until it is whole.
fn part(statement: &Path) -> PathBuf {
    let mut part = statement.as_os_str().to_owned();
    part.push(".part");
    part.into()
}

/// Pieces as they come.
struct Taken<'a> {
    evidence: &'a Path,
    part: &'a Path,
    open: Option<(String, fs::File)>,
}

impl Taken<'_> {
    fn take(&mut self, piece: &Piece) -> anyhow::Result<()> {
        if self.open.as_ref().is_none_or(|(name, _)| *name != piece.name) {
            self.end()?;
            let path = if piece.name == STATEMENT { self.part.to_owned() } else { self.object(&piece.name)? };
            let _ = fs::remove_file(&path);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            self.open = Some((piece.name.clone(), file.with_context(|| path.display().to_string())?));
        }
        if let Some((_, file)) = &mut self.open {
            file.write_all(&piece.data)?;
        }
        Ok(())
    }

    /// Of a name that leads nowhere else.
    fn object(&self, name: &str) -> anyhow::Result<PathBuf> {
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        anyhow::ensure!(plain, "the agent named an object that is none");
        Ok(self.evidence.join(name))
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if let Some((_, file)) = self.open.take() {
            file.sync_all()?;
        }
        Ok(())
    }
}
