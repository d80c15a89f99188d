//! Sigstore's keyless signatures: a certificate of Fulcio's for a key that lives for one signature, by a token that says who we are; the
//! digest in a log (Rekor v2), and the time by an authority. What comes of it is a bundle beside the statement.
//!
//! What the services give is verified here: certificate and time before anything is logged, and the whole before it is kept. One that
//! answers nonsense, or for another key, is as good as one that is down.

pub mod look;
mod services;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use attestation::dsse::PAYLOAD_TYPE;
use sigstore_oidc::IdentityToken;
use sigstore_sign::{
    SigningServices,
    bundle::BundleV03,
    rekor::RekorApiVersion,
    types::{DsseEnvelope, DsseSignature, KeyId, PayloadBytes, TimestampToken},
};
use sigstore_trust_root::{SigningConfig, SigstoreInstance};
use spiffe::{WorkloadApiClient, WorkloadApiError};
use testimony_verify::{
    files::read_at_most,
    keyless::{Refusal, Trusted, TrustedError},
};
use zeroize::Zeroizing;

use self::services::{Services, Signed as SignedBy};
use crate::timestamp::{self, Authority};

/// The instance that anybody may read, by name: nothing is published unless it is asked for.
const PUBLIC: &str = "public-good";
/// How long all services together may take.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of a token at most.
const TOKEN_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a signing config at most.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Whether to have a keyless signature, and by whom.
#[derive(clap::Args, Debug, Clone)]
#[group(id = "keyless")]
pub struct Args {
    /// Also have a keyless signature by the Sigstore services of this signing config (JSON), in NAME.sigstore.json. Their log has
    /// to be Rekor of version 2. `public-good` stands for Sigstore's own services, which publish who signed and when, and are
    /// refused as long as their log is of version 1
    #[arg(long = "keyless", id = "signing_config", value_name = "FILE", requires = "trusted_root")]
    config: Option<PathBuf>,
    /// The trusted root (JSON) that the services' answers have to hold against, or `public-good`
    #[arg(long = "keyless-trusted-root", id = "trusted_root", value_name = "FILE", requires = "signing_config")]
    trusted_root: Option<PathBuf>,
    /// A file with the token that says who we are (OpenID Connect) [default: a JWT-SVID of the Workload API of
    /// SPIFFE_ENDPOINT_SOCKET]
    #[arg(long = "keyless-token", value_name = "FILE", requires = "signing_config")]
    token: Option<PathBuf>,
    /// For whom a JWT-SVID is to be
    #[arg(long = "keyless-audience", value_name = "TEXT", default_value = "sigstore", requires = "signing_config")]
    audience: String,
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The signing config.
    #[error("{path} is no signing config of Sigstore's that can be used")]
    Config {
        /// Where.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The log is of version 1.
    #[error(
        "the log of these services is not Rekor of version 2: it would be given the whole statement, and not a digest"
    )]
    Log,
    /// The trusted root.
    #[error("the trusted root")]
    Trusted(#[source] TrustedError),
    /// The token.
    #[error("there is no token to sign with")]
    Token(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The token is longer than one is.
    #[error("the token is over {TOKEN_BYTES_MAX} bytes")]
    LongToken,
    /// The client could not be started.
    #[error("the client of Sigstore's services could not be started")]
    Client(#[source] io::Error),
    /// Fulcio or Rekor.
    #[error("Fulcio or Rekor gave nothing")]
    Services(#[source] Box<services::Error>),
    /// The timestamp authority.
    #[error("the timestamp authority gave nothing")]
    Timestamp(#[from] timestamp::Error),
    /// The signing config names no timestamp authority.
    #[error("the signing config names no timestamp authority")]
    NoAuthority,
    /// They took too long.
    #[error("Sigstore's services gave no signature within {} s", TIME_MAX.as_secs())]
    Late,
    /// One did not answer.
    #[error("nothing came within {0} s")]
    Silent(u64),
    /// What they gave does not hold, and the signature was not logged.
    #[error("what Sigstore's services gave does not hold, and the signature was not logged")]
    NotLogged(#[source] Refusal),
    /// What they gave does not hold.
    #[error("what Sigstore's services gave does not hold")]
    Answer(#[source] Refusal),
    /// The bundle could not be written.
    #[error("the bundle could not be written")]
    Bundle(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<services::Error> for Error {
    fn from(error: services::Error) -> Self {
        Self::Services(Box::new(error))
    }
}

/// Services that can be asked.
pub struct Keyless {
    services: Services,
    authority: Authority,
    trusted: Trusted,
    token: Option<PathBuf>,
    audience: String,
}

/// A bundle, and who it says that signed.
pub struct Signed {
    /// JSON.
    pub bundle: String,
    /// The identity, and who vouches for it.
    pub says: String,
}

impl Args {
    /// Whether a bundle is wanted.
    pub fn wanted(&self) -> bool {
        self.config.is_some()
    }

    /// Reads what is needed, where a keyless signature is wanted, and asks for a token once: what cannot be had before the command
    /// could not be had after it.
    ///
    /// # Errors
    /// Why there will be no signature.
    pub fn open(&self) -> Result<Option<Keyless>, Error> {
        let keyless = self.read()?;
        keyless.iter().try_for_each(|keyless| runtime()?.block_on(keyless.token()).map(drop))?;
        Ok(keyless)
    }

    /// Reads the files, and asks nobody.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(&self) -> Result<Option<Keyless>, Error> {
        let (Some(config), Some(root)) = (&self.config, &self.trusted_root) else { return Ok(None) };
        let services = services(config)?;
        let trusted = if root == Path::new(PUBLIC) { Trusted::public_good() } else { Trusted::read(root) };
        let trusted = trusted.map_err(Error::Trusted)?;
        let authority = Authority::new(services.tsa_url().ok_or(Error::NoAuthority)?)?;
        let (token, audience) = (self.token.clone(), self.audience.clone());
        Ok(Some(Keyless { services: Services::new(&services)?, authority, trusted, token, audience }))
    }
}

impl Keyless {
    /// Signs a statement's payload.
    ///
    /// # Errors
    /// Why it did not.
    pub fn sign(&self, payload: &[u8]) -> Result<Signed, Error> {
        let bundle = runtime()?
            .block_on(async { tokio::time::timeout(TIME_MAX, self.ask(payload)).await.map_err(|_| Error::Late)? })?;
        let vouched = self.trusted.anybody(&bundle, payload).map_err(Error::Answer)?;
        Ok(Signed { bundle, says: vouched.says })
    }

    async fn ask(&self, payload: &[u8]) -> Result<String, Error> {
        let token = self.token().await?;
        let envelope = |signature| {
            let signature = DsseSignature::new(signature, KeyId::default());
            DsseEnvelope::new(PAYLOAD_TYPE.to_owned(), PayloadBytes::new(payload.to_vec()), signature)
        };
        let signed = SignedBy::new(&sigstore_sign::types::pae(PAYLOAD_TYPE, payload))?;
        let certificate = self.services.certificate(&token, &signed).await?;
        let stamp = self.authority.stamped(signed.signature.as_bytes()).await?;
        let bundle = BundleV03::with_certificate_and_dsse(certificate.clone(), envelope(signed.signature.clone()));
        let bundle = bundle.with_rfc3161_timestamp(TimestampToken::new(stamp.answer));
        // A log is read by others and forgets nothing.
        self.trusted.may_be_logged(&bundle.clone().into_bundle(), payload).map_err(Error::NotLogged)?;
        let bundle = bundle.with_tlog_entry(self.services.entry(&signed, &certificate).await?).into_bundle();
        bundle.to_json().map_err(|error| Error::Bundle(error.into()))
    }

    async fn token(&self) -> Result<IdentityToken, Error> {
        let text = Zeroizing::new(match &self.token {
            Some(path) => {
                let failed = |source| Error::File { path: path.clone(), source };
                let bytes = read_at_most(path, TOKEN_BYTES_MAX).map_err(failed)?;
                String::from_utf8_lossy(&bytes).trim().to_owned()
            }
            None => {
                let token = tokio::time::timeout(TIME_MAX, jwt_svid(&self.audience)).await.map_err(|_| Error::Late)?;
                token.map_err(|error| Error::Token(error.into()))?
            }
        });
        read_token(&text)
    }
}

/// A token, if it is no longer than one is.
fn read_token(text: &str) -> Result<IdentityToken, Error> {
    if text.len() as u64 > TOKEN_BYTES_MAX {
        return Err(Error::LongToken);
    }
    IdentityToken::from_jwt(text).map_err(|error| Error::Token(error.into()))
}

async fn jwt_svid(audience: &str) -> Result<String, WorkloadApiError> {
    WorkloadApiClient::connect_env().await?.fetch_jwt_token([audience], None).await
}

fn services(config: &Path) -> Result<SigningServices, Error> {
    if config == Path::new(PUBLIC) {
        let services = SigningServices::from_embedded(SigstoreInstance::PublicGood);
        let services = services.map_err(|error| Error::Config { path: config.to_owned(), source: error.into() })?;
        return logs_a_digest(services);
    }
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Config { path: config.to_owned(), source };
    let json = read_at_most(config, CONFIG_BYTES_MAX);
    let json = json.map_err(|source| Error::File { path: config.to_owned(), source })?;
    let read = SigningConfig::from_json(&String::from_utf8_lossy(&json)).map_err(|error| failed(error.into()))?;
    let services = SigningServices::from_signing_config(&read).map_err(|error| failed(error.into()))?;
    services.validate().map_err(|error| failed(error.into()))?;
    logs_a_digest(services)
}

/// A log of version 1 is given the whole statement, and publishes it.
fn logs_a_digest(services: SigningServices) -> Result<SigningServices, Error> {
    if services.rekor_api_version() == RekorApiVersion::V2 { Ok(services) } else { Err(Error::Log) }
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Error::Client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_a_longest() {
        let claims = "eyJpc3MiOiJodHRwczovL2EudGVzdCIsInN1YiI6Im1lIiwiZXhwIjoxfQ";
        let of = |bytes: usize| format!("e30.{claims}.{}", "a".repeat(bytes - claims.len() - "e30..".len()));
        let bytes_max = usize::try_from(TOKEN_BYTES_MAX).unwrap();
        assert_eq!(read_token(&of(bytes_max)).unwrap().identity(), "me");
        assert!(matches!(read_token(&of(bytes_max + 1)), Err(Error::LongToken)));
        assert!(matches!(read_token("nonsense"), Err(Error::Token(_))));
    }
}
