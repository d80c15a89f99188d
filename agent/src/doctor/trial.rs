//! A session of the doctor's own: traced, signed and verified as a user's would be, and every hook held against the acts.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use attestation::codes;

use super::{Check, Status};
use crate::{
    canary::{ACTS, Act, INPUT, MOVED},
    show::{self, Trace},
    sign,
};

/// How long the trial may take.
const TIME_MAX: Duration = Duration::from_secs(60);
/// Between the making of the input and the session: longer than any clock's grain.
const SETTLE: Duration = Duration::from_millis(50);
/// Bytes that the trial may say.
const SAID_BYTES_MAX: usize = 64 << 10;

/// A directory of the trial's own, removed with it.
struct Bench {
    path: PathBuf,
    /// Why it is not in the working directory, where it is not.
    elsewhere: Option<io::Error>,
}

impl Bench {
    fn make() -> io::Result<Self> {
        let name = format!(".testimony-doctor-{}", std::process::id());
        let here = std::env::current_dir()?.join(&name);
        let make = |path: &Path| DirBuilder::new().mode(0o700).create(path);
        match make(&here) {
            Ok(()) => Ok(Self { path: here, elsewhere: None }),
            Err(error) => {
                let path = std::env::temp_dir().join(name);
                make(&path)?;
                Ok(Self { path, elsewhere: Some(error) })
            }
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What came of the trial.
struct Trial {
    trace: Trace,
    /// Acts that the host refused, and why.
    refused: HashMap<String, String>,
}

/// Runs the trial and judges it.
pub(super) fn checks() -> Vec<Check> {
    let bench = match Bench::make() {
        Ok(bench) => bench,
        Err(error) => return vec![Check::new("trial", Status::Fail, format!("no directory to work in: {error}"))],
    };
    let trial = match trace(&bench.path) {
        Ok(trial) => trial,
        Err(why) => return vec![Check::new("trial", Status::Fail, why)],
    };
    let mut checks = hooks(&trial);
    checks.extend(stronger(&trial.trace));
    checks.push(facts(&trial.trace, &bench.path));
    checks.push(digests(&trial.trace, &bench));
    checks.push(verdict(&trial.trace));
    checks
}

/// Traces the canary as `run` traces a command, and reads its statement as a verifier does.
fn trace(bench: &Path) -> Result<Trial, String> {
    let said = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    fs::write(bench.join(INPUT), "canary\n").map_err(|error| said("the input cannot be made", &error))?;
    std::thread::sleep(SETTLE);
    let key = bench.join("key");
    sign::make(&key).map_err(|error| said("no key can be made", &error))?;
    let (out, err) = (bench.join("out"), bench.join("err"));
    let status = run(bench, &key, &out, &err).map_err(|error| said("the trial cannot be started", &error))?;
    if status != Some(0) {
        let why = head(&err).lines().next().unwrap_or("it said nothing").trim_start_matches("testimony: ").to_owned();
        return Err(status.map_or_else(|| "the trial took too long and was ended".to_owned(), |_| why));
    }
    let statement = bench.join("trial.intoto.jsonl");
    let trace = show::read(&statement, &[sign::public_path(&key)])
        .map_err(|error| said("the trial's statement", &format!("{:#}", anyhow::Error::from(error))))?;
    let refused = head(&out)
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(act, why)| (act.to_owned(), why.to_owned()))
        .collect();
    Ok(Trial { trace, refused })
}

/// `testimony run` on the canary; none if it had to be ended.
fn run(bench: &Path, key: &Path, out: &Path, err: &Path) -> io::Result<Option<i32>> {
    let this = std::env::current_exe()?;
    let mut command = Command::new(&this);
    command.arg("run").arg("--as-root").arg("--key").arg(key).arg("-o").arg(bench.join("trial"));
    command.arg("--").arg(&this).arg("canary").arg(bench);
    let mut child = command.stdin(Stdio::null()).stdout(File::create(out)?).stderr(File::create(err)?).spawn()?;
    let limit = Instant::now() + TIME_MAX;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.code().unwrap_or(-1)));
        }
        if Instant::now() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn head(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(bytes.get(..bytes.len().min(SAID_BYTES_MAX)).unwrap_or_default()).into_owned()
}

/// A line for each observation: its hook, and whether that saw what was done.
fn hooks(trial: &Trial) -> Vec<Check> {
    let check = |hook: &show::Hook| {
        let acts: Vec<&str> = acts_for(hook).collect();
        let refused = acts.iter().find_map(|act| trial.refused.get(*act));
        let how = format!("{} ({})", hook.method, hook.level);
        let refusals: Vec<&str> = hook.refused.iter().map(|refused| refusal(refused).0).collect();
        let weaker = if refusals.is_empty() { String::new() } else { format!(" (refused: {})", refusals.join(", ")) };
        let (status, seen) = match (hook.delivered, acts.is_empty(), refused) {
            (1.., ..) if hook.misses.is_none() => {
                (Status::Fail, "seen, but the kernel does not say how often it was skipped".to_owned())
            }
            (1.., ..) => (Status::Ok, "seen".to_owned()),
            (0, true, _) => (Status::Ok, "in place, nothing to see".to_owned()),
            (0, false, Some(why)) => (Status::Warn, format!("not tried: {why}")),
            (0, false, None) => (Status::Fail, "NOT SEEN, although it was done".to_owned()),
        };
        let check = Check::new(&hook.observation, status, format!("{how}: {seen}{weaker}"));
        if status == Status::Fail {
            check.action("find out who muted it; a newer kernel may grant a better hook")
        } else {
            check
        }
    };
    trial.trace.coverage().iter().map(check).collect()
}

/// A refused method, and the kernel's answer.
fn refusal(text: &str) -> (&str, &str) {
    text.split_once(": ").unwrap_or((text, "refused"))
}

/// Why the kernel refused stronger hooks, once for each kind of them.
fn stronger(trace: &Trace) -> Option<Check> {
    let refused = trace.coverage().iter().flat_map(|hook| &hook.refused).map(|text| refusal(text));
    let kinds: BTreeMap<&str, &str> =
        refused.map(|(method, why)| (method.split('/').next().unwrap_or(method), why)).collect();
    if kinds.is_empty() {
        return None;
    }
    let says: Vec<String> = kinds.iter().map(|(kind, why)| format!("{kind}: {why}")).collect();
    let check = Check::new("stronger hooks", Status::Warn, format!("refused by the kernel: {}", says.join("; ")));
    Some(check.action("boot a kernel with CONFIG_BPF_LSM and lsm=…,bpf, where the level `object` is wanted"))
}

/// The acts that a hook is to see.
fn acts_for(hook: &show::Hook) -> impl Iterator<Item = &'static str> {
    let made_for = |act: &&Act| act.observations.iter().any(|(name, _)| **name == *hook.observation);
    ACTS.iter().filter(made_for).map(|act| act.name)
}

/// A count alone could be of something else: the very acts must stand in the trace.
fn facts(trace: &Trace, bench: &Path) -> Check {
    let path = |name: &str| bench.join(name).into_os_string().into_encoded_bytes();
    let [made, moved] = MOVED.map(path);
    let facts = [
        ("the program", trace.processes.iter().any(|process| process.ran(b"--version"))),
        ("the file read", trace.files.iter().any(|file| file.path.bytes() == path(INPUT))),
        (
            "the file moved",
            trace.names().iter().any(|change| {
                change.path.bytes() == made && change.target.as_ref().is_some_and(|target| target.bytes() == moved)
            }),
        ),
        ("the peer", trace.contacts().iter().any(|contact| contact.ip.as_deref() == Some("127.0.0.1"))),
    ];
    let missing: Vec<&str> = facts.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        Check::new(
            "known acts",
            Status::Ok,
            "the program, the files, the move and the peer stand in the trace as they were",
        )
    } else {
        Check::new("known acts", Status::Fail, format!("not in the trace as it was: {}", missing.join(", ")))
    }
}

/// What a digest in the working directory is worth.
fn digests(trace: &Trace, bench: &Bench) -> Check {
    let filesystem = filesystem(&bench.path);
    if let Some(why) = &bench.elsewhere {
        let says = format!("nothing can be made in the working directory ({why}), nothing is known of digests there");
        return Check::new("digests", Status::Warn, says).action("work elsewhere, or name the outputs with run -o");
    }
    let place = format!("the working directory, on {filesystem}");
    let input = bench.path.join(INPUT).into_os_string().into_encoded_bytes();
    let file = trace.files.iter().find(|file| file.path.bytes() == input);
    match file {
        Some(file) if ["stable", "kernel"].contains(&&*file.class) => {
            Check::new("digests", Status::Ok, format!("{place}: {}", file.class))
        }
        Some(file) => {
            let reason = file.reason.as_deref().unwrap_or_default();
            let check = Check::new("digests", Status::Warn, format!("{place}: only {} ({reason})", file.class));
            match codes::find(reason) {
                Some(code) => check.action(format!("{} {}", code.meaning, code.action)),
                None => check.action("work on ext4, xfs or btrfs"),
            }
        }
        None => Check::new("digests", Status::Warn, format!("{place}: nothing is known")),
    }
}

fn filesystem(path: &Path) -> String {
    let Ok(statfs) = rustix::fs::statfs(path) else { return "an unknown file system".to_owned() };
    let name = match statfs.f_type {
        0xEF53 => "ext2/3/4",
        0x5846_5342 => "xfs",
        0x9123_683E => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794C_7630 => "overlay",
        0x6969 => "nfs",
        0x6573_5546 => "fuse",
        0x0102_1997 => "9p",
        other => return format!("a file system of magic {other:#x}"),
    };
    name.to_owned()
}

/// Whether the trial ended complete.
fn verdict(trace: &Trace) -> Check {
    let level = trace.level();
    if trace.complete() {
        return Check::new(
            "trial",
            Status::Ok,
            format!("a session was traced, signed and verified: COMPLETE at level {level}"),
        );
    }
    let findings: Vec<String> = trace
        .findings()
        .filter(|finding| finding.ends_completeness)
        .map(|finding| format!("{} {}", finding.code, finding.detail).trim_end().to_owned())
        .collect();
    Check::new(
        "trial",
        Status::Fail,
        format!("a session was traced, signed and verified: INCOMPLETE: {}", findings.join(", ")),
    )
    .action("testimony explain CODE says what to do about each")
}
