//! What the agent counts, for Prometheus (docs/metrics.md). Everything here has a bounded number of series: codes are the project's own,
//! and nothing is named for what a workload or a collector chooses.

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::Context as _;
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
use tokio::net::TcpListener;

use super::Settings;
use crate::{
    ship::now_s,
    watch::{Order, Outcome, State, Watch},
};

/// Why a statement was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// All of it.
pub(crate) struct Counts {
    registry: Registry,
    statements: Family<Verdict, Counter>,
    unsigned: Counter,
    settle: Histogram,
    lost: Counter,
    coalesced: Counter,
    files: Family<Class, Counter>,
    not_opened: Counter,
    recovered: Counter,
    signing_failures: Counter,
    signed_later: Counter,
    refusals: Family<Code, Counter>,
    delivery_failures: Counter,
    open: Gauge,
    waiting: Gauge,
    spool: Gauge,
    spool_bytes: Gauge,
    spool_age: Gauge,
    deferred: Gauge,
    delivered: Gauge,
    dropped: Family<Reason, Gauge>,
}

impl Counts {
    /// None of it has happened.
    pub(crate) fn new() -> Self {
        let mut this = Self {
            registry: Registry::with_prefix("testimony_agent"),
            statements: Family::default(),
            unsigned: Counter::default(),
            settle: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            lost: Counter::default(),
            coalesced: Counter::default(),
            files: Family::default(),
            not_opened: Counter::default(),
            recovered: Counter::default(),
            signing_failures: Counter::default(),
            signed_later: Counter::default(),
            refusals: Family::default(),
            delivery_failures: Counter::default(),
            open: Gauge::default(),
            waiting: Gauge::default(),
            spool: Gauge::default(),
            spool_bytes: Gauge::default(),
            spool_age: Gauge::default(),
            deferred: Gauge::default(),
            delivered: Gauge::default(),
            dropped: Family::default(),
        };
        this.register_sessions();
        this.register_delivery();
        this
    }

    fn register_sessions(&mut self) {
        let all = &mut self.registry;
        all.register("statements", "Statements of sessions, by verdict", self.statements.clone());
        all.register("sessions_unsigned", "Sessions that ended without a statement", self.unsigned.clone());
        all.register_with_unit(
            "settle",
            "Time from a session's end to its statement",
            Unit::Seconds,
            self.settle.clone(),
        );
        all.register("events_lost", "Events that sessions lost", self.lost.clone());
        all.register("events_coalesced", "Repeats that sessions counted and did not send", self.coalesced.clone());
        all.register("files", "Files of sessions, by the class of their digests", self.files.clone());
        all.register("sessions_not_opened", "Containers and units without a session", self.not_opened.clone());
        all.register(
            "sessions_recovered",
            "Sessions of an agent that died, signed by this one",
            self.recovered.clone(),
        );
        all.register("sessions_open", "Sessions that are open", self.open.clone());
    }

    fn register_delivery(&mut self) {
        let all = &mut self.registry;
        all.register("signing_failures", "Attempts to sign what waits that failed", self.signing_failures.clone());
        all.register("signed_later", "Statements that had waited for their signer", self.signed_later.clone());
        all.register("waiting_statements", "Statements that wait for their signer", self.waiting.clone());
        all.register("refusals", "Statements that the collector refused, by code", self.refusals.clone());
        all.register(
            "delivery_failures",
            "Times that the collector could not be reached",
            self.delivery_failures.clone(),
        );
        all.register("spool_statements", "Statements in the spool", self.spool.clone());
        all.register_with_unit("spool", "Their size", Unit::Bytes, self.spool_bytes.clone());
        all.register_with_unit("spool_age", "Age of the oldest of them", Unit::Seconds, self.spool_age.clone());
        all.register("spool_deferred", "Those that the collector does not take for now", self.deferred.clone());
        all.register("spool_delivered", "Statements that were ever delivered", self.delivered.clone());
        all.register("spool_dropped", "Statements that were ever dropped, by reason", self.dropped.clone());
    }

    /// A session is over: what it says in figures, if it was signed.
    pub(crate) fn settled(&self, outcome: Option<&Outcome>, took: Duration) {
        self.settle.observe(took.as_secs_f64());
        let Some(outcome) = outcome else {
            self.unsigned.inc();
            return;
        };
        self.statements.get_or_create(&Verdict::of(outcome.complete)).inc();
        self.lost.inc_by(outcome.lost);
        self.coalesced.inc_by(outcome.coalesced);
        for (class, count) in CLASSES.into_iter().zip(outcome.classes) {
            self.files.get_or_create(&Class { class }).inc_by(count);
        }
    }

    pub(crate) fn not_opened(&self, count: u64) {
        self.not_opened.inc_by(count);
    }

    pub(super) fn recovered(&self) {
        self.recovered.inc();
    }

    pub(super) fn signing_failed(&self) {
        self.signing_failures.inc();
    }

    pub(super) fn signed_later(&self) {
        self.signed_later.inc();
    }

    pub(super) fn refused(&self, code: &str) {
        let code = codes::find(code).map_or("OTHER", |code| code.name);
        self.refusals.get_or_create(&Code { code }).inc();
    }

    pub(super) fn not_delivered(&self) {
        self.delivery_failures.inc();
    }

    /// What the spool and what waits for its signer have now.
    fn look(&self, settings: &Settings) -> anyhow::Result<()> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let state = settings.spool.open()?.state()?;
        self.spool.set(number(state.waiting));
        self.spool_bytes.set(number(state.bytes));
        self.spool_age.set(number(state.oldest_s.map_or(0, |oldest| now_s().saturating_sub(oldest))));
        self.deferred.set(number(state.deferred));
        self.delivered.set(number(state.acknowledged_total));
        let dropped = state.dropped_total;
        for (reason, count) in [("full", dropped.full), ("old", dropped.old), ("refused", dropped.refused)] {
            self.dropped.get_or_create(&Reason { reason }).set(number(count));
        }
        self.waiting.set(number(settings.open_waiting()?.state()?.waiting));
        Ok(())
    }

    /// The page, with what is counted as it is asked for; that is as it was where it cannot be had, which is said.
    async fn page(self: Arc<Self>, settings: Settings, watch: Option<Watch>) -> String {
        if let Some(watch) = watch
            && let Ok(sessions) = watch.ask(Order::List).await
        {
            let open = sessions.iter().filter(|seen| seen.state == State::Open).count();
            self.open.set(i64::try_from(open).unwrap_or(i64::MAX));
        }
        let counts = Arc::clone(&self);
        let looked = tokio::task::spawn_blocking(move || counts.look(&settings)).await;
        if let Ok(Err(error)) = looked {
            eprintln!("testimony: metrics of the spool: {error:#}");
        }
        metrics::page(&self.registry)
    }
}

/// Listens where the configuration says, if it does; the page is served from here on.
///
/// # Errors
/// If nobody can listen there.
pub(super) async fn start(
    settings: &Settings,
    counts: Arc<Counts>,
    watch: Option<Watch>,
) -> anyhow::Result<Option<impl Future<Output = Infallible> + use<>>> {
    let Some(address) = settings.metrics.address() else { return Ok(None) };
    let (settings, listener) = (settings.clone(), TcpListener::bind(address).await);
    let listener = listener.with_context(|| format!("[metrics] {address}"))?;
    eprintln!("testimony: metrics are at {}", listener.local_addr()?);
    let page = move || Arc::clone(&counts).page(settings.clone(), watch.clone());
    Ok(Some(metrics::serve(listener, page)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_session_says_is_counted() {
        let counts = Counts::new();
        let outcome = |complete| Outcome {
            statement: "s".into(),
            evidence: "e".into(),
            payload_sha256: [0; 32],
            complete,
            lossless: complete,
            level: "returned-object".to_owned(),
            processes: 1,
            files: 15,
            contacts: 0,
            classes: [1, 2, 3, 4, 5],
            lost: if complete { 0 } else { 7 },
            coalesced: 2,
            gaps: Vec::new(),
            spooled: None,
            says: Vec::new(),
        };
        for complete in [true, true, false] {
            counts.settled(Some(&outcome(complete)), Duration::from_millis(3));
        }
        counts.settled(None, Duration::from_secs(1));
        let page = metrics::page(&counts.registry);
        for line in [
            "statements_total{verdict=\"complete\"} 2",
            "statements_total{verdict=\"incomplete\"} 1",
            "sessions_unsigned_total 1",
            "events_lost_total 7",
            "events_coalesced_total 6",
            "files_total{class=\"absent\"} 15",
            "files_total{class=\"kernel\"} 3",
            "settle_seconds_count 4",
        ] {
            assert!(page.contains(&format!("testimony_agent_{line}\n")), "{line}: {page}");
        }
    }

    #[test]
    fn a_code_of_a_newer_collectors_is_another() {
        let counts = Counts::new();
        counts.refused(codes::SIGNATURE_INVALID);
        counts.refused("NEW_IN_2031");
        let page = metrics::page(&counts.registry);
        assert!(page.contains("refusals_total{code=\"SIGNATURE_INVALID\"} 1"), "{page}");
        assert!(page.contains("refusals_total{code=\"OTHER\"} 1") && !page.contains("2031"), "{page}");
    }
}
