//! What is counted, for Prometheus (docs/metrics.md). Everything here has a bounded number of series: codes are the project's own, and nothing
//! is named for who sends.

use std::{
    path::Path,
    sync::{Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use attestation::codes;
use metrics::labels::{CLASSES, Class, Code, Verdict};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::{clock, index, store};

/// Who is told alerts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sink {
    sink: &'static str,
}

/// Status of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: u16,
}

type Gauges = Gauge<f64, AtomicU64>;

/// All of it.
pub(crate) struct Counts {
    registry: Registry,
    statements: Family<Verdict, Counter>,
    repeated: Counter,
    refusals: Family<Code, Counter>,
    integrity: Family<Code, Counter>,
    verify: Histogram,
    lost: Counter,
    coalesced: Counter,
    files: Family<Class, Counter>,
    connections: Counter,
    alerts: Family<Code, Counter>,
    told: Family<Sink, Counter>,
    failures: Family<Sink, Counter>,
    dropped: Family<Sink, Counter>,
    answers: Family<Status, Counter>,
    coverage: Gauges,
    chains: Gauge,
    chains_with_gaps: Gauge,
    chains_forked: Gauge,
    hosts: Gauge,
    hosts_silent: Gauge,
    store_bytes: Gauge,
    index_bytes: Gauge,
    kept: Gauge,
    indexed: Gauge,
    /// Who asks in the same moment is given the same.
    asked: Mutex<()>,
}

/// Refusals that say that something was changed, cut or replaced, and not only that it cannot be believed.
const INTEGRITY: &[&str] = &[
    codes::SIGNATURE_INVALID,
    codes::SIGNATURE_MISSING,
    codes::TIMESTAMP_REFUSED,
    codes::RECEIPT_REFUSED,
    codes::QUOTE_REFUSED,
    codes::SEAL_REFUSED,
    codes::BOOT_REFUSED,
    codes::BUNDLE_REFUSED,
    codes::SEGMENT_CHANGED,
    codes::LOG_MALFORMED,
    codes::LOG_ROOT,
    codes::NUMBERS_DIFFER,
    codes::TRACE_DIFFERS,
    codes::CLAIM_CONTRADICTED,
    codes::CHAIN_FORKED,
];

impl Counts {
    /// None of it has happened.
    pub(crate) fn new() -> Self {
        let mut this = Self {
            registry: Registry::with_prefix("testimony_collector"),
            statements: Family::default(),
            repeated: Counter::default(),
            refusals: Family::default(),
            integrity: Family::default(),
            verify: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            lost: Counter::default(),
            coalesced: Counter::default(),
            files: Family::default(),
            connections: Counter::default(),
            alerts: Family::default(),
            told: Family::default(),
            failures: Family::default(),
            dropped: Family::default(),
            answers: Family::default(),
            coverage: Gauge::default(),
            chains: Gauge::default(),
            chains_with_gaps: Gauge::default(),
            chains_forked: Gauge::default(),
            hosts: Gauge::default(),
            hosts_silent: Gauge::default(),
            store_bytes: Gauge::default(),
            index_bytes: Gauge::default(),
            kept: Gauge::default(),
            indexed: Gauge::default(),
            asked: Mutex::default(),
        };
        this.register_statements();
        this.register_alerts();
        this.register_state();
        this
    }

    fn register_statements(&mut self) {
        let all = &mut self.registry;
        all.register(
            "statements",
            "Statements that were kept and are in the index, by verdict",
            self.statements.clone(),
        );
        all.register("repeated", "Statements that were sent again and were there already", self.repeated.clone());
        all.register("refusals", "Statements that were refused, by code", self.refusals.clone());
        all.register(
            "integrity_failures",
            "Refusals and forks that say that something was changed, cut or replaced, by code",
            self.integrity.clone(),
        );
        all.register_with_unit("verify", "Time to verify one statement", Unit::Seconds, self.verify.clone());
        all.register(
            "events_lost",
            "Events that sessions lost, as statements that were kept say it",
            self.lost.clone(),
        );
        all.register(
            "events_coalesced",
            "Repeats that sessions counted and did not send, as statements that were kept say it",
            self.coalesced.clone(),
        );
        all.register("files", "Files of statements that were kept, by the class of their digests", self.files.clone());
        all.register("connections_refused", "Connections that were not taken", self.connections.clone());
    }

    fn register_alerts(&mut self) {
        let all = &mut self.registry;
        all.register("alerts", "Alerts that were made, by code", self.alerts.clone());
        all.register("alerts_told", "Alerts that were told, by whom they are told to", self.told.clone());
        all.register("alert_failures", "Attempts to tell alerts that failed", self.failures.clone());
        all.register("alerts_dropped", "Alerts that were dropped since nobody could be told", self.dropped.clone());
        all.register("api_answers", "Answers of the API, by status", self.answers.clone());
    }

    fn register_state(&mut self) {
        let all = &mut self.registry;
        all.register(
            "provenance_coverage_ratio",
            "Share of complete ones among the newest statements, 10,000 at most",
            self.coverage.clone(),
        );
        all.register("chains", "Chains of statements", self.chains.clone());
        all.register("chains_with_gaps", "Chains with numbers that nobody sent", self.chains_with_gaps.clone());
        all.register("chains_forked", "Chains that say two things", self.chains_forked.clone());
        all.register("hosts", "Hosts that statements are of", self.hosts.clone());
        all.register("hosts_silent", "Hosts that are silent (alerts.silent_after)", self.hosts_silent.clone());
        all.register_with_unit("store", "Size of the store's database", Unit::Bytes, self.store_bytes.clone());
        all.register_with_unit("index", "Size of the index", Unit::Bytes, self.index_bytes.clone());
        all.register("store_statements", "Statements in the store", self.kept.clone());
        all.register("index_statements", "Statements in the index", self.indexed.clone());
    }

    pub(crate) fn verified(&self, took: Duration) {
        self.verify.observe(took.as_secs_f64());
    }

    pub(crate) fn repeated(&self) {
        self.repeated.inc();
    }

    pub(crate) fn refused(&self, code: &str) {
        let code = Code { code: known(code) };
        self.refusals.get_or_create(&code).inc();
        if INTEGRITY.contains(&code.code) {
            self.integrity.get_or_create(&code).inc();
        }
    }

    pub(crate) fn connection_refused(&self) {
        self.connections.inc();
    }

    pub(crate) fn indexed(&self, added: &index::Added) {
        self.statements.get_or_create(&Verdict::of(added.kept.complete)).inc();
        self.lost.inc_by(added.facts.lost);
        self.coalesced.inc_by(added.facts.coalesced);
        for (class, count) in CLASSES.into_iter().zip(added.facts.classes) {
            self.files.get_or_create(&Class { class }).inc_by(count);
        }
        let forked = |broken: &&index::Broken| matches!(broken, index::Broken::Fork(_));
        for _ in added.broken.iter().filter(forked) {
            self.integrity.get_or_create(&Code { code: codes::CHAIN_FORKED }).inc();
        }
    }

    pub(crate) fn alert(&self, code: &str) {
        self.alerts.get_or_create(&Code { code: known(code) }).inc();
    }

    pub(crate) fn alert_told(&self, sink: &'static str, dropped: u64) {
        self.told.get_or_create(&Sink { sink }).inc();
        self.dropped.get_or_create(&Sink { sink }).inc_by(dropped);
    }

    pub(crate) fn alert_failures(&self, sink: &'static str) {
        self.failures.get_or_create(&Sink { sink }).inc();
    }

    pub(crate) fn answered(&self, status: u16) {
        self.answers.get_or_create(&Status { status }).inc();
    }

    /// The page, with what is counted of the store as it is now; without that where it cannot be asked, which is said.
    pub(crate) fn page(&self, folder: &Path, silent_after_s: Option<u64>) -> String {
        let _alone = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.look(folder, silent_after_s) {
            crate::quiet::say(crate::quiet::Kind::Fault, || format!("metrics of the store: {error:#}"));
        }
        metrics::page(&self.registry)
    }

    fn look(&self, folder: &Path, silent_after_s: Option<u64>) -> anyhow::Result<()> {
        let silent = silent_after_s.map(|after| clock::now().saturating_sub(after));
        let totals = index::Reader::open(folder)?.totals(silent)?;
        let store = store::Reader::open(folder)?;
        let (kept, bytes) = (store.newest()?, store.bytes()?);
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        #[expect(clippy::cast_precision_loss, reason = "10,000 at most")]
        let share = |part: u64, of: u64| if of == 0 { 0.0 } else { part as f64 / of as f64 };
        self.coverage.set(share(totals.recent_complete, totals.recent));
        self.chains.set(number(totals.chains));
        self.chains_with_gaps.set(number(totals.chains_with_gaps));
        self.chains_forked.set(number(totals.chains_forked));
        self.hosts.set(number(totals.hosts));
        self.hosts_silent.set(number(totals.hosts_silent));
        self.store_bytes.set(number(bytes));
        self.index_bytes.set(number(totals.bytes));
        self.kept.set(number(kept));
        self.indexed.set(number(totals.indexed));
        Ok(())
    }
}

/// As the project knows it; a code of a newer node's is another.
fn known(code: &str) -> &'static str {
    codes::find(code).map_or("OTHER", |code| code.name)
}
