//! What a running collector is told by signals: to stop, or to read its configuration again. A thread listens to them from the start to
//! the end, so that none is lost while the collector goes from one configuration to the next.

use std::{
    io,
    path::{Path, PathBuf},
    thread,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::{serve, settings::Settings};

/// Orders that wait: who is told more often than that waits for his turn.
const WAITING_MAX: usize = 8;

/// What comes next.
pub(crate) enum Order {
    Stop,
    /// To go on by another configuration, which can be used.
    Renew(Box<Settings>),
}

/// Whoever hears them.
pub(crate) struct Orders(mpsc::Receiver<Order>);

impl Orders {
    /// From here on no signal of these ends the process by itself.
    ///
    /// # Errors
    /// If they cannot be had.
    pub(crate) fn listen(config: &Path, now: &Settings) -> io::Result<Self> {
        let (tell, told) = mpsc::channel(WAITING_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let [mut terminate, mut interrupt, mut hangup] = {
            let _within = runtime.enter();
            [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?]
        };
        let (config, now): (PathBuf, Settings) = (config.to_owned(), now.clone());
        let body = move || {
            runtime.block_on(async {
                loop {
                    let order = tokio::select! {
                        _ = terminate.recv() => Some(Order::Stop),
                        _ = interrupt.recv() => Some(Order::Stop),
                        _ = hangup.recv() => renew(&config, &now),
                    };
                    if let Some(order) = order
                        && tell.send(order).await.is_err()
                    {
                        return;
                    }
                }
            });
        };
        thread::Builder::new().name("orders".to_owned()).spawn(body)?;
        Ok(Self(told))
    }

    /// Waits for one.
    pub(crate) async fn next(&mut self) -> Order {
        // The thread ends when nobody hears it any more.
        let order = self.0.recv().await.unwrap_or(Order::Stop);
        match order {
            Order::Stop => notify::stopping(),
            Order::Renew(_) => {}
        }
        order
    }
}

/// Another configuration, if it can be used; if not, that is said, and the one before stays.
fn renew(config: &Path, now: &Settings) -> Option<Order> {
    notify::reloading();
    match renewed(config, now) {
        Ok(settings) => Some(Order::Renew(Box::new(settings))),
        Err(error) => {
            eprintln!("testimony-collector: the configuration of before stays: {error:#}");
            notify::ready();
            None
        }
    }
}

/// Another configuration of the same log.
fn renewed(config: &Path, now: &Settings) -> anyhow::Result<Settings> {
    let settings = Settings::read(config)?;
    let same = settings.state == now.state && settings.log.name == now.log.name;
    anyhow::ensure!(same, "another state or another log.name is another log: restart the collector for it");
    serve::prepare(&settings)?;
    Ok(settings)
}
