//! Who may ask what.

use attestation::{
    hex,
    identity::{Pattern, SpiffeId},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::settings::{Reader, Right};

/// Random bytes of a token. So many cannot be guessed, and their hash needs no salt.
const TOKEN_BYTES: usize = 32;
/// What a token begins with, so that whoever finds one knows what it is.
const TOKEN_MARK: &str = "testimony_";

/// All that may ask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rights {
    patterns: Vec<(Pattern, Vec<Right>)>,
    tokens: Vec<([u8; 32], Vec<Right>)>,
}

/// How somebody came who may not ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// Nobody that is known.
    Unknown,
    /// Somebody that is known, who lacks the right.
    Lacks(Right),
}

impl Rights {
    /// As they are configured; what had no faults is all taken.
    pub(crate) fn new(readers: &[Reader]) -> Self {
        let pattern = |reader: &Reader| Some((reader.spiffe_id.as_ref()?.parse().ok()?, reader.rights.clone()));
        let token = |reader: &Reader| Some((hex::decode_sha256(reader.token_sha256.as_ref()?)?, reader.rights.clone()));
        Self {
            patterns: readers.iter().filter_map(pattern).collect(),
            tokens: readers.iter().filter_map(token).collect(),
        }
    }

    /// Whether who has this SPIFFE ID and shows this header may. A token that is shown is what counts, and has to be good.
    pub(crate) fn allow(&self, id: Option<&SpiffeId>, header: Option<&[u8]>, right: Right) -> Result<(), Denied> {
        let rights = match header {
            Some(header) => self.of_token(header),
            None => id.and_then(|id| self.of_id(id)),
        };
        let rights = rights.ok_or(Denied::Unknown)?;
        if rights.contains(&right) { Ok(()) } else { Err(Denied::Lacks(right)) }
    }

    /// All rights of all patterns that it matches; none if it matches none.
    fn of_id(&self, id: &SpiffeId) -> Option<Vec<Right>> {
        let mine: Vec<_> = self.patterns.iter().filter(|(pattern, _)| pattern.matches(id)).collect();
        (!mine.is_empty()).then(|| mine.into_iter().flat_map(|(_, rights)| rights.iter().copied()).collect())
    }

    /// Each token is looked at, and takes as long as any other: by the hash, which who asks does not choose.
    fn of_token(&self, header: &[u8]) -> Option<Vec<Right>> {
        let (scheme, token) = header.split_at_checked("Bearer ".len())?;
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return None;
        }
        let shown: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for (known, rights) in &self.tokens {
            if bool::from(known.ct_eq(&shown)) {
                found = Some(rights.clone());
            }
        }
        found
    }
}

/// Makes a token, and prints it with what stands in the configuration for it.
///
/// # Errors
/// If the system has no random numbers.
pub(crate) fn make_token() -> anyhow::Result<()> {
    let mut bytes = [0; TOKEN_BYTES];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    anyhow::ensure!(got == TOKEN_BYTES, "the system gave too few random numbers");
    let token = format!("{TOKEN_MARK}{}", URL_SAFE_NO_PAD.encode(bytes));
    let sha256 = hex::encode(&Sha256::digest(token.as_bytes()));
    println!("{token}");
    eprintln!(
        "The token is not kept. In the configuration:\n\n[[api.readers]]\ntoken_sha256 = \"{sha256}\"\nrights = [\"facts\"]"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights() -> Rights {
        let sha256 = hex::encode(&Sha256::digest(b"secret"));
        let reader = |spiffe_id: Option<&str>, token: Option<&str>, right| Reader {
            spiffe_id: spiffe_id.map(str::to_owned),
            token_sha256: token.map(str::to_owned),
            rights: vec![right],
        };
        Rights::new(&[
            reader(Some("spiffe://a/reader/*"), None, Right::Facts),
            reader(Some("spiffe://a/reader/auditor"), None, Right::Statements),
            reader(None, Some(&sha256), Right::Metrics),
        ])
    }

    #[test]
    fn who_is_known_has_the_rights_of_all_that_match() {
        let id = |id: &str| id.parse::<SpiffeId>().unwrap();
        let allow = |who: &str, right| rights().allow(Some(&id(who)), None, right);
        assert_eq!(allow("spiffe://a/reader/one", Right::Facts), Ok(()));
        assert_eq!(allow("spiffe://a/reader/one", Right::Statements), Err(Denied::Lacks(Right::Statements)));
        assert_eq!(allow("spiffe://a/reader/auditor", Right::Facts), Ok(()));
        assert_eq!(allow("spiffe://a/reader/auditor", Right::Statements), Ok(()));
        for nobody in ["spiffe://a/node", "spiffe://b/reader/one", "spiffe://a/reader"] {
            assert_eq!(allow(nobody, Right::Facts), Err(Denied::Unknown), "{nobody}");
        }
        assert_eq!(rights().allow(None, None, Right::Facts), Err(Denied::Unknown));
    }

    #[test]
    fn a_token_is_good_whole_or_not_at_all() {
        let allow = |header: &str, right| rights().allow(None, Some(header.as_bytes()), right);
        assert_eq!(allow("Bearer secret", Right::Metrics), Ok(()));
        assert_eq!(allow("bearer secret", Right::Metrics), Ok(()));
        assert_eq!(allow("Bearer secret", Right::Facts), Err(Denied::Lacks(Right::Facts)));
        for bad in
            ["Bearer secret ", "Bearer secre", "Bearer ", "Bearer", "Basic secret", "secret", "", "Bearer  secret"]
        {
            assert_eq!(allow(bad, Right::Metrics), Err(Denied::Unknown), "{bad:?}");
        }
    }

    #[test]
    fn a_wrong_token_is_not_made_good_by_a_certificate() {
        let id: SpiffeId = "spiffe://a/reader/one".parse().unwrap();
        assert_eq!(rights().allow(Some(&id), Some(b"Bearer wrong"), Right::Facts), Err(Denied::Unknown));
    }
}
