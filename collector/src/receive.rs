//! The gRPC service: statements are verified beside each other, kept and answered in the order in which they came.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use attestation::escape::escape;
use collector_api::{
    Accepted, Answer, ConsistencyProof, ConsistencyRequest, Enrolment, EnrolmentAnswer, EnrolmentChallenge,
    EnrolmentRequest, Refused, Submission, Unavailable, answer::Outcome, collector_server::Collector,
};
use futures_util::{Stream, StreamExt as _};
use mtls::Peer;
use prost::Message as _;
use tokio::{
    sync::{Semaphore, oneshot},
    task::{spawn, spawn_blocking},
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    enrol::Enrolling,
    judge::{Judge, Refusal},
    keep::{Gone, Keeper, Kept, Receipted, Room},
    store::{Error, Reader, Statement},
};

/// Bytes of a submission at most.
pub(crate) const SUBMISSION_BYTES_MAX: usize = 32 << 20;
/// Statements of one stream that are verified at once, and that wait for their receipts.
const VERIFIED_AT_ONCE: usize = 4;
const WAITING_MAX: usize = 64;
/// KiB of submissions that are held at once, all streams together: what is above that waits for its turn.
const HELD_KIB_MAX: usize = 256 << 10;

/// The service.
pub(crate) struct Receiver {
    judge: Arc<Judge>,
    keeper: Keeper,
    enrolling: Arc<Enrolling>,
    /// What was kept, for whoever asks.
    reader: Arc<Mutex<Reader>>,
    turns: Arc<Turns>,
}

/// What streams share.
struct Turns {
    processors: Arc<Semaphore>,
    held_kib: Arc<Semaphore>,
}

/// What was made of one submission.
enum Judged {
    Handed(oneshot::Receiver<Kept<Receipted>>),
    Refused(Refusal),
    Unavailable(String),
}

impl Receiver {
    pub(crate) fn new(judge: Arc<Judge>, keeper: Keeper, enrolling: Enrolling, reader: Reader) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let held_kib = Arc::new(Semaphore::new(HELD_KIB_MAX));
        let turns = Turns { processors: Arc::new(Semaphore::new(processors)), held_kib };
        let (enrolling, reader) = (Arc::new(enrolling), Arc::new(Mutex::new(reader)));
        Self { judge, keeper, enrolling, reader, turns: Arc::new(turns) }
    }
}

/// Who asks, as its certificate says.
fn peer_of<T>(request: &Request<T>) -> Result<String, Status> {
    let peer = request.extensions().get::<Peer>().ok_or_else(|| Status::unauthenticated("no certificate"))?;
    Ok(peer.to_string())
}

#[tonic::async_trait]
impl Collector for Receiver {
    type SubmitStream = Pin<Box<dyn Stream<Item = Result<Answer, Status>> + Send>>;

    async fn submit(&self, request: Request<Streaming<Submission>>) -> Result<Response<Self::SubmitStream>, Status> {
        let peer: Arc<str> = peer_of(&request)?.into();
        let (judge, keeper, turns) = (Arc::clone(&self.judge), self.keeper.clone(), Arc::clone(&self.turns));
        let judged = request.into_inner().map(move |submission| {
            let (judge, turns, peer) = (Arc::clone(&judge), Arc::clone(&turns), Arc::clone(&peer));
            async move {
                let submission = submission?;
                let number = submission.number;
                // A task of its own: a node that does not read its answers holds up nobody else's.
                let verified = spawn(verify(judge, turns, submission, peer)).await;
                Ok((number, verified.unwrap_or_else(|error| Err(error.to_string()))))
            }
        });
        let handed = judged.buffered(VERIFIED_AT_ONCE).then(move |judged: Result<_, Status>| {
            let keeper = keeper.clone();
            async move {
                let (number, judged) = judged?;
                Ok((number, hand_over(&keeper, judged).await))
            }
        });
        let answers = handed.map(|handed: Result<_, Status>| async move {
            let (number, judged) = handed?;
            Ok(Answer { number, outcome: Some(outcome(judged).await) })
        });
        Ok(Response::new(Box::pin(answers.buffered(WAITING_MAX))))
    }

    async fn begin_enrolment(
        &self,
        request: Request<EnrolmentRequest>,
    ) -> Result<Response<EnrolmentChallenge>, Status> {
        let peer = peer_of(&request)?;
        Ok(Response::new(self.enrolling.begin(&self.keeper, peer, &request.into_inner().request).await?))
    }

    async fn finish_enrolment(&self, request: Request<EnrolmentAnswer>) -> Result<Response<Enrolment>, Status> {
        let peer = peer_of(&request)?;
        let EnrolmentAnswer { id, answer } = request.into_inner();
        let (enrolling, keeper, judge) = (Arc::clone(&self.enrolling), self.keeper.clone(), Arc::clone(&self.judge));
        // A task of its own: a machine that was enrolled is known, whether its node waits for the answer or not.
        let finished = spawn(async move {
            let (machine, json) = enrolling.finish(&keeper, peer, id, &answer).await?;
            judge.enrolled(machine);
            Ok::<_, Status>(json)
        });
        let json = finished.await.map_err(|error| Status::internal(error.to_string()))??;
        Ok(Response::new(Enrolment { machine: json }))
    }

    async fn prove_consistency(
        &self,
        request: Request<ConsistencyRequest>,
    ) -> Result<Response<ConsistencyProof>, Status> {
        peer_of(&request)?;
        let ConsistencyRequest { old, new } = request.into_inner();
        let reader = Arc::clone(&self.reader);
        let proven =
            spawn_blocking(move || reader.lock().unwrap_or_else(PoisonError::into_inner).consistency(old, new));
        let proven = proven.await.map_err(|error| Status::internal(error.to_string()))?;
        let hashes = proven.map_err(|error| match error {
            // What it has is what the node compares with what it saw.
            Error::Tree(error) => Status::out_of_range(error.to_string()),
            _ => Status::unavailable("the collector cannot look into its log"),
        })?;
        Ok(Response::new(ConsistencyProof { hashes: hashes.iter().map(|hash| hash.to_vec()).collect() }))
    }
}

/// A submission that was looked at, with the room that it takes; or why it could not be.
type Verified = Result<(Result<Statement, Refusal>, Room), String>;

/// On a thread that may work for long, when it is its turn. Streams take room in the order in which they ask, so that the first of a
/// stream, which the others wait for, has its own.
async fn verify(judge: Arc<Judge>, turns: Arc<Turns>, submission: Submission, peer: Arc<str>) -> Verified {
    let kib = u32::try_from(submission.encoded_len() / 1024 + 1).unwrap_or(u32::MAX);
    let room = Arc::clone(&turns.held_kib).acquire_many_owned(kib).await.map_err(|error| error.to_string())?;
    let turn = Arc::clone(&turns.processors).acquire_owned().await.map_err(|error| error.to_string())?;
    // The turn ends with the work, whenever somebody looks at what came of it.
    let judged = spawn_blocking(move || {
        let judged = judge.judge(submission, &peer);
        drop(turn);
        judged
    });
    let judged = judged.await.map_err(|error| error.to_string())?;
    Ok((judged, room))
}

async fn hand_over(keeper: &Keeper, verified: Verified) -> Judged {
    match verified {
        Ok((Ok(statement), room)) => match keeper.statement(statement, room).await {
            Ok(answer) => Judged::Handed(answer),
            Err(gone) => Judged::Unavailable(gone.to_string()),
        },
        Ok((Err(refusal), _)) => Judged::Refused(refusal),
        Err(error) => Judged::Unavailable(error),
    }
}

async fn outcome(judged: Judged) -> Outcome {
    let unavailable = |says: String| Outcome::Unavailable(Unavailable { says });
    match judged {
        Judged::Refused(Refusal { code, says, lasting }) => {
            Outcome::Refused(Refused { code, says, lasting: lasting.into() })
        }
        Judged::Unavailable(says) => unavailable(says),
        Judged::Handed(answer) => match answer.await {
            Ok(Ok(Receipted { receipt, repeated })) => {
                Outcome::Accepted(Accepted { receipt: receipt.into_bytes(), repeated })
            }
            // What the database says is for its operator.
            Ok(Err(error)) if error.is_full() => unavailable("the collector's disk is full".to_owned()),
            Ok(Err(error)) => {
                eprintln!("testimony-collector: a statement was not kept: {}", escape(error.to_string().as_bytes()));
                unavailable("the collector cannot keep it".to_owned())
            }
            Err(_) => unavailable(Gone.to_string()),
        },
    }
}
