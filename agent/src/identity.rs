//! Who the agent is to SPIFFE: the X.509-SVID that a Workload API gives it, kept up to date while the agent runs.
//!
//! What the API gives is looked at before it is used: a signature by an SVID that nobody could verify is worth nothing.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use attestation::{
    dsse::{KeyError, KeyFile, SignError, Signer},
    hex,
    identity::{Bundle, BundleError, Chain, ChainError, IdError, Identities, Refused, Svid, TrustDomain, UnixSeconds},
    merkle::Hash,
};
use futures_util::StreamExt as _;
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest as _, Sha256};
use spiffe::{WorkloadApiClient, WorkloadApiError, X509Context, constants::SPIFFE_SOCKET_ENV};
use tokio::runtime::Runtime;

/// Where trust bundles are kept unless it is said.
pub const BUNDLES: &str = "/var/lib/testimony/trust-bundles";
/// How long one attempt to reach the Workload API may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Between two attempts at first, and between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two attempts where nobody answers.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// An SVID that ends within so many seconds is not signed with: the statement would be as good as unsigned. Between this and
/// the signature may lie the wait for the chain's lock.
const LEFT_MIN_S: u64 = 15;

/// Why there is no SVID.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client could not be started.
    #[error("the client of the Workload API could not be started")]
    Runtime(#[source] io::Error),
    /// Nobody said where the Workload API is.
    #[error(
        "{SPIFFE_SOCKET_ENV} is not set: name the Workload API, as in `--signer spiffe:/run/spire/agent/public/api.sock`"
    )]
    NoSocket,
    /// No answer in time.
    #[error("the Workload API {socket} gave no SVID{}: {last}", within(*seconds))]
    Late {
        /// Where it was looked for.
        socket: String,
        /// For how long.
        seconds: u64,
        /// What it answered last.
        last: String,
    },
    /// The SVID's key is not one to sign with.
    #[error(
        "the SVID's key cannot sign statements: let SPIRE give keys on P-256 (`workload_x509_svid_key_type = \"ec-p256\"`)"
    )]
    Key(#[source] KeyError),
    /// The API gave another key.
    #[error("the key that the Workload API gave is not that of the SVID")]
    OtherKey,
    /// The SVID does not hold against the bundle that came with it.
    #[error("the SVID that the Workload API gave would not verify")]
    Svid(#[from] Refused),
    /// The chain is too long.
    #[error("the SVID's chain is not one")]
    Chain(#[from] ChainError),
    /// The bundle that came with it is none.
    #[error("the trust bundle that the Workload API gave is none")]
    Bundle(#[from] BundleError),
    /// It gives others now.
    #[error("the Workload API gives no SVID of {0} any more")]
    Withdrawn(String),
    /// No bundle of its own domain came with it.
    #[error("no trust bundle of {0} came with the SVID")]
    NoBundle(String),
    /// It ends now.
    #[error("the SVID of {id} expired or ends within {LEFT_MIN_S} s, and no newer one came")]
    Expired {
        /// Whose.
        id: String,
    },
    /// The clock is of no use.
    #[error("the clock says that it is before 1970")]
    Clock,
}

/// How long it was waited for, where it was.
fn within(seconds: u64) -> String {
    if seconds == 0 { String::new() } else { format!(" within {seconds} s") }
}

/// A connection to a Workload API, which brings every new SVID.
pub struct Workload {
    socket: String,
    state: Arc<Mutex<State>>,
    // Dropped last: the source's tasks run in it.
    _runtime: Runtime,
}

struct State {
    /// What was given last.
    given: Option<Arc<X509Context>>,
    /// What went wrong last.
    error: String,
    /// The SPIFFE ID that was given last.
    id: Option<String>,
}

/// An SVID to sign with, and what it was held against.
pub struct Identity {
    /// Who.
    pub svid: Svid,
    /// Signs as that.
    pub signer: SvidSigner,
    /// The authorities behind it.
    pub bundle: TrustBundle,
}

/// Signs by an SVID's key, and says whose it is by its certificates. The key is wiped when it is dropped.
pub struct SvidSigner {
    key: KeyFile,
    certificates: Vec<Vec<u8>>,
}

/// The authorities of a trust domain, in PEM.
pub struct TrustBundle {
    domain: TrustDomain,
    pem: String,
}

impl Signer for SvidSigner {
    fn keyid(&self) -> &str {
        self.key.keyid()
    }

    fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    fn sign_prehash(&self, sha256: &Hash) -> Result<Vec<u8>, SignError> {
        self.key.sign_prehash(sha256)
    }
}

impl Workload {
    /// Begins to follow the Workload API at `socket`, as `SPIFFE_ENDPOINT_SOCKET` would have it, or at the one that is named
    /// there.
    pub fn connect(socket: Option<&str>) -> Result<Self, Error> {
        let named = || std::env::var(SPIFFE_SOCKET_ENV).ok().filter(|socket| !socket.is_empty());
        let socket = socket.map(str::to_owned).or_else(named).ok_or(Error::NoSocket)?;
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).thread_name("identity").enable_all().build();
        let runtime = runtime.map_err(Error::Runtime)?;
        let state = State { given: None, error: "it has not answered".to_owned(), id: None };
        let state = Arc::new(Mutex::new(state));
        runtime.spawn(follow(socket.clone(), Arc::clone(&state)));
        Ok(Self { socket, state, _runtime: runtime })
    }

    /// Where the Workload API is.
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// Who it was last.
    pub fn id(&self) -> Option<String> {
        lock(&self.state).id.clone()
    }

    /// Nobody else is signed with.
    pub fn expect(&self, id: String) {
        lock(&self.state).id = Some(id);
    }

    /// In a word: who it was last, or where that would be learned.
    pub fn name(&self) -> String {
        self.id().unwrap_or_else(|| "spiffe".to_owned())
    }

    /// The SVID that is valid now. Waits for one until then.
    pub fn identity(&self, until: Instant) -> Result<Identity, Error> {
        let began = Instant::now();
        loop {
            let answer = self.now();
            match answer {
                Ok(identity) => return Ok(identity),
                // It may still come, or a newer one.
                Err(_) if Instant::now() < until => thread::sleep(PAUSE),
                Err(Some(error)) => return Err(error),
                Err(None) => {
                    let (socket, seconds) = (self.socket.clone(), began.elapsed().as_secs());
                    return Err(Error::Late { socket, seconds, last: lock(&self.state).error.clone() });
                }
            }
        }
    }

    /// The SVID as it is; no error where none came yet.
    fn now(&self) -> Result<Identity, Option<Error>> {
        let (given, id) = {
            let state = lock(&self.state);
            (state.given.clone().ok_or(None)?, state.id.clone())
        };
        // Who it was once, it stays: another workload's SVID that comes first meanwhile is not signed with.
        let svid = match &id {
            Some(id) => given.svids().iter().find(|svid| svid.spiffe_id().to_string() == *id),
            None => given.default_svid(),
        };
        let svid = svid.ok_or_else(|| id.map(Error::Withdrawn))?;
        let identity = Identity::check(svid, given.bundle_set()).map_err(Some)?;
        lock(&self.state).id = Some(identity.svid.id().to_string());
        Ok(identity)
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes what the Workload API brings, and asks again where it ends. What was given holds meanwhile, as long as it is valid.
async fn follow(socket: String, state: Arc<Mutex<State>>) {
    let mut pause = PAUSE;
    loop {
        let (came, error) = stream(&socket, &state).await;
        lock(&state).error = error;
        pause = if came { PAUSE } else { PAUSE_MAX.min(pause * 2) };
        tokio::time::sleep(pause).await;
    }
}

/// One stream to its end: whether anything came, and why it ended.
async fn stream(socket: &str, state: &Mutex<State>) -> (bool, String) {
    let contexts = async { WorkloadApiClient::connect_to(socket).await?.stream_x509_contexts().await };
    // Whoever listens and says nothing is asked again.
    let contexts = match tokio::time::timeout(ATTEMPT, contexts).await {
        Ok(Ok(contexts)) => contexts,
        Ok(Err(error)) => return (false, says(&error)),
        Err(_) => return (false, "it took no question".to_owned()),
    };
    let (mut contexts, mut came) = (pin!(contexts), false);
    while let Some(context) = contexts.next().await {
        match context {
            Ok(context) => {
                came = true;
                let mut state = lock(state);
                (state.given, state.error) = (Some(Arc::new(context)), String::new());
            }
            Err(error) => {
                // Taken back: what was given is not to be used any more (SPIFFE Workload API, section 5.2.1).
                if matches!(error, WorkloadApiError::PermissionDenied(_) | WorkloadApiError::NoIdentityIssued) {
                    lock(state).given = None;
                }
                return (came, says(&error));
            }
        }
    }
    (came, "it ended its answer".to_owned())
}

/// An error, and what it began with where it does not say so itself.
fn says(error: &dyn std::error::Error) -> String {
    let (text, first) = (error.to_string(), std::iter::successors(error.source(), |error| error.source()).last());
    let first = first.map(ToString::to_string).filter(|first| !text.contains(first));
    first.map(|first| format!("{text}: {first}")).unwrap_or(text)
}

impl Identity {
    /// Holds an SVID against the bundle of its own trust domain that came with it.
    fn check(given: &spiffe::X509Svid, bundles: &spiffe::X509BundleSet) -> Result<Self, Error> {
        let mut chain = given.cert_chain().iter().map(|certificate| certificate.as_bytes().to_vec());
        let leaf = chain.next().unwrap_or_default();
        let chain = Chain::from_der(leaf, chain.collect())?;
        let domain = given.spiffe_id().trust_domain_name();
        let no_bundle = || Error::NoBundle(domain.to_owned());
        let authorities = spiffe::TrustDomain::new(domain).ok().and_then(|domain| bundles.get(&domain));
        let authorities = authorities.ok_or_else(no_bundle)?;
        let domain: TrustDomain = domain.parse().map_err(|_: IdError| no_bundle())?;
        let authorities: Vec<&[u8]> = authorities.authorities().iter().map(spiffe::Certificate::as_bytes).collect();
        let pattern = given.spiffe_id().to_string().parse().map_err(|_| no_bundle())?;
        let bundle = Bundle::of(domain.clone(), &authorities)?;
        let identities = Identities { bundles: vec![bundle], patterns: vec![pattern], lifetime_max: None };
        let now = now()?;
        let svid = identities.accept(&chain, now).map_err(|error| match error {
            Refused::Chain(ChainError::Expired) => Error::Expired { id: given.spiffe_id().to_string() },
            other => other.into(),
        })?;
        if svid.not_after().saturating_sub(now) < LEFT_MIN_S {
            return Err(Error::Expired { id: svid.id().to_string() });
        }
        let key = KeyFile::from_der(given.private_key().as_bytes()).map_err(Error::Key)?;
        if key.public() != svid.key() {
            return Err(Error::OtherKey);
        }
        let certificates = chain.to_pem();
        // As a verifier will read it.
        if let [own, between @ ..] = certificates.as_slice() {
            Chain::from_pem(own, between)?;
        }
        let signer = SvidSigner { key, certificates };
        Ok(Self { svid, signer, bundle: TrustBundle { domain, pem: pem(&authorities) } })
    }
}

fn now() -> Result<UnixSeconds, Error> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| Error::Clock)?.as_secs())
}

fn pem(authorities: &[&[u8]]) -> String {
    authorities.iter().map(|der| attestation::identity::pem(der)).collect()
}

impl TrustBundle {
    /// Keeps it as `DOMAIN/SHA256.pem` below this folder, if it is not there.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        let folder = folder.join(self.domain.as_str());
        let path = folder.join(format!("{}.pem", hex::encode(&Sha256::digest(&self.pem))));
        if path.exists() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
        // Under another name first: whoever reads the folder finds whole bundles.
        // A name that nobody knows before, and a new file: who may write there puts no link in its place.
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty())?;
        let part = folder.join(format!(".{}.part", hex::encode(&random)));
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&part)?;
            file.write_all(self.pem.as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, &path)
        };
        write().inspect_err(|_| drop(fs::remove_file(&part)))
    }
}
