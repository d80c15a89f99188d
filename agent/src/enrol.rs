//! `testimony enrol`: binds a machine's attestation key to its TPM and to who signs there, in four steps: `request` and `answer` on the
//! machine, `challenge` and `accept` wherever machines are enrolled, without a TPM. `join` makes all four with a collector.

mod join;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use attestation::{
    escape::escape,
    platform::{Answer, Challenge, ENROL_BYTES_MAX, Endorsement, EnrolError, Message, Pending, Request, Terms},
    tpm::{MakerError, Makers},
    x509::BUNDLE_BYTES_MAX,
};
use testimony_verify::files::read_at_most;
use tpm_protocol::{Algorithm, Answer as Told, Ask};

use crate::{
    daemon,
    tpm::{self, Tpm},
};

/// Seconds that a challenge may be answered in.
const LIFETIME_S: u64 = 3600;

/// Which step.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, clap::Subcommand)]
enum Step {
    /// On the machine: have the collector enrol it, under the SPIFFE ID that this node has there
    Join {
        /// The enrolment, for `verify --enrolment`; it may not be there
        #[arg(short = 'o', long = "output", value_name = "FILE")]
        output: PathBuf,
        /// The agent's configuration, which says where the collector is
        #[arg(long, value_name = "FILE", default_value = daemon::DEFAULT)]
        config: PathBuf,
        #[command(flatten)]
        tpm: tpm::Args,
    },
    /// On the machine: say which keys its TPM has
    Request {
        /// The request; it may not be there
        #[arg(short = 'o', long = "output", value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        tpm: tpm::Args,
    },
    /// Where machines are enrolled: make a secret that only this machine's TPM can open
    Challenge {
        /// Certificates of makers of TPMs to trust, in PEM, roots and those between; repeatable [default: the TPM is believed this
        /// once, and the enrolment says so]
        #[arg(long = "maker", value_name = "FILE")]
        makers: Vec<PathBuf>,
        /// The name of the TPM's endorsement key, as `enrol request` shows it on the machine: another TPM is refused
        #[arg(long, value_name = "HEX")]
        endorsement_key: Option<String>,
        /// What the machine is to be called
        #[arg(long, value_name = "TEXT")]
        name: String,
        /// The SPIFFE ID that signs there: a quote of the machine under another one is refused then
        #[arg(long, value_name = "ID")]
        spiffe_id: Option<attestation::identity::SpiffeId>,
        /// The register that `run --seal-pcr` names there: a quote of seals in another one is refused
        #[arg(long, value_name = "PCR", default_value_t = 12, value_parser = clap::value_parser!(u8).range(11..=15))]
        seal_pcr: u8,
        /// The challenge; it may not be there
        #[arg(short = 'o', long = "output", value_name = "FILE")]
        output: PathBuf,
        /// What is to be kept until the answer comes; it may not be there
        #[arg(long, value_name = "FILE")]
        pending: PathBuf,
        /// Seconds that it may be answered in
        #[arg(long, value_name = "SECONDS", default_value_t = LIFETIME_S)]
        lifetime: u64,
        /// The machine's request
        #[arg(value_name = "REQUEST")]
        request: PathBuf,
    },
    /// On the machine: open the secret
    Answer {
        /// The answer; it may not be there
        #[arg(short = 'o', long = "output", value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        tpm: tpm::Args,
        /// The challenge
        #[arg(value_name = "CHALLENGE")]
        challenge: PathBuf,
    },
    /// Where machines are enrolled: hold the answer against what was kept, which is removed then
    Accept {
        /// The enrolment, for `verify --enrolment`; it may not be there
        #[arg(short = 'o', long = "output", value_name = "FILE")]
        output: PathBuf,
        /// What was kept
        #[arg(long, value_name = "FILE")]
        pending: PathBuf,
        /// The machine's answer
        #[arg(value_name = "ANSWER")]
        answer: PathBuf,
    },
}

/// Why a step was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file.
    #[error("{}", escape(.path.as_os_str().as_encoded_bytes()))]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A message, or what it says.
    #[error("{}", escape(.path.as_os_str().as_encoded_bytes()))]
    Enrol {
        /// Which.
        path: PathBuf,
        /// Why.
        source: EnrolError,
    },
    /// The makers.
    #[error("{}", escape(.path.as_os_str().as_encoded_bytes()))]
    Makers {
        /// Where.
        path: PathBuf,
        /// Why.
        source: MakerError,
    },
    /// The TPM.
    #[error("the TPM")]
    Tpm(#[from] tpm::Error),
    /// The collector, or the way to it.
    #[error("the collector did not enrol this machine: {0}")]
    Collector(String),
    /// The clock.
    #[error("the clock is before 1970")]
    Clock,
}

impl Error {
    /// The exit status: 2 for what is not understood, else 1.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Enrol { source: EnrolError::Json(_) | EnrolError::Version, .. } => 2,
            _ => 1,
        }
    }
}

/// Makes a step.
pub(crate) fn run(args: &Args) -> Result<u8, Error> {
    match &args.step {
        Step::Join { output, config, tpm } => {
            let (json, machine) = join::join(config, tpm)?;
            write_bytes(output, &json)?;
            println!("{}: {} is enrolled", shown(output), escape(machine.name().as_bytes()));
        }
        Step::Request { output, tpm } => {
            let request = request(tpm)?;
            write(output, &request)?;
            println!("{}: to be sent to where machines are enrolled", shown(output));
            let failed = |source| Error::Enrol { path: output.clone(), source };
            for name in request.endorsement_names().map_err(failed)? {
                println!("the TPM's endorsement key is {name}");
            }
        }
        Step::Challenge { makers, endorsement_key, name, spiffe_id, seal_pcr, output, pending, lifetime, request } => {
            let (makers, spiffe_id) = (read_makers(makers)?, spiffe_id.as_ref().map(ToString::to_string));
            let failed = |source| Error::Enrol { path: request.clone(), source };
            let asked = read::<Request>(request)?;
            let terms = Terms {
                name,
                spiffe_id: spiffe_id.as_deref(),
                seal_pcr: *seal_pcr,
                makers: makers.as_ref(),
                endorsement_key: endorsement_key.as_deref(),
            };
            let (challenge, kept) = asked.challenge(&terms, now()?, *lifetime).map_err(failed)?;
            write(pending, &kept)?;
            // What is kept is of use with its challenge alone.
            write(output, &challenge).inspect_err(|_| drop(fs::remove_file(pending)))?;
            let by = if makers.is_some() { "a maker vouches for its TPM" } else { "its TPM is believed this once" };
            println!("{}: to be sent to the machine; {by}", shown(output));
            let names = asked.endorsement_names().map_err(failed)?;
            println!("the request's endorsement keys are {}: hold them against the machine's own", names.join(", "));
        }
        Step::Answer { output, tpm, challenge } => {
            let answer = answer(&read::<Challenge>(challenge)?, challenge, tpm)?;
            write(output, &answer)?;
            println!("{}: to be sent to where machines are enrolled", shown(output));
        }
        Step::Accept { output, pending, answer } => {
            let failed = |source| Error::Enrol { path: answer.clone(), source };
            let machine = read::<Pending>(pending)?.accept(&read::<Answer>(answer)?, now()?).map_err(failed)?;
            let json = machine.to_json().map_err(|error| failed(error.into()))?;
            write_bytes(output, &json)?;
            // No answer is taken twice.
            fs::remove_file(pending).map_err(|source| Error::Io { path: pending.clone(), source })?;
            println!("{}: {} is enrolled", shown(output), escape(machine.name().as_bytes()));
        }
    }
    Ok(0)
}

fn request(tpm: &tpm::Args) -> Result<Request, Error> {
    match Tpm::new(tpm, None).ask(Ask::Identify { certified: false })? {
        Told::Identity(identity) => {
            let endorsement = identity.endorsement.iter().map(|key| Endorsement {
                public: key.public.to_vec(),
                certificate: key.certificate.as_deref().map(<[u8]>::to_vec).unwrap_or_default(),
            });
            Ok(Request::new(&identity.attestation_key, endorsement.collect()))
        }
        _ => Err(tpm::Error::Answer.into()),
    }
}

fn answer(challenge: &Challenge, path: &Path, tpm: &tpm::Args) -> Result<Answer, Error> {
    let endorsement = match challenge.endorsement.as_str() {
        "rsa-2048" => Algorithm::Rsa2048,
        "ecc-p256" => Algorithm::EccP256,
        _ => return Err(Error::Enrol { path: path.to_owned(), source: EnrolError::NoEndorsementKey }),
    };
    let (blob, encrypted_seed) = (challenge.id_object.clone().into(), challenge.encrypted_secret.clone().into());
    match Tpm::new(tpm, None).ask(Ask::Activate { endorsement, blob, encrypted_seed })? {
        Told::Activated { secret } => Ok(Answer::new(&secret)),
        _ => Err(tpm::Error::Answer.into()),
    }
}

fn read_makers(paths: &[PathBuf]) -> Result<Option<Makers>, Error> {
    let mut pem = Vec::new();
    for path in paths {
        let read = read_at_most(path, BUNDLE_BYTES_MAX as u64 + 1);
        pem.extend(read.map_err(|source| Error::Io { path: path.clone(), source })?);
        pem.push(b'\n');
    }
    let Some(path) = paths.last() else { return Ok(None) };
    Makers::read(&pem).map(Some).map_err(|source| Error::Makers { path: path.clone(), source })
}

fn read<M: Message>(path: &Path) -> Result<M, Error> {
    let json = read_at_most(path, ENROL_BYTES_MAX as u64 + 1);
    let json = json.map_err(|source| Error::Io { path: path.to_owned(), source })?;
    M::read(&json).map_err(|source| Error::Enrol { path: path.to_owned(), source })
}

fn write(path: &Path, message: &impl Message) -> Result<(), Error> {
    let json = message.to_json().map_err(|source| Error::Enrol { path: path.to_owned(), source })?;
    write_bytes(path, &json)
}

/// For its owner alone, and never over another file.
fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|source| Error::Io { path: path.to_owned(), source })
}

fn now() -> Result<u64, Error> {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).map_err(|_| Error::Clock)
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes()).into_owned()
}
