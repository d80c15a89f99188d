//! A token, read and held to what it says of itself: one signature, by the certificate that it names, over its own content.

use super::TOKEN_BYTES_MAX;
use super::wire::{self, MessageImprint, SigningCertificateV2, TstInfo};
use crate::x509::{ALGORITHMS, UnixSeconds};
use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedAttributes, SignedData, SignerIdentifier, SignerInfo};
use der::asn1::{Int, ObjectIdentifier, OctetString};
use der::{Decode, Encode as _};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256, Sha384, Sha512};
use thiserror::Error;
use webpki::EndEntityCert;
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectKeyIdentifier;

/// Why bytes are no token, or one that proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Its structure is none of RFC 3161.
    #[error("it is no timestamp token (RFC 3161): {0}")]
    Malformed(&'static str),
    /// It is over [`TOKEN_BYTES_MAX`].
    #[error("it is over the limit of {TOKEN_BYTES_MAX} bytes")]
    TooLarge,
    /// It stamps something else.
    #[error("it is for another signature")]
    OtherMessage,
    /// It uses an algorithm that is not accepted.
    #[error("its {0} is not accepted: SHA-256, SHA-384 and SHA-512 are")]
    Algorithm(&'static str),
    /// The certificate of its signer is neither in it nor given.
    #[error("the certificate of its signer is not there")]
    NoSigner,
    /// Its signature does not hold.
    #[error("its signature does not hold")]
    Signature,
    /// What it signs names another certificate than its signer's.
    #[error("it names another certificate than that of its signer")]
    OtherCertificate,
    /// Its signer's certificate is not for timestamps alone.
    #[error("its signer's certificate is not for timestamps alone (critical extended key usage)")]
    Usage,
    /// No authority that was given stands behind its signer.
    #[error("no authority that was given stands behind it")]
    UnknownAuthority,
    /// Its signer's certificate, or one above, was not valid at its time.
    #[error("the certificate of its signer, or one above it, was not valid at its time")]
    NotValidThen,
    /// The chain does not hold for another reason.
    #[error("the certificate chain of its signer does not hold")]
    Chain,
}

/// A token that could be read. Nothing of it is trusted yet.
#[derive(Debug, Clone)]
pub struct Token {
    signed: SignedData,
    content: Vec<u8>,
    info: TstInfo,
    time: UnixSeconds,
    latest: UnixSeconds,
}

/// A certificate, and its bytes.
pub(super) struct Held {
    pub(super) certificate: Certificate,
    pub(super) der: Vec<u8>,
}

impl Held {
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        Some(Self { certificate: Certificate::from_der(der).ok()?, der: der.to_vec() })
    }
}

impl Token {
    /// Reads a token: a `ContentInfo` in DER, as go-witness carries it.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(der: &[u8]) -> Result<Self, TokenError> {
        if der.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLarge);
        }
        let outer = decode::<ContentInfo>(der, "its outermost structure")?;
        if outer.content_type != wire::SIGNED_DATA {
            return Err(TokenError::Malformed("it is no signed data"));
        }
        let signed: SignedData =
            outer.content.decode_as().map_err(|_| TokenError::Malformed("its signed data cannot be read"))?;
        if signed.encap_content_info.econtent_type != wire::TST_INFO {
            return Err(TokenError::Malformed("what it signs is no TSTInfo"));
        }
        let content = signed.encap_content_info.econtent.as_ref();
        let content = content.and_then(|content| content.decode_as::<OctetString>().ok());
        let content = content.ok_or(TokenError::Malformed("it has no content"))?.into_bytes().into_vec();
        let info = decode::<TstInfo>(&content, "its TSTInfo")?;
        if info.version != 1 {
            return Err(TokenError::Malformed("its version is not 1"));
        }
        if info.extensions.iter().flatten().any(|extension| extension.critical) {
            return Err(TokenError::Malformed("it has a critical extension"));
        }
        let (time, fraction) = wire::unix_seconds(&info.gen_time).ok_or(TokenError::Malformed("its time"))?;
        let accuracy = info.accuracy.as_ref().map(wire::Accuracy::seconds).unwrap_or_default();
        let latest = time.saturating_add(accuracy).saturating_add(fraction.into());
        Ok(Self { signed, content, info, time, latest })
    }

    /// The time that it says: seconds since 1970.
    #[must_use]
    pub fn time(&self) -> UnixSeconds {
        self.time
    }

    /// The latest time that it may mean, by its own accuracy (RFC 3161, section 2.4.2), in whole seconds.
    #[must_use]
    pub fn latest(&self) -> UnixSeconds {
        self.latest
    }

    pub(super) fn imprint(&self) -> &MessageImprint {
        &self.info.message_imprint
    }

    pub(super) fn nonce(&self) -> Option<&Int> {
        self.info.nonce.as_ref()
    }

    /// Whether it is for these bytes.
    pub(super) fn stamps(&self, message: &[u8]) -> Result<(), TokenError> {
        let imprint = self.imprint();
        let expected = digest(&imprint.hash_algorithm.oid, message).ok_or(TokenError::Algorithm("imprint"))?;
        if imprint.hashed_message.as_bytes() == expected { Ok(()) } else { Err(TokenError::OtherMessage) }
    }

    /// The certificates that it carries.
    pub(super) fn carried(&self) -> Vec<Held> {
        let all = self.signed.certificates.iter().flat_map(|set| set.0.iter());
        let held = |choice: &CertificateChoices| match choice {
            CertificateChoices::Certificate(certificate) => {
                Some(Held { certificate: certificate.clone(), der: certificate.to_der().ok()? })
            }
            CertificateChoices::Other(_) => None,
        };
        all.filter_map(held).collect()
    }

    /// Whether its one signature is by that one of these certificates which it names, over its own content.
    pub(super) fn signer<'a>(&self, among: &'a [Held]) -> Result<&'a Held, TokenError> {
        let [signer] = self.signed.signer_infos.0.as_slice() else {
            return Err(TokenError::Malformed("it has not exactly one signature"));
        };
        let named = among.iter().find(|held| is_named(&signer.sid, &held.certificate)).ok_or(TokenError::NoSigner)?;
        let attributes = signer.signed_attrs.as_ref().ok_or(TokenError::Malformed("it signs no attributes"))?;
        self.check_attributes(signer, attributes, named)?;
        holds(signer, attributes, named)?;
        Ok(named)
    }

    fn check_attributes(
        &self,
        signer: &SignerInfo,
        attributes: &SignedAttributes,
        named: &Held,
    ) -> Result<(), TokenError> {
        let kind: ObjectIdentifier = only(attributes, wire::CONTENT_TYPE)?.ok_or(NO_ATTRIBUTES)?;
        let expected = digest(&signer.digest_alg.oid, &self.content).ok_or(TokenError::Algorithm("digest"))?;
        let found: OctetString = only(attributes, wire::MESSAGE_DIGEST)?.ok_or(NO_ATTRIBUTES)?;
        if kind != wire::TST_INFO || found.as_bytes() != expected {
            return Err(TokenError::Signature);
        }
        let Some(meant) = only::<SigningCertificateV2>(attributes, wire::SIGNING_CERTIFICATE_V2)? else {
            // The older attribute has a SHA-1 value only. It is not relied on: the chain decides whose key it is.
            let older = attributes.iter().any(|attribute| attribute.oid == wire::SIGNING_CERTIFICATE);
            return if older { Ok(()) } else { Err(NO_ATTRIBUTES) };
        };
        let first = meant.certs.first().ok_or(NO_ATTRIBUTES)?;
        let algorithm = first.hash_algorithm.as_ref().map_or(wire::SHA256, |algorithm| algorithm.oid);
        let expected = digest(&algorithm, &named.der).ok_or(TokenError::Algorithm("digest"))?;
        if first.cert_hash.as_bytes() == expected { Ok(()) } else { Err(TokenError::OtherCertificate) }
    }
}

const NO_ATTRIBUTES: TokenError = TokenError::Malformed("an attribute that it has to sign is not there");

fn decode<T: for<'a> Decode<'a>>(der: &[u8], what: &'static str) -> Result<T, TokenError> {
    T::from_der(der).map_err(|_| TokenError::Malformed(what))
}

/// The one value of an attribute, which may be absent and stands once at most.
fn only<T>(attributes: &SignedAttributes, oid: ObjectIdentifier) -> Result<Option<T>, TokenError>
where
    T: for<'a> Decode<'a>,
{
    let malformed = TokenError::Malformed("an attribute cannot be read, or stands twice");
    let mut found = attributes.iter().filter(|attribute| attribute.oid == oid);
    let (attribute, more) = (found.next(), found.next());
    match (attribute.map(|attribute| attribute.values.as_slice()), more) {
        (None, _) => Ok(None),
        (Some([value]), None) => {
            let der = value.to_der().map_err(|_| malformed)?;
            T::from_der(&der).map(Some).map_err(|_| malformed)
        }
        _ => Err(malformed),
    }
}

fn digest(algorithm: &ObjectIdentifier, bytes: &[u8]) -> Option<Vec<u8>> {
    match *algorithm {
        wire::SHA256 => Some(Sha256::digest(bytes).to_vec()),
        wire::SHA384 => Some(Sha384::digest(bytes).to_vec()),
        wire::SHA512 => Some(Sha512::digest(bytes).to_vec()),
        _ => None,
    }
}

fn is_named(sid: &SignerIdentifier, certificate: &Certificate) -> bool {
    let tbs = certificate.tbs_certificate();
    match sid {
        SignerIdentifier::IssuerAndSerialNumber(named) => {
            *tbs.issuer() == named.issuer && *tbs.serial_number() == named.serial_number
        }
        SignerIdentifier::SubjectKeyIdentifier(named) => {
            tbs.get_extension::<SubjectKeyIdentifier>().ok().flatten().is_some_and(|(_, own)| own == *named)
        }
    }
}

/// The signature is over the attributes as a SET OF, not under the tag that they travel with (RFC 5652, section 5.4). Which
/// algorithm it is, the certificate's key decides: no two of those that are accepted take the same bytes for valid.
fn holds(signer: &SignerInfo, attributes: &SignedAttributes, by: &Held) -> Result<(), TokenError> {
    let message = attributes.to_der().map_err(|_| TokenError::Signature)?;
    let der = CertificateDer::from_slice(&by.der);
    let certificate = EndEntityCert::try_from(&der).map_err(|_| TokenError::Signature)?;
    let signature = signer.signature.as_bytes();
    let holds = |algorithm: &&dyn rustls_pki_types::SignatureVerificationAlgorithm| {
        certificate.verify_signature(*algorithm, &message, signature).is_ok()
    };
    if ALGORITHMS.iter().any(holds) { Ok(()) } else { Err(TokenError::Signature) }
}
