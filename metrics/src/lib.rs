//! Metrics as Prometheus reads them (OpenMetrics text), and a local address where it does.
//!
//! The library `prometheus-client` counts and writes; here is what both programs need around it: a page that is made when it is asked
//! for, and a server that speaks plain HTTP to this host alone. Elsewhere metrics are read by the collector's API, which knows who asks.
#![forbid(unsafe_code)]

pub mod labels;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use config::{Fault, Validate};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
pub use prometheus_client;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use tokio::{net::TcpListener, sync::Semaphore};

/// What the page is, in a header.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Where it is.
pub const PATH: &str = "/metrics";
/// Who reads it at once at most.
const CONNECTIONS_MAX: usize = 8;
/// How long one may take to ask, and to stay.
const ASK_MAX: Duration = Duration::from_secs(5);
const STAY_MAX: Duration = Duration::from_secs(60);

/// A section `metrics` of a configuration: where they are read without anybody being asked who they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// An address of this host alone, and a port.
    pub listen: Option<String>,
}

impl Settings {
    /// The address, where there is one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listen.as_ref().and_then(|listen| listen.parse().ok())
    }
}

impl Validate for Settings {
    fn faults(&self, faults: &mut Vec<Fault>) {
        if self.listen.is_some() && self.address().is_none_or(|address| !address.ip().is_loopback()) {
            faults.push(Fault::new("listen", "no address of this host alone and port, such as 127.0.0.1:9465"));
        }
    }
}

/// The page of a registry.
#[must_use]
pub fn page(registry: &Registry) -> String {
    let mut text = String::new();
    // Into memory nothing fails.
    let _ = prometheus_client::encoding::text::encode(&mut text, registry);
    text
}

/// Serves the page, as `make` makes it at each question, at `/metrics` and nowhere else, for ever.
pub async fn serve<F>(listener: TcpListener, make: impl Fn() -> F + Send + Sync + 'static) -> Infallible
where
    F: Future<Output = String> + Send + 'static,
{
    let (make, turns) = (Arc::new(make), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { continue };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let make = Arc::clone(&make);
        tokio::spawn(async move {
            let answer = service_fn(move |request| answer(request, Arc::clone(&make)));
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(ASK_MAX).max_buf_size(16 << 10);
            let served = http.serve_connection(TokioIo::new(stream), answer);
            // Who breaks off is missed by nobody.
            let _ = tokio::time::timeout(STAY_MAX, served).await;
            drop(turn);
        });
    }
}

async fn answer<F: Future<Output = String>>(
    request: Request<Incoming>,
    make: Arc<impl Fn() -> F>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, PATH) => (StatusCode::OK, CONTENT_TYPE, make().await),
        (_, PATH) => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET is answered\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "text/plain", "there is only /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said).await;
        said
    }

    #[tokio::test]
    async fn the_page_is_at_its_path_and_nowhere_else() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (mut registry, counter) = (Registry::default(), Counter::<u64>::default());
        registry.register("things", "Things", counter.clone());
        let registry = Arc::new(registry);
        tokio::spawn(serve(listener, move || std::future::ready(page(&registry))));
        counter.inc();
        let said = ask(address, "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(
            said.starts_with("HTTP/1.1 200") && said.contains("things_total 1\n") && said.contains("# EOF"),
            "{said}"
        );
        assert!(
            ask(address, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.starts_with("HTTP/1.1 404")
        );
        assert!(
            ask(address, "POST /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 405")
        );
        assert!(ask(address, "nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    }

    #[test]
    fn an_address_of_others_is_a_fault() {
        for (listen, good) in
            [("127.0.0.1:1", true), ("[::1]:1", true), ("0.0.0.0:1", false), ("192.0.2.1:1", false), ("x", false)]
        {
            let mut faults = Vec::new();
            Settings { listen: Some(listen.to_owned()) }.faults(&mut faults);
            assert_eq!(faults.is_empty(), good, "{listen}");
        }
    }
}
