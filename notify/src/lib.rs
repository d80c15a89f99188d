//! What a service manager is told (sd_notify(3)): that a program is ready, that it lives, that it is configured anew, that it stops.
//! Without one, nobody is told. Where nobody listens any more, the work goes on.
#![forbid(unsafe_code)]

use std::{convert::Infallible, future::pending};

use sd_notify::NotifyState;

/// Everything runs.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It is being configured anew; it is ready again afterwards.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// It was told to stop.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that it lives, twice as often as is asked for, in the task that awaits it. It shows that this is not stuck; what hangs in a
/// thread of its own, as a disk may, it does not show.
pub async fn watch() -> Infallible {
    let Some(every) = sd_notify::watchdog_enabled() else { return pending().await };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(every / 2).await;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}
