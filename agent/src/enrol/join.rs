//! Enrolment by a collector: request, challenge, answer and enrolment over one connection. The collector enrols the machine under the
//! SPIFFE ID that this node shows it.

use std::path::Path;

use attestation::{
    escape::escape,
    platform::{Challenge, Machine, Message as _},
};
use collector_api::{
    Enrolment, EnrolmentAnswer, EnrolmentChallenge, EnrolmentRequest, collector_client::CollectorClient,
};

use super::{Error, answer, request};
use crate::{daemon, tpm};

/// The enrolment (JSON), and the machine that it is of.
///
/// # Errors
/// Why there is none.
pub(super) fn join(config: &Path, tpm: &tpm::Args) -> Result<(Vec<u8>, Machine), Error> {
    let joined = || Error::Collector("the configuration".to_owned());
    let settings: daemon::Settings = config::read(config).map_err(|refused| Error::Collector(refused.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::Collector(error.to_string()))?;
    // The TPM is asked before and between, on this thread: nothing else has to go on meanwhile.
    let asked = request(tpm)?.to_json().map_err(|_| joined())?;
    let channel =
        runtime.block_on(daemon::connect(&settings)).map_err(|error| Error::Collector(format!("{error:#}")))?;
    let mut client = CollectorClient::new(channel);
    let begun = runtime.block_on(client.begin_enrolment(EnrolmentRequest { request: asked }));
    let EnrolmentChallenge { challenge, id } = begun.map_err(|status| refused(&status))?.into_inner();
    let challenge = Challenge::read(&challenge).map_err(|error| Error::Collector(error.to_string()))?;
    let answer = answer(&challenge, Path::new("the collector's challenge"), tpm)?.to_json().map_err(|_| joined())?;
    let finished = runtime.block_on(client.finish_enrolment(EnrolmentAnswer { id, answer }));
    let Enrolment { machine: json } = finished.map_err(|status| refused(&status))?.into_inner();
    let machine = Machine::read(&json).map_err(|error| Error::Collector(error.to_string()))?;
    Ok((json, machine))
}

fn refused(status: &tonic::Status) -> Error {
    Error::Collector(escape(status.message().as_bytes()).into_owned())
}
