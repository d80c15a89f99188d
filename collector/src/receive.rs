//! The gRPC service: statements are verified beside each other, kept and answered in the order in which they came.
//!
//! What a stream takes does not depend on whether its node reads the answers: a task of the stream's own reads, has verified, and hands
//! over; what is left of a statement then is its answer, of which a stream has so many. When these are not read, nothing more is.

mod stream;

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use attestation::escape::escape;
use collector_api::{
    Accepted, Answer, ConsistencyProof, ConsistencyRequest, Enrolment, EnrolmentAnswer, EnrolmentChallenge,
    EnrolmentRequest, Refused, Submission, Unavailable, answer::Outcome, collector_server::Collector,
};
use futures_util::Stream;
use mtls::{Peer, Rate};
use tokio::{
    sync::oneshot,
    task::{spawn, spawn_blocking},
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    enrol::Enrolling,
    gate::{LINES_MAX, LINES_PER},
    intake::{Room, Rooms},
    judge::{Judge, Judged as Found, Refusal},
    keep::{Gone, Keeper, Kept, Receipted},
    observe::{About, Observed},
    peers::{Peers, Place, Share},
    store::{Error, Reader},
};

/// The service.
#[derive(Clone)]
pub(crate) struct Receiver(Arc<Parts>);

struct Parts {
    judge: Arc<Judge>,
    keeper: Keeper,
    enrolling: Enrolling,
    /// What was kept, for whoever asks.
    reader: Mutex<Reader>,
    peers: Arc<Peers>,
    not_kept: Rate,
    observed: Observed,
}

/// What was made of one submission.
enum Judged {
    Known(Receipted),
    Handed(oneshot::Receiver<Kept<Receipted>>),
    Refused(Refusal),
    Unavailable(String),
}

/// A submission that was looked at, with the room that it takes; or why it could not be.
type Verified = Result<(Looked, Option<Room>), String>;

enum Looked {
    Known(Receipted),
    Found(Box<Found>),
}

impl Receiver {
    pub(crate) fn new(
        judge: Arc<Judge>,
        keeper: Keeper,
        enrolling: Enrolling,
        reader: Reader,
        peers: Arc<Peers>,
        observed: Observed,
    ) -> Self {
        let (reader, not_kept) = (Mutex::new(reader), Rate::new(LINES_MAX, LINES_PER));
        Self(Arc::new(Parts { judge, keeper, enrolling, reader, peers, not_kept, observed }))
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let peer = request.extensions().get::<Peer>().ok_or_else(|| Status::unauthenticated("no certificate"))?;
        let name: Arc<str> = peer.to_string().into();
        Ok(Caller { share: self.0.peers.share(&name), name })
    }

    /// On a thread that may work for long, when it is its turn.
    async fn verify(self, submission: Submission, room: Option<Room>, caller: Caller) -> Verified {
        let turn = self.0.peers.turn(&caller.share).await.map_err(|error| error.to_string())?;
        // The turn ends with the work, whenever somebody looks at what came of it.
        let looked = spawn_blocking(move || {
            let looked = self.look(submission, &caller.name);
            drop(turn);
            looked
        });
        Ok((looked.await.map_err(|error| error.to_string())??, room))
    }

    /// What is there already, byte for byte, was verified when it came: its receipt is the one of then.
    fn look(&self, submission: Submission, peer: &str) -> Result<Looked, String> {
        let (trust, submission) = self.0.judge.begin(submission);
        let sha256 = Judge::digest(&submission);
        let known = self.reader().receipt_of(&sha256);
        match known {
            Ok(Some(receipt)) => return Ok(Looked::Known(Receipted { receipt, repeated: true })),
            Ok(None) => {}
            Err(error) => {
                self.not_kept(&error);
                return Err("the collector cannot look into its store".to_owned());
            }
        }
        let (about, began) = (About::of(&submission.envelope), Instant::now());
        let judged = self.0.judge.judge(&trust, submission, sha256, peer);
        self.0.observed.verified(began.elapsed());
        if let Err(refusal) = &judged {
            self.0.observed.refused(peer, &about, refusal);
        }
        Ok(Looked::Found(Box::new(judged)))
    }

    fn reader(&self) -> std::sync::MutexGuard<'_, Reader> {
        self.0.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hand_over(&self, verified: Verified) -> Judged {
        match verified {
            Ok((Looked::Known(receipted), _)) => Judged::Known(receipted),
            Ok((Looked::Found(found), room)) => match *found {
                Err(refusal) => Judged::Refused(refusal),
                Ok(statement) => match self.0.keeper.statement(statement, room).await {
                    Ok(answer) => Judged::Handed(answer),
                    Err(gone) => Judged::Unavailable(gone.to_string()),
                },
            },
            Err(error) => Judged::Unavailable(error),
        }
    }

    /// What the database says is for its operator.
    fn not_kept(&self, error: &Error) {
        let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
        let causes = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        let causes = escape(causes.as_bytes());
        self.0.not_kept.tell(|more| eprintln!("testimony-collector: a statement was not kept: {causes}{more}"));
    }

    async fn outcome(&self, judged: Judged) -> Outcome {
        let unavailable = |says: String| Outcome::Unavailable(Unavailable { says });
        let accepted = |Receipted { receipt, repeated }: Receipted| {
            if repeated {
                self.0.observed.repeated();
            }
            Outcome::Accepted(Accepted { receipt: receipt.into_bytes(), repeated })
        };
        match judged {
            Judged::Refused(Refusal { code, says, lasting }) => {
                Outcome::Refused(Refused { code, says, lasting: lasting.into() })
            }
            Judged::Unavailable(says) => unavailable(says),
            Judged::Known(receipted) => accepted(receipted),
            Judged::Handed(answer) => match answer.await {
                Ok(Ok(receipted)) => accepted(receipted),
                Ok(Err(error)) => {
                    self.not_kept(&error);
                    unavailable(error.says().to_owned())
                }
                Err(_) => unavailable(Gone.to_string()),
            },
        }
    }
}

/// Who asks, as its certificate says.
#[derive(Clone)]
struct Caller {
    name: Arc<str>,
    share: Arc<Share>,
}

impl Caller {
    fn stream(&self) -> Result<Place, Status> {
        self.share.stream().ok_or_else(|| Status::resource_exhausted("as many streams as one name may have are open"))
    }

    fn call(&self) -> Result<Place, Status> {
        self.share.call().ok_or_else(|| Status::resource_exhausted("too many calls at once under one name: try later"))
    }
}

#[tonic::async_trait]
impl Collector for Receiver {
    type SubmitStream = Pin<Box<dyn Stream<Item = Result<Answer, Status>> + Send>>;

    async fn submit(&self, request: Request<Streaming<Submission>>) -> Result<Response<Self::SubmitStream>, Status> {
        let caller = self.caller(&request)?;
        let place = caller.stream()?;
        let rooms = request.extensions().get::<Arc<Rooms>>().cloned().unwrap_or_default();
        Ok(Response::new(Box::pin(stream::answers(self.clone(), caller, place, request.into_inner(), rooms))))
    }

    async fn begin_enrolment(
        &self,
        request: Request<EnrolmentRequest>,
    ) -> Result<Response<EnrolmentChallenge>, Status> {
        let caller = self.caller(&request)?;
        let (_place, peer) = (caller.call()?, caller.name.to_string());
        let turn = self.0.peers.turn(&caller.share).await.map_err(|_| Status::unavailable(Gone.to_string()))?;
        let (this, asked) = (self.clone(), request.into_inner().request);
        // A secret for a TPM is made with its key, which may be a large one.
        let made = spawn_blocking(move || {
            let made = this.0.enrolling.challenge(&peer, &asked);
            drop(turn);
            made.map(|made| (peer, made))
        });
        let (peer, challenge) = made.await.map_err(|error| Status::internal(error.to_string()))??;
        Ok(Response::new(self.0.enrolling.begin(&self.0.keeper, peer, challenge).await?))
    }

    async fn finish_enrolment(&self, request: Request<EnrolmentAnswer>) -> Result<Response<Enrolment>, Status> {
        let caller = self.caller(&request)?;
        let place = caller.call()?;
        let EnrolmentAnswer { id, answer } = request.into_inner();
        let this = self.clone();
        // A task of its own: a machine that was enrolled is known, whether its node waits for the answer or not.
        let finished = spawn(async move {
            let _place = place;
            let finished = this.0.enrolling.finish(&this.0.keeper, caller.name.to_string(), id, &answer).await;
            let (machine, json) = finished?;
            this.0.judge.enrolled(machine);
            Ok::<_, Status>(json)
        });
        let json = finished.await.map_err(|error| Status::internal(error.to_string()))??;
        Ok(Response::new(Enrolment { machine: json }))
    }

    async fn prove_consistency(
        &self,
        request: Request<ConsistencyRequest>,
    ) -> Result<Response<ConsistencyProof>, Status> {
        let _place = self.caller(&request)?.call()?;
        let ConsistencyRequest { old, new } = request.into_inner();
        let this = self.clone();
        let proven = spawn_blocking(move || this.reader().consistency(old, new)).await;
        let hashes = proven.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| match error {
            // What it has is what the node holds against what it saw.
            Error::Tree(error) => Status::out_of_range(error.to_string()),
            _ => Status::unavailable("the collector cannot look into its log"),
        })?;
        Ok(Response::new(ConsistencyProof { hashes: hashes.iter().map(|hash| hash.to_vec()).collect() }))
    }
}
