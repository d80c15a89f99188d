//! Enrolment over the wire: the steps of `testimony enrol`, in which a machine is enrolled under the SPIFFE ID that its node has.

use attestation::{
    hex,
    platform::{Answer, Machine, Message as _, Pending, Request, Terms},
    tpm::Makers,
};
use collector_api::EnrolmentChallenge;
use tonic::Status;

use crate::{
    clock,
    keep::{Gone, Keeper, Kept},
    store::Enrolled,
};

/// Bytes of a challenge's id.
const ID_BYTES: usize = 16;

/// How machines are enrolled.
pub(crate) struct Enrolling {
    /// Who may have made their TPMs.
    pub(crate) makers: Option<Makers>,
    /// Whether a TPM is believed that no maker vouches for.
    pub(crate) first_use: bool,
    /// The register that they seal in.
    pub(crate) seal_pcr: u8,
    /// Whether a quote of the machine is good under its node's SPIFFE ID alone.
    pub(crate) bind_spiffe_id: bool,
    /// Seconds that a challenge may be answered in.
    pub(crate) lifetime_s: u64,
}

/// A challenge, and what is kept until the answer comes.
pub(crate) struct Made {
    challenge: Vec<u8>,
    pending: Vec<u8>,
    expires_s: u64,
}

impl Enrolling {
    /// A challenge for whoever asks. That takes a while, and nothing is kept of it yet.
    pub(crate) fn challenge(&self, peer: &str, request: &[u8]) -> Result<Made, Status> {
        if self.makers.is_none() && !self.first_use {
            return Err(Status::failed_precondition(
                "this collector enrols no machines: it was given no makers of TPMs ([enrolment] makers)",
            ));
        }
        let spiffe_id = Some(peer).filter(|peer| self.bind_spiffe_id && peer.starts_with("spiffe://"));
        let terms = Terms {
            name: peer,
            spiffe_id,
            seal_pcr: self.seal_pcr,
            makers: self.makers.as_ref(),
            endorsement_key: None,
        };
        let request = Request::read(request).map_err(|error| invalid(&error))?;
        let now = clock::now();
        let (challenge, pending) = request.challenge(&terms, now, self.lifetime_s).map_err(|error| invalid(&error))?;
        let (challenge, pending) =
            challenge.to_json().and_then(|json| Ok((json, pending.to_json()?))).map_err(|error| invalid(&error))?;
        Ok(Made { challenge, pending, expires_s: now.saturating_add(self.lifetime_s) })
    }

    /// Keeps what the answer is to be held against.
    pub(crate) async fn begin(&self, keeper: &Keeper, peer: String, made: Made) -> Result<EnrolmentChallenge, Status> {
        let Made { challenge, pending, expires_s } = made;
        let mut id = [0; ID_BYTES];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| Status::internal(error.to_string()))?;
        let id = hex::encode(&id);
        if !kept(keeper.challenge(id.clone(), peer, pending, expires_s).await)? {
            return Err(Status::resource_exhausted("too many enrolments are open: try again later"));
        }
        Ok(EnrolmentChallenge { challenge, id })
    }

    /// The machine of whoever has the secret, and its enrolment.
    pub(crate) async fn finish(
        &self,
        keeper: &Keeper,
        peer: String,
        id: String,
        answer: &[u8],
    ) -> Result<(Machine, Vec<u8>), Status> {
        // Before it is looked at: no challenge is answered twice.
        let pending = kept(keeper.take_challenge(id, peer.clone()).await)?;
        let pending = pending.ok_or_else(|| Status::not_found("no such enrolment of yours is open: begin anew"))?;
        let pending = Pending::read(&pending).map_err(|error| Status::internal(error.to_string()))?;
        let answer = Answer::read(answer).map_err(|error| invalid(&error))?;
        let machine =
            pending.accept(&answer, clock::now()).map_err(|error| Status::permission_denied(chain(&error)))?;
        let json = machine.to_json().map_err(|error| Status::internal(error.to_string()))?;
        let enrolled = Enrolled { key: machine.key().name().to_vec(), name: peer, machine: json.clone() };
        kept(keeper.enrol(enrolled, machine.is_certified()).await)?;
        Ok((machine, json))
    }
}

fn kept<T>(answer: Result<Kept<T>, Gone>) -> Result<T, Status> {
    let unavailable = |says: String| Status::unavailable(says);
    answer.map_err(|gone| unavailable(gone.to_string()))?.map_err(|error| unavailable(error.to_string()))
}

fn invalid(error: &dyn std::error::Error) -> Status {
    Status::invalid_argument(chain(error))
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
