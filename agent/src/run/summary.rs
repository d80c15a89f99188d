//! What a run says at its end, to a person or as JSON.

use std::time::{Duration, Instant};

use attestation::{escape::escape, trace::Trace};

use node_api::CloseSessionResponse;

use super::output::Signed;
use crate::probe::Cost;

/// Findings that are printed; the rest is counted.
const FINDINGS_MAX: usize = 8;

/// Figures of a trace.
pub(crate) struct Summary {
    processes: usize,
    files: usize,
    contacts: usize,
    classes: [u64; 5],
    complete: bool,
    lossless: bool,
    level: String,
    findings: Vec<(String, String)>,
}

impl Summary {
    /// As the node's agent says them.
    pub(super) fn said(closed: &CloseSessionResponse) -> Self {
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let mut classes = [0; 5];
        classes.iter_mut().zip(&closed.classes).for_each(|(class, said)| *class = *said);
        Self {
            processes: count(closed.processes),
            files: count(closed.files),
            contacts: count(closed.contacts),
            classes,
            complete: closed.complete,
            lossless: closed.lossless,
            level: closed.coverage_level.clone(),
            findings: closed.gaps.iter().map(|gap| (gap.code.clone(), gap.detail.clone())).collect(),
        }
    }

    pub(super) fn of(trace: &Trace) -> Self {
        Self {
            processes: trace.processes().len(),
            files: trace.files().count(),
            contacts: trace.contacts().count(),
            classes: trace.class_counts(),
            complete: trace.complete(),
            lossless: trace.lossless(),
            level: trace.level().as_str().to_owned(),
            findings: trace
                .incompleteness()
                .map(|finding| (finding.code.to_string(), finding.detail.clone()))
                .collect(),
        }
    }
}

/// Says what went wrong without ending the run.
pub(crate) fn warn(says: &str) {
    eprintln!("testimony: {}", escape(says.as_bytes()));
}

impl Signed {
    /// Says the result on standard error.
    pub(super) fn report(&self, json: bool, status: u8) {
        if json {
            eprintln!("{}", self.json(status));
        } else {
            self.text();
        }
    }

    fn json(&self, status: u8) -> serde_json::Value {
        let summary = &self.summary;
        serde_json::json!({
            "commandStatus": status,
            "statement": self.statement,
            "evidence": self.evidence,
            "quote": self.quote,
            "bundle": self.bundle,
            "payloadSha256": hex(&self.payload_sha256),
            "complete": summary.complete,
            "lossless": summary.lossless,
            "coverageLevel": summary.level,
            "processes": summary.processes,
            "files": summary.files,
            "contacts": summary.contacts,
            "gaps": summary.findings.iter().map(|(code, _)| code).collect::<Vec<_>>(),
        })
    }

    fn text(&self) {
        let summary = &self.summary;
        let [kernel, stable, ephemeral, raced, absent] = summary.classes;
        eprintln!(
            "testimony: {} processes, {} file versions ({} stable, {ephemeral} ephemeral, {raced} raced, {absent} absent), {} network peers",
            summary.processes,
            summary.files,
            kernel + stable,
            summary.contacts,
        );
        for (code, detail) in summary.findings.iter().take(FINDINGS_MAX) {
            eprintln!("testimony: {code}: {detail}");
        }
        if summary.findings.len() > FINDINGS_MAX {
            eprintln!("testimony: and {} more: testimony show --gaps", summary.findings.len() - FINDINGS_MAX);
        }
        for key in &self.new_keys {
            let key = key.display();
            eprintln!("testimony: a signing key was made: {key}, public half {key}.pub");
        }
        if let Some(quote) = &self.quote {
            eprintln!("testimony: {} quotes the TPM", quote.display());
        }
        let verdict = if summary.complete { "COMPLETE" } else { "INCOMPLETE" };
        eprintln!("testimony: {} signed, {verdict} at level {}", self.statement.display(), summary.level);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where the time went.
pub(super) struct Timings {
    wanted: bool,
    last: Instant,
    laps: Vec<(&'static str, Duration)>,
}

impl Timings {
    pub(super) fn start(wanted: bool) -> Self {
        Self { wanted, last: Instant::now(), laps: Vec::new() }
    }

    pub(super) fn lap(&mut self, name: &'static str) {
        let now = Instant::now();
        self.laps.push((name, now - self.last));
        self.last = now;
    }

    pub(super) fn report(&self) {
        if self.wanted {
            for (name, time) in &self.laps {
                eprintln!("testimony: {name}: {:.1} ms", time.as_secs_f64() * 1e3);
            }
        }
    }
}

/// A line for each program: `program NAME: N instructions, N verified, N runs, N ns`, with `-` for what the kernel does not tell.
pub(super) fn costs(costs: &[Cost]) {
    for Cost { program, translated, verified, runs, ns } in costs {
        let known = |number: &Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let (translated, verified) = (known(translated), known(verified));
        eprintln!("testimony: program {program}: {translated} instructions, {verified} verified, {runs} runs, {ns} ns");
    }
}
