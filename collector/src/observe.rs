//! What is seen of submissions on their way: counted, said to the log at a limited rate, and told as alerts where they are refused.

use std::{sync::Arc, time::Duration};

use attestation::{dsse, hex};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{
    alerts::{Alert, Pending},
    counts::Counts,
    judge::Refusal,
    quiet,
};

/// Bytes of an envelope that is looked into once it was refused.
const LOOKED_INTO_MAX: usize = 1 << 20;

/// Who sees it.
#[derive(Clone)]
pub(crate) struct Observed {
    pub(crate) metrics: Arc<Counts>,
    pub(crate) pending: Arc<Pending>,
}

/// What a submission is about, for the case that it is refused: its envelope, unless it is large.
pub(crate) struct About(Vec<u8>);

impl About {
    pub(crate) fn of(envelope: &[u8]) -> Self {
        Self(if envelope.len() <= LOOKED_INTO_MAX { envelope.to_vec() } else { Vec::new() })
    }

    /// SHA-256 of the payload and the session's id, as they were sent: nobody has verified them.
    fn said(&self) -> (Option<String>, Option<String>) {
        let Ok(envelope) = dsse::read(self.0.as_slice()) else { return (None, None) };
        let payload = envelope.into_unverified();
        let session = serde_json::from_slice::<Wire>(&payload).ok().map(|wire| wire.predicate.testimony.session.id);
        let session = session.filter(|session| session.len() <= 64 && hex::decode(session).is_some());
        (Some(hex::encode(&Sha256::digest(&payload))), session)
    }
}

#[derive(Deserialize)]
struct Wire {
    predicate: Predicate,
}

#[derive(Deserialize)]
struct Predicate {
    testimony: Testimony,
}

#[derive(Deserialize)]
struct Testimony {
    session: Session,
}

#[derive(Deserialize)]
struct Session {
    id: String,
}

impl Observed {
    /// One was verified, whatever came of it.
    pub(crate) fn verified(&self, took: Duration) {
        self.metrics.verified(took);
    }

    /// One was there already.
    pub(crate) fn repeated(&self) {
        self.metrics.repeated();
    }

    /// One was refused.
    pub(crate) fn refused(&self, peer: &str, about: &About, refusal: &Refusal) {
        self.metrics.refused(&refusal.code);
        let (payload_sha256, session) = about.said();
        quiet::say(quiet::Kind::Refusal, || {
            let named = |what: &str, value: &Option<String>| {
                value.as_ref().map_or(String::new(), |value| format!(", {what} {value}"))
            };
            let about = [named("payload", &payload_sha256), named("session", &session)].concat();
            format!("refused a statement of {peer}{about}: {}: {}", refusal.code, refusal.says)
        });
        let says = format!("a statement was refused: {}", refusal.says);
        let (code, peer) = (refusal.code.clone(), Some(peer.to_owned()));
        self.pending.add(Alert { code, says, peer, payload_sha256, session, ..Alert::default() });
    }
}
