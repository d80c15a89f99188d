//! Sigstore's keyless signatures: a certificate of Fulcio's for a key that lives for one signature, by a token that says who we are; the
//! digest in a log (Rekor v2), and the time by an authority. What comes of it is a bundle beside the statement.
//!
//! What the services give is verified here before it is kept: one that answers nonsense, or for another key, is as good as one that is down.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use sigstore_oidc::IdentityToken;
use sigstore_sign::{SigningContext, SigningServices, rekor::RekorApiVersion};
use sigstore_trust_root::{SigningConfig, SigstoreInstance};
use spiffe::{WorkloadApiClient, WorkloadApiError};
use testimony_verify::{
    files::read_at_most,
    keyless::{Trusted, TrustedError},
};
use zeroize::Zeroizing;

/// The instance that anybody may read, by name: nothing is published unless it is asked for.
const PUBLIC: &str = "public-good";
/// How long all services together may take.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes of a file with a token at most.
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
    #[arg(long = "keyless", value_name = "FILE", requires = "trusted_root")]
    config: Option<PathBuf>,
    /// The trusted root (JSON) that the services' answers have to hold against, or `public-good`
    #[arg(long = "keyless-trusted-root", id = "trusted_root", value_name = "FILE", requires = "config")]
    trusted_root: Option<PathBuf>,
    /// A file with the token that says who we are (OpenID Connect) [default: a JWT-SVID of the Workload API of
    /// SPIFFE_ENDPOINT_SOCKET]
    #[arg(long = "keyless-token", value_name = "FILE", requires = "config")]
    token: Option<PathBuf>,
    /// For whom a JWT-SVID is to be
    #[arg(long = "keyless-audience", value_name = "TEXT", default_value = "sigstore", requires = "config")]
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
    /// The client could not be started.
    #[error("the client of Sigstore's services could not be started")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A service.
    #[error("Sigstore's services gave no signature")]
    Services(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// They took too long.
    #[error("Sigstore's services gave no signature within {} s", TIME_MAX.as_secs())]
    Late,
    /// What they gave does not hold.
    #[error("what Sigstore's services gave does not hold: {0}")]
    Answer(String),
}

/// Services that can be asked.
pub struct Keyless {
    services: SigningServices,
    trusted: Trusted,
    token: Option<PathBuf>,
    audience: String,
    client: reqwest::Client,
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
        let (Some(config), Some(root)) = (&self.config, &self.trusted_root) else { return Ok(None) };
        let services = services(config)?;
        let trusted = if root == Path::new(PUBLIC) { Trusted::public_good() } else { Trusted::read(root) };
        let trusted = trusted.map_err(Error::Trusted)?;
        let client = reqwest::Client::builder().timeout(TIME_MAX).redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|error| Error::Client(error.into()))?;
        let (token, audience) = (self.token.clone(), self.audience.clone());
        let keyless = Keyless { services, trusted, token, audience, client };
        runtime()?.block_on(keyless.token())?;
        Ok(Some(keyless))
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
        let signer = SigningContext::new(self.services.clone()).with_http_client(self.client.clone()).signer(token);
        let bundle = signer.sign_raw_statement(payload).await.map_err(|error| Error::Services(error.into()))?;
        bundle.to_json().map_err(|error| Error::Services(error.into()))
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
        IdentityToken::from_jwt(&text).map_err(|error| Error::Token(error.into()))
    }
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
    runtime.map_err(|error| Error::Client(error.into()))
}
