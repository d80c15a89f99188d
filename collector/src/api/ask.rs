//! Questions as they come in a URL, and as the index takes them.

use attestation::{codes, hex, merkle::Hash, time};
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::Problem;
use crate::index::{Filter, LIMIT_MAX, Page};

/// Bytes of a text that is looked for.
const TEXT_BYTES_MAX: usize = 4096;

/// Which statements.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct Statements {
    /// SHA-256 of a subject.
    #[param(pattern = "^[0-9a-f]{64}$")]
    subject: Option<String>,
    /// The host's id.
    #[param(max_length = 4096)]
    host: Option<String>,
    /// Who signed it or sent it: a SPIFFE ID, or the id of a key.
    #[param(max_length = 4096)]
    spiffe_id: Option<String>,
    /// The session's id.
    #[param(max_length = 4096)]
    session: Option<String>,
    /// The image of a container, as it was named.
    #[param(max_length = 4096)]
    image: Option<String>,
    /// Kept at this time or later (RFC 3339, UTC, or a day).
    #[param(example = "2026-11-24T03:00:00Z")]
    from: Option<String>,
    /// Kept before this time.
    #[param(example = "2026-11-25")]
    to: Option<String>,
    /// complete or incomplete.
    #[param(pattern = "^(complete|incomplete)$")]
    verdict: Option<String>,
    /// With this code among its gaps, blind spots and notices.
    #[param(pattern = "^[A-Z0-9_]{1,64}$")]
    gap: Option<String>,
    /// Where the page before ended (`next`).
    cursor: Option<String>,
    /// Rows at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Which accesses.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Files {
    /// SHA-256 of the content.
    #[param(pattern = "^[0-9a-f]{64}$")]
    sha256: String,
    /// read, write or exec.
    #[param(pattern = "^(read|write|exec)$")]
    pub(crate) access: Option<String>,
    /// Where the page before ended (`next`).
    cursor: Option<String>,
    /// Rows at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Which contacts.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Contacts {
    /// An address, or a name as it was asked for.
    #[param(min_length = 1, max_length = 4096)]
    peer: String,
    /// Where the page before ended (`next`).
    cursor: Option<String>,
    /// Rows at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Which gaps.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Gaps {
    /// The host's id.
    #[param(max_length = 4096)]
    host: Option<String>,
    /// A code; without one, all that end completeness.
    #[param(pattern = "^[A-Z0-9_]{1,64}$")]
    code: Option<String>,
    /// Where the page before ended (`next`).
    cursor: Option<String>,
    /// Rows at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Which chains.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Chains {
    /// Only those that lack something or contradict themselves.
    #[serde(default)]
    pub(crate) broken: bool,
    /// Where the page before ended (`next`).
    cursor: Option<String>,
    /// Rows at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Which hosts.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Hosts {
    /// Only those that no statement was kept of since this time (RFC 3339, UTC, or a day).
    #[serde(rename = "silentSince")]
    #[param(example = "2026-11-24T03:00:00Z")]
    silent_since: Option<String>,
    /// Where the page before ended (`next`).
    cursor: Option<String>,
    /// Rows at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Of a list that is not cut down.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct All {
    /// Where the page before ended (`next`).
    cursor: Option<String>,
    /// Rows at most.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

macro_rules! paged {
    ($($name:ident)*) => {$(
        impl $name {
            /// Where to begin, and how many.
            pub(crate) fn page(&self) -> Page {
                Page { cursor: self.cursor.clone(), limit: self.limit }
            }
        }
    )*};
}

paged! { Statements Files Contacts Gaps Chains Hosts All }

const _: () = assert!(LIMIT_MAX == 1000, "the parameters say 1000");

/// A digest.
pub(crate) fn sha256(name: &str, text: &str) -> Result<Hash, Problem> {
    let says = || Problem::bad(format!("{name} is no SHA-256 in lowercase hexadecimal"));
    hex::decode_sha256(text).ok_or_else(says)
}

fn text(name: &str, text: &Option<String>) -> Result<Option<String>, Problem> {
    match text {
        Some(text) if text.len() > TEXT_BYTES_MAX => {
            Err(Problem::bad(format!("{name} has more than {TEXT_BYTES_MAX} bytes")))
        }
        text => Ok(text.clone()),
    }
}

fn time(name: &str, text: &Option<String>) -> Result<Option<u64>, Problem> {
    let says = || Problem::bad(format!("{name} is no time such as 2026-11-24T03:00:00Z, nor a day such as 2026-11-24"));
    text.as_ref().map(|text| time::seconds(text).ok_or_else(says)).transpose()
}

fn code(name: &str, text: &Option<String>) -> Result<Option<String>, Problem> {
    let says = || Problem::bad(format!("{name} is no code: `testimony explain` lists them"));
    text.as_ref().map(|text| codes::is_code(text).then(|| text.clone()).ok_or_else(says)).transpose()
}

impl Statements {
    pub(crate) fn filter(&self) -> Result<Filter, Problem> {
        let complete = match self.verdict.as_deref() {
            None => None,
            Some("complete") => Some(true),
            Some("incomplete") => Some(false),
            Some(_) => return Err(Problem::bad("verdict is neither complete nor incomplete")),
        };
        Ok(Filter {
            subject: self.subject.as_ref().map(|text| sha256("subject", text)).transpose()?,
            host: text("host", &self.host)?,
            identity: text("spiffeId", &self.spiffe_id)?,
            session: text("session", &self.session)?,
            image: text("image", &self.image)?,
            from_s: time("from", &self.from)?,
            to_s: time("to", &self.to)?,
            complete,
            gap: code("gap", &self.gap)?,
        })
    }
}

impl Files {
    pub(crate) fn sha256(&self) -> Result<Hash, Problem> {
        sha256("sha256", &self.sha256)
    }
}

impl Contacts {
    pub(crate) fn peer(&self) -> Result<String, Problem> {
        let peer = text("peer", &Some(self.peer.clone()))?.filter(|peer| !peer.is_empty());
        peer.ok_or_else(|| Problem::bad("peer is empty: say an address or a name"))
    }
}

impl Gaps {
    pub(crate) fn which(&self) -> Result<[Option<String>; 2], Problem> {
        Ok([text("host", &self.host)?, code("code", &self.code)?])
    }
}

impl Hosts {
    pub(crate) fn silent_before_s(&self) -> Result<Option<u64>, Problem> {
        time("silentSince", &self.silent_since)
    }
}
