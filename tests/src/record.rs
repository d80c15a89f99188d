//! What a session left, verified and read back: claims, frames, and the facts folded from them.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use attestation::dsse::PublicKey;
use attestation::evidence::{Limits, LogReader};
use attestation::hex;
use attestation::merkle::Hash;
use attestation::statement::Claims;
use attestation::trace::{Builder, Exec, FileVersion, Process, Trace};
use attestation::verify::{self, Objects, Options, Outcome};
use proto::evidence::{Class, Frame, event, frame::Body};

use crate::place::kernel;
use crate::run::left_out;
use crate::shown;

/// Kernels of the matrix whose tracepoints can be preempted.
const PREEMPTS: [&str; 1] = ["7.3"];

/// A verified statement with its log.
#[derive(Debug)]
pub struct Record {
    /// What the statement says of itself.
    pub claims: Claims,
    /// The facts, folded anew from the log.
    pub trace: Trace,
    /// Every frame of the log, in order.
    pub frames: Vec<Frame>,
}

struct Folder(PathBuf);

impl Objects for Folder {
    fn open(&self, sha256: &Hash) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(BufReader::new(File::open(self.0.join(hex::encode(sha256)))?)))
    }
}

impl Record {
    /// Verifies a statement against its key with its evidence; any check that is refused fails the test, except that an
    /// incomplete statement is accepted as such.
    #[must_use]
    pub fn read(statement: &Path, evidence: &Path, key: &Path) -> Self {
        let pem = fs::read(key).unwrap_or_else(|error| panic!("{}: {error}", key.display()));
        let key = PublicKey::from_pem(&pem).unwrap_or_else(|error| panic!("{}: {error}", key.display()));
        let objects = Folder(evidence.to_owned());
        let envelope = File::open(statement).unwrap_or_else(|error| panic!("{}: {error}", statement.display()));
        let limits = Limits::default();
        let keys = [key];
        let options = Options { evidence: Some(&objects), accept_incomplete: true, limits, ..Options::by_keys(&keys) };
        let verdict = verify::verify(BufReader::new(envelope), &options);
        for check in &verdict.checks {
            assert_ne!(check.outcome, Outcome::Refused, "{}: {}", check.name, check.says);
        }
        assert!(verdict.recomputed, "the log was not read");
        let claims = *verdict.claims.unwrap_or_else(|| panic!("no claims were read"));
        let (frames, trace) = read_log(&objects, &claims);
        assert_eq!(trace.complete(), verdict.complete);
        Self { claims, trace, frames }
    }

    /// Fails with the gaps, if there are any.
    pub fn must_be_complete(&self) {
        if left_out().is_some() {
            // What the statement says of it is not what the test is about.
            return self.must_be_complete_but_for(&[]);
        }
        let gaps: Vec<String> =
            self.trace.incompleteness().map(|gap| format!("{}: {}", gap.code, gap.detail)).collect();
        assert!(gaps.is_empty() && self.claims.complete, "the statement is incomplete: {}", gaps.join("; "));
    }

    /// As [`Self::must_be_complete`], of a session on the weakest hooks. Where tracepoints can be preempted, another task
    /// may come to the end of its system call while the program of the first is under way on the same CPU, and is
    /// skipped. The kernel counts it, and the statement says so; nothing else is accepted.
    pub fn must_be_complete_on_the_weakest(&self) {
        self.must_be_complete_but_for(&[]);
    }

    /// As [`Self::must_be_complete_on_the_weakest`], of a session that is known to do what ends completeness with these codes.
    pub fn must_be_complete_but_for(&self, codes: &[&str]) {
        let missed =
            PREEMPTS.contains(&kernel().as_str()) && self.trace.gaps().iter().any(|gap| gap.code == "MISSED_RUNS");
        // The known act of the agent's own may be what was skipped.
        let missed: &[&str] = if missed { &["MISSED_RUNS", "HOOK_SILENT"] } else { &[] };
        let without: &[&str] = if left_out().is_some() { &["LEFT_OUT", "MISSING_OBSERVATION"] } else { &[] };
        let known = |code: &str| codes.iter().chain(missed).chain(without).any(|known| *known == code);
        let others = self.trace.incompleteness().filter(|gap| !known(&gap.code));
        let others: Vec<String> = others.map(|gap| format!("{}: {}", gap.code, gap.detail)).collect();
        assert!(others.is_empty(), "the statement is incomplete: {}", others.join("; "));
    }

    /// Fails unless the statement is incomplete, with this code among the reasons.
    pub fn must_lack(&self, code: &str) {
        let codes: Vec<&str> = self.trace.incompleteness().map(|gap| gap.code.as_ref()).collect();
        assert!(!self.claims.complete, "the statement is complete in spite of {code}");
        assert!(codes.contains(&code), "{code} is not among {codes:?}");
        shown::note(self.path(), "stated", code);
    }

    /// Fails unless the statement says this code, whether or not it ends completeness.
    #[track_caller]
    pub fn must_say(&self, code: &str) {
        assert!(self.says(code), "{code} is not among {:?}", self.trace.blind_spots());
        shown::note(self.path(), "stated", code);
    }

    /// Whether the statement has this code among its blind spots, whatever it ends.
    #[must_use]
    pub fn says(&self, code: &str) -> bool {
        self.trace.blind_spots().iter().any(|spot| spot.code == code)
    }

    /// Fails unless every version seen by this path has no digest to rely on, for one of these reasons.
    #[track_caller]
    pub fn must_not_answer_for(&self, path: &Path, reasons: &[&str]) {
        let files = self.files(path);
        assert!(!files.is_empty(), "{} is not in the trace", path.display());
        for file in files {
            assert!(!matches!(file.class, Class::Stable | Class::Kernel), "{file:?}");
            assert!(reasons.contains(&file.reason), "{file:?}");
        }
        shown::note(
            self.path(),
            "stated",
            "of the file, that its digest is not to be relied on, or that there is none",
        );
    }

    /// Notes that the way was seen, by what observation and how it is told. The test has asserted it, and fails without that
    /// observation.
    pub fn sees(&self, observation: &str, told: &str) {
        shown::note(self.path(), "seen", &format!("{observation} {told}"));
    }

    fn path(&self) -> shown::Path {
        let strong = self.claims.hooks.iter().any(|hook| hook.observation == "open" && hook.level == "object");
        if strong { shown::Path::Strong } else { shown::Path::Weak }
    }

    /// Fails unless every hook's numbers add up.
    pub fn must_balance(&self) {
        for hook in &self.claims.hooks {
            let sum = hook.delivered + hook.coalesced + hook.lost;
            assert_eq!(hook.attempted, sum, "the numbers of {} do not add up", hook.observation);
        }
    }

    /// The row of a hook, by what it observes: attempted, delivered, coalesced, lost. The agent's own acts are left out.
    #[must_use]
    pub fn numbers(&self, observation: &str) -> [u64; 4] {
        let rows = self.claims.hooks.iter().filter(|hook| hook.observation == observation);
        rows.fold([0; 4], |sum, hook| {
            let told = self.canaries(hook.hook);
            // Of those that were lost only the acts are known.
            let attempted = hook.attempted - told.max(self.performed(hook.hook));
            let row = [attempted, hook.delivered - told, hook.coalesced, hook.lost];
            std::array::from_fn(|at| sum[at] + row[at])
        })
    }

    /// How many acts the agent performed itself for a hook.
    fn performed(&self, hook: u32) -> u64 {
        let rounds = self.frames.iter().filter_map(|frame| match &frame.body {
            Some(Body::Canary(round)) => Some(round),
            _ => None,
        });
        let acts = rounds.flat_map(|round| &round.acts).filter(|act| act.hook == hook);
        acts.map(|act| u64::from(act.count)).sum()
    }

    /// Events of the agent's own acts that a hook told. None of them is folded.
    fn canaries(&self, hook: u32) -> u64 {
        let told = self.frames.iter().filter(|frame| match &frame.body {
            Some(Body::Event(event)) => event.hook == hook && matches!(event.body, Some(event::Body::Canary(_))),
            _ => false,
        });
        told.count() as u64
    }

    /// Whether acts of this kind are observed before they happen, not at the end of the system call.
    #[must_use]
    pub fn sees_before(&self, observation: &str) -> bool {
        let row = self.claims.hooks.iter().find(|hook| hook.observation == observation);
        let row = row.unwrap_or_else(|| panic!("nothing observes {observation}"));
        row.level == "object"
    }

    /// The session's root process.
    #[must_use]
    pub fn root(&self) -> &Process {
        let pid = self.trace.opened().root_pid;
        self.process(pid).unwrap_or_else(|| panic!("the root process {pid} is not in the trace"))
    }

    /// The process that had this pid, the first of them.
    #[must_use]
    pub fn process(&self, pid: u32) -> Option<&Process> {
        self.trace.processes().iter().find(|process| process.pid == pid)
    }

    /// Children of a process, in the order of their beginning.
    #[must_use]
    pub fn children(&self, parent: &Process) -> Vec<&Process> {
        let processes = self.trace.processes();
        let is_child = |process: &&Process| {
            process
                .parent
                .and_then(|index| processes.get(index as usize))
                .is_some_and(|found| (found.pid, found.start_ns) == (parent.pid, parent.start_ns))
        };
        processes.iter().filter(is_child).collect()
    }

    /// Every program that ran, with the process that ran it.
    pub fn execs(&self) -> impl Iterator<Item = (&Process, Exec<'_>)> {
        let each = |process| self.trace.execs(process).map(move |exec| (process, exec));
        self.trace.processes().iter().flat_map(each)
    }

    /// The last program that the root ran: the command itself.
    #[must_use]
    pub fn command(&self) -> Exec<'_> {
        self.trace.execs(self.root()).last().unwrap_or_else(|| panic!("the command never ran"))
    }

    /// File versions seen by this path.
    #[must_use]
    pub fn files(&self, path: &Path) -> Vec<FileVersion<'_>> {
        self.trace.files().filter(|file| file.path == path.as_os_str().as_encoded_bytes()).collect()
    }

    /// How often a path was opened. A version is told anew after a rename anywhere on the host, and so has several rows.
    #[must_use]
    pub fn accesses(&self, path: &Path) -> u64 {
        self.files(path).iter().map(|file| file.accesses).sum()
    }

    /// The one version seen by this path.
    #[must_use]
    pub fn file(&self, path: &Path) -> FileVersion<'_> {
        match self.files(path).as_slice() {
            [file] => *file,
            found => panic!("{} versions of {} instead of one: {found:?}", found.len(), path.display()),
        }
    }
}

fn read_log(objects: &Folder, claims: &Claims) -> (Vec<Frame>, Trace) {
    let mut log = LogReader::new(Limits::default());
    let mut frames = Vec::new();
    for summary in &claims.log.segments {
        let input = objects.open(&summary.sha256).unwrap_or_else(|error| panic!("a segment: {error}"));
        let mut segment = log.segment(input).unwrap_or_else(|error| panic!("a segment: {error}"));
        while let Some((_, frame)) = segment.next_frame().unwrap_or_else(|error| panic!("a frame: {error}")) {
            frames.push(frame);
        }
    }
    let mut builder = Builder::default();
    for frame in &frames {
        builder.push(frame).unwrap_or_else(|error| panic!("a frame that contradicts another: {error}"));
    }
    (frames, builder.finish().unwrap_or_else(|error| panic!("no trace: {error}")))
}
