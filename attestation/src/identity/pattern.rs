//! Patterns of SPIFFE IDs: a trust domain, and a path in which `*` stands for one segment and a last `**` for any more.

use super::id::{IdError, SCHEME, SpiffeId, TrustDomain, is_segment};
use std::fmt;
use std::str::FromStr;

/// Any one segment.
const ONE: &str = "*";
/// One segment or more, at the end.
const REST: &str = "**";

/// A SPIFFE ID with `*` for a whole segment and a last `**` for all further ones. The trust domain is always named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    trust_domain: TrustDomain,
    segments: Vec<String>,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not begin as a SPIFFE ID does.
    #[error("a SPIFFE ID begins with spiffe://")]
    Scheme,
    /// No name of a trust domain, or a pattern in its place.
    #[error("{0:?} is no trust domain")]
    TrustDomain(String),
    /// A segment of the path that no ID can have.
    #[error("{0:?} is no segment of a SPIFFE ID: letters, digits, `.`, `-` and `_`, or `*`, or at the end `**`")]
    Segment(String),
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let rest = text.strip_prefix(SCHEME).ok_or(PatternError::Scheme)?;
        let (domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
        let not_a_domain = |_: IdError| PatternError::TrustDomain(domain.to_owned());
        let trust_domain: TrustDomain = domain.parse().map_err(not_a_domain)?;
        let segments: Vec<String> = path.map_or_else(Vec::new, |path| path.split('/').map(str::to_owned).collect());
        for (index, segment) in segments.iter().enumerate() {
            let last = index + 1 == segments.len();
            if segment != ONE && !(last && segment == REST) && !is_segment(segment) {
                return Err(PatternError::Segment(segment.clone()));
            }
        }
        Ok(Self { trust_domain, segments })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{SCHEME}{}", self.trust_domain.as_str())?;
        self.segments.iter().try_for_each(|segment| write!(out, "/{segment}"))
    }
}

impl Pattern {
    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Whether an ID is one of those.
    #[must_use]
    pub fn matches(&self, id: &SpiffeId) -> bool {
        if *id.trust_domain() != self.trust_domain {
            return false;
        }
        let path: Vec<&str> = id.path().split('/').skip(1).collect();
        let (fixed, open) = match self.segments.split_last() {
            Some((last, fixed)) if last == REST => (fixed, true),
            _ => (self.segments.as_slice(), false),
        };
        let long_enough = if open { path.len() > fixed.len() } else { path.len() == fixed.len() };
        long_enough && fixed.iter().zip(&path).all(|(wanted, is)| wanted == ONE || wanted == is)
    }
}
