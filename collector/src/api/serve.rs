//! HTTPS for the API: so many connections, for so long, with so much in a question.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use mtls::{Guest, Identity};
use tokio::{net::TcpListener, sync::Semaphore};
use tower::ServiceExt as _;

use super::{
    Settings,
    answer::{Asker, Problem, State},
    handlers,
};
use crate::{counts::Counts, quiet};

/// Connections at once; who comes then waits.
const CONNECTIONS_MAX: usize = 128;
/// How long one stands: of who showed a certificate, and of anybody else; and how long it may take to begin a question.
const STAY_MAX: Duration = Duration::from_secs(600);
const STAY_UNKNOWN_MAX: Duration = Duration::from_secs(60);
const BEGIN_MAX: Duration = Duration::from_secs(10);
/// Questions of one connection at once (HTTP/2).
const STREAMS_MAX: u32 = 16;
/// Bytes of what stands before a body, the question among them.
const HEAD_BYTES_MAX: u32 = 32 << 10;
/// How long an answer may take to be made. What it asks of the index has a shorter time of its own.
const ANSWER_MAX: Duration = Duration::from_secs(10);

fn identity(settings: &Settings, own: &mtls::Settings) -> anyhow::Result<Identity> {
    let tls = settings.tls.as_ref().unwrap_or(own);
    let identity = tls.identity().map_err(|_| anyhow::anyhow!("[api.tls] no identity"))?;
    let tokens = settings.readers.iter().any(|reader| reader.token_sha256.is_some());
    let says = "[api] a Workload API's identity takes nobody without a certificate, so tokens alone are of no use: give \
                [api.tls] files, or name readers by spiffe_id";
    anyhow::ensure!(!(tokens && matches!(identity, Identity::Spiffe { .. })), says);
    Ok(identity)
}

/// Looks at what the configuration names.
///
/// # Errors
/// What cannot be used.
pub(crate) async fn check(settings: &Settings, own: &mtls::Settings) -> anyhow::Result<()> {
    // A Workload API is asked when it starts; files can be looked at now.
    if let identity @ Identity::Files(_) = identity(settings, own)? {
        mtls::Server::for_guests(&identity).await.context("[api.tls]")?;
    }
    Ok(())
}

/// Listens, and answers in a task of its own.
///
/// # Errors
/// Why it cannot.
pub(crate) async fn start(settings: &Settings, own: &mtls::Settings, state: State) -> anyhow::Result<()> {
    let metrics = Arc::clone(&state.metrics);
    let tls = mtls::Server::for_guests(&identity(settings, own)?).await.context("[api.tls]")?;
    let tls = tls.on_refused(crate::serve::refused(&metrics));
    let listener = TcpListener::bind(&settings.listen).await.with_context(|| format!("[api] {}", settings.listen))?;
    eprintln!("testimony-collector: the API is at {}", listener.local_addr()?);
    let router = handlers::router(Arc::new(state));
    tokio::spawn(serve(tls, listener, router, metrics));
    Ok(())
}

async fn serve(tls: mtls::Server, listener: TcpListener, router: Router, metrics: Arc<Counts>) {
    let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut guests = pin!(tls.accept_guests(listener));
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let Some(guest) = guests.next().await else {
            quiet::say(quiet::Kind::Fault, || "the API takes no connections any more".to_owned());
            return;
        };
        let Ok(guest) = guest else { continue };
        let (router, metrics) = (router.clone(), Arc::clone(&metrics));
        tokio::spawn(async move {
            // Who breaks off is missed by nobody.
            let stay = if guest.peer.is_some() { STAY_MAX } else { STAY_UNKNOWN_MAX };
            let _ = tokio::time::timeout(stay, connection(guest, router, metrics)).await;
            drop(turn);
        });
    }
}

async fn connection(guest: Guest, router: Router, metrics: Arc<Counts>) {
    let asker = Asker(guest.peer.and_then(|peer| peer.spiffe_id));
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let (router, metrics, asker) = (router.clone(), Arc::clone(&metrics), asker.clone());
        async move {
            let response = answer(router, asker, request).await;
            metrics.answered(response.status().as_u16());
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(BEGIN_MAX).max_buf_size(HEAD_BYTES_MAX as usize);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .keep_alive_interval(BEGIN_MAX)
        .keep_alive_timeout(BEGIN_MAX);
    let _ = http.serve_connection(TokioIo::new(guest.stream), TowerToHyperService::new(service)).await;
}

async fn answer(router: Router, asker: Asker, request: Request<Incoming>) -> Response {
    // Nothing is asked by a body: none is read.
    let (mut head, _) = request.into_parts();
    head.extensions.insert(asker);
    let request = Request::from_parts(head, Body::empty());
    let answered = tokio::time::timeout(ANSWER_MAX, router.oneshot(request)).await;
    let Ok(Ok(response)) = answered else {
        let says = "the answer took too long";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", says).into_response();
    };
    response
}
