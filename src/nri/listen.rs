//! The socket at which plugins connect by themselves.

use crate::error::{Error, NriResult};
use crate::join::{Newcomer, serve};
use crate::quiet::Quiet;
use crate::runtime::Core;
use crate::status::Origin;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Plugins that have connected and not said yet who they are; others have to come again.
const STRANGERS: usize = 16;
/// After a connection could not be taken for want of something.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket on which plugins are taken in. It is closed and removed with this.
pub(crate) struct Listening {
    path: PathBuf,
    stop: CancellationToken,
}

impl Listening {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
        // Somebody may have removed it already.
        let _ = fs::remove_file(&self.path);
    }
}

/// Opens a socket, and takes plugins in there.
pub(crate) fn open(core: &Arc<Core>, socket: &Path) -> NriResult<Listening> {
    let listener = bind(socket)?;
    let stop = core.stop.child_token();
    core.tasks.spawn(accept(Arc::clone(core), listener, stop.clone()));
    Ok(Listening { path: socket.to_owned(), stop })
}

/// In place of one that nobody answers on any more.
fn bind(socket: &Path) -> NriResult<UnixListener> {
    let failed = |source| Error::Listen { socket: socket.to_owned(), source };
    if let Some(directory) = socket.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    }
    if let Ok(there) = fs::symlink_metadata(socket) {
        if !there.file_type().is_socket() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        match sys::socket::connect_stream(socket).map_err(io::Error::from) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(socket).map_err(failed)?;
            }
            _ => return Err(Error::Occupied { socket: socket.to_owned() }),
        }
    }
    let listener = std::os::unix::net::UnixListener::bind(socket).map_err(failed)?;
    fs::set_permissions(socket, Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    UnixListener::from_std(listener).map_err(failed)
}

/// Takes plugins in until the runtime ends, or has them come elsewhere.
async fn accept(core: Arc<Core>, listener: UnixListener, stop: CancellationToken) {
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    let mut quiet = Quiet::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted.and_then(|(socket, _)| admit(socket, &strangers)) {
            Ok((newcomer, permit)) => {
                let core = Arc::clone(&core);
                core.tasks.clone().spawn(serve(core, newcomer, Some(permit)));
            }
            Err(error) => {
                if let Some(unsaid) = quiet.may_say() {
                    tracing::warn!(%error, unsaid, "a connection at the socket of plugins was refused");
                }
                if error.raw_os_error().is_some() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn admit(socket: UnixStream, strangers: &Arc<Semaphore>) -> io::Result<(Newcomer, OwnedSemaphorePermit)> {
    let peer = socket.peer_cred()?;
    if peer.uid() != 0 && peer.uid() != rustix::process::geteuid().as_raw() {
        let who =
            format!("process {} is of user {}, not of root", peer.pid().unwrap_or_default(), peer.uid());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, who));
    }
    let permit = Arc::clone(strangers).try_acquire_owned();
    let permit = permit.map_err(|_| io::Error::other("too many have not said yet who they are"))?;
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    Ok((Newcomer { socket, origin: Origin::External, pid, installed: None }, permit))
}
