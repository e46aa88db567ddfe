//! The socket at which plugins connect by themselves.

use crate::error::{Error, NriResult};
use crate::join::{Newcomer, serve};
use crate::quiet::{Quiet, told};
use crate::runtime::Core;
use crate::status::{ListenStatus, Origin};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Plugins that have connected and not said yet who they are; others have to come again.
const STRANGERS: usize = 16;
/// After a connection could not be taken for want of something.
const PAUSE: Duration = Duration::from_millis(100);

/// Before a socket that could not be opened is tried again, at first and at most.
const FIRST: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(1) };
const LONGEST: Duration = Duration::from_secs(30);
/// How often it is seen whether the socket is still in its place: another runtime removes what lies there.
const LOOK: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(10) };

/// A socket on which plugins are taken in, or will be once it can be had. It is closed and removed with this.
pub(crate) struct Listening {
    place: Arc<Place>,
}

struct Place {
    path: PathBuf,
    stop: CancellationToken,
    state: Mutex<State>,
}

/// Which file the socket is, or why it is not there.
#[derive(Default)]
struct State {
    inode: Option<(u64, u64)>,
    problem: Option<String>,
}

impl Listening {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.place.path
    }

    /// Whether plugins can connect.
    pub(crate) fn status(&self) -> ListenStatus {
        ListenStatus { socket: self.place.path.clone(), problem: self.place.state().problem.clone() }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.place.stop.cancel();
        if self.place.is_ours() {
            // Somebody may have removed it already.
            let _ = fs::remove_file(&self.place.path);
        }
    }
}

impl Place {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the socket is still where plugins look for it: another runtime may have put its own there.
    fn is_ours(&self) -> bool {
        let inode = self.state().inode;
        let found = fs::symlink_metadata(&self.path).map(|file| (file.dev(), file.ino()));
        inode.is_some() && found.ok() == inode
    }

    /// Opens it, unless it is not wanted any more.
    fn open(&self, again_in: Duration) -> Option<UnixListener> {
        // Held, so that it is not removed before it is there.
        let mut state = self.state();
        if self.stop.is_cancelled() {
            return None;
        }
        match bind(&self.path) {
            Ok((listener, inode)) => {
                self.note(&mut state, Ok(inode), again_in);
                Some(listener)
            }
            Err(error) => {
                self.note(&mut state, Err(&error), again_in);
                None
            }
        }
    }

    /// Keeps how it is, and tells of it where that is news.
    fn note(&self, state: &mut State, outcome: Result<(u64, u64), &Error>, again_in: Duration) {
        let problem = outcome.err().map(|error| model::chain(error));
        let is_news = state.inode.is_none() && state.problem.is_none() || state.problem != problem;
        *state = State { inode: outcome.ok(), problem };
        match &state.problem {
            _ if !is_news => {}
            Some(error) => tracing::error!(error, ?again_in, "no NRI plugin can connect"),
            None => tracing::info!(socket = %self.path.display(), "NRI plugins can connect"),
        }
    }
}

/// Opens a socket, and takes plugins in there.
pub(crate) fn open(core: &Arc<Core>, socket: &Path) -> NriResult<Listening> {
    let (listener, inode) = bind(socket)?;
    let place = place(core, socket);
    place.note(&mut place.state(), Ok(inode), FIRST);
    Ok(begin(core, place, Some(listener)))
}

/// The same; where it cannot be opened, that is tried again. What is in the way may end one day: another runtime that has
/// it, a filesystem that is full.
pub(crate) fn insist(core: &Arc<Core>, socket: &Path) -> Listening {
    let place = place(core, socket);
    let listener = place.open(FIRST);
    begin(core, place, listener)
}

fn place(core: &Core, socket: &Path) -> Arc<Place> {
    Arc::new(Place { path: socket.to_owned(), stop: core.stop.child_token(), state: Mutex::default() })
}

fn begin(core: &Arc<Core>, place: Arc<Place>, listener: Option<UnixListener>) -> Listening {
    core.tasks.spawn(keep(Arc::clone(core), Arc::clone(&place), listener));
    Listening { place }
}

/// In place of one that nobody answers on any more; with which file it is.
fn bind(socket: &Path) -> NriResult<(UnixListener, (u64, u64))> {
    let failed = |source| Error::Listen { socket: socket.to_owned(), source };
    if let Some(directory) = socket.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    }
    if let Ok(there) = fs::symlink_metadata(socket) {
        if !there.file_type().is_socket() {
            return Err(Error::NoSocket { socket: socket.to_owned() });
        }
        if is_answered(socket).map_err(failed)? {
            return Err(Error::Occupied { socket: socket.to_owned() });
        }
        fs::remove_file(socket).map_err(failed)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(socket).map_err(failed)?;
    fs::set_permissions(socket, Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let file = fs::symlink_metadata(socket).map_err(failed)?;
    Ok((UnixListener::from_std(listener).map_err(failed)?, (file.dev(), file.ino())))
}

/// Whether somebody has a socket open. It is of another kind than this asks for, so that he hears nothing of it.
fn is_answered(socket: &Path) -> io::Result<bool> {
    match sys::socket::connect_messages(socket).map(drop).map_err(io::Error::from) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes plugins in until the runtime ends, or has them come elsewhere.
async fn keep(core: Arc<Core>, place: Arc<Place>, mut listener: Option<UnixListener>) {
    let (strangers, mut pause) = (Arc::new(Semaphore::new(STRANGERS)), FIRST);
    loop {
        if let Some(listener) = listener.take() {
            if !accept(&core, &place, &listener, &strangers).await {
                return;
            }
            pause = FIRST;
            let lost = Error::Displaced { socket: place.path.clone() };
            place.note(&mut place.state(), Err(&lost), pause);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = place.stop.cancelled() => return,
        }
        pause = (pause * 2).min(LONGEST);
        listener = place.open(pause);
    }
}

/// Takes plugins in until the runtime ends. `true`: the socket is not where they look for it any more.
async fn accept(
    core: &Arc<Core>,
    place: &Place,
    listener: &UnixListener,
    strangers: &Arc<Semaphore>,
) -> bool {
    let (mut quiet, mut look) = (Quiet::default(), tokio::time::interval(LOOK));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = look.tick() => {
                if place.is_ours() {
                    continue;
                }
                return true;
            }
            () = place.stop.cancelled() => return false,
        };
        match accepted.and_then(|(socket, _)| admit(socket, strangers)) {
            Ok((newcomer, permit)) => {
                let core = Arc::clone(core);
                core.tasks.clone().spawn(serve(core, newcomer, Some(permit)));
            }
            Err(error) => {
                if let Some(unsaid) = quiet.may_say() {
                    let unsaid = told(unsaid);
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
