//! A service that says who asks.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use mtls::Peer;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

const PATH: &str = "/testimony.test.Who/AmI";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Question {}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Answer {
    #[prost(string, optional, tag = "1")]
    pub(crate) spiffe_id: Option<String>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) certificate_sha256: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Who;

impl Service<http::Request<Body>> for Who {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async {
            Ok(tonic::server::Grpc::new(ProstCodec::<Answer, Question>::default()).unary(AmI, request).await)
        })
    }
}

struct AmI;

impl Service<Request<Question>> for AmI {
    type Response = Response<Answer>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Question>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().ok_or_else(|| Status::internal("nobody"));
        ready(peer.map(|peer| {
            let spiffe_id = peer.spiffe_id.as_ref().map(ToString::to_string);
            Response::new(Answer { spiffe_id, certificate_sha256: peer.certificate_sha256.to_vec() })
        }))
    }
}

/// Whom the service sees.
pub(crate) async fn ask(channel: Channel) -> Result<Answer, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<Question, Answer>::default();
    let path = http::uri::PathAndQuery::from_static(PATH);
    client.unary(Request::new(Question {}), path, codec).await.map(Response::into_inner)
}
