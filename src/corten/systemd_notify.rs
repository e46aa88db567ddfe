//! What systemd is told: readiness, the end, and that the daemon is alive (`sd_notify(3)`). Without systemd nothing
//! happens.

use crate::error::Error;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the daemon's end waits for systemd to hear of it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Notices that wait for a systemd that does not read; it misses those past them.
const WAITING: usize = 8;

/// The way to systemd, on a thread of its own: a systemd that does not read lets its clients wait, and the daemon has other
/// work; and nothing else that waits may keep the daemon's word from it.
pub(crate) struct Systemd(Option<SyncSender<Notice>>);

struct Notice {
    states: Vec<NotifyState<'static>>,
    /// Dropped once it is told.
    told: Option<oneshot::Sender<()>>,
}

impl Systemd {
    /// # Errors
    /// There can be no thread.
    pub(crate) fn new() -> Result<Self, Error> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Self(None));
        }
        let (notices, taken) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("systemd".to_owned()).spawn(move || tell(&taken));
        thread.map_err(|source| Error::Runtime { what: "the thread that talks to systemd", source })?;
        Ok(Self(Some(notices)))
    }

    /// The daemon serves.
    pub(crate) fn ready(&self, status: &'static str) {
        self.put(vec![NotifyState::Ready, NotifyState::Status(status)], None);
    }

    /// The daemon is about to end.
    pub(crate) async fn stopping(&self) {
        let (told, heard) = oneshot::channel();
        self.put(vec![NotifyState::Stopping], Some(told));
        // A systemd that does not read sees the end all the same.
        let _ = tokio::time::timeout(PATIENCE, heard).await;
    }

    /// Feeds systemd's watchdog, if it watches, twice in its interval. It runs as a task among all others, so that a
    /// daemon which makes no progress starves it and is restarted.
    pub(crate) async fn feed_watchdog(self: Arc<Self>) {
        let Some(interval) = sd_notify::watchdog_enabled() else { return };
        let mut ticks = tokio::time::interval((interval / 2).max(Duration::from_millis(10)));
        loop {
            ticks.tick().await;
            self.put(vec![NotifyState::Watchdog], None);
        }
    }

    fn put(&self, states: Vec<NotifyState<'static>>, told: Option<oneshot::Sender<()>>) {
        if let Some(notices) = &self.0 {
            // Full: systemd does not read.
            let _ = notices.try_send(Notice { states, told });
        }
    }
}

fn tell(notices: &Receiver<Notice>) {
    for notice in notices {
        if let Err(error) = sd_notify::notify(&notice.states) {
            tracing::warn!(%error, "cannot notify systemd");
        }
        drop(notice.told);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::process::{Command, Stdio};

    const OWN: &str = "systemd_notify::tests::the_watchdog_is_fed_while_all_threads_for_blocking_work_wait";
    const CALLED: &str = "CORTEN_TEST_FEEDS";

    /// A daemon of which strangers hold all threads for blocking work.
    fn feed() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().max_blocking_threads(1).build().unwrap();
        runtime.spawn_blocking(|| std::thread::sleep(Duration::from_secs(60)));
        let fed = async {
            tokio::time::timeout(Duration::from_secs(30), Arc::new(Systemd::new().unwrap()).feed_watchdog())
                .await
        };
        let _ = runtime.block_on(fed);
    }

    // The environment is a process's: the test calls itself.
    #[test]
    fn the_watchdog_is_fed_while_all_threads_for_blocking_work_wait() {
        if std::env::var_os(CALLED).is_some() {
            return feed();
        }
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("notify");
        let systemd = UnixDatagram::bind(&socket).unwrap();
        systemd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut daemon = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", OWN])
            .env(CALLED, "1")
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "200000")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut buffer = [0; 64];
        let heard = [(); 3].map(|()| systemd.recv(&mut buffer).map(|length| buffer[..length].to_vec()));
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        for heard in heard {
            assert_eq!(heard.unwrap(), b"WATCHDOG=1\n");
        }
    }
}
