//! What systemd is told: readiness, the end, and that the daemon is alive (`sd_notify(3)`). Without systemd nothing
//! happens.

use sd_notify::NotifyState;
use std::time::Duration;

/// The daemon serves.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The daemon is about to end.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds systemd's watchdog, if it watches, twice in its interval. It runs as a task among all others, so that a
/// daemon which makes no progress starves it and is restarted.
pub(crate) async fn feed_watchdog() {
    let Some(interval) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval((interval / 2).max(Duration::from_millis(10)));
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
