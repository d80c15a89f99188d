//! Fulcio and Rekor: what they are asked, and how much they may answer. Requests and answers are the library's; its clients are not used,
//! since they read whatever comes.

use reqwest::{Client, Response, Url, redirect::Policy};
use sigstore_oidc::IdentityToken;
use sigstore_sign::{
    SigningServices,
    crypto::{KeyPair, sha256},
    fulcio::{Configuration, IssuerUrl, OidcIssuer},
    rekor::{HashedRekordV2, RekorV2KeyDetails},
    types::{DerCertificate, Sha256Hash, SignatureBytes, TransparencyLogEntry},
};

use super::TIME_MAX;

/// Bytes of an answer at most: a chain of certificates, or an entry with its proof, takes some thousand.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Bytes that are kept of what a service says of an error.
const WORDS_BYTES_MAX: usize = 512;

/// Why a service gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("{0} is no address: it has to begin with http:// or https://")]
    Address(String),
    /// No client could be made.
    #[error("no HTTP client could be made")]
    Client(#[source] reqwest::Error),
    /// Nothing came back.
    #[error("{url} did not answer")]
    Unreachable {
        /// Who.
        url: Url,
        /// Why.
        source: reqwest::Error,
    },
    /// An HTTP error came back.
    #[error("{url} answered with HTTP status {status}{says}")]
    Status {
        /// Who.
        url: Url,
        /// What it said.
        status: u16,
        /// The same in its words, as they came.
        says: String,
    },
    /// The answer did not come to its end.
    #[error("the answer of {url} was cut")]
    Cut {
        /// Who.
        url: Url,
        /// Why.
        source: reqwest::Error,
    },
    /// The answer does not end where one should.
    #[error("the answer of {url} is over {ANSWER_BYTES_MAX} bytes, and was not read on")]
    TooLong {
        /// Who.
        url: Url,
    },
    /// The answer is something else.
    #[error("what {url} answered is no {what}")]
    Answer {
        /// Who.
        url: Url,
        /// What was asked for.
        what: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The request could not be made.
    #[error("the request could not be made")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Fulcio and Rekor.
#[derive(Clone)]
pub struct Services {
    certificates: Url,
    log: Url,
    client: Client,
}

/// A key for one signature, and what it signed.
pub struct Signed {
    key: KeyPair,
    /// The signature.
    pub signature: SignatureBytes,
    digest: Sha256Hash,
}

impl Signed {
    /// Makes a key and signs with it.
    pub fn new(message: &[u8]) -> Result<Self, Error> {
        let failed = |error: sigstore_sign::crypto::Error| Error::Request(error.into());
        let key = KeyPair::generate_ecdsa_p256().map_err(failed)?;
        let signature = key.sign(message).map_err(failed)?;
        Ok(Self { key, signature, digest: sha256(message) })
    }
}

impl Services {
    /// Those of a signing config. They are not asked yet.
    pub fn new(services: &SigningServices) -> Result<Self, Error> {
        let client = Client::builder().timeout(TIME_MAX).redirect(Policy::none());
        // What is counted is what comes.
        let client = client.no_gzip().no_deflate().no_brotli().no_zstd();
        // No connection is kept: each signature has a runtime of its own.
        let client = client.pool_max_idle_per_host(0).user_agent(concat!("testimony/", env!("CARGO_PKG_VERSION")));
        Ok(Self {
            certificates: address(services.fulcio_url())?,
            log: address(services.rekor_url())?,
            client: client.build().map_err(Error::Client)?,
        })
    }

    /// A certificate for the key, by a token that says who we are. Whether it is good for anything is not looked at.
    pub async fn certificate(&self, token: &IdentityToken, signed: &Signed) -> Result<DerCertificate, Error> {
        let url = below(&self.certificates, "api/v2/signingCert");
        let failed = |error: sigstore_sign::crypto::Error| Error::Request(error.into());
        let request = serde_json::json!({
            "credentials": { "oidcIdentityToken": token.expose_secret() },
            "publicKeyRequest": {
                "publicKey": { "algorithm": "", "content": signed.key.public_key_der().map_err(failed)?.to_pem() },
                "proofOfPossession": signed.key.sign(token.identity().as_bytes()).map_err(failed)?,
            },
        });
        let answer = self.ask(&url, Some(request.to_string().into_bytes())).await;
        let answer = answer.map_err(|error| without(error, token.expose_secret()))?;
        first_certificate(&answer).map_err(|source| Error::Answer { url, what: "certificate", source })
    }

    /// The log's entry of the signature. Whether it holds is not looked at.
    pub async fn entry(&self, signed: &Signed, by: &DerCertificate) -> Result<TransparencyLogEntry, Error> {
        let url = below(&self.log, "api/v2/log/entries");
        let details = RekorV2KeyDetails::PkixEcdsaP256Sha256;
        let request = HashedRekordV2::new_with_certificate(&signed.digest, &signed.signature, by, details);
        let request = serde_json::to_vec(&request).map_err(|error| Error::Request(error.into()))?;
        let answer = self.ask(&url, Some(request)).await?;
        let source = |error: serde_json::Error| Error::Answer { url, what: "entry of a log", source: error.into() };
        serde_json::from_slice(&answer).map_err(source)
    }

    /// Whose tokens Fulcio takes.
    pub async fn issuers(&self) -> Result<Vec<String>, Error> {
        let url = below(&self.certificates, "api/v2/configuration");
        let answer = self.ask(&url, None).await?;
        let read: Result<Configuration, _> = serde_json::from_slice(&answer);
        let wrong =
            |error: serde_json::Error| Error::Answer { url, what: "configuration of Fulcio's", source: error.into() };
        let name = |issuer: OidcIssuer| match issuer.issuer {
            IssuerUrl::Exact(url) | IssuerUrl::Wildcard(url) => Some(url),
            _ => None,
        };
        Ok(read.map_err(wrong)?.issuers.into_iter().filter_map(name).collect())
    }

    /// By which authorities Fulcio certifies, as it says.
    pub async fn authorities(&self) -> Result<Vec<Vec<DerCertificate>>, Error> {
        let url = below(&self.certificates, "api/v2/trustBundle");
        let answer = self.ask(&url, None).await?;
        let wrong = |source| Error::Answer { url, what: "list of authorities", source };
        authorities(&answer).map_err(wrong)
    }

    /// Whether anybody answers for the log. What it logs is public, so nothing is asked of it.
    pub async fn log_answers(&self) -> Result<(), Error> {
        match self.ask(&below(&self.log, "healthz"), None).await {
            Ok(_) | Err(Error::Status { status: 400..=499, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Where Fulcio and Rekor are.
    pub fn addresses(&self) -> [&str; 2] {
        [self.certificates.as_str(), self.log.as_str()]
    }

    /// The bytes of an answer.
    async fn ask(&self, url: &Url, request: Option<Vec<u8>>) -> Result<Vec<u8>, Error> {
        let request = match request {
            Some(json) => self.client.post(url.clone()).header("Content-Type", "application/json").body(json),
            None => self.client.get(url.clone()),
        };
        // The address is said once.
        let unreachable =
            |source: reqwest::Error| Error::Unreachable { url: url.clone(), source: source.without_url() };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        if status.is_success() {
            return read(answer, url, ANSWER_BYTES_MAX).await;
        }
        let words = words(answer).await;
        let says = if words.is_empty() { String::new() } else { format!(": {words}") };
        Err(Error::Status { url: url.clone(), status: status.as_u16(), says })
    }
}

/// An error whose words do not repeat the token: whoever reads what a run says could sign as us for as long as it is valid.
fn without(error: Error, token: &str) -> Error {
    let header = token.split('.').next().unwrap_or(token);
    match error {
        Error::Status { url, status, says } if says.contains(header) => {
            Error::Status { url, status, says: ", and with our token".to_owned() }
        }
        error => error,
    }
}

/// An answer, if it is no longer than it may be.
async fn read(mut answer: Response, url: &Url, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let cut = |source: reqwest::Error| Error::Cut { url: url.clone(), source: source.without_url() };
    while let Some(part) = answer.chunk().await.map_err(cut)? {
        if bytes.len() + part.len() > bytes_max {
            return Err(Error::TooLong { url: url.clone() });
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

/// The beginning of what comes with an error.
async fn words(mut answer: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < WORDS_BYTES_MAX {
        let Ok(Some(part)) = answer.chunk().await else { break };
        bytes.extend_from_slice(&part);
    }
    bytes.truncate(WORDS_BYTES_MAX);
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// The certificate of Fulcio's answer that is for the key: the first one.
fn first_certificate(answer: &[u8]) -> Result<DerCertificate, Box<dyn std::error::Error + Send + Sync>> {
    let answer: serde_json::Value = serde_json::from_slice(answer)?;
    let of = |kind: &str| answer.pointer(&format!("/{kind}/chain/certificates/0"))?.as_str();
    // A log's promise that stands beside the certificate is of no use: a bundle has no place for it.
    let pem = of("signedCertificateEmbeddedSct").or_else(|| of("signedCertificateDetachedSct"));
    Ok(DerCertificate::from_pem(pem.ok_or("it has no certificate")?)?)
}

/// The chains of Fulcio's answer. The library reads another form than Fulcio writes.
fn authorities(answer: &[u8]) -> Result<Vec<Vec<DerCertificate>>, Box<dyn std::error::Error + Send + Sync>> {
    #[derive(serde::Deserialize)]
    struct Authorities {
        chains: Vec<Chain>,
    }
    #[derive(serde::Deserialize)]
    struct Chain {
        certificates: Vec<String>,
    }
    let answer: Authorities = serde_json::from_slice(answer)?;
    let read = |chain: Chain| chain.certificates.iter().map(|pem| DerCertificate::from_pem(pem)).collect();
    Ok(answer.chains.into_iter().map(read).collect::<Result<_, _>>()?)
}

fn address(url: &str) -> Result<Url, Error> {
    let parsed = Url::parse(url).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    parsed.ok_or_else(|| Error::Address(url.to_owned()))
}

/// A path of a service whose address may end with a slash, or not.
fn below(url: &Url, path: &str) -> Url {
    let mut below = url.clone();
    below.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
    below
}

#[cfg(test)]
mod tests;
