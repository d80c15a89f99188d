//! What is answered where a question is not: problems, each with a status, a word that stays the same, and a sentence.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use attestation::identity::SpiffeId;
use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::{
    rights::{Denied, Rights},
    settings::{Right, Settings},
};
use crate::{counts::Counts, index, quiet};

/// Questions that are answered at once; who asks meanwhile waits for so long, and is then told to come again.
const AT_ONCE: usize = 4;
const TURN_MAX: Duration = Duration::from_millis(500);

/// What the API knows.
pub(crate) struct State {
    pub(crate) folder: PathBuf,
    pub(crate) rights: Rights,
    pub(crate) silent_after_s: Option<u64>,
    pub(crate) metrics: Arc<Counts>,
    turns: Arc<Semaphore>,
    /// Connections to the index that nobody uses now.
    readers: Mutex<Vec<index::Reader>>,
}

/// Who asks: in the extensions of each request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asker(pub(crate) Option<SpiffeId>);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    #[serde(skip)]
    status: u16,
    /// A word that stays the same: unauthorized, forbidden, bad-request, not-found, method-not-allowed, too-many, too-costly, unavailable.
    code: &'static str,
    /// In a sentence.
    says: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, says: impl Into<String>) -> Self {
        Self { status: status.as_u16(), code, says: says.into() }
    }

    pub(crate) fn bad(says: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", says)
    }

    pub(crate) fn not_found(says: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", says)
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unknown => Self::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "show a certificate or a token that the configuration names ([[api.readers]])",
            ),
            Denied::Lacks(right) => {
                let right = match right {
                    Right::Facts => "facts",
                    Right::Statements => "statements",
                    Right::Metrics => "metrics",
                };
                Self::new(StatusCode::FORBIDDEN, "forbidden", format!("you lack the right `{right}`"))
            }
        }
    }
}

impl From<index::Bad> for Problem {
    fn from(bad: index::Bad) -> Self {
        match bad {
            index::Bad::Index(error) if error.is_too_costly() => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too-costly",
                "the question takes too long: ask for less, by a host, a digest or a time",
            ),
            index::Bad::Index(index::Error::None) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "there is no index yet")
            }
            // What the database says is for its operator.
            index::Bad::Index(error) => {
                let error = anyhow::Error::from(error);
                quiet::say(quiet::Kind::Fault, || format!("a question was not answered: {error:#}"));
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the index cannot be asked now")
            }
            bad => Self::bad(bad.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

impl State {
    pub(crate) fn new(folder: PathBuf, settings: &Settings, silent_after_s: Option<u64>, metrics: Arc<Counts>) -> Self {
        let rights = Rights::new(&settings.readers);
        let (turns, readers) = (Arc::new(Semaphore::new(AT_ONCE)), Mutex::default());
        Self { folder, rights, silent_after_s, metrics, turns, readers }
    }

    /// Whether who asks may.
    pub(crate) fn allow(&self, asker: &Asker, headers: &HeaderMap, right: Right) -> Result<(), Problem> {
        let mut shown = headers.get_all(header::AUTHORIZATION).iter();
        let (first, second) = (shown.next(), shown.next());
        // Of two, who knows which was meant.
        if second.is_some() {
            return Err(Denied::Unknown.into());
        }
        Ok(self.rights.allow(asker.0.as_ref(), first.map(HeaderValue::as_bytes), right)?)
    }

    /// Asks the index on a thread that may wait for the disk, when there is a turn.
    pub(crate) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&index::Reader) -> Result<T, index::Bad> + Send + 'static,
    ) -> Result<T, Problem> {
        self.turn(move |state| {
            let known = state.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let reader = match known {
                Some(reader) => reader,
                None => index::Reader::open(&state.folder).map_err(index::Bad::from)?,
            };
            let answer = ask(&reader);
            // One that failed may be of a database that is not there any more.
            if answer.is_ok() {
                state.readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            }
            Ok(answer?)
        })
        .await
    }

    /// Does something on a thread that may wait for the disk, when there is a turn.
    pub(crate) async fn turn<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let state = Arc::clone(self);
        let turn = tokio::time::timeout(TURN_MAX, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let says = "too many questions are asked at once: ask again in a moment";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many", says));
        };
        // The turn ends with the work, whether or not somebody still waits for it.
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&state);
            drop(turn);
            done
        });
        done.await
            .map_err(|_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the question broke off"))?
    }
}
