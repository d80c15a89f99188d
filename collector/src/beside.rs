//! What runs beside receiving, and is in nobody's way: the index that follows the store, alerts, the API, metrics.

use std::sync::Arc;

use anyhow::Context as _;
use config::Seconds;
use tokio::{net::TcpListener, runtime::Handle};

use crate::{
    alerts::{Pending, Periods, Sinks},
    api,
    counts::Counts,
    follow::{self, Follower, Following},
    observe::Observed,
    settings::Settings,
};

/// All of it; it ends when it is dropped, first who notes, then who tells.
pub(crate) struct Beside {
    pub(crate) observed: Observed,
    _follower: Follower,
    _sinks: Sinks,
}

impl Beside {
    /// Starts what needs no port.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) fn start(settings: &Settings, runtime: &Handle) -> anyhow::Result<Self> {
        let (metrics, pending) = (Arc::new(Counts::new()), Arc::new(Pending::default()));
        let alerts = &settings.alerts;
        let periods = Periods { period_s: alerts.period.get(), waiting_max: alerts.waiting_max };
        let following = Following {
            pending: Arc::clone(&pending),
            metrics: Arc::clone(&metrics),
            periods,
            silent_after_s: alerts.silent_after.map(Seconds::get),
            unverified_images: alerts.unverified_images,
        };
        // Who is to be told is known before anything happens.
        let sinks = Sinks::start(alerts, &settings.state, runtime, &metrics)?;
        let follower = follow::start(&settings.state, following)?;
        Ok(Self { observed: Observed { metrics, pending }, _follower: follower, _sinks: sinks })
    }

    /// Listens, before nodes are listened to.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) async fn listen(&self, settings: &Settings) -> anyhow::Result<()> {
        let silent_after_s = settings.alerts.silent_after.map(Seconds::get);
        let metrics = Arc::clone(&self.observed.metrics);
        if let Some(address) = settings.metrics.address() {
            let listener = TcpListener::bind(address).await.with_context(|| format!("[metrics] {address}"))?;
            eprintln!("testimony-collector: metrics are at {}", listener.local_addr()?);
            let (folder, metrics) = (settings.state.clone(), Arc::clone(&metrics));
            let page = move || {
                let (folder, metrics) = (folder.clone(), Arc::clone(&metrics));
                async move {
                    let page = tokio::task::spawn_blocking(move || metrics.page(&folder, silent_after_s));
                    page.await.unwrap_or_default()
                }
            };
            tokio::spawn(metrics::serve(listener, page));
        }
        if let Some(api) = &settings.api {
            let state = api::State::new(settings.state.clone(), api, silent_after_s, metrics);
            api::start(api, &settings.tls, state).await?;
        }
        Ok(())
    }
}
