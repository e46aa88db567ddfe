//! What systemd is told: readiness, the end, and that the daemon is alive (`sd_notify(3)`). Without systemd nothing
//! happens.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long the daemon's end waits for systemd to hear of it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The daemon serves.
pub(crate) fn ready(status: &'static str) {
    tell(vec![NotifyState::Ready, NotifyState::Status(status)]);
}

/// The daemon is about to end.
pub(crate) async fn stopping() {
    // A systemd that does not read sees the end all the same.
    let _ = tokio::time::timeout(PATIENCE, tell(vec![NotifyState::Stopping])).await;
}

/// Feeds systemd's watchdog, if it watches, twice in its interval. It runs as a task among all others, so that a
/// daemon which makes no progress starves it and is restarted.
pub(crate) async fn feed_watchdog() {
    let Some(interval) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval((interval / 2).max(Duration::from_millis(10)));
    loop {
        ticks.tick().await;
        // Fails for a panic alone, of which the log has the message.
        let _ = tell(vec![NotifyState::Watchdog]).await;
    }
}

/// On a thread of its own: a systemd that does not read lets its clients wait, and the daemon has other work.
fn tell(states: Vec<NotifyState<'static>>) -> JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = sd_notify::notify(&states) {
            tracing::warn!(%error, "cannot notify systemd");
        }
    })
}
