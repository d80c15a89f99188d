//! The node's sessions as a task of the agent: the thread that watches, and the local API by which it is asked.

use std::{
    convert::Infallible,
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use anyhow::Context as _;
use config::{Bytes, Fault, Seconds, Validate, within};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::{Counts, Settings};
use crate::{
    chain,
    container::Stores,
    control,
    glob::Glob,
    redact::Redaction,
    watch::{Keep, Limits, Means, Order, Rules, Watch},
};

/// Sessions at once, beyond which the kernel side's tables would be large.
const SESSIONS_MAX: u32 = 1024;

/// What is traced, and how much of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SessionSettings {
    /// Where statements and evidence are kept.
    pub(crate) folder: PathBuf,
    /// The chain of this host's statements.
    pub(crate) chain: PathBuf,
    /// Sessions open at once.
    pub(crate) at_once_max: u32,
    /// Of one user but root.
    pub(crate) per_user_max: u32,
    /// How much of the disk finished sessions may take; the oldest goes first.
    pub(crate) bytes_max: Bytes,
    /// What is older goes.
    pub(crate) age_max: Seconds,
    /// Files above this size get no digest.
    pub(crate) file_bytes_max: Bytes,
    /// A session for each container that starts.
    pub(crate) containers: bool,
    /// A session for each unit that starts and has such a name; patterns.
    pub(crate) units: Vec<String>,
    /// What is left out of arguments in these sessions, as `run --redact` has it.
    pub(crate) redact: Vec<String>,
    /// Where runtimes keep what they know of containers.
    pub(crate) stores: Stores,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            folder: "/var/lib/testimony/sessions".into(),
            chain: chain::DEFAULT.into(),
            at_once_max: 64,
            per_user_max: 16,
            bytes_max: Bytes::new(10 << 30),
            age_max: Seconds::new(7 * 86_400),
            file_bytes_max: Bytes::new(4 << 30),
            containers: false,
            units: Vec::new(),
            redact: Vec::new(),
            stores: Stores::default(),
        }
    }
}

impl Validate for SessionSettings {
    fn faults(&self, faults: &mut Vec<Fault>) {
        for (name, path) in [("folder", &self.folder), ("chain", &self.chain)] {
            if !path.is_absolute() {
                faults.push(Fault::new(name, "is no absolute path"));
            }
        }
        within("stores", &self.stores, faults);
        if let Err(error) = Redaction::new(&self.redact) {
            faults.push(Fault::new("redact", format!("{error:#}")));
        }
        if !(1..=SESSIONS_MAX).contains(&self.at_once_max) {
            faults.push(Fault::new("at_once_max", format!("is not from 1 to {SESSIONS_MAX}")));
        }
    }
}

impl SessionSettings {
    /// Whether there are sessions that nobody asks for.
    pub(crate) fn has_rules(&self) -> bool {
        self.containers || !self.units.is_empty()
    }
}

/// What runs.
pub(super) struct Running {
    watch: Watch,
    ended: oneshot::Receiver<anyhow::Result<()>>,
}

/// Starts the thread. Nothing is loaded into the kernel before there is a session.
///
/// # Errors
/// Why it cannot.
pub(super) fn start(settings: &Settings, counts: &Arc<Counts>) -> anyhow::Result<Running> {
    let signers = settings.sign.args().named().context("[sign]")?;
    let wanted = settings.sessions.clone();
    let SessionSettings { folder, chain, at_once_max, redact, stores, .. } = wanted;
    let units = wanted.units.iter().map(|unit| Glob::new(unit.as_bytes())).collect();
    let means = Means {
        only_keys: signers.only_keys(),
        signers: Mutex::new(signers),
        chain,
        folder,
        spool: Some(settings.clone()),
        rules: Rules { containers: wanted.containers, units },
        file_bytes_max: wanted.file_bytes_max.get(),
        redact,
        stores,
        unopened: AtomicU64::new(0),
        counts: Arc::clone(counts),
        limits: Limits { sessions_max: at_once_max, per_user_max: wanted.per_user_max },
        keep: Keep { bytes_max: wanted.bytes_max.get(), age_max: wanted.age_max.duration() },
    };
    let (watch, ended) = Watch::start(means)?;
    Ok(Running { watch, ended })
}

impl Running {
    /// Who can be asked.
    pub(super) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// The local API, until it fails.
    ///
    /// # Errors
    /// Why it cannot listen.
    pub(super) fn serve(
        &self,
        settings: &Settings,
        control: &control::Settings,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<Infallible>> + use<>> {
        let served = control::serve(control, self.watch.clone(), settings.sessions.file_bytes_max.get())?;
        Ok(async move {
            served.await?;
            anyhow::bail!("the local API ended")
        })
    }

    /// Why the thread ended, should it.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match (&mut self.ended).await {
            Ok(Err(error)) => error.context("the sessions ended"),
            Ok(Ok(())) | Err(_) => anyhow::anyhow!("the sessions ended"),
        }
    }

    /// Closes every session, and waits until their statements stand.
    pub(super) async fn stop(self) {
        let _ = self.watch.ask(Order::Stop).await;
    }
}
