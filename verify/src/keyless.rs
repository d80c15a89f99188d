//! Sigstore's bundles: who signed and when, by certificates of Fulcio's, a log and a timestamp authority, offline.

use crate::{files, report};
use attestation::dsse::{ENVELOPE_BYTES_MAX, PAYLOAD_TYPE};
use attestation::escape::escape;
use attestation::statement;
use attestation::verify::{Vouched, Voucher};
use sigstore_trust_root::{SigstoreInstance, TrustedRoot};
use sigstore_types::{Artifact, Bundle, Sha256Hash, SignatureContent};
use sigstore_verify::{VerificationPolicy, Verifier};
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
    /// Do without a certificate transparency log's word for the certificate, where there is no such log
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

    /// Who signed this payload, whoever that is: to see that a bundle holds at all.
    ///
    /// # Errors
    /// Why it does not.
    pub fn anybody(&self, bundle: &str, payload: &[u8]) -> Result<Vouched, String> {
        self.vouch(bundle, payload, &VerificationPolicy::any_identity().skip_sct())
    }

    fn vouch(&self, bundle: &str, payload: &[u8], policy: &VerificationPolicy) -> Result<Vouched, String> {
        let bundle = Bundle::from_json(bundle).map_err(|error| said(&error))?;
        let SignatureContent::DsseEnvelope(envelope) = &bundle.content else {
            return Err("the bundle has no statement".to_owned());
        };
        if envelope.payload_type != PAYLOAD_TYPE || envelope.payload.as_bytes() != payload {
            return Err("the bundle is of another statement".to_owned());
        }
        // The library wants something that the statement is about. Which, does not matter: the payload is the same.
        let claims = statement::read(payload).map_err(|error| said(&error))?;
        let (_, sha256) = claims.subjects.first().ok_or("the statement is about nothing")?;
        let subject = Sha256Hash::from_hex(sha256).map_err(|error| said(&error))?;
        let verify = |root: &TrustedRoot| {
            let verifier = Verifier::new(root).map_err(|error| said(&error))?;
            verifier.verify(Artifact::from_digest(subject), &bundle, policy).map_err(|error| said(&error))
        };
        let result = verify(&self.0)?;
        let first = result.verified_timestamps().iter().min().ok_or("the bundle names no time")?;
        // The library takes a log by any key that was valid once: a key that was replaced says nothing of what was signed afterwards.
        let mut then = self.0.clone();
        then.tlogs.retain(|log| log.public_key.valid_for.as_ref().is_none_or(|valid| valid.contains(*first)));
        let result = verify(&then).map_err(|error| format!("with the logs that were valid then: {error}"))?;
        let at = u64::try_from(first.as_second()).ok();
        let (identity, issuer) = (result.identity(), result.issuer());
        match (identity, issuer, at) {
            (Some(identity), Some(issuer), Some(at))
                if result.certificate_verified()
                    && result.tlog_verified()
                    && result.identity_policy_checked() == has_identity(policy) =>
            {
                let signer = identity.as_str().to_owned();
                let says = format!("{}, by the word of {}", escape(signer.as_bytes()), escape(issuer.as_bytes()));
                Ok(Vouched { signer, says, at })
            }
            _ => Err("the bundle names nobody, or no time".to_owned()),
        }
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

impl Voucher for Given<'_> {
    fn vouch(&self, payload: &[u8]) -> Result<Vouched, String> {
        let bundle = self.bundle.as_deref().ok_or("there is no bundle")?;
        let bundle = std::str::from_utf8(bundle).map_err(|_| "the bundle is no text")?;
        self.read.trusted.vouch(bundle, payload, &self.read.policy)
    }
}

/// An error with its sources, escaped: it may quote the file.
fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    escape(causes.join(": ").as_bytes()).into_owned()
}
