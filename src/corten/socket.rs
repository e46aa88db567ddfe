//! The CRI's Unix socket: opened without a moment in which strangers may connect, and only its own user is served.

use crate::lock::{self, INHERITED, LOOK_AGAIN};
use crate::state;
use futures::Stream;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
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

/// A listening socket, which takes its file away when dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    file: SocketFile,
}

/// The file of a socket, and which one it is: a successor may have put its own in the same place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
    /// Whether its directory goes with it.
    with_directory: bool,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if is_at(&self.path, self.inode) {
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
        let failed =
            |operation| move |source: io::Error| SocketError::Io { operation, path: path.to_owned(), source };
        if let Some(parent) = path.parent()
            && !parent.is_dir()
        {
            state::prepare(parent, state::STATE_MODE).map_err(|source| SocketError::Directory {
                path: path.to_owned(),
                source: Box::new(source),
            })?;
            tracing::info!(directory = %parent.display(), "made the directory of a socket");
        }
        refuse_live(path)?;
        let private = private_directory(path).map_err(failed("make a private directory for"))?;
        let listener = bind_and_move(&private, path);
        // Empty after the move; when that failed its socket goes with it.
        let _ = sys::tree::remove(&private);
        let listener = listener.map_err(failed("bind"))?;
        let file = fs::symlink_metadata(path).map_err(failed("look at"))?;
        let listener = UnixListener::from_std(listener).map_err(failed("poll"))?;
        let inode = (file.dev(), file.ino());
        Ok(Self { listener, file: SocketFile { path: path.to_owned(), inode, with_directory: false } })
    }

    /// Has its directory go with it.
    pub(crate) fn take_directory_along(&mut self) {
        self.file.with_directory = true;
    }

    /// What tells, also after the socket is on its way, whether its path still leads to it.
    pub(crate) fn look(&self) -> impl Fn() -> bool + Send + 'static {
        let (path, inode) = (self.file.path.clone(), self.file.inode);
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
            match self.listener.accept().await {
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
        if !pid.is_some_and(lock::has_ended) || Instant::now() >= patience {
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

fn bind_and_move(private: &Path, path: &Path) -> io::Result<net::UnixListener> {
    let directory = fs::File::open(private)?;
    // Through the descriptor, so that the longer path need not fit a socket's address.
    let listener = net::UnixListener::bind(format!("/proc/self/fd/{}/s", directory.as_raw_fd()))?;
    listener.set_nonblocking(true)?;
    let bound = private.join("s");
    fs::set_permissions(&bound, fs::Permissions::from_mode(0o600))?;
    fs::rename(&bound, path)?;
    Ok(listener)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use std::pin::pin;
    use std::process::Stdio;

    #[tokio::test]
    async fn a_socket_is_closed_to_others_and_leaves_with_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run/corten.sock");
        let socket = Socket::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "only the socket is left");
        let client = UnixStream::connect(&path).await.unwrap();
        socket.permitted().await;
        drop((client, socket));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn connections_end_with_the_token_and_so_does_the_file() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("corten.sock");
        let stop = CancellationToken::new();
        let mut incoming = pin!(Socket::open(&path).unwrap().incoming(stop.clone()));
        let _client = UnixStream::connect(&path).await.unwrap();
        assert!(incoming.next().await.is_some());
        stop.cancel();
        assert!(incoming.next().await.is_none());
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("corten.sock");
        drop(net::UnixListener::bind(&path).unwrap());
        let socket = Socket::open(&path).unwrap();
        let error = Socket::open(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(socket);
    }

    /// Whoever runs the tests' program with this set is a daemon that listens there and dies as it starts a program.
    const DIES_AT: &str = "CORTEN_TEST_DIES_AT";

    #[tokio::test]
    async fn the_socket_of_a_daemon_that_died_as_it_started_a_program_is_waited_for() {
        if let Some(path) = std::env::var_os(DIES_AT) {
            let listener = net::UnixListener::bind(path).unwrap();
            rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
            let started = std::process::Command::new("sh").args(["-c", "sleep 2 &"]).status();
            assert!(started.unwrap().success());
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("corten.sock");
        let own = std::thread::current().name().unwrap().to_owned();
        let mut dies = std::process::Command::new(std::env::current_exe().unwrap());
        // What it says would be waited for until the program ends.
        dies.args(["--exact", &own]).env(DIES_AT, &path).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(dies.status().unwrap().success());
        assert!(net::UnixStream::connect(&path).is_ok(), "its child listens");
        drop(Socket::open(&path).unwrap());
    }

    #[tokio::test]
    async fn what_a_daemon_left_that_died_while_it_made_its_socket_goes() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("corten.sock");
        let private = private_directory(&path).unwrap();
        drop(net::UnixListener::bind(private.join("s")).unwrap());
        let socket = Socket::open(&path).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "only the socket is left");
        drop(socket);
    }

    #[tokio::test]
    async fn a_file_in_its_place_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("corten.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Socket::open(&path), Err(SocketError::NotASocket { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_successor_s_socket_outlives_its_predecessor() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("corten.sock");
        let first = Socket::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = Socket::open(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
    }

    #[tokio::test]
    async fn the_longest_path_that_an_address_takes_can_be_opened() {
        let root = tempfile::tempdir().unwrap();
        let room = 107 - root.path().as_os_str().len() - 1;
        let path = root.path().join("s".repeat(room));
        let _socket = Socket::open(&path).unwrap();
        UnixStream::connect(&path).await.unwrap();
    }
}
