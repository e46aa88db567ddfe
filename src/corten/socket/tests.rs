#![allow(clippy::unwrap_used)]

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

/// Serves in the background: each connection that comes is told.
fn served(path: &Path) -> (CancellationToken, tokio::sync::mpsc::UnboundedReceiver<()>) {
    let (stop, (tell, told)) = (CancellationToken::new(), tokio::sync::mpsc::unbounded_channel());
    let mut incoming = Box::pin(Socket::open(path).unwrap().incoming(stop.clone()));
    tokio::spawn(async move {
        while incoming.next().await.is_some() {
            let _ = tell.send(());
        }
    });
    (stop, told)
}

#[tokio::test]
async fn a_socket_that_somebody_removes_is_put_back() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run/corten.sock");
    let (stop, mut told) = served(&path);
    let with_directory = || fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let removals: [&dyn Fn(); 3] =
        [&|| fs::remove_file(&path).unwrap(), &|| fs::remove_file(&path).unwrap(), &with_directory];
    for remove in removals {
        remove();
        let again = async {
            while UnixStream::connect(&path).await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
            told.recv().await.unwrap();
        };
        tokio::time::timeout(Duration::from_secs(20), again).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "only the socket is left");
    }
    stop.cancel();
    let gone = async {
        while path.exists() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
}

#[tokio::test]
async fn what_another_daemon_puts_in_its_place_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("corten.sock");
    let (stop, mut told) = served(&path);
    let theirs = net::UnixListener::bind(root.path().join("theirs")).unwrap();
    fs::rename(root.path().join("theirs"), &path).unwrap();
    tokio::time::sleep(10 * LOOK).await;
    let _client = net::UnixStream::connect(&path).unwrap();
    theirs.accept().unwrap();
    assert!(told.try_recv().is_err(), "the client has reached the other");
    // Nobody answers there any more, and still it is another's.
    drop(theirs);
    tokio::time::sleep(10 * LOOK).await;
    assert!(net::UnixStream::connect(&path).is_err());
    stop.cancel();
    tokio::time::sleep(10 * LOOK).await;
    assert!(path.exists());
}

#[tokio::test]
async fn one_that_comes_between_is_not_replaced() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("corten.sock");
    fs::write(&path, "precious").unwrap();
    assert!(listen(&path, RenameFlags::NOREPLACE).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing is left of the try");
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
