//! What the service manager is told (sd_notify(3)): that the agent is ready, that it lives, that it is
//! configured anew, that it stops. Without one, nobody is told.

use std::{convert::Infallible, future::pending, time::Duration};

use sd_notify::NotifyState;

/// Everything runs.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It is being configured anew; it is ready again afterwards.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// It was told to stop.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that it lives, twice as often as is asked for, in the task that supervises. It shows that this is not stuck; what hangs in a
/// thread of its own, as a disk may, it does not show.
pub(super) async fn watch() -> Infallible {
    let Some(every) = asked() else { return pending().await };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(every / 2).await;
    }
}

fn asked() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn tell(states: &[NotifyState<'_>]) {
    // Nobody listens, or whoever does is gone: the work goes on.
    let _ = sd_notify::notify(states);
}
