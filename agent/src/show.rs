//! `testimony show`: what a statement says, for people: gaps first, then processes, files and peers.
//!
//! It believes nothing and proves nothing: unless a key is given, the signature is not checked, and it says so. Every
//! text is clean from the moment it is read; what is slow or large is bounded by what a statement may have.

mod acts;
mod event;
mod files;
mod filter;
mod gaps;
mod json;
mod network;
mod platform;
mod source;
mod statement;
mod terminal;
mod text;
mod trace;
mod tree;

use std::{
    ffi::OsString,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use attestation::{escape::escape, time::SECOND_NS, verify::ProveError};

use filter::{Selection, Wanted};
use source::{Evidence, Signature, Source};
use terminal::{Style, Terminal, cut};
use text::Time;

pub(crate) use statement::Hook;
use statement::Inherited;
pub(crate) use trace::Trace;

/// Lines of each part in the overview.
const OVERVIEW_LINES: usize = 60;

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the process tree, whole
    #[arg(long)]
    tree: bool,
    /// Only the files: every one, with its digest and who accessed it, and changes of names
    #[arg(long)]
    files: bool,
    /// Only the network
    #[arg(long)]
    network: bool,
    /// Only acts beyond files and network: system calls that reach into other processes, the kernel, mounts and namespaces,
    /// or map code
    #[arg(long)]
    acts: bool,
    /// Only gaps and blind spots, with what to do about each, and the hooks behind the trace
    #[arg(long)]
    gaps: bool,
    /// Only files of this path and who accessed them: * and ? within a component, ** across; without a slash, any
    /// file of that name
    #[arg(long, value_name = "GLOB")]
    path: Option<OsString>,
    /// Only what this process did
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Only from this time on: 2026-01-31T12:00:00Z, or +SECONDS after the session's start
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    since: Option<Moment>,
    /// Only until this time, said as for --since
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    until: Option<Moment>,
    /// Only frame N of the evidence log, counted from 0
    #[arg(long, value_name = "N", conflicts_with_all = ["tree", "files", "network", "acts", "gaps", "path", "pid", "since", "until", "json"])]
    event: Option<u64>,
    /// Of that frame, the proof that it stands in the signed log, which `verify --proof` checks without the log
    #[arg(long, requires = "event")]
    proof: bool,
    /// Verify by this public key first, and show nothing that is refused (repeatable)
    #[arg(long = "key", value_name = "PEM")]
    keys: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// NAME.intoto.jsonl, or NAME.evidence of a run that died
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Why nothing is shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The file.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The frame that was asked for.
    #[error("frame {leaf} cannot be shown")]
    Frame {
        /// Which.
        leaf: u64,
        /// Why.
        source: ProveError,
    },
    /// The output.
    #[error("the output could not be written")]
    Write(#[from] io::Error),
}

impl Error {
    /// The exit status: 2 for what is not understood, 64 for a key that is none, 1 for what is refused.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Source(source::Error::Key { .. }) => 64,
            Self::Source(source::Error::Refused { .. }) | Self::Frame { .. } | Self::Write(_) => 1,
            Self::Source(_) => 2,
        }
    }
}

/// A time, or one relative to the session's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    At(Time),
    After(i128),
}

impl Moment {
    fn resolve(self, started: Time) -> Time {
        match self {
            Self::At(time) => time,
            Self::After(ns) => Time(started.0 + ns),
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    let relative = text.strip_prefix('+').and_then(|seconds| {
        let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let fits = (1..=9).contains(&whole.len()) && fraction.len() <= 9 && digits(whole) && digits(fraction);
        let fraction = format!("{fraction:0<9}");
        fits.then(|| Some(whole.parse::<i128>().ok()? * SECOND_NS + fraction.parse::<i128>().ok()?)).flatten()
    });
    let absolute = || Time::parse(text).map(Moment::At);
    let wrong = || "no time: say 2026-01-31T12:00:00Z (UTC), or +SECONDS after the session's start".to_owned();
    relative.map(Moment::After).or_else(absolute).ok_or_else(wrong)
}

/// The parts that are asked for; none said is all of them.
struct Views {
    tree: bool,
    files: bool,
    network: bool,
    acts: bool,
    gaps: bool,
    /// Whether any was said.
    chosen: bool,
}

impl Views {
    fn of(args: &Args) -> Self {
        let chosen = args.tree || args.files || args.network || args.acts || args.gaps;
        let want = |said: bool| said || !chosen;
        // By path, files are the question.
        let by_path = args.path.is_some() && !chosen;
        Self {
            tree: want(args.tree),
            files: want(args.files),
            network: want(args.network) && !by_path,
            acts: want(args.acts) && !by_path,
            gaps: want(args.gaps) && !by_path,
            chosen,
        }
    }
}

/// Verifies a statement by these keys, and reads it.
pub(crate) fn read(file: &Path, keys: &[PathBuf]) -> Result<Trace, source::Error> {
    Ok(source::open(file, keys)?.trace)
}

/// Shows.
pub(crate) fn run(args: &Args) -> Result<u8, Error> {
    if let Some(leaf) = args.event {
        return event::show(args, leaf);
    }
    let source = source::open(&args.file, &args.keys)?;
    let started = source.trace.started();
    let wanted = Wanted {
        path: args.path.as_ref().map(|pattern| crate::glob::Glob::new(pattern.as_encoded_bytes())),
        pid: args.pid,
        since: args.since.map(|moment| moment.resolve(started)),
        until: args.until.map(|moment| moment.resolve(started)),
    };
    let (part, views) = (wanted.select(&source.trace), Views::of(args));
    let mut out = BufWriter::new(io::stdout().lock());
    let written = if args.json {
        serde_json::to_writer(&mut out, &json::value(&source, &part, &views))
            .map_err(io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
    } else {
        write(&mut out, &Terminal::of_stdout(), &source, &part, &views)
    };
    match written.and_then(|()| out.flush()) {
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        written => Ok(written.map(|()| 0)?),
    }
}

fn write(
    out: &mut dyn Write,
    terminal: &Terminal,
    source: &Source,
    part: &Selection<'_>,
    views: &Views,
) -> io::Result<()> {
    header(out, terminal, source)?;
    let lines_max = if views.chosen || part.narrowed { usize::MAX } else { OVERVIEW_LINES };
    if views.gaps {
        writeln!(out)?;
        gaps::write(out, terminal, &source.trace, views.chosen)?;
    }
    if views.tree {
        writeln!(out)?;
        tree::write(out, terminal, part, lines_max)?;
    }
    if views.files {
        writeln!(out)?;
        if views.chosen || part.narrowed {
            files::all(out, terminal, part)?;
        } else {
            files::overview(out, terminal, part, lines_max)?;
        }
    }
    if views.network {
        writeln!(out)?;
        network::write(out, terminal, part, lines_max)?;
    }
    if views.acts && (views.chosen || !part.acts.is_empty()) {
        writeln!(out)?;
        acts::write(out, terminal, part, lines_max)?;
    }
    Ok(())
}

/// What this is, and whether it is to be believed.
fn header(out: &mut dyn Write, terminal: &Terminal, source: &Source) -> io::Result<()> {
    let predicate = &source.trace.statement.predicate;
    let testimony = &predicate.testimony;
    let words: Vec<&str> = testimony.session.command.iter().map(|word| &**word).collect();
    writeln!(out, "{}", terminal.paint(Style::Heading, &cut(&words.join(" "), terminal.columns)))?;
    let finished = predicate
        .metadata
        .build_finished_on
        .map_or_else(|| "an end that was not seen".to_owned(), |end| format!("{}Z", end.clock()));
    let started = predicate.metadata.build_started_on.to_string();
    let platform = &testimony.platform;
    writeln!(
        out,
        "  {}Z to {finished} (UTC), in {}, kernel {} {}",
        started.get(..23).unwrap_or_default(),
        testimony.session.directory,
        platform.kernel_release,
        platform.machine
    )?;
    let (verdict, style) = match testimony.complete {
        true => ("COMPLETE", Style::Good),
        false => ("INCOMPLETE", Style::Bad),
    };
    let lossless = if testimony.lossless { "lossless" } else { "not lossless" };
    let level = &testimony.coverage_level;
    writeln!(out, "  says of itself: {}, {lossless}, at level {level}", terminal.paint(style, verdict))?;
    standing(out, terminal, source)?;
    platform::write(out, terminal, platform)?;
    given(out, terminal, &testimony.session.inherited)
}

/// The descriptors that the command started with.
fn given(out: &mut dyn Write, terminal: &Terminal, inherited: &[Inherited]) -> io::Result<()> {
    if inherited.is_empty() {
        return Ok(());
    }
    let one = |given: &Inherited| format!("{} {} ({})", given.descriptor, given.path, given.access);
    let all: Vec<String> = inherited.iter().map(one).collect();
    let line = format!("  started with the descriptors {}", all.join(", "));
    writeln!(out, "{}", terminal.paint(Style::Faint, &cut(&line, terminal.columns)))
}

fn standing(out: &mut dyn Write, terminal: &Terminal, source: &Source) -> io::Result<()> {
    let signature = match source.signature {
        Signature::NotChecked => {
            terminal.paint(Style::Warn, "  NOT VERIFIED: anybody can write this; testimony verify --key PEM, or show --key PEM, checks the signature")
        }
        Signature::Holds => terminal.paint(Style::Good, "  the signature holds, by the key that was given"),
        Signature::None => {
            terminal.paint(Style::Bad, "  UNSIGNED: a run that died left this, and nobody signed it; testimony recover signs it, as incomplete")
        }
    };
    writeln!(out, "{signature}")?;
    match &source.evidence {
        Evidence::Read => Ok(()),
        Evidence::Absent => {
            writeln!(out, "  without the evidence: when and how each process accessed a file is not known")
        }
        Evidence::Foreign(why) => {
            let line = format!("  the evidence beside it was not used: {}", escape(why.as_bytes()));
            writeln!(out, "{}", terminal.paint(Style::Bad, &line))
        }
    }
}
