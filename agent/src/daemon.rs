//! `testimony agent`: the node's service. What runs in it is a list of tasks; if one ends, so does the agent, and whoever supervises it
//! starts it anew.

mod counts;
mod later;
mod left;
mod privilege;
mod reload;
mod sessions;
mod settings;
mod ship;

use std::{
    convert::Infallible,
    future::pending,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use tokio::signal::unix::{SignalKind, signal};

pub(crate) use crate::ship::now_s;
pub(crate) use counts::Counts;
pub(crate) use sessions::SessionSettings;
pub(crate) use settings::{DEFAULT, Settings};
pub(crate) use ship::connect;

/// How the agent is started.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = DEFAULT)]
    config: PathBuf,
}

/// What is to be looked at.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The configuration
    #[arg(value_name = "FILE", default_value = DEFAULT)]
    config: PathBuf,
}

/// Says all that is wrong with a configuration.
///
/// # Errors
/// All of it.
pub(crate) fn check(args: &CheckArgs) -> anyhow::Result<u8> {
    let settings: Settings = config::read(&args.config)?;
    if settings.delivers() {
        ship::check(&settings)?;
    }
    println!("the configuration can be used");
    Ok(0)
}

/// Runs until it is told to stop.
///
/// # Errors
/// Why it could not start, or which task ended.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let settings: Settings = config::read(&args.config)?;
    privilege::keep(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(supervise(settings, &args.config));
    // A disk that hangs does not keep it from ending: what was not acknowledged is sent again.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    ended.map(|()| 0)
}

async fn supervise(mut settings: Settings, config: &Path) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let counts = Arc::new(Counts::new());
    // Who we are may take a while to be known, and sessions do not wait for it.
    let mut delivery: Delivery = Box::pin(deliver(settings.clone(), Arc::clone(&counts)));
    let left = if settings.traces() { left::find(&settings.sessions.folder)? } else { Vec::new() };
    let mut sessions = if settings.traces() { Some(sessions::start(&settings, &counts)?) } else { None };
    let control = settings.control.as_ref().zip(sessions.as_ref());
    let control = control.map(|(control, sessions)| sessions.serve(&settings, control)).transpose()?;
    let (control, signing) = (optional(control), later::start(&settings, &counts)?);
    let left = left::recover(settings.clone(), left, Arc::clone(&counts));
    let watch = sessions.as_ref().map(sessions::Running::watch);
    let counted = optional(counts::start(&settings, Arc::clone(&counts), watch).await?);
    let watchdog = notify::watch();
    tokio::pin!(control, signing, left, counted, watchdog);
    notify::ready();
    let ended = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = hangup.recv() => {
                if let Some(again) = reload::again(config, &mut settings, &counts).await {
                    delivery = again;
                }
            }
            ended = &mut delivery => break ended.map(never),
            ended = &mut control => break ended.map(never),
            ended = &mut signing => break ended.map(never),
            ended = &mut left => break ended.map(never),
            never = &mut counted => match never {},
            error = ended(sessions.as_mut()) => break Err(error),
            never = &mut watchdog => match never {},
        }
    };
    notify::stopping();
    // Whatever ended: what was seen until now is sworn to.
    if let Some(sessions) = sessions {
        sessions.stop().await;
    }
    ended
}

/// Delivery to the collector, which does not end by itself.
type Delivery = Pin<Box<dyn Future<Output = anyhow::Result<Infallible>>>>;

async fn deliver(settings: Settings, counts: Arc<Counts>) -> anyhow::Result<Infallible> {
    if settings.delivers() { ship::start(&settings, counts).await?.await } else { pending().await }
}

/// What is not there does not end.
async fn optional<T>(task: Option<impl Future<Output = T>>) -> T {
    match task {
        Some(task) => task.await,
        None => pending().await,
    }
}

async fn ended(sessions: Option<&mut sessions::Running>) -> anyhow::Error {
    optional(sessions.map(sessions::Running::ended)).await
}

fn never(never: Infallible) {
    match never {}
}
