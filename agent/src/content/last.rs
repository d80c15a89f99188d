//! The last pass, when every process of the session has ended: each file is looked at once more, what is not hashed in its
//! final version is, and each row gets its class.
//!
//! First the hashers finish what they have. One statx per name says what is there. The watches are heard out, and a digest
//! whose version moved but whose watch is silent needs only a probe for writers. After a clock grain the rest is hashed.
//! Then the rows are judged, one after the other, as the caller takes them.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::evidence::measure::{Algorithm, Means};
use proto::evidence::{ContentDigest, Measure};

use super::clock::Timekeeper;
use super::hash::{Digest, Moment, Outcome, Probe, Target, Writers};
use super::judge::{End, Facts, Measured, Session, Verdict, absent, judge};
use super::look::{Found, Looker, Looks, There};
use super::pool::{Job, Pool, Report, Ticket};
use super::reason::Reason;
use super::silence::Silence;
use super::table::{NONE, Row, Version, flag};
use super::truncations::Truncations;
use super::{Content, Error};
use crate::glob::Glob;
use crate::probe::verity;

/// Inodes that a worker looks at in one job.
const LOOKS_PER_JOB: u32 = 512;

/// How long the last pass waits for a clock whose tick is late.
const YOUNG_MAX: Duration = Duration::from_secs(2);

/// What is known of one file id's content.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// For the log.
    pub digest: ContentDigest,
    /// Of a product: the path under which it was left, where that is not the path of its row.
    pub left_at: Option<Vec<u8>>,
}

/// The findings of a session, one for each file id.
#[derive(Debug)]
pub struct Findings {
    looker: Arc<Looker>,
    /// By inode.
    found: Vec<Found>,
    others: HashSet<u32>,
    moved: HashMap<u32, Vec<u8>>,
    /// Digests of the last pass, and those it found to hold, by inode; or why there is none.
    last: HashMap<u32, Result<Digest, Reason>>,
    /// Inodes whose moved ctime was proven harmless.
    proven: HashSet<u32>,
    silence: Silence,
    outside: HashSet<(u32, u64)>,
    clock: Timekeeper,
    truncations: Truncations,
    /// Truncated names that are of files that the session wrote.
    truncated: HashSet<Vec<u8>>,
    session: Session,
    products: Vec<Glob>,
    beyond: std::vec::IntoIter<u64>,
    next: usize,
}

/// The last pass at work.
struct Pass {
    pool: Pool,
    findings: Findings,
}

impl Content {
    /// The last pass. To be called when the session's processes have ended and everything seen of them was handed in;
    /// with `survivors` some have not, and nothing is `stable` then. Takes a clock grain longer where a file was changed
    /// within the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Panicked`] if a worker failed: nothing can be said of any content then.
    pub fn finish(mut self, survivors: bool) -> Result<Findings, Error> {
        let mut reports = Vec::new();
        self.pool.finish([], |report| reports.push(report))?;
        for report in reports {
            self.reported(report, 0);
        }
        let names_over_limit = self.moves.overflowed();
        let inodes = self.table.inodes.len();
        let looker = Looker { table: self.table, moves: self.moves, roots: self.roots };
        let findings = Findings {
            looker: Arc::new(looker),
            found: vec![Found::Unlooked; inodes],
            others: HashSet::new(),
            moved: HashMap::new(),
            last: HashMap::new(),
            proven: HashSet::new(),
            silence: self.silence,
            outside: self.outside,
            clock: self.clock,
            truncations: self.truncations,
            truncated: HashSet::new(),
            session: Session { survivors, clock_set: false, names_over_limit, lossy: self.lossy },
            products: self.products,
            beyond: self.beyond.into_iter(),
            next: 0,
        };
        let mut pass = Pass { pool: self.pool, findings };
        pass.look()?;
        pass.hash()?;
        pass.findings.name_truncated();
        pass.findings.session.clock_set = pass.findings.clock.was_set();
        Ok(pass.findings)
    }
}

impl Pass {
    /// Looks at every inode, many in one job; what a file system that does not answer kept from its answer, alone.
    fn look(&mut self) -> Result<(), Error> {
        let held: HashSet<u32> = self.pool.held().collect();
        let skip = self.findings.beside(&held);
        let ranges = self.findings.ranges(LOOKS_PER_JOB, &skip);
        self.look_at(ranges)?;
        let ranges = self.findings.ranges(1, &skip);
        self.look_at(ranges)?;
        let lost = self.findings.lost();
        let search = (!lost.is_empty()).then(|| Job::Search(Arc::clone(&self.findings.looker), lost));
        self.look_by(search)
    }

    fn look_at(&mut self, ranges: Vec<Range<u32>>) -> Result<(), Error> {
        let looker = Arc::clone(&self.findings.looker);
        self.look_by(ranges.into_iter().map(|range| Job::Look(Arc::clone(&looker), range)))
    }

    fn look_by(&mut self, jobs: impl IntoIterator<Item = Job>) -> Result<(), Error> {
        let findings = &mut self.findings;
        self.pool.finish(jobs, |report| {
            if let Report::Looked(looks) = report {
                findings.looked(looks);
            }
        })
    }

    /// Probes and hashes what needs it; what a probe does not prove is hashed in a second round.
    fn hash(&mut self) -> Result<(), Error> {
        self.findings.silence.listen();
        let jobs = self.plan(true);
        self.wait_for_grain(&jobs);
        let probed = self.run(jobs)?;
        self.findings.silence.listen();
        for (inode, answer) in probed {
            self.findings.probed(inode, answer);
        }
        let jobs = self.plan(false);
        self.wait_for_grain(&jobs);
        self.run(jobs).map(drop)
    }

    fn run(&mut self, jobs: Vec<Job>) -> Result<Vec<(u32, Option<Probe>)>, Error> {
        let mut probed = Vec::new();
        let last = &mut self.findings.last;
        self.pool.finish(jobs, |report| match report {
            Report::Hashed(ticket, outcome) => {
                last.insert(ticket.inode, settled(outcome));
            }
            Report::Probed(ticket, answer) => probed.push((ticket.inode, answer)),
            Report::Looked(_) | Report::Panicked(_) => {}
        })?;
        Ok(probed)
    }

    /// What is to be done for the inodes that are there and have no digest of their final version.
    fn plan(&self, probes: bool) -> Vec<Job> {
        self.findings.inodes().filter_map(|inode| self.job(inode, probes)).collect()
    }

    fn job(&self, inode: u32, probes: bool) -> Option<Job> {
        let findings = &self.findings;
        let Found::There(there) = findings.found[inode as usize] else { return None };
        if findings.last.contains_key(&inode) {
            return None;
        }
        let ticket = Ticket { inode, version: NONE };
        let known = findings.last_digest(inode, &there).is_some();
        // Also where the final version has its digest: it may prove that an older one still holds.
        let moved = !known || findings.looker.table.inodes[inode as usize].rehashed;
        if probes && moved && findings.may_be_silent(inode, &there) {
            return Some(Job::Probe(ticket, findings.target(inode, &there)?));
        }
        if known || !findings.needs_hash(inode, &there) {
            return None;
        }
        Some(Job::Hash(ticket, findings.target(inode, &there)?, Some(there.stamp), Moment::Ended))
    }

    /// A version that is still young is not hashed before its time belongs to no other change.
    fn wait_for_grain(&self, jobs: &[Job]) {
        let grain = self.findings.clock.grain;
        let remaining = || {
            let remaining = jobs.iter().filter_map(|job| match job {
                Job::Hash(_, _, Some(stamp), _) => {
                    Some(grain.remaining_ns(stamp)).filter(|remaining| *remaining <= grain.wait_ns_max(stamp))
                }
                _ => None,
            });
            remaining.max().unwrap_or(0)
        };
        let started = Instant::now();
        loop {
            let left = remaining();
            if left == 0 || started.elapsed() > YOUNG_MAX {
                break;
            }
            // The clock may tick later than it should.
            std::thread::sleep(Duration::from_nanos(left));
        }
    }
}

/// What a hash of the last pass came to.
fn settled(outcome: Outcome) -> Result<Digest, Reason> {
    match outcome {
        Outcome::Hashed(_, digest) => Ok(digest),
        Outcome::Changed | Outcome::Fresh => Err(Reason::Changed),
        Outcome::Writing(_) => Err(Reason::WriterOpen),
        Outcome::Failed(reason) => Err(reason),
    }
}

impl Findings {
    /// Inodes in the directories of those that a worker is held by: they would hold the next one.
    fn beside(&self, held: &HashSet<u32>) -> HashSet<u32> {
        let table = &self.looker.table;
        let directories =
            |inode: u32| table.names_of(inode).filter_map(|name| table.parts(name)).map(|(directory, ..)| directory);
        let closed: HashSet<u32> = held.iter().flat_map(|inode| directories(*inode)).collect();
        if closed.is_empty() {
            return HashSet::new();
        }
        self.inodes().filter(|inode| directories(*inode).any(|directory| closed.contains(&directory))).collect()
    }

    /// Runs of inodes that nobody has looked at, each at most as long as said.
    fn ranges(&self, most: u32, skip: &HashSet<u32>) -> Vec<Range<u32>> {
        let table = &self.looker.table;
        let open = |inode: &u32| {
            let wanted = table.inodes[*inode as usize].wanted && !skip.contains(inode);
            wanted && self.found[*inode as usize] == Found::Unlooked
        };
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for inode in self.inodes().filter(open) {
            match ranges.last_mut() {
                Some(last) if last.end == inode && last.len() < most as usize => last.end = inode + 1,
                _ => ranges.push(inode..inode + 1),
            }
        }
        ranges
    }

    /// Inodes that the session made and no name leads to, where names were moved.
    fn lost(&self) -> Vec<u32> {
        let table = &self.looker.table;
        if self.looker.moves.targets().next().is_none() {
            return Vec::new();
        }
        let gone = |inode: &u32| matches!(self.found[*inode as usize], Found::Gone | Found::Replaced);
        self.inodes()
            .filter(gone)
            .filter(|inode| table.inodes[*inode as usize].made() && !table.inodes[*inode as usize].buried)
            .collect()
    }

    fn inodes(&self) -> Range<u32> {
        0..u32::try_from(self.found.len()).unwrap_or(NONE)
    }

    fn looked(&mut self, looks: Looks) {
        for (inode, found) in looks.found {
            self.found[inode as usize] = found;
        }
        self.others.extend(looks.others);
        self.moved.extend(looks.moved);
    }

    /// The answer of a probe: a digest whose watch stayed silent holds for the final version too.
    fn probed(&mut self, inode: u32, answer: Option<Probe>) {
        let (Found::There(there), Some((seen, writers))) = (self.found[inode as usize], answer) else { return };
        if seen.stamp != there.stamp || writers != Writers::None || !self.may_be_silent(inode, &there) {
            return;
        }
        let latest = self.looker.table.inodes[inode as usize].latest;
        if let Some(digest) = self.looker.table.digest(latest) {
            self.last.insert(inode, Ok(digest.clone()));
            self.proven.insert(inode);
        }
    }

    /// Whether the inode's latest digest may hold though its version has moved.
    fn may_be_silent(&self, inode: u32, there: &There) -> bool {
        let latest = self.looker.table.inodes[inode as usize].latest;
        let Some(version) = self.looker.table.versions.get(latest as usize) else { return false };
        let Some(digest) = self.looker.table.digest(latest) else { return false };
        version.stamp.size == there.stamp.size && self.holds(digest, there)
    }

    fn holds(&self, digest: &Digest, there: &There) -> bool {
        let same = (digest.mtime_sec, digest.mtime_nsec) == (there.mtime_sec, there.mtime_nsec);
        same && self.silence.holds(digest.watch)
    }

    /// Whether nothing was written between a digest of an inode and its final version.
    fn was_silent(&self, inode: u32, digest: Option<&Digest>) -> bool {
        let (Found::There(there), Some(digest)) = (self.found[inode as usize], digest) else { return false };
        self.proven.contains(&inode) && self.holds(digest, &there)
    }

    /// Whether any row can make use of the final version's digest.
    fn needs_hash(&self, inode: u32, there: &There) -> bool {
        let table = &self.looker.table;
        table.inodes[inode as usize].written || table.find_version(inode, &there.stamp).is_some()
    }

    fn target(&self, inode: u32, there: &There) -> Option<Target> {
        let record = &self.looker.table.inodes[inode as usize];
        let path = self.left_path(inode, there)?;
        let (identity, generation) = (record.identity, record.generation);
        Some(Target { root: self.looker.roots.of(record.mnt_ns)?.clone(), path, identity, generation })
    }

    fn left_path(&self, inode: u32, there: &There) -> Option<Vec<u8>> {
        self.looker.table.path(there.name).or_else(|| self.moved.get(&inode).cloned())
    }

    /// The digest of the final version.
    fn last_digest(&self, inode: u32, there: &There) -> Option<&Digest> {
        if let Some(Ok(digest)) = self.last.get(&inode) {
            return Some(digest);
        }
        let version = self.looker.table.find_version(inode, &there.stamp)?;
        self.looker.table.digest(version)
    }

    fn finding(&self, at: u32, row: &Row) -> Finding {
        let Some(version) = self.looker.table.versions.get(row.version as usize) else {
            let reason = row.refused().unwrap_or(Reason::NoPath);
            return found(row.file_id, &absent(reason), None);
        };
        let inode = version.inode;
        let mut verdict = judge(&self.facts(at, row, inode));
        if !self.products.is_empty() {
            verdict.product = verdict.last && self.is_product(row, inode);
        }
        let left_at = if verdict.product { self.left_at(row, inode) } else { None };
        found(row.file_id, &verdict, left_at)
    }

    /// Whether the caller's patterns make a product of a file that the session made or wrote, by the name it has at the end.
    fn is_product(&self, row: &Row, inode: u32) -> bool {
        let table = &self.looker.table;
        let record = &table.inodes[inode as usize];
        let path = self.left_at(row, inode).or_else(|| table.path(row.name));
        (record.written || record.made())
            && path.is_some_and(|path| self.products.iter().any(|glob| glob.matches(&path)))
    }

    fn facts(&self, at: u32, row: &Row, inode: u32) -> Facts<'_> {
        let table = &self.looker.table;
        let (record, version) = (&table.inodes[inode as usize], &table.versions[row.version as usize]);
        let (end, last) = match self.found[inode as usize] {
            Found::Unlooked => (End::Unknown, None),
            Found::Gone => (End::Gone, None),
            Found::Replaced => (End::Replaced, None),
            Found::There(there) if there.stamp == version.stamp => (End::Same, self.last_digest(inode, &there)),
            Found::There(there) => (End::Other, self.last_digest(inode, &there)),
        };
        let own = table.digest(row.version);
        let failure = match self.last.get(&inode) {
            Some(Err(reason)) => Some(*reason),
            None if matches!(end, End::Same) && last.is_none() => Some(Reason::TimedOut),
            _ => None,
        };
        Facts {
            flags: row.flags,
            kind: record.kind(),
            made: record.made() && row.first_ns >= record.made_ns,
            shared_at_birth: record.shared_at_birth,
            outside: self.outside.contains(&(record.identity.dev, record.identity.ino)),
            end,
            own,
            last,
            unwritten: row.flags & flag::FRESH != 0
                && !version.opened_to_write
                && record.emptied_ns < row.first_ns
                && !self.truncated(row, version),
            silent: self.was_silent(inode, own),
            ima: table.ima.get(&at),
            failure,
            session: self.session,
        }
    }

    /// Whether the file may have been truncated since an access within the tick of its version.
    fn truncated(&self, row: &Row, version: &Version) -> bool {
        let table = &self.looker.table;
        let names: Vec<Vec<u8>> = table.names_of(version.inode).filter_map(|name| table.path(name)).collect();
        let version_ns = self.clock.changed_ns(&version.stamp);
        self.truncations.concern(row.first_ns, version_ns, &names, &self.truncated)
    }

    /// Sorts out which truncated names are of files that the session wrote.
    fn name_truncated(&mut self) {
        let names: HashSet<&[u8]> = self.truncations.names().collect();
        if names.is_empty() {
            return;
        }
        let table = &self.looker.table;
        let written = self.inodes().filter(|inode| table.inodes[*inode as usize].written);
        let paths = written.flat_map(|inode| table.names_of(inode)).filter_map(|name| table.path(name));
        self.truncated = paths.filter(|path| names.contains(&**path)).collect();
    }

    /// The path of a product, where its row's own no longer leads to it.
    fn left_at(&self, row: &Row, inode: u32) -> Option<Vec<u8>> {
        let Found::There(there) = self.found[inode as usize] else { return None };
        if row.name != NONE && (row.name == there.name || self.others.contains(&row.name)) {
            return None;
        }
        self.left_path(inode, &there)
    }
}

impl Iterator for Findings {
    type Item = Finding;

    fn next(&mut self) -> Option<Finding> {
        if let Some(row) = self.looker.table.rows.get(self.next) {
            let at = u32::try_from(self.next).unwrap_or(NONE);
            self.next += 1;
            return Some(self.finding(at, row));
        }
        let file_id = self.beyond.next()?;
        Some(found(file_id, &absent(Reason::FilesOverLimit), None))
    }
}

fn measure(measured: &Measured, sha256: Option<[u8; 32]>) -> Measure {
    let (by, algorithm, digest) = match measured {
        Measured::Verity(tree) => match **tree {
            verity::Measure::Sha256(digest) => (Means::FsVerity, Algorithm::Sha256, digest.to_vec()),
            verity::Measure::Sha512(digest) => (Means::FsVerity, Algorithm::Sha512, digest.to_vec()),
        },
        Measured::Ima => (Means::Ima, Algorithm::Sha256, sha256.map(Vec::from).unwrap_or_default()),
    };
    Measure { by: by.into(), algorithm: algorithm.into(), digest }
}

fn found(file_id: u64, verdict: &Verdict, left_at: Option<Vec<u8>>) -> Finding {
    let digest = ContentDigest {
        file_id,
        class: verdict.class.into(),
        sha256: verdict.sha256.map(Vec::from).unwrap_or_default(),
        reason: verdict.reason.map(|reason| reason.code().to_owned()).unwrap_or_default(),
        product: verdict.product,
        left_at: Vec::new(),
        measure: verdict.measure.as_ref().map(|measured| measure(measured, verdict.sha256)),
    };
    Finding { digest, left_at }
}
