//! What the service manager is told (sd_notify(3)): that the collector is ready, that it lives, that it is configured anew, that it
//! stops. Without one, nobody is told.

use std::{convert::Infallible, future::pending};

use sd_notify::NotifyState;

/// It listens.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It is being configured anew; it is ready again afterwards.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// It was told to stop.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that it lives, twice as often as is asked for, beside what answers nodes. It shows that this is not stuck; the thread that
/// writes may wait for its disk as long as that takes.
pub(crate) async fn watch() -> Infallible {
    let Some(every) = sd_notify::watchdog_enabled() else { return pending().await };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(every / 2).await;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // Nobody listens, or whoever does is gone: the work goes on.
    let _ = sd_notify::notify(states);
}
