//! Sigstore's bundles: who signed and when, by certificates of Fulcio's, a log and a timestamp authority, offline.

use crate::{files, report};
use attestation::dsse::{ENVELOPE_BYTES_MAX, PAYLOAD_TYPE};
use attestation::escape::escape;
use attestation::statement;
use attestation::verify::{Vouched, Voucher};
use sigstore_trust_root::{SigstoreInstance, TrustedRoot};
use sigstore_types::{Artifact, Bundle, DerCertificate, Sha256Hash, SignatureBytes, SignatureContent, TimestampToken};
use sigstore_verify::tsa::verify_timestamp_for_authority;
use sigstore_verify::{CertificateError, VerificationPolicy, VerificationResult, Verifier};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What follows the name of a bundle.
pub const BUNDLE: &str = ".sigstore.json";
/// Bytes of a trusted root at most.
const ROOT_BYTES_MAX: u64 = 4 << 20;

/// Keyless signatures to trust.
#[derive(clap::Args, Debug, Clone, Default)]
#[group(id = "keyless")]
pub struct Args {
    /// Sigstore's trusted root (JSON): authorities and logs of keyless signatures to trust. Needs --identity and --issuer
    #[arg(long, value_name = "FILE", requires_all = ["identity", "issuer"])]
    pub trusted_root: Option<PathBuf>,
    /// Who has to have signed: the identity in the certificate, such as a SPIFFE ID
    #[arg(long, value_name = "ID", requires = "trusted_root")]
    pub identity: Option<String>,
    /// Who has to have vouched for that: the issuer of the token
    #[arg(long, value_name = "URL", requires = "trusted_root")]
    pub issuer: Option<String>,
    /// Sigstore bundle of the statement [default: FILE with .sigstore.json for .intoto.jsonl, where that is there]
    #[arg(long, value_name = "FILE", requires = "trusted_root")]
    pub bundle: Option<PathBuf>,
    /// Do without a certificate transparency log's promise to publish the certificate, where there is no such log
    #[arg(long, requires = "trusted_root")]
    pub insecure_ignore_sct: bool,
}

/// Why a trusted root is none.
#[derive(Debug, Error)]
pub enum TrustedError {
    /// It cannot be read.
    #[error("{}", report::path(.path))]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is none.
    #[error("no trusted root of Sigstore's that can be used: {0}")]
    Format(String),
}

/// Why a bundle says nothing.
#[derive(Debug, Error)]
pub enum Refusal {
    /// There is none.
    #[error("there is no bundle")]
    Missing,
    /// It is none.
    #[error("it is no bundle of Sigstore's")]
    Format(#[source] sigstore_types::Error),
    /// It has bytes that are no text.
    #[error("the bundle is no text")]
    Text,
    /// It is of something else than a statement.
    #[error("the bundle has no statement")]
    NoStatement,
    /// It is of another statement.
    #[error("the bundle is of another statement")]
    OtherStatement,
    /// The statement cannot be read.
    #[error("the statement cannot be read")]
    Statement(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The statement is about nothing.
    #[error("the statement is about nothing")]
    NoSubject,
    /// The trusted root names no log of certificates.
    #[error(
        "the trusted root names no certificate transparency log that could have promised to publish the certificate"
    )]
    NoTransparencyLog,
    /// No log of certificates that the trusted root names has promised to publish the certificate.
    #[error("no certificate transparency log of the trusted root has promised to publish the certificate")]
    Transparency(#[source] CertificateError),
    /// Something in it does not hold.
    #[error(transparent)]
    Bundle(Box<sigstore_verify::Error>),
    /// It does not hold by the logs that were valid when it was signed.
    #[error("with the logs that were valid then")]
    Then(#[source] Box<Refusal>),
    /// It says too little.
    #[error("the bundle names nobody, or no time")]
    Nobody,
}

/// Authorities and logs.
pub struct Trusted(TrustedRoot);

/// Who is trusted, and by whom.
pub struct Read {
    trusted: Trusted,
    policy: VerificationPolicy,
    bundle: Option<PathBuf>,
}

/// One statement's bundle, and what it is held against.
pub struct Given<'a> {
    read: &'a Read,
    bundle: Option<Vec<u8>>,
}

impl Trusted {
    /// Reads a trusted root.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(path: &Path) -> Result<Self, TrustedError> {
        let bytes = files::read_at_most(path, ROOT_BYTES_MAX);
        let bytes = bytes.map_err(|source| TrustedError::File { path: path.to_owned(), source })?;
        Self::from_json(&String::from_utf8_lossy(&bytes))
    }

    /// That of Sigstore's public instance, as the library has it.
    ///
    /// # Errors
    /// If that cannot be used.
    pub fn public_good() -> Result<Self, TrustedError> {
        Self::from_json(SigstoreInstance::PublicGood.embedded_trusted_root_json())
    }

    fn from_json(json: &str) -> Result<Self, TrustedError> {
        let root = TrustedRoot::from_json(json).map_err(|error| TrustedError::Format(error.to_string()))?;
        Verifier::new(&root).map_err(|error| TrustedError::Format(error.to_string()))?;
        Ok(Self(root))
    }

    /// Who signed this payload, whoever that is: to see that a bundle holds at all. A certificate has to be logged where this root
    /// names logs of certificates.
    ///
    /// # Errors
    /// Why it does not.
    pub fn anybody(&self, bundle: &str, payload: &[u8]) -> Result<Vouched, Refusal> {
        self.vouch(bundle, payload, &self.whoever())
    }

    /// Whether what there is of a bundle holds before its signature is logged: certificate, the promise to publish that one, signature
    /// and time.
    ///
    /// # Errors
    /// Why it does not.
    pub fn may_be_logged(&self, bundle: &Bundle, payload: &[u8]) -> Result<(), Refusal> {
        let subject = about(bundle, payload)?;
        let policy = self.whoever().skip_tlog_unsafe();
        if hold(&self.0, bundle, subject, &policy)?.certificate_verified() { Ok(()) } else { Err(Refusal::Nobody) }
    }

    /// How many certificate transparency logs it names.
    #[must_use]
    pub fn transparency_logs(&self) -> usize {
        self.0.ctlogs.len()
    }

    /// Whether one of these certificates is of an authority that it names, whenever that was valid.
    #[must_use]
    pub fn certifies(&self, chain: &[DerCertificate]) -> bool {
        let named = self.0.certificate_authorities.iter().flat_map(|authority| &authority.cert_chain.certificates);
        named.into_iter().any(|certificate| chain.contains(&certificate.raw_bytes))
    }

    /// Whether the answer of a timestamp authority to when this signature existed holds.
    #[must_use]
    pub fn stamps(&self, answer: &[u8], signature: &[u8]) -> bool {
        let (answer, signature) = (TimestampToken::new(answer.to_vec()), SignatureBytes::from_bytes(signature));
        let holds = |authority| verify_timestamp_for_authority(&answer, &signature, &authority).is_ok();
        self.0.tsa_authorities().into_iter().any(holds)
    }

    fn whoever(&self) -> VerificationPolicy {
        let policy = VerificationPolicy::any_identity();
        if self.transparency_logs() == 0 { policy.skip_sct() } else { policy }
    }

    fn vouch(&self, bundle: &str, payload: &[u8], policy: &VerificationPolicy) -> Result<Vouched, Refusal> {
        let bundle = Bundle::from_json(bundle).map_err(Refusal::Format)?;
        let subject = about(&bundle, payload)?;
        let result = hold(&self.0, &bundle, subject, policy)?;
        let first = result.verified_timestamps().iter().min().ok_or(Refusal::Nobody)?;
        // The library takes a log by any key that was valid once: a key that was replaced says nothing of what was signed afterwards.
        let mut then = self.0.clone();
        then.tlogs.retain(|log| log.public_key.valid_for.as_ref().is_none_or(|valid| valid.contains(*first)));
        let result = hold(&then, &bundle, subject, policy).map_err(|refusal| Refusal::Then(Box::new(refusal)))?;
        let at = u64::try_from(first.as_second()).ok();
        let (identity, issuer) = (result.identity(), result.issuer());
        match (identity, issuer, at) {
            (Some(identity), Some(issuer), Some(at))
                if result.certificate_verified()
                    && result.tlog_verified()
                    && result.identity_policy_checked() == has_identity(policy) =>
            {
                let signer = identity.as_str().to_owned();
                let (who, by) = (escape(signer.as_bytes()), escape(issuer.as_bytes()));
                let says = format!("{who}, by the word of {by}, {}", transparency(&result));
                Ok(Vouched { signer, says, at })
            }
            _ => Err(Refusal::Nobody),
        }
    }
}

/// What the statement of a bundle is about, if it is this one. The library wants something to hold the bundle against; which, does not
/// matter: the payload is the same.
fn about(bundle: &Bundle, payload: &[u8]) -> Result<Sha256Hash, Refusal> {
    let SignatureContent::DsseEnvelope(envelope) = &bundle.content else { return Err(Refusal::NoStatement) };
    if envelope.payload_type != PAYLOAD_TYPE || envelope.payload.as_bytes() != payload {
        return Err(Refusal::OtherStatement);
    }
    let claims = statement::read(payload).map_err(|error| Refusal::Statement(error.into()))?;
    let (_, sha256) = claims.subjects.first().ok_or(Refusal::NoSubject)?;
    Sha256Hash::from_hex(sha256).map_err(|error| Refusal::Statement(error.into()))
}

fn hold(
    root: &TrustedRoot,
    bundle: &Bundle,
    subject: Sha256Hash,
    policy: &VerificationPolicy,
) -> Result<VerificationResult, Refusal> {
    let verifier = Verifier::new(root).map_err(|error| Refusal::Bundle(Box::new(error)))?;
    verifier.verify(Artifact::from_digest(subject), bundle, policy).map_err(|error| match error {
        // The library looks for a log's key only once it has a promise by one.
        sigstore_verify::Error::Certificate(CertificateError::Sct(_)) | sigstore_verify::Error::InvalidTrustRoot(_)
            if root.ctlogs.is_empty() =>
        {
            Refusal::NoTransparencyLog
        }
        sigstore_verify::Error::Certificate(error @ CertificateError::Sct(_)) => Refusal::Transparency(error),
        error => Refusal::Bundle(Box::new(error)),
    })
}

/// What is known of the certificate beside who is in it. A log's promise is no proof that it was kept.
fn transparency(result: &VerificationResult) -> &'static str {
    if result.sct_verified() {
        "with a transparency log's promise to publish the certificate"
    } else {
        "and whether the certificate was published was not looked at"
    }
}

fn has_identity(policy: &VerificationPolicy) -> bool {
    policy.identity().is_some() || policy.issuer().is_some()
}

impl Args {
    /// Reads the trusted root; none if nobody is trusted so.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn read(&self) -> Result<Option<Read>, String> {
        let (Some(root), Some(identity), Some(issuer)) = (&self.trusted_root, &self.identity, &self.issuer) else {
            return Ok(None);
        };
        let trusted = Trusted::read(root).map_err(|error| match error {
            TrustedError::File { path, source } => format!("--trusted-root {}: {source}", report::path(&path)),
            error @ TrustedError::Format(_) => format!("--trusted-root {}: {error}", report::path(root)),
        })?;
        let policy = VerificationPolicy::new(identity, issuer);
        let policy = if self.insecure_ignore_sct { policy.skip_sct() } else { policy };
        Ok(Some(Read { trusted, policy, bundle: self.bundle.clone() }))
    }
}

impl Read {
    /// What was given with a statement in a file.
    ///
    /// # Errors
    /// What cannot be read.
    pub(crate) fn beside(&self, statement: &Path) -> io::Result<Given<'_>> {
        let name = statement.file_name().and_then(|name| name.to_str()?.strip_suffix(".intoto.jsonl"));
        let path = self.bundle.clone().or_else(|| Some(statement.with_file_name(format!("{}{BUNDLE}", name?))));
        let bundle = match path.map(|path| files::read_at_most(&path, ENVELOPE_BYTES_MAX as u64)) {
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound && self.bundle.is_none() => None,
            read => read.transpose()?,
        };
        Ok(Given { read: self, bundle })
    }

    /// What was given with a statement in a pack.
    pub(crate) fn packed(&self, bundle: Option<Vec<u8>>) -> Given<'_> {
        Given { read: self, bundle }
    }
}

impl Given<'_> {
    fn refuse_or_vouch(&self, payload: &[u8]) -> Result<Vouched, Refusal> {
        let bundle = self.bundle.as_deref().ok_or(Refusal::Missing)?;
        let bundle = std::str::from_utf8(bundle).map_err(|_| Refusal::Text)?;
        self.read.trusted.vouch(bundle, payload, &self.read.policy)
    }
}

impl Voucher for Given<'_> {
    fn vouch(&self, payload: &[u8]) -> Result<Vouched, String> {
        self.refuse_or_vouch(payload).map_err(|refusal| said(&refusal))
    }
}

/// An error with its sources, escaped: it may quote the file.
fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    escape(causes.join(": ").as_bytes()).into_owned()
}
