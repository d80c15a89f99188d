//! What is read of a call's messages, and when: none of a message before there is memory for all of it, and none for longer than one may
//! take to come. gRPC's own decoder reads a message whole, wherever the memory comes from; it stands behind this.

mod framing;

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::Frame;
use mtls::Peer;
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body, codegen::Service, server::NamedService};

use crate::peers::{Peers, Place, Share};
use framing::Framing;

/// Bytes of a submission at most.
pub(crate) const SUBMISSION_BYTES_MAX: usize = 32 << 20;
/// Bytes of any other call's message at most: those of an enrolment, with what is around them.
const CALL_BYTES_MAX: usize = attestation::platform::ENROL_BYTES_MAX + FRAMING_BYTES_MAX;
/// What a message may have beside its parts.
pub(crate) const FRAMING_BYTES_MAX: usize = 4096;
/// A message is there twice while it is decoded: as it came, and its parts.
const COPIES: usize = 2;
/// How long a message may take to come, from when there is memory for it: so long, and a second for each so many bytes.
const MESSAGE_MAX: Duration = Duration::from_secs(60);
const BYTES_PER_S_MIN: usize = 64 << 10;
/// The one call whose messages may be large.
const SUBMIT: &str = "/testimony.collector.v1.Collector/Submit";

/// Memory of a call's messages, in their order: taken out by whoever has them.
#[derive(Default)]
pub(crate) struct Rooms(Mutex<VecDeque<Room>>);

/// Memory for a message, until it is dropped.
pub(crate) struct Room {
    /// Bytes of the message.
    pub(crate) bytes: usize,
    _place: Place,
}

impl Rooms {
    /// That of the next message.
    pub(crate) fn next(&self) -> Option<Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// The service, each of whose calls is read that way.
#[derive(Clone)]
pub(crate) struct Intake<S> {
    inner: S,
    peers: Arc<Peers>,
}

impl<S> Intake<S> {
    pub(crate) fn new(inner: S, peers: Arc<Peers>) -> Self {
        Self { inner, peers }
    }
}

impl<S: NamedService> NamedService for Intake<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Intake<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let Some(peer) = request.extensions().get::<Peer>() else {
            return Box::pin(async { Ok(Status::unauthenticated("no certificate").into_http()) });
        };
        let share = self.peers.share(&peer.to_string());
        let is_submission = request.uri().path() == SUBMIT;
        let bytes_max = if is_submission { SUBMISSION_BYTES_MAX + FRAMING_BYTES_MAX } else { CALL_BYTES_MAX };
        let rooms = Arc::new(Rooms::default());
        request.extensions_mut().insert(Arc::clone(&rooms));
        let peers = Arc::clone(&self.peers);
        let request =
            request.map(|inner| Body::new(Measured::new(inner, Framing::new(bytes_max), peers, share, rooms)));
        Box::pin(self.inner.call(request))
    }
}

/// The body of a call, which gives out nothing of a message before there is memory for it.
struct Measured {
    inner: Body,
    framing: Framing,
    peers: Arc<Peers>,
    share: Arc<Share>,
    rooms: Arc<Rooms>,
    /// What came, until there is memory for the messages that begin in it.
    held: Option<Frame<Bytes>>,
    begun: VecDeque<usize>,
    asked: Option<BoxFuture<'static, Option<Room>>>,
    /// While a message is there in part.
    late: Option<Pin<Box<Sleep>>>,
}

impl Measured {
    fn new(inner: Body, framing: Framing, peers: Arc<Peers>, share: Arc<Share>, rooms: Arc<Rooms>) -> Self {
        let begun = VecDeque::new();
        Self { inner, framing, peers, share, rooms, held: None, begun, asked: None, late: None }
    }

    /// Asks for the memory of what begun.
    fn poll_rooms(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        loop {
            if let Some(asked) = &mut self.asked {
                let room = ready!(asked.as_mut().poll(context));
                let room = room.ok_or_else(|| Status::unavailable("the collector is being stopped"))?;
                self.rooms.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(room);
                // Whoever waited for memory has all its time from now on.
                (self.asked, self.late) = (None, None);
            }
            let Some(bytes) = self.begun.pop_front() else { return Poll::Ready(Ok(())) };
            let (peers, share) = (Arc::clone(&self.peers), Arc::clone(&self.share));
            self.asked = Some(Box::pin(async move {
                let place = peers.memory(&share, bytes.saturating_mul(COPIES)).await.ok()?;
                Some(Room { bytes, _place: place })
            }));
        }
    }

    fn poll_late(&mut self, context: &mut Context<'_>) -> Result<(), Status> {
        if !self.framing.is_inside() {
            self.late = None;
            return Ok(());
        }
        let longest = longest(self.framing.length());
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(longest)));
        match late.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                let says = format!("a message took longer than {} s to come", longest.as_secs());
                Err(Status::deadline_exceeded(says))
            }
        }
    }
}

/// How long a message of so many bytes may take.
fn longest(bytes: usize) -> Duration {
    MESSAGE_MAX + Duration::from_secs((bytes / BYTES_PER_S_MIN) as u64)
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            if let Err(status) = ready!(this.poll_rooms(context)) {
                return Poll::Ready(Some(Err(status)));
            }
            if let Some(held) = this.held.take() {
                return Poll::Ready(Some(Ok(held)));
            }
            if let Err(status) = this.poll_late(context) {
                return Poll::Ready(Some(Err(status)));
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref()
                        && let Err(status) = this.framing.read(data, &mut this.begun)
                    {
                        return Poll::Ready(Some(Err(status)));
                    }
                    this.held = Some(frame);
                }
                end => return Poll::Ready(end),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.begun.is_empty() && self.asked.is_none() && self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;
    use crate::settings::Limits;

    fn header(length: usize) -> Bytes {
        [&[0][..], &u32::try_from(length).unwrap().to_be_bytes()].concat().into()
    }

    /// A body of these parts, which stays open.
    fn measured(peers: &Arc<Peers>, parts: Vec<Bytes>) -> (Measured, Arc<Rooms>) {
        let frames = stream::iter(parts).map(|part| Ok::<_, Infallible>(Frame::data(part)));
        let body = Body::new(StreamBody::new(frames.chain(stream::pending())));
        let rooms = Arc::new(Rooms::default());
        let framing = Framing::new(SUBMISSION_BYTES_MAX);
        (Measured::new(body, framing, Arc::clone(peers), peers.share("one"), Arc::clone(&rooms)), rooms)
    }

    fn peers() -> Arc<Peers> {
        Arc::new(Peers::new(&Limits { memory: config::Bytes::new(160 << 20), ..Limits::default() }))
    }

    #[tokio::test]
    async fn nothing_of_a_message_comes_before_there_is_memory_for_it() {
        let peers = peers();
        let (mut first, rooms) = measured(&peers, vec![header(SUBMISSION_BYTES_MAX), vec![0; 10].into()]);
        assert!(first.frame().now_or_never().is_some());
        let room = rooms.next().unwrap();
        assert_eq!((room.bytes, rooms.next().is_none()), (SUBMISSION_BYTES_MAX, true));
        // Half of the memory is one name's: there is none for another of that size, and not even its header comes.
        let (mut second, rooms) = measured(&peers, vec![header(SUBMISSION_BYTES_MAX)]);
        assert!(second.frame().now_or_never().is_none());
        drop(room);
        assert!(second.frame().now_or_never().is_some() && rooms.next().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_has_its_time_and_a_stream_without_one_has_no_limit() {
        let (mut idle, _rooms) = measured(&peers(), vec![[header(1), Bytes::from_static(b"x")].concat().into()]);
        assert!(idle.frame().await.unwrap().is_ok());
        let day = Duration::from_secs(86_400);
        assert!(tokio::time::timeout(day, idle.frame()).await.is_err());
        for parts in [vec![header(2), vec![0; 1].into()], vec![Bytes::from_static(&[0])]] {
            let count = parts.len();
            let (mut late, _rooms) = measured(&peers(), parts);
            for _ in 0..count {
                assert!(late.frame().await.unwrap().is_ok());
            }
            let began = tokio::time::Instant::now();
            let status = late.frame().await.unwrap().unwrap_err();
            assert_eq!((status.code(), began.elapsed().as_secs()), (tonic::Code::DeadlineExceeded, 60));
        }
        assert_eq!(longest(SUBMISSION_BYTES_MAX), MESSAGE_MAX + Duration::from_secs(512));
    }
}
