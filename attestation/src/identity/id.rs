//! SPIFFE IDs and the names of trust domains, in the one way in which they are written (SPIFFE-ID, section 2).

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

pub(super) const SCHEME: &str = "spiffe://";
const DOMAIN_BYTES_MAX: usize = 255;
const ID_BYTES_MAX: usize = 2048;

/// Why a text is no SPIFFE ID, or no name of a trust domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IdError {
    /// Another scheme, or none.
    #[error("a SPIFFE ID begins with spiffe://")]
    Scheme,
    /// Empty, too long, or of other characters.
    #[error("a trust domain's name has 1 to {DOMAIN_BYTES_MAX} lower-case letters, digits, `.`, `-` and `_`")]
    TrustDomain,
    /// A segment that is empty, `.` or `..`, or of other characters.
    #[error("a segment of a SPIFFE ID has letters, digits, `.`, `-` and `_`, and is neither `.` nor `..`")]
    Segment,
    /// Too long.
    #[error("a SPIFFE ID has at most {ID_BYTES_MAX} bytes")]
    TooLong,
}

/// The name of a trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustDomain(String);

impl FromStr for TrustDomain {
    type Err = IdError;

    fn from_str(name: &str) -> Result<Self, IdError> {
        let may = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        let holds = !name.is_empty() && name.len() <= DOMAIN_BYTES_MAX && name.bytes().all(may);
        if holds { Ok(Self(name.to_owned())) } else { Err(IdError::TrustDomain) }
    }
}

impl TrustDomain {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A SPIFFE ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    /// Empty, or each segment after a slash.
    path: String,
}

impl FromStr for SpiffeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() > ID_BYTES_MAX {
            return Err(IdError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(IdError::Scheme)?;
        let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let trust_domain = domain.parse()?;
        if !path.split('/').skip(1).all(is_segment) {
            return Err(IdError::Segment);
        }
        Ok(Self { trust_domain, path: path.to_owned() })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{SCHEME}{}{}", self.trust_domain.0, self.path)
    }
}

impl SpiffeId {
    /// Whose workload it is.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Empty, or each segment after a slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// Whether this may stand between two slashes.
pub(super) fn is_segment(text: &str) -> bool {
    let may = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(may)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_in_one_way() {
        for good in ["spiffe://a", "spiffe://example.org/a", "spiffe://a-b_c.d1/A/b.c/_/-", "spiffe://a/..."] {
            assert_eq!(good.parse::<SpiffeId>().unwrap().to_string(), good);
        }
        let wrong = |text: &str| text.parse::<SpiffeId>().unwrap_err();
        for text in ["", "a", "https://a/b", "SPIFFE://a/b", "spiffe:/a/b"] {
            assert_eq!(wrong(text), IdError::Scheme, "{text}");
        }
        for text in [
            "spiffe://",
            "spiffe:///a",
            "spiffe://A/b",
            "spiffe://a:1/b",
            "spiffe://u@a/b",
            "spiffe://ä/b",
            "spiffe://a?b",
        ] {
            assert_eq!(wrong(text), IdError::TrustDomain, "{text}");
        }
        for text in [
            "spiffe://a/",
            "spiffe://a//b",
            "spiffe://a/b/",
            "spiffe://a/.",
            "spiffe://a/../b",
            "spiffe://a/b?c",
            "spiffe://a/b#c",
            "spiffe://a/%62",
        ] {
            assert_eq!(wrong(text), IdError::Segment, "{text}");
        }
    }

    #[test]
    fn limits_are_those_of_the_specification() {
        let domain = |bytes: usize| "a".repeat(bytes).parse::<TrustDomain>();
        assert!(domain(DOMAIN_BYTES_MAX).is_ok() && domain(DOMAIN_BYTES_MAX + 1).is_err());
        let id = |bytes: usize| format!("spiffe://a/{}", "b".repeat(bytes - "spiffe://a/".len())).parse::<SpiffeId>();
        assert!(id(ID_BYTES_MAX).is_ok());
        assert_eq!(id(ID_BYTES_MAX + 1), Err(IdError::TooLong));
    }
}
