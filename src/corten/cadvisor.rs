//! The socket that the kubelet's cAdvisor takes for containerd's. It is opened only where that is nobody else's: not over a
//! file that this or an earlier daemon did not put there, whoever answers on it or not, and not beside a containerd.

use crate::socket::{Socket, SocketError};
use prometheus::{IntGauge, Registry};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::aside::Wanted;

/// How often it is looked whether the path is still this daemon's.
pub(crate) const LOOK: Duration = Duration::from_secs(30);

/// The name of the file, in the state directory, that says which socket is this daemon's.
pub(crate) const MARK: &str = "cadvisor-socket";
/// What its text ends with where the socket's directory is this daemon's too.
const DIRECTORY_TOO: &str = "\nand its directory";
/// Longer than its text.
const LONGEST: u64 = 8192;

/// Why the socket is not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Something lies there that is none of ours.
    #[error("{} is there already, and not Corten's: remove it if nobody uses it any more", path.display())]
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// A containerd runs on this host, and the path is the one by which its clients find it.
    #[error("containerd runs on this host (process {pid}), whose clients look for it on {}", path.display())]
    Containerd {
        /// Its process.
        pid: i32,
        /// The path.
        path: PathBuf,
    },
    /// The socket cannot be opened.
    #[error("cannot open the socket")]
    Socket(#[from] SocketError),
    /// What tells it from others' cannot be kept.
    #[error("cannot {operation} {}", path.display())]
    Mark {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Opens the socket at a path, or none where that is empty; what an earlier daemon left of its own is taken away first.
///
/// # Errors
/// It must not be opened, or cannot.
pub(crate) fn open(path: &Path, state: &Path, proc: &Path) -> Result<Option<Socket>, Refusal> {
    let mark = state.join(MARK);
    forget(&mark)?;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    if fs::symlink_metadata(path).is_ok() {
        return Err(Refusal::Taken { path: path.to_owned() });
    }
    if let Some(pid) = containerd(proc) {
        return Err(Refusal::Containerd { pid, path: path.to_owned() });
    }
    let is_directory_ours = path.parent().is_some_and(|directory| !directory.exists());
    let mut socket = Socket::open(path)?;
    // A containerd that comes to the host, whose place this is, removes it.
    socket.give_way();
    if is_directory_ours {
        socket.take_directory_along();
    }
    let marked = identity(path).and_then(|identity| {
        let directory = if is_directory_ours { DIRECTORY_TOO } else { "" };
        sys::fs::write_atomic(&mark, format!("{identity}{directory}").as_bytes(), 0o600)
            .map_err(io::Error::from)
    });
    marked.map_err(|source| Refusal::Mark { operation: "write", path: mark, source })?;
    Ok(Some(socket))
}

/// Whether what lies at a path is the socket of the daemon that has, or had, this state directory.
pub(crate) fn is_ours(path: &Path, state: &Path) -> bool {
    let kept = sys::regular::read_text(&state.join(MARK), LONGEST);
    let is_it = |kept: String| {
        let kept = kept.strip_suffix(DIRECTORY_TOO).unwrap_or(&kept);
        identity(path).is_ok_and(|found| found == kept)
    };
    kept.is_ok_and(is_it)
}

/// The gauge that says whether cAdvisor is answered.
///
/// # Errors
/// Two collectors of a name.
pub(crate) fn gauge(registry: &Registry) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::new(
        "corten_cadvisor_answered",
        "1 while the socket for the kubelet's cAdvisor is this daemon's, 0 where it is not, or none is set.",
    )?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// Tells when somebody else, as a containerd that has been started, takes the path of the socket over. Who is connected
/// stays so, but the next kubelet would ask them. Never ends.
pub(crate) async fn watch(path: PathBuf, is_ours: impl Fn() -> bool, gauge: IntGauge, every: Duration) {
    let mut was_ours = true;
    loop {
        let is_ours = is_ours();
        gauge.set(i64::from(is_ours));
        if was_ours && !is_ours {
            tracing::warn!(socket = %path.display(), "somebody else has taken the socket over, or removed it: the \
                kubelet's cAdvisor asks them when it starts next, and its figures of pods lose their names");
        }
        was_ours = is_ours;
        tokio::time::sleep(every).await;
    }
}

/// Removes the socket of an earlier daemon, which was killed: this one has its directories, so that one is gone.
fn forget(mark: &Path) -> Result<(), Refusal> {
    let refuse = |operation| move |source| Refusal::Mark { operation, path: mark.to_owned(), source };
    let kept = match sys::regular::read_text(mark, LONGEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // It is put aside when the next one is written.
        Err(_) if Wanted::File.is_missed_at(mark) => return Ok(()),
        kept => kept.map_err(refuse("read"))?,
    };
    let (kept, with_directory) = match kept.strip_suffix(DIRECTORY_TOO) {
        Some(kept) => (kept, true),
        None => (kept.as_str(), false),
    };
    let socket = kept
        .split_once(' ')
        .and_then(|(_, rest)| rest.split_once(' '))
        .and_then(|(_, rest)| rest.split_once(' '));
    if let Some((_, path)) = socket
        && identity(Path::new(path)).is_ok_and(|found| found == kept)
    {
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(%error, socket = path, "a socket of an earlier daemon stays");
        } else if let (true, Some(directory)) = (with_directory, Path::new(path).parent()) {
            // Others may have put something there.
            let _ = fs::remove_dir(directory);
        }
    }
    fs::remove_file(mark).map_err(refuse("remove"))
}

/// What tells a file from another that is put in its place: device, inode and the time at which it was made, and where it is.
fn identity(path: &Path) -> io::Result<String> {
    let found = fs::symlink_metadata(path)?;
    let made = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
    Ok(format!("{} {} {made} {}", found.dev(), found.ino(), path.display()))
}

/// A process called containerd that sees the same files: one of a container does not.
fn containerd(proc: &Path) -> Option<i32> {
    let own = fs::read_link(proc.join("self/ns/mnt")).ok()?;
    fs::read_dir(proc).ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let is_here = || fs::read_link(entry.path().join("ns/mnt")).is_ok_and(|namespace| namespace == own);
        (name.trim_end() == "containerd" && is_here()).then_some(pid)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::{UnixListener, UnixStream};

    /// A host with a `/proc` of its own.
    struct Host(tempfile::TempDir);

    impl Host {
        fn new() -> Self {
            let host = Self(tempfile::tempdir().unwrap());
            fs::create_dir(host.path("state")).unwrap();
            host.process("self", "corten", "mnt:[1]");
            host
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn process(&self, pid: &str, name: &str, namespace: &str) {
            let directory = self.path("proc").join(pid);
            fs::create_dir_all(directory.join("ns")).unwrap();
            fs::write(directory.join("comm"), format!("{name}\n")).unwrap();
            symlink(namespace, directory.join("ns/mnt")).unwrap();
        }

        fn socket(&self) -> PathBuf {
            self.path("containerd/containerd.sock")
        }

        fn open(&self) -> Result<Option<Socket>, Refusal> {
            open(&self.socket(), &self.path("state"), &self.path("proc"))
        }
    }

    #[tokio::test]
    async fn it_is_root_s_alone_and_leaves_with_the_daemon() {
        let host = Host::new();
        let socket = host.open().unwrap().unwrap();
        assert_eq!(fs::metadata(host.socket()).unwrap().mode() & 0o777, 0o600);
        UnixStream::connect(host.socket()).unwrap();
        drop(socket);
        assert!(!host.path("containerd").exists(), "its directory was made for it");
        assert!(open(Path::new(""), &host.path("state"), &host.path("proc")).unwrap().is_none());
        assert_eq!(fs::read_dir(host.path("state")).unwrap().count(), 0, "the mark has gone too");
    }

    #[tokio::test]
    async fn what_a_killed_daemon_left_is_replaced_or_taken_away() {
        let host = Host::new();
        std::mem::forget(host.open().unwrap());
        let before = fs::metadata(host.socket()).unwrap().ino();
        std::mem::forget(host.open().unwrap().unwrap());
        assert_ne!(fs::metadata(host.socket()).unwrap().ino(), before);
        assert!(open(Path::new(""), &host.path("state"), &host.path("proc")).unwrap().is_none());
        assert!(!host.path("containerd").exists(), "its directory was made for it");
    }

    #[tokio::test]
    async fn a_directory_that_was_there_or_holds_more_stays() {
        let host = Host::new();
        let socket = host.open().unwrap().unwrap();
        fs::write(host.path("containerd/theirs"), "precious").unwrap();
        drop(socket);
        assert!(host.path("containerd/theirs").exists());
        fs::remove_file(host.path("containerd/theirs")).unwrap();
        drop(host.open().unwrap().unwrap());
        assert!(host.path("containerd").exists(), "it was there before");
    }

    #[tokio::test]
    async fn it_is_told_that_a_containerd_takes_the_path_over() {
        let host = Host::new();
        let socket = host.open().unwrap().unwrap();
        let gauge = gauge(&Registry::new()).unwrap();
        let watching = watch(host.socket(), socket.look(), gauge.clone(), Duration::from_millis(5));
        let watching = tokio::spawn(watching);
        let until = async |value: i64| {
            while gauge.get() != value {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), until(1)).await.unwrap();
        fs::remove_file(host.socket()).unwrap();
        let _theirs = UnixListener::bind(host.socket()).unwrap();
        tokio::time::timeout(Duration::from_secs(20), until(0)).await.unwrap();
        watching.abort();
        drop(socket);
        UnixStream::connect(host.socket()).unwrap();
    }

    #[tokio::test]
    async fn what_somebody_else_put_there_is_left_alone() {
        let host = Host::new();
        fs::create_dir(host.path("containerd")).unwrap();
        let live = UnixListener::bind(host.socket()).unwrap();
        let refused = |host: &Host| matches!(host.open(), Err(Refusal::Taken { .. }));
        assert!(refused(&host));
        UnixStream::connect(host.socket()).unwrap();
        drop(live);
        assert!(refused(&host), "containerd may be about to come back");
        assert!(host.socket().exists());
        fs::remove_file(host.socket()).unwrap();
        fs::write(host.socket(), "precious").unwrap();
        assert!(refused(&host));
        assert_eq!(fs::read(host.socket()).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_socket_in_the_place_of_ours_is_not_ours() {
        let host = Host::new();
        std::mem::forget(host.open().unwrap());
        fs::remove_file(host.socket()).unwrap();
        let _theirs = UnixListener::bind(host.socket()).unwrap();
        assert!(matches!(host.open(), Err(Refusal::Taken { .. })));
        UnixStream::connect(host.socket()).unwrap();
    }

    #[tokio::test]
    async fn beside_a_containerd_of_the_host_there_is_none() {
        let host = Host::new();
        host.process("41", "containerd", "mnt:[2]");
        host.process("42", "containerd-shim", "mnt:[1]");
        drop(host.open().unwrap().unwrap());
        host.process("43", "containerd", "mnt:[1]");
        assert!(matches!(host.open(), Err(Refusal::Containerd { pid: 43, .. })));
        assert!(!host.socket().exists());
    }
}
