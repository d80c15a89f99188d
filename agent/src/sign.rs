//! Who signs: key files and SPIFFE identities, one or several, and who stands in where they cannot.
//!
//! Every signer is asked before the command starts: what it cannot do then, it could not do at the end. At the end each is
//! asked again, since an identity lives for an hour; nothing is signed by another one without the statement saying so.

mod awaited;
mod key;
mod settings;
mod tpm_key;

use std::{
    cell::RefCell,
    io::{self, Write},
    path::PathBuf,
    str::FromStr,
    time::{Duration, Instant},
};

use attestation::{
    dsse::{self, PublicKey, SIGNATURES_MAX, Signer, TIMESTAMPS_MAX, WriteError, Written},
    platform::CertifiedKey,
    statement::Meta,
};

use crate::{
    identity::{self, Identity, Workload},
    timestamp, tpm,
};
use tpm_key::TpmKey;

pub use awaited::Awaited;
pub use key::{DEFAULT, Error as KeyError, Key, load, load_or_make, make, public_path};
pub use settings::Settings;

/// Seconds that an SVID is waited for unless it is said.
const WAIT_S: u64 = 10;
/// A day.
const WAIT_MAX_S: u64 = 86_400;

/// Who is to sign.
#[derive(clap::Args, Debug, Clone)]
#[group(id = "who signs")]
pub struct Args {
    /// Signing key, made if it is not there [default: /etc/testimony/signing.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Who signs; repeatable, and all of them sign: `key:FILE`, `spiffe` (the Workload API of SPIFFE_ENDPOINT_SOCKET),
    /// `spiffe:SOCKET`, or `tpm` (a key that cannot leave the TPM)
    #[arg(long = "signer", value_name = "SIGNER", conflicts_with = "key")]
    signers: Vec<Choice>,
    /// Who signs instead if one of those cannot; the statement says so [default: nobody, and nothing is signed]
    #[arg(long, value_name = "SIGNER", requires = "signers")]
    second_signer: Option<Choice>,
    /// Seconds to wait for an SVID, before the command and after it
    #[arg(long, value_name = "SECONDS", default_value_t = WAIT_S, value_parser = clap::value_parser!(u64).range(..=WAIT_MAX_S))]
    svid_wait: u64,
    /// Keep the trust bundles that SVIDs came with here, for whoever verifies when they were replaced
    #[arg(long, value_name = "DIR", default_value = identity::BUNDLES)]
    trust_bundles: PathBuf,
    /// Which TPM, for `tpm` and for seals.
    #[command(flatten)]
    tpm: tpm::Args,
    /// Timestamp authority (RFC 3161, http or https) that says when each signature existed; repeatable
    #[arg(long = "timestamp", value_name = "URL")]
    timestamps: Vec<String>,
}

/// A kind of signer, and which.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum Choice {
    /// A key in a file.
    Key(PathBuf),
    /// The SVID that a Workload API gives; that of the environment where none is named.
    Spiffe(Option<String>),
    /// A key that cannot leave the TPM.
    Tpm,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("key", file) if !file.is_empty() => Ok(Self::Key(file.into())),
            ("tpm", "") if !text.ends_with(':') => Ok(Self::Tpm),
            ("spiffe", "") if !text.ends_with(':') => Ok(Self::Spiffe(None)),
            // As the variable has it, or a plain path.
            ("spiffe", socket) if socket.starts_with('/') => Ok(Self::Spiffe(Some(format!("unix://{socket}")))),
            ("spiffe", socket) if !socket.is_empty() => Ok(Self::Spiffe(Some(socket.to_owned()))),
            _ => Err("say key:FILE, spiffe, spiffe:SOCKET or tpm".to_owned()),
        }
    }
}

/// Why nobody signs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key file.
    #[error(transparent)]
    Key(#[from] key::Error),
    /// One that is asked each time.
    #[error(transparent)]
    Unable(#[from] Unable),
    /// A timestamp authority.
    #[error(transparent)]
    Timestamp(#[from] timestamp::Error),
    /// More than a reader takes.
    #[error("{0} are to sign, and an envelope has {SIGNATURES_MAX} signatures at most")]
    TooMany(usize),
    /// A key file is not the one it was.
    #[error("{0} is another key than the one that is to sign")]
    OtherKey(PathBuf),
    /// One signer is named twice.
    #[error("{0} is to sign twice")]
    Twice(String),
}

/// Why one that is asked each time cannot sign now.
#[derive(Debug, thiserror::Error)]
pub enum Unable {
    /// The SPIFFE identity.
    #[error("there is no SVID to sign with")]
    Identity(#[from] identity::Error),
    /// The TPM.
    #[error("the TPM cannot sign")]
    Tpm(#[from] tpm_key::Error),
}

/// Signers that can sign.
pub struct Signers {
    first: Vec<Source>,
    second: Option<Source>,
    wait: Duration,
    bundles: PathBuf,
    authorities: Vec<timestamp::Authority>,
}

enum Source {
    Key(Key),
    Spiffe(Workload),
    Tpm(tpm::Args),
}

/// Those who sign this statement, now.
pub struct Ready {
    signers: Vec<Signing>,
    /// Whom they stand in for, and why.
    instead_of: Option<(String, Unable)>,
    bundles: PathBuf,
    authorities: Vec<timestamp::Authority>,
}

struct Signing {
    name: String,
    public: PublicKey,
    signer: Box<dyn Signer>,
    bundle: Option<identity::TrustBundle>,
    /// The TPM's certificate, where it is a key of one.
    certified: Option<CertifiedKey>,
}

impl Args {
    /// As a command line has them that says nothing of it.
    fn unsaid() -> Self {
        let command = <Self as clap::Args>::augment_args(clap::Command::new("sign"));
        let said = command.get_matches_from(["sign"]);
        <Self as clap::FromArgMatches>::from_arg_matches(&said).unwrap_or_else(|error| error.exit())
    }

    /// A key file alone.
    #[cfg(test)]
    pub fn by(key: PathBuf) -> Self {
        let (signers, timestamps) = (vec![], vec![]);
        let (trust_bundles, tpm) = ("bundles".into(), tpm::Args::nowhere());
        Self { key: Some(key), signers, second_signer: None, svid_wait: 0, trust_bundles, tpm, timestamps }
    }

    /// Asks everybody who is to sign, or who may have to. Makes a key file that is not there.
    pub fn open(&self) -> Result<Signers, Error> {
        let (signers, away) = self.open_patiently()?;
        away.map_or(Ok(signers), |away| Err(away.into()))
    }

    /// The same, where who cannot sign now may come later: why it cannot.
    pub fn open_patiently(&self) -> Result<(Signers, Option<Unable>), Error> {
        let signers = self.named()?;
        // Where the second one can sign, the first may still come.
        match signers.ready() {
            Ok(_) => Ok((signers, None)),
            Err(Error::Unable(away)) => Ok((signers, Some(away))),
            Err(error) => Err(error),
        }
    }

    /// The same without asking: who cannot sign now may be able to later.
    pub fn named(&self) -> Result<Signers, Error> {
        let default = || Choice::Key(self.key.clone().unwrap_or_else(|| DEFAULT.into()));
        let named = if self.signers.is_empty() { vec![default()] } else { self.signers.clone() };
        if named.len() > SIGNATURES_MAX {
            return Err(Error::TooMany(named.len()));
        }
        Ok(Signers {
            first: named.iter().map(|choice| Source::open(choice, &self.tpm)).collect::<Result<_, _>>()?,
            second: self.second_signer.as_ref().map(|choice| Source::open(choice, &self.tpm)).transpose()?,
            wait: Duration::from_secs(self.svid_wait),
            bundles: self.trust_bundles.clone(),
            authorities: authorities(&self.timestamps)?,
        })
    }

    /// Whether anything of it was said.
    pub fn are_said(&self) -> bool {
        self.key.is_some() || !self.signers.is_empty() || !self.timestamps.is_empty()
    }

    /// Which TPM.
    pub fn tpm(&self) -> &tpm::Args {
        &self.tpm
    }
}

impl Source {
    fn open(choice: &Choice, tpm: &tpm::Args) -> Result<Self, Error> {
        match choice {
            Choice::Tpm => Ok(Self::Tpm(tpm.clone())),
            Choice::Key(path) => Ok(Self::Key(load_or_make(path)?)),
            Choice::Spiffe(socket) => Ok(Self::Spiffe(Workload::connect(socket.as_deref()).map_err(Unable::from)?)),
        }
    }

    fn ready(&self, until: Instant) -> Result<Signing, Unable> {
        match self {
            Self::Key(Key { file, .. }) => Ok(Signing {
                name: file.public().keyid().to_owned(),
                public: file.public().clone(),
                signer: Box::new(file.clone()),
                bundle: None,
                certified: None,
            }),
            Self::Tpm(args) => {
                let (signer, certified) = TpmKey::open(args)?;
                let public = signer.public().clone();
                let name = public.keyid().to_owned();
                Ok(Signing { name, public, signer: Box::new(signer), bundle: None, certified: Some(certified) })
            }
            Self::Spiffe(workload) => {
                let Identity { svid, signer, bundle } = workload.identity(until)?;
                let (name, public) = (svid.id().to_string(), svid.key().clone());
                Ok(Signing { name, public, signer: Box::new(signer), bundle: Some(bundle), certified: None })
            }
        }
    }

    /// In a word, for a statement that another one signed.
    fn name(&self) -> String {
        match self {
            Self::Key(key) => key.file.public().keyid().to_owned(),
            Self::Spiffe(workload) => workload.name(),
            Self::Tpm(_) => "tpm".to_owned(),
        }
    }
}

impl Signers {
    /// Whether nothing but key files can sign, which say nothing of the host.
    pub fn only_keys(&self) -> bool {
        self.first.iter().all(|source| matches!(source, Source::Key(_)))
    }

    /// Key files that were made just now.
    pub fn new_keys(&self) -> Vec<PathBuf> {
        let made = self.first.iter().chain(&self.second).filter_map(|source| match source {
            Source::Key(key) if key.new => Some(key.path.clone()),
            _ => None,
        });
        made.collect()
    }

    /// Those who sign now: all that are named, or the second one instead.
    pub fn ready(&self) -> Result<Ready, Error> {
        let until = Instant::now() + self.wait;
        let mut signers: Vec<Signing> = Vec::new();
        for source in &self.first {
            match source.ready(until) {
                Ok(signing) if signers.iter().any(|other| other.name == signing.name) => {
                    return Err(Error::Twice(signing.name));
                }
                Ok(signing) => signers.push(signing),
                Err(error) => return self.instead_of(source, error, until),
            }
        }
        Ok(self.are_ready(signers, None))
    }

    fn are_ready(&self, signers: Vec<Signing>, instead_of: Option<(String, Unable)>) -> Ready {
        Ready { signers, instead_of, bundles: self.bundles.clone(), authorities: self.authorities.clone() }
    }

    fn instead_of(&self, source: &Source, error: Unable, until: Instant) -> Result<Ready, Error> {
        let Some(second) = &self.second else { return Err(error.into()) };
        let signers = vec![second.ready(until)?];
        Ok(self.are_ready(signers, Some((source.name(), error))))
    }
}

impl Ready {
    /// What the statement says of them.
    pub fn meta(&self) -> Meta {
        let mut names = self.signers.iter().map(|signing| signing.name.clone());
        let signer = names.next().unwrap_or_default();
        let instead_of = self.instead_of.as_ref().map(|(name, _)| name.clone());
        Meta { signer, co_signers: names.collect(), instead_of, ..Meta::default() }
    }

    /// Each, to sign with.
    fn signers(&self) -> Vec<&dyn Signer> {
        self.signers.iter().map(|signing| signing.signer.as_ref()).collect()
    }

    /// Writes what is signed, with each signature and its timestamps. An authority that gives none costs nobody the statement: it can be
    /// asked again later. What is to be said of them comes back.
    pub fn write<W, F>(&self, out: W, payload: F) -> Result<(Written, Vec<String>), WriteError>
    where
        W: Write,
        F: Fn(&mut dyn Write) -> io::Result<()>,
    {
        let says = RefCell::new(Vec::new());
        let stamp = |signature: &[u8]| {
            let (tokens, more) = stamp(&self.authorities, signature);
            says.borrow_mut().extend(more);
            tokens
        };
        let written = dsse::write_stamped(out, payload, &self.signers(), stamp)?;
        Ok((written, says.into_inner()))
    }

    /// The keys that their signatures hold under.
    pub fn public_keys(&self) -> Vec<PublicKey> {
        self.signers.iter().map(|signing| signing.public.clone()).collect()
    }

    /// Who could not sign, and why.
    pub fn stood_in_for(&self) -> Option<(&str, &Unable)> {
        self.instead_of.as_ref().map(|(name, error)| (name.as_str(), error))
    }

    /// Whether nothing but key files sign.
    pub fn only_keys(&self) -> bool {
        self.signers.iter().all(|signing| signing.bundle.is_none() && signing.certified.is_none())
    }

    /// The key of the TPM among them, with its certificate.
    pub fn certified_key(&self) -> Option<CertifiedKey> {
        self.signers.iter().find_map(|signing| signing.certified.clone())
    }

    /// Keeps the trust bundles of the SVIDs among them, where they are not kept yet.
    pub fn keep_bundles(&self) -> io::Result<()> {
        let bundles = self.signers.iter().filter_map(|signing| signing.bundle.as_ref());
        bundles.into_iter().try_for_each(|bundle| bundle.keep(&self.bundles))
    }
}

/// Authorities by their addresses; no more than a signature may have timestamps.
pub fn authorities(addresses: &[String]) -> Result<Vec<timestamp::Authority>, timestamp::Error> {
    if addresses.len() > TIMESTAMPS_MAX {
        return Err(timestamp::Error::TooMany(addresses.len()));
    }
    addresses.iter().map(|address| timestamp::Authority::new(address)).collect()
}

/// The tokens that authorities give for a signature, and what is to be said of it.
pub fn stamp(authorities: &[timestamp::Authority], signature: &[u8]) -> (Vec<Vec<u8>>, Vec<String>) {
    let (mut tokens, mut says) = (Vec::new(), Vec::new());
    for authority in authorities {
        match authority.stamp(signature) {
            Ok(stamp) => {
                if let Some(seconds) = stamp.skew() {
                    says.push(format!("the clock of this host and that of {} differ by {seconds} s", authority.url()));
                }
                tokens.push(stamp.token);
            }
            Err(error) => says.push(format!("a signature has no timestamp: {}", chain_of(&error))),
        }
    }
    (tokens, says)
}

/// An error with its sources.
pub fn chain_of(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_signer_is_called() {
        let read = |text: &str| text.parse::<Choice>();
        assert_eq!(read("key:/a/b:c"), Ok(Choice::Key("/a/b:c".into())));
        assert_eq!(read("spiffe"), Ok(Choice::Spiffe(None)));
        assert_eq!(read("spiffe:/run/api.sock"), Ok(Choice::Spiffe(Some("unix:///run/api.sock".into()))));
        assert_eq!(read("spiffe:tcp://127.0.0.1:1"), Ok(Choice::Spiffe(Some("tcp://127.0.0.1:1".into()))));
        assert_eq!(read("tpm"), Ok(Choice::Tpm));
        for wrong in ["", "key", "key:", "spiffe:", "tpm:", "tpm:x", "Spiffe"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
