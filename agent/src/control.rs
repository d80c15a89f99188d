//! The local API: what the agent does for who may ask it, over a unix socket of the host. The kernel says who asks; whoever may
//! open the socket may have sessions of his own, and sees no other's.

mod answers;
mod client;
mod files;
mod peer;
mod settings;

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path, pin::Pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures_util::Stream;
use node_api::{
    CloseSessionRequest, CloseSessionResponse, FetchRequest, Line, OpenSessionRequest, OpenSessionResponse, Piece,
    StatusRequest, StatusResponse, TailRequest,
    node_server::{Node, NodeServer},
};
use rustix::fs::{Gid, Uid, chown};
use tokio::net::UnixListener;
use tonic::{Request, Response, Status};

pub(crate) use client::{Client, DEFAULT as SOCKET};
pub(crate) use settings::Settings;

use crate::{
    daemon::now_s,
    watch::{Finished, Id, Order, Watch},
};
use peer::Peer;

/// Calls of one connection at once.
const CALLS_MAX: u32 = 8;
/// Bytes of a request: a command line, and rules.
const REQUEST_BYTES_MAX: usize = 4 << 20;

type Answer<T> = Result<Response<T>, Status>;
type Flow<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What answers.
struct Service {
    watch: Watch,
    started_s: u64,
    file_bytes_max: u64,
}

/// Listens, and answers until the future is dropped.
///
/// # Errors
/// Why it cannot listen.
pub(crate) fn serve(
    settings: &Settings,
    watch: Watch,
    file_bytes_max: u64,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + use<>> {
    let listener = listen(settings).with_context(|| format!("[control] {}", settings.socket.display()))?;
    let service = NodeServer::new(Service { watch, started_s: now_s(), file_bytes_max })
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    let incoming = futures_util::stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        if accepted.is_err() {
            // As when there are too many descriptors: it passes, or it does not, but not by asking at once.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Some((accepted, listener))
    });
    let server = tonic::transport::Server::builder()
        .max_concurrent_streams(CALLS_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(60)))
        .add_service(service)
        .serve_with_incoming(Box::pin(incoming));
    Ok(async { server.await.context("the local API ended") })
}

/// Makes the socket, in place of one that nobody answers at any more.
fn listen(settings: &Settings) -> anyhow::Result<UnixListener> {
    let socket = &settings.socket;
    let folder = socket.parent().context("has no folder")?;
    fs::create_dir_all(folder)?;
    match fs::symlink_metadata(socket) {
        Ok(there) => {
            use std::os::unix::fs::FileTypeExt as _;
            anyhow::ensure!(there.file_type().is_socket(), "is there, and no socket");
            let answers = std::os::unix::net::UnixStream::connect(socket).is_ok();
            anyhow::ensure!(!answers, "another agent answers there");
            fs::remove_file(socket)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let listener = UnixListener::bind(socket)?;
    allow(socket, settings)?;
    Ok(listener)
}

/// Until its mode is set nobody but root could connect: the agent's umask sees to that.
fn allow(socket: &Path, settings: &Settings) -> anyhow::Result<()> {
    let group = settings.group_id()?;
    chown(socket, Some(Uid::ROOT), Some(group.unwrap_or(Gid::ROOT)))?;
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    Ok(fs::set_permissions(socket, fs::Permissions::from_mode(mode))?)
}

#[tonic::async_trait]
impl Node for Service {
    async fn open_session(&self, request: Request<OpenSessionRequest>) -> Answer<OpenSessionResponse> {
        let peer = Peer::of(&request)?;
        let ask = peer.ask(request.into_inner(), self.file_bytes_max).map_err(refused)?;
        let opened = self.watch.ask(|reply| Order::Open(Box::new(ask), reply)).await.map_err(unavailable)?;
        let id = opened.map_err(|error| Status::failed_precondition(format!("{error:#}")))?;
        Ok(Response::new(OpenSessionResponse { session_id: id.to_vec() }))
    }

    async fn close_session(&self, request: Request<CloseSessionRequest>) -> Answer<CloseSessionResponse> {
        let peer = Peer::of(&request)?;
        let CloseSessionRequest { session_id, grace_ms } = request.into_inner();
        let id = self.own(&peer, &session_id).await?;
        let finished = self.close(id, Duration::from_millis(grace_ms.into())).await?;
        answers::closed(&finished, peer.may_read(&finished)).map(Response::new)
    }

    async fn status(&self, request: Request<StatusRequest>) -> Answer<StatusResponse> {
        let peer = Peer::of(&request)?;
        let all = self.watch.ask(Order::List).await.map_err(unavailable)?;
        let (own, others): (Vec<_>, Vec<_>) = all.iter().partition(|seen| peer.may_see(seen.about.uid));
        Ok(Response::new(StatusResponse {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_s: self.started_s,
            sessions: own.into_iter().map(answers::session).collect(),
            others: u32::try_from(others.len()).unwrap_or(u32::MAX),
            capabilities: rights::held().map(rights::listed).unwrap_or_default(),
        }))
    }

    type FetchStream = Flow<Piece>;

    async fn fetch(&self, request: Request<FetchRequest>) -> Answer<Self::FetchStream> {
        let peer = Peer::of(&request)?;
        let id = self.own(&peer, &request.into_inner().session_id).await?;
        let finished = self.close(id, Duration::MAX).await?;
        if !peer.may_read(&finished) {
            return Err(Status::permission_denied(
                "programs of other users ran in the session: what they did is told to root alone",
            ));
        }
        let outcome = finished.outcome.as_ref().map_err(|why| Status::failed_precondition(why.clone()))?;
        Ok(Response::new(Box::pin(files::pieces(outcome))))
    }

    type TailStream = Flow<Line>;

    async fn tail(&self, request: Request<TailRequest>) -> Answer<Self::TailStream> {
        let peer = Peer::of(&request)?;
        let id = self.own(&peer, &request.into_inner().session_id).await?;
        let root = peer.is_root();
        let lines = self.watch.ask(|reply| Order::Tail(id, root, reply)).await.map_err(unavailable)?;
        let lines = lines.map_err(|error| Status::failed_precondition(format!("{error:#}")))?;
        Ok(Response::new(Box::pin(answers::lines(lines))))
    }
}

impl Service {
    /// A session that the peer may do with as he likes. Of those that he may not, he is not told whether they are there.
    async fn own(&self, peer: &Peer, session_id: &[u8]) -> Result<Id, Status> {
        let id = Id::try_from(session_id).map_err(|_| Status::invalid_argument("a session's id has 16 bytes"))?;
        let all = self.watch.ask(Order::List).await.map_err(unavailable)?;
        let own = all.iter().any(|seen| seen.about.id == id && peer.may_see(seen.about.uid));
        own.then_some(id).ok_or_else(|| Status::not_found("there is no such session of yours"))
    }

    async fn close(&self, id: Id, grace: Duration) -> Result<Arc<Finished>, Status> {
        let closed = self.watch.ask(|reply| Order::Close(id, grace, reply)).await.map_err(unavailable)?;
        closed.map_err(|error| Status::not_found(format!("{error:#}")))
    }
}

fn refused(error: anyhow::Error) -> Status {
    Status::invalid_argument(format!("{error:#}"))
}

fn unavailable(error: anyhow::Error) -> Status {
    Status::unavailable(format!("{error:#}"))
}
