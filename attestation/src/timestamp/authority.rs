//! Timestamp authorities that were given, and whether one of them stands behind a token.

use super::token::{Held, Token, TokenError};
use super::wire;
use crate::x509::{ALGORITHMS, BUNDLE_BYTES_MAX, Root, UnixSeconds, is_authority, of_pem, signs_certificates};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::time::Duration;
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::Certificate;
use x509_cert::ext::pkix::ExtendedKeyUsage;

/// Certificates of an authority's file at most.
const CERTIFICATES_MAX: usize = 64;
/// Certificates between a signer's and an authority's at most.
const BETWEEN_MAX: usize = 6;

/// Why a file is no timestamp authority's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AuthorityError {
    /// It is over [`BUNDLE_BYTES_MAX`].
    #[error("the file is over the limit of {BUNDLE_BYTES_MAX} bytes")]
    TooLarge,
    /// It has no certificates.
    #[error("no certificates in PEM")]
    Format,
    /// One of them cannot be read.
    #[error("certificate {0} cannot be read")]
    Certificate(usize),
    /// There are too many.
    #[error("more than {CERTIFICATES_MAX} certificates")]
    Count,
    /// One of them is neither an authority's nor for timestamps.
    #[error("certificate {0} is neither an authority's (basic constraints) nor for timestamps alone")]
    Neither(usize),
    /// None of them is an authority's.
    #[error("no certificate of an authority is among them (basic constraints): give the chain up to its root")]
    NoAuthority,
}

/// A timestamp authority: the certificates that stand behind its signers, and which signers alone are meant, where those are
/// given too.
pub struct Authority {
    name: String,
    roots: Vec<Root>,
    signers: Vec<Held>,
}

impl Authority {
    /// Reads a chain in PEM, as an authority publishes it. Every certificate of an authority in it is relied on; if it has
    /// others, only they may have signed; else any that one of the authorities gave for timestamps alone.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(name: &str, pem: &[u8]) -> Result<Self, AuthorityError> {
        if pem.len() > BUNDLE_BYTES_MAX {
            return Err(AuthorityError::TooLarge);
        }
        let all = of_pem(pem).ok_or(AuthorityError::Format)?;
        if all.len() > CERTIFICATES_MAX {
            return Err(AuthorityError::Count);
        }
        let (mut roots, mut signers) = (Vec::new(), Vec::new());
        for (index, der) in (1..).zip(&all) {
            let unreadable = AuthorityError::Certificate(index);
            let held = Held::read(der).ok_or(unreadable)?;
            if is_authority(&held.certificate) {
                roots.push(Root::read(der).map_err(|_| unreadable)?);
            } else if for_timestamps(&held.certificate).is_ok() {
                signers.push(held);
            } else {
                return Err(AuthorityError::Neither(index));
            }
        }
        if roots.is_empty() {
            return Err(AuthorityError::NoAuthority);
        }
        Ok(Self { name: name.to_owned(), roots, signers })
    }

    /// As it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A time by which these bytes existed, by the word of this authority: seconds since 1970.
    ///
    /// # Errors
    /// Why the token does not show it.
    pub fn accept(&self, token: &Token, message: &[u8]) -> Result<UnixSeconds, TokenError> {
        let carried = token.carried();
        let among = if self.signers.is_empty() { &carried } else { &self.signers };
        let signer = token.signer(among).map_err(|error| match error {
            // Of another authority, if this one's signers are known.
            TokenError::NoSigner if !self.signers.is_empty() => TokenError::UnknownAuthority,
            other => other,
        })?;
        for_timestamps(&signer.certificate)?;
        self.stands_behind(signer, &carried, token.time())?;
        token.stamps(message)?;
        Ok(token.latest())
    }

    fn stands_behind(&self, signer: &Held, carried: &[Held], time: UnixSeconds) -> Result<(), TokenError> {
        let anchors: Vec<TrustAnchor<'static>> = self.roots.iter().filter_map(|root| root.anchor(time)).collect();
        if anchors.is_empty() {
            return Err(TokenError::NotValidThen);
        }
        let between = line(signer, carried).into_iter().map(|held| CertificateDer::from_slice(&held.der));
        let between: Vec<CertificateDer<'_>> = between.collect();
        let der = CertificateDer::from_slice(&signer.der);
        let certificate = EndEntityCert::try_from(&der).map_err(|_| TokenError::Chain)?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(time));
        // The signer's own usage was looked at. Authorities may leave theirs out: webpki would demand it of them too.
        let usage = KeyUsage::required_if_present(wire::TIME_STAMPING.as_bytes());
        let path = certificate.verify_for_usage(ALGORITHMS, &anchors, &between, time, usage, None, None);
        path.map(drop).map_err(|error| match error {
            webpki::Error::UnknownIssuer => TokenError::UnknownAuthority,
            webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => TokenError::NotValidThen,
            _ => TokenError::Chain,
        })
    }
}

/// Those that lead from a signer to an authority, each by the name that the one before has for who gave it. One of each name:
/// anybody can write many into a token, and each way to order them would be tried.
fn line<'a>(signer: &'a Held, carried: &'a [Held]) -> Vec<&'a Held> {
    let mut line: Vec<&Held> = Vec::new();
    while line.len() < BETWEEN_MAX {
        let last = line.last().copied().unwrap_or(signer).certificate.tbs_certificate();
        let next = carried.iter().find(|held| {
            let tbs = held.certificate.tbs_certificate();
            let new = line.iter().all(|other| other.certificate.tbs_certificate().subject() != tbs.subject());
            tbs.subject() == last.issuer()
                && tbs.subject() != last.subject()
                && new
                && signs_certificates(&held.certificate)
        });
        match next {
            Some(next) => line.push(next),
            None => break,
        }
    }
    line
}

/// RFC 3161, section 2.3: exactly this usage, and critical.
fn for_timestamps(certificate: &Certificate) -> Result<(), TokenError> {
    let usage = certificate.tbs_certificate().get_extension::<ExtendedKeyUsage>();
    match usage.ok().flatten() {
        Some((true, ExtendedKeyUsage(usages))) if usages == [wire::TIME_STAMPING] => Ok(()),
        _ => Err(TokenError::Usage),
    }
}
