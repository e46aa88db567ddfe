//! The CRI's Unix socket: opened without a moment in which strangers may connect, and only its own user is served.

use crate::lock::{INHERITED, LOOK_AGAIN, has_ended};
use crate::state;
use futures::Stream;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sys::sync::lock;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use web::Opened;

/// Why a socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// Somebody answers on it.
    #[error("{} is served by {holder}", path.display())]
    Live {
        /// The socket.
        path: PathBuf,
        /// By whom.
        holder: String,
    },
    /// The path is taken by something that is not to be deleted.
    #[error("{} exists and is no socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The directory of the socket cannot be made.
    #[error("cannot make the directory of {}", path.display())]
    Directory {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: Box<state::StateError>,
    },
    /// The system refuses.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// How often it is seen whether a socket's file is still in its place.
const LOOK: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(10) };

/// A listening socket, which takes its file away when dropped. Where somebody else removes it, it is put back.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: Mutex<Arc<UnixListener>>,
    file: SocketFile,
    /// Whether it is put back.
    returns: bool,
    /// It has been told that clients find something else.
    is_told: AtomicBool,
}

/// The file of a socket, and which one it is: a successor may have put its own in the same place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: Mutex<(u64, u64)>,
    /// Whether its directory goes with it.
    with_directory: bool,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if is_at(&self.path, *lock(&self.inode)) {
            // A file that stays is replaced by the next daemon.
            let _ = fs::remove_file(&self.path);
            if let (true, Some(directory)) = (self.with_directory, self.path.parent()) {
                // Others may have put something there.
                let _ = fs::remove_dir(directory);
            }
        }
    }
}

/// Whether a path is still that of a file.
fn is_at(path: &Path, inode: (u64, u64)) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| (file.dev(), file.ino()) == inode)
}

impl Socket {
    /// Opens a socket with mode 0600, replacing one on which nobody answers. It is bound in a closed directory and
    /// moved into place with its final mode.
    ///
    /// # Errors
    /// Somebody answers on it, something else lies there, or the system refuses.
    pub(crate) fn open(path: &Path) -> Result<Self, SocketError> {
        make_directory(path)?;
        refuse_live(path)?;
        let (listener, inode) = listen(path, RenameFlags::empty())?;
        let file = SocketFile { path: path.to_owned(), inode: Mutex::new(inode), with_directory: false };
        let listener = Mutex::new(Arc::new(listener));
        Ok(Self { listener, file, returns: true, is_told: AtomicBool::default() })
    }

    /// Leaves its place to whoever takes it, or removes it.
    pub(crate) fn give_way(&mut self) {
        self.returns = false;
    }

    /// Puts the file back where somebody has removed it. What somebody else has put there is left alone, and told once.
    fn look_after(&self) {
        let path = &self.file.path;
        let why = match fs::symlink_metadata(path) {
            Ok(file) if (file.dev(), file.ino()) == *lock(&self.file.inode) => {
                self.is_told.store(false, Ordering::Relaxed);
                return;
            }
            Ok(_) => "somebody else has put something there".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match make_directory(path).and_then(|()| listen(path, RenameFlags::NOREPLACE)) {
                    Ok((listener, inode)) => {
                        *lock(&self.file.inode) = inode;
                        *lock(&self.listener) = Arc::new(listener);
                        tracing::warn!(socket = %path.display(), "somebody has removed the socket: it is there again");
                        return;
                    }
                    Err(error) => crate::error::chain(&error),
                }
            }
            Err(error) => error.to_string(),
        };
        if !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::error!(socket = %path.display(), why, "clients that connect from now on do not find the daemon");
        }
    }

    /// Has its directory go with it.
    pub(crate) fn take_directory_along(&mut self) {
        self.file.with_directory = true;
    }

    /// What tells, also after the socket is on its way, whether its path still leads to it.
    pub(crate) fn look(&self) -> impl Fn() -> bool + Send + 'static {
        let (path, inode) = (self.file.path.clone(), *lock(&self.file.inode));
        move || is_at(&path, inode)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }

    /// The next connection of a client that may talk to the daemon: the daemon's own user or root. Others are cut
    /// off; the socket's mode keeps them out already, unless somebody loosens it.
    async fn permitted(&self) -> UnixStream {
        loop {
            let listener = lock(&self.listener).clone();
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = tokio::time::sleep(LOOK), if self.returns => {
                    self.look_after();
                    continue;
                }
            };
            match accepted {
                Ok((stream, _)) if may_talk(&stream) => return stream,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, socket = %self.file.path.display(), "cannot accept a connection");
                    // Out of descriptors or memory: trying at once would only burn the processor.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Every connection until the token says stop; then the socket is closed and its file gone at once, so that
    /// clients see nobody instead of a server that does not answer.
    pub(crate) fn incoming(self, stop: CancellationToken) -> impl Stream<Item = io::Result<UnixStream>> {
        futures::stream::unfold(self, move |socket| {
            let stop = stop.clone();
            async move {
                let stream = stop.run_until_cancelled(socket.permitted()).await?;
                Some((Ok(stream), socket))
            }
        })
    }
}

impl web::Listen for Socket {
    type Raw = UnixStream;
    type Stream = UnixStream;
    type Peer = ();

    async fn accept(&self) -> UnixStream {
        self.permitted().await
    }

    fn open(&self, raw: UnixStream) -> impl Future<Output = Option<Opened<UnixStream, ()>>> + Send + 'static {
        std::future::ready(Some(Opened { stream: raw, peer: () }))
    }
}

fn may_talk(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == 0 || peer.uid() == own => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), pid = peer.pid(), "refused a client of another user");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "refused a client whose user the kernel does not tell");
            false
        }
    }
}

/// Whether a socket can be put there, as far as nobody answers on it.
///
/// # Errors
/// Something else than a socket is there.
pub(crate) fn check(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SocketError::Io { operation: "look at", path: path.to_owned(), source }),
        Ok(file) if !file.file_type().is_socket() => Err(SocketError::NotASocket { path: path.to_owned() }),
        Ok(_) => Ok(()),
    }
}

/// Who was killed while it started a program has left a child that listens, too, until it executes that program: the
/// socket of a process that has ended is waited for, as its lock is.
fn refuse_live(path: &Path) -> Result<(), SocketError> {
    check(path)?;
    let patience = Instant::now() + INHERITED;
    loop {
        let Ok(stream) = net::UnixStream::connect(path) else { return Ok(()) };
        let peer = rustix::net::sockopt::socket_peercred(&stream);
        let pid = peer.ok().map(|peer| peer.pid.as_raw_nonzero().get().unsigned_abs());
        if !pid.is_some_and(has_ended) || Instant::now() >= patience {
            let holder = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
            return Err(SocketError::Live { path: path.to_owned(), holder });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// A directory beside the socket's place that nobody else can look into. It always has the same name, so that a daemon which
/// dies meanwhile leaves it to the next one, who removes it.
fn private_directory(path: &Path) -> io::Result<PathBuf> {
    let mut name = std::ffi::OsString::from(".corten-");
    name.push(path.file_name().unwrap_or_default());
    let private = path.with_file_name(name);
    sys::tree::remove(&private).map_err(std::io::Error::from)?;
    std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700).create(&private)?;
    Ok(private)
}

fn make_directory(path: &Path) -> Result<(), SocketError> {
    let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) else { return Ok(()) };
    let made = state::prepare(parent, state::STATE_MODE);
    made.map_err(|source| SocketError::Directory { path: path.to_owned(), source: Box::new(source) })?;
    tracing::info!(directory = %parent.display(), "made the directory of a socket");
    Ok(())
}

/// Listens, and tells which file the socket is.
fn listen(path: &Path, flags: RenameFlags) -> Result<(UnixListener, (u64, u64)), SocketError> {
    let failed =
        |operation| move |source: io::Error| SocketError::Io { operation, path: path.to_owned(), source };
    let private = private_directory(path).map_err(failed("make a private directory for"))?;
    let bound = bind_and_move(&private, path, flags);
    // Empty after the move; when that failed its socket goes with it.
    let _ = sys::tree::remove(&private);
    let (listener, inode) = bound.map_err(failed("bind"))?;
    Ok((UnixListener::from_std(listener).map_err(failed("poll"))?, inode))
}

fn bind_and_move(
    private: &Path,
    path: &Path,
    flags: RenameFlags,
) -> io::Result<(net::UnixListener, (u64, u64))> {
    let directory = fs::File::open(private)?;
    // Through the descriptor, so that the longer path need not fit a socket's address.
    let listener = net::UnixListener::bind(format!("/proc/self/fd/{}/s", directory.as_raw_fd()))?;
    listener.set_nonblocking(true)?;
    let bound = private.join("s");
    fs::set_permissions(&bound, fs::Permissions::from_mode(0o600))?;
    let file = fs::symlink_metadata(&bound)?;
    renameat_with(CWD, &bound, CWD, path, flags)?;
    Ok((listener, (file.dev(), file.ino())))
}

#[cfg(test)]
mod tests;
