//! Waits for changes of the configuration directory, which need not exist yet.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// How long a directory must be quiet before it is looked at, so that a burst of writes counts once.
const QUIET: Duration = Duration::from_millis(100);

/// How long a directory that is never quiet is waited for.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// A watch on the directory, its subdirectories (which may hold plugins of a list), or, where it does not
/// exist, on the nearest directory above that does. Made anew after each change.
pub struct Watch {
    inotify: Inotify,
    /// Another descriptor of the same queue, for the runtime to wait on.
    readable: AsyncFd<OwnedFd>,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the kernel refuses, as it does past `fs.inotify.max_user_instances`.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let content = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        let appearance = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        if dir.is_dir() {
            inotify.add_watch(dir, content | AddWatchFlags::IN_ONLYDIR)?;
            for entry in std::fs::read_dir(dir)?.flatten() {
                if entry.path().is_dir() {
                    // It may have gone since; the watch on its parent tells.
                    let _ = inotify.add_watch(&entry.path(), content | AddWatchFlags::IN_ONLYDIR);
                }
            }
        } else if let Some(above) = dir.ancestors().skip(1).find(|path| path.is_dir()) {
            inotify.add_watch(above, appearance | AddWatchFlags::IN_ONLYDIR)?;
        }
        #[allow(
            deprecated,
            reason = "sound for a descriptor that the AsyncFd owns; its successor is unsafe to call"
        )]
        let readable = AsyncFd::new(inotify.as_fd().try_clone_to_owned()?)?;
        Ok(Self { inotify, readable })
    }

    /// Returns once something has changed and then been quiet for a moment.
    ///
    /// # Errors
    /// When the changes cannot be read.
    pub async fn changed(&mut self) -> io::Result<()> {
        self.event().await?;
        let settled = async {
            while let Ok(event) = tokio::time::timeout(QUIET, self.event()).await {
                event?;
            }
            Ok(())
        };
        tokio::time::timeout(MAX_WAIT, settled).await.unwrap_or(Ok(()))
    }

    async fn event(&mut self) -> io::Result<()> {
        loop {
            let mut guard = self.readable.readable().await?;
            let read = guard.try_io(|_| self.inotify.read_events().map_err(io::Error::from));
            if let Ok(events) = read {
                return events.map(|_| ());
            }
        }
    }
}
