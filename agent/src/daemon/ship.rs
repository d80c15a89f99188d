//! Delivery as a task of the agent, and what it tells the journal.

use std::{cell::RefCell, convert::Infallible, future::Future, sync::Arc, time::Duration};

use anyhow::Context as _;
use attestation::escape::escape;

use super::{
    Counts,
    settings::{Collector, Settings},
};
use crate::ship::{self, Shared, Target, Told};

/// Refusals that are told in a time.
const REFUSED_MAX: u32 = 10;
const REFUSED_PER: Duration = Duration::from_secs(60);

/// Looks at what the configuration names.
///
/// # Errors
/// What cannot be used.
pub(super) fn check(settings: &Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    log(settings)?;
    match settings.tls.identity() {
        // A Workload API is asked when the agent starts; files can be looked at now.
        Ok(mtls::Identity::Spiffe { .. }) => Ok(()),
        _ => runtime.block_on(client(settings)).map(drop),
    }
}

async fn client(settings: &Settings) -> anyhow::Result<mtls::Client> {
    // That both are some was held when it was read.
    let identity = settings.tls.identity().map_err(|_| anyhow::anyhow!("[tls] no identity"))?;
    let expected = settings.collector.expected().map_err(|fault| anyhow::anyhow!("[collector] {}", fault.says))?;
    mtls::Client::new(&identity, expected).await.context("[tls]")
}

/// A connection to the collector.
///
/// # Errors
/// Why there is none.
pub(crate) async fn connect(settings: &Settings) -> anyhow::Result<tonic::transport::Channel> {
    let Collector { host, port, .. } = &settings.collector;
    Ok(client(settings).await?.connect(host, *port).await?)
}

fn log(settings: &Settings) -> anyhow::Result<Option<attestation::receipt::LogKey>> {
    let log = settings.collector.log_key.as_deref().map(ship::log_key).transpose();
    log.map_err(|says| anyhow::anyhow!("[collector] log_key: {says}"))
}

/// Delivers from here on. Who we are is known before anything is sent.
///
/// # Errors
/// Why it cannot.
pub(super) async fn start(
    settings: &Settings,
    counts: Arc<Counts>,
) -> anyhow::Result<impl Future<Output = anyhow::Result<Infallible>> + use<>> {
    let (client, log) = (client(settings).await?, log(settings)?);
    if log.is_none() {
        eprintln!("testimony: receipts are not held by a key: name that of the collector's log, [collector] log_key");
    }
    let spool = settings.spool.open().context("[spool]")?;
    let (host, port) = (settings.collector.host.clone(), settings.collector.port);
    let clock_difference_max = settings.collector.clock_difference_max.duration();
    let target = Target { client, host, port, log, clock_difference_max };
    Ok(async move {
        let journal = Journal::new(counts);
        ship::run(&target, Shared::new(spool), |told| journal.tell(told)).await.context("delivery ended")
    })
}

/// What was told last: the same is not told again, however long it lasts.
struct Journal {
    last: RefCell<Option<String>>,
    /// A collector may refuse all that there is.
    refused: mtls::Rate,
    counts: Arc<Counts>,
}

impl Journal {
    fn new(counts: Arc<Counts>) -> Self {
        Self { last: RefCell::default(), refused: mtls::Rate::new(REFUSED_MAX, REFUSED_PER), counts }
    }

    fn tell(&self, told: &Told<'_>) {
        match told {
            Told::Refused { number, code, says, is_final } => {
                self.counts.refused(code);
                self.refused.tell(|more| {
                    let lasts = if *is_final { "" } else { " for now" };
                    eprintln!("testimony: the collector refuses statement {number}{lasts}: {code}: {says}{more}");
                });
            }
            Told::Delivering => self.changed("the collector answers".to_owned()),
            Told::Waiting { why } => {
                self.counts.not_delivered();
                let why = crate::sign::chain_of(*why);
                self.changed(format!("statements wait in the spool: {}", escape(why.as_bytes())));
            }
        }
    }

    fn changed(&self, line: String) {
        if self.last.borrow().as_ref() != Some(&line) {
            eprintln!("testimony: {line}");
            self.last.replace(Some(line));
        }
    }
}
