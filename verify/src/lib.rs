//! The command line of verification: files, keys and the terminal. What is verified, and how, is `attestation::verify`.
//!
//! Nothing from a file reaches the terminal as it is: every text is escaped first.
#![forbid(unsafe_code)]

pub mod files;
pub mod identity;
pub mod keyless;
pub mod pack;
pub mod platform;
mod report;
pub mod times;
pub mod trust;

use attestation::evidence::Limits;
use attestation::verify::{Check, Objects, Outcome, Verdict, inclusion, seals, sequence, unsigned, verify};
use files::{Directory, Target};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trust::Trust;

/// Exit code of wrong usage.
pub const USAGE: u8 = 64;

/// What to verify, and by what.
///
/// Ends 0 if every file is signed by a given key and complete (or incomplete and accepted), 1 if one is refused, 2 if one
/// is not understood, 64 if used wrongly.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct Args {
    /// Public key to trust (P-256, PEM); may be given more than once. Without one, and without a trust bundle, everything is
    /// refused
    #[arg(long = "key", value_name = "PEM")]
    pub keys: Vec<PathBuf>,
    /// Identities to trust.
    #[command(flatten)]
    pub identity: identity::Args,
    /// Which keyless signatures to trust.
    #[command(flatten)]
    pub keyless: keyless::Args,
    /// Whose word on time to trust.
    #[command(flatten)]
    pub times: times::Args,
    /// Which machines to trust.
    #[command(flatten)]
    pub platform: platform::Args,
    /// Directory with the evidence [default: FILE with .evidence for .intoto.jsonl, where that is there]
    #[arg(long, value_name = "DIR")]
    pub evidence: Option<PathBuf>,
    /// A frame's proof, as `testimony show --event N --proof` prints it: checked against the statement, without its log
    #[arg(long, value_name = "FILE")]
    pub proof: Option<PathBuf>,
    /// Accept a statement that says itself that it is incomplete
    #[arg(long)]
    pub accept_incomplete: bool,
    /// Print one JSON object a file, and one of the checks between files
    #[arg(long)]
    pub json: bool,
    /// Statements, as signed envelopes, or packs of them
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// `testimony verify`: verifies and prints to standard output.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    run_as("testimony", args)
}

/// The same under the name of another program, for its complaints.
#[must_use]
pub fn run_as(program: &str, args: &Args) -> ExitCode {
    ExitCode::from(run_to(program, args, &mut io::stdout().lock(), &mut io::stderr().lock()))
}

/// What the command line's parser answered: help and version end 0, wrong usage 64.
#[must_use]
pub fn usage(error: &clap::Error) -> ExitCode {
    // A closed terminal changes nothing.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
}

/// Verifies and prints to `out`, with complaints in the program's name to `err`; returns the exit code.
pub fn run_to(program: &str, args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let trust = match Trust::read(args) {
        Ok(trust) => trust,
        Err(message) => return complain(program, err, &message),
    };
    if let Some(directory) = args.evidence.as_ref().filter(|path| !path.is_dir()) {
        return complain(program, err, &format!("--evidence {}: no directory", report::path(directory)));
    }
    let proof = match args.proof.as_ref().map(|path| files::read_proof(path).map_err(|error| (path, error))).transpose()
    {
        Ok(proof) => proof,
        Err((path, error)) => {
            return complain(program, err, &format!("--proof {}: {error}", report::path(path)));
        }
    };
    for (option, given) in [
        ("--proof", proof.is_some()),
        ("--quote", args.platform.quote.is_some()),
        ("--bundle", args.keyless.bundle.is_some()),
    ] {
        if given && args.files.len() > 1 {
            return complain(program, err, &format!("{option} is of one statement: give one file"));
        }
    }
    let (mut exit_code, mut verdicts) = (0, Vec::new());
    for file in &args.files {
        let mut verdict = verify_file(file, &trust, args);
        if let (Some(proof), Some(claims)) = (&proof, &verdict.claims) {
            let check = inclusion(proof, claims);
            verdict.checks.push(check);
        }
        exit_code = exit_code.max(verdict.exit_code());
        let as_of = args.times.at;
        let printed =
            if args.json { report::json(out, file, &verdict, as_of) } else { report::text(out, file, &verdict, as_of) };
        if let Err(error) = printed {
            return complain(program, err, &format!("the verdict could not be printed: {error}")).min(2);
        }
        verdicts.push(verdict);
    }
    let mut checks = sequence(&verdicts);
    checks.extend(seals(&verdicts));
    let refused = checks.iter().any(|check| check.outcome == Outcome::Refused);
    let printed = if args.json { report::json_checks(out, &checks) } else { report::text_checks(out, &checks) };
    if let Err(error) = printed {
        return complain(program, err, &format!("the verdict could not be printed: {error}")).min(2);
    }
    exit_code.max(u8::from(refused))
}

/// A verdict in JSON, as `--json` prints it, of something that was in no file.
#[must_use]
pub fn describe(verdict: &Verdict) -> String {
    let mut json = Vec::new();
    // Into memory nothing fails.
    let _ = report::json(&mut json, Path::new("-"), verdict, None);
    String::from_utf8_lossy(json.trim_ascii_end()).into_owned()
}

fn complain(program: &str, err: &mut dyn Write, message: &str) -> u8 {
    let _ = writeln!(err, "{program}: {message}");
    USAGE
}

fn verify_file(file: &Path, trust: &Trust, args: &Args) -> Verdict {
    match Target::of(file, args.evidence.as_deref()) {
        Target::Statement { input, evidence } => {
            let objects = evidence.map(Directory::new);
            let evidence = objects.as_ref().map(|objects| objects as &dyn Objects);
            match trust.beside(file) {
                Ok(mut given) => {
                    let unread = std::mem::take(&mut given.platform.unread);
                    let mut verdict = verify(input, &trust.options(evidence, &given, args.accept_incomplete));
                    verdict.checks.extend(unread);
                    verdict
                }
                Err(error) => unreadable(&error),
            }
        }
        Target::Pack(pack) => match trust.packed(&pack) {
            Ok(given) => verify(pack.statement(), &trust.options(Some(&pack), &given, args.accept_incomplete)),
            Err(error) => unreadable(&error),
        },
        Target::Evidence(directory) => match Directory::new(directory).in_order() {
            Ok(segments) if segments.is_empty() => {
                unreadable(&io::Error::new(io::ErrorKind::NotFound, "a directory without a segment of a log"))
            }
            Ok(segments) => unsigned(segments, Limits::default()),
            Err(error) => unreadable(&error),
        },
        Target::Unreadable(error) => unreadable(&error),
    }
}

fn unreadable(error: &io::Error) -> Verdict {
    Verdict::unreadable(Check::refused("file", attestation::codes::UNREADABLE_FILE, &error.to_string()))
}
